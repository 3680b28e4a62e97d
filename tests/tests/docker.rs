//! `marmoset run --docker` against a real engine: every container ends, and none is left.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::PathBuf,
};

use e2e::{
    Dock, TestCluster,
    docker::{Engine, IMAGE, IMAGE_OF_NOBODY},
    printed, processes, programs, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const RESOURCES: &str = "cpus:8;mem:8192;ports:[31000-31999]";

#[test]
fn fifty_containers_print_end_and_are_gone() {
    let Some(engine) = Engine::of_the_machine("fifty_containers_print_end_and_are_gone") else {
        return;
    };
    let dock = Dock::new(engine, "--docker");
    let output = dock.scene.path().join("out");
    let more = ["--count", "50", "--output", output.to_str().unwrap(), "--", "echo", "hi {#}"];
    let done = dock.run(IMAGE, &more);
    done.assert_all_finished(50);
    for index in 0..50 {
        assert_eq!(printed(&output, index), format!("hi {index}\n"));
    }
    dock.assert_deserted();
}

#[test]
fn a_container_sees_its_task_and_what_was_asked_for() {
    let test = "a_container_sees_its_task_and_what_was_asked_for";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let shared = dock.scene.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "from the host").unwrap();
    let output = dock.scene.path().join("out");
    let volume = format!("{}:/shared:ro", shared.display());
    let script = "echo $FROM_IMAGE $COLOUR $MESOS_SANDBOX $MARMOSET_INDEX $PORT0; pwd; \
                  cat /shared/file; echo; touch /shared/no 2>/dev/null && echo writable; \
                  echo mine > $MESOS_SANDBOX/mine; ls $MESOS_SANDBOX; ls /extra; echo bad >&2; \
                  id -u; cat /proc/self/limits | grep 'open files'";
    let more = [
        "--count",
        "1",
        "--ports",
        "1",
        "--env",
        "COLOUR=blue",
        "--volume",
        &volume,
        "--volume",
        "extra:/extra",
        "--docker-parameter",
        "workdir=/proc",
        "--docker-parameter",
        "user=7:7",
        "--docker-parameter",
        "ulimit=nofile=77",
        "--output",
        output.to_str().unwrap(),
        "--shell",
        "--",
        script,
    ];
    let cluster = TestCluster::single(&dock.scene, RESOURCES);
    let done = dock.on(&cluster, IMAGE, &more).wait();
    done.assert_all_finished(1);
    let text = printed(&output, 0);
    let lines = text.lines().collect::<Vec<_>>();
    let words = lines[0].split(' ').collect::<Vec<_>>();
    assert_eq!(words[..4], ["yes", "blue", "/mnt/mesos/sandbox", "0"], "{text}");
    let port = words[4].parse::<u16>().unwrap();
    assert!((31_000..32_000).contains(&port), "{text}");
    assert_eq!(lines[1..3], ["/proc", "from the host"], "{text}");
    assert_eq!(lines[3..8], ["extra", "mine", "stderr", "stdout", "7"], "{text}");
    assert!(lines[8].contains("77"), "{text}");
    assert_eq!(fs::read_to_string(output.join("0.err")).unwrap(), "bad\n");
    dock.assert_deserted();
}

#[test]
fn an_image_has_a_program_and_a_user_of_its_own() {
    let test = "an_image_has_a_program_and_a_user_of_its_own";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let output = dock.scene.path().join("out");
    let out = output.to_str().unwrap();
    // CMD of the image.
    dock.run(IMAGE, &["--output", out]).assert_all_finished(1);
    assert_eq!(printed(&output, 0), "image\n");
    // ENTRYPOINT of the image with arguments, as a user that owns nothing of ours.
    let more = ["--output", out, "--", "id", "-u"];
    dock.start(IMAGE_OF_NOBODY, &more).wait().assert_all_finished(1);
    assert_eq!(printed(&output, 0), "65534\n");
    dock.assert_deserted();
}

#[test]
fn output_that_nobody_wants_needs_nothing_of_ours_in_the_container() {
    let test = "output_that_nobody_wants_needs_nothing_of_ours_in_the_container";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let more = ["--stdout", "null", "--stderr", "null", "--count", "2", "--", "sh", "-c"];
    let done = dock.run(IMAGE, &[&more[..], &["ls /.marmoset && exit 3 || exit 0"]].concat());
    done.assert_all_finished(2);
    dock.assert_deserted();
}

