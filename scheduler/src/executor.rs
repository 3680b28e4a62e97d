//! How agents come by the executor: the description for each way.
//!
//! Owns which fields of `CommandInfo` and `ContainerInfo` say what to which
//! containerizer. Refuses to decide whether the path, the file or the image is
//! there: only agents know. Called by whoever makes an [`ExecutorTemplate`].
//!
//! | way | program | arguments | container |
//! | --- | --- | --- | --- |
//! | path | the path | its own name first | none |
//! | URI | `./marmoset-executor`, fetched into the sandbox | its own name first | none |
//! | image, Docker | the image's entry point | none is its name | DOCKER, host network |
//! | image, Mesos | `/marmoset-executor` of the image | its own name first | MESOS with an image |
//!
//! Mesos wants one `ExecutorInfo`, byte for byte, for one executor id, so an id
//! that is not that of a bare path ends with a digest of the description.

use std::path::{Path, PathBuf};

use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        CommandInfo, ContainerInfo, Image, Parameter, Volume, command_info,
        container_info::{self, DockerInfo, MesosInfo, docker_info},
        image, volume,
    },
};
use marmoset_scheduler_core::ExecutorTemplate;

/// The program in an image, and the name of a fetched file.
const PROGRAM: &str = "marmoset-executor";

/// Without it an engine that counts swap allows twice the memory of executor and first tasks, and an
/// agent that cannot raise the limit past that for later tasks destroys the container.
const SWAP: (&str, &str) = ("memory-swap", "-1");

/// How an agent comes by the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutorSource {
    /// It lies on every agent.
    Path(PathBuf),
    /// The agent fetches it: an `http`, `https` or `file` URL, or what else its fetcher knows.
    Uri(String),
    /// It is in an image, and so runs in a container.
    Image(ExecutorImage),
}

/// An image with the executor, and the container that it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorImage {
    /// Name of the image, as the containerizer's registry knows it.
    pub name: String,
    /// Who runs it.
    pub containerizer: ImageContainerizer,
    /// Paths of the host inside of the container.
    pub volumes: Vec<HostVolume>,
}

/// Who runs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageContainerizer {
    /// The Docker containerizer: a Docker engine. Never recovered when the agent restarts.
    Docker {
        /// Options of `docker run`, without the dashes: `init` and `true`.
        parameters: Vec<(String, String)>,
        /// Whether the image is pulled though it is there.
        force_pull: bool,
    },
    /// The Mesos containerizer: the agent itself provisions the image.
    Mesos,
}

/// A path of the host inside of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostVolume {
    /// On the host.
    pub host: String,
    /// Inside.
    pub container: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

impl ExecutorSource {
    /// Describes an executor that is got this way and given these arguments.
    ///
    /// `arguments` do not begin with the program's name.
    pub fn template(&self, arguments: &[String]) -> ExecutorTemplate {
        match self {
            Self::Path(path) => executor_at(path, arguments),
            Self::Uri(uri) => {
                let fetched = command_info::Uri {
                    value: uri.clone(),
                    executable: Some(true),
                    extract: Some(false),
                    output_file: Some(PROGRAM.to_owned()),
                    ..command_info::Uri::default()
                };
                let command = CommandInfo {
                    uris: vec![fetched],
                    ..program(&format!("./{PROGRAM}"), arguments)
                };
                named("uri", ExecutorTemplate::new(command))
            }
            Self::Image(image) => named("image", image.template(arguments)),
        }
    }
}

impl ExecutorImage {
    fn template(&self, arguments: &[String]) -> ExecutorTemplate {
        let volumes = self.volumes.iter().map(HostVolume::to_proto).collect();
        let (command, container) = match &self.containerizer {
            ImageContainerizer::Docker { parameters, force_pull } => {
                let command = CommandInfo {
                    shell: Some(false),
                    arguments: arguments.to_vec(),
                    ..CommandInfo::default()
                };
                let parameter = |(key, value): &(String, String)| Parameter {
                    key: key.clone(),
                    value: value.clone(),
                };
                // What the caller says comes later, so it counts.
                let swap = (SWAP.0.to_owned(), SWAP.1.to_owned());
                let docker = DockerInfo {
                    image: self.name.clone(),
                    network: Some(docker_info::Network::Host.into()),
                    parameters: std::iter::once(&swap).chain(parameters).map(parameter).collect(),
                    force_pull_image: force_pull.then_some(true),
                    ..DockerInfo::default()
                };
                let container = ContainerInfo {
                    r#type: container_info::Type::Docker.into(),
                    docker: Some(docker),
                    volumes,
                    ..ContainerInfo::default()
                };
                (command, container)
            }
            ImageContainerizer::Mesos => {
                let image = Image {
                    r#type: image::Type::Docker.into(),
                    docker: Some(image::Docker {
                        name: self.name.clone(),
                        ..image::Docker::default()
                    }),
                    ..Image::default()
                };
                let container = ContainerInfo {
                    r#type: container_info::Type::Mesos.into(),
                    mesos: Some(MesosInfo { image: Some(image) }),
                    volumes,
                    ..ContainerInfo::default()
                };
                (program(&format!("/{PROGRAM}"), arguments), container)
            }
        };
        ExecutorTemplate { container: Some(container), ..ExecutorTemplate::new(command) }
    }
}

impl HostVolume {
    fn to_proto(&self) -> Volume {
        let mode = if self.read_only { volume::Mode::Ro } else { volume::Mode::Rw };
        Volume {
            container_path: self.container.clone(),
            host_path: Some(self.host.clone()),
            mode: mode.into(),
            ..Volume::default()
        }
    }
}

/// An executor whose program lies on every agent already.
///
/// `arguments` do not begin with the program's name.
pub fn executor_at(path: &Path, arguments: &[String]) -> ExecutorTemplate {
    ExecutorTemplate::new(program(&path.display().to_string(), arguments))
}

/// A program without a shell; its own name is the first argument.
fn program(path: &str, arguments: &[String]) -> CommandInfo {
    let name = path.to_owned();
    CommandInfo {
        shell: Some(false),
        arguments: std::iter::once(&name).chain(arguments).cloned().collect(),
        value: Some(name),
        ..CommandInfo::default()
    }
}

/// Gives the template an id of its own.
fn named(way: &str, template: ExecutorTemplate) -> ExecutorTemplate {
    let mut described = codec::encode(&template.command, Encoding::Protobuf).to_vec();
    if let Some(container) = &template.container {
        described.extend_from_slice(&codec::encode(container, Encoding::Protobuf));
    }
    let id = format!("{}-{way}-{:08x}", template.id, digest(&described));
    ExecutorTemplate { id, ..template }
}

/// FNV-1a: the same in every build, and with nothing secret in it.
fn digest(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
