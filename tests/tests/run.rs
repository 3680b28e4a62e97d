//! `marmoset run` on the embedded cluster, as a person types it.

use std::{collections::BTreeSet, fs};

use e2e::Scene;
use serde_json::{Value, json};

fn count(result: &Value, state: &str) -> u64 {
    result["tasks"][state].as_u64().unwrap_or_else(|| panic!("no tasks.{state} in {result}"))
}

#[test]
fn ten_thousand_commands_finish_in_one_executor() {
    let scene = Scene::new();
    let done = scene.marmoset(["run", "--json", "--count", "10000", "--", "/bin/true"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let result = done.json();
    assert_eq!(result["tasks"], json!({"finished": 10000, "failed": 0, "killed": 0, "lost": 0}));
    assert_eq!(result["executors"], 1);
    assert_eq!(result["failures"], json!([]));
    assert!(result["mesos_tasks"].as_u64().unwrap() < 1000, "batches carry many tasks: {result}");
    for latencies in ["launch_ms", "end_ms"] {
        let at = |name: &str| result[latencies][name].as_f64().unwrap();
        assert!(at("p50") > 0.0 && at("p50") <= at("p90") && at("p90") <= at("p99"), "{result}");
    }
    assert!(result["tasks_per_second"].as_f64().unwrap() > 0.0);
    scene.assert_deserted();
}

#[test]
fn failures_are_grouped_by_exit_status() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "200",
        "--",
        "sh",
        "-c",
        "exit $((MARMOSET_INDEX % 7))",
    ]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let result = done.json();
    // 200 indices: 0, 7, ... 196 end with 0 (29 of them); 1..=3 have 29, 4..=6 have 28.
    assert_eq!(count(&result, "finished"), 29);
    assert_eq!(count(&result, "failed"), 171);
    let failures = result["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 6, "{result}");
    for status in 1..=6_u64 {
        let message = format!("Command exited with status {status}");
        let group = failures.iter().find(|group| group["message"] == message.as_str());
        let group = group.unwrap_or_else(|| panic!("no group `{message}` in {result}"));
        assert_eq!(group["count"], if status <= 3 { 29 } else { 28 });
        assert!(!group["example"].is_null());
    }
    scene.assert_deserted();
}

#[test]
fn the_summary_for_people_names_states_rate_and_failures() {
    let scene = Scene::new();
    let done =
        scene.marmoset(["run", "--count", "20", "--", "sh", "-c", "exit $((MARMOSET_INDEX % 2))"]);
    assert_eq!(done.code(), 1);
    for word in ["10 finished", "10 failed", "Command exited with status 1", "p50", "p99"] {
        let all = format!("{}{}", done.stdout, done.stderr);
        assert!(all.contains(word), "no `{word}` in:\n{all}");
    }
}

#[test]
fn lines_and_indices_replace_their_placeholders() {
    let scene = Scene::new();
    let output = scene.path().join("out");
    let done = scene.marmoset_reading(
        "alpha\nbeta gamma\n{#}\n",
        [
            "run",
            "--json",
            "--each-line",
            "-",
            "--output",
            output.to_str().unwrap(),
            "--",
            "printf",
            "%s|%s",
            "<{}>",
            "{#}",
        ],
    );
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let outputs: BTreeSet<String> = fs::read_dir(&output)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| fs::read_to_string(path).ok())
        .filter(|text| !text.is_empty())
        .collect();
    let wanted = ["<alpha>|0", "<beta gamma>|1", "<{#}>|2"].map(str::to_owned);
    assert_eq!(outputs, BTreeSet::from(wanted));
}

