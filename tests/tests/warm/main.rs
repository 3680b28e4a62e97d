//! `marmoset run --warm`, and tasks of other frameworks with the runtime `warm`, against a real engine:
//! what tasks share and what not, what is told when a container breaks, and that none is left.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

mod house;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use e2e::{
    Dock, Scene, TestCluster, cluster,
    docker::{Engine, IMAGE, IMAGE_OF_NOBODY, IMAGE_WITHOUT_SHELL},
    images, printed, processes, programs, skip, wait,
};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{CommandInfo, HealthCheck, Label, Labels, Resource, container_info},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{AccessFlags, access},
};
use serde_json::{Value, json};

use crate::house::{House, find};

const RESOURCES: &str = "cpus:8;mem:8192;ports:[31000-31999]";

#[test]
fn many_tasks_share_a_container_and_each_has_its_folder() {
    let test = "many_tasks_share_a_container_and_each_has_its_folder";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--warm");
    let output = dock.scene.path().join("out");
    let script = "echo $MARMOSET_INDEX $FROM_IMAGE $COLOUR; echo mine > mine; pwd; \
                  echo $MESOS_SANDBOX; ls; echo $MESOS_CONTAINER_NAME; echo bad >&2";
    let more = ["--count", "600", "--env", "COLOUR=blue", "--output", output.to_str().unwrap()];
    let done = dock.run(IMAGE, &[&more[..], &["--shell", "--", script]].concat());
    done.assert_all_finished(600);
    let mut names = BTreeSet::new();
    for index in 0..600 {
        let text = printed(&output, index);
        let folder = format!("/mnt/mesos/tasks/echo.{index}");
        let expected = format!("{index} yes blue\n{folder}\n{folder}\nmine\nstderr\nstdout\n");
        let name = text.strip_prefix(&expected).unwrap_or_else(|| panic!("{text}"));
        assert!(name.starts_with("marmoset-"), "{name}");
        names.insert(name.trim().to_owned());
        assert_eq!(fs::read_to_string(output.join(format!("{index}.err"))).unwrap(), "bad\n");
    }
    // 64 at a time in each.
    assert!(names.len() <= 2, "{names:?}");
    dock.assert_deserted();
}

#[test]
fn exit_codes_limits_and_outputs_are_those_of_subprocesses() {
    let test = "exit_codes_limits_and_outputs_are_those_of_subprocesses";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--warm");
    let shell =
        |more: &[&str], script: &str| dock.run(IMAGE, &[more, &["--shell", "--", script]].concat());
    assert_eq!(shell(&[], "exit 7").failure_message(), "Command exited with status 7");
    let text = shell(&[], "kill -9 $$").failure_message();
    assert_eq!(text, "Command terminated with signal Killed");
    let text = shell(&["--timeout", "1s", "--kill-grace", "1s"], "sleep 300").failure_message();
    assert!(text.ends_with("it reached its time limit"), "{text}");
    let output = dock.scene.path().join("out");
    let out = output.to_str().unwrap();
    let more = ["--output", out, "--output-limit", "1KB", "--count", "2"];
    let done = shell(&more, "head -c 100000 /dev/zero");
    done.assert_all_finished(2);
    let size = printed(&output, 0).len();
    assert!((1000..2000).contains(&size), "{size}");
    // What is small goes to a pack, which the scheduler reads.
    let more = ["--output", out, "--pack-output", "--count", "200"];
    shell(&more, "echo packed $MARMOSET_INDEX").assert_all_finished(200);
    assert_eq!(printed(&output, 137), "packed 137\n");
    dock.assert_deserted();
}

#[test]
fn a_file_is_there_before_its_task() {
    let Some(engine) = Engine::of_the_machine("a_file_is_there_before_its_task") else { return };
    let dock = Dock::new(engine, "--warm");
    let file = dock.scene.path().join("data");
    fs::write(&file, "from afar\n").unwrap();
    let output = dock.scene.path().join("out");
    let uri = file.to_str().unwrap();
    let more = ["--uri", uri, "--count", "20", "--output", output.to_str().unwrap()];
    dock.run(IMAGE, &[&more[..], &["--", "cat", "data"]].concat()).assert_all_finished(20);
    assert_eq!(printed(&output, 11), "from afar\n");
    dock.assert_deserted();
}

