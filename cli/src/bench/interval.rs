//! `marmoset bench interval`: what the master's allocation interval costs.
//!
//! Owns the measurement of how busy an agent's processors are with commands of
//! five milliseconds, when freed resources are offered again once a second. A
//! processor is busy from the start to the end of the process that holds it.

use std::{fmt::Write as _, num::NonZeroU64, path::Path, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use marmoset_proto::{
    mesos::v1::CommandInfo,
    resources::{Millis, Need},
};
use marmoset_scheduler::{BatchSize, Items, JobSpec, TaskTimes, run_traced};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{number, site::Site};
use crate::{
    args::IntervalArgs,
    exit::Ending,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output,
    report::number as digits,
    run::{self, Screen},
};

/// How long each measurement takes within `marmoset bench compare`.
pub(super) const USUAL: Duration = Duration::from_secs(4);

/// Allocation intervals: Mesos' default in the middle.
const INTERVALS: [(&str, f64); 3] = [("100ms", 0.1), ("1s", 1.0), ("5s", 5.0)];

/// About what a command takes, its start included.
const COMMAND: Duration = Duration::from_millis(7);

/// The default of Mesos.
const DEFAULT: f64 = 1.0;

/// Measures and prints.
///
/// # Errors
/// The cluster does not start, or commands fail.
pub(super) fn perform(args: &IntervalArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let doc = measure(args.seconds, &screen, &interrupts).await;
        if let Some(signal) = interrupts.signal() {
            return Ok(Ending::Interrupted { signal });
        }
        let doc = doc?;
        if args.json {
            output::print(format_args!("{doc}"));
        } else {
            output::print(format_args!("{}", text(&doc)));
        }
        Ok(Ending::Good)
    })
}

/// Measures each interval with batches and with single tasks, about `span` each.
///
/// # Errors
/// As [`perform`].
pub(super) async fn measure(
    span: Duration,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Value> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let program = sleep()?;
    let count = (span.as_secs_f64() / COMMAND.as_secs_f64() * processors as f64).max(1.0) as u64;
    let mut rows = Vec::new();
    for (name, seconds) in INTERVALS {
        let site =
            Site::embedded(run::own_user()?, &[format!("--allocation-interval={name}")], &[])
                .await?;
        for (id, batch) in
            [("batches", BatchSize::Auto), ("single", BatchSize::Fixed(NonZeroU64::MIN))]
        {
            let row = one(&site, program, batch, count, processors, interrupts).await;
            if interrupts.signal().is_some() {
                bail!("interrupted");
            }
            let (rate, busy) = row.with_context(|| format!("interval {name}, {id}"))?;
            screen
                .say(format_args!("allocation interval {name}, {id}: {:.1} % busy", busy * 100.0));
            rows.push(json!({
                "allocation_interval_s": seconds,
                "batch": id,
                "commands": count,
                "per_second": number(rate),
                "busy": number(busy),
            }));
        }
        site.shutdown();
    }
    let at_default = |id: &str| {
        let found = rows.iter().find(|row| {
            row["batch"] == id && row["allocation_interval_s"].as_f64() == Some(DEFAULT)
        });
        found.and_then(|row| row["busy"].as_f64()).unwrap_or_default()
    };
    let cost = |id: &str| number(1.0 - at_default(id));
    Ok(json!({
        "command": [program, "0.005"],
        "processors": processors,
        "idle_at_default": {"batches": cost("batches"), "single": cost("single")},
        "rows": rows,
    }))
}

fn sleep() -> anyhow::Result<&'static str> {
    let known = ["/bin/sleep", "/usr/bin/sleep"];
    known.into_iter().find(|path| Path::new(path).exists()).context("there is no /bin/sleep")
}

/// One run: its rate, and the busy share.
async fn one(
    site: &Site,
    program: &str,
    batch: BatchSize,
    count: u64,
    processors: usize,
    interrupts: &Interrupts,
) -> anyhow::Result<(f64, f64)> {
    let command = CommandInfo {
        shell: Some(false),
        value: Some(program.to_owned()),
        arguments: vec![program.to_owned(), "0.005".to_owned()],
        ..CommandInfo::default()
    };
    let spec = JobSpec {
        need: Need { cpus: Millis(1000), mem: Millis(16_000), ..Need::default() },
        batch,
        ..JobSpec::new("sleep", command, Items::Array { count })
    };
    // Nobody looks: what is told while it runs is dropped.
    let (events, _) = mpsc::channel(1);
    let framework = site.framework("interval");
    let (summary, trace) = run_traced(framework, spec, events, interrupts.token()).await?;
    ensure!(summary.tasks.finished == count, "{} of {count} finished", summary.tasks.finished);
    let (wall, busy) = busy(&trace.tasks, processors);
    Ok((count as f64 / wall.as_secs_f64(), busy))
}

/// From the first start to the last end, and the share of it that the processors were held.
fn busy(tasks: &[TaskTimes], processors: usize) -> (Duration, f64) {
    let begin = tasks.iter().filter_map(|times| times.started).min().unwrap_or_default();
    let end = tasks.iter().map(|times| times.ended).max().unwrap_or_default();
    let wall = end.saturating_sub(begin);
    let held: Duration =
        tasks.iter().filter_map(|times| Some(times.ended.saturating_sub(times.started?))).sum();
    let there = wall.as_secs_f64() * processors as f64;
    (wall, if there > 0.0 { held.as_secs_f64() / there } else { 0.0 })
}

/// The rows for people.
pub(super) fn text(doc: &Value) -> String {
    let mut text = format!(
        "{:<34} {:>10} {:>10} {:>8}",
        "`sleep 0.005`, a processor each", "interval", "a second", "busy"
    );
    for row in doc["rows"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = if row["batch"] == "batches" { "batches" } else { "--batch 1" };
        let _ = write!(
            text,
            "\n{name:<34} {:>8} s {:>10} {:>6.1} %",
            row["allocation_interval_s"],
            digits(row["per_second"].as_f64().unwrap_or_default()),
            row["busy"].as_f64().unwrap_or_default() * 100.0,
        );
    }
    let idle = |id: &str| doc["idle_at_default"][id].as_f64().unwrap_or_default() * 100.0;
    let _ = write!(
        text,
        "\nat Mesos' default of 1 s, {:.1} % of the processors' time is idle with batches, {:.1} % with --batch 1",
        idle("batches"),
        idle("single"),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_held_time_over_time_that_was_there() {
        let times = |started, ended| TaskTimes {
            accepted: Duration::ZERO,
            started: Some(Duration::from_millis(started)),
            ended: Duration::from_millis(ended),
        };
        // Two processors for 100 ms, of which one is idle for 50 ms.
        let (wall, share) = busy(&[times(1000, 1100), times(1000, 1050)], 2);
        assert_eq!(wall, Duration::from_millis(100));
        assert!((share - 0.75).abs() < 1e-9, "{share}");
        assert_eq!(busy(&[], 2), (Duration::ZERO, 0.0));
    }

    #[test]
    fn rows_for_people() {
        let doc = json!({
            "idle_at_default": {"batches": 0.03, "single": 0.4},
            "rows": [{"allocation_interval_s": 1.0, "batch": "single", "per_second": 101.2, "busy": 0.6}],
        });
        let text = text(&doc);
        assert!(text.contains("--batch 1") && text.contains("60.0 %"), "{text}");
        assert!(text.ends_with(
            "3.0 % of the processors' time is idle with batches, 40.0 % with --batch 1"
        ));
    }
}
