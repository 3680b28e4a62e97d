//! Flags that say how agents come by the executor.
//!
//! Owns what excludes what; what each way means to Mesos is the scheduler's.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use marmoset_scheduler::{ExecutorImage, ExecutorSource, HostVolume, ImageContainerizer};

/// Where the Docker engine listens, on nearly every host.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Options of `docker run` that would take the container out of the agent's hands.
const AGENTS_OWN: [&str; 3] = ["name", "detach", "d"];

/// Who runs the executor's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageRunner {
    /// The Docker containerizer: the host's Docker engine. Lost when its agent restarts
    Docker,
    /// The Mesos containerizer: the agent itself. Found again when its agent restarts
    Mesos,
}

/// How agents come by the executor.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Executor on a cluster")]
pub(crate) struct ExecutorArgs {
    /// The executor's path on the agents [default: that of this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) executor_path: Option<PathBuf>,

    /// URI that agents fetch the executor from, e.g. `http://10.0.0.1/marmoset-executor`
    #[arg(long, value_name = "URI")]
    pub(crate) executor_uri: Option<String>,

    /// Image that the executor is in, as images/build makes it
    #[arg(long, value_name = "IMAGE")]
    pub(crate) executor_image: Option<String>,

    /// Who runs the image [default: docker]
    #[arg(long, value_name = "NAME")]
    pub(crate) executor_containerizer: Option<ImageRunner>,

    /// Docker engine that the executor in an image starts tasks' containers with: a socket of the
    /// host, or `none` [default: /var/run/docker.sock with `docker`, `none` with `mesos`]
    #[arg(long, value_name = "PATH|none")]
    pub(crate) executor_docker_socket: Option<String>,

    /// Path of the host inside of the executor's container; may be given several times
    #[arg(long = "executor-volume", value_name = "HOST[:CONTAINER][:ro]", value_parser = volume)]
    pub(crate) executor_volumes: Vec<HostVolume>,

    /// Option of `docker run` for the executor's container, without dashes, e.g. `memory=4g`; may be
    /// given several times
    #[arg(long = "executor-docker-parameter", value_name = "KEY=VALUE", value_parser = parameter)]
    pub(crate) executor_docker_parameters: Vec<(String, String)>,

    /// Pull the executor's image though it is on the agent
    #[arg(long)]
    pub(crate) executor_force_pull: bool,

    /// Argument for the executor, on the embedded cluster too, e.g.
    /// `--executor-argument=--updates=all`; may be given several times
    #[arg(long = "executor-argument", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) executor_arguments: Vec<String>,
}

impl ExecutorArgs {
    /// Names the first flag that was given and has a meaning on a real cluster alone.
    pub(crate) fn first_for_clusters(&self) -> Option<&'static str> {
        [
            ("--executor-path", self.executor_path.is_some()),
            ("--executor-uri", self.executor_uri.is_some()),
            ("--executor-image", self.executor_image.is_some()),
            ("--executor-containerizer", self.executor_containerizer.is_some()),
            ("--executor-docker-socket", self.executor_docker_socket.is_some()),
            ("--executor-volume", !self.executor_volumes.is_empty()),
            ("--executor-docker-parameter", !self.executor_docker_parameters.is_empty()),
            ("--executor-force-pull", self.executor_force_pull),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    /// What the flags say; nothing: this same program.
    ///
    /// # Errors
    /// Flags exclude each other, or one needs another. The text names them and the way out.
    pub(crate) fn source(&self) -> Result<Option<ExecutorSource>, String> {
        let ways = [
            ("--executor-path", self.executor_path.is_some()),
            ("--executor-uri", self.executor_uri.is_some()),
            ("--executor-image", self.executor_image.is_some()),
        ];
        let given: Vec<&str> =
            ways.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect();
        if let [first, second, ..] = given[..] {
            return Err(format!(
                "`{first}` and `{second}` exclude each other: agents come by the executor in one \
                 way; leave one out"
            ));
        }
        if self.executor_image.is_none() {
            self.refuse_without_image()?;
        }
        if let Some(path) = &self.executor_path {
            return if path.is_absolute() {
                Ok(Some(ExecutorSource::Path(path.clone())))
            } else {
                Err(format!(
                    "`--executor-path {}` is not absolute: agents have other working directories; \
                     start it with `/`",
                    path.display()
                ))
            };
        }
        if let Some(uri) = &self.executor_uri {
            return if uri.starts_with('/') || uri.contains("://") {
                Ok(Some(ExecutorSource::Uri(uri.clone())))
            } else {
                Err(format!(
                    "`--executor-uri {uri}` is not a URI: write it like \
                     `http://10.0.0.1/marmoset-executor` or `file:///srv/marmoset-executor`"
                ))
            };
        }
        let Some(image) = &self.executor_image else { return Ok(None) };
        self.image(image).map(|image| Some(ExecutorSource::Image(image)))
    }

    /// Whether an executor with these flags may have an engine at its `--docker-socket`; `because` is
    /// the flag that wants one, `socket` the path that was given.
    ///
    /// # Errors
    /// The path is not in the executor's container. The text names the flags and the way out.
    pub(crate) fn reaches_engine(
        &self,
        because: &str,
        socket: Option<&Path>,
    ) -> Result<(), String> {
        let by_hand = |flag: &String| flag.starts_with("--docker-socket");
        if self.executor_arguments.iter().any(by_hand) {
            return Ok(());
        }
        let image = match self.source()? {
            Some(ExecutorSource::Image(image)) => image,
            Some(ExecutorSource::Path(_) | ExecutorSource::Uri(_)) | None => return Ok(()),
        };
        let inside = socket.unwrap_or(Path::new(DOCKER_SOCKET));
        if image.volumes.iter().any(|volume| inside.starts_with(&volume.container)) {
            return Ok(());
        }
        let path = inside.display();
        Err(match (socket, self.executor_docker_socket.as_deref()) {
            (Some(_), _) => format!(
                "`--docker-socket {path}` is not in the container of `--executor-image`: name the \
                 socket of the host with `--executor-docker-socket {path}` instead"
            ),
            (None, Some(_)) => format!(
                "`{because}` needs a Docker engine, and `--executor-docker-socket none` keeps it from \
                 the executor: leave it out, or name the socket of the host"
            ),
            (None, None) => format!(
                "`{because}` needs a Docker engine, and an executor under \
                 `--executor-containerizer mesos` has none: say `--executor-docker-socket {path}`"
            ),
        })
    }

    fn refuse_without_image(&self) -> Result<(), String> {
        let only_with_image = [
            ("--executor-containerizer", self.executor_containerizer.is_some()),
            ("--executor-docker-socket", self.executor_docker_socket.is_some()),
            ("--executor-volume", !self.executor_volumes.is_empty()),
            ("--executor-docker-parameter", !self.executor_docker_parameters.is_empty()),
            ("--executor-force-pull", self.executor_force_pull),
        ];
        match only_with_image.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(format!(
                "`{flag}` needs `--executor-image IMAGE`: an executor without an image is in no \
                 container of its own"
            )),
            None => Ok(()),
        }
    }

