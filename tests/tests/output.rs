//! Where the output of tasks goes, and how much of it stays.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::Scene;

/// The folders of tasks that an embedded cluster has left in the scene.
fn task_folders(scene: &Scene) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(scene.path(), "tasks", &mut found);
    let tasks = found.into_iter().flat_map(|tasks| fs::read_dir(tasks).unwrap());
    let mut folders: Vec<_> = tasks.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// What lies below `folder` under this name; links are not followed.
fn collect(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == name {
            found.push(entry.path());
        } else if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), name, found);
        }
    }
}

/// The sandboxes of executors.
fn sandboxes(scene: &Scene) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(scene.path(), "tasks", &mut found);
    found.iter().map(|tasks| tasks.parent().unwrap().to_owned()).collect()
}

#[test]
fn null_leaves_no_file_and_file_does() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "20",
        "--keep",
        "always",
        "--stdout",
        "null",
        "--shell",
        "--",
        "echo out; echo err >&2",
    ]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let folders = task_folders(&scene);
    assert_eq!(folders.len(), 20);
    for folder in folders {
        assert!(!folder.join("stdout").exists(), "{folder:?}");
        assert_eq!(fs::read_to_string(folder.join("stderr")).unwrap(), "err\n");
    }
}

#[test]
fn inherit_shares_the_files_of_the_executor() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "run",
        "--json",
        "--count",
        "20",
        "--keep",
        "always",
        "--stdout",
        "inherit",
        "--stderr",
        "inherit",
        "--shell",
        "--",
        "echo out $MARMOSET_INDEX; echo err $MARMOSET_INDEX >&2",
    ]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    for folder in task_folders(&scene) {
        assert!(!folder.join("stdout").exists() && !folder.join("stderr").exists(), "{folder:?}");
    }
    let sandboxes = sandboxes(&scene);
    let [sandbox] = &*sandboxes else { panic!("{sandboxes:?}") };
    for (file, word) in [("stdout", "out"), ("stderr", "err")] {
        let text = fs::read_to_string(sandbox.join(file)).unwrap();
        for index in 0..20 {
            let line = format!("{word} {index}");
            assert!(text.lines().any(|found| found == line), "no `{line}` in {file}:\n{text}");
        }
    }
}

#[test]
fn what_is_too_much_loses_its_middle_and_the_message_says_so() {
    let scene = Scene::new();
    let script = "echo begin; head -c 50000000 /dev/zero; echo end; echo error >&2; exit 3";
    for batch in ["1", "4"] {
        let output = scene.path().join(format!("out{batch}"));
        let done = scene.marmoset([
            "run",
            "--json",
            "--count",
            "4",
            "--batch",
            batch,
            "--output-limit",
            "1MB",
            "--output",
            output.to_str().unwrap(),
            "--shell",
            "--",
            script,
        ]);
        assert_eq!(done.code(), 1, "{}", done.stderr);
        assert_eq!(
            done.json()["failures"][0]["message"],
            "Command exited with status 3; stdout was cut: 47 MB written, the first and last 512 KB kept"
        );
        for index in 0..4 {
            let kept = fs::read(output.join(format!("{index}.out"))).unwrap();
            assert_eq!(kept.len(), 1 << 20);
            assert!(kept.starts_with(b"begin\n\0") && kept.ends_with(b"\0end\n"));
            assert_eq!(fs::read(output.join(format!("{index}.err"))).unwrap(), b"error\n");
        }
    }
}

#[test]
fn there_must_be_something_to_collect() {
    let scene = Scene::new();
    let done = scene.marmoset([
        "run", "--output", "d", "--stdout", "null", "--stderr", "inherit", "--", "true",
    ]);
    assert_eq!(done.code(), 64);
    assert!(done.stderr.contains("`--output` has nothing to collect"), "{}", done.stderr);
    let done = scene.marmoset(["run", "--stdout", "void", "--", "true"]);
    assert_eq!(done.code(), 64);
    assert!(done.stderr.contains("none of `file`, `null`, `inherit`"), "{}", done.stderr);
}
