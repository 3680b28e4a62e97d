//! `marmoset bench compare`: its report, in a browser, tells the same figures as its JSON.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{Scene, processes, skip, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Names of the browser in distributions.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The page as the browser has it after it has read and laid it out.
fn dom(report: &Path, profile: &Path) -> Option<String> {
    let browser = BROWSERS.into_iter().find(|name| {
        let asked = Command::new(name).arg("--version").stdin(Stdio::null()).output();
        asked.is_ok_and(|answer| answer.status.success())
    });
    let Some(browser) = browser else {
        let why =
            format!("there is no {}; tests/run installs it where it can", BROWSERS.join(", "));
        skip("the_report_tells_the_figures_of_the_json, in a browser", &why);
        return None;
    };
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", report.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Place, value and text of each figure in the page.
fn figures(dom: &str) -> Vec<(String, String, String)> {
    let until = |text: &str, end: char| text.split(end).next().unwrap_or_default().to_owned();
    dom.split("data-figure=\"")
        .skip(1)
        .map(|rest| {
            let place = until(rest, '"');
            let (_, rest) = rest.split_once("data-value=\"").unwrap();
            let value = until(rest, '"');
            let (_, rest) = rest.split_once('>').unwrap();
            (place, value, until(rest, '<'))
        })
        .collect()
}

/// Three digits of a number agree with its text.
fn agrees(text: &str, value: f64) -> bool {
    let shown: f64 = text.trim_end_matches(" %").parse().unwrap();
    let shown = if text.ends_with('%') { shown / 100.0 } else { shown };
    (shown - value).abs() <= 0.005_f64.max(value.abs() * 0.006)
}

#[test]
fn the_report_tells_the_figures_of_the_json() {
    let scene = Scene::new();
    let report = scene.path().join("report.html");
    let done = scene.marmoset([
        "bench",
        "compare",
        "--null",
        "--count",
        "30",
        "--repeat",
        "2",
        "--also",
        "nothing",
        "--default-executor",
        "--json",
        "--html",
        report.to_str().unwrap(),
        "--",
        "/bin/sh",
        "-c",
        "exit 0 # <b>",
    ]);
    assert!(done.status.success(), "{}", done.stderr);
    let doc: Value = serde_json::from_str(&done.stdout).unwrap();
    scene.assert_deserted();

    assert_eq!(doc["cluster"]["kind"], "mini");
    assert_eq!(doc["cluster"]["allocation_interval"], "1secs");
    let sides = doc["sides"].as_array().unwrap();
    let side = |id: &str| sides.iter().find(|side| side["id"] == id).unwrap();
    for id in ["single", "batches", "command"] {
        let side = side(id);
        assert_eq!(side["rounds"].as_array().unwrap().len(), 2, "{side}");
        assert_eq!(side["failed"], 0, "{side}");
        for key in [
            "/per_second/mean",
            "/end_ms/p50",
            "/launch_ms/p99",
            "/cpu_us_per_task/scheduler",
            "/updates_per_task",
        ] {
            assert!(side.pointer(key).and_then(Value::as_f64).unwrap() > 0.0, "{key}: {side}");
        }
    }
    assert_eq!(side("single")["mesos_tasks_per_task"], 1.0);
    let null = side("null");
    assert!(null.pointer("/per_second/mean").and_then(Value::as_f64).unwrap() > 0.0, "{null}");
    assert_eq!((&null["failed"], &null["updates_per_task"]), (&0.into(), &1.0.into()), "{null}");
    assert!(side("batches")["mesos_tasks_per_task"].as_f64().unwrap() < 0.9);
    assert!(
        side("single")["updates_per_task"].as_f64() < side("command")["updates_per_task"].as_f64()
    );
    assert!(side("default")["absent"].as_str().unwrap().contains("mini does not emulate"));

    let page = std::fs::read_to_string(&report).unwrap();
    for outside in ["<script", "http://", "https://", "@import", "url("] {
        assert!(!page.contains(outside), "the report wants `{outside}`");
    }
    assert!(page.contains("exit 0 # &lt;b&gt;"));

    let Some(dom) = dom(&report, &scene.path().join("profile")) else { return };
    let figures = figures(&dom);
    assert!(figures.len() > 60, "{} figures", figures.len());
    for (place, value, text) in &figures {
        let known = doc.pointer(place).unwrap_or_else(|| panic!("no {place} in the JSON"));
        assert_eq!(&known.to_string(), value, "{place}");
        assert!(agrees(text, known.as_f64().unwrap()), "{place}: {text} for {known}");
    }
    for (index, side) in sides.iter().enumerate().filter(|(_, side)| side["absent"].is_null()) {
        let place = format!("/sides/{index}/per_second/mean");
        assert!(figures.iter().any(|(known, ..)| *known == place), "{place}: {side}");
    }
    // What Chromium has drawn: charts with titles, and no number that went wrong.
    assert!(dom.matches("<svg").count() > 6 && dom.contains("role=\"img\""));
    assert!(!dom.contains("NaN"));
}

#[test]
fn wrong_command_lines_are_told() {
    let scene = Scene::new();
    for (arguments, words) in [
        (&["--html", "/no/such/folder/x.html"][..], &["--html", "cannot be written"][..]),
        (&["--also", "nothing,peers"], &["--also nothing", "leave one out"]),
        (&["--json", "--csv"], &["--json", "--csv"]),
        (&["--executor-path", "/x"], &["--master"]),
        (&["--repeat", "0"], &["--repeat", "at least 1"]),
        (&["--", ""], &["COMMAND"]),
    ] {
        let done = scene.marmoset([&["bench", "compare"], arguments].concat());
        assert_eq!(done.status.code(), Some(64), "{arguments:?}: {}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{arguments:?}: no `{word}` in {}", done.stderr);
        }
    }
}

#[test]
fn what_is_interrupted_leaves_the_report_as_it_was() {
    let scene = Scene::new();
    let report = scene.path().join("report.html");
    let interrupted = || {
        let running = scene.start_marmoset(["bench", "compare", "--", "sleep", "300"]);
        // Its cluster runs: what can be checked before was checked.
        wait::until("a command", || {
            processes::within_running(scene.path(), "sleep").into_iter().next()
        });
        running.signal(Signal::SIGINT);
        let done = running.wait();
        assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
        scene.assert_deserted();
    };
    interrupted();
    assert!(!report.exists());
    std::fs::write(&report, "of yesterday").unwrap();
    interrupted();
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "of yesterday");
}

#[test]
fn a_command_that_never_succeeds_is_an_error() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "bench",
        "compare",
        "--count",
        "5",
        "--repeat",
        "1",
        "--also",
        "nothing",
        "--",
        "/bin/false",
    ]);
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("no side can run the command: Command exited with status 1"),
        "{}",
        done.stderr
    );
    scene.assert_deserted();
}