    fn image(&self, name: &str) -> Result<ExecutorImage, String> {
        if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
            return Err(format!(
                "`--executor-image {name}` is no name of an image: write it like \
                 `registry:5000/marmoset-executor:1`"
            ));
        }
        let runner = self.executor_containerizer.unwrap_or(ImageRunner::Docker);
        let containerizer = match runner {
            ImageRunner::Docker => ImageContainerizer::Docker {
                parameters: self.executor_docker_parameters.clone(),
                force_pull: self.executor_force_pull,
            },
            ImageRunner::Mesos => {
                let dockers = [
                    ("--executor-docker-parameter", !self.executor_docker_parameters.is_empty()),
                    ("--executor-force-pull", self.executor_force_pull),
                ];
                if let Some((flag, _)) = dockers.into_iter().find(|(_, given)| *given) {
                    return Err(format!(
                        "`{flag}` needs `--executor-containerizer docker`: the Mesos containerizer \
                         does not call `docker`"
                    ));
                }
                ImageContainerizer::Mesos
            }
        };
        let socket = match (self.executor_docker_socket.as_deref(), runner) {
            (Some("none"), _) | (None, ImageRunner::Mesos) => None,
            (None, ImageRunner::Docker) => Some(DOCKER_SOCKET),
            (Some(path), _) if path.starts_with('/') => Some(path),
            (Some(path), _) => {
                return Err(format!(
                    "`--executor-docker-socket {path}` is not absolute: start it with `/`, or say \
                     `none`"
                ));
            }
        };
        // Inside it is where everybody looks for it.
        let socket = socket.map(|path| HostVolume {
            host: path.to_owned(),
            container: DOCKER_SOCKET.to_owned(),
            read_only: false,
        });
        let volumes = socket.into_iter().chain(self.executor_volumes.iter().cloned()).collect();
        Ok(ExecutorImage { name: name.to_owned(), containerizer, volumes })
    }
}

fn volume(text: &str) -> Result<HostVolume, String> {
    let (paths, read_only) = match text.rsplit_once(':') {
        Some((paths, "ro")) => (paths, true),
        Some((paths, "rw")) => (paths, false),
        Some(_) | None => (text, false),
    };
    let (host, container) = paths.split_once(':').unwrap_or((paths, paths));
    if !host.starts_with('/') || !container.starts_with('/') || container.contains(':') {
        return Err("is not like `/srv/data:/data:ro`: two absolute paths, and perhaps `ro`".into());
    }
    Ok(HostVolume { host: host.to_owned(), container: container.to_owned(), read_only })
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("is not like `memory=4g`")?;
    if key.starts_with('-') {
        return Err("begins with a dash: write `memory=4g`, the agent puts `--` before it".into());
    }
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err("names no option of `docker run`: write it like `memory=4g`".into());
    }
    if AGENTS_OWN.contains(&key) {
        return Err(format!(
            "sets `{key}`, which is the agent's: it would lose sight of its container"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
