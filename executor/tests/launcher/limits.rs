//! User, limits, umask, nice.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use marmoset_executor::launcher::{Rlimit, Step, User};

use crate::support::{End, Rig, file, text};

/// Some user who is neither root nor likely to be us.
const NOBODY: User = User { uid: 65_534, gid: 65_533, groups: Vec::new() };

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[tokio::test]
async fn another_user_is_another_user_in_every_respect() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("id -u; id -g; id -G");
    spawn.user = Some(User { groups: vec![7, 8], ..NOBODY });
    (spawn.cwd, spawn.create_cwd) = (text(rig.path("own").to_str().unwrap()), true);
    spawn.stdout = file("stdout");
    if !is_root() {
        assert_eq!(
            rig.run(spawn).await,
            End::Failed { step: Step::CreateFolder, errno: libc::EPERM }
        );
        let mut spawn = rig.script("true");
        spawn.user = Some(NOBODY);
        assert_eq!(rig.run(spawn).await, End::Failed { step: Step::User, errno: libc::EPERM });
        return;
    }
    fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let end = rig.run(spawn).await;
    assert!(matches!(end, End::Exited { wait_status: 0, .. }), "{end:?}");
    let output = fs::read_to_string(rig.path("own/stdout")).unwrap();
    assert_eq!(output, "65534\n65533\n65533 7 8\n");
    let owner = fs::metadata(rig.path("own/stdout")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (65_534, 65_533));
    // The worker is still who it was, and so are its other runs.
    let spawn = rig.script("test $(id -u) = 0");
    assert_eq!(rig.run(spawn).await, End::code(0));
}

#[tokio::test]
async fn a_run_of_another_user_dies_with_the_launcher_too() {
    if !is_root() {
        return;
    }
    let mut rig = Rig::with_workers(1);
    let mut spawn = rig.request("/bin/sleep", &["1000"]);
    (spawn.user, spawn.cwd) = (Some(NOBODY), text("/"));
    let run = rig.spawn(spawn);
    let pid = rig.pid(run).await;
    rig.launcher.close().await;
    assert!(!crate::support::lives(pid));
}

#[tokio::test]
async fn limits_umask_and_nice_are_set() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("ulimit -Sn; ulimit -Hn; umask; nice; touch made");
    spawn.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 50, hard: 60 }];
    spawn.umask = Some(0o077);
    spawn.nice = 3;
    spawn.stdout = file("stdout");
    rig.run(spawn).await;
    let output = fs::read_to_string(rig.path("stdout")).unwrap();
    let own = std::process::Command::new("nice").output().unwrap().stdout;
    let own = String::from_utf8(own).unwrap().trim().parse::<i32>().unwrap();
    assert_eq!(output, format!("50\n60\n0077\n{}\n", (own + 3).min(19)));
    let mode = fs::metadata(rig.path("made")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn limits_that_cannot_be_set_are_told() {
    let mut rig = Rig::new();
    let mut spawn = rig.script("true");
    spawn.rlimits = vec![Rlimit { resource: 99, soft: 1, hard: 1 }];
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Rlimit, errno: libc::EINVAL });
    let mut spawn = rig.script("true");
    spawn.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 2, hard: 1 }];
    assert_eq!(rig.run(spawn).await, End::Failed { step: Step::Rlimit, errno: libc::EINVAL });
}
