//! `marmoset bench peers`, `interval` and the simulated agents of `scale`: small runs of each.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use e2e::{Scene, programs};
use serde_json::Value;

/// Stands for HyperQueue: writes down how it is called; server and worker live until the server is stopped.
const FAKE_HQ: &str = r#"#!/bin/sh
echo "$@" >> "$HQ_LOG"
folder=${1#--server-dir=}
case "$2 $3" in
  'server start' | 'worker start')
    while [ ! -e "$folder/stopped" ]; do sleep 0.05; done ;;
  'server stop') touch "$folder/stopped" ;;
esac
"#;

fn row<'a>(doc: &'a Value, id: &str) -> &'a Value {
    doc["rows"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()
}

#[test]
fn peers_that_are_there_are_called_and_measured() {
    let scene = Scene::new();
    let (bin, log) = (scene.path().join("bin"), scene.path().join("hq.log"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("hq"), FAKE_HQ).unwrap();
    fs::set_permissions(bin.join("hq"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = bin.into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap());
    let mut command = Command::new(programs::marmoset());
    command
        .args(["bench", "peers", "--count", "20", "--json"])
        .env("PATH", path)
        .env("HQ_LOG", &log);
    let done = scene.start(command).wait();
    assert!(done.status.success(), "{}", done.stderr);
    let doc: Value = serde_json::from_str(&done.stdout).unwrap();
    for id in ["floor", "marmoset", "marmoset-null", "xargs", "hyperqueue"] {
        assert!(row(&doc, id)["per_second"].as_f64().unwrap() > 0.0, "{id}: {doc}");
    }
    assert_eq!(row(&doc, "floor")["of_floor"], 1.0);
    assert_eq!(row(&doc, "marmoset")["marmoset_over_it"], 1.0);
    let calls = fs::read_to_string(log).unwrap();
    let submits = calls.lines().filter(|call| {
        call.ends_with("submit --array=1-20 --stdout=none --stderr=none --wait -- /bin/true")
    });
    assert_eq!(submits.count(), 3, "{calls}");
    for cpus in ["8", "64"] {
        assert!(calls.contains(&format!("worker start --cpus={cpus}")), "{calls}");
    }
    assert!(calls.contains("server start --host=127.0.0.1"), "{calls}");
    scene.assert_deserted();
}

#[test]
fn peers_that_are_not_there_are_told_with_the_way_to_get_them() {
    let scene = Scene::new();
    let mut command = Command::new(programs::marmoset());
    command.args(["bench", "peers", "--count", "5"]).env("PATH", scene.path());
    let done = scene.start(command).wait();
    assert!(done.status.success(), "{}", done.stderr);
    for text in
        ["absent: Debian and Ubuntu: apt-get install parallel", "absent: put `hq`", "bare loop"]
    {
        assert!(done.stdout.contains(text), "no `{text}` in\n{}", done.stdout);
    }
}

#[test]
fn an_interval_has_a_busy_share_for_each_way() {
    let scene = Scene::new();
    let done = scene.marmoset(["bench", "interval", "--seconds", "100ms", "--json"]);
    assert!(done.status.success(), "{}", done.stderr);
    let doc: Value = serde_json::from_str(&done.stdout).unwrap();
    let rows = doc["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let busy = row["busy"].as_f64().unwrap();
        assert!(busy > 0.0 && busy <= 1.02, "{row}");
    }
    scene.assert_deserted();
}

#[test]
fn simulated_agents_finish_everything_and_end_with_their_caller() {
    let scene = Scene::new();
    let mut cluster = Command::new(programs::marmoset())
        .args(["bench", "simulated-cluster", "--agents", "50"])
        .current_dir(scene.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(cluster.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let master = told["master"].as_str().unwrap();
    for batch in ["auto", "1"] {
        let done = scene.marmoset([
            "run",
            "--master",
            master,
            "--json",
            "--cpus",
            "1",
            "--batch",
            batch,
            "--count",
            "2000",
            "--",
            "/bin/true",
        ]);
        assert!(done.status.success(), "{}", done.stderr);
        let summary: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(summary["tasks"]["finished"], 2000, "{summary}");
        assert!(summary["executors"].as_u64().unwrap() > 1, "{summary}");
    }
    drop(cluster.stdin.take());
    assert!(cluster.wait().unwrap().success());
    scene.assert_deserted();
}
