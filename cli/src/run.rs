//! `marmoset run`: one job from the command line to its summary.
//!
//! Owns the order of things: check and read the input, start a cluster if none
//! was named, run the job, report, clean up. The job itself is the scheduler's.

mod advice;
pub(crate) mod embedded;
mod evidence;
pub(crate) mod input;
mod job;
mod screen;

use std::fs;

use anyhow::Context as _;
use marmoset_scheduler::{
    Config, ConnectionConfig, Example, ExecutorSource, ExecutorTemplate, FrameworkConfig, Identity,
    Job, JobEvent, Limits, Outcome, Summary, Timing,
};
use nix::unistd::{Uid, User};
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::{
    args::{ExecutorArgs, Keep, RunArgs},
    exit::{Ending, UsageError},
    interrupt::Interrupts,
    logging::{self, Wanted},
    output, report,
};

pub(crate) use screen::Screen;

use embedded::{Embedded, PATIENCE};

/// News that may wait to be shown.
const EVENTS: usize = 64;

/// Runs the job that the command line describes.
///
/// # Errors
/// The command line is wrong, or the job could not be run at all.
pub(crate) fn perform(args: &RunArgs) -> anyhow::Result<Ending> {
    args.check().map_err(UsageError)?;
    check_executor(args).map_err(UsageError)?;
    let screen = Screen::new();
    let wanted = if args.verbose { Wanted::Framework } else { Wanted::Warnings };
    logging::start(&screen, wanted);
    let secret = match args.secret_file.as_deref().map(input::secret).transpose()? {
        Some((secret, warning)) => {
            if let Some(warning) = warning {
                warn(&screen, &warning);
            }
            Some(secret)
        }
        None => None,
    };
    if let Some(folder) = &args.output {
        fs::create_dir_all(folder).map_err(|error| {
            UsageError(format!(
                "`--output {}` cannot be made: {error}; name a folder you may write to",
                folder.display()
            ))
        })?;
    }
    if job::ignores_its_lines(args) {
        warn(&screen, "no `{}` in the command: the lines of `--each-line` are not used");
    }
    let lines = args.each_line.as_deref().map(input::lines).transpose()?;
    let job = job::build(args, lines);
    if job.spec.items.count() == 0 {
        warn(&screen, "`--each-line` has no lines: there is nothing to do");
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(run(args, secret, job, &screen))
}

async fn run(
    args: &RunArgs,
    secret: Option<SecretString>,
    job: Job,
    screen: &Screen,
) -> anyhow::Result<Ending> {
    let interrupts = listen(screen, !args.master.is_empty())?;
    let user = args.user.clone().map_or_else(own_user, Ok)?;
    let name = format!("marmoset run {}", args.program());
    let (embedded, framework) = if args.master.is_empty() {
        let (embedded, mut framework) =
            embedded::with_framework(&name, user, &all_executor_flags(args)).await?;
        framework.core.framework.roles = vec![args.role.clone()];
        (Some(embedded), framework)
    } else {
        (None, elsewhere(args, name, user, secret)?)
    };
    let result = watched(framework, job, screen, &interrupts).await;
    screen.clear();
    if let Ok(summary) = &result {
        tell(args, summary, embedded.as_ref());
    }
    let good = result.as_ref().is_ok_and(|summary| summary.tasks.finished == summary.tasks.total());
    if let Some(embedded) = embedded {
        embedded
            .shutdown(match args.keep {
                Keep::Never => false,
                Keep::Failed => !good,
                Keep::Always => true,
            })
            .await;
    }
    result?;
    Ok(match interrupts.signal() {
        Some(signal) => Ending::Interrupted { signal },
        None if good => Ending::Good,
        None => Ending::TasksDidNotFinish,
    })
}

/// Runs the job and shows how it goes.
pub(crate) async fn watched(
    framework: FrameworkConfig,
    job: Job,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Summary> {
    let (events, mut news) = mpsc::channel(EVENTS);
    let run = marmoset_scheduler::run(framework, job, events, interrupts.token());
    let show = async {
        while let Some(event) = news.recv().await {
            match event {
                JobEvent::Progress(progress) => screen.show(progress),
                JobEvent::Waiting { since, why } => {
                    screen.say(format_args!("waiting for {}: {why}", report::span(since)));
                }
            }
        }
    };
    let (result, ()) = tokio::join!(run, show);
    result.map_err(advice::with_advice)
}

fn listen(screen: &Screen, real_cluster: bool) -> anyhow::Result<Interrupts> {
    let (told, leaving) = (screen.clone(), screen.clone());
    Interrupts::listen(
        move || told.say(format_args!("stopping: the tasks are killed; again to leave at once")),
        move || {
            leaving.clear();
            if real_cluster {
                output::complain(format_args!(
                    "left at once: the master kills what still runs within a minute"
                ));
            } else {
                output::complain(format_args!(
                    "left at once: what still runs is killed within a few seconds"
                ));
            }
        },
    )
}

fn tell(args: &RunArgs, summary: &Summary, embedded: Option<&Embedded>) {
    let scarcity = embedded.and_then(Embedded::scarcity);
    for warning in summary.warnings.iter().chain(&scarcity) {
        output::complain(format_args!("warning: {warning}"));
    }
    if args.json {
        output::print(format_args!("{}", report::json(summary)));
    } else {
        let evidence = |example: &Example| evidence::of(args, example, embedded);
        output::print(format_args!("{}", report::text(summary, &evidence)));
    }
    if summary.outcome == Outcome::Stopped && args.json {
        output::complain(format_args!(
            "stopped: {} killed, {} finished before",
            summary.tasks.killed, summary.tasks.finished
        ));
    }
}

/// A framework for a cluster that is already there.
fn elsewhere(
    args: &RunArgs,
    name: String,
    user: String,
    secret: Option<SecretString>,
) -> anyhow::Result<FrameworkConfig> {
    Ok(FrameworkConfig {
        connection: ConnectionConfig {
            secret,
            ca_file: args.ca_file.clone(),
            ..ConnectionConfig::new(args.master.clone())
        },
        core: Config {
            framework: Identity {
                roles: vec![args.role.clone()],
                hostname: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
                principal: args.principal.clone(),
                ..Identity::new(name, user)
            },
            executor: executor(&args.executor, &executor_flags(args))?,
            limits: Limits::default(),
            timing: Timing {
                patience: Some(args.master_timeout.unwrap_or(PATIENCE)),
                ..Timing::default()
            },
        },
    })
}

/// What the executor is started with, as far as the flags for tasks decide it.
///
/// An amount of memory that nobody named is a guess for placement: it ends no task.
fn executor_flags(args: &RunArgs) -> Vec<String> {
    let named = |name| args.executor.executor_arguments.iter().any(|flag| flag.starts_with(name));
    let mut flags = args.container.executor_arguments();
    if args.container.privileged && !named("--allow-privileged") {
        flags.push("--allow-privileged".to_owned());
    }
    if args.mem.is_none() && !named("--isolation") {
        flags.push("--isolation=none".to_owned());
    }
    flags
}

/// The same, and what was said for the executor itself.
fn all_executor_flags(args: &RunArgs) -> Vec<String> {
    executor_flags(args).into_iter().chain(args.executor.executor_arguments.clone()).collect()
}

/// Checks the flags of an executor that is this same program: one that does not start is only seen
/// to be absent. Of another one its flags are not known.
fn check_executor(args: &RunArgs) -> Result<(), String> {
    if args.executor.source()?.is_some() {
        return Ok(());
    }
    if let (Some(file), true) = (&args.container.docker_config, args.master.is_empty()) {
        fs::File::open(file).map_err(|error| {
            format!("`--docker-config {}` cannot be read: {error}", file.display())
        })?;
    }
    marmoset_executor::check(all_executor_flags(args).into_iter().map(Into::into)).map_err(|why| {
        format!(
            "`--executor-argument` with what other flags say: {why}; see `marmoset executor --help`"
        )
    })
}

/// What agents are told to start.
///
/// # Errors
/// The flags contradict each other.
pub(crate) fn executor(args: &ExecutorArgs, flags: &[String]) -> anyhow::Result<ExecutorTemplate> {
    // The whole program is the executor, too, if it is asked to.
    let (source, whole) = match args.source().map_err(UsageError)? {
        None => (ExecutorSource::Path(embedded::own_program()?), true),
        Some(ExecutorSource::Path(path)) => {
            let whole = path.file_name().is_some_and(|name| name == "marmoset");
            (ExecutorSource::Path(path), whole)
        }
        Some(source @ (ExecutorSource::Uri(_) | ExecutorSource::Image(_))) => (source, false),
    };
    let own = whole.then(|| "executor".to_owned());
    let given = flags.iter().chain(&args.executor_arguments);
    let arguments: Vec<String> = own.into_iter().chain(given.cloned()).collect();
    Ok(source.template(&arguments))
}

/// The name of the user who runs this, for the tasks.
pub(crate) fn own_user() -> anyhow::Result<String> {
    let uid = Uid::effective();
    User::from_uid(uid)
        .ok()
        .flatten()
        .map(|user| user.name)
        .with_context(|| format!("user {uid} has no name on this machine: say `--user NAME`"))
}

fn warn(screen: &Screen, text: &str) {
    screen.say(format_args!("warning: {text}"));
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(words: &[&str]) -> RunArgs {
        match Cli::try_parse_from([&["marmoset", "run"], words].concat()).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_master_is_waited_for_as_long_as_was_said() {
        let patience = |words: &[&str]| {
            let args = args(&[&["--master", "h:1"], words, &["--", "true"]].concat());
            elsewhere(&args, String::new(), String::new(), None).unwrap().core.timing.patience
        };
        assert_eq!(patience(&[]), Some(PATIENCE));
        let said = patience(&["--master-timeout", "2min"]);
        assert_eq!(said, Some(std::time::Duration::from_secs(120)));
    }

    #[test]
    fn only_an_amount_that_was_named_is_a_limit() {
        let flags = |words: &[&str]| executor_flags(&args(words));
        assert_eq!(flags(&["--", "true"]), ["--isolation=none"]);
        assert!(flags(&["--mem", "64", "--", "true"]).is_empty());
        let chosen = ["--executor-argument=--isolation=cgroups", "--", "true"];
        assert!(flags(&[&["--master", "127.0.0.1:5050"], &chosen[..]].concat()).is_empty());
        let privileged = ["--docker", "i", "--privileged", "--mem", "64"];
        assert_eq!(flags(&privileged), ["--allow-privileged"]);
        let twice = ["--executor-argument=--allow-privileged"];
        assert!(flags(&[&privileged[..], &twice].concat()).is_empty());
    }
}
