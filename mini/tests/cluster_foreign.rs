//! A foreign scheduler tells of mini what it told of a real cluster.
//!
//! `testdata/scheduler.py` runs each of its scenarios against a cluster, with
//! `testdata/executor.py` as executor or with the built-in one. What it prints is
//! compared with recordings of a real master and agent: for each task the exact
//! sequence of updates (state, source, reason, message, health, presence of a
//! uuid), every answer to a call, and failures. What is not compared is what
//! depends on timing: how independent tasks interleave, how many offers are
//! declined, and at which moment of a task's life a reconciliation catches it
//! (that the answer fits this moment is).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;
#[path = "support/foreign.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use support::{python, start};
use tokio::process::Command;

/// One UPDATE event as the scheduler prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Update {
    task: String,
    state: String,
    source: String,
    reason: String,
    message: String,
    healthy: String,
    uuid: bool,
}

/// One line of the scheduler's log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Call { kind: String, status: String },
    Update(Update),
    Other(String),
}

impl Update {
    fn is_reconciliation(&self) -> bool {
        self.reason == "REASON_RECONCILIATION"
    }

    fn is_terminal(&self) -> bool {
        !matches!(
            self.state.as_str(),
            "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING" | "TASK_KILLING" | "TASK_UNKNOWN"
        )
    }
}

/// Ids differ from cluster to cluster; their places do not.
fn normalised(text: &str) -> String {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    [("-O[0-9]+", "OFFER"), ("-S[0-9]+", "AGENT"), ("-[0-9]{4}", "FRAMEWORK")].iter().fold(
        text.to_owned(),
        |text, (suffix, name)| {
            let id = Regex::new(&format!("{uuid}{suffix}")).unwrap();
            id.replace_all(&text, *name).into_owned()
        },
    )
}

fn parse(log: &str) -> Vec<Line> {
    let update = Regex::new(
        r"(?s)^UPDATE (\S+) (\S+) (\S+) (\S+) (.*) healthy= (True|False|None) (uuid|no-uuid)$",
    )
    .unwrap();
    let starts =
        ["UPDATE ", "-> ", "subscribed ", "HEARTBEAT ", "FAILURE ", "RESCIND ", "ERROR ", "eof"];
    // A message may have several lines.
    let mut entries: Vec<String> = Vec::new();
    for line in normalised(log).lines() {
        match entries.last_mut() {
            Some(last) if !starts.iter().any(|start| line.starts_with(start)) => {
                last.push('\n');
                last.push_str(line);
            }
            Some(_) | None => entries.push(line.to_owned()),
        }
    }
    entries
        .into_iter()
        .map(|entry| {
            if let Some(found) = update.captures(&entry) {
                let field = |at: usize| found[at].to_owned();
                return Line::Update(Update {
                    task: field(1),
                    state: field(2),
                    source: field(3),
                    reason: field(4),
                    message: field(5),
                    healthy: field(6),
                    uuid: &found[7] == "uuid",
                });
            }
            match entry.strip_prefix("-> ").and_then(|call| call.trim_end().split_once(' ')) {
                Some((kind, status)) => {
                    Line::Call { kind: kind.to_owned(), status: status.to_owned() }
                }
                None => Line::Other(entry),
            }
        })
        .collect()
}

/// What each task was told to be, reconciliation aside.
fn lives(log: &[Line]) -> BTreeMap<String, Vec<Update>> {
    let mut lives: BTreeMap<String, Vec<Update>> = BTreeMap::new();
    for line in log {
        if let Line::Update(update) = line
            && !update.is_reconciliation()
        {
            lives.entry(update.task.clone()).or_default().push(update.clone());
        }
    }
    lives
}

/// Calls whose number does not depend on timing, in order.
fn calls(log: &[Line]) -> Vec<(String, String)> {
    log.iter()
        .filter_map(|line| match line {
            Line::Call { kind, status } if !matches!(kind.as_str(), "DECLINE" | "ACKNOWLEDGE") => {
                Some((kind.clone(), status.clone()))
            }
            Line::Call { .. } | Line::Update(_) | Line::Other(_) => None,
        })
        .collect()
}

/// Events that are neither updates nor heartbeats.
fn others(log: &[Line]) -> Vec<String> {
    log.iter()
        .filter_map(|line| match line {
            Line::Other(text) if !text.starts_with("HEARTBEAT") => Some(text.clone()),
            Line::Other(_) | Line::Call { .. } | Line::Update(_) => None,
        })
        .collect()
}

/// Every call but the last ones is answered 202, and every update with a uuid is acknowledged.
fn check_calls(log: &[Line]) {
    let mut acknowledged = 0;
    let mut with_uuid = 0;
    for line in log {
        match line {
            Line::Call { kind, status } => {
                assert_eq!(status, "202", "{kind}");
                acknowledged += usize::from(kind == "ACKNOWLEDGE");
            }
            Line::Update(update) => with_uuid += usize::from(update.uuid),
            Line::Other(_) => {}
        }
    }
    assert_eq!(acknowledged, with_uuid);
}

