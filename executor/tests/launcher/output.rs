//! What becomes of the files that runs write to.

use std::{
    fs,
    num::NonZeroU64,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

use marmoset_executor::launcher::{Cut, Keeping, Kept, LauncherEvent, Report, Spawn};
use marmoset_proto::pack::{Content, Reader, Stream};

use crate::support::{End, Rig, eventually, file, text};

const LIMIT: u64 = 1 << 20;

/// A run as the executor asks for it: in a folder of its own, with two files.
fn task(rig: &mut Rig, name: &str, script: &str, keeping: Keeping) -> Spawn {
    let mut spawn = rig.script(script);
    spawn.cwd = text(rig.path("tasks").join(name).to_str().unwrap());
    spawn.create_cwd = true;
    (spawn.stdout, spawn.stderr) = (file("stdout"), file("stderr"));
    spawn.keeping = keeping;
    spawn
}

fn limited() -> Keeping {
    Keeping { limit: NonZeroU64::new(LIMIT), ..Keeping::default() }
}

fn packed(rig: &Rig) -> Keeping {
    let pack = Some(text(rig.path("packs/job").to_str().unwrap()));
    Keeping { limit: NonZeroU64::new(2 << 20), pack, ..Keeping::default() }
}

/// Sizes of the two files, and what happened to them.
async fn end(rig: &mut Rig) -> (u64, u64, Kept) {
    loop {
        let LauncherEvent::Reports(reports) = rig.event().await else { panic!("it died") };
        for report in reports {
            if let Report::Exited { stdout_bytes, stderr_bytes, kept, .. } = report {
                return (stdout_bytes, stderr_bytes, kept);
            }
        }
    }
}

/// Task, stream, and bytes or the size of a file of its own.
type Record = (String, Stream, Result<Vec<u8>, u64>);

/// What is in a pack, and how much of it is torn.
fn unpacked(path: &Path) -> (Vec<Record>, u64) {
    let (mut reader, mut records) = (Reader::default(), Vec::new());
    reader.push(&fs::read(path).unwrap());
    while let Some(record) = reader.next().unwrap() {
        let content = match record.content {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            Content::OwnFile { size } => Err(size),
        };
        records.push((record.task_id.to_owned(), record.stream, content));
    }
    (records, reader.torn())
}

#[tokio::test]
async fn a_flood_is_bounded_while_it_runs_and_cut_when_it_ends() {
    let mut rig = Rig::new();
    // Fifty megabytes in pieces, each waited for, so that the looks can keep up on any machine.
    let script = "i=0; while [ $i -lt 50 ]; do \
                  head -c 1048576 /dev/zero | tr '\\0' x; echo $i; sleep 0.03; i=$((i+1)); done";
    let spawn = task(&mut rig, "a", script, limited());
    rig.spawn(spawn);
    let path = rig.path("tasks/a/stdout");
    let mut most = 0;
    let (stdout, stderr, kept) = loop {
        tokio::select! {
            end = end(&mut rig) => break end,
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {
                if let Ok(found) = fs::metadata(&path) {
                    most = most.max(found.blocks() * 512);
                }
            }
        }
    };
    let newlines = (0..50).map(|i: u32| i.to_string().len() as u64 + 1).sum::<u64>();
    let written = (50 << 20) + newlines;
    assert_eq!(kept.stdout_cut, Some(Cut { written, kept: LIMIT }));
    assert_eq!((stdout, stderr, kept.stderr_cut), (LIMIT, 0, None));
    // A loaded machine may look late, but not for half of it.
    assert!(most < 25 << 20, "{most} bytes were on the disk");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len() as u64, LIMIT);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0].len() as u64, LIMIT / 2);
    assert!(lines[1].starts_with("[marmoset: ") && lines[1].ends_with(" bytes were cut out here]"));
    let cut = lines[1].split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(cut, written - (LIMIT - lines[1].len() as u64 - 2));
    assert!(text.ends_with("x49\n"), "the end is not the end");
}

