//! From a task to the container that the engine is asked for.
//!
//! Owns what `ContainerInfo`, `CommandInfo` and the resources of a task mean to
//! Docker, as Mesos' Docker containerizer has it (`docker run`), and the checks
//! of all that. What all runs of a template share is made once. Refuses to call
//! the engine. Called by the docker runtime.

mod limits;
mod network;
mod parameters;
mod shared;
mod volumes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use marmoset_executor_core::{Options, Spawn, Template};
use marmoset_proto::{
    marmoset::v1::{Item, Pull, output::Target},
    mesos::v1::{CommandInfo, ContainerInfo, container_info, image, secret},
    placeholder,
};

use super::{
    credentials::{self, CredentialsError, DockerConfig},
    engine::{Credentials, ImageDefaults},
    init,
    ownership::Owner,
    program::Program,
};
use crate::output::{Keeping, OutputDefaults};

pub(super) use self::shared::{ROOT, TASKS};
/// Where a container finds the folder of its task.
pub(super) const SANDBOX: &str = "/mnt/mesos/sandbox";

/// Where it finds the executor's own output, if it writes there.
const SHARED: &str = "/.marmoset/shared";

/// The file that says why a command was not executed.
pub(super) const FAILURE: &str = ".marmoset-failure";

/// Variables of the executor that tasks see.
const INHERITED: [&str; 5] = [
    "MESOS_FRAMEWORK_ID",
    "MESOS_EXECUTOR_ID",
    "MESOS_SLAVE_ID",
    "MESOS_AGENT_ENDPOINT",
    "MESOS_DOMAIN_SOCKET",
];

/// What a registry is told, or why that is not known: of interest once an image is pulled.
pub(super) type Lookup = Result<Option<Credentials>, PlanError>;

/// Why a container cannot be asked for. The text names the field, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct PlanError(pub(super) String);

impl From<CredentialsError> for PlanError {
    fn from(error: CredentialsError) -> Self {
        Self(error.to_string())
    }
}

/// What all containers of this executor share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) owner: Owner,
    /// The executor's sandbox.
    pub(super) sandbox: PathBuf,
    /// The same folder on the engine's host.
    pub(super) host: PathBuf,
    pub(super) program: Program,
    pub(super) output: OutputDefaults,
    pub(super) allow_privileged: bool,
    /// Whether cpus are a limit in any case.
    pub(super) cfs: bool,
    pub(super) config: Option<DockerConfig>,
    /// Those of [`INHERITED`] that are set.
    pub(super) inherited: BTreeMap<String, String>,
}

/// What all containers of a template share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) image: String,
    pub(super) pull: Pull,
    pub(super) credentials: Lookup,
    /// Memory limit in bytes.
    pub(super) memory: Option<i64>,
    base: ContainerCreateBody,
    host: HostConfig,
    convention: Convention,
    volumes: Vec<volumes::Wish>,
    ports: Vec<network::Published>,
    variables: BTreeMap<String, String>,
    streams: [Target; 2],
    /// What becomes of its output files.
    pub(super) keeping: Keeping,
}

/// What a command without a shell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Convention {
    /// `value` and `arguments` follow the image's ENTRYPOINT.
    Docker,
    /// `value` is the program, `arguments` its argv with its name; the image's only without.
    Mesos,
}

/// What the executor has to prepare for one container.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) body: ContainerCreateBody,
    /// Other users than root must be able to write into the folder.
    pub(super) open: bool,
}

