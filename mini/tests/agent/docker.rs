//! The Docker containerizer, with a real engine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use marmoset_mini::{
    AgentConfig, AgentTimers, Containerizer,
    link::{ToAgent, ToMaster},
};
use marmoset_proto::mesos::v1::{
    CommandInfo, ContainerInfo, Environment, Image, Parameter, TaskInfo, Volume,
    container_info::{self, DockerInfo, MesosInfo},
    environment, image, volume,
};
use serde_json::json;

use crate::{
    engine::{Engine, IMAGE},
    http::{PATIENCE, Stream, call, of_e, update},
    lone::{Lone, framework, shell, task},
};

fn docker(image: &str) -> ContainerInfo {
    ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(DockerInfo { image: image.to_owned(), ..DockerInfo::default() }),
        ..ContainerInfo::default()
    }
}

fn program(value: &str, arguments: &[&str]) -> CommandInfo {
    CommandInfo {
        shell: Some(false),
        value: Some(value.to_owned()),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        ..CommandInfo::default()
    }
}

/// Task `a` of executor `e`, which is a container that runs `command`.
fn contained(command: CommandInfo, container: ContainerInfo) -> TaskInfo {
    let mut task = task("a", command);
    task.executor.as_mut().unwrap().container = Some(container);
    task
}

fn sleeping() -> TaskInfo {
    contained(program("/bin/sleep", &["1000"]), docker(IMAGE))
}

/// The name of the container of `e`, which the agent may not have made yet.
async fn name_of(lone: &Lone) -> String {
    let runs = lone.work_dir().join("slaves/S0/frameworks/f/executors/e/runs/latest");
    let appears = async {
        while !runs.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, appears).await.unwrap();
    let run = runs.canonicalize().unwrap();
    format!("mesos-{}", run.file_name().unwrap().to_str().unwrap())
}

