//! Removes the containers of executors that are dead.
//!
//! Owns which of them go: an executor looks for those of its agent when it
//! starts; a person for all of them, with `marmoset-executor sweep`.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use tokio::time::sleep;

use super::{
    CALL_LIMIT, DockerSetup, SOCKET,
    engine::{Engine, EngineError, Listed},
    ownership::{self, LABEL, Owner, RUN, TASK, Verdict},
    remove_all,
};

/// Between two tries to ask an engine that is not there.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The subcommand.
pub(crate) const SUBCOMMAND: &str = "sweep";

/// Removes the containers that dead executors have left behind.
///
/// Containers are found by their labels (`docker ps -a --filter label=marmoset`). Those of an
/// executor that lives stay. Whether it lives is known in the network namespace that it was
/// started in, usually the host's; elsewhere its containers are named and left alone.
#[derive(Debug, Parser)]
#[command(name = "marmoset-executor sweep", version)]
struct Arguments {
    /// Say what would be removed
    #[arg(long)]
    dry_run: bool,

    /// The engine's socket
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    docker_socket: PathBuf,

    /// Only those that have this label, e.g. `marmoset.framework=ID`
    #[arg(long, value_name = "KEY[=VALUE]", default_value = LABEL)]
    label: String,
}

/// What a person calls.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let name = OsString::from("marmoset-executor sweep");
    let arguments = std::iter::once(name).chain(arguments);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match by_hand(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("marmoset-executor sweep: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn by_hand(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let netns = ownership::network_namespace().context("cannot find out where this runs")?;
    runtime.block_on(async {
        let engine = Engine::new(arguments.docker_socket.clone(), CALL_LIMIT);
        let listed = engine.list(&arguments.label).await?;
        let judge = |labels: &HashMap<String, String>| ownership::verdict(labels, &netns);
        let mut orphans = Vec::new();
        for there in listed.into_iter().filter(ownership::is_named) {
            let verdict = judge(&there.labels);
            let what = match verdict {
                Verdict::Orphan if arguments.dry_run => "would be removed",
                Verdict::Orphan => "removed",
                Verdict::Owned => "stays: its executor lives",
                Verdict::Unknown => {
                    "stays: its executor lives, or lived, in another network namespace; sweep there"
                }
                Verdict::Foreign => continue,
            };
            let label = |key| there.labels.get(key).map_or("?", String::as_str);
            println!("{} (task {}, run {}): {what}", there.name, label(TASK), label(RUN));
            if verdict == Verdict::Orphan {
                orphans.push(there.name);
            }
        }
        if !arguments.dry_run {
            remove_all(&engine, orphans).await;
        }
        Ok(())
    })
}

/// Removes what dead executors have left, when an executor starts, or once its engine is there.
pub(crate) async fn of_predecessors(setup: DockerSetup) {
    let _done = setup.swept.clone().drop_guard();
    let Ok(owner) = setup.owner() else { return };
    let engine = Engine::new(setup.socket.clone(), setup.call_limit);
    let mut pause = PAUSE_MIN;
    loop {
        // Where no engine is expected nobody is asked.
        if setup.socket.exists() {
            match orphans(&engine, &owner).await {
                Ok(orphans) => return remove_orphans(&engine, orphans).await,
                Err(error) => tracing::debug!(%error, "the engine was not asked for orphans"),
            }
        }
        // Whoever waits for an engine is to say so.
        setup.swept.cancel();
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn remove_orphans(engine: &Engine, orphans: Vec<Listed>) {
    if orphans.is_empty() {
        return;
    }
    tracing::info!(containers = orphans.len(), "the containers of dead executors are removed");
    remove_all(engine, orphans.into_iter().map(|there| there.name).collect()).await;
}

async fn orphans(engine: &Engine, owner: &Owner) -> Result<Vec<Listed>, EngineError> {
    let listed = engine.list(LABEL).await?.into_iter().filter(ownership::is_named);
    Ok(listed.filter(|there| owner.verdict(&there.labels) == Verdict::Orphan).collect())
}
