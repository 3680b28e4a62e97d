//! `marmoset bench compare`: the same job through our executor and through Mesos' own.
//!
//! Owns which sides there are, the order in which they take turns, and how many
//! commands each is given. What one round is lies in [`side`]; what it amounts to
//! in [`document`].
//!
//! ```text
//! a pilot of each side ─▶ rounds: a, b, c, a, b, c, … ─▶ one command at a time ─▶ report
//!        └─ no command finished: the side is told as absent, and why
//! ```

mod builtin;
mod document;
mod side;
mod table;

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use marmoset_proto::{
    mesos::v1::CommandInfo,
    resources::{Millis, Need},
};
use marmoset_scheduler::{ConnectionConfig, Identity};
use serde_json::{Map, Value};

use super::{html, interval, peers, scale, site::Site};
use crate::{
    args::{Also, CompareArgs},
    exit::{Ending, UsageError},
    interrupt::Interrupts,
    logging::{self, Wanted},
    output, report,
    run::{self, Screen},
};
use document::{Comparison, Measured, Outcome};
use side::{
    BATCHES, COMMAND, GROUP, IN_CONTAINERS, IN_SHARED_CONTAINERS, NULL, Round, SINGLE, Side, Way,
    Work, measure,
};

/// Commands of a pilot.
const PILOT: u64 = 20;

/// How long a pilot may take before its side is told as absent.
const PILOT_LIMIT: Duration = Duration::from_secs(60);

/// About how long a round of a built-in side takes.
const BUILTIN_ROUND: Duration = Duration::from_secs(10);

/// After which a round is given up: something hangs.
const ROUND_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Commands that are run one at a time.
const ALONE: u64 = 20;

/// Measures, prints, and writes the report.
///
/// # Errors
/// The command line is wrong, no side can run the command, or the cluster is gone.
pub(super) fn perform(args: &CompareArgs) -> anyhow::Result<Ending> {
    let secret = check(args)?;
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let (doc, signal) = runtime.block_on(async {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let doc = compare(args, secret, &screen, &interrupts).await;
        match interrupts.signal() {
            // What was interrupted has no figures.
            Some(signal) => Ok((Value::Null, Some(signal))),
            None => doc.map(|doc| (doc, None)),
        }
    })?;
    if let Some(signal) = signal {
        return Ok(Ending::Interrupted { signal });
    }
    write(&args.html, &html::page(&doc))?;
    if args.json {
        output::print(format_args!("{doc}"));
    } else if args.csv {
        output::print(format_args!("{}", table::csv(&doc)));
    } else {
        output::print(format_args!("{}", table::text(&doc)));
        output::print(format_args!("report: {}", args.html.display()));
    }
    Ok(Ending::Good)
}

/// Finds what is wrong before anything runs; yields the secret.
fn check(args: &CompareArgs) -> anyhow::Result<Option<secrecy::SecretString>> {
    args.executor.source().map_err(UsageError)?;
    if let (Some(flag), true) = (args.executor.first_for_clusters(), args.master.is_empty()) {
        return Err(UsageError(format!(
            "`{flag}` needs `--master HOST:PORT`: the embedded cluster has no use for it"
        ))
        .into());
    }
    if args.executor.source().map_err(UsageError)?.is_none() {
        let flags = args.executor.executor_arguments.iter().map(Into::into);
        marmoset_executor::check(flags)
            .map_err(|why| UsageError(format!("`--executor-argument`: {why}")))?;
    }
    let images = [("--docker", &args.docker), ("--warm", &args.warm)];
    if let Some((flag, _)) = images.into_iter().find(|(_, image)| image.is_some()) {
        args.executor.reaches_engine(flag, None).map_err(UsageError)?;
    }
    if args.command[0].is_empty() {
        return Err(
            UsageError("COMMAND must not be empty: name a program after `--`".into()).into()
        );
    }
    if args.also.contains(&Also::Nothing) && args.also.len() > 1 {
        let text = "`--also nothing` excludes the other sections: leave one out";
        return Err(UsageError(text.into()).into());
    }
    // Better now than after five minutes.
    probe(&args.html).map_err(|error| unwritable(&args.html, &error))?;
    match &args.secret_file {
        None => Ok(None),
        Some(path) => Ok(Some(run::input::secret(path)?.0)),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).map_err(|error| unwritable(path, &error).into())
}

