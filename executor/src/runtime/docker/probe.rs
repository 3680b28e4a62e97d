//! Probes of containers.
//!
//! Owns where a probe is made: commands in the container, and so is everything
//! that asks for a loopback address, unless the container has the host's
//! network, where it is the executor's own. Refuses to know when to probe and
//! what an answer means.
//!
//! Inside the container our own program asks: it is mounted there already, and
//! needs nothing of the image.

use std::{ffi::OsString, net::SocketAddr, process::ExitCode, sync::Arc};

use marmoset_executor_core::{Answer, Attempt, Page, Probe};
use marmoset_proto::mesos::v1::CommandInfo;

use super::{
    DockerRuntime,
    engine::{Engine, EngineError},
    plan::Plan,
};
use crate::probes;

/// The hidden subcommand: `container-probe tcp ADDRESS`, `container-probe http|https ADDRESS PATH`.
pub(crate) const SUBCOMMAND: &str = "container-probe";

/// Exit status for being called in a way that makes no sense, as sysexits.h has it.
const USAGE: u8 = 64;

/// A probe found nobody.
const NOBODY: u8 = 1;

impl DockerRuntime {
    pub(super) fn start_probe(&mut self, probe: Probe) {
        let Some(run) = self.runs.get(&probe.spawn.run) else { return };
        let (engine, name, plan) = (self.engine.clone(), run.name.clone(), run.plan.clone());
        let program = self.site.program.command(SUBCOMMAND);
        let (id, answer) = (probe.id, self.answer.clone());
        let task = self.tasks.spawn(async move {
            let outcome = attempt(&engine, &name, &plan, program, &probe.attempt).await;
            // At the end nobody listens any more.
            let _ = answer.send((id, outcome)).await;
        });
        self.probes.insert(id, task.abort_handle());
    }
}

pub(super) async fn attempt(
    engine: &Engine,
    name: &str,
    plan: &Arc<Plan>,
    mut program: Vec<String>,
    attempt: &Attempt,
) -> Answer {
    let nothing = |error: EngineError| Answer::Nothing { reason: error.to_string() };
    match attempt {
        Attempt::Command(template) => {
            let command = &template.command;
            let own = command.environment.iter().flat_map(|own| &own.variables);
            let env = own.map(|variable| format!("{}={}", variable.name, variable.value()));
            let user = command.user.clone();
            match engine.execute(name, words(command), env.collect(), user).await {
                Ok((code, _)) => {
                    let code = u8::try_from(code).unwrap_or(u8::MAX);
                    Answer::Exited { wait_status: i32::from(code) << 8 }
                }
                Err(error) => nothing(error),
            }
        }
        Attempt::Http(page) if plan.has_hosts_network() => probes::page(page).await,
        Attempt::Tcp(address) if plan.has_hosts_network() => probes::connection(*address).await,
        Attempt::Http(page) => {
            let scheme = if page.tls { "https" } else { "http" };
            program.extend([scheme.to_owned(), page.address.to_string(), page.path.clone()]);
            match engine.execute(name, program, Vec::new(), None).await {
                Ok((0, text)) => match text.trim().parse() {
                    Ok(code) => Answer::Responded { code },
                    Err(_) => Answer::Nothing { reason: text },
                },
                Ok((_, text)) => Answer::Nothing { reason: text.trim().to_owned() },
                Err(error) => nothing(error),
            }
        }
        Attempt::Tcp(address) => {
            program.extend(["tcp".to_owned(), address.to_string()]);
            match engine.execute(name, program, Vec::new(), None).await {
                Ok((0, _)) => Answer::Connected,
                Ok((_, text)) => Answer::NotConnected { reason: text.trim().to_owned() },
                Err(error) => nothing(error),
            }
        }
    }
}

pub(super) fn words(command: &CommandInfo) -> Vec<String> {
    let value = command.value().to_owned();
    if command.shell() {
        return vec!["/bin/sh".to_owned(), "-c".to_owned(), value];
    }
    std::iter::once(value).chain(command.arguments.iter().cloned()).collect()
}

/// Probes from inside a container, and prints the answer.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let words = words.collect::<Vec<_>>();
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    let address = words.get(1).and_then(|address| address.parse::<SocketAddr>().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(address), Ok(runtime)) = (address, runtime) else {
        eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
        return ExitCode::from(USAGE);
    };
    let answer = match words[..] {
        ["tcp", _] => runtime.block_on(probes::connection(address)),
        [scheme @ ("http" | "https"), _, path] => {
            let page = Page { tls: scheme == "https", address, path: path.to_owned() };
            runtime.block_on(probes::page(&page))
        }
        _ => {
            eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
            return ExitCode::from(USAGE);
        }
    };
    match answer {
        Answer::Connected => ExitCode::SUCCESS,
        Answer::Responded { code } => {
            println!("{code}");
            ExitCode::SUCCESS
        }
        Answer::NotConnected { reason } | Answer::Nothing { reason } => {
            println!("{reason}");
            ExitCode::from(NOBODY)
        }
        Answer::Exited { wait_status } => unreachable!("no command was run: {wait_status}"),
    }
}