#[test]
fn an_image_needs_no_shell_and_may_have_a_user_of_its_own() {
    let test = "an_image_needs_no_shell_and_may_have_a_user_of_its_own";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--warm");
    let output = dock.scene.path().join("out");
    let out = output.to_str().unwrap();
    let more = ["--output", out, "--count", "10", "--", "/busybox", "echo", "bare {#}"];
    dock.run(IMAGE_WITHOUT_SHELL, &more).assert_all_finished(10);
    assert_eq!(printed(&output, 3), "bare 3\n");
    let text = dock.run(IMAGE_WITHOUT_SHELL, &["--shell", "--", "echo"]).failure_message();
    assert!(text.contains("cannot execute `/bin/sh` in the image"), "{text}");
    assert!(text.contains("the image has no shell"), "{text}");
    let text = dock.run(IMAGE, &["--", "no-such-program"]).failure_message();
    assert!(text.contains("cannot execute `no-such-program` in the image"), "{text}");
    // CMD of the image; then its ENTRYPOINT and its user, who owns nothing of ours.
    dock.run(IMAGE, &["--output", out]).assert_all_finished(1);
    assert_eq!(printed(&output, 0), "image\n");
    let more = ["--output", out, "--pack-output", "--count", "3", "--", "sh", "-c"];
    let script = "id -u; touch mine && stat -c %u mine .";
    dock.run(IMAGE_OF_NOBODY, &[&more[..], &[script]].concat()).assert_all_finished(3);
    assert_eq!(printed(&output, 2), "65534\n65534\n65534\n");
    dock.assert_deserted();
}

#[test]
fn tasks_of_different_kinds_do_not_share() {
    let test = "tasks_of_different_kinds_do_not_share";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let mut house = House::new(engine, "");
    let script = "id -u; echo $MESOS_CONTAINER_NAME; touch ready; exec sleep 300";
    let command = CommandInfo { value: Some(script.into()), ..CommandInfo::default() };
    let plain = house.task("plain", script);
    // Named by a label, as where `data` is somebody else's.
    let mut labelled = house.task_of("labelled", None, command.clone());
    let value = Some("warm".to_owned());
    let label = Label { key: "marmoset.runtime".into(), value };
    labelled.labels = Some(Labels { labels: vec![label] });
    let user = CommandInfo { user: Some("7:7".into()), ..command };
    let user = house.task_of("user", Some("warm"), user);
    let mut large = house.task("large", script);
    large.resources = vec![Resource::scalar("cpus", 0.1), Resource::scalar("mem", 64.0)];
    house.framework.launch(vec![plain, labelled, user, large]);
    let all = ["plain", "labelled", "user", "large"];
    house.until_running(&all);
    assert_eq!(house.engine.wait_for_running(&house.label, 3).len(), 3);
    let said = |task: &str| {
        wait::until("two lines", || {
            let text = house.file(task, "stdout");
            let (uid, name) = text.strip_suffix('\n')?.split_once('\n')?;
            Some((uid.to_owned(), name.to_owned()))
        })
    };
    assert_eq!(said("plain"), said("labelled"));
    assert_eq!(said("user").0, "7");
    let names = all.map(|task| said(task).1).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(names.len(), 3, "{names:?}");
    let purpose = r#"{{index .Config.Labels "marmoset"}} {{.HostConfig.Memory}}"#;
    let of = |task: &str| house.engine.text(&["inspect", "--format", purpose, &said(task).1]);
    // Room for 64 tasks, and for the first process.
    assert_eq!(of("plain"), format!("warm {}", (64 * 32 + 32_i64) << 20));
    assert_eq!(of("large"), format!("warm {}", (64 * 64 + 32_i64) << 20));
    for task in all {
        house.framework.kill(task, Some(Duration::ZERO));
    }
    for task in all {
        assert_eq!(house.end(task).0, "TASK_KILLED");
    }
    house.assert_deserted();
}

