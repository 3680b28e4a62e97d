//! `marmoset bench spawn`: how near the whole path comes to a bare spawn loop.
//!
//! Owns the rows and their order: the floor first, then the launcher, then a real
//! run. All in one go, so that their ratios hold also where the figures drift.

use std::{ffi::OsString, fmt::Write as _, num::NonZeroU64};

use anyhow::{Context as _, ensure};
use marmoset_executor::{
    floor::floor,
    launcher::{LauncherConfig, RateOutput, SpawnRateConfig, spawn_rate},
};
use marmoset_proto::{
    mesos::v1::CommandInfo,
    resources::{Millis, Need},
};
use marmoset_scheduler::{Items, Job, JobSpec, Summary};
use serde_json::{Value, json};

use crate::{
    args::SpawnArgs,
    exit::Ending,
    folder::Temporary,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output, report,
    run::{self, Screen, embedded},
};

/// What is run: nothing can be shorter.
const PROGRAM: &str = "/bin/true";

/// Processes that the launcher knows of at a time.
const IN_FLIGHT: usize = 64;

/// One measured way to run [`PROGRAM`] many times.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: &'static str,
    count: u64,
    seconds: f64,
    /// Whether others are compared with it.
    is_floor: bool,
}

impl Row {
    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.count as f64 / self.seconds } else { 0.0 }
    }
}

/// Measures and prints.
///
/// # Errors
/// A row could not be measured.
pub(super) fn perform(args: &SpawnArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let count = usize::try_from(args.count.get()).context("`--count` is too large")?;
    let mut rows = Vec::new();
    let mut measured = |row: Row| {
        screen.say(format_args!("{}: {} a second", row.name, report::number(row.rate())));
        rows.push(row);
    };
    for (name, threads, files, is_floor) in [
        ("bare loop, 1 thread", 1, false, false),
        ("bare loop, 2 threads", 2, false, true),
        ("bare loop, 2 threads, 2 files each", 2, true, false),
    ] {
        let result = floor(threads, count, files).with_context(|| name.to_owned())?;
        measured(Row {
            name,
            count: result.count as u64,
            seconds: result.elapsed.as_secs_f64(),
            is_floor,
        });
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let folder = Temporary::fast()?;
    for (name, output) in [
        ("launcher", RateOutput::Null),
        ("launcher, a folder with 2 files each", RateOutput::Folders(folder.path().to_owned())),
    ] {
        let config = SpawnRateConfig {
            launcher: LauncherConfig::new(
                embedded::own_program()?,
                ["executor", "launcher"].map(OsString::from).to_vec(),
            ),
            count,
            in_flight: IN_FLIGHT,
            output,
        };
        let result = runtime.block_on(spawn_rate(config)).with_context(|| name.to_owned())?;
        ensure!(result.failed == 0, "{name}: {} of {count} did not start", result.failed);
        measured(Row {
            name,
            count: result.count as u64,
            seconds: result.elapsed.as_secs_f64(),
            is_floor: false,
        });
    }
    let name = "marmoset run --cpus 1";
    let summary = runtime.block_on(whole_path(args.count, &screen)).context(name)?;
    ensure!(
        summary.tasks.finished == args.count.get(),
        "{name}: not all tasks finished:\n{}",
        report::text(&summary, &|_| report::Evidence::default())
    );
    let seconds = summary.elapsed.as_secs_f64();
    measured(Row { name, count: summary.tasks.finished, seconds, is_floor: false });
    if args.json {
        output::print(format_args!("{}", json(&rows)));
    } else {
        output::print(format_args!("{}", table(&rows)));
    }
    Ok(Ending::Good)
}

/// Everything between the command line and the process, and back.
async fn whole_path(count: NonZeroU64, screen: &Screen) -> anyhow::Result<Summary> {
    let interrupts = Interrupts::listen(|| {}, || {})?;
    let command = CommandInfo {
        shell: Some(false),
        value: Some(PROGRAM.to_owned()),
        arguments: vec![PROGRAM.to_owned()],
        ..CommandInfo::default()
    };
    let spec = JobSpec {
        need: Need { cpus: Millis(1000), mem: Millis(16_000), ..Need::default() },
        ..JobSpec::new("true", command, Items::Array { count: count.get() })
    };
    let (cluster, framework) = embedded::with_framework("marmoset bench", run::own_user()?).await?;
    let result = run::watched(framework, Job::from(spec), screen, &interrupts).await;
    cluster.shutdown(false).await;
    result
}

/// What the floor does in a second.
fn floor_rate(rows: &[Row]) -> f64 {
    rows.iter().find(|row| row.is_floor).map_or(0.0, Row::rate)
}

fn ratio(row: &Row, floor: f64) -> f64 {
    if floor > 0.0 { row.rate() / floor } else { 0.0 }
}

fn table(rows: &[Row]) -> String {
    let floor = floor_rate(rows);
    let mut text = format!("{:<38} {:>9} {:>11} {:>7}", PROGRAM, "seconds", "a second", "ratio");
    for row in rows {
        let (seconds, rate, ratio) = (row.seconds, row.rate(), ratio(row, floor));
        // Writing to a string does not fail.
        let _ = write!(text, "\n{:<38} {seconds:>9.2} {rate:>11.0} {ratio:>7.2}", row.name);
    }
    text.push_str("\n(ratio: to the bare loop with 2 threads, measured in this same run)");
    text
}

fn json(rows: &[Row]) -> Value {
    let floor = floor_rate(rows);
    let three = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({
        "program": PROGRAM,
        "rows": rows.iter().map(|row| json!({
            "name": row.name,
            "count": row.count,
            "seconds": three(row.seconds),
            "per_second": three(row.rate()),
            "ratio": three(ratio(row, floor)),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        [("one", 500, 1.0, false), ("floor", 2000, 1.0, true), ("run", 3000, 2.0, false)]
            .into_iter()
            .map(|(name, count, seconds, is_floor)| Row { name, count, seconds, is_floor })
            .collect()
    }

    #[test]
    fn ratios_are_to_the_floor() {
        assert_eq!(
            table(&rows()),
            "\
/bin/true                                seconds    a second   ratio
one                                         1.00         500    0.25
floor                                       1.00        2000    1.00
run                                         2.00        1500    0.75
(ratio: to the bare loop with 2 threads, measured in this same run)"
        );
        assert_eq!(json(&rows())["rows"][2]["ratio"], 0.75);
    }
}