#[test]
fn failures_are_told_in_the_words_of_mesos_docker_executor() {
    let test = "failures_are_told_in_the_words_of_mesos_docker_executor";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");

    let text = dock.run(IMAGE, &["--", "sh", "-c", "exit 7"]).failure_message();
    assert_eq!(text, "Container exited with status 7");

    let text = dock.run(IMAGE, &["--", "no-such-program"]).failure_message();
    assert_eq!(
        text,
        "Container exited with status 127; cannot execute `no-such-program`: No such file or \
         directory (os error 2)"
    );

    let absent = "marmoset-e2e/no-such-image:1";
    let done = dock.start(absent, &["--pull", "never", "--", "true"]).wait();
    let text = done.failure_message();
    assert_eq!(
        text,
        format!(
            "Failed to run docker container: image `{absent}` is not there and `pull` is NEVER: \
             pull it on the agent, or choose another policy"
        )
    );

    let unreachable = "127.0.0.1:9/no/such:image";
    let text = dock.start(unreachable, &["--", "true"]).wait().failure_message();
    assert!(text.starts_with("Failed to run docker container: "), "{text}");
    assert!(text.contains("127.0.0.1:9"), "{text}");

    // Its first process, and another one. The engine begins to watch the memory of a container a
    // moment after its start: what is killed before, it does not know the reason of.
    let hog = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    for (script, code) in
        [(format!("sleep 1; exec {hog}"), 137), (format!("sleep 1; {hog}; exit 9"), 9)]
    {
        let done = dock.run(IMAGE, &["--mem", "32", "--shell", "--", &script]);
        let group = done.failure();
        let text = group["message"].as_str().unwrap();
        let told =
            format!("Container exited with status {code}; it used up its memory limit of 32 MB");
        assert_eq!(text, told, "{group}");
    }

    // By the master. What the executor says where a master lets it pass is tested beside it.
    let group = dock.run(IMAGE, &["--docker-parameter", "name=x", "--", "true"]).failure();
    let text = group["message"].as_str().unwrap();
    assert!(text.contains("Parameter in DockerInfo must not be 'name'"), "{text} {group}");
    let text = dock.run(IMAGE, &["--docker-parameter", "rm=true", "--", "true"]).failure_message();
    assert!(text.contains("the parameter `rm` of `docker.parameters` is not known"), "{text}");
    dock.assert_deserted();
}

