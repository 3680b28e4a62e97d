//! Containers with a fake engine: what a real one does once in a while, at will.

use std::{fs, os::unix::fs::symlink};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use marmoset_proto::mesos::v1::{
    ContainerInfo, TaskInfo, TaskState,
    container_info::{self, DockerInfo},
    task_status::Reason,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use serde_json::Value;

use crate::{
    agent::{Agent, task},
    children, eventually,
    fake_engine::{FakeEngine, Quirk},
};

pub(crate) fn agent(engine: &FakeEngine, more: &[&str]) -> Agent {
    let socket = engine.socket();
    let own = ["--docker-socket", socket.to_str().unwrap(), "--updates", "all"];
    Agent::start(&[("MESOS_SLAVE_ID", "S0")], &[&own[..], more].concat())
}

pub(crate) fn container(id: &str, image: &str) -> TaskInfo {
    let docker = DockerInfo { image: image.into(), ..DockerInfo::default() };
    let container = ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(docker),
        ..ContainerInfo::default()
    };
    let spec = r#"{"command": {"value": "program", "shell": false, "arguments": ["a"]}}"#;
    TaskInfo { container: Some(container), ..task(id, spec) }
}

#[test]
fn the_states_of_a_container_and_what_they_tell() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    agent.launch(container("t", "there"));
    assert_eq!(agent.update().state(), TaskState::TaskStarting);
    let running = agent.update();
    assert_eq!(running.state(), TaskState::TaskRunning);
    let status = running.container_status.unwrap();
    let address = &status.network_infos[0].ip_addresses[0];
    assert_eq!(address.ip_address.as_deref(), Some("172.17.0.9"));
    let data: Value = serde_json::from_slice(&running.data.unwrap()).unwrap();
    let name = engine.container("t", "running");
    assert_eq!(data[0]["Name"], format!("/{name}"));
    let body = engine.body(&name);
    assert_eq!(body["Labels"]["marmoset.framework"], "framework");
    assert_eq!(body["Labels"]["marmoset.agent"], "S0");
    engine.end(&name, 3);
    let end = agent.update();
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert_eq!(end.message.as_deref(), Some("Container exited with status 3"));
    eventually("the container is removed", || engine.is_deserted());
    assert_eq!((engine.count("create"), engine.count("start")), (1, 1));
    assert_eq!((engine.count("events"), engine.count("remove")), (1, 1));
}

#[test]
fn an_end_that_is_told_before_the_start_is_answered() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    engine.next("start", Quirk::EndFirst);
    agent.launch(container("t", "there"));
    assert_eq!(agent.update().state(), TaskState::TaskStarting);
    assert_eq!(agent.update().state(), TaskState::TaskRunning);
    let end = agent.update();
    assert_eq!(end.state(), TaskState::TaskFinished);
    assert_eq!(end.message.as_deref(), Some("Container exited with status 0"));
    eventually("the container is removed", || engine.is_deserted());
}

#[test]
fn a_container_that_was_created_without_an_answer_is_found_again() {
    for quirk in [Quirk::Mute, Quirk::Deaf, Quirk::Hang] {
        let engine = FakeEngine::start();
        let agent = agent(&engine, &["--docker-timeout", "1secs"]);
        engine.next("create", quirk);
        agent.launch(container("t", "there"));
        let name = engine.container("t", "running");
        engine.end(&name, 0);
        assert_eq!(agent.end_of("t").state(), TaskState::TaskFinished);
        eventually("the container is removed", || engine.is_deserted());
        assert_eq!((engine.count("create"), engine.count("start")), (2, 1));
    }
}

