//! Containers that nobody owns any more, removed when an agent starts.
//!
//! What an agent left behind is known by name only. The containers of other
//! agents on the same engine have such names, too, and go with them: that is
//! how Mesos does it. Mesos 1.11, `src/slave/containerizer/docker.cpp` (`parse`,
//! `recover`).

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use super::Container;
use crate::{
    config::{Containerizer, DockerConfig},
    docker::{CallError, Docker, NAME_PREFIX},
};

/// How much longer than its timeout a stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Removes all containers with an executor's name that are not among `recovered`.
///
/// Without the Docker containerizer there is nothing to do; with `kill_orphans` off it is only
/// found out whether the engine answers.
///
/// # Errors
/// The engine does not answer. A single container that cannot be removed is no error.
pub(crate) async fn sweep(
    containerizers: &[Containerizer],
    config: &DockerConfig,
    recovered: &BTreeSet<Container>,
) -> Result<(), CallError> {
    if !containerizers.contains(&Containerizer::Docker) {
        return Ok(());
    }
    let docker = Docker::new(config);
    let names = docker.names().await?;
    if !config.kill_orphans {
        return Ok(());
    }
    for name in &names {
        let Some(id) = container_of(name) else { continue };
        if recovered.contains(&Container(id.to_owned())) {
            continue;
        }
        tracing::info!(container = name, "removing an orphan");
        // One that ended before cannot be stopped, but it can be removed.
        let _over = docker.stop(name, config.stop_timeout, PATIENCE).await;
        if let Err(error) = docker.remove(name).await {
            tracing::warn!(container = name, %error, "cannot remove an orphan");
        }
    }
    Ok(())
}

/// Finds the id of the executor's run in a container's name.
fn container_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix('/').unwrap_or(name).strip_prefix(NAME_PREFIX)?;
    let id = match rest.split('.').collect::<Vec<_>>()[..] {
        [id] | [_, id] | [_, id, _] => id,
        [] | [..] => return None,
    };
    Uuid::try_parse(id).is_ok().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_the_id_of_a_run_are_orphans() {
        const ID: &str = "625883b6-64f0-4365-a11b-fce6ac7adfa3";
        for (name, expected) in [
            (format!("mesos-{ID}"), Some(ID)),
            (format!("/mesos-{ID}"), Some(ID)),
            (format!("mesos-agent-S0.{ID}"), Some(ID)),
            (format!("mesos-agent-S0.{ID}.executor"), Some(ID)),
            (format!("mesos-{ID}.executor"), None),
            (format!("mesos-a.{ID}.b.c"), None),
            (format!("marmoset-{ID}"), None),
            (format!("my-mesos-{ID}"), None),
            ("mesos-master".to_owned(), None),
            ("mesos-".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(container_of(&name), expected, "{name}");
        }
    }
}
