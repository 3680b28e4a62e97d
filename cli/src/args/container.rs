//! Flags of `marmoset run` for tasks in containers.
//!
//! Owns what they mean for `TaskInfo.container`, and for the executor that starts the containers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use marmoset_proto::{
    marmoset::v1,
    mesos::v1::{
        ContainerInfo, NetworkInfo, Parameter, Volume,
        container_info::{
            self, DockerInfo,
            docker_info::{Network, PortMapping},
        },
        volume,
    },
};

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Unless the agent has it
    IfNotPresent,
    /// Before each container
    Always,
    /// Not at all
    Never,
}

/// What `marmoset run` says about containers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Containers")]
pub(crate) struct ContainerArgs {
    /// Run each task in a Docker container of its own, of this image; without COMMAND the image's
    /// own program runs
    #[arg(long, value_name = "IMAGE")]
    pub(crate) docker: Option<String>,

    /// Run the tasks as processes in containers of this image that they share and that stay for the
    /// next ones; without COMMAND the image's own program runs
    #[arg(long, value_name = "IMAGE", conflicts_with = "docker")]
    pub(crate) warm: Option<String>,

    /// When the image is pulled
    #[arg(long, value_name = "WHEN", default_value = "if-not-present")]
    pub(crate) pull: Pull,

    /// Network of the containers: `host`, `bridge`, `none` or the name of a Docker network
    #[arg(long, value_name = "NETWORK", default_value = "host")]
    pub(crate) network: String,

    /// User of the processes in the containers, a name of the image or a number [default: the
    /// image's]
    #[arg(long, value_name = "USER[:GROUP]", value_parser = user)]
    pub(crate) container_user: Option<String>,

    /// A folder of the agent, or of the task if it is relative, that the containers see; may be
    /// given several times
    #[arg(long, value_name = "PATH:CONTAINER_PATH[:ro]", value_parser = mount)]
    pub(crate) volume: Vec<Mount>,

    /// A port of the containers that is published as the next of --ports; may be given several
    /// times
    #[arg(long, value_name = "PORT[/tcp|udp]", value_parser = published)]
    pub(crate) publish: Vec<Published>,

    /// An option of `docker run` without its dashes, e.g. `ulimit=nofile=64`; may be given several
    /// times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parameter)]
    pub(crate) docker_parameter: Vec<(String, String)>,

    /// Run privileged containers
    #[arg(long)]
    pub(crate) privileged: bool,

    /// The executor's `config.json` with the credentials of registries, a path on the agents
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,

    /// The socket of the Docker engine on the agents
    #[arg(long, value_name = "PATH")]
    pub(crate) docker_socket: Option<PathBuf>,
}

/// One `--volume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    source: String,
    target: String,
    read_only: bool,
}

/// One `--publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    port: u16,
    protocol: String,
}