#[tokio::test]
async fn an_executors_container_is_started_as_mesos_does_it() {
    let Some(engine) = Engine::of_the_machine("an_executors_container_is_started_as_mesos_does_it")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let mut config = engine.agent();
    config.docker.program = watcher(folder.path(), &seen);
    let mut lone = Lone::start_as(config).await;
    let variable = |name: &str, value: &str| environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let command = CommandInfo {
        environment: Some(Environment {
            variables: vec![variable("GREETING", "hi"), variable("MESOS_EXECUTOR_ID", "mine")],
        }),
        ..program("/bin/sh", &["-c", "echo out; echo err >&2; read line < $MESOS_SANDBOX/go"])
    };
    let mut container = docker(IMAGE);
    container.volumes.push(Volume {
        container_path: "/host/run".to_owned(),
        host_path: Some("/var/run".to_owned()),
        mode: volume::Mode::Ro.into(),
        ..Volume::default()
    });
    let parameters = &mut container.docker.as_mut().unwrap().parameters;
    parameters.push(Parameter { key: "label".to_owned(), value: "role=executor".to_owned() });
    lone.run(contained(command, container), true);
    let name = name_of(&lone).await;
    let sandbox = lone.sandbox("e");
    nix::unistd::mkfifo(&sandbox.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let inspected = engine.running(&name).await;
    let directory = sandbox.display();
    assert_eq!(inspected["Path"], "/bin/sh");
    assert_eq!(inspected["Config"]["Labels"], json!({"role": "executor"}));
    let host = &inspected["HostConfig"];
    // The command itself gives no order to them.
    let mut binds: Vec<&str> =
        host["Binds"].as_array().unwrap().iter().filter_map(|bind| bind.as_str()).collect();
    binds.sort_by_key(|bind| !bind.starts_with("/var/run:"));
    assert_eq!(
        binds,
        ["/var/run:/host/run:ro".to_owned(), format!("{directory}:/mnt/mesos/sandbox")]
    );
    assert_eq!(host["NetworkMode"], "host");
    assert_eq!(host["CpuShares"], 204, "of the executor and its first task");
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["AutoRemove"], false);
    let addr = lone.addr;
    let mut variables: Vec<&str> =
        inspected["Config"]["Env"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    variables.sort_unstable();
    let expected = [
        "FROM_IMAGE=yes".to_owned(),
        "GREETING=hi".to_owned(),
        "LIBPROCESS_IP=127.0.0.1".to_owned(),
        "LIBPROCESS_PORT=0".to_owned(),
        format!("MESOS_AGENT_ENDPOINT={addr}"),
        "MESOS_ALLOCATION_ROLE=*".to_owned(),
        "MESOS_CHECKPOINT=0".to_owned(),
        format!("MESOS_CONTAINER_NAME={name}"),
        format!("MESOS_DIRECTORY={directory}"),
        "MESOS_EXECUTOR_ID=e".to_owned(),
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=300ms".to_owned(),
        "MESOS_FRAMEWORK_ID=f".to_owned(),
        "MESOS_HTTP_COMMAND_EXECUTOR=0".to_owned(),
        "MESOS_SANDBOX=/mnt/mesos/sandbox".to_owned(),
        "MESOS_SLAVE_ID=S0".to_owned(),
        format!("MESOS_SLAVE_PID=slave(1)@{addr}"),
    ];
    assert_eq!(variables, expected, "what the agent says wins");

    let noticed = async {
        while !seen.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.unwrap();
    fs::write(sandbox.join("go"), "now\n").unwrap();
    assert_eq!(lone.exited().await, -1, "nobody waited for it");
    let told = "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'Container terminated'";
    assert_eq!(lone.told().await, told);
    assert_eq!(fs::read_to_string(sandbox.join("stdout")).unwrap(), "out\n");
    assert_eq!(fs::read_to_string(sandbox.join("stderr")).unwrap(), "err\n");
    assert!(engine.names().contains(&name), "it stays for a while");
    lone.agent.shutdown().await;
    assert!(!engine.names().contains(&name), "but not longer than the agent");
}

/// A `docker` command that makes a file once it has told that a container runs.
fn watcher(folder: &Path, seen: &Path) -> PathBuf {
    let program = folder.join("docker");
    let script = format!(
        "#!/bin/sh\n\
         test \"$3\" = inspect || exec docker \"$@\"\n\
         output=$(docker \"$@\") || exit\n\
         printf '%s\\n' \"$output\"\n\
         case \"$output\" in *'\"Running\": true'*) : > {} ;; esac\n",
        seen.display()
    );
    // Written by another process: one of ours that is being started might still hold it open.
    let text = folder.join("text");
    fs::write(&text, script).unwrap();
    let made = std::process::Command::new("install").arg("-m755").arg(&text).arg(&program).status();
    assert!(made.unwrap().success());
    program
}

#[tokio::test]
async fn a_container_is_destroyed_after_the_grace_period_and_its_updates_name_it() {
    let Some(engine) = Engine::of_the_machine(
        "a_container_is_destroyed_after_the_grace_period_and_its_updates_name_it",
    ) else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    lone.run(sleeping(), true);
    let name = name_of(&lone).await;
    engine.running(&name).await;
    let mut stream = Stream::open(lone.addr, json!({})).await;
    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1))).await;
    for expected in ["SUBSCRIBED", "LAUNCH a", "ACKNOWLEDGED a"] {
        assert_eq!(stream.told().await, expected);
    }
    let (running, _) = lone.update().await;
    lone.acknowledge(&running);
    let status = running.container_status.unwrap();
    assert_eq!(format!("mesos-{}", status.container_id.unwrap().value), name);
    assert_eq!(status.executor_pid, None);
    let address = &status.network_infos[0].ip_addresses[0];
    assert_eq!(address.ip_address.as_deref(), Some("127.0.0.1"));
    lone.send(ToAgent::ShutdownExecutor { framework_id: "f".into(), executor_id: "e".into() });
    assert_eq!(lone.exited().await, -1);
    let told = "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'Container killed'";
    assert_eq!(lone.told().await, told);
    let state = engine.text(&["inspect", "--format", "{{.State.Running}}", &name]);
    assert_eq!(state, "false");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_ends_takes_its_containers_along() {
    let Some(engine) = Engine::of_the_machine("an_agent_that_ends_takes_its_containers_along")
    else {
        return;
    };
    for early in [true, false] {
        let lone = Lone::start_as(engine.agent()).await;
        lone.run(sleeping(), true);
        let name = name_of(&lone).await;
        if !early {
            engine.running(&name).await;
        }
        lone.agent.shutdown().await;
        assert!(!engine.names().contains(&name), "early: {early}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let Some(engine) = Engine::of_the_machine("what_cannot_be_started_is_told") else { return };
    let of_program = |value: &str| contained(program(value, &["x"]), docker(IMAGE));
    let mut in_vain = docker(IMAGE);
    in_vain.hostname = Some("h".to_owned());
    let mesos = ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        mesos: Some(MesosInfo {
            image: Some(Image {
                r#type: image::Type::Docker.into(),
                docker: Some(image::Docker { name: IMAGE.to_owned(), ..Default::default() }),
                ..Image::default()
            }),
        }),
        ..ContainerInfo::default()
    };
    for (task, expected) in [
        (
            contained(program("/bin/sleep", &["1"]), docker("127.0.0.1:1/no/such:image")),
            "Failed to run 'docker -H unix:///var/run/docker.sock pull 127.0.0.1:1/no/such:image': \
             exited with status 1; stderr='Error response from daemon: ",
        ),
        (of_program("/no/such/program"), "Container exited with status 127'"),
        (of_program("/etc"), "Container exited with status 12"),
        (contained(shell("exit 1"), in_vain), "Unable to set hostname with host network mode'"),
        (contained(shell("exit 1"), mesos), "Unsupported container image type: DOCKER (the Mesos"),
    ] {
        let mut lone = Lone::start_as(engine.agent()).await;
        lone.run(task, true);
        assert_eq!(lone.exited().await, -1);
        let told = lone.told().await;
        let start = "a TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'Failed to launch container: ";
        let message = told.strip_prefix(start).unwrap_or_else(|| panic!("{told}"));
        assert!(message.starts_with(expected), "{message}");
        let name = name_of_any(&lone);
        lone.agent.shutdown().await;
        assert!(name.is_none_or(|name| !engine.names().contains(&name)), "nothing is left");
    }
}

/// The name of the container of `e`, if it got that far.
fn name_of_any(lone: &Lone) -> Option<String> {
    let runs = lone.work_dir().join("slaves/S0/frameworks/f/executors/e/runs/latest");
    let run = runs.canonicalize().ok()?;
    Some(format!("mesos-{}", run.file_name()?.to_str()?))
}

#[tokio::test]
async fn without_the_containerizer_there_is_nobody_to_ask() {
    let mut lone = Lone::start().await;
    lone.run(sleeping(), true);
    assert_eq!(lone.exited().await, -1);
    assert_eq!(
        lone.told().await,
        "a TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'Failed to launch container: \
         None of the enabled containerizers (mesos) could create a container for the provided \
         TaskInfo/ExecutorInfo message'"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_agent_without_an_engine_does_not_start() {
    let mut config = AgentConfig {
        containerizers: vec![Containerizer::Docker],
        work_dir: tempfile::tempdir().unwrap().path().to_owned(),
        ..AgentConfig::default()
    };
    config.docker.socket = "/no/such/socket".into();
    let (to_master, _from_agent) = tokio::sync::mpsc::unbounded_channel();
    let error = marmoset_mini::start_agent(config, to_master).await.unwrap_err().to_string();
    assert!(error.starts_with("the Docker containerizer cannot be used: Failed to "), "{error}");
}

#[tokio::test]
async fn a_sandbox_with_a_colon_is_mounted_through_a_link() {
    let Some(engine) = Engine::of_the_machine("a_sandbox_with_a_colon_is_mounted_through_a_link")
    else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    let mut task =
        contained(program("/bin/sh", &["-c", "echo hi > $MESOS_SANDBOX/made"]), docker(IMAGE));
    task.executor.as_mut().unwrap().executor_id = "e:1".into();
    lone.run(task, true);
    lone.next().await;
    assert_eq!(fs::read_to_string(lone.sandbox("e:1").join("made")).unwrap(), "hi\n");
    lone.agent.shutdown().await;
}

/// Runs the sleeper under a checkpointing framework until its task is RUNNING.
async fn checkpointing(lone: &mut Lone, engine: &Engine) -> String {
    let (framework, task) = (framework(true), sleeping());
    lone.send(ToAgent::RunTask { framework, task, launch_executor: true });
    let name = name_of(lone).await;
    engine.running(&name).await;
    let mut stream = Stream::open(lone.addr, json!({})).await;
    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1))).await;
    for expected in ["SUBSCRIBED", "LAUNCH a", "ACKNOWLEDGED a"] {
        assert_eq!(stream.told().await, expected);
    }
    let (running, _) = lone.update().await;
    lone.acknowledge(&running);
    name
}

