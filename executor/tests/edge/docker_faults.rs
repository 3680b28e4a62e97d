//! Containers while the engine goes and comes, and tasks that ask for what cannot be.

use std::{collections::BTreeMap, fs};

use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        HealthCheck, Parameter, TaskInfo, TaskState, TaskStatus,
        container_info::docker_info::{Network, PortMapping},
        task_status::Reason,
    },
};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    agent::{Agent, shell},
    children,
    docker::{agent, container},
    eventually,
    fake_engine::{FakeEngine, Quirk},
    is_alive,
};

/// The children of an executor that this word of the command line tells.
fn those(agent: &Agent, word: &str) -> Vec<i32> {
    let mut found = children(agent.pid());
    found.retain(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(word)
    });
    found
}

/// The last updates of so many tasks, of which there is one each.
fn ends(agent: &Agent, count: usize) -> BTreeMap<String, TaskStatus> {
    let mut ends = BTreeMap::new();
    while ends.len() < count {
        let status = agent.update();
        if status.state().is_terminal() {
            let task = status.task_id.as_str().to_owned();
            assert!(ends.insert(task, status).is_none(), "one end for each");
        }
    }
    ends
}

#[test]
fn an_engine_that_comes_later_is_waited_for() {
    let engine = FakeEngine::start();
    engine.stop();
    let agent = agent(&engine, &[]);
    for id in ["a", "b"] {
        agent.launch(container(id, "there"));
        assert_eq!(agent.update().state(), TaskState::TaskStarting);
    }
    agent.kill("b");
    let end = agent.end_of("b");
    assert_eq!(end.state(), TaskState::TaskKilled);
    engine.start_again();
    let name = engine.container("a", "running");
    engine.end(&name, 0);
    assert_eq!(agent.end_of("a").state(), TaskState::TaskFinished);
    assert_eq!((engine.count("create"), engine.count("start")), (1, 1));
    eventually("the container is removed", || engine.is_deserted());
}

#[test]
fn an_engine_that_stays_away_fails_what_waits_for_it() {
    let engine = FakeEngine::start();
    engine.stop();
    let agent = agent(&engine, &["--docker-patience", "1secs"]);
    for id in ["a", "b", "c"] {
        agent.launch(container(id, "there"));
    }
    for end in ends(&agent, 3).values() {
        assert_eq!(
            (end.state(), end.reason()),
            (TaskState::TaskFailed, Reason::ContainerLaunchFailed)
        );
        let text = end.message();
        let begin = "Failed to run docker container: the Docker engine at `";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("; it was waited for 1 s"), "{text}");
    }
    engine.start_again();
    eventually("a list", || engine.count("list") > 0);
    agent.launch(container("d", "there"));
    engine.container("d", "running");
}

#[test]
fn a_restart_of_the_engine_loses_nothing_and_repeats_nothing() {
    for ends_containers in [true, false] {
        let engine = FakeEngine::start();
        let agent = agent(&engine, &[]);
        let ran = ["a", "b"];
        for id in ran {
            agent.launch(container(id, "there"));
            engine.container(id, "running");
        }
        engine.stop();
        let names = ran.map(|id| engine.container(id, "running"));
        if ends_containers {
            for name in &names {
                engine.end(name, 137);
            }
        }
        let waited = ["c", "d", "e", "f"];
        for id in waited {
            agent.launch(container(id, "there"));
        }
        engine.start_again();
        if !ends_containers {
            for name in &names {
                engine.end(name, 0);
            }
        }
        for id in waited {
            let name = engine.container(id, "running");
            engine.end(&name, 0);
        }
        let ends = ends(&agent, 6);
        for id in waited {
            assert_eq!(ends[id].state(), TaskState::TaskFinished, "{ends:?}");
        }
        for id in ran {
            let text = ends[id].message();
            if ends_containers {
                assert_eq!(
                    text,
                    "Container exited with status 137; the Docker engine was away when it ended"
                );
            } else {
                assert!(text.starts_with("Container exited with status 0"), "{text}");
            }
        }
        assert_eq!((engine.count("create"), engine.count("start")), (6, 6));
        eventually("the containers are removed", || engine.is_deserted());
    }
}

#[test]
fn nothing_waits_for_an_engine_that_never_answered() {
    let engine = FakeEngine::start();
    engine.stop();
    let mut agent = agent(&engine, &[]);
    agent.launch(container("t", "there"));
    assert_eq!(agent.update().state(), TaskState::TaskStarting);
    let vigils = those(&agent, "container-vigil");
    assert_eq!(vigils.len(), 1);
    agent.shutdown();
    agent.wait();
    eventually("its vigil ends with it", || !is_alive(vigils[0]));
}

#[test]
fn a_vigil_gives_up_when_the_engine_cannot_come_back_and_keeps_nothing_open() {
    let engine = FakeEngine::start();
    let file = engine.socket().with_file_name("inherited");
    let inherited = fs::File::create(&file).unwrap();
    fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut agent = agent(&engine, &[]);
    drop(inherited);
    agent.launch(container("t", "there"));
    engine.container("t", "running");
    let vigil = those(&agent, "container-vigil")[0];
    let holds = |pid: i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == file)
    };
    assert!(holds(agent.pid()));
    eventually("the vigil has closed what it inherited", || !holds(vigil));
    kill(Pid::from_raw(agent.pid()), Signal::SIGKILL).unwrap();
    drop(engine);
    agent.wait();
    eventually("the vigil ends", || !is_alive(vigil));
}