/// Answers to reconciliation fit what the tasks were when it was asked for.
fn check_reconciliation(log: &[Line]) {
    let Some(asked) =
        log.iter().rposition(|line| matches!(line, Line::Call { kind, .. } if kind == "RECONCILE"))
    else {
        return;
    };
    let lives = lives(log);
    let before = &log[..asked];
    let mut answers: BTreeMap<&str, Vec<&Update>> = BTreeMap::new();
    for line in log {
        if let Line::Update(update) = line
            && update.is_reconciliation()
        {
            assert_eq!(update.source, "SOURCE_MASTER");
            assert!(!update.uuid, "{update:?}");
            answers.entry(&update.task).or_default().push(update);
        }
    }
    // The killed task was asked for by name and with all; it was running both times.
    let unknown = answers.remove("never-was").unwrap_or_default();
    assert_eq!(unknown.len(), 2, "one for RECONCILE, one for KILL");
    for answer in unknown {
        assert_eq!(answer.state, "TASK_UNKNOWN");
        assert_eq!(answer.message, "Reconciliation: Task is unknown");
    }
    let longer = answers.get("longer").map_or(&[][..], Vec::as_slice);
    assert_eq!(longer.len(), 2, "{longer:?}");
    assert!(longer.iter().all(|answer| answer.state == "TASK_RUNNING"), "{longer:?}");
    for (task, life) in &lives {
        if life.iter().all(|update| update.source == "SOURCE_MASTER") {
            continue;
        }
        // Asked and answered in one go: a task is told of unless it was over for the scheduler.
        let seen = before
            .iter()
            .filter(
                |line| matches!(line, Line::Update(u) if u.task == *task && !u.is_reconciliation()),
            )
            .count();
        let over = seen > 0 && life[seen - 1].is_terminal();
        let told = answers.get(task.as_str()).map_or(0, Vec::len);
        let expected = usize::from(!over) + usize::from(task == "longer");
        assert_eq!(told, expected, "reconciliation of {task}");
        for answer in answers.get(task.as_str()).into_iter().flatten() {
            assert_eq!(answer.message, "Reconciliation: Latest task state");
            // The master may know more than the scheduler has seen, but not less.
            let mut known: BTreeSet<&str> =
                life[seen.saturating_sub(1)..].iter().map(|update| update.state.as_str()).collect();
            if seen == 0 {
                known.insert("TASK_STAGING");
            }
            assert!(known.contains(answer.state.as_str()), "{task} is {}: {known:?}", answer.state);
        }
    }
}

async fn scheduler(case: &str) -> Option<Vec<Line>> {
    let python = python(&format!("cluster_foreign, scenario {case}"))?;
    let cluster = start().await;
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let executor = format!("exec {} {data}/executor.py", python.display());
    let output = Command::new(&python)
        .arg("-u")
        .arg(format!("{data}/scheduler.py"))
        .arg(cluster.master().to_string())
        .arg(case)
        .arg(&executor)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    cluster.shutdown().await;
    let log = String::from_utf8(output.stdout).unwrap().replace(&executor, "EXECUTOR-COMMAND");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{complaints}");
    Some(parse(&log))
}

fn recorded(case: &str) -> Vec<Line> {
    let path = format!("{}/testdata/recorded/{case}.txt", env!("CARGO_MANIFEST_DIR"));
    parse(&std::fs::read_to_string(path).unwrap())
}

async fn compare(case: &str) {
    let recorded = recorded(case);
    // The recordings must pass their own checks, or the checks are wrong.
    check_calls(&recorded);
    check_reconciliation(&recorded);
    let Some(told) = scheduler(case).await else { return };
    check_calls(&told);
    check_reconciliation(&told);
    let (mut expected, mut got) = (lives(&recorded), lives(&told));
    if case == "crash" {
        // The executor may die before or after it says that the killer, and who came with it, starts
        // and runs.
        for lives in [&mut expected, &mut got] {
            for life in lives.values_mut() {
                life.retain(|update| {
                    !["TASK_STARTING", "TASK_RUNNING"].contains(&update.state.as_str())
                });
            }
        }
    }
    for (task, life) in &expected {
        assert_eq!(got.get(task), Some(life), "task {task}");
    }
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert_eq!(calls(&told), calls(&recorded));
    assert_eq!(others(&told), others(&recorded));
}

#[tokio::test(flavor = "multi_thread")]
async fn custom() {
    compare("custom").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn builtin() {
    compare("builtin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    compare("errors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash() {
    compare("crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group() {
    compare("group").await;
}