/// The variables that tasks are to see.
pub(super) fn inherited<'a>(
    all: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    all.filter(|(name, _)| INHERITED.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Site {
    /// The folder of a task, as the executor sees it.
    pub(super) fn folder(&self, task: &str) -> PathBuf {
        self.sandbox.join("tasks").join(task)
    }

    pub(super) fn host_folder(&self, task: &str) -> PathBuf {
        self.host.join("tasks").join(task)
    }
}

/// What is executed.
#[derive(Debug)]
struct Words {
    /// What the program is told to be called, where that is not its own name.
    name: Option<String>,
    /// The program, and what always follows it; none where the image's own is used.
    entrypoint: Vec<String>,
    arguments: Vec<String>,
}

impl Words {
    fn new(entrypoint: Vec<String>, arguments: Vec<String>) -> Self {
        Self { name: None, entrypoint, arguments }
    }
}

impl Plan {
    /// Checks a template and translates it.
    pub(super) fn of(template: &Template, site: &Site) -> Result<Self, PlanError> {
        let container = template
            .container
            .as_ref()
            .ok_or_else(|| PlanError("`TaskInfo.container` is missing".to_owned()))?;
        let (image, convention) = image_of(container)?;
        let docker = container.docker.clone().unwrap_or_default();
        let forced = match convention {
            Convention::Docker => docker.force_pull_image(),
            Convention::Mesos => container
                .mesos
                .as_ref()
                .and_then(|mesos| mesos.image.as_ref())
                .is_some_and(|image| !image.cached()),
        };
        let mut base = ContainerCreateBody {
            image: Some(image.clone()),
            user: template.command.user.clone(),
            ..ContainerCreateBody::default()
        };
        let mut host = HostConfig {
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        };
        let memory = limits::apply(&template.bounds, site.cfs, &mut host);
        if docker.privileged() && convention == Convention::Docker {
            if !site.allow_privileged {
                return Err(PlanError(
                    "`docker.privileged` is set: the executor must be started with \
                     `--allow-privileged` for that"
                        .to_owned(),
                ));
            }
            host.privileged = Some(true);
        }
        limits::apply_rlimits(container.rlimit_info.as_ref(), &mut host)?;
        limits::apply_linux(container.linux_info.as_ref(), site.allow_privileged, &mut host)?;
        let ports = network::apply(container, &docker, &mut base, &mut host)?;
        for parameter in &docker.parameters {
            parameters::apply(parameter, site.allow_privileged, &mut base, &mut host)?;
        }
        let targets = site.output.plan(&template.options.output, &site.sandbox);
        let own = template.command.environment.iter().flat_map(|own| &own.variables);
        Ok(Self {
            pull: if forced { Pull::Always } else { template.options.pull },
            credentials: credentials_of(container, &image, site)?,
            image,
            memory,
            convention,
            volumes: volumes::read(&container.volumes, docker.volume_driver.as_deref())?,
            ports,
            variables: own
                .map(|variable| (variable.name.clone(), variable.value().to_owned()))
                .collect(),
            streams: [targets.stdout, targets.stderr],
            keeping: targets.keeping,
            base,
            host,
        })
    }

    /// Describes the container of one run.
    pub(super) fn request(
        &self,
        spawn: &Spawn,
        image: &ImageDefaults,
        site: &Site,
    ) -> Result<Request, PlanError> {
        let mut body = self.base.clone();
        let mut host = self.host.clone();
        let folder = site.host_folder(&spawn.task);
        let (mut binds, mut mounts) = (Vec::new(), Vec::new());
        for wish in &self.volumes {
            wish.apply(&folder, &mut binds, &mut mounts);
        }
        mounts.push(volumes::bind(&folder, SANDBOX, false));
        let (command, options) = (&spawn.template.command, &spawn.template.options);
        let Words { name, mut entrypoint, arguments: mut words } =
            self.words(command, spawn.item.as_ref(), image)?;
        let plain = self.streams == [Target::Null; 2]
            && name.is_none()
            && (options.nice, options.umask) == (0, None);
        if !plain {
            let program = entrypoint.drain(..).chain(words.drain(..)).collect::<Vec<_>>();
            if program.is_empty() {
                return Err(self.nothing_to_run());
            }
            entrypoint = site.program.command(init::SUBCOMMAND);
            words = self.init_arguments(options, name).into_iter().chain(program).collect();
            for (target, name) in self.streams.iter().zip(["stdout", "stderr"]) {
                if *target == Target::Inherit {
                    let shared = format!("{SHARED}-{name}");
                    mounts.push(volumes::bind(&site.host.join(name), &shared, false));
                }
            }
            body.entrypoint = Some(entrypoint);
        } else if !entrypoint.is_empty() {
            body.entrypoint = Some(entrypoint);
        }
        if !plain || !self.has_hosts_network() {
            mounts.extend(site.program.mounts());
        }
        body.cmd = (!words.is_empty()).then_some(words);
        if self.convention == Convention::Mesos
            && body.working_dir.is_none()
            && image.working_dir.is_empty()
        {
            body.working_dir = Some(SANDBOX.to_owned());
        }
        network::publish(&self.ports, &spawn.ports, &mut body, &mut host)?;
        let mut labels = body.labels.take().unwrap_or_default();
        labels.extend(site.owner.labels("task", &spawn.task));
        body.labels = Some(labels);
        body.env =
            Some(self.environment(spawn, &folder, site, body.env.take().unwrap_or_default()));
        host.binds = (!binds.is_empty()).then_some(binds);
        host.mounts = Some(mounts);
        let user = body.user.as_deref().unwrap_or(&image.user);
        let name = user.split(':').next().unwrap_or_default();
        let open = !matches!(name, "" | "0" | "root");
        body.host_config = Some(host);
        Ok(Request { body, open })
    }

    /// Which signal asks a container to end.
    pub(super) fn stop_signal<'a>(&'a self, image: &'a ImageDefaults) -> &'a str {
        self.base.stop_signal.as_deref().or(image.stop_signal.as_deref()).unwrap_or("SIGTERM")
    }

    /// Whether the loopback addresses of a container are the host's.
    pub(super) fn has_hosts_network(&self) -> bool {
        self.host.network_mode.as_deref() == Some("host")
    }

    /// Folders of the task that are volumes.
    pub(super) fn own_folders(&self) -> impl Iterator<Item = &Path> {
        self.volumes.iter().filter_map(volumes::Wish::own_folder)
    }

    /// Whether a stream goes to a file of the task.
    pub(super) fn has_file(&self, stream: usize) -> bool {
        self.streams.get(stream) == Some(&Target::File)
    }

    /// The first arguments of our program in the container, up to the command's.
    fn init_arguments(&self, options: &Options, name: Option<String>) -> Vec<String> {
        let file = |target: Target, name: &str| match target {
            Target::File => format!("{SANDBOX}/{name}"),
            Target::Null => "/dev/null".to_owned(),
            Target::Inherit => format!("{SHARED}-{name}"),
        };
        vec![
            file(self.streams[0], "stdout"),
            file(self.streams[1], "stderr"),
            format!("{SANDBOX}/{FAILURE}"),
            options.nice.to_string(),
            options.umask.map_or_else(|| init::NONE.to_owned(), |umask| format!("{umask:o}")),
            name.unwrap_or_else(|| init::NONE.to_owned()),
        ]
    }

    fn nothing_to_run(&self) -> PlanError {
        PlanError(format!(
            "the image `{}` has no program of its own, and the command no `value`: set one",
            self.image
        ))
    }

    /// What is executed, by the rules of the containerizer that the task names.
    fn words(
        &self,
        command: &CommandInfo,
        item: Option<&Item>,
        image: &ImageDefaults,
    ) -> Result<Words, PlanError> {
        let expand = |text: &str| match item {
            Some(item) => placeholder::expand_text(text, item),
            None => text.to_owned(),
        };
        if command.shell() {
            let arguments = vec!["-c".to_owned(), expand(command.value())];
            return Ok(Words::new(vec!["/bin/sh".to_owned()], arguments));
        }
        let own_entrypoint = self.base.entrypoint.clone();
        let mut arguments = command.arguments.iter().map(|text| expand(text));
        let value = command.value.as_deref().filter(|value| !value.is_empty()).map(expand);
        let image_default = |arguments: Vec<String>| {
            let command = if arguments.is_empty() { image.command.clone() } else { arguments };
            Words::new(image.entrypoint.clone(), command)
        };
        Ok(match (self.convention, value) {
            (Convention::Docker, value) => {
                let words = value.into_iter().chain(arguments).collect::<Vec<_>>();
                match own_entrypoint {
                    Some(entrypoint) => Words::new(entrypoint, words),
                    None => image_default(words),
                }
            }
            // The first argument is the name under which the program runs.
            (Convention::Mesos, Some(value)) => {
                let name = arguments.next().filter(|name| *name != value);
                Words { name, ..Words::new(vec![value], arguments.collect()) }
            }
            // Without an entrypoint the program of CMD takes the arguments.
            (Convention::Mesos, None) if image.entrypoint.is_empty() && arguments.len() > 0 => {
                let program = image.command.first().ok_or_else(|| self.nothing_to_run())?;
                Words::new(vec![program.clone()], arguments.collect())
            }
            (Convention::Mesos, None) => image_default(arguments.collect()),
        })
    }

    /// What the command says wins over the parameters; what is forced wins over all.
    fn environment(
        &self,
        spawn: &Spawn,
        folder: &Path,
        site: &Site,
        parameters: Vec<String>,
    ) -> Vec<String> {
        let mut all = site.inherited.clone();
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((&parameter, ""));
            all.insert(name.to_owned(), value.to_owned());
        }
        all.extend(self.variables.clone());
        let mut force = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
        force("MESOS_SANDBOX", SANDBOX);
        force("MESOS_DIRECTORY", &folder.to_string_lossy());
        force("MESOS_CONTAINER_NAME", &site.owner.name(spawn.run));
        force("MARMOSET_TASK_ID", &spawn.task);
        if let Some(role) = &spawn.template.role {
            force("MESOS_ALLOCATION_ROLE", role);
        }
        if let Some(item) = &spawn.item {
            force("MARMOSET_INDEX", &item.index.to_string());
        }
        for (number, port) in spawn.ports.iter().enumerate() {
            let port = port.to_string();
            if number == 0 {
                force("PORT", &port);
            }
            force(&format!("PORT{number}"), &port);
        }
        all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// The image of a container, and whose rules its command follows.
fn image_of(container: &ContainerInfo) -> Result<(String, Convention), PlanError> {
    let (image, convention) = match container.r#type() {
        container_info::Type::Docker => {
            let docker = container.docker.as_ref();
            (docker.map(|docker| docker.image.clone()), Convention::Docker)
        }
        container_info::Type::Mesos => {
            let image = container.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
            let docker = image
                .filter(|image| image.r#type() == image::Type::Docker)
                .and_then(|image| image.docker.as_ref());
            (docker.map(|docker| docker.name.clone()), Convention::Mesos)
        }
    };
    match image.filter(|image| !image.is_empty()) {
        Some(image) if image.starts_with('-') || image.contains(char::is_whitespace) => {
            Err(PlanError(format!("`{image}` is not the name of an image")))
        }
        Some(image) => Ok((image, convention)),
        None => Err(PlanError(
            "`TaskInfo.container` has no image for its type: set `docker.image` with type DOCKER, \
             `mesos.image.docker.name` with type MESOS"
                .to_owned(),
        )),
    }
}

/// What the registry of the image is told: what the image brings, else the executor's file.
fn credentials_of(
    container: &ContainerInfo,
    image: &str,
    site: &Site,
) -> Result<Lookup, PlanError> {
    let own = container
        .mesos
        .as_ref()
        .and_then(|mesos| mesos.image.as_ref())
        .and_then(|image| image.docker.as_ref());
    if let Some(config) = own.and_then(|docker| docker.config.as_ref()) {
        let value = match config.r#type() {
            secret::Type::Value => config.value.as_ref(),
            secret::Type::Reference | secret::Type::Unknown => None,
        };
        let Some(value) = value else {
            return Err(PlanError(
                "`mesos.image.docker.config` is not of type VALUE: this executor cannot resolve it"
                    .to_owned(),
            ));
        };
        let field = "`mesos.image.docker.config`";
        return Ok(DockerConfig::read(&value.data, field)?.credentials(image).map_err(Into::into));
    }
    if let Some(credential) = own.and_then(|docker| docker.credential.as_ref()) {
        return Ok(Ok(Some(Credentials::Password {
            user: credential.principal.clone(),
            password: credential.secret.clone().unwrap_or_default().into(),
            registry: credentials::registry(image).to_owned(),
        })));
    }
    Ok(match &site.config {
        Some(config) => config.credentials(image).map_err(Into::into),
        None => Ok(None),
    })
}

#[cfg(test)]
mod tests;
