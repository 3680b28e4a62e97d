//! The arguments of `docker run`, in Mesos' order.
//!
//! Pure: a container's description goes in, words come out. Left out: GPUs, and
//! the agent's flags `--default_container_dns` and `--cgroups_enable_cfs`.
//! Mesos 1.11, `src/docker/docker.cpp` (`Docker::RunOptions::create`, `Docker::run`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use marmoset_proto::{
    mesos::v1::{
        CommandInfo, ContainerInfo, Resource, Volume,
        container_info::{DockerInfo, docker_info},
        volume,
    },
    resources::{Millis, ResourceError, Resources},
};

use super::amounts::{Limits, cpu_quota, cpu_shares, memory_bytes};

/// A container to be.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// How it wants to be contained.
    pub(crate) container: &'a ContainerInfo,
    /// What it runs.
    pub(crate) command: &'a CommandInfo,
    /// The sandbox on the host.
    pub(crate) sandbox: &'a Path,
    /// The same for the mount: another path if the first one holds a colon.
    pub(crate) sandbox_source: &'a Path,
    /// The sandbox inside.
    pub(crate) mapped: &'a str,
    /// What it may use.
    pub(crate) resources: &'a [Resource],
    /// What it may use at most, where that is not the same.
    pub(crate) limits: Limits,
    /// All of its environment.
    pub(crate) environment: &'a BTreeMap<String, String>,
}

/// Why there is no such container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("`container.docker` is not set: give a DOCKER container an image")]
    NoDockerInfo,
    #[error("Resources of the container cannot be read: {0}")]
    Resources(#[from] ResourceErrorText),
    #[error("Both host_path '{host}' and container_path '{container}' of a volume are relative")]
    RelativeVolume { host: String, container: String },
    #[error("Only one volume driver is supported, not both '{0}' and '{1}'")]
    VolumeDrivers(String, String),
    #[error("User defined networks require exactly one network info with a name")]
    Network,
    #[error("Unable to set hostname with host network mode")]
    HostnameOfHost,
    #[error("Port mappings are only supported for bridge and user-defined networks")]
    PortMappings,
    #[error("Port [{0}] not included in resources")]
    Port(u32),
    #[error("Shell specified but no command value provided")]
    NoShellCommand,
}

/// What was wrong with the resources, in words that can be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ResourceErrorText(String);

impl From<ResourceError> for OptionsError {
    fn from(error: ResourceError) -> Self {
        Self::Resources(ResourceErrorText(error.to_string()))
    }
}

