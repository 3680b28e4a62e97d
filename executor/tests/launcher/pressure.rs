//! A machine that refuses: what it costs is that one run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use marmoset_executor::launcher::Step;

use crate::support::{End, Rig, file, workers};

/// A cgroup that counts processes, if one can be made here.
struct Pids {
    folder: PathBuf,
}

impl Pids {
    fn make(test: &str) -> Option<Self> {
        // Version 1, then version 2.
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let folder = roots.iter().find_map(|root| {
            let folder = Path::new(root).join(format!("marmoset-pressure-{}", process::id()));
            fs::create_dir(&folder).ok()?;
            if folder.join("pids.max").exists() {
                return Some(folder);
            }
            let _not_there = fs::remove_dir(&folder);
            None
        });
        if folder.is_none() {
            eprintln!("skipped: {test}: no writable cgroup hierarchy with `pids` here");
        }
        folder.map(|folder| Self { folder })
    }

    fn set(&self, max: &str) {
        fs::write(self.folder.join("pids.max"), max).unwrap();
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        let _in_use = fs::remove_dir(&self.folder);
    }
}

#[tokio::test]
async fn no_process_to_be_had_is_the_failure_of_one_run() {
    let test = "no_process_to_be_had_is_the_failure_of_one_run";
    let Some(pids) = Pids::make(test) else { return };
    let mut rig = Rig::with_workers(1);
    let spawn = rig.script("true");
    assert_eq!(rig.run(spawn).await, End::code(0));
    let worker = workers(&rig.launcher)[0];
    fs::write(pids.folder.join("cgroup.procs"), worker.to_string()).unwrap();
    pids.set("1");
    let spawn = rig.script("true");
    let refused = rig.run(spawn).await;
    assert_eq!(refused, End::Failed { step: Step::Fork, errno: libc::EAGAIN });

    // For a moment only: it is tried again, and nobody is told.
    let spawn = rig.script("true");
    let run = rig.spawn(spawn);
    pids.set("max");
    assert_eq!(rig.end(run).await, End::code(0));
    rig.launcher.close().await;
}

#[tokio::test]
async fn no_descriptor_to_be_had_is_the_failure_of_one_run() {
    let mut rig = Rig::with_workers(1);
    let spawn = rig.script("true");
    assert_eq!(rig.run(spawn).await, End::code(0));
    let worker = workers(&rig.launcher)[0];
    let limit = |most: &str| {
        let pid = worker.to_string();
        let nofile = format!("--nofile={most}:");
        let mut done = Command::new("prlimit");
        done.args(["--pid", &pid, &nofile]);
        assert!(done.status().unwrap().success());
    };
    // What is open stays open; the new process cannot open its output.
    limit("3");
    let mut spawn = rig.script("true");
    spawn.stdout = file("out");
    let refused = rig.run(spawn).await;
    assert_eq!(refused, End::Failed { step: Step::Stdout, errno: libc::EMFILE });

    limit("1024");
    let mut spawn = rig.script("echo well");
    spawn.stdout = file("out");
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Exited { wait_status: 0, stdout_bytes: 5, stderr_bytes: 0 });
}
