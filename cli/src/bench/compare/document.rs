//! What the comparison amounts to, as one JSON document: tables and report are made from it.
//!
//! Owns every figure, so that none can differ between what is printed and what is
//! drawn. Processor time and memory are there only where /proc could be read.

use std::{thread, time::Duration};

use marmoset_scheduler::TaskTimes;
use serde_json::{Map, Value, json};

use super::side::{COMMAND, Round, Side};
use crate::{
    args::CompareArgs,
    bench::{
        number,
        site::Facts,
        stats::{Estimate, quantile},
    },
};

/// Points of a distribution that charts are drawn from.
const POINTS: u32 = 100;

/// Points of a timeline.
const MOMENTS: usize = 200;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Comparison {
    command: Vec<String>,
    count: u64,
    repeat: u32,
    cpus: u64,
    mem: u64,
    facts: Facts,
    has_usage: bool,
    pub(super) sides: Vec<(Side, Outcome)>,
}

/// What became of a side.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It took its turns.
    Measured(Box<Measured>),
    /// It cannot run the command here.
    Absent {
        /// Why, as the cluster tells it.
        why: String,
    },
}

/// The rounds of one side.
#[derive(Debug)]
pub(super) struct Measured {
    /// Commands in a round.
    pub(super) count: u64,
    pub(super) rounds: Vec<Round>,
    /// One command at a time.
    pub(super) alone: Option<Round>,
}

impl Measured {
    pub(super) fn new(count: u64) -> Self {
        Self { count, rounds: Vec::new(), alone: None }
    }

    fn rates(&self) -> Vec<f64> {
        self.rounds.iter().map(Round::rate).collect()
    }

    fn tasks(&self) -> f64 {
        self.rounds.iter().map(|round| round.tasks).sum::<u64>() as f64
    }

    /// A sum over all rounds, for each task.
    fn per_task(&self, of: impl Fn(&Round) -> f64) -> Value {
        let tasks = self.tasks();
        if tasks > 0.0 {
            number(self.rounds.iter().map(of).sum::<f64>() / tasks)
        } else {
            Value::Null
        }
    }

    /// The largest of all rounds, in megabytes; nothing if no round knows it.
    fn peak(&self, of: impl Fn(&Round) -> Option<u64>) -> Value {
        let peak = self.rounds.iter().filter_map(of).max();
        peak.map_or(Value::Null, |bytes| number(bytes as f64 / 1e6))
    }
}

impl Comparison {
    pub(super) fn new(args: &CompareArgs, facts: Facts, has_usage: bool) -> Self {
        Self {
            command: args.command.clone(),
            count: args.count.get(),
            repeat: args.repeat.get(),
            cpus: args.cpus,
            mem: args.mem,
            facts,
            has_usage,
            sides: Vec::new(),
        }
    }

