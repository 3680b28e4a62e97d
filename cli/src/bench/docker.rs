//! `marmoset bench docker`: what a container costs.
//!
//! Owns the rows and their order: the engine's bare calls first, with several at a
//! time, then the executor's runtime of containers, then a whole cluster, then containers
//! that tasks share. All in one
//! go, so that their ratios hold also where the figures drift.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use marmoset_executor::bench::ContainerBench;
use marmoset_proto::{
    mesos::v1::{CommandInfo, ContainerInfo, container_info},
    resources::{Millis, Need},
};
use marmoset_scheduler::{Items, Job, JobSpec};
use tokio::runtime::Runtime;

use super::rows::{self, Reach, Row, Unit};
use crate::{
    args::DockerArgs,
    exit::Ending,
    folder::Temporary,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output,
    run::{self, Screen, embedded},
};

/// What is run: nothing can be shorter.
const PROGRAM: &str = "/bin/true";

/// How many of the bare calls are tried at a time.
const AT_A_TIME: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// What is to be reached of the bare calls' best rate.
const PART: f64 = 0.95;

/// How many times the middle latency the longest may be, save for one in a hundred.
const SPREAD: f64 = 3.0;

/// Tasks in the rows about containers that they share.
const TASKS: usize = 4000;

/// What is to be reached there of the rate of subprocesses.
const PART_WARM: f64 = 0.7;

/// And of that of fresh containers.
const TIMES_FRESH: f64 = 100.0;

/// Longest middle time to the start there, in milliseconds.
const WARM_START: f64 = 2.0;

/// Measures and prints.
///
/// # Errors
/// Something could not be measured.
pub(super) fn perform(args: &DockerArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let containers = ContainerBench {
        socket: args.docker_socket.clone(),
        image: args.image.clone(),
        command: vec![PROGRAM.to_owned()],
        starts: args.docker_starts.and_then(|starts| usize::try_from(starts.get()).ok()),
    };
    let mut bench = Bench { args, screen, containers, rows: Vec::new() };
    runtime.block_on(bench.measure())?;
    let program = format!("{PROGRAM} in {}", args.image);
    if args.json {
        let executor = embedded::own_program()?.display().to_string();
        output::print(format_args!("{}", rows::json(&program, &bench.rows, &executor)));
    } else {
        output::print(format_args!("{}", rows::text(&program, &bench.rows)));
    }
    Ok(Ending::Good)
}

struct Bench<'a> {
    args: &'a DockerArgs,
    screen: Screen,
    containers: ContainerBench,
    rows: Vec<Row>,
}

impl Bench<'_> {
    fn add(&mut self, row: Row) {
        self.screen.say(format_args!("{}: {}", row.name, row.show()));
        self.rows.push(row);
    }

    async fn measure(&mut self) -> anyhow::Result<()> {
        let count = usize::try_from(self.args.count.get()).context("`--count` is too large")?;
        let many = usize::try_from(self.args.many.get()).context("`--many` is too large")?;
        let mut best = 0.0_f64;
        for at_a_time in AT_A_TIME {
            let elapsed = self.containers.bare(at_a_time, count).await?;
            let rate = rate(count, elapsed);
            best = best.max(rate);
            let name = format!("bare calls, {at_a_time} at a time");
            self.add(Row::new(name, rate, Unit::FewPerSecond));
        }
        let folder = Temporary::fast()?;
        let mut fresh = 0.0;
        for (name, files) in [
            ("executor's runtime, output to /dev/null", false),
            ("executor's runtime, 2 files", true),
        ] {
            let measured = self
                .containers
                .runtime(
                    count,
                    self.containers.at_a_time(),
                    files,
                    vec!["executor".into()],
                    folder.path(),
                )
                .await?;
            let rate = rate(count, measured.elapsed);
            fresh = rate;
            let row = Row::new(name, rate, Unit::FewPerSecond);
            self.add(row.floor(best).reach(Reach::OfFloor(PART)));
        }
        let rate = rate(count, self.whole(self.args.count).await?);
        self.add(
            Row::new("whole path, 2 files, start included", rate, Unit::FewPerSecond).floor(best),
        );
        self.warm(fresh, folder.path()).await?;
        let measured =
            self.containers.runtime(many, 0, true, vec!["executor".into()], folder.path()).await?;
        let mut latencies = measured.latencies;
        latencies.sort_unstable();
        let at = |percent: usize| millis(latencies[(latencies.len() - 1) * percent / 100]);
        let (middle, late) = (at(50), at(99));
        let name = |percentile: &str| format!("{many} containers, request to end, {percentile}");
        self.add(Row::new(name("p50"), middle, Unit::Milliseconds));
        let row = Row::new(name("p99"), late, Unit::Milliseconds);
        self.add(row.floor(middle).reach(Reach::TimesFloor(SPREAD)));
        Ok(())
    }

    /// Containers that tasks share, beside subprocesses and fresh containers.
    async fn warm(&mut self, fresh: f64, folder: &Path) -> anyhow::Result<()> {
        let measured = self.containers.warm(TASKS, vec!["executor".into()], folder).await?;
        let processes = rate(TASKS, measured.processes);
        let warm = rate(TASKS, measured.warm);
        let name = |what: &str| format!("{what}, 2 files");
        self.add(Row::new(name("subprocesses"), processes, Unit::PerSecond));
        let row = Row::new(name("warm, beside subprocesses"), warm, Unit::PerSecond);
        self.add(row.floor(processes).reach(Reach::OfFloor(PART_WARM)));
        let row = Row::new(name("warm, beside fresh containers"), warm, Unit::PerSecond);
        self.add(row.floor(fresh).reach(Reach::OfFloor(TIMES_FRESH)));
        let mut starts = measured.starts;
        starts.sort_unstable();
        let middle = millis(starts[starts.len() / 2]);
        let row = Row::new("warm, request to running, p50", middle, Unit::Milliseconds);
        self.add(row.reach(Reach::AtMost(WARM_START)));
        Ok(())
    }

    /// A job on the embedded cluster.
    async fn whole(&self, count: std::num::NonZeroU64) -> anyhow::Result<Duration> {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let command = CommandInfo {
            shell: Some(false),
            value: Some(PROGRAM.to_owned()),
            ..CommandInfo::default()
        };
        let docker = container_info::DockerInfo {
            image: self.args.image.clone(),
            ..container_info::DockerInfo::default()
        };
        let container = ContainerInfo {
            r#type: container_info::Type::Docker.into(),
            docker: Some(docker),
            ..ContainerInfo::default()
        };
        let spec = JobSpec {
            need: Need { cpus: Millis(100), mem: Millis(32_000), ..Need::default() },
            container: Some(container),
            ..JobSpec::new("true", command, Items::Array { count: count.get() })
        };
        let socket = self.args.docker_socket.to_string_lossy().into_owned();
        let flags = ["--docker-socket".to_owned(), socket];
        let (cluster, framework) =
            embedded::with_framework("marmoset bench", run::own_user()?, &flags).await?;
        let result = run::watched(framework, Job::from(spec), &self.screen, &interrupts).await;
        cluster.shutdown(false).await;
        let summary = result?;
        ensure!(summary.tasks.finished == count.get(), "{:?}", summary.tasks);
        Ok(summary.elapsed)
    }
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
