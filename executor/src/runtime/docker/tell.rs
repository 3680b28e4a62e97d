//! Tells the executor's core what became of a run, in the words of Mesos' Docker executor.

use std::{fs, io::Read as _, path::Path, time::SystemTime};

use bytes::Bytes;
use marmoset_executor_core::{Remark, RunEvent, RunId, StartDetails, WallTime};
use marmoset_proto::mesos::v1::{
    ContainerStatus, NetworkInfo, Resource, TaskResourceLimitation, network_info,
    task_status::Reason, value,
};

use super::{
    DockerRuntime, Run,
    core::{Exit, Told},
    engine::Inspection,
    plan::FAILURE,
};

/// Longest text of why a command was not executed that is read.
const FAILURE_BYTES_MAX: u64 = 1024;

impl DockerRuntime {
    pub(super) fn tell(&mut self, id: RunId, told: Told) {
        let event = match told {
            Told::Waiting(message) => RunEvent::Waiting { message },
            Told::Started { at, inspection } => {
                let details = inspection.map(|inspection| Box::new(details(*inspection)));
                RunEvent::Started { at, details }
            }
            Told::Refused(message) => {
                self.runs.remove(&id);
                let at = WallTime::from(SystemTime::now());
                let reason = Some(Reason::ContainerLaunchFailed);
                RunEvent::Refused { message, reason, at }
            }
            Told::Lost(message) => {
                self.runs.remove(&id);
                RunEvent::Lost { message, at: WallTime::from(SystemTime::now()) }
            }
            Told::Exited(exit) => {
                let Some(run) = self.runs.remove(&id) else { return };
                let folder = self.site.folder(&run.spawn.task);
                exited(&run, &folder, exit)
            }
        };
        self.told.push((id, event));
    }
}

fn exited(run: &Run, folder: &Path, exit: Exit) -> RunEvent {
    let size = |stream: usize, name: &str| {
        let file = run.plan.has_file(stream).then(|| folder.join(name));
        file.and_then(|file| fs::metadata(file).ok()).map_or(0, |found| found.len())
    };
    let code = u8::try_from(exit.code).unwrap_or(u8::MAX);
    let mut additions = Vec::new();
    let mut limitation = None;
    if exit.out_of_memory {
        let limit = run.plan.memory.unwrap_or_default();
        let megabytes = limit as f64 / (1024.0 * 1024.0);
        additions.push(format!("it used up its memory limit of {megabytes} MB"));
        limitation = Some(TaskResourceLimitation {
            resources: vec![Resource {
                name: "mem".to_owned(),
                r#type: value::Type::Scalar.into(),
                scalar: Some(value::Scalar { value: megabytes }),
                ..Resource::default()
            }],
        });
    }
    if matches!(code, 126 | 127) {
        additions.extend(failure(&folder.join(FAILURE)));
    }
    additions.extend(exit.remark);
    // A wait status of 0 says it all to a batch, which has many of them.
    let plain = code == 0 && additions.is_empty() && !run.spawn.template.whole;
    let remark = (!plain).then(|| {
        Box::new(Remark {
            message: Some(format!("Container exited with status {}", exit.code)),
            addition: (!additions.is_empty()).then(|| additions.join("; ")),
            reason: limitation.is_some().then_some(Reason::ContainerLimitationMemory),
            limitation,
            ..Remark::default()
        })
    });
    RunEvent::Exited {
        wait_status: i32::from(code) << 8,
        at: exit.at,
        stdout_bytes: size(0, "stdout"),
        stderr_bytes: size(1, "stderr"),
        remark,
    }
}

/// Why the command was not executed, if that is how it ended.
fn failure(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    fs::File::open(file).ok()?.take(FAILURE_BYTES_MAX).read_to_end(&mut text).ok()?;
    let _ = fs::remove_file(file);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// What TASK_RUNNING tells: addresses, and all that the engine knows, as `docker inspect` prints it.
fn details(inspection: Inspection) -> StartDetails {
    let ip_addresses = inspection
        .addresses
        .into_iter()
        .map(|address| {
            let protocol = if address.contains(':') {
                network_info::Protocol::IPv6
            } else {
                network_info::Protocol::IPv4
            };
            network_info::IpAddress { protocol: Some(protocol.into()), ip_address: Some(address) }
        })
        .collect::<Vec<_>>();
    // In the network of the host it has no address of its own: the agent puts in the host's.
    let container_status = (!ip_addresses.is_empty()).then(|| ContainerStatus {
        network_infos: vec![NetworkInfo { ip_addresses, ..NetworkInfo::default() }],
        ..ContainerStatus::default()
    });
    let data = Bytes::from(format!("[\n{}\n]", inspection.json));
    StartDetails { container_status, data: Some(data) }
}
