//! Tells the executor's core what became of a run, in the words of Mesos' Docker executor.

use std::{
    ffi::{CStr, CString},
    os::unix::ffi::OsStringExt as _,
    time::SystemTime,
};

use bytes::Bytes;
use marmoset_executor_core::{Remark, RunEvent, RunId, StartDetails, WallTime};
use marmoset_proto::mesos::v1::{
    ContainerStatus, NetworkInfo, Resource, TaskResourceLimitation, network_info,
    task_status::Reason, value,
};

use super::{DockerRuntime, Run, core::Told, engine::Inspection, outputs::Ending, plan::FAILURE};
use crate::{
    launcher::Kept,
    output::{self, Files, Settled},
};

impl DockerRuntime {
    pub(super) fn tell(&mut self, id: RunId, told: Told) {
        let event = match told {
            Told::Waiting(message) => RunEvent::Waiting { message },
            Told::Started { at, inspection } => {
                self.watch_output(id);
                let details = inspection.map(|inspection| Box::new(details(*inspection)));
                RunEvent::Started { at, details }
            }
            Told::Refused(message) => self.refused(id, message, Reason::ContainerLaunchFailed),
            Told::Invalid(message) => self.refused(id, message, Reason::TaskInvalid),
            Told::Lost(message) => {
                self.runs.remove(&id);
                self.outputs.forget(id);
                RunEvent::Lost { message, at: WallTime::from(SystemTime::now()) }
            }
            // Told when its files are settled.
            Told::Exited(exit) => {
                let Some(run) = self.runs.get(&id) else { return };
                let failure = self.site.folder(&run.spawn.task).join(FAILURE);
                return self.outputs.settle(id, exit, failure);
            }
        };
        self.told.push((id, event));
    }

    fn refused(&mut self, id: RunId, message: String, reason: Reason) -> RunEvent {
        self.runs.remove(&id);
        let at = WallTime::from(SystemTime::now());
        RunEvent::Refused { message, reason: Some(reason), at }
    }

    /// Tells the end of a run whose files are settled.
    pub(super) fn tell_ending(&mut self, ending: Ending) {
        let id = ending.run;
        if let Some(run) = self.runs.remove(&id) {
            self.told.push((id, exited(&run, ending)));
        }
    }

    fn watch_output(&self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let folder = self.site.folder(&run.spawn.task).into_os_string().into_vec();
        // Neither the sandbox nor a task's id has a NUL.
        let Ok(folder) = CString::new(folder) else { return };
        let file = |stream, name: &CStr| run.plan.has_file(stream).then(|| name.to_owned());
        let (stdout, stderr) = (file(0, c"stdout"), file(1, c"stderr"));
        let keeping = run.plan.keeping.clone();
        self.outputs.watch(id, Files::new(folder, stdout, stderr, keeping));
    }
}

/// Describes the end of a run.
fn exited(run: &Run, ending: Ending) -> RunEvent {
    let Ending { exit, settled: Settled { stdout, stderr, folder_removed }, failure, .. } = ending;
    let mut limitation = None;
    let mut additions = Vec::new();
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
    additions.extend(failure);
    additions.extend(exit.remark);
    let kept = Kept { stdout_cut: stdout.cut, stderr_cut: stderr.cut, folder_removed };
    additions.extend(output::told(&kept));
    let code = u8::try_from(exit.code).unwrap_or(u8::MAX);
    // A wait status of 0 says it all to a batch, which has many of them.
    let plain = code == 0 && additions.is_empty() && run.spawn.template.many;
    let remark = Remark {
        message: (!plain).then(|| format!("Container exited with status {}", exit.code)),
        addition: (!additions.is_empty()).then(|| additions.join("; ")),
        reason: limitation.is_some().then_some(Reason::ContainerLimitationMemory),
        limitation,
        folder_removed,
    };
    RunEvent::Exited {
        wait_status: i32::from(code) << 8,
        at: exit.at,
        stdout_bytes: stdout.bytes,
        stderr_bytes: stderr.bytes,
        remark: (remark != Remark::default()).then(|| Box::new(remark)),
    }
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
