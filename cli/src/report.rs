//! The end of a run: a summary for people, or one JSON object for scripts.
//!
//! Owns wording and field names. Called by `marmoset run` and `marmoset bench`.

use std::{fmt::Write as _, time::Duration};

use marmoset_scheduler::{Example, Outcome, Percentiles, Summary};
use serde_json::{Value, json};

/// Groups of failures that people are shown; the rest is counted.
const MOST_FAILURES: usize = 10;

/// The object of `--json`.
pub(crate) fn json(summary: &Summary) -> Value {
    json!({
        "tasks": {
            "finished": summary.tasks.finished,
            "failed": summary.tasks.failed,
            "killed": summary.tasks.killed,
            "lost": summary.tasks.lost,
        },
        "seconds": rounded(summary.elapsed.as_secs_f64(), 1000.0),
        "tasks_per_second": rounded(rate(summary), 10.0),
        "mesos_tasks": summary.mesos_tasks,
        "executors": summary.executors,
        "launch_ms": percentiles(summary.launch),
        "end_ms": percentiles(summary.end),
        "failures": summary.failures.iter().map(|group| json!({
            "message": group.message,
            "count": group.count,
            "example": group.example.task_id,
        })).collect::<Vec<_>>(),
    })
}

fn percentiles(values: Percentiles) -> Value {
    let millis = |value: Duration| rounded(value.as_secs_f64() * 1000.0, 1000.0);
    json!({"p50": millis(values.p50), "p90": millis(values.p90), "p99": millis(values.p99)})
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Tasks that ended by themselves, by the second.
pub(crate) fn rate(summary: &Summary) -> f64 {
    let seconds = summary.elapsed.as_secs_f64();
    let ended = (summary.tasks.finished + summary.tasks.failed) as f64;
    if seconds > 0.0 { ended / seconds } else { 0.0 }
}

/// What people can look at to see why a task did not finish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Where its output lies: the folder, and the name in it.
    pub(crate) place: Option<(String, String)>,
    /// The last line it wrote, if that is at hand.
    pub(crate) last_line: Option<String>,
}

/// The summary for people.
pub(crate) fn text(summary: &Summary, evidence: &dyn Fn(&Example) -> Evidence) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, summary, evidence);
    text
}

fn write(
    text: &mut String,
    summary: &Summary,
    evidence: &dyn Fn(&Example) -> Evidence,
) -> std::fmt::Result {
    let tasks = summary.tasks;
    let states: Vec<String> = [
        (tasks.finished, "finished"),
        (tasks.failed, "failed"),
        (tasks.killed, "killed"),
        (tasks.lost, "lost"),
    ]
    .into_iter()
    .filter(|(number, name)| *number > 0 || *name == "finished")
    .map(|(number, name)| format!("{number} {name}"))
    .collect();
    let stopped = match summary.outcome {
        Outcome::Complete => "",
        Outcome::Stopped => "stopped: ",
    };
    write!(text, "{stopped}{} of {}", states.join(", "), counted(tasks.total(), "task"))?;
    write!(
        text,
        "\n  in {}, {} a second, as {} in {}",
        span(summary.elapsed),
        number(rate(summary)),
        counted(summary.mesos_tasks, "Mesos task"),
        counted(summary.executors, "executor"),
    )?;
    for (name, values) in [("ACCEPT to running", summary.launch), ("ACCEPT to end", summary.end)] {
        if values != Percentiles::default() {
            write!(text, "\n  {name:<18} p50 {}, p99 {}", span(values.p50), span(values.p99))?;
        }
    }
    if !summary.failures.is_empty() {
        write_failures(text, summary, evidence)?;
    }
    Ok(())
}

fn write_failures(
    text: &mut String,
    summary: &Summary,
    evidence: &dyn Fn(&Example) -> Evidence,
) -> std::fmt::Result {
    text.push_str("\nnot finished, by message:");
    let shown: Vec<_> = summary
        .failures
        .iter()
        .take(MOST_FAILURES)
        .map(|group| (group, evidence(&group.example)))
        .collect();
    // One folder for all of them is told once.
    let mut folders: Vec<_> = shown
        .iter()
        .filter_map(|(_, evidence)| evidence.place.as_ref())
        .map(|(folder, _)| folder)
        .collect();
    folders.dedup();
    let common = if let [folder] = folders[..] { Some(folder.clone()) } else { None };
    for (group, Evidence { place, last_line }) in &shown {
        write!(text, "\n  {:>6} × {}", group.count, group.message)?;
        write!(text, "\n           e.g. {}", group.example.task_id)?;
        match place {
            Some((_, name)) if common.is_some() => write!(text, ", output in {name}")?,
            Some((folder, name)) => write!(text, ", output in {folder}/{name}")?,
            None => {}
        }
        if let Some(line) = last_line {
            write!(text, "\n           last line: {line}")?;
        }
    }
    let more = summary.failures.len().saturating_sub(MOST_FAILURES);
    if more > 0 {
        write!(text, "\n  and {more} other messages (all of them with --json)")?;
    }
    if let Some(folder) = common {
        write!(text, "\noutputs are in {folder}")?;
    }
    Ok(())
}