#[test]
fn what_leaves_its_session_ends_with_its_task_and_neighbours_live() {
    let test = "what_leaves_its_session_ends_with_its_task_and_neighbours_live";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let mut house = House::new(engine, "");
    let neighbour = house.task("neighbour", "touch ready; exec sleep 301");
    let script = "busybox setsid sleep 302 & \
                  (busybox setsid sh -c '(busybox setsid sleep 302 &) ; exit' &) ; \
                  (sleep 302 &) ; exec sleep 302";
    let escaping = house.task("escaping", script);
    let brief = house.task("brief", "(busybox setsid sleep 303 &) ; (sleep 303 &) ; exit 0");
    house.framework.launch(vec![neighbour, escaping, brief]);
    house.until_running(&["neighbour", "escaping"]);
    let name = house.engine.wait_for_running(&house.label, 1).remove(0);
    let sleeping = |time: &str| {
        let list = house.engine.text(&["exec", &name, "ps", "-o", "args"]);
        list.lines().filter(|line| line.trim() == format!("sleep {time}")).count()
    };
    wait::until("all that escape", || (sleeping("302") == 4).then_some(()));
    house.framework.kill("escaping", Some(Duration::ZERO));
    house.framework.until_ended(&["escaping", "brief"]);
    wait::until("no sleeper is left", || {
        (sleeping("302") == 0 && sleeping("303") == 0).then_some(())
    });
    assert_eq!(sleeping("301"), 1);
    assert_eq!(house.end("escaping").0, "TASK_KILLED");
    assert_eq!(house.end("brief").0, "TASK_FINISHED");
    house.assert_deserted();
}

#[test]
fn a_container_that_breaks_takes_its_tasks_and_is_replaced() {
    let test = "a_container_that_breaks_takes_its_tasks_and_is_replaced";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let mut house = House::new(engine, "");
    let sleep = "exec sleep 300";
    let first = [house.task("a", sleep), house.task("b", sleep), house.task("served", "exit 0")];
    house.framework.launch(first.to_vec());
    house.until_running(&["a", "b"]);
    house.framework.until_ended(&["served"]);
    let name = house.engine.wait_for_running(&house.label, 1).remove(0);
    house.engine.text(&["kill", &name]);
    for task in ["a", "b"] {
        let (state, message) = house.end(task);
        assert_eq!(state, "TASK_FAILED");
        let expected = format!(
            "the warm container `{name}` died, and this task with it: somebody has killed it (exit \
             status 137)"
        );
        assert_eq!(message, expected);
    }
    // There is another one without anybody asking for it.
    let second = wait::until("a replacement", || {
        let names = house.engine.containers(&house.label);
        names.into_iter().find(|other| *other != name)
    });
    house.framework.launch(vec![house.task("c", "echo $MESOS_CONTAINER_NAME; exec sleep 300")]);
    house.until_running(&["c"]);
    wait::until("a name", || (house.file("c", "stdout").trim() == second).then_some(()));
    // Stopped as people stop containers: it says so itself.
    house.engine.text(&["stop", &second]);
    let (state, message) = house.end("c");
    assert_eq!(state, "TASK_FAILED");
    assert!(message.contains("it was told to stop by SIGTERM"), "{message}");
    house.framework.launch(vec![house.task("d", "exit 0")]);
    assert_eq!(house.end("d").0, "TASK_FINISHED");
    house.assert_deserted();
}

#[test]
fn a_container_that_nobody_needs_goes() {
    let Some(engine) = Engine::of_the_machine("a_container_that_nobody_needs_goes") else { return };
    let mut house = House::new(engine, "--warm-idle 1secs");
    let task = |id: &str| house.task(id, "echo $MESOS_CONTAINER_NAME");
    let tasks = [task("a"), task("b")];
    let mut names = BTreeSet::new();
    for task in tasks {
        let id = task.task_id.value.clone();
        house.framework.launch(vec![task]);
        assert_eq!(house.end(&id).0, "TASK_FINISHED");
        names.insert(house.file(&id, "stdout"));
        house.engine.wait_until_deserted(&house.label);
    }
    assert_eq!(names.len(), 2, "{names:?}");
    // While somebody is in it, it stays.
    house.framework.launch(vec![house.task("c", "sleep 4; echo still")]);
    assert_eq!(house.end("c").0, "TASK_FINISHED");
    assert_eq!(house.file("c", "stdout"), "still\n");
    house.assert_deserted();
}

#[test]
fn more_tasks_than_slots_get_more_containers() {
    let test = "more_tasks_than_slots_get_more_containers";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let mut house = House::new(engine, "--warm-slots 2");
    let names = ["a", "b", "c", "d", "e"];
    let tasks = names.map(|id| house.task(id, "exec sleep 300"));
    house.framework.launch(tasks.to_vec());
    house.until_running(&names);
    assert_eq!(house.engine.wait_for_running(&house.label, 3).len(), 3);
    for task in names {
        house.framework.kill(task, Some(Duration::ZERO));
    }
    for task in names {
        assert_eq!(house.end(task).0, "TASK_KILLED");
    }
    house.assert_deserted();
}