#[test]
fn memory_that_nobody_named_is_no_limit() {
    let test = "memory_that_nobody_named_is_no_limit";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let hog = ["--count", "2", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    dock.run(IMAGE, &hog).assert_all_finished(2);
    // The same job is ended by an amount that was named.
    let done = dock.run(IMAGE, &[&["--mem", "32"], &hog[..]].concat());
    assert_eq!(done.json()["tasks"]["failed"], 2, "{}", done.stdout);
    dock.assert_deserted();
}

#[test]
fn a_container_stopped_or_removed_by_hand_says_so() {
    let test = "a_container_stopped_or_removed_by_hand_says_so";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let running = dock.start(IMAGE, &["--", "sleep", "300"]);
    let name = dock.engine.wait_for_running(&dock.label, 1).remove(0);
    assert!(name.starts_with("marmoset-"), "{name}");
    dock.engine.text(&["stop", "-t", "0", &name]);
    let text = running.wait().failure_message();
    assert!(text.starts_with("Container exited with status 137; somebody other"), "{text}");

    let running = dock.start(IMAGE, &["--", "sleep", "300"]);
    let name = dock.engine.wait_for_running(&dock.label, 1).remove(0);
    dock.engine.text(&["rm", "-f", &name]);
    let text = running.wait().failure_message();
    assert!(text.starts_with("Container exited with status 137"), "{text}");
    dock.assert_deserted();
}

#[test]
fn a_limit_and_an_interrupt_end_containers() {
    let test = "a_limit_and_an_interrupt_end_containers";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    // The first process of a container ignores a SIGTERM that it does not expect: SIGKILL follows.
    let done = dock.run(IMAGE, &["--timeout", "1s", "--kill-grace", "1s", "--", "sleep", "300"]);
    let group = done.failure();
    let text = group["message"].as_str().unwrap();
    assert_eq!(text, "Container exited with status 137: it reached its time limit", "{group}");

    let script = "trap 'exit 5' TERM; while true; do sleep 0.1; done";
    let running = dock.start(IMAGE, &["--count", "3", "--shell", "--", script]);
    dock.engine.wait_for_running(&dock.label, 2);
    running.signal(Signal::SIGINT);
    let done = running.wait();
    let tasks = &done.json()["tasks"];
    assert_eq!(tasks["killed"], 3, "{}", done.stdout);
    dock.assert_deserted();
}

#[test]
fn an_executor_that_is_killed_leaves_no_container() {
    let test = "an_executor_that_is_killed_leaves_no_container";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    for with_vigil in [true, false] {
        let dock = Dock::new(engine_again(&engine, test), "--docker");
        let cluster = TestCluster::single(&dock.scene, RESOURCES);
        let marks = dock.scene.path().join("marks");
        fs::create_dir(&marks).unwrap();
        let volume = format!("{}:/marks", marks.display());
        // Long the first time, short the second.
        let script = "touch /marks/$MARMOSET_TASK_ID; case $MARMOSET_TASK_ID in *.r*) exit 0;; esac; \
                      exec sleep 300";
        let more = ["--count", "20", "--cpus", "0.1", "--volume", &volume, "--shell", "--", script];
        let running = dock.on(&cluster, IMAGE, &more);
        let before = dock.engine.wait_for_running(&dock.label, 20);
        let executor = dock.executor();
        if !with_vigil {
            for vigil in processes::within_running(dock.scene.path(), "marmoset-executor") {
                if vigil.command.contains("container-vigil") {
                    kill(Pid::from_raw(vigil.pid), Signal::SIGKILL).unwrap();
                }
            }
            for vigil in vigils_of(executor) {
                kill(vigil, Signal::SIGKILL).unwrap();
            }
        }
        kill(executor, Signal::SIGKILL).unwrap();
        let done = running.wait();
        // Each has one end, and those that were lost are told apart from those that failed.
        done.assert_all_finished(20);
        assert_eq!(done.json()["lost_retries"], Value::Null);
        let ran = fs::read_dir(&marks).unwrap().count();
        assert_eq!(ran, 40, "each ran once, was lost, and ran once more");
        dock.engine.wait_until_deserted(&dock.label);
        let after = dock.engine.containers(&dock.label);
        assert!(before.iter().all(|name| !after.contains(name)));
        drop(cluster);
        dock.assert_deserted();
    }
}

/// Processes of an executor that watch over its containers: they are told of no folder of the scene.
fn vigils_of(executor: Pid) -> Vec<Pid> {
    let children = format!("/proc/{executor}/task/{executor}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let is_vigil = |pid: &str| {
        let line = fs::read(PathBuf::from("/proc").join(pid).join("cmdline")).unwrap_or_default();
        line.windows(15).any(|part| part == b"container-vigil")
    };
    let pids = children.split_whitespace().filter(|pid| is_vigil(pid));
    pids.map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn engine_again(_engine: &Engine, test: &str) -> Engine {
    Engine::of_the_machine(test).unwrap()
}

#[test]
fn sweep_removes_what_the_dead_left_and_nothing_else() {
    let test = "sweep_removes_what_the_dead_left_and_nothing_else";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let netns = fs::read_link("/proc/self/ns/net").unwrap();
    let netns = format!("marmoset.netns={}", netns.display());
    let id = std::process::id();
    let (run, run_label) = (format!("dead{id}"), format!("marmoset.run=dead{id}"));
    let create = |name: &str, labels: &[&str]| {
        let labels = labels.iter().flat_map(|label| ["--label", label]).collect::<Vec<_>>();
        let own = ["create", "--name", name, "--label", &dock.label, "--label", &run_label];
        dock.engine.text(&[&own[..], &labels, &[IMAGE, "true"]].concat())
    };
    // While its executor lives, which is known by this.
    let address = SocketAddr::from_abstract_name(format!("marmoset-run-{run}")).unwrap();
    let life_line = UnixDatagram::bind_addr(&address).unwrap();
    let name = |what: &str| format!("marmoset-{run}-{what}");
    let own = create(&name("1"), &["marmoset=task", &netns]);
    // Of an image, say, that somebody has made of one of ours.
    let renamed = create(&format!("e2e-{run}"), &["marmoset=task", &netns]);
    let elsewhere = create(&name("2"), &["marmoset=task", "marmoset.netns=net:[1]"]);
    let stranger = create(&name("3"), &[&netns]);
    let sweep = |more: &[&str]| {
        let mut command = std::process::Command::new(programs::executor());
        command.arg("sweep").args(["--label", &dock.label]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = sweep(&[]);
    assert_eq!(said.matches("its executor lives\n").count(), 1, "{said}");
    assert_eq!(said.matches("another network namespace").count(), 1, "{said}");
    assert_eq!(dock.engine.containers(&dock.label).len(), 4);
    // From now on executors of other tests find it as well.
    drop(life_line);
    let said = sweep(&["--dry-run"]);
    assert!(!said.contains("its executor lives\n") && !said.contains(": removed"), "{said}");
    sweep(&[]);
    assert!(!dock.engine.call(&["inspect", &own]).status.success());
    for kept in [&elsewhere, &stranger, &renamed] {
        dock.engine.text(&["rm", kept]);
    }
}

#[test]
fn the_living_are_not_swept() {
    let Some(engine) = Engine::of_the_machine("the_living_are_not_swept") else { return };
    let dock = Dock::new(engine, "--docker");
    let running = dock.start(IMAGE, &["--", "sleep", "2"]);
    dock.engine.wait_for_running(&dock.label, 1);
    let output = std::process::Command::new(programs::executor()).arg("sweep").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    running.wait().assert_all_finished(1);
    dock.assert_deserted();
}

#[test]
fn a_bridge_publishes_the_ports_of_the_task() {
    let test = "a_bridge_publishes_the_ports_of_the_task";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let cluster = TestCluster::single(&dock.scene, RESOURCES);
    let more = ["--ports", "1", "--network", "bridge", "--publish", "80", "--shell", "--"];
    let running =
        dock.on(&cluster, IMAGE, &[&more[..], &["exec nc -l -p 80 -e echo hello"]].concat());
    let name = dock.engine.wait_for_running(&dock.label, 1).remove(0);
    let port = dock.engine.text(&["port", &name, "80/tcp"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    let heard = wait::until("the service", || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
        (!text.is_empty()).then_some(text)
    });
    assert_eq!(heard, "hello\n");
    running.wait().assert_all_finished(1);
    drop(cluster);
    dock.assert_deserted();
}

/// The same with an engine that is a fake is in the executor's own tests, and runs always.
#[test]
#[ignore = "Docker 20.10 does not always come back within a minute after it was killed"]
fn an_engine_that_is_restarted_costs_what_ran_and_nothing_else() {
    let test = "an_engine_that_is_restarted_costs_what_ran_and_nothing_else";
    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(engine) = Engine::of_its_own(test) else { return };
        let mut dock = Dock::new(engine, "--docker");
        let cluster = TestCluster::single(&dock.scene, RESOURCES);
        let marks = dock.scene.path().join("marks");
        fs::create_dir(&marks).unwrap();
        let volume = format!("{}:/marks", marks.display());
        let script = "mkdir /marks/$MARMOSET_TASK_ID || exit 99; sleep 3";
        let more = ["--count", "12", "--cpus", "2", "--volume", &volume, "--shell", "--", script];
        let running = dock.on(&cluster, IMAGE, &more);
        dock.engine.wait_for_running(&dock.label, 2);
        dock.engine.stop(how);
        dock.engine.start_again();
        let done = running.wait();
        let result = done.json();
        let count = |state: &str| result["tasks"][state].as_u64().unwrap();
        assert_eq!(count("finished") + count("failed"), 12, "{result}\n{}", done.stderr);
        for group in result["failures"].as_array().unwrap() {
            let text = group["message"].as_str().unwrap();
            let known =
                ["the Docker engine was away when it ended", "Failed to run docker container"];
            let known = known.iter().any(|part| text.contains(part))
                || text.starts_with("Container exited with status 1");
            assert!(known && !text.contains("99"), "{text}");
        }
        // At most four ran when it ended, and three were being started.
        assert!(count("finished") >= 5, "those that waited go on: {result}\n{}", done.stderr);
        // Whatever ran once did not run again.
        assert!(fs::read_dir(&marks).unwrap().count() <= 12);
        drop(cluster);
        dock.engine.wait_until_deserted(&dock.label);
    }
}

#[test]
fn an_engine_that_hangs_is_waited_for() {
    let Some(engine) = Engine::of_its_own("an_engine_that_hangs_is_waited_for") else { return };
    let dock = Dock::new(engine, "--docker");
    let cluster = TestCluster::single(&dock.scene, RESOURCES);
    let marks = dock.scene.path().join("marks");
    fs::create_dir(&marks).unwrap();
    let volume = format!("{}:/marks", marks.display());
    let script = "mkdir /marks/$MARMOSET_TASK_ID || exit 99; sleep 1";
    let more = [
        "--executor-argument=--docker-timeout=2secs",
        "--count",
        "10",
        "--cpus",
        "2",
        "--volume",
        &volume,
        "--shell",
        "--",
        script,
    ];
    let running = dock.on(&cluster, IMAGE, &more);
    dock.engine.wait_for_running(&dock.label, 1);
    dock.engine.signal(Signal::SIGSTOP);
    // Longer than any call may take.
    std::thread::sleep(std::time::Duration::from_secs(5));
    dock.engine.signal(Signal::SIGCONT);
    let done = running.wait();
    let result = done.json();
    let count = |state: &str| result["tasks"][state].as_u64().unwrap();
    assert_eq!(count("finished") + count("failed"), 10, "{result}\n{}", done.stderr);
    for group in result["failures"].as_array().unwrap() {
        let text = group["message"].as_str().unwrap();
        assert!(text.contains("did not answer") || text.contains("went away"), "{text}");
    }
    assert!(count("failed") <= 3, "only what was being started: {result}");
    drop(cluster);
    dock.engine.wait_until_deserted(&dock.label);
}