/// A number and its noun.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Three digits, in the unit that fits.
pub(crate) fn span(value: Duration) -> String {
    let seconds = value.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{} ms", number(seconds * 1e3))
    } else if seconds < 120.0 {
        format!("{} s", number(seconds))
    } else {
        let whole = value.as_secs();
        let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
        if hours > 0 {
            format!("{hours} h {minutes} min")
        } else {
            format!("{minutes} min {rest} s")
        }
    }
}

/// Three digits, no more.
pub(crate) fn number(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use marmoset_scheduler::{Counts, FailureGroup};

    use super::*;

    fn summary() -> Summary {
        let values = |p50, p90, p99| Percentiles {
            p50: Duration::from_micros(p50),
            p90: Duration::from_micros(p90),
            p99: Duration::from_micros(p99),
        };
        Summary {
            tasks: Counts { finished: 29, failed: 57, killed: 0, lost: 0 },
            elapsed: Duration::from_millis(2_150),
            mesos_tasks: 12,
            executors: 1,
            launch: values(1_234, 20_000, 150_000),
            end: values(900, 30_000, 1_500_000),
            failures: [(1, 29), (2, 28)]
                .into_iter()
                .map(|(status, count)| FailureGroup {
                    message: format!("Command exited with status {status}"),
                    count,
                    example: Example {
                        task_id: format!("sh.{status}"),
                        index: status,
                        sandbox: None,
                    },
                })
                .collect(),
            outcome: Outcome::Complete,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn for_people() {
        let evidence = |example: &Example| Evidence {
            place: Some(("/tmp/w".to_owned(), example.task_id.clone())),
            last_line: (example.index == 1).then(|| "no such file".to_owned()),
        };
        assert_eq!(
            text(&summary(), &evidence),
            "\
29 finished, 57 failed of 86 tasks
  in 2.15 s, 40.0 a second, as 12 Mesos tasks in 1 executor
  ACCEPT to running  p50 1.23 ms, p99 150 ms
  ACCEPT to end      p50 900 µs, p99 1.50 s
not finished, by message:
      29 × Command exited with status 1
           e.g. sh.1, output in sh.1
           last line: no such file
      28 × Command exited with status 2
           e.g. sh.2, output in sh.2
outputs are in /tmp/w"
        );
    }

    #[test]
    fn folders_that_differ_are_told_each() {
        let evidence = |example: &Example| Evidence {
            place: Some((format!("agent {}: /f", example.index), example.task_id.clone())),
            last_line: None,
        };
        let text = text(&summary(), &evidence);
        assert!(text.contains("e.g. sh.1, output in agent 1: /f/sh.1\n"), "{text}");
        assert!(text.ends_with("e.g. sh.2, output in agent 2: /f/sh.2"), "{text}");
    }

    #[test]
    fn of_nothing() {
        let summary = Summary {
            tasks: Counts::default(),
            elapsed: Duration::ZERO,
            mesos_tasks: 0,
            executors: 0,
            launch: Percentiles::default(),
            end: Percentiles::default(),
            failures: Vec::new(),
            outcome: Outcome::Stopped,
            warnings: Vec::new(),
        };
        assert_eq!(
            text(&summary, &|_| Evidence::default()),
            "stopped: 0 finished of 0 tasks\n  in 0 µs, 0.00 a second, as 0 Mesos tasks in 0 executors"
        );
        assert_eq!(json(&summary)["tasks_per_second"], 0.0);
    }

    #[test]
    fn many_messages_are_cut_short() {
        let mut summary = summary();
        let one = summary.failures[0].clone();
        summary.failures = vec![one; 14];
        let text = text(&summary, &|_| Evidence::default());
        assert!(text.ends_with("and 4 other messages (all of them with --json)"), "{text}");
    }

    #[test]
    fn for_scripts() {
        assert_eq!(
            json(&summary()),
            json!({
                "tasks": {"finished": 29, "failed": 57, "killed": 0, "lost": 0},
                "seconds": 2.15,
                "tasks_per_second": 40.0,
                "mesos_tasks": 12,
                "executors": 1,
                "launch_ms": {"p50": 1.234, "p90": 20.0, "p99": 150.0},
                "end_ms": {"p50": 0.9, "p90": 30.0, "p99": 1500.0},
                "failures": [
                    {"message": "Command exited with status 1", "count": 29, "example": "sh.1"},
                    {"message": "Command exited with status 2", "count": 28, "example": "sh.2"},
                ],
            })
        );
    }

    #[test]
    fn spans() {
        for (millis, text) in [
            (1, "1.00 ms"),
            (99, "99.0 ms"),
            (1_000, "1.00 s"),
            (61_200, "61.2 s"),
            (150_000, "2 min 30 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