#[test]
fn a_start_without_an_answer_is_never_repeated() {
    // It was started: the event says so, or the list.
    let engine = FakeEngine::start();
    let agent_one = agent(&engine, &[]);
    engine.next("start", Quirk::Mute);
    agent_one.launch(container("t", "there"));
    let name = engine.container("t", "running");
    engine.end(&name, 0);
    assert_eq!(agent_one.end_of("t").state(), TaskState::TaskFinished);
    assert_eq!(engine.count("start"), 1);

    for quirk in [Quirk::Deaf, Quirk::Hang] {
        let engine = FakeEngine::start();
        let agent = agent(&engine, &["--docker-timeout", "1secs"]);
        engine.next("start", quirk);
        agent.launch(container("t", "there"));
        let end = agent.end_of("t");
        assert_eq!(end.state(), TaskState::TaskFailed);
        assert_eq!(
            end.message.as_deref(),
            Some(
                "Failed to run docker container: the Docker engine went away while it was to be \
                 started"
            )
        );
        assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
        eventually("the container is removed", || engine.is_deserted());
        assert_eq!(engine.count("start"), 1);
    }
}

#[test]
fn an_end_that_nobody_heard_is_found() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    agent.launch(container("t", "there"));
    let name = engine.container("t", "running");
    while agent.update().state() != TaskState::TaskRunning {}
    engine.next("events", Quirk::Refuse(503, "not now"));
    engine.cut_events();
    engine.end(&name, 4);
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed);
    let text = "Container exited with status 4; the Docker engine was away when it ended";
    assert_eq!(end.message.as_deref(), Some(text));
    eventually("the container is removed", || engine.is_deserted());
}

#[test]
fn one_pull_serves_many_and_its_credentials_stay_hidden() {
    let engine = FakeEngine::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let auth = STANDARD.encode("ada:geheim");
    fs::write(&config, format!(r#"{{"auths": {{"registry.test:5000": {{"auth": "{auth}"}}}}}}"#))
        .unwrap();
    let config = config.to_str().unwrap();
    let agent = agent(&engine, &["--docker-config", config, "--log", "trace,hyper=info"]);
    let image = "registry.test:5000/tool";
    // Until both wait.
    engine.next("pull", Quirk::Refuse(500, "no such host"));
    agent.launch(container("first", image));
    let end = agent.end_of("first");
    assert_eq!(end.message.as_deref(), Some("Failed to run docker container: no such host"));
    assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
    agent.launch(container("a", image));
    agent.launch(container("b", image));
    let mut waited = false;
    for task in ["a", "b"] {
        let name = engine.container(task, "running");
        engine.end(&name, 0);
    }
    for _ in 0..20 {
        let status = agent.update();
        waited |= status.message.as_deref() == Some("pulling image `registry.test:5000/tool`");
        if status.state().is_terminal() && waited {
            break;
        }
    }
    assert!(waited, "TASK_STARTING says what is waited for");
    assert_eq!(engine.count("pull"), 2, "one that failed, one for both");
    let credentials = engine.credentials();
    assert_eq!(credentials.len(), 1);
    let told: Value = serde_json::from_slice(&STANDARD.decode(&credentials[0]).unwrap()).unwrap();
    assert_eq!((&told["username"], &told["password"]), (&"ada".into(), &"geheim".into()));
    let log = agent.log();
    assert!(!log.contains("geheim") && !log.contains(&auth) && !log.contains(&credentials[0]));
}

#[test]
fn a_kill_goes_to_the_container() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    agent.launch(container("t", "there"));
    engine.container("t", "running");
    agent.kill("t");
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskKilled);
    assert_eq!(end.message.as_deref(), Some("Container exited with status 137"));
    // During a pull nothing is waited for.
    engine.next("pull", Quirk::Hang);
    agent.launch(container("p", "absent"));
    eventually("the pull", || engine.count("pull") == 1);
    agent.kill("p");
    let end = agent.end_of("p");
    assert_eq!(end.state(), TaskState::TaskKilled);
    assert_eq!(end.message.as_deref(), Some("Container destroyed while pulling image"));
}

#[test]
fn a_kill_that_the_engine_refuses_is_sent_again() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    agent.launch(container("t", "there"));
    engine.container("t", "running");
    engine.next("kill", Quirk::Refuse(500, "permission denied"));
    agent.kill("t");
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskKilled);
    assert!(engine.count("kill") >= 2);
}

