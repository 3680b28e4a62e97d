//! Volumes of a container.

use std::path::{Component, Path, PathBuf};

use bollard::models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};
use marmoset_proto::mesos::v1::{Volume, volume};

use super::{PlanError, SANDBOX};

/// One volume, before the task's folder is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    target: String,
    read_only: bool,
    source: Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// A path of the host. Made if it is not there, as `docker run -v` does.
    Host(String),
    /// A path below the task's folder.
    Sandbox(PathBuf),
    /// A volume of the engine.
    Docker { name: String, driver: Option<String>, options: Vec<(String, String)> },
    /// A new one, which ends with the container.
    Anonymous,
}

/// Reads `ContainerInfo.volumes`.
pub(super) fn read(volumes: &[Volume], driver: Option<&str>) -> Result<Vec<Wish>, PlanError> {
    volumes.iter().map(|volume| wish(volume, driver)).collect()
}

fn wish(volume: &Volume, driver: Option<&str>) -> Result<Wish, PlanError> {
    let path = &volume.container_path;
    let error = |what: &str| PlanError(format!("the volume for `{path}` {what}"));
    let bad = |what: &str| Err(error(what));
    if path.is_empty() {
        return bad("has no `container_path`");
    }
    let inside = Path::new(path);
    let Some(relative) = below(inside) else {
        return bad("has `..` in its `container_path`: name the folder itself");
    };
    let target = if inside.is_absolute() {
        path.clone()
    } else {
        Path::new(SANDBOX).join(relative).to_string_lossy().into_owned()
    };
    let host = |host: &str| {
        let on_host = Path::new(host);
        if on_host.is_absolute() {
            return if host.contains(':') {
                Err(error("has a colon in its `host_path`, which Docker cannot mount"))
            } else {
                Ok(Source::Host(host.to_owned()))
            };
        }
        if !inside.is_absolute() {
            return Err(error(
                "has a relative `container_path` and a relative `host_path`: one of them must be \
                 absolute",
            ));
        }
        below(on_host).map(Source::Sandbox).ok_or_else(|| {
            error("has `..` in its `host_path`: it must stay below the task's folder")
        })
    };
    let source = match (&volume.host_path, &volume.source) {
        (Some(_), Some(_)) => return bad("has a `host_path` and a `source`: remove one"),
        (Some(path), None) => match driver {
            // With a driver the name of a volume stands where a path would.
            Some(driver) if !path.starts_with('/') => Source::Docker {
                name: path.clone(),
                driver: Some(driver.to_owned()),
                options: Vec::new(),
            },
            Some(_) | None => host(path)?,
        },
        (None, None) => Source::Anonymous,
        (None, Some(source)) => match source.r#type() {
            volume::source::Type::DockerVolume => {
                let Some(docker) = source.docker_volume.as_ref().filter(|d| !d.name.is_empty())
                else {
                    return bad("has no `source.docker_volume.name`");
                };
                let options = docker.driver_options.iter().flat_map(|options| &options.parameter);
                Source::Docker {
                    name: docker.name.clone(),
                    driver: docker.driver.clone().or(driver.map(str::to_owned)),
                    options: options.map(|o| (o.key.clone(), o.value.clone())).collect(),
                }
            }
            volume::source::Type::HostPath => match &source.host_path {
                Some(path) if Path::new(&path.path).is_absolute() => host(&path.path)?,
                Some(_) | None => return bad("needs an absolute `source.host_path.path`"),
            },
            volume::source::Type::SandboxPath => {
                let path = source.sandbox_path.as_ref();
                let own =
                    path.filter(|path| path.r#type() != volume::source::sandbox_path::Type::Parent);
                match own.and_then(|own| below(Path::new(&own.path))) {
                    Some(relative) => Source::Sandbox(relative),
                    None => return bad("needs a `source.sandbox_path` of type SELF without `..`"),
                }
            }
            volume::source::Type::Secret
            | volume::source::Type::CsiVolume
            | volume::source::Type::Unknown => {
                return bad("has a `source` that Docker has not: use DOCKER_VOLUME, HOST_PATH or \
                            SANDBOX_PATH");
            }
        },
    };
    if target.contains(':') {
        return bad("has a colon in its `container_path`, which Docker cannot mount");
    }
    Ok(Wish { target, read_only: volume.mode() == volume::Mode::Ro, source })
}

/// The path as one below a folder; `None` if it could lead out of it.
fn below(path: &Path) -> Option<PathBuf> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => None,
        })
        .collect()
}

impl Wish {
    /// Adds it to what the engine is asked for.
    pub(super) fn apply(&self, folder: &Path, binds: &mut Vec<String>, mounts: &mut Vec<Mount>) {
        match &self.source {
            Source::Host(path) => {
                let mode = if self.read_only { "ro" } else { "rw" };
                binds.push(format!("{path}:{}:{mode}", self.target));
            }
            Source::Sandbox(relative) => {
                mounts.push(bind(&folder.join(relative), &self.target, self.read_only));
            }
            Source::Docker { name, driver, options } => {
                let driver_config = driver.as_ref().map(|driver| MountVolumeOptionsDriverConfig {
                    name: Some(driver.clone()),
                    options: Some(options.iter().cloned().collect()),
                });
                let volume_options =
                    Some(MountVolumeOptions { driver_config, ..MountVolumeOptions::default() });
                mounts.push(Mount { volume_options, ..self.volume(Some(name.clone())) });
            }
            Source::Anonymous => mounts.push(self.volume(None)),
        }
    }

    /// Folders of the task that have to be there before the container.
    pub(super) fn own_folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Sandbox(relative) => Some(relative),
            Source::Host(_) | Source::Docker { .. } | Source::Anonymous => None,
        }
    }

    fn volume(&self, source: Option<String>) -> Mount {
        Mount {
            typ: Some(MountType::VOLUME),
            source,
            target: Some(self.target.clone()),
            read_only: Some(self.read_only),
            ..Mount::default()
        }
    }
}

/// Shows a path of the host in a container.
pub(super) fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}
