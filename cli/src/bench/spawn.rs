//! `marmoset bench spawn`: what the path from a task to its process costs.
//!
//! Owns the rows and their order: the floor first, then the launcher, the whole
//! path, and one executor alone. All in one go, so that their ratios hold also
//! where the figures drift.
//!
//! How each is measured:
//!
//! * The *floor* of a rate is a loop that does nothing but posix_spawn(3) and
//!   waitpid(2), from as many threads as the launcher has workers.
//! * *CPU of the executor* is what the kernel has on its books for the executor's
//!   process and those of its launcher (`schedstat` of each of their threads),
//!   without the time in the kernel that a thread of the floor needs for a
//!   process, measured in the same run. It is the floor of this row.
//! * *LAUNCH to RUNNING* is measured at the agent, from right before the event is
//!   written until the call is read: the way there and back is in it. Its floor
//!   is the time in posix_spawn(3).
//! * *Memory* is the sum over the executor, the guard and the workers. The floor
//!   is what as many sleeping processes hold.

mod agent;
mod family;
mod lone;
mod program;
mod whole;

use std::{num::NonZeroU64, time::Duration};

use anyhow::{Context as _, ensure};
use marmoset_executor::{
    floor::{floor, floor_latency},
    launcher::{LauncherConfig, RateOutput, SpawnRateConfig, spawn_rate},
};
use tokio::runtime::Runtime;

use self::program::Program;
use super::rows::{self, Reach, Row, Unit};
use crate::{
    args::SpawnArgs,
    exit::Ending,
    folder::Temporary,
    logging::{self, Wanted},
    output,
    run::Screen,
};

/// What is run: nothing can be shorter.
const PROGRAM: &str = "/bin/true";

/// Processes that the launcher knows of at a time.
const IN_FLIGHT: usize = 64;

/// Spawns whose duration is the floor of a start.
const FLOOR_STARTS: usize = 100;

/// Between two of them.
const FLOOR_PAUSE: Duration = Duration::from_millis(10);

/// After how many tasks a soak takes its first look.
const WARM: u64 = 100_000;

/// Megabytes that memory may grow by without counting as growth: what an allocator keeps varies.
const GROWTH: f64 = 1.0;

/// Measures and prints.
///
/// # Errors
/// Something could not be measured.
pub(crate) fn perform(args: &SpawnArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let program = Program::new(args.executor.as_ref())?;
    let mut bench = Bench { program, count: args.count, screen, rows: Vec::new() };
    let loops = bench.loops()?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    bench.launcher(&runtime, loops.rate)?;
    bench.whole(&runtime, &loops)?;
    bench.lone()?;
    if let Some(count) = args.soak {
        bench.soak(&runtime, count)?;
    }
    if args.json {
        let executor = bench.program.path.display().to_string();
        output::print(format_args!("{}", rows::json(PROGRAM, &bench.rows, &executor)));
    } else {
        output::print(format_args!("{}", rows::text(PROGRAM, &bench.rows)));
    }
    Ok(Ending::Good)
}

struct Bench {
    program: Program,
    count: NonZeroU64,
    screen: Screen,
    rows: Vec<Row>,
}

/// What the bare loop showed.
struct Loops {
    /// Processes per second from as many threads as there are workers.
    rate: f64,
    /// Time in the kernel for each of them.
    system: Duration,
}

impl Bench {
    fn add(&mut self, row: Row) {
        self.screen.say(format_args!("{}: {}", row.name, row.show()));
        self.rows.push(row);
    }

    fn loops(&mut self) -> anyhow::Result<Loops> {
        let count = usize::try_from(self.count.get()).context("`--count` is too large")?;
        let workers = LauncherConfig::new(self.program.path.clone(), Vec::new()).worker_count();
        let mut bare = None;
        for (threads, files) in [(1, false), (workers.get(), false), (workers.get(), true)] {
            let files_text = if files { ", 2 files each" } else { "" };
            let name = format!("bare loop, threads: {threads}{files_text}");
            let result = floor(threads, count, files).with_context(|| name.clone())?;
            self.add(Row::new(name, result.rate(), Unit::PerSecond));
            if threads == workers.get() && !files {
                let system = result.system.div_f64(result.count as f64);
                bare = Some(Loops { rate: result.rate(), system });
            }
        }
        bare.context("the loop did not run")
    }

