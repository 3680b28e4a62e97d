//! The container that tasks of one kind share.
//!
//! Owns what it is made of, and what a task cannot ask of it because it would be all tasks'. What
//! a plan says of image, network, volumes, user and limits holds for it as for a container of one
//! task's own. Called by the warm runtime.

use std::path::Path;

use bollard::models::{ContainerCreateBody, HealthConfig};
use marmoset_executor_core::{Bounds, Limit, Template};
use marmoset_proto::{
    marmoset::v1::Item,
    mesos::v1::{CommandInfo, ContainerInfo},
    resources::Millis,
};

use super::{Plan, PlanError, SHARED, Site, Words, volumes};
use crate::{
    launcher::Door,
    runtime::docker::{engine::ImageDefaults, warm},
};

/// Where the container finds the folders of the tasks.
pub(in super::super) const TASKS: &str = "/mnt/mesos/tasks";

/// Where it finds what is next to them: `packs`.
pub(in super::super) const ROOT: &str = "/mnt/mesos";

/// Where its first process finds the executor.
const DOOR: &str = "/.marmoset/door";

/// Memory that the first process and its helpers have beside the tasks.
const OWN_MEMORY: i64 = 32 << 20;

/// More the kernel does not take.
const CPU_SHARES_MAX: i64 = 262_144;

/// Parameters that are about the one process of a container.
const OF_ONE: [&str; 4] = ["init", "pid", "stop-signal", "workdir"];

impl Plan {
    /// Checks a template and translates it to a container with room for so many of its runs at a
    /// time.
    pub(in super::super) fn of_shared(
        template: &Template,
        slots: u64,
        site: &Site,
    ) -> Result<Self, PlanError> {
        let refuse = |text: String| Err(PlanError(text));
        if template.bounds.gpus.is_some_and(|gpus| gpus.0 > 0) {
            return refuse(
                "the task has `gpus`, which the runtime `warm` cannot give to one task alone: \
                 choose the runtime `docker`"
                    .to_owned(),
            );
        }
        let container = template.container.as_deref();
        if let Some(key) = container.into_iter().flat_map(parameters_of_one).next() {
            return refuse(format!(
                "the parameter `{key}` of `docker.parameters` is about the process of one task, \
                 and a container of the runtime `warm` has many: remove it, or choose the runtime \
                 `docker`"
            ));
        }
        let bounds = times(template.bounds, slots);
        let plan = Self::of(&Template { bounds, ..template.clone() }, site)?;
        if !plan.ports.is_empty() {
            return refuse(
                "`port_mappings` publish ports of one task, and a container of the runtime `warm` \
                 has many: use the network HOST, or choose the runtime `docker`"
                    .to_owned(),
            );
        }
        if let Some(folder) = plan.own_folders().next() {
            return refuse(format!(
                "the volume of `{}` is a folder of one task, and a container of the runtime `warm` \
                 has many: name an absolute path, or choose the runtime `docker`",
                folder.display()
            ));
        }
        Ok(plan)
    }

    /// Describes the container. `door` is the folder on the engine's host with the socket;
    /// `inherit` says which streams of the executor tasks write to.
    pub(in super::super) fn shared_body(
        &self,
        door: &Path,
        inherit: [bool; 2],
        site: &Site,
    ) -> ContainerCreateBody {
        let mut body = self.base.clone();
        let mut host = self.host.clone();
        let (mut binds, mut mounts) = (Vec::new(), Vec::new());
        for wish in &self.volumes {
            wish.apply(&site.host, &mut binds, &mut mounts);
        }
        for (folder, inside) in [("tasks", TASKS), ("packs", "/mnt/mesos/packs")] {
            mounts.push(volumes::bind(&site.host.join(folder), inside, false));
        }
        mounts.extend(site.program.mounts());
        mounts.push(volumes::bind(door, DOOR, false));
        let mut words = vec![Door::path_in(DOOR), format!("{DOOR}/{}", super::FAILURE)];
        for (name, wanted) in ["stdout", "stderr"].into_iter().zip(inherit) {
            let shared = format!("{SHARED}-{name}");
            if wanted {
                mounts.push(volumes::bind(&site.host.join(name), &shared, false));
            }
            words.push(if wanted { shared } else { warm::NO_FILE.to_owned() });
        }
        body.entrypoint = Some(site.program.command(warm::SUBCOMMAND));
        body.cmd = Some(words);
        body.working_dir = Some("/".to_owned());
        // It is about the image's own program.
        let test = Some(vec!["NONE".to_owned()]);
        body.healthcheck = Some(HealthConfig { test, ..HealthConfig::default() });
        let mut labels = body.labels.take().unwrap_or_default();
        labels.extend(site.owner.labels("warm", "shared"));
        body.labels = Some(labels);
        let mut variables = site.inherited.iter().map(|(name, value)| format!("{name}={value}"));
        body.env.get_or_insert_default().splice(0..0, variables.by_ref());
        host.cpu_shares = host.cpu_shares.map(|shares| shares.min(CPU_SHARES_MAX));
        for limit in [&mut host.memory, &mut host.memory_swap] {
            *limit = limit.map(|bytes| bytes.saturating_add(OWN_MEMORY));
        }
        host.binds = (!binds.is_empty()).then_some(binds);
        host.mounts = Some(mounts);
        body.host_config = Some(host);
        body
    }

    /// The program of a run and its argv, whose first word may be another name.
    pub(in super::super) fn argv(
        &self,
        command: &CommandInfo,
        item: Option<&Item>,
        image: &ImageDefaults,
    ) -> Result<(String, Vec<String>), PlanError> {
        let Words { name, entrypoint, arguments } = self.words(command, item, image)?;
        let mut words = entrypoint.into_iter().chain(arguments);
        let program = words.next().ok_or_else(|| self.nothing_to_run())?;
        let first = name.unwrap_or_else(|| program.clone());
        Ok((program, std::iter::once(first).chain(words).collect()))
    }
}

fn parameters_of_one(container: &ContainerInfo) -> impl Iterator<Item = &str> {
    let parameters = container.docker.iter().flat_map(|docker| &docker.parameters);
    parameters.map(|parameter| parameter.key.as_str()).filter(|key| OF_ONE.contains(key))
}

/// What so many runs have together.
fn times(bounds: Bounds, slots: u64) -> Bounds {
    let all = |value: Millis| Millis(value.0.saturating_mul(slots));
    let limit = |limit: Limit| match limit {
        Limit::Finite(value) => Limit::Finite(all(value)),
        Limit::Infinite => Limit::Infinite,
    };
    Bounds {
        cpus: bounds.cpus.map(all),
        mem: bounds.mem.map(all),
        gpus: bounds.gpus,
        cpus_limit: bounds.cpus_limit.map(limit),
        mem_limit: bounds.mem_limit.map(limit),
    }
}