#[tokio::test]
async fn a_burst_that_nobody_saw_is_cut_at_its_end() {
    let mut rig = Rig::new();
    let script = "head -c 50000000 /dev/zero; echo end; echo error >&2";
    let spawn = task(&mut rig, "a", script, limited());
    rig.spawn(spawn);
    let (stdout, stderr, kept) = end(&mut rig).await;
    assert_eq!(kept.stdout_cut, Some(Cut { written: 50_000_004, kept: LIMIT }));
    assert_eq!((stdout, stderr), (LIMIT, 6));
    let found = fs::metadata(rig.path("tasks/a/stdout")).unwrap();
    assert!(found.blocks() * 512 <= LIMIT + 4096);
    assert!(fs::read(rig.path("tasks/a/stdout")).unwrap().ends_with(b"\0end\n"));
}

#[tokio::test]
async fn without_a_limit_everything_stays() {
    let mut rig = Rig::new();
    let spawn = task(&mut rig, "a", "head -c 3000000 /dev/zero", Keeping::default());
    rig.spawn(spawn);
    assert_eq!(end(&mut rig).await, (3_000_000, 0, Kept::default()));
}

#[tokio::test]
async fn links_in_the_place_of_files_are_not_followed() {
    let mut rig = Rig::new();
    let theirs = rig.path("theirs");
    let elsewhere = rig.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let content = vec![b'p'; 9 << 20];
    for path in [&theirs, &elsewhere.join("stdout")] {
        fs::write(path, &content).unwrap();
    }
    let scripts = [
        format!("ln -sf {} stdout", theirs.display()),
        format!("ln -f {} stdout", theirs.display()),
        format!("cd ..; rm -r \"$OLDPWD\"; ln -s {} \"$OLDPWD\"", elsewhere.display()),
        "rm stdout; mkfifo stdout".to_owned(),
        "rm stdout; mkdir stdout".to_owned(),
    ];
    for (number, script) in scripts.iter().enumerate() {
        for keeping in [limited(), packed(&rig)] {
            // Long enough to be looked at while it runs.
            let name = format!("{number}-{}", keeping.pack.is_some());
            let spawn = task(&mut rig, &name, &format!("{script}; sleep 0.3"), keeping);
            rig.spawn(spawn);
            let (_, _, kept) = end(&mut rig).await;
            assert_eq!(kept.stdout_cut, None, "{script}");
            assert_eq!(fs::read(&theirs).unwrap(), content, "{script}");
            assert_eq!(fs::read(elsewhere.join("stdout")).unwrap(), content, "{script}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "{script}");
        }
    }
}

#[tokio::test]
async fn what_is_prepared_for_the_next_run_is_refused() {
    let mut rig = Rig::new();
    let elsewhere = rig.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("stdout"), "theirs").unwrap();
    fs::create_dir_all(rig.path("tasks/b")).unwrap();
    symlink(&elsewhere, rig.path("tasks/a")).unwrap();
    symlink(elsewhere.join("stdout"), rig.path("tasks/b/stdout")).unwrap();
    fs::create_dir_all(rig.path("tasks/c")).unwrap();
    nix::unistd::mkfifo(&rig.path("tasks/c/stdout"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["a", "b", "c"] {
        let spawn = task(&mut rig, name, "echo hello", limited());
        let end = rig.run(spawn).await;
        assert!(matches!(end, crate::support::End::Failed { .. }), "{name}: {end:?}");
    }
    assert_eq!(fs::read_to_string(elsewhere.join("stdout")).unwrap(), "theirs");
}

#[tokio::test]
async fn small_outputs_go_to_a_pack_and_nothing_stays() {
    let mut rig = Rig::with_workers(1);
    let keeping = packed(&rig);
    for (name, script) in [
        ("both", "echo out; echo err >&2"),
        ("none", "true"),
        ("large", "head -c 1500000 /dev/zero; echo err >&2"),
        ("left", "echo out; touch other"),
    ] {
        let spawn = task(&mut rig, name, script, keeping.clone());
        rig.spawn(spawn);
        let (stdout, _, kept) = end(&mut rig).await;
        assert_eq!(kept.folder_removed, matches!(name, "both" | "none"), "{name}");
        assert_eq!(
            stdout,
            if name == "large" {
                1_500_000
            } else if name == "none" {
                0
            } else {
                4
            }
        );
    }
    let (records, torn) = unpacked(&rig.path("packs/job.0.pack"));
    let record = |name: &str, stream, content| (name.to_owned(), stream, content);
    let out = || Ok(b"out\n".to_vec());
    let err = || Ok(b"err\n".to_vec());
    let expected = [
        record("both", Stream::Stdout, out()),
        record("both", Stream::Stderr, err()),
        record("large", Stream::Stdout, Err(1_500_000)),
        record("large", Stream::Stderr, err()),
        record("left", Stream::Stdout, out()),
    ];
    assert_eq!((&records[..], torn), (&expected[..], 0));
    let mut left: Vec<_> = fs::read_dir(rig.path("tasks"))
        .unwrap()
        .flat_map(|task| {
            let task = task.unwrap().path();
            fs::read_dir(task).unwrap().map(|file| file.unwrap().path())
        })
        .map(|path| path.strip_prefix(rig.path("tasks")).unwrap().display().to_string())
        .collect();
    left.sort();
    assert_eq!(left, ["large/stdout", "left/other"]);
}

#[tokio::test]
async fn each_worker_writes_a_pack_of_its_own_and_spares_those_of_the_dead() {
    let mut rig = Rig::with_workers(2);
    fs::create_dir(rig.path("packs")).unwrap();
    fs::write(rig.path("packs/job.0.pack"), "left by another").unwrap();
    let keeping = packed(&rig);
    let spawns =
        (0..40).map(|n| task(&mut rig, &format!("t{n}"), &format!("echo {n}"), keeping.clone()));
    let spawns = spawns.collect::<Vec<_>>();
    rig.launcher.spawn(spawns);
    while rig.ended.len() < 40 {
        rig.handle_event().await;
    }
    assert_eq!(fs::read_to_string(rig.path("packs/job.0.pack")).unwrap(), "left by another");
    let mut records = Vec::new();
    for number in 1..=2 {
        let (some, torn) = unpacked(&rig.path(&format!("packs/job.{number}.pack")));
        assert!(!some.is_empty() && torn == 0);
        records.extend(some);
    }
    records.sort();
    let mut expected: Vec<_> = (0..40)
        .map(|n| (format!("t{n}"), Stream::Stdout, Ok(format!("{n}\n").into_bytes())))
        .collect();
    expected.sort();
    assert_eq!(records, expected);
}

#[tokio::test]
async fn a_pack_that_cannot_be_written_leaves_the_files() {
    let mut rig = Rig::new();
    fs::write(rig.path("packs"), "a file where the folder would be").unwrap();
    let keeping = packed(&rig);
    let spawn = task(&mut rig, "a", "echo out", keeping);
    rig.spawn(spawn);
    let (stdout, _, kept) = end(&mut rig).await;
    assert_eq!((stdout, kept), (4, Kept::default()));
    eventually("it is there", || rig.path("tasks/a/stdout").exists()).await;
    assert_eq!(fs::read_to_string(rig.path("tasks/a/stdout")).unwrap(), "out\n");
}

#[tokio::test]
async fn a_folder_that_nothing_was_written_into_goes_with_its_run() {
    let mut rig = Rig::new();
    for (name, script, removed) in [("empty", ":", true), ("used", ": > mine", false)] {
        let mut spawn = rig.script(script);
        spawn.cwd = text(rig.path(name).to_str().unwrap());
        spawn.create_cwd = true;
        spawn.keeping = Keeping { remove_empty: true, ..Keeping::default() };
        assert_eq!(rig.run(spawn).await, End::code(0));
        assert_eq!(!rig.path(name).exists(), removed, "{name}");
    }
}