/// Finds out whether a file could be written, and leaves everything as it was: what is interrupted
/// keeps the report of the run before.
fn probe(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> UsageError {
    UsageError(format!("`--html {}` cannot be written: {error}", path.display()))
}

async fn compare(
    args: &CompareArgs,
    secret: Option<secrecy::SecretString>,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Value> {
    let user = args.user.clone().map_or_else(run::own_user, Ok)?;
    let site = site(args, user, secret).await?;
    let work = Work {
        command: command(&args.command),
        need: Need { cpus: Millis(args.cpus), mem: Millis(args.mem), ..Need::default() },
        image: args.docker.clone(),
        warm_image: args.warm.clone(),
    };
    let mut comparison = Comparison::new(args, site.facts.clone(), site.agent.is_some());
    pilots(args, &site, &work, &mut comparison, screen, interrupts).await?;
    rounds(args, &site, &work, &mut comparison, screen, interrupts).await?;
    alone(&site, &work, &mut comparison, screen, interrupts).await?;
    site.shutdown();
    let sections = sections(args, screen, interrupts).await?;
    Ok(comparison.document(sections))
}

/// What reaches the executor that runs nothing, on the executor's command line.
const NULL_EXECUTOR: &str = "null";

async fn site(
    args: &CompareArgs,
    user: String,
    secret: Option<secrecy::SecretString>,
) -> anyhow::Result<Site> {
    let null = [NULL_EXECUTOR.to_owned()];
    if args.master.is_empty() {
        let docker = args.docker.as_ref().map(|_| "--containerizers=docker,mesos".to_owned());
        let own = &args.executor.executor_arguments;
        let mut site = Site::embedded(user, docker.as_slice(), own).await?;
        site.identity.roles = vec![args.role.clone()];
        site.null = Some(run::embedded::own_executor(&null)?);
        return Ok(site);
    }
    let connection = ConnectionConfig {
        secret,
        ca_file: args.ca_file.clone(),
        ..ConnectionConfig::new(args.master.clone())
    };
    let identity = Identity {
        roles: vec![args.role.clone()],
        principal: args.principal.clone(),
        ..Identity::new("", user)
    };
    let mut site = Site::of(connection, identity, run::executor(&args.executor, &[])?).await?;
    site.null = Some(run::executor(&args.executor, &null)?);
    Ok(site)
}

fn command(words: &[String]) -> CommandInfo {
    CommandInfo {
        shell: Some(false),
        value: Some(words[0].clone()),
        arguments: words.to_vec(),
        ..CommandInfo::default()
    }
}

/// Those that are asked for.
fn sides(args: &CompareArgs) -> Vec<Side> {
    let mut sides = vec![SINGLE, BATCHES, COMMAND];
    if args.null {
        sides.push(NULL);
    }
    if args.default_executor {
        sides.push(GROUP);
    }
    if args.docker.is_some() {
        sides.extend(IN_CONTAINERS);
    }
    if args.warm.is_some() {
        sides.extend(IN_SHARED_CONTAINERS);
    }
    sides
}

/// Finds out which sides there are, and how many commands each is given.
async fn pilots(
    args: &CompareArgs,
    site: &Site,
    work: &Work,
    comparison: &mut Comparison,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<()> {
    for side in sides(args) {
        let outcome = match unavailable(site, &side) {
            Some(why) => Outcome::Absent { why: why.to_owned() },
            None => {
                let count = PILOT.min(args.count.get());
                let stop = interrupts.token();
                match measure(site, &side, work, count, None, PILOT_LIMIT, &stop).await {
                    Ok(round) if round.finished > 0 => Outcome::Measured(Box::new(Measured::new(
                        tasks(&side, &round, args.count.get()),
                    ))),
                    Ok(round) => Outcome::Absent { why: round.failure.unwrap_or_default() },
                    Err(error) => Outcome::Absent { why: format!("{error:#}") },
                }
            }
        };
        if interrupts.signal().is_some() {
            bail!("interrupted");
        }
        match &outcome {
            Outcome::Absent { why } => screen.say(format_args!("{}: left out: {why}", side.name)),
            Outcome::Measured(measured) => {
                screen.say(format_args!("{}: {} commands a round", side.name, measured.count));
            }
        }
        comparison.sides.push((side, outcome));
    }
    if comparison.sides.iter().all(|(_, outcome)| matches!(outcome, Outcome::Absent { .. })) {
        let why = comparison.sides.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Absent { why } => Some(why.clone()),
            Outcome::Measured(_) => None,
        });
        bail!("no side can run the command: {}", why.unwrap_or_default());
    }
    Ok(())
}

/// Why a side cannot be on this cluster, where that is known without trying.
fn unavailable(site: &Site, side: &Side) -> Option<&'static str> {
    if !site.facts.is_mini {
        return None;
    }
    match side.way {
        Way::Builtin(builtin::Kind::Group) => Some(
            "mini does not emulate Mesos' default executor: name a real cluster with `--master`",
        ),
        Way::Builtin(builtin::Kind::Command | builtin::Kind::Null) | Way::Single | Way::Batches => {
            None
        }
    }
}