#[test]
fn a_task_sees_its_environment_and_nothing_of_ours() {
    let scene = Scene::new();
    let output = scene.path().join("out");
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "1",
        "--ports",
        "2",
        "--env",
        "COLOUR=blue",
        "--output",
        output.to_str().unwrap(),
        "--",
        "/usr/bin/env",
    ]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let text: String = fs::read_dir(&output)
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned)
    };
    assert_eq!(value("COLOUR").as_deref(), Some("blue"), "{text}");
    assert_eq!(value("MARMOSET_INDEX").as_deref(), Some("0"), "{text}");
    assert!(value("MARMOSET_TASK_ID").is_some_and(|id| !id.is_empty()), "{text}");
    let port = |name| value(name).and_then(|text| text.parse::<u16>().ok()).unwrap();
    assert_ne!(port("PORT0"), port("PORT1"));
    assert!(value("MESOS_SANDBOX").is_some(), "{text}");
    assert!(value("TMPDIR").is_none(), "a variable of the caller leaked:\n{text}");
    assert!(value("CARGO_MANIFEST_DIR").is_none(), "a variable of the test leaked:\n{text}");
}

#[test]
fn a_task_past_its_time_fails_with_the_reason() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "3",
        "--timeout",
        "300ms",
        "--shell",
        "--",
        "exec sleep 1000",
    ]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let result = done.json();
    assert_eq!(count(&result, "failed"), 3);
    assert_eq!(result["failures"][0]["count"], 3, "{result}");
    let message = result["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("time limit"), "{message}");
    scene.assert_deserted();
}

#[test]
fn failed_tasks_are_tried_again_when_asked() {
    let scene = Scene::new();
    let marks = scene.path().join("marks");
    fs::create_dir(&marks).unwrap();
    // The first try of each index leaves a mark and fails; the second finds it.
    let script = format!("mkdir {}/$MARMOSET_INDEX && exit 9; exit 0", marks.display());
    let again = scene.marmoset([
        "run",
        "--json",
        "--count",
        "12",
        "--retries",
        "1",
        "--shell",
        "--",
        &script,
    ]);
    assert_eq!(again.code(), 0, "{}\n{}", again.stdout, again.stderr);
    assert_eq!(count(&again.json(), "finished"), 12);
    assert_eq!(fs::read_dir(&marks).unwrap().count(), 12);
}

#[test]
fn no_more_run_at_a_time_than_allowed() {
    let scene = Scene::new();
    let marks = scene.path().join("marks");
    fs::create_dir(&marks).unwrap();
    let script = format!(
        "cd {} && touch $MARMOSET_INDEX && ls | wc -l > {}/seen-$MARMOSET_INDEX && sleep 0.05 && rm $MARMOSET_INDEX",
        marks.display(),
        scene.path().display()
    );
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "40",
        "--max-running",
        "3",
        "--shell",
        "--",
        &script,
    ]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let most = (0..40)
        .map(|index| fs::read_to_string(scene.path().join(format!("seen-{index}"))).unwrap())
        .map(|text| text.trim().parse::<u32>().unwrap())
        .max();
    assert!(most.is_some_and(|most| (1..=3).contains(&most)), "{most:?} ran at a time");
}

#[test]
fn batches_of_any_size_give_the_same_outcome() {
    let script = "exit $((MARMOSET_INDEX % 5))";
    let outcomes: Vec<Value> = ["1", "auto", "37"]
        .into_iter()
        .map(|batch| {
            let scene = Scene::new();
            let done = scene.marmoset([
                "run", "--json", "--count", "5000", "--batch", batch, "--cpus", "0.05", "--shell",
                "--", script,
            ]);
            assert_eq!(done.code(), 1, "{}", done.stderr);
            let result = done.json();
            if batch == "1" {
                assert_eq!(result["mesos_tasks"], 5000, "{result}");
            }
            let mut failures: Vec<(String, u64)> = result["failures"]
                .as_array()
                .unwrap()
                .iter()
                .map(|group| {
                    (
                        group["message"].as_str().unwrap().to_owned(),
                        group["count"].as_u64().unwrap(),
                    )
                })
                .collect();
            failures.sort();
            json!({"tasks": result["tasks"], "failures": failures})
        })
        .collect();
    assert_eq!(count(&outcomes[0], "finished"), 1000);
    assert_eq!(count(&outcomes[0], "failed"), 4000);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
}
