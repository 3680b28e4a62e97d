//! Runs that wait for one another, and those that are given back.

use std::{collections::BTreeSet, fs};

use marmoset_executor::launcher::{Scope, Step, StrandId};

use crate::support::{End, Rig, text};

#[tokio::test]
async fn runs_of_a_strand_run_one_after_the_other() {
    let mut rig = Rig::new();
    let log = rig.path("log");
    let mut spawns = Vec::new();
    for number in 0..12 {
        let strand = number % 3;
        let line = |word: &str| format!("echo {strand} {number} {word} >> {}", log.display());
        let mut spawn = rig.script(&format!("{}; {}", line("begins"), line("ends")));
        spawn.strand = Some(StrandId(strand));
        spawns.push(spawn);
    }
    let runs = spawns.iter().map(|spawn| spawn.run).collect::<Vec<_>>();
    rig.launcher.spawn(spawns);
    for run in runs {
        assert_eq!(rig.end(run).await, End::code(0));
    }
    let log = fs::read_to_string(log).unwrap();
    for strand in 0..3 {
        let lines = log.lines().filter_map(|line| line.strip_prefix(&format!("{strand} ")));
        let expected = (0..12).filter(|number| number % 3 == strand);
        let expected = expected.flat_map(|n| [format!("{n} begins"), format!("{n} ends")]);
        assert!(lines.eq(expected), "{log}");
    }
}

#[tokio::test]
async fn one_that_cannot_start_does_not_keep_the_next_one_waiting() {
    let mut rig = Rig::new();
    let mut ends = Vec::new();
    for program in ["/bin/true", "/no/such/program", "/bin/true", "/no/such/program", "/bin/true"] {
        let mut spawn = rig.request(program, &[]);
        spawn.strand = Some(StrandId(1));
        ends.push((rig.spawn(spawn), program));
    }
    let failed = End::Failed { step: Step::Exec, errno: libc::ENOENT };
    for (run, program) in ends {
        let expected = if program == "/bin/true" { End::code(0) } else { failed.clone() };
        assert_eq!(rig.end(run).await, expected);
    }
}

#[tokio::test]
async fn what_has_not_started_is_given_back() {
    let mut rig = Rig::new();
    let strand = Some(StrandId(5));
    let mut first = rig.request("/bin/sleep", &["60"]);
    first.strand = strand;
    let first = rig.spawn(first);
    rig.pid(first).await;
    let mut behind = Vec::new();
    for _ in 0..3 {
        let mut spawn = rig.request("/bin/true", &[]);
        spawn.strand = strand;
        behind.push(rig.spawn(spawn));
    }
    // From the middle, and one that runs, which stays.
    rig.launcher.cancel(vec![behind[1], first]);
    assert_eq!(rig.end(behind[1]).await, End::Returned);
    // A signal waits for the start of its run.
    rig.signal(behind[2], libc::SIGKILL, Scope::Group);
    rig.signal(first, libc::SIGTERM, Scope::Session);
    assert_eq!(rig.end(first).await, End::status(libc::SIGTERM));
    assert_eq!(rig.end(behind[0]).await, End::code(0));
    let last = rig.end(behind[2]).await;
    assert!([End::code(0), End::status(libc::SIGKILL)].contains(&last), "{last:?}");
    // Twice, and after the end: nothing is told of it.
    rig.launcher.cancel(vec![behind[1], behind[0]]);
    let mut spawn = rig.request("/bin/true", &[]);
    spawn.strand = strand;
    assert_eq!(rig.run(spawn).await, End::code(0));
}

#[tokio::test]
async fn strands_are_spread_over_the_workers() {
    let mut rig = Rig::new();
    let mut runs = Vec::new();
    for strand in 0..4 {
        let mut spawn = rig.request("/bin/sh", &["-c", "echo $PPID > $OUT; exec sleep 60"]);
        let out = rig.path(&format!("parent-{strand}"));
        spawn.env.push(text(&format!("OUT={}", out.display())));
        spawn.strand = Some(StrandId(strand));
        runs.push((rig.spawn(spawn), out));
    }
    let mut parents = BTreeSet::new();
    for (run, out) in runs {
        rig.pid(run).await;
        crate::support::eventually("the parent is written", || {
            fs::read_to_string(&out).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        parents.insert(fs::read_to_string(out).unwrap());
    }
    assert_eq!(parents.len(), 2);
}