impl Run<'_> {
    /// Yields everything from `run` on.
    pub(crate) fn arguments(&self) -> Result<Vec<String>, OptionsError> {
        let docker = self.container.docker.as_ref().ok_or(OptionsError::NoDockerInfo)?;
        let resources = Resources::from_proto(self.resources)?;
        let mut words = vec!["run".to_owned()];
        if docker.privileged() {
            words.push("--privileged".to_owned());
        }
        self.put_cpus(&mut words, &resources);
        self.put_memory(&mut words, &resources);
        for (name, value) in self.environment {
            words.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        self.put_volumes(&mut words, docker)?;
        self.put_network(&mut words, docker, &resources)?;
        if self.command.shell() {
            words.extend(["--entrypoint", "/bin/sh"].map(str::to_owned));
        }
        words.extend(["--name".to_owned(), self.name.to_owned()]);
        words.extend(docker.parameters.iter().map(|p| format!("--{}={}", p.key, p.value)));
        words.push(docker.image.clone());
        self.put_command(&mut words)?;
        Ok(words)
    }

    fn put_cpus(&self, words: &mut Vec<String>, resources: &Resources) {
        let Some(cpus) = resources.cpus().map(Millis::to_f64).filter(|cpus| *cpus > 0.0) else {
            return;
        };
        words.extend(["--cpu-shares".to_owned(), cpu_shares(cpus).to_string()]);
        if let Some(limit) = self.limits.cpus.filter(|limit| limit.is_finite()) {
            words.extend(["--cpu-quota".to_owned(), cpu_quota(limit).to_string()]);
        }
    }

    fn put_memory(&self, words: &mut Vec<String>, resources: &Resources) {
        let Some(request) = resources.mem().map(|mem| memory_bytes(mem.to_f64())) else { return };
        let Some(limit) = self.limits.mem else {
            words.extend(["--memory".to_owned(), request.to_string()]);
            return;
        };
        words.extend(["--memory-reservation".to_owned(), request.to_string()]);
        let limit = limit.is_finite().then(|| memory_bytes(limit));
        if let Some(limit) = limit {
            words.extend(["--memory".to_owned(), limit.to_string()]);
        }
        if limit.is_none_or(|limit| request < limit) {
            let score = oom_score(request, machine_memory());
            words.extend(["--oom-score-adj".to_owned(), score.to_string()]);
        }
    }

    fn put_volumes(
        &self,
        words: &mut Vec<String>,
        docker: &DockerInfo,
    ) -> Result<(), OptionsError> {
        let mut driver = docker.volume_driver.clone();
        for volume in &self.container.volumes {
            if let Some(mount) = self.mount(volume, &mut driver)? {
                words.extend(["-v".to_owned(), mount]);
            }
        }
        let sandbox = format!("{}:{}", self.sandbox_source.display(), self.mapped);
        words.extend(["-v".to_owned(), sandbox]);
        words.extend(driver.map(|driver| format!("--volume-driver={driver}")));
        Ok(())
    }

    fn mount(
        &self,
        volume: &Volume,
        driver: &mut Option<String>,
    ) -> Result<Option<String>, OptionsError> {
        let relative = |path: &str| !path.starts_with('/');
        let inside = &volume.container_path;
        let target =
            if relative(inside) { format!("{}/{inside}", self.mapped) } else { inside.clone() };
        let mode = match volume.mode() {
            volume::Mode::Rw => "rw",
            volume::Mode::Ro => "ro",
        };
        if let Some(host) = &volume.host_path {
            if relative(host) && relative(inside) {
                return Err(OptionsError::RelativeVolume {
                    host: host.clone(),
                    container: inside.clone(),
                });
            }
            let source = if relative(host) && driver.is_none() {
                self.sandbox.join(host)
            } else {
                PathBuf::from(host)
            };
            return Ok(Some(format!("{}:{target}:{mode}", source.display())));
        }
        let Some(source) = &volume.source else { return Ok(Some(target)) };
        let named = match source.r#type() {
            volume::source::Type::DockerVolume => source.docker_volume.as_ref(),
            volume::source::Type::Unknown
            | volume::source::Type::HostPath
            | volume::source::Type::SandboxPath
            | volume::source::Type::Secret
            | volume::source::Type::CsiVolume => None,
        };
        let Some(named) = named else { return Ok(None) };
        if let Some(wanted) = &named.driver {
            match driver {
                Some(first) if first != wanted => {
                    return Err(OptionsError::VolumeDrivers(first.clone(), wanted.clone()));
                }
                Some(_) | None => *driver = Some(wanted.clone()),
            }
        }
        Ok(Some(format!("{}:{target}:{mode}", named.name)))
    }

    fn put_network(
        &self,
        words: &mut Vec<String>,
        docker: &DockerInfo,
        resources: &Resources,
    ) -> Result<(), OptionsError> {
        use docker_info::Network;
        let mode = docker.network();
        let network = match mode {
            Network::Host => "host",
            Network::Bridge => "bridge",
            Network::None => "none",
            Network::User => match self.container.network_infos.as_slice() {
                [info] => info.name.as_deref().ok_or(OptionsError::Network)?,
                [] | [..] => return Err(OptionsError::Network),
            },
        };
        words.extend(["--net".to_owned(), network.to_owned()]);
        if let Some(hostname) = &self.container.hostname {
            if mode == Network::Host {
                return Err(OptionsError::HostnameOfHost);
            }
            words.extend(["--hostname".to_owned(), hostname.clone()]);
        }
        if docker.port_mappings.is_empty() {
            return Ok(());
        }
        match mode {
            Network::Bridge | Network::User => {}
            Network::Host | Network::None => return Err(OptionsError::PortMappings),
        }
        let ports = resources.ports();
        for mapping in &docker.port_mappings {
            let host = u64::from(mapping.host_port);
            if !ports.iter().any(|(begin, end)| (begin..=end).contains(&host)) {
                return Err(OptionsError::Port(mapping.host_port));
            }
            let protocol = mapping.protocol.as_ref().map(|p| format!("/{}", p.to_lowercase()));
            let protocol = protocol.unwrap_or_default();
            let mapping = format!("{host}:{}{protocol}", mapping.container_port);
            words.extend(["-p".to_owned(), mapping]);
        }
        Ok(())
    }

    fn put_command(&self, words: &mut Vec<String>) -> Result<(), OptionsError> {
        if self.command.shell() {
            let value = self.command.value.clone().ok_or(OptionsError::NoShellCommand)?;
            words.extend(["-c".to_owned(), value]);
        } else {
            words.extend(self.command.value.clone());
            words.extend(self.command.arguments.iter().cloned());
        }
        Ok(())
    }
}

/// Memory of this machine, in bytes.
fn machine_memory() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total())
}

/// The less of the machine's memory it asked for, the sooner it is killed for exceeding that.
fn oom_score(request: u64, machine: u64) -> u64 {
    let share = u128::from(request) * 1000 / u128::from(machine.max(1));
    1000_u64.saturating_sub(u64::try_from(share).unwrap_or(1000)).clamp(2, 999)
}

#[cfg(test)]
mod tests;
