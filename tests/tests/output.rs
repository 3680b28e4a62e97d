//! Where the output of tasks goes, and how much of it stays.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use e2e::Scene;
use serde_json::Value;

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

/// Names and contents of the files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn packed_outputs_are_fetched_as_others_are() {
    // Nothing, one stream, both, and some that are too large for a pack.
    let script = "case $((MARMOSET_INDEX % 5)) in 0) ;; 1) echo $MARMOSET_INDEX ;; \
                  2) echo $MARMOSET_INDEX >&2 ;; *) echo out; echo err >&2 ;; esac; \
                  if [ $((MARMOSET_INDEX % 500)) = 7 ]; then head -c 2000000 /dev/zero; fi; \
                  exit $((MARMOSET_INDEX % 3 / 2))";
    let scene = Scene::new();
    let fetched = [("plain", None), ("packed", Some("--pack-output"))].map(|(name, flag)| {
        let folder = scene.path().join(name);
        let output = folder.to_str().unwrap();
        let arguments = ["run", "--json", "--count", "2000", "--output", output];
        let rest = ["--keep", "always", "--shell", "--", script];
        let done = scene.marmoset(arguments.into_iter().chain(flag).chain(rest));
        assert_eq!(done.code(), 1, "{}", done.stderr);
        assert!(!done.stderr.contains("could not be fetched"), "{}", done.stderr);
        files(&folder)
    });
    let [plain, packed] = fetched;
    assert_eq!(plain.len(), 400 + 400 + 2 * 800 + 4);
    assert_eq!(plain.keys().collect::<Vec<_>>(), packed.keys().collect::<Vec<_>>());
    assert!(plain == packed, "contents differ");

    // Of the packed ones nothing is left but a few packs, and folders of what is large.
    let mut packs = Vec::new();
    collect(scene.path(), "packs", &mut packs);
    let [packs] = &*packs else { panic!("{packs:?}") };
    let count = fs::read_dir(packs).unwrap().count();
    assert!((1..=4).contains(&count), "{count} packs");
    let tasks = fs::read_dir(packs.parent().unwrap().join("tasks")).unwrap().count();
    assert_eq!(tasks, 4);

    let packs: Vec<_> = fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path()).collect();
    let unpack = |arguments: &[&str]| {
        let files = packs.iter().map(|path| path.to_str().unwrap());
        scene.marmoset(["unpack"].into_iter().chain(arguments.iter().copied()).chain(files))
    };
    let list = unpack(&["--list"]);
    assert_eq!((list.code(), list.stderr.as_str()), (0, ""));
    assert_eq!(list.stdout.lines().count(), plain.len());
    assert!(list.stdout.contains("stdout 2000000  in a file of its own\n"), "{}", list.stdout);
    let json = unpack(&["--list", "--json"]);
    let all: u64 = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(all, plain.values().map(|content| content.len() as u64).sum::<u64>());
    let id = list.stdout.lines().find_map(|line| line.strip_suffix(".3 stdout 4")).unwrap();
    let one = unpack(&["--task", &format!("{id}.3")]);
    assert_eq!((one.stdout.as_str(), one.stderr.as_str()), ("out\n", "err\n"));
    let none = unpack(&["--task", &format!("{id}.0")]);
    assert_eq!(none.code(), 2);
    assert!(none.stderr.contains("it wrote nothing"), "{}", none.stderr);

    // The last record of each is torn off: that is told, and the rest is there.
    for path in &packs {
        let length = fs::metadata(path).unwrap().len();
        File::options().write(true).open(path).unwrap().set_len(length - 1).unwrap();
    }
    let to = scene.path().join("by-hand");
    let torn = unpack(&["--to", to.to_str().unwrap()]);
    assert_eq!(torn.code(), 0, "{}", torn.stderr);
    assert_eq!(torn.stderr.matches("are no whole record").count(), packs.len());
    let files = task_files(&to);
    // Some are not in the packs at all.
    assert_eq!(files, plain.len() - 4 - packs.len());
}

/// How many files the folders below `folder` have.
fn task_files(folder: &Path) -> usize {
    let tasks = fs::read_dir(folder).unwrap();
    tasks.map(|task| fs::read_dir(task.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn the_last_line_of_a_failure_is_found_in_its_pack() {
    let scene = Scene::new();
    let script = "echo out; echo the reason >&2; exit 3";
    let done = scene.marmoset(["run", "--count", "30", "--pack-output", "--shell", "--", script]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    assert!(done.stdout.contains("the reason"), "{}", done.stdout);
    assert!(done.stdout.contains(".pack"), "{}", done.stdout);
}

#[test]
fn unpack_says_what_it_needs() {
    let scene = Scene::new();
    let file = scene.path().join("no-pack");
    fs::write(&file, "just some text").unwrap();
    let done = scene.marmoset(["unpack", "--list", file.to_str().unwrap()]);
    assert_eq!(done.code(), 2);
    assert!(done.stderr.contains("not a pack"), "{}", done.stderr);
    let done = scene.marmoset(["unpack", file.to_str().unwrap()]);
    assert_eq!(done.code(), 64);
    assert!(done.stderr.contains("`--list`, `--task ID` or `--to DIR`"), "{}", done.stderr);
}