    fn launcher(&mut self, runtime: &Runtime, floor: f64) -> anyhow::Result<()> {
        let count = usize::try_from(self.count.get()).context("`--count` is too large")?;
        let folder = Temporary::fast()?;
        for (name, output) in [
            ("launcher", RateOutput::Null),
            ("launcher, a folder with 2 files each", RateOutput::Folders(folder.path().to_owned())),
        ] {
            let launcher = self.program.launcher();
            let config = SpawnRateConfig { launcher, count, in_flight: IN_FLIGHT, output };
            let result = runtime.block_on(spawn_rate(config)).with_context(|| name.to_owned())?;
            ensure!(result.failed == 0, "{name}: {} of {count} did not start", result.failed);
            self.add(Row::new(name, result.rate(), Unit::PerSecond).floor(floor));
        }
        Ok(())
    }

    fn whole(&mut self, runtime: &Runtime, loops: &Loops) -> anyhow::Result<()> {
        let count = self.count.get();
        let nowhere = ["--stdout", "null", "--stderr", "null"];
        for (name, flags, part) in [
            ("whole path, output to /dev/null", &nowhere[..], 0.85),
            ("whole path, 2 files each", &[][..], 0.6),
        ] {
            let whole = runtime
                .block_on(whole::run(&self.program, flags, self.count))
                .with_context(|| name.to_owned())?;
            let rate = whole.rate(count).with_context(|| name.to_owned())?;
            let reach = Reach::OfFloor(part);
            self.add(Row::new(name, rate, Unit::PerSecond).floor(loops.rate).reach(reach));
            let overall = count as f64 / whole.summary.elapsed.as_secs_f64();
            let row = Row::new("  the same, start and end included", overall, Unit::PerSecond);
            self.add(row.floor(loops.rate));
            let all = whole.cpu_each(count)?;
            let own = micros(all.saturating_sub(loops.system));
            let row = Row::new("  CPU of the executor, without spawn", own, Unit::Microseconds);
            self.add(row.floor(micros(loops.system)).reach(Reach::AtMost(60.0)));
        }
        Ok(())
    }

    fn lone(&mut self) -> anyhow::Result<()> {
        let floor = floor_latency(FLOOR_STARTS, FLOOR_PAUSE)?;
        let idle = lone::idle(&self.program).context("an idle executor")?;
        for (name, percent, most) in
            [("LAUNCH to RUNNING, idle, p50", 50, 1.0), ("LAUNCH to RUNNING, idle, p99", 99, 5.0)]
        {
            let figure = millis(percentile(&idle.starts, percent));
            let row = Row::new(name, figure, Unit::Milliseconds);
            let floor = millis(percentile(&floor, percent));
            self.add(row.floor(floor).reach(Reach::AtMost(most)));
        }
        let sleepers = lone::sleepers(idle.processes)?;
        let queued = lone::queued(&self.program).context("an executor with a queue")?;
        for (name, holding, most) in [
            ("memory, idle", idle.holding, 12.0),
            ("memory, 10,000 Mesos tasks wait", queued, 40.0),
        ] {
            let rss = Row::new(format!("{name}, RSS"), megabytes(holding.rss), Unit::Megabytes);
            self.add(rss.floor(megabytes(sleepers.rss)).reach(Reach::AtMost(most)));
            let pss = Row::new(format!("{name}, PSS"), megabytes(holding.pss), Unit::Megabytes);
            self.add(pss.floor(megabytes(sleepers.pss)));
        }
        Ok(())
    }

    /// Many tasks, and what the executor holds more at their end than after the first of them.
    fn soak(&mut self, runtime: &Runtime, count: NonZeroU64) -> anyhow::Result<()> {
        ensure!(count.get() > WARM * 2, "`--soak` is to be more than {}", WARM * 2);
        let whole = runtime.block_on(whole::run(&self.program, &[], count)).context("the soak")?;
        let first = whole.looks.iter().find(|look| look.ended >= WARM);
        let last = whole.looks.last();
        let (first, last) = first.zip(last).context("the executor was never looked at")?;
        let name = format!("RSS after {} tasks", first.ended);
        self.add(Row::new(name, megabytes(first.holding.rss), Unit::Megabytes));
        let growth = megabytes(last.holding.rss) - megabytes(first.holding.rss);
        let name = format!("growth of RSS until {} tasks", last.ended);
        self.add(Row::new(name, growth, Unit::Megabytes).reach(Reach::AtMost(GROWTH)));
        for (name, before, after) in [
            ("more descriptors", first.holding.descriptors, last.holding.descriptors),
            ("more threads", first.holding.threads, last.holding.threads),
        ] {
            let more = after as f64 - before as f64;
            self.add(Row::new(name, more, Unit::Count).reach(Reach::AtMost(0.0)));
        }
        Ok(())
    }
}

/// Of times in ascending order, of which there is at least one.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        let times = (1..=200).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentile(&times, 50), Duration::from_millis(101));
        assert_eq!(percentile(&times, 99), Duration::from_millis(199));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
