//! Checks of single fields that several messages share.

use marmoset_proto::mesos::v1::{
    CommandInfo, ContainerInfo, Secret, Volume, container_info, environment::variable, secret,
    volume::source,
};

/// Longest name of a file: ids become directories.
const NAME_MAX: usize = 255;

/// Checks the id of a task, executor or framework.
pub(super) fn id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("ID must not be empty".to_owned());
    }
    if id.len() > NAME_MAX {
        return Err(format!("ID must not be greater than {NAME_MAX} characters"));
    }
    if id == "." || id == ".." {
        return Err(format!("'{id}' is disallowed"));
    }
    if id.bytes().any(|byte| byte.is_ascii_control() || byte == b'/' || byte == b'\\') {
        return Err(format!("'{id}' contains invalid characters"));
    }
    Ok(())
}

/// Checks the environment of a command.
pub(super) fn command(command: &CommandInfo) -> Result<(), String> {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    for variable in variables {
        let name = &variable.name;
        match variable.r#type() {
            variable::Type::Secret => {
                let Some(secret) = &variable.secret else {
                    return Err(format!(
                        "Environment variable '{name}' of type 'SECRET' must have a secret set"
                    ));
                };
                if variable.value.is_some() {
                    return Err(format!(
                        "Environment variable '{name}' of type 'SECRET' must not have a value set"
                    ));
                }
                self::secret(secret).map_err(|error| {
                    format!("Environment variable '{name}' specifies an invalid secret: {error}")
                })?;
                if secret.value.as_ref().is_some_and(|value| value.data.contains(&0)) {
                    return Err(format!(
                        "Environment variable '{name}' specifies a secret containing null bytes, \
                         which is not allowed in the environment"
                    ));
                }
            }
            variable::Type::Value => {
                if variable.value.is_none() {
                    return Err(format!(
                        "Environment variable '{name}' of type 'VALUE' must have a value set"
                    ));
                }
                if variable.secret.is_some() {
                    return Err(format!(
                        "Environment variable '{name}' of type 'VALUE' must not have a secret set"
                    ));
                }
            }
            variable::Type::Unknown => {
                return Err("Environment variable of type 'UNKNOWN' is not allowed".to_owned());
            }
        }
    }
    Ok(())
}

fn secret(secret: &Secret) -> Result<(), String> {
    match secret.r#type() {
        secret::Type::Reference => match (&secret.reference, &secret.value) {
            (None, _) => {
                Err("Secret of type REFERENCE must have the 'reference' field set".to_owned())
            }
            (Some(reference), Some(_)) => Err(format!(
                "Secret '{}' of type REFERENCE must not have the 'value' field set",
                reference.name
            )),
            (Some(_), None) => Ok(()),
        },
        secret::Type::Value => match (&secret.value, &secret.reference) {
            (None, _) => Err("Secret of type VALUE must have the 'value' field set".to_owned()),
            (Some(_), Some(_)) => {
                Err("Secret of type VALUE must not have the 'reference' field set".to_owned())
            }
            (Some(_), None) => Ok(()),
        },
        secret::Type::Unknown => Ok(()),
    }
}

/// Checks volumes and what a Docker container needs.
pub(super) fn container(container: &ContainerInfo) -> Result<(), String> {
    for volume in &container.volumes {
        self::volume(volume).map_err(|error| format!("Invalid volume: {error}"))?;
    }
    if container.r#type() != container_info::Type::Docker {
        return Ok(());
    }
    let Some(docker) = &container.docker else {
        return Err("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo".to_owned());
    };
    if docker.parameters.iter().any(|parameter| parameter.key == "name") {
        return Err("Parameter in DockerInfo must not be 'name'".to_owned());
    }
    Ok(())
}

fn volume(volume: &Volume) -> Result<(), String> {
    let given = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err("Only one of them should be set: 'host_path', 'image' and 'source'".to_owned());
    }
    let Some(source) = &volume.source else { return Ok(()) };
    let (set, field, kind) = match source.r#type() {
        source::Type::DockerVolume => {
            (source.docker_volume.is_some(), "docker_volume", "DOCKER_VOLUME")
        }
        source::Type::HostPath => (source.host_path.is_some(), "host_path", "HOST_PATH"),
        source::Type::SandboxPath => {
            (source.sandbox_path.is_some(), "sandbox_path", "SANDBOX_PATH")
        }
        source::Type::Secret => (source.secret.is_some(), "secret", "SECRET"),
        source::Type::CsiVolume => (source.csi_volume.is_some(), "csi_volume", "CSI"),
        source::Type::Unknown => return Err("'source.type' is unknown".to_owned()),
    };
    if set { Ok(()) } else { Err(format!("'source.{field}' is not set for {kind} volume")) }
}

/// Whether a container explicitly shares, or does not share, its executor's cgroups.
pub(super) fn share_cgroups(container: Option<&ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}