async fn lost(lone: &mut Lone) {
    assert!(matches!(lone.next().await, ToMaster::Disconnected { .. }));
    lone.accept_again().await;
    let mut told = lone.told().await;
    if told == "a TASK_RUNNING SOURCE_EXECUTOR" {
        // The agent was gone before the acknowledgement came.
        told = lone.told().await;
    }
    assert_eq!(
        told,
        "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED \
         'Abnormal executor termination: unknown container'"
    );
}

#[tokio::test]
async fn an_agent_that_starts_again_removes_what_it_does_not_know() {
    let Some(engine) = Engine::private("an_agent_that_starts_again_removes_what_it_does_not_know")
    else {
        return;
    };
    const OTHER: &str = "mesos-625883b6-64f0-4365-a11b-fce6ac7adfa3";
    let start = |name: &str| {
        engine.text(&["run", "-d", "--net=none", "--name", name, IMAGE, "/bin/sleep", "1000"]);
    };
    for name in [OTHER, "mesos-x", "marmoset-1", "mine"] {
        start(name);
    }
    let mut lone = Lone::start_as(engine.agent()).await;
    assert_eq!(engine.names(), ["marmoset-1", "mesos-x", "mine"], "at the first start, too");
    start(OTHER);
    let name = checkpointing(&mut lone, &engine).await;
    assert!(engine.names().contains(&name));
    lone.agent.restart().await;
    lost(&mut lone).await;
    assert_eq!(engine.names(), ["marmoset-1", "mesos-x", "mine"]);
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn orphans_that_are_to_stay_run_on_unsupervised() {
    let Some(engine) = Engine::of_the_machine("orphans_that_are_to_stay_run_on_unsupervised")
    else {
        return;
    };
    let config = engine.agent();
    assert!(!config.docker.kill_orphans);
    let mut lone = Lone::start_as(config).await;
    let name = checkpointing(&mut lone, &engine).await;
    lone.agent.restart().await;
    lost(&mut lone).await;
    lone.agent.shutdown().await;
    let state = engine.text(&["inspect", "--format", "{{.State.Running}}", &name]);
    engine.text(&["rm", "-f", &name]);
    assert_eq!(state, "true");
}

/// Where the engine keeps the memory of containers, if it counts swap, too.
fn swap_group(name: &str, engine: &Engine) -> Option<PathBuf> {
    let id = engine.text(&["inspect", "--format", "{{.Id}}", name]);
    let group = Path::new("/sys/fs/cgroup/memory/docker").join(id);
    group.join("memory.memsw.limit_in_bytes").exists().then_some(group)
}

#[tokio::test]
async fn a_container_grows_with_its_tasks_unless_swap_forbids_it() {
    const TEST: &str = "a_container_grows_with_its_tasks_unless_swap_forbids_it";
    let Some(engine) = Engine::of_the_machine(TEST) else { return };
    for unbounded in [true, false] {
        let mut lone = Lone::start_as(engine.agent()).await;
        let mut container = docker(IMAGE);
        if unbounded {
            let swap = Parameter { key: "memory-swap".to_owned(), value: "-1".to_owned() };
            container.docker.as_mut().unwrap().parameters.push(swap);
        }
        let first = contained(program("/bin/sleep", &["1000"]), container);
        let executor = first.executor.clone();
        lone.run(first, true);
        let name = name_of(&lone).await;
        engine.running(&name).await;
        let Some(group) = swap_group(&name, &engine) else {
            crate::skip::skip(TEST, "the engine does not count swap in cgroups of version 1");
            lone.agent.shutdown().await;
            return;
        };
        let mut stream = Stream::open(lone.addr, json!({})).await;
        assert_eq!(stream.told().await, "SUBSCRIBED");
        let mut second = TaskInfo { task_id: "b".into(), executor, ..task("b", program("", &[])) };
        for resource in &mut second.resources {
            if resource.name == "mem" {
                resource.scalar.as_mut().unwrap().value = 192.0;
            }
        }
        lone.run(second, false);
        let limit = || fs::read_to_string(group.join("memory.limit_in_bytes")).unwrap();
        if unbounded {
            let grown = async {
                while limit().trim() != (256_u64 << 20).to_string() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, grown).await.expect("it grows");
        } else {
            assert_eq!(lone.exited().await, -1);
            let told = "TASK_GONE SOURCE_AGENT REASON_CONTAINER_UPDATE_FAILED 'Failed to update \
                        resources for container: Failed to set 'memory.limit_in_bytes': ";
            for task in ["a", "b"] {
                let ended = lone.told().await;
                assert!(ended.starts_with(&format!("{task} {told}")), "{ended}");
            }
        }
        lone.agent.shutdown().await;
    }
}

#[tokio::test]
async fn an_executor_that_never_subscribes_is_destroyed() {
    let Some(engine) = Engine::of_the_machine("an_executor_that_never_subscribes_is_destroyed")
    else {
        return;
    };
    let mut config = engine.agent();
    config.timers =
        AgentTimers { executor_registration_timeout: Duration::from_millis(200), ..config.timers };
    let mut lone = Lone::start_as(config).await;
    lone.run(sleeping(), true);
    assert_eq!(lone.exited().await, -1);
    assert_eq!(
        lone.told().await,
        "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_REGISTRATION_TIMEOUT \
         'Executor did not register within 200ms'"
    );
    assert!(Path::new(&lone.sandbox("e")).exists());
    lone.agent.shutdown().await;
}