impl ContainerArgs {
    /// Finds what no single flag can see; `ports` are those of each task.
    pub(crate) fn check(&self, ports: u32) -> Result<(), String> {
        let paths =
            [("--docker-config", &self.docker_config), ("--docker-socket", &self.docker_socket)];
        for (flag, path) in paths {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(format!(
                    "`{flag} {}` is not absolute: executors have other working directories; start \
                     it with `/`",
                    path.display()
                ));
            }
        }
        let Some((flag, image)) = self.image() else {
            let alone = [
                ("--pull", self.pull != Pull::IfNotPresent),
                ("--network", self.network != "host"),
                ("--container-user", self.container_user.is_some()),
                ("--volume", !self.volume.is_empty()),
                ("--publish", !self.publish.is_empty()),
                ("--docker-parameter", !self.docker_parameter.is_empty()),
                ("--privileged", self.privileged),
            ];
            return match alone.iter().find(|(_, given)| *given) {
                Some((flag, _)) => {
                    Err(format!("`{flag}` needs `--docker IMAGE` or `--warm IMAGE`"))
                }
                None => Ok(()),
            };
        };
        if image.is_empty() {
            return Err(format!("`{flag}` must not be empty: name an image"));
        }
        if self.container_user.is_some()
            && self.docker_parameter.iter().any(|(key, _)| key == "user")
        {
            return Err(
                "`--container-user` and `--docker-parameter user=` say the same: leave one \
                        out"
                .to_owned(),
            );
        }
        if self.warm.is_some() {
            if !self.publish.is_empty() {
                return Err(
                    "`--publish` has no meaning with `--warm`, whose containers are not of \
                            one task: use `--network host`, or `--docker`"
                        .to_owned(),
                );
            }
            if let Some(volume) = self.volume.iter().find(|volume| !volume.source.starts_with('/'))
            {
                return Err(format!(
                    "`--volume {}:{}` is a folder of the task, and containers of `--warm` are not \
                     of one task: name an absolute path, or use `--docker`",
                    volume.source, volume.target
                ));
            }
        }
        if !self.publish.is_empty() && matches!(self.network.as_str(), "host" | "none") {
            return Err(format!(
                "`--publish` has no meaning with `--network {}`: choose `bridge` or the name of a \
                 network",
                self.network
            ));
        }
        if self.publish.len() > ports as usize {
            return Err(format!(
                "`--publish` is given {} times and `--ports` is {ports}: ask for as many ports",
                self.publish.len()
            ));
        }
        Ok(())
    }

    /// The image, and the flag that names it.
    pub(crate) fn image(&self) -> Option<(&'static str, &str)> {
        let docker = self.docker.as_deref().map(|image| ("--docker", image));
        docker.or_else(|| self.warm.as_deref().map(|image| ("--warm", image)))
    }

    /// The runtime, where the container does not say it.
    pub(crate) fn runtime(&self) -> Option<String> {
        self.warm.is_some().then(|| "warm".to_owned())
    }

    /// The container of each task.
    pub(crate) fn container(&self) -> Option<ContainerInfo> {
        let image = self.image()?.1.to_owned();
        let (network, network_infos) = match self.network.as_str() {
            "host" => (Network::Host, Vec::new()),
            "bridge" => (Network::Bridge, Vec::new()),
            "none" => (Network::None, Vec::new()),
            name => {
                let info = NetworkInfo { name: Some(name.to_owned()), ..NetworkInfo::default() };
                (Network::User, vec![info])
            }
        };
        Some(ContainerInfo {
            r#type: container_info::Type::Docker.into(),
            volumes: self.volume.iter().map(Mount::volume).collect(),
            docker: Some(DockerInfo {
                image,
                network: Some(network.into()),
                port_mappings: self.publish.iter().map(Published::mapping).collect(),
                privileged: self.privileged.then_some(true),
                parameters: self.parameters(),
                ..DockerInfo::default()
            }),
            network_infos,
            ..ContainerInfo::default()
        })
    }

    /// When the image is pulled.
    pub(crate) fn pull(&self) -> v1::Pull {
        match self.pull {
            Pull::IfNotPresent => v1::Pull::IfNotPresent,
            Pull::Always => v1::Pull::Always,
            Pull::Never => v1::Pull::Never,
        }
    }

    /// What the executor is started with.
    pub(crate) fn executor_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, value) in
            [("--docker-config", &self.docker_config), ("--docker-socket", &self.docker_socket)]
        {
            if let Some(value) = value {
                arguments.extend([flag.to_owned(), value.to_string_lossy().into_owned()]);
            }
        }
        arguments
    }

    fn parameters(&self) -> Vec<Parameter> {
        let parameters = self.docker_parameter.iter();
        parameters
            .map(|(key, value)| Parameter { key: key.clone(), value: value.clone() })
            .collect()
    }
}

impl Mount {
    fn volume(&self) -> Volume {
        let mode = if self.read_only { volume::Mode::Ro } else { volume::Mode::Rw };
        Volume {
            container_path: self.target.clone(),
            host_path: Some(self.source.clone()),
            mode: mode.into(),
            ..Volume::default()
        }
    }
}

impl Published {
    /// The executor takes the next of the task's ports for 0.
    fn mapping(&self) -> PortMapping {
        PortMapping {
            host_port: 0,
            container_port: self.port.into(),
            protocol: Some(self.protocol.clone()),
        }
    }
}

fn mount(text: &str) -> Result<Mount, String> {
    let wrong = || "is not `PATH:CONTAINER_PATH`, with `:ro` behind it or not".to_owned();
    let (source, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (target, read_only) = match rest.split_once(':') {
        None => (rest, false),
        Some((target, "ro")) => (target, true),
        Some((target, "rw")) => (target, false),
        Some(_) => return Err(wrong()),
    };
    if source.is_empty() || target.is_empty() {
        return Err(wrong());
    }
    Ok(Mount { source: source.to_owned(), target: target.to_owned(), read_only })
}

fn user(text: &str) -> Result<String, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    let is_name = |name: &str| {
        !name.is_empty() && !name.starts_with('-') && !name.contains([':', '/', ' ', '\t', '\0'])
    };
    if is_name(user) && is_name(group) {
        Ok(text.to_owned())
    } else {
        Err("is not `USER` or `USER:GROUP`, each a name or a number".to_owned())
    }
}

fn published(text: &str) -> Result<Published, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (port.parse(), protocol) {
        (Ok(port), "tcp" | "udp") if port > 0 => {
            Ok(Published { port, protocol: protocol.to_owned() })
        }
        _ => Err("is not a port, with `/tcp` or `/udp` behind it or not".to_owned()),
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !key.starts_with('-') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("is not `KEY=VALUE`, without dashes".to_owned()),
    }
}