#[test]
fn a_launcher_that_dies_takes_no_container_with_it() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &["--launcher-workers", "1"]);
    agent.launch(container("t", "there"));
    let name = engine.container("t", "running");
    agent.launch(shell("p", "sleep 1000"));
    loop {
        let status = agent.update();
        if (status.task_id.as_str(), status.state()) == ("p", TaskState::TaskRunning) {
            break;
        }
    }
    for launcher in those(&agent, "launcher") {
        kill(Pid::from_raw(launcher), Signal::SIGKILL).unwrap();
    }
    assert_eq!(agent.end_of("p").state(), TaskState::TaskFailed);
    // Its folder is not counted as one of a task that has ended.
    assert!(agent.sandbox.path().join("tasks/t").exists());
    engine.end(&name, 0);
    assert_eq!(agent.end_of("t").state(), TaskState::TaskFinished);
}

#[test]
fn a_description_that_cannot_be_used_is_an_error_and_asks_the_engine_nothing() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    let with = |id: &str, change: fn(&mut TaskInfo)| {
        let mut task = container(id, "there");
        change(&mut task);
        agent.launch(task);
        let end = agent.end_of(id);
        assert_eq!(
            (end.state(), end.reason()),
            (TaskState::TaskError, Reason::TaskInvalid),
            "{end:?}"
        );
        let text = end.message().to_owned();
        text.strip_prefix("Failed to run docker container: ").map(str::to_owned).unwrap_or(text)
    };
    let text = with("name", |task| {
        let parameter = Parameter { key: "name".into(), value: "mine".into() };
        docker_of(task).parameters.push(parameter);
    });
    assert!(
        text.starts_with("the parameter `name` of `docker.parameters` cannot be set"),
        "{text}"
    );
    let text = with("privileged", |task| docker_of(task).privileged = Some(true));
    assert!(text.contains("must be started with `--allow-privileged`"), "{text}");
    let text = with("capability", |task| {
        let parameter = Parameter { key: "cap-add".into(), value: "ALL".into() };
        docker_of(task).parameters.push(parameter);
    });
    assert!(text.contains("leads out of the container"), "{text}");
    let text = with("image", |task| docker_of(task).image = "-v /:/host".into());
    assert!(text.contains("is not the name of an image"), "{text}");
    // Only a run's own ports tell.
    let text = with("port", |task| {
        let docker = docker_of(task);
        docker.network = Some(Network::Bridge.into());
        let mapping = PortMapping { host_port: 31_000, container_port: 80, protocol: None };
        docker.port_mappings.push(mapping);
    });
    assert!(text.contains("`port_mappings.host_port` 31000 is not among the ports"), "{text}");
    assert_eq!((engine.count("create"), engine.count("start")), (0, 0));
}

fn docker_of(task: &mut TaskInfo) -> &mut marmoset_proto::mesos::v1::container_info::DockerInfo {
    task.container.as_mut().unwrap().docker.as_mut().unwrap()
}

#[test]
fn privileged_containers_only_where_they_are_allowed() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &["--allow-privileged"]);
    let mut task = container("t", "there");
    docker_of(&mut task).privileged = Some(true);
    agent.launch(task);
    let name = engine.container("t", "running");
    assert_eq!(engine.body(&name)["HostConfig"]["Privileged"], true);
}

#[test]
fn a_check_of_health_is_executed_in_the_container() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    let check = br#"{"type": "COMMAND", "command": {"value": "probe $WHAT", "environment":
        {"variables": [{"name": "WHAT", "value": "this"}]}},
        "delay_seconds": 0, "interval_seconds": 0.05, "consecutive_failures": 2}"#;
    let check: HealthCheck = codec::decode(&check[..], Encoding::Json).unwrap();
    engine.exit_with(&[0, 1, 1]);
    agent.launch(TaskInfo { health_check: Some(check), ..container("t", "there") });
    let mut health = Vec::new();
    let end = loop {
        let status = agent.update();
        if status.state().is_terminal() {
            break status;
        }
        health.extend(status.healthy);
    };
    assert_eq!(health.first(), Some(&true), "{health:?}");
    assert!(health.contains(&false), "{health:?}");
    assert_eq!((end.state(), end.healthy), (TaskState::TaskKilled, Some(false)), "{end:?}");
    let executed = engine.executed();
    assert_eq!(executed[0]["Cmd"], json!(["/bin/sh", "-c", "probe $WHAT"]));
    assert_eq!(executed[0]["Env"], json!(["WHAT=this"]));
}

#[test]
fn who_waits_for_a_long_pull_is_told_how_far_it_is() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    engine.next("pull", Quirk::Slow);
    let tasks = ["a", "b", "c"];
    for id in tasks {
        agent.launch(container(id, "absent"));
    }
    let told = "pulling image `absent`: 0 of 1 layers, 5 of 10 MB";
    let mut waiting = tasks.map(str::to_owned).to_vec();
    while !waiting.is_empty() {
        let status = agent.update();
        assert_eq!(status.state(), TaskState::TaskStarting);
        if status.message() == told {
            waiting.retain(|task| *task != status.task_id.as_str());
        }
    }
    engine.release();
    for id in tasks {
        engine.container(id, "running");
    }
    assert_eq!(engine.count("pull"), 1);
}