#[test]
fn where_cgroups_can_be_written_each_task_has_its_own() {
    let test = "where_cgroups_can_be_written_each_task_has_its_own";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let memory = Path::new("/sys/fs/cgroup/memory");
    if access(memory, AccessFlags::W_OK).is_err() {
        skip(test, "no cgroups of version 1 that a container could write");
        return;
    }
    let dock = Dock::new(engine, "--warm");
    let more = ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup", "--mem", "40", "--count", "2"];
    let hog = "[ $MARMOSET_INDEX = 1 ] && exec sleep 2; \
               yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 200000000 | sort | tail -1; exit 9";
    let done = dock.run(IMAGE, &[&more[..], &["--shell", "--", hog]].concat());
    let tasks = &done.json()["tasks"];
    // The neighbour of the hog has what it was given.
    assert_eq!((&tasks["finished"], &tasks["failed"]), (&json!(1), &json!(1)), "{}", done.stdout);
    let text = done.failure_message();
    assert!(text.starts_with("Memory limit exceeded: Requested: 40MB"), "{text}");
    dock.assert_deserted();
}

#[test]
fn checks_ask_inside_of_the_container() {
    let Some(engine) = Engine::of_the_machine("checks_ask_inside_of_the_container") else { return };
    let mut house = House::new(engine, "");
    let health = |json: &str| -> Option<HealthCheck> {
        let timing = r#""delay_seconds": 0, "interval_seconds": 0.1, "grace_period_seconds": 60"#;
        let json = format!("{{{json}, {timing}}}");
        Some(codec::decode(json.as_bytes(), Encoding::Json).unwrap())
    };
    let command = r#""type": "COMMAND", "command": {"value": "test -e sign || cat sign"}"#;
    let mut by_command = house.task("command", "touch sign; exec sleep 300");
    by_command.health_check = health(&command.replace("test -e sign || ", ""));
    // Its loopback address is not the host's.
    let mut by_port = house.task("port", "exec busybox nc -ll -p 7 -e true");
    let none = container_info::docker_info::Network::None;
    by_port.container.as_mut().unwrap().docker.as_mut().unwrap().network = Some(none.into());
    by_port.health_check = health(r#""type": "TCP", "tcp": {"port": 7}"#);
    house.framework.launch(vec![by_command, by_port]);
    house.framework.until(|told| {
        let healthy = |task: &str| {
            let last = told.get(task).and_then(|told| told.last());
            last.is_some_and(|status| status.healthy == Some(true))
        };
        healthy("command") && healthy("port")
    });
    for task in ["command", "port"] {
        house.framework.kill(task, Some(Duration::ZERO));
        assert_eq!(house.end(task).0, "TASK_KILLED");
    }
    house.assert_deserted();
}

#[test]
fn what_cannot_be_raised_is_told() {
    let Some(engine) = Engine::of_the_machine("what_cannot_be_raised_is_told") else { return };
    let dock = Dock::new(engine, "--warm");
    let absent = "marmoset-e2e/no-such-image:1";
    let text =
        dock.run(absent, &["--pull", "never", "--count", "3", "--", "true"]).failure_message();
    let expected = format!(
        "Failed to run warm container: image `{absent}` is not there and `pull` is NEVER: pull it \
         on the agent, or choose another policy"
    );
    assert_eq!(text, expected);
    let unreachable = "127.0.0.1:9/no/such:image";
    let text = dock.run(unreachable, &["--", "true"]).failure_message();
    assert!(text.starts_with("Failed to run warm container: "), "{text}");
    assert!(text.contains("127.0.0.1:9"), "{text}");
    let text = dock.run(IMAGE, &["--network", "marmoset-e2e-none", "--", "true"]).failure_message();
    assert!(text.contains("marmoset-e2e-none"), "{text}");
    let text =
        dock.run(IMAGE, &["--docker-parameter", "workdir=/x", "--", "true"]).failure_message();
    assert!(text.contains("the parameter `workdir` of `docker.parameters` is about"), "{text}");
    let refused = dock.scene.marmoset(["run", "--warm", IMAGE, "--docker", IMAGE, "--", "true"]);
    assert_eq!(refused.code(), 64, "{}", refused.stderr);
    let publish = ["--ports", "1", "--network", "bridge", "--publish", "80", "--", "true"];
    let refused = dock.run(IMAGE, &publish);
    assert!(refused.stderr.contains("`--publish` has no meaning with `--warm`"), "{refused:?}");
    dock.assert_deserted();
}

#[test]
fn an_engine_that_is_away_is_waited_for_and_told() {
    // It needs no engine: that is what it is about.
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let master = cluster.master();
    let socket = scene.path().join("no-engine").display().to_string();
    let own = ["run", "--json", "--warm", IMAGE, "--docker-socket", &socket, "--master", &master];
    let executor = programs::executor().to_str().unwrap();
    let executor = ["--executor-path", executor, "--executor-argument=--docker-patience=1secs"];
    let more = ["--count", "5", "--", "true"];
    let done = scene.marmoset([&own[..], &executor, &more].concat());
    assert_eq!(done.json()["tasks"]["failed"], 5, "{}", done.stdout);
    let text = done.failure_message();
    assert!(text.starts_with("Failed to run warm container: the Docker engine at"), "{text}");
    assert!(text.ends_with("; it was waited for 1 s"), "{text}");
    let waits = || !processes::within_running(scene.path(), "container-vigil").is_empty();
    wait::until("the end of the first executor", || (!waits()).then_some(()));
    // Whoever does not want to wait kills them.
    let executor = ["--executor-path", programs::executor().to_str().unwrap()];
    let running = scene.start_marmoset([&own[..], &executor, &more].concat());
    wait::until("the tasks to wait", || waits().then_some(()));
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().json()["tasks"]["killed"], 5);
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn an_executor_in_its_own_image_has_warm_containers_beside_itself() {
    let test = "an_executor_in_its_own_image_has_warm_containers_beside_itself";
    let Some(image) = images::executor_with_shell(test) else { return };
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--warm");
    let agent = images::with_docker(cluster::agent(&dock.scene, "agent", "cpus:4;mem:4096"));
    let cluster = TestCluster::start(cluster::master(), vec![agent]);
    let master = cluster.master();
    let output = dock.scene.path().join("out");
    let out = output.to_str().unwrap();
    let more = ["--master", &master, "--executor-image", image, "--output", out, "--mem", "8"];
    let script = "echo $MARMOSET_INDEX > made; cat $MESOS_SANDBOX/made";
    let task = ["--count", "60", "--shell", "--", script];
    dock.run(IMAGE, &[&more[..], &task].concat()).assert_all_finished(60);
    assert_eq!(printed(&output, 47), "47\n");
    // The folder that the engine mounted is the one on the host.
    let made = find(dock.scene.path(), Path::new("tasks/echo.47/made")).unwrap();
    assert_eq!(fs::read_to_string(made).unwrap(), "47\n");
    drop(cluster);
    dock.assert_deserted();
}

#[test]
fn an_executor_that_is_killed_leaves_no_container() {
    let test = "an_executor_that_is_killed_leaves_no_warm_container";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--warm");
    let cluster = TestCluster::single(&dock.scene, RESOURCES);
    let marks = dock.scene.path().join("marks");
    fs::create_dir(&marks).unwrap();
    let volume = format!("{}:/marks", marks.display());
    // Long the first time, short the second.
    let script = "touch /marks/$MARMOSET_TASK_ID; case $MARMOSET_TASK_ID in *.r*) exit 0;; esac; \
                  exec sleep 300";
    let more = ["--count", "20", "--cpus", "0.1", "--volume", &volume, "--shell", "--", script];
    let running = dock.on(&cluster, IMAGE, &more);
    let marked = || fs::read_dir(&marks).unwrap().count();
    wait::until("all tasks to run", || (marked() == 20).then_some(()));
    let names = dock.engine.wait_for_running(&dock.label, 1);
    let [name] = &names[..] else { panic!("one container, not {names:?}") };
    kill(dock.executor(), Signal::SIGKILL).unwrap();
    let done = running.wait();
    done.assert_all_finished(20);
    assert_eq!(done.json()["lost_retries"], Value::Null);
    assert_eq!(marked(), 40, "each ran once, was lost, and ran once more");
    dock.engine.wait_until_deserted(&dock.label);
    assert!(!dock.engine.call(&["inspect", name]).status.success());
    drop(cluster);
    dock.assert_deserted();
}
