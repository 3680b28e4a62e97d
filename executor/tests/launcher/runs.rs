//! What a run is given, and what is told of it.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use marmoset_executor::launcher::{LauncherEvent, Output, Report, Step};

use crate::support::{End, Rig, descendants, eventually, file, text, workers};

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    let mut rig = Rig::new();
    let mut ends = Vec::new();
    for script in ["exit 0", "exit 3", "kill -SEGV $$", "kill -KILL $$"] {
        let spawn = rig.script(script);
        ends.push(rig.run(spawn).await);
    }
    assert_eq!(ends[..2], [End::code(0), End::code(3)]);
    let End::Exited { wait_status, .. } = ends[2] else { panic!("{:?}", ends[2]) };
    assert_eq!(wait_status & 0x7f, libc::SIGSEGV);
    assert_eq!(ends[3], End::status(libc::SIGKILL));
}

#[tokio::test]
async fn usage_and_times_are_told() {
    let mut rig = Rig::new();
    let before = std::time::SystemTime::now();
    let spawn = rig.script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    rig.spawn(spawn);
    let mut reports = Vec::new();
    while reports.len() < 2 {
        match rig.event().await {
            LauncherEvent::Reports(more) => reports.extend(more),
            LauncherEvent::Died { reason } => panic!("{reason}"),
        }
    }
    let [Report::Started { at: started, pid, .. }, Report::Exited { at: ended, usage, .. }] =
        reports[..]
    else {
        panic!("{reports:?}")
    };
    let round = std::time::Duration::from_millis(1);
    assert!(before <= started + round && started <= ended);
    assert!(pid > 1 && usage.max_rss_kib > 0);
    assert!(usage.user + usage.system > std::time::Duration::ZERO);
}

#[tokio::test]
async fn output_goes_to_files_in_the_working_directory() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("echo out; echo error >&2; pwd > where");
    spawn.cwd = text(rig.path("a/b/c").to_str().unwrap());
    spawn.create_cwd = true;
    (spawn.stdout, spawn.stderr) = (file("stdout"), file("stderr"));
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Exited { wait_status: 0, stdout_bytes: 4, stderr_bytes: 6 });
    let read = |name| fs::read_to_string(rig.path("a/b/c").join(name)).unwrap();
    assert_eq!([read("stdout"), read("stderr")], ["out\n", "error\n"]);
    assert_eq!(read("where").trim(), rig.path("a/b/c").to_str().unwrap());
    let mode = fs::metadata(rig.path("a/b/c/stdout")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[tokio::test]
async fn a_folder_that_exists_is_used_and_files_are_truncated() {
    let mut rig = Rig::new();
    fs::write(rig.path("stdout"), "something long from before").unwrap();
    let mut spawn = rig.script("echo new");
    spawn.create_cwd = true;
    spawn.stdout = file("stdout");
    rig.run(spawn).await;
    assert_eq!(fs::read_to_string(rig.path("stdout")).unwrap(), "new\n");
}

#[tokio::test]
async fn the_environment_is_exactly_the_one_given() {
    let mut rig = Rig::new();
    let mut spawn = rig.request("/usr/bin/env", &[]);
    spawn.env = ["B=2", "A=1 with = and \u{e9}", "EMPTY="].map(text).into();
    spawn.stdout = file("stdout");
    rig.run(spawn).await;
    let environment = fs::read_to_string(rig.path("stdout")).unwrap();
    assert_eq!(environment, "B=2\nA=1 with = and \u{e9}\nEMPTY=\n");
}

#[tokio::test]
async fn a_process_is_born_into_a_clean_house() {
    let mut rig = Rig::new();
    let mut spawn = rig.script(
        "ls -l /proc/$$/fd > fds
         cut -d' ' -f1,5,6 /proc/$$/stat > ids
         readlink /proc/$$/fd/0 > stdin",
    );
    spawn.stdout = file("stdout");
    assert_eq!(rig.run(spawn).await, End::code(0));
    let folder = rig.folder.path().to_owned();
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("stdin").trim(), "/dev/null");

    let open = read("fds")
        .lines()
        .filter_map(|line| line.split_once(" -> ")?.0.rsplit(' ').next()?.parse().ok())
        .collect::<BTreeSet<u32>>();
    assert!(open.is_superset(&BTreeSet::from([0, 1, 2])), "{open:?}");
    // A shell may hold one of its own, high up.
    assert!(open.iter().all(|fd| *fd < 3 || *fd >= 10), "{}", read("fds"));

    let ids = read("ids");
    let ids = ids.split_whitespace().collect::<Vec<_>>();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "leads no session of its own: {ids:?}");

    // A shell may be blocking some while it starts something.
    let mut spawn = rig.request("/bin/cat", &["/proc/self/status"]);
    spawn.stdout = file("status");
    rig.run(spawn).await;
    let status = read("status");
    for name in ["SigBlk", "SigIgn", "SigPnd", "ShdPnd"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask, 0, "{line}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_says_which_step_and_why() {
    let mut rig = Rig::new();
    fs::write(rig.path("plain"), "#!/bin/sh\n").unwrap();
    fs::create_dir(rig.path("folder")).unwrap();
    let plain = rig.path("plain").to_str().unwrap().to_owned();

    let spawn = rig.request("/nowhere/program", &[]);
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Exec, errno: libc::ENOENT });
    let spawn = rig.request(&plain, &[]);
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Exec, errno: libc::EACCES });
    let mut spawn = rig.script("true");
    spawn.cwd = text("/nowhere");
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::ChangeFolder, errno: libc::ENOENT });
    let mut spawn = rig.script("true");
    (spawn.cwd, spawn.create_cwd) = (text(&format!("{plain}/below")), true);
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Failed { step: Step::CreateFolder, errno: libc::ENOTDIR });
    let mut spawn = rig.script("true");
    spawn.stdout = file("folder");
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Stdout, errno: libc::EISDIR });
    let mut spawn = rig.script("true");
    spawn.stderr = file("no/such");
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Stderr, errno: libc::ENOENT });
    assert!(rig.started.is_empty());
    // None of them is left, ended or not.
    for worker in workers(&rig.launcher) {
        assert_eq!(descendants(worker), Vec::<i32>::new());
    }
}