/// The resident sides run all of them, the built-in ones what they do in about ten seconds.
fn tasks(side: &Side, pilot: &Round, count: u64) -> u64 {
    match side.way {
        Way::Single | Way::Batches | Way::Builtin(builtin::Kind::Null) => count,
        Way::Builtin(builtin::Kind::Command | builtin::Kind::Group) => {
            // Not negative, and far below what a u64 holds.
            let fitting = (pilot.rate() * BUILTIN_ROUND.as_secs_f64()) as u64;
            fitting.clamp(PILOT.min(count), count)
        }
    }
}

async fn rounds(
    args: &CompareArgs,
    site: &Site,
    work: &Work,
    comparison: &mut Comparison,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<()> {
    for number in 1..=args.repeat.get() {
        for (side, outcome) in &mut comparison.sides {
            let Outcome::Measured(measured) = outcome else { continue };
            let stop = interrupts.token();
            let round = measure(site, side, work, measured.count, None, ROUND_LIMIT, &stop).await?;
            if interrupts.signal().is_some() {
                bail!("interrupted");
            }
            screen.say(format_args!(
                "round {number} of {}, {}: {} a second",
                args.repeat,
                side.name,
                report::number(round.rate())
            ));
            measured.rounds.push(round);
        }
    }
    Ok(())
}

/// One command at a time: what a single one takes when nobody else is there.
async fn alone(
    site: &Site,
    work: &Work,
    comparison: &mut Comparison,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<()> {
    screen.say(format_args!("one command at a time"));
    for (side, outcome) in &mut comparison.sides {
        let Outcome::Measured(measured) = outcome else { continue };
        match side.way {
            // A batch of one command is a Mesos task of one: the side above has measured it.
            Way::Batches => continue,
            Way::Single | Way::Builtin(_) => {}
        }
        let stop = interrupts.token();
        let round = measure(site, side, work, ALONE, Some(1), ROUND_LIMIT, &stop).await?;
        if interrupts.signal().is_some() {
            bail!("interrupted");
        }
        measured.alone = Some(round);
    }
    Ok(())
}

/// The other sections of the report.
async fn sections(
    args: &CompareArgs,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Map<String, Value>> {
    let wanted = match &args.also[..] {
        [] if args.master.is_empty() => &[Also::Interval, Also::Scale, Also::Peers][..],
        wanted => wanted,
    };
    let mut sections = Map::new();
    for section in wanted {
        if interrupts.signal().is_some() {
            bail!("interrupted");
        }
        match section {
            Also::Interval => {
                let doc = interval::measure(interval::USUAL, screen, interrupts).await?;
                sections.insert("interval".to_owned(), doc);
            }
            Also::Scale => {
                let doc = scale::measure(scale::Range::Usual, screen, interrupts).await?;
                sections.insert("scale".to_owned(), doc);
            }
            Also::Peers => {
                let doc = peers::measure(peers::USUAL, screen, interrupts).await?;
                sections.insert("peers".to_owned(), doc);
            }
            Also::Nothing => {}
        }
    }
    Ok(sections)
}