    /// The document; `sections` are put behind the comparison.
    pub(super) fn document(&self, sections: Map<String, Value>) -> Value {
        let builtin = self.sides.iter().find_map(|(side, outcome)| match outcome {
            Outcome::Measured(measured) if side.id == COMMAND.id => Some(measured.as_ref()),
            Outcome::Measured(_) | Outcome::Absent { .. } => None,
        });
        let sides: Vec<Value> = self
            .sides
            .iter()
            .map(|(side, outcome)| match outcome {
                Outcome::Absent { why } => json!({
                    "id": side.id, "name": side.name, "given": side.given, "absent": why,
                }),
                Outcome::Measured(measured) => measured_side(side, measured, builtin),
            })
            .collect();
        let mut document = json!({
            "marmoset": env!("CARGO_PKG_VERSION"),
            "command": self.command,
            "count": self.count,
            "rounds": self.repeat,
            "given": {"cpus": self.cpus as f64 / 1000.0, "mem_mb": self.mem as f64 / 1000.0},
            "machine": {
                "processors": thread::available_parallelism().map_or(1, usize::from),
                "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            },
            "cluster": self.cluster(),
            "notes": self.notes(),
            "sides": sides,
        });
        if let Some(document) = document.as_object_mut() {
            document.extend(sections);
        }
        document
    }

    fn cluster(&self) -> Value {
        let facts = &self.facts;
        json!({
            "kind": if facts.is_mini { "mini" } else { "mesos" },
            "master": facts.master,
            "version": facts.version,
            "allocation_interval": facts.allocation_interval,
            "allocation_interval_s": facts.allocation_interval().map(|interval| interval.as_secs_f64()),
            "agents": facts.agents.iter().map(|agent| json!({
                "hostname": agent.hostname,
                "version": agent.version,
                "cpus": agent.cpus,
                "mem_mb": agent.mem,
            })).collect::<Vec<_>>(),
        })
    }

    /// What one has to know to believe the figures.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.facts.is_mini {
            notes.push(
                "The cluster is mini, which behaves like Mesos 1.11 on the wire: master and agent are one process. The built-in \
                 side is mini's own command executor, and not Mesos': a real one is a C++ program of about 69 MB resident \
                 memory that starts slower, so that on a real cluster the built-in side is slower than here. Its Docker containerizer is an \
                 emulation, too; its default executor there is none of."
                    .to_owned(),
            );
        }
        notes.push(
            "All sides hold the same resources for each command that runs, fill every offer, and ask for freed resources at once \
             (REVIVE). Only the built-in executor's own share differs: an agent adds 0.1 cpus and 32 MB for each command, \
             outside of the offer; the resident executor holds 0.1 cpus and 64 MB once."
                .to_owned(),
        );
        notes.push(
            "A rate is all commands of a round over the time from the beginning, registration and the executors' start \
             included, to the last end. The built-in sides get fewer commands: as many as they run in about ten seconds."
                .to_owned(),
        );
        notes.push(format!(
            "In parentheses: the 95 % interval by Student's t over {} rounds; ratios are geometric means of the ratios of each round to the \
             built-in command executor's in the same round.",
            self.repeat
        ));
        notes.push(
            "In a batch commands wait for their turn: their time from ACCEPT contains the commands before them, and says what \
             a flood of them costs, not what a single one would."
                .to_owned(),
        );
        if self.has_usage {
            notes.push(
                "Processor time is from /proc, to 10 ms a process and round. That of executors contains that of the commands \
                 themselves. The scheduler is this program, with its measuring. Memory of executors is the sum of their \
                 resident sets."
                    .to_owned(),
            );
        } else {
            notes.push(
                "Processor time and memory of agents and executors are not known: they are read from /proc, and this machine \
                 is not that of the one agent."
                    .to_owned(),
            );
        }
        if cfg!(debug_assertions) {
            notes.push("This is a debug build of marmoset: its figures say nothing.".to_owned());
        }
        notes
    }
}