#[tokio::test]
async fn a_program_without_a_format_is_a_shell_script() {
    let mut rig = Rig::new();
    let program = rig.path("script");
    fs::write(&program, "echo \"$1\"; exit $#").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut spawn = rig.request(program.to_str().unwrap(), &["a b", "c"]);
    spawn.stdout = file("stdout");
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Exited { wait_status: 2 << 8, stdout_bytes: 4, stderr_bytes: 0 });
    assert_eq!(fs::read_to_string(rig.path("stdout")).unwrap(), "a b\n");
}

#[tokio::test]
async fn a_program_that_is_busy_for_a_moment_is_started_and_one_that_stays_busy_is_not() {
    let mut rig = Rig::new();
    let program = rig.path("true");
    fs::copy("/bin/true", &program).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&program).unwrap();
    let spawn = rig.request(program.to_str().unwrap(), &[]);
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Exec, errno: libc::ETXTBSY });

    // Another run ends later than the first try of this one, which therefore was a failure.
    let spawn = rig.request(program.to_str().unwrap(), &[]);
    let busy = rig.spawn(spawn);
    let spawn = rig.script("true");
    let other = rig.spawn(spawn);
    rig.end(other).await;
    drop(writer);
    assert_eq!(rig.end(busy).await, End::code(0));
}

#[tokio::test]
async fn a_request_that_fits_no_frame_or_no_process_fails_alone() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("true");
    spawn.argv.push(text(&"x".repeat(5 << 20)));
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Request, errno: libc::E2BIG });
    let mut spawn = rig.script("true");
    spawn.argv.push(text(&"x".repeat(3 << 20)));
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Exec, errno: libc::E2BIG });
    // Larger than a socket's buffer, and fine.
    let mut spawn = rig.script("exit $#");
    spawn.argv.extend((0..8).map(|_| text(&"x".repeat(100_000))));
    assert_eq!(rig.run(spawn).await, End::code(7));
}

#[tokio::test]
async fn requests_that_do_not_fit_into_the_socket_follow_by_themselves() {
    let mut rig = Rig::with_workers(1);
    let padding = text(&format!("PADDING={}", "x".repeat(8 << 10)));
    let spawns = (0..300)
        .map(|_| {
            let mut spawn = rig.request("/bin/true", &[]);
            spawn.env.push(padding.clone());
            spawn
        })
        .collect::<Vec<_>>();
    let runs = spawns.iter().map(|spawn| spawn.run).collect::<Vec<_>>();
    rig.launcher.spawn(spawns);
    for run in runs {
        assert_eq!(rig.end(run).await, End::code(0));
    }
}

#[tokio::test]
async fn output_can_be_the_launchers_own() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("readlink /proc/$$/fd/1 > one & wait");
    spawn.stdout = Output::Null;
    rig.run(spawn).await;
    assert_eq!(fs::read_to_string(rig.path("one")).unwrap(), "/dev/null\n");
    let mut spawn = rig.script("test -e /proc/self/fd/1 && test -e /proc/self/fd/2");
    (spawn.stdout, spawn.stderr) = (Output::Inherit, Output::Inherit);
    assert_eq!(rig.run(spawn).await, End::code(0));
}

#[tokio::test]
async fn many_runs_leak_no_descriptors_and_no_processes() {
    const COUNT: usize = 2_000;
    let mut rig = Rig::new();
    let warm = rig.script("true");
    rig.run(warm).await;
    let open = |pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let pids = workers(&rig.launcher);
    let before = pids.iter().map(|pid| open(*pid)).collect::<Vec<_>>();
    let own_before = open(std::process::id() as i32);
    for _ in 0..COUNT / 200 {
        let spawns = (0..200).map(|_| rig.request("/bin/true", &[])).collect::<Vec<_>>();
        let runs = spawns.iter().map(|spawn| spawn.run).collect::<Vec<_>>();
        rig.launcher.spawn(spawns);
        for run in runs {
            assert_eq!(rig.end(run).await, End::code(0));
        }
    }
    // A worker may be looking for leftovers just now.
    eventually("the workers have as many descriptors as before", || {
        pids.iter().map(|pid| open(*pid)).eq(before.iter().copied())
    })
    .await;
    // Other tests of this process come and go.
    assert!(open(std::process::id() as i32) < own_before + 200);
    for pid in pids {
        assert_eq!(descendants(pid), Vec::<i32>::new());
    }
}
