//! Networks and published ports.

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig, PortBinding,
};
use marmoset_proto::mesos::v1::{
    ContainerInfo,
    container_info::{self, DockerInfo, docker_info::Network},
};

use super::PlanError;

/// A port of the container that the host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    /// 0: the run's next port.
    host: u16,
    /// `80/tcp`.
    container: String,
}

/// Joins the network that a container asks for.
pub(super) fn apply(
    container: &ContainerInfo,
    docker: &DockerInfo,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> Result<Vec<Published>, PlanError> {
    let named = container.network_infos.iter().filter_map(|info| info.name.as_deref());
    let named = named.collect::<Vec<_>>();
    let network = match container.r#type() {
        container_info::Type::Docker => docker.network(),
        container_info::Type::Mesos if named.is_empty() => Network::Host,
        container_info::Type::Mesos => Network::User,
    };
    let mode = match network {
        Network::Host => "host",
        Network::Bridge => "bridge",
        Network::None => "none",
        Network::User => match named[..] {
            [name] if !name.is_empty() && !name.starts_with("container:") => name,
            _ => {
                return Err(PlanError(
                    "the network USER needs exactly one `network_infos` entry with a `name`: the \
                     name of a Docker network"
                        .to_owned(),
                ));
            }
        },
    };
    host.network_mode = Some(mode.to_owned());
    if network == Network::User {
        let endpoints = [(mode.to_owned(), EndpointSettings::default())].into();
        body.networking_config = Some(NetworkingConfig { endpoints_config: Some(endpoints) });
    }
    if let Some(hostname) = &container.hostname {
        if network == Network::Host {
            return Err(PlanError(
                "`container.hostname` is set with the network HOST, which has the host's: \
                 remove it, or choose another network"
                    .to_owned(),
            ));
        }
        body.hostname = Some(hostname.clone());
    }
    let mappings = container
        .network_infos
        .iter()
        .flat_map(|info| &info.port_mappings)
        .map(|mapping| (mapping.host_port, mapping.container_port, mapping.protocol.as_deref()))
        .chain(docker.port_mappings.iter().map(|mapping| {
            (mapping.host_port, mapping.container_port, mapping.protocol.as_deref())
        }));
    let ports = mappings.map(published).collect::<Result<Vec<_>, _>>()?;
    match network {
        Network::Host | Network::None if !ports.is_empty() => Err(PlanError(format!(
            "`port_mappings` have no meaning in the network `{mode}`: choose BRIDGE or USER"
        ))),
        Network::Host | Network::None | Network::Bridge | Network::User => Ok(ports),
    }
}

fn published(
    (host, container, protocol): (u32, u32, Option<&str>),
) -> Result<Published, PlanError> {
    let protocol = protocol.unwrap_or("tcp");
    let port = |number: u32, field: &str| {
        u16::try_from(number)
            .map_err(|_| PlanError(format!("`port_mappings.{field}` {number} is not a port")))
    };
    let container = match port(container, "container_port")? {
        0 => return Err(PlanError("`port_mappings.container_port` is 0".to_owned())),
        port => port,
    };
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(PlanError(format!(
            "`port_mappings.protocol` `{protocol}` is none of `tcp`, `udp`, `sctp`"
        )));
    }
    Ok(Published { host: port(host, "host_port")?, container: format!("{container}/{protocol}") })
}

/// Shows the ports of one run, out of those it was given.
pub(super) fn publish(
    published: &[Published],
    given: &[u16],
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> Result<(), PlanError> {
    let named = |port: &u16| published.iter().any(|mapping| mapping.host == *port);
    let mut free = given.iter().copied().filter(|port| !named(port));
    for mapping in published {
        let port = match mapping.host {
            0 => free.next().ok_or_else(|| {
                PlanError(format!(
                    "`port_mappings` ask for more ports than the {} of the task: ask for more",
                    given.len()
                ))
            })?,
            port if given.contains(&port) => port,
            port => {
                return Err(PlanError(format!(
                    "`port_mappings.host_port` {port} is not among the ports of the task \
                     ({given:?}): ask for it in `resources`, or set it to 0 for the next of them"
                )));
            }
        };
        let binding = PortBinding { host_ip: None, host_port: Some(port.to_string()) };
        let bindings = host.port_bindings.get_or_insert_default();
        bindings
            .entry(mapping.container.clone())
            .or_default()
            .get_or_insert_default()
            .push(binding);
        body.exposed_ports.get_or_insert_default().push(mapping.container.clone());
    }
    Ok(())
}