fn measured_side(side: &Side, measured: &Measured, builtin: Option<&Measured>) -> Value {
    let rates = measured.rates();
    let ratio = builtin.and_then(|builtin| Estimate::of_ratios(&rates, &builtin.rates()));
    let times = || measured.rounds.iter().flat_map(|round| &round.times);
    let launch = sorted(times().filter_map(|times| Some(times.started? - times.accepted)));
    let end = sorted(times().map(|times| times.ended - times.accepted));
    let agent = |of: fn(&crate::bench::usage::Usage) -> Duration| {
        let known = measured.rounds.iter().all(|round| round.agent.is_some());
        let sum = |round: &Round| round.agent.as_ref().map_or(0.0, |usage| micros(of(usage)));
        if known { measured.per_task(sum) } else { Value::Null }
    };
    json!({
        "id": side.id,
        "name": side.name,
        "given": side.given,
        "commands_per_round": measured.count,
        "failed": measured.rounds.iter().map(|round| round.tasks - round.finished).sum::<u64>(),
        "per_second": estimate(Estimate::of(&rates)),
        "ratio": estimate(ratio),
        "launch_ms": percentiles(&launch),
        "end_ms": percentiles(&end),
        "alone": measured.alone.as_ref().map(alone),
        "cpu_us_per_task": {
            "agent": agent(|usage| usage.own),
            "executors": agent(|usage| usage.below),
            "executors_own": if side.is_resident() { agent(|usage| usage.executors) } else { Value::Null },
            "scheduler": measured.per_task(|round| micros(round.scheduler)),
        },
        "peak_mb": {
            "agent": measured.peak(|round| Some(round.agent?.own_peak)),
            "executors": measured.peak(|round| Some(round.agent?.executors_peak)),
            "scheduler": measured.peak(|round| Some(round.scheduler_peak)),
        },
        "executor_processes": measured.rounds.iter().filter_map(|round| Some(round.agent?.executors_most)).max(),
        "updates_per_task": measured.per_task(|round| round.counters.updates as f64),
        "offers_per_task": measured.per_task(|round| round.counters.offers as f64),
        "revives_per_task": measured.per_task(|round| round.counters.revives as f64),
        "mesos_tasks_per_task": measured.per_task(|round| round.mesos_tasks as f64),
        "launch_quantiles_ms": quantiles(&launch),
        "end_quantiles_ms": quantiles(&end),
        "timeline": measured.rounds.last().map(|round| timeline(&round.times)),
        "rounds": measured.rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

fn round(round: &Round) -> Value {
    json!({
        "commands": round.tasks,
        "failed": round.tasks - round.finished,
        "seconds": number(round.elapsed.as_secs_f64()),
        "per_second": number(round.rate()),
        "mesos_tasks": round.mesos_tasks,
        "offers": round.counters.offers,
        "updates": round.counters.updates,
        "revives": round.counters.revives,
        "cpu_s": {
            "agent": round.agent.map(|usage| number(usage.own.as_secs_f64())),
            "executors": round.agent.map(|usage| number(usage.below.as_secs_f64())),
            "scheduler": number(round.scheduler.as_secs_f64()),
        },
    })
}

fn alone(round: &Round) -> Value {
    let launch = round.times.iter().filter_map(|times| Some(times.started? - times.accepted));
    json!({
        "commands": round.tasks,
        "launch_ms": percentiles(&sorted(launch)),
        "end_ms": percentiles(&sorted(round.times.iter().map(|times| times.ended - times.accepted))),
    })
}

fn sorted(spans: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut values: Vec<f64> = spans.map(|span| span.as_secs_f64() * 1e3).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn percentiles(sorted: &[f64]) -> Value {
    let at = |share| quantile(sorted, share).map_or(Value::Null, number);
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99)})
}

fn quantiles(sorted: &[f64]) -> Vec<Value> {
    (0..=POINTS)
        .filter_map(|point| quantile(sorted, f64::from(point) / f64::from(POINTS)))
        .map(number)
        .collect()
}

/// How many commands ran at a time: seconds since the beginning, and the most of a stretch.
fn timeline(times: &[TaskTimes]) -> Value {
    let mut changes: Vec<(Duration, i64)> = times
        .iter()
        .filter_map(|times| Some((times.started?, times.ended)))
        .flat_map(|(started, ended)| [(started, 1), (ended.max(started), -1)])
        .collect();
    // At one moment ends come first: who follows another was not beside it.
    changes.sort();
    let last = changes.last().map_or(Duration::ZERO, |(at, _)| *at);
    let mut most = vec![0_i64; MOMENTS + 1];
    let (mut running, mut reached) = (0, 0);
    for (at, change) in changes {
        // Within the list: no moment is behind the last one.
        let slot = (at.as_secs_f64() / last.as_secs_f64() * MOMENTS as f64) as usize;
        let slot = slot.min(MOMENTS);
        for between in &mut most[reached + 1..=slot.max(reached)] {
            *between = running;
        }
        reached = reached.max(slot);
        running += change;
        most[reached] = most[reached].max(running);
    }
    json!({"seconds": number(last.as_secs_f64()), "running": most})
}

fn estimate(estimate: Option<Estimate>) -> Value {
    estimate.map_or(Value::Null, |estimate| {
        json!({
            "mean": number(estimate.mean),
            "low": estimate.interval.map(|(low, _)| number(low)),
            "high": estimate.interval.map(|(_, high)| number(high)),
            "n": estimate.n,
        })
    })
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(accepted: u64, started: u64, ended: u64) -> TaskTimes {
        TaskTimes {
            accepted: Duration::from_millis(accepted),
            started: Some(Duration::from_millis(started)),
            ended: Duration::from_millis(ended),
        }
    }

    #[test]
    fn a_timeline_counts_what_runs_at_a_time() {
        // Two side by side, then a pause, then one after the other without a gap.
        let line = timeline(&[
            times(0, 100, 400),
            times(0, 200, 400),
            times(0, 600, 800),
            times(0, 800, 1000),
        ]);
        assert_eq!(line["seconds"], 1.0);
        let running: Vec<i64> =
            line["running"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
        let at = |share: f64| running[(share * MOMENTS as f64) as usize];
        assert_eq!(running.len(), MOMENTS + 1);
        assert_eq!(
            [at(0.05), at(0.15), at(0.3), at(0.5), at(0.7), at(0.9)],
            [0, 1, 2, 0, 1, 1],
            "{running:?}"
        );
        assert_eq!(timeline(&[])["seconds"], 0.0);
    }

    #[test]
    fn distributions() {
        let values = sorted((1..=200).rev().map(Duration::from_millis));
        assert_eq!(percentiles(&values), json!({"p50": 100.0, "p90": 180.0, "p99": 198.0}));
        let points = quantiles(&values);
        assert_eq!((points.len(), &points[0], &points[100]), (101, &json!(1.0), &json!(200.0)));
        assert_eq!(percentiles(&[])["p50"], Value::Null);
        assert!(quantiles(&[]).is_empty());
    }
}