#[test]
fn a_name_that_an_earlier_call_still_has_is_waited_for() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    engine.next("create", Quirk::Refuse(409, "Conflict. The container name is already in use"));
    agent.launch(container("t", "there"));
    let name = engine.container("t", "running");
    engine.end(&name, 0);
    assert_eq!(agent.end_of("t").state(), TaskState::TaskFinished);
    assert_eq!(engine.count("create"), 2);
}

#[test]
fn what_a_task_has_put_in_the_place_of_our_files_is_left_alone() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    let theirs = agent.sandbox.path().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    let folder = agent.sandbox.path().join("tasks/t");
    // Left by a run of the same name, or by whoever shares the folder above.
    fs::create_dir_all(&folder).unwrap();
    symlink(&theirs, folder.join("stdout")).unwrap();
    mkfifo(&folder.join("stderr"), Mode::S_IRWXU).unwrap();
    agent.launch(container("t", "there"));
    let name = engine.container("t", "running");
    symlink(&theirs, folder.join(".marmoset-failure")).unwrap();
    engine.end(&name, 127);
    let end = agent.end_of("t");
    assert_eq!(end.message.as_deref(), Some("Container exited with status 127"));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    // Nobody waits for the other end of this one.
    agent.launch(container("u", "there"));
    let name = engine.container("u", "running");
    mkfifo(&agent.sandbox.path().join("tasks/u/.marmoset-failure"), Mode::S_IRWXU).unwrap();
    engine.end(&name, 127);
    assert_eq!(agent.end_of("u").state(), TaskState::TaskFailed);
}

#[test]
fn an_engine_that_comes_after_the_executor_is_asked_for_what_others_have_left() {
    let engine = FakeEngine::start();
    let mut before = agent(&engine, &[]);
    before.launch(container("t", "there"));
    engine.container("t", "running");
    engine.stop();
    die_as_a_container_does(&mut before);
    let _after = agent(&engine, &[]);
    engine.start_again();
    eventually("the container is removed", || engine.is_deserted());
}

#[test]
fn refusals_are_told_as_they_are() {
    let engine = FakeEngine::start();
    let agent = agent(&engine, &[]);
    engine.next("create", Quirk::Refuse(500, "invalid volume specification"));
    agent.launch(container("c", "there"));
    let end = agent.end_of("c");
    let text = "Failed to run docker container: invalid volume specification";
    assert_eq!((end.state(), end.message.as_deref()), (TaskState::TaskFailed, Some(text)));
    engine.next("start", Quirk::Refuse(400, "OCI runtime create failed"));
    agent.launch(container("s", "there"));
    let end = agent.end_of("s");
    let text = "Failed to run docker container: OCI runtime create failed";
    assert_eq!((end.state(), end.message.as_deref()), (TaskState::TaskFailed, Some(text)));
    eventually("the container is removed", || engine.is_deserted());
}

/// Kills an executor and the process that would clean up after it, as with the container that they
/// were in.
fn die_as_a_container_does(agent: &mut Agent) {
    for child in children(agent.pid()) {
        let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        if line.contains("container-vigil") {
            kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        }
    }
    kill(Pid::from_raw(agent.pid()), Signal::SIGKILL).unwrap();
    agent.wait();
}

#[test]
fn nothing_is_left_when_the_executor_ends_in_whatever_way() {
    for with_a_word in [true, false] {
        let engine = FakeEngine::start();
        let mut agent = agent(&engine, &[]);
        for id in ["a", "b"] {
            agent.launch(container(id, "there"));
            engine.container(id, "running");
        }
        if with_a_word {
            agent.shutdown();
        } else {
            kill(Pid::from_raw(agent.pid()), Signal::SIGKILL).unwrap();
        }
        agent.wait();
        eventually("the containers are removed", || engine.is_deserted());
    }
}

#[test]
fn a_predecessors_containers_are_removed_at_the_start() {
    let engine = FakeEngine::start();
    let mut before = agent(&engine, &[]);
    before.launch(container("t", "there"));
    let name = engine.container("t", "running");
    die_as_a_container_does(&mut before);
    assert_eq!(engine.container("t", "running"), name);
    let _after = agent(&engine, &[]);
    eventually("the container is removed", || engine.is_deserted());
}
