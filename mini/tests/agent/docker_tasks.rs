//! Tasks with a command in containers of their own, as the recording of the built-in Docker executor has them.

use std::{fs, time::Duration};

use marmoset_proto::mesos::v1::{
    CommandInfo, ContainerInfo, DurationInfo, HealthCheck, KillPolicy, TaskInfo, TaskStatus,
    container_info::{self, DockerInfo},
};
use serde_json::{Value, json};

use crate::{
    engine::{Engine, IMAGE},
    lone::{Lone, task},
};

/// Task `t`: `/bin/busybox` with these arguments, in a container.
fn contained(image: &str, arguments: &[&str]) -> TaskInfo {
    let command = CommandInfo {
        shell: Some(false),
        value: Some("/bin/busybox".to_owned()),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        ..CommandInfo::default()
    };
    let container = ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(DockerInfo { image: image.to_owned(), ..DockerInfo::default() }),
        ..ContainerInfo::default()
    };
    TaskInfo {
        executor: None,
        command: Some(command),
        container: Some(container),
        ..task("t", CommandInfo::default())
    }
}

async fn running(lone: &mut Lone) -> TaskStatus {
    assert_eq!(lone.told().await, "t TASK_STARTING SOURCE_EXECUTOR");
    let (running, _) = lone.update().await;
    lone.acknowledge(&running);
    assert_eq!(crate::lone::tell(&running), "t TASK_RUNNING SOURCE_EXECUTOR");
    running
}

#[tokio::test]
async fn a_task_in_a_container_is_told_as_recorded() {
    let Some(engine) = Engine::of_the_machine("a_task_in_a_container_is_told_as_recorded") else {
        return;
    };
    for (arguments, end) in [
        (&["echo", "hi"][..], "TASK_FINISHED SOURCE_EXECUTOR 'Container exited with status 0'"),
        (&["false"], "TASK_FAILED SOURCE_EXECUTOR 'Container exited with status 1'"),
    ] {
        let mut lone = Lone::start_as(engine.agent()).await;
        lone.run(contained(IMAGE, arguments), false);
        let running = running(&mut lone).await;
        assert_eq!(lone.told().await, format!("t {end}"));
        let status = running.container_status.unwrap();
        let id = status.container_id.unwrap().value;
        assert_eq!(status.executor_pid, None);
        let address = &status.network_infos[0].ip_addresses[0];
        assert_eq!(address.ip_address.as_deref(), Some("127.0.0.1"), "the agent's own");
        let data: Value = serde_json::from_slice(&running.data.unwrap()).unwrap();
        let told = &data[0];
        assert_eq!(told["Name"], format!("/mesos-{id}"));
        assert_eq!(told["Path"], "/bin/busybox");
        assert_eq!(told["Args"], json!(arguments));
        assert_eq!(told["HostConfig"]["NetworkMode"], "host");
        assert_eq!(told["HostConfig"]["CpuShares"], 102, "of the task alone");
        assert_eq!(told["HostConfig"]["Memory"], 32 << 20);
        let sandbox = lone.sandbox("t");
        let bind = format!("{}:/mnt/mesos/sandbox", sandbox.display());
        assert_eq!(told["HostConfig"]["Binds"], json!([bind]));
        let environment = told["Config"]["Env"].as_array().unwrap();
        // The engine gives them in any order.
        let mut environment = environment.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        environment.sort_unstable();
        let container = format!("MESOS_CONTAINER_NAME=mesos-{id}");
        let sandbox_inside = "MESOS_SANDBOX=/mnt/mesos/sandbox";
        assert_eq!(
            environment,
            ["FROM_IMAGE=yes", "MESOS_ALLOCATION_ROLE=*", container.as_str(), sandbox_inside]
        );
        if arguments[0] == "echo" {
            assert_eq!(fs::read_to_string(sandbox.join("stdout")).unwrap(), "hi\n");
        }
        lone.agent.shutdown().await;
        assert!(!engine.names().contains(&format!("mesos-{id}")), "nothing is left");
    }
}

#[tokio::test]
async fn a_killed_container_has_its_grace_period() {
    let Some(engine) = Engine::of_the_machine("a_killed_container_has_its_grace_period") else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    let mut task = contained(IMAGE, &["sleep", "1000"]);
    let grace = DurationInfo { nanoseconds: 1_000_000_000 };
    task.kill_policy = Some(KillPolicy { grace_period: Some(grace) });
    lone.run(task, false);
    running(&mut lone).await;
    lone.kill("t");
    assert_eq!(lone.told().await, "t TASK_KILLING SOURCE_EXECUTOR");
    assert_eq!(
        lone.told().await,
        "t TASK_KILLED SOURCE_EXECUTOR 'Container exited with status 137'",
        "a first process does not heed SIGTERM"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn what_a_task_asks_for_in_vain_is_told() {
    let Some(engine) = Engine::of_the_machine("what_a_task_asks_for_in_vain_is_told") else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    lone.run(contained("127.0.0.1:1/no/such:image", &["true"]), false);
    let told = lone.told().await;
    let start = "t TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'Failed to launch \
                 container: Failed to run 'docker -H unix:///var/run/docker.sock pull ";
    assert!(told.starts_with(start), "{told}");
    let mut task = contained(IMAGE, &[]);
    task.task_id = "u".into();
    task.command.as_mut().unwrap().value = Some("/no/such/program".to_owned());
    lone.run(task, false);
    assert_eq!(lone.told().await, "u TASK_STARTING SOURCE_EXECUTOR");
    assert_eq!(
        lone.told().await,
        "u TASK_FAILED SOURCE_EXECUTOR 'Container exited with status 127'"
    );
    let mut task = contained(IMAGE, &[]);
    task.task_id = "v".into();
    task.container.as_mut().unwrap().hostname = Some("h".to_owned());
    lone.run(task, false);
    assert_eq!(lone.told().await, "v TASK_STARTING SOURCE_EXECUTOR");
    assert_eq!(
        lone.told().await,
        "v TASK_FAILED SOURCE_EXECUTOR 'Failed to run docker container: Unable to set hostname \
         with host network mode'"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_health_check_runs_inside_of_the_container() {
    let Some(engine) = Engine::of_the_machine("a_health_check_runs_inside_of_the_container") else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    let mut task = contained(IMAGE, &["sleep", "1000"]);
    task.health_check = Some(HealthCheck {
        command: Some(CommandInfo {
            value: Some("test \"$MESOS_SANDBOX\" = /mnt/mesos/sandbox".to_owned()),
            ..CommandInfo::default()
        }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.1),
        ..HealthCheck::default()
    });
    lone.run(task, false);
    running(&mut lone).await;
    assert_eq!(
        lone.told().await,
        "t TASK_RUNNING SOURCE_EXECUTOR REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy=true"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_container_ends_with_an_executor_that_is_killed() {
    let Some(engine) = Engine::of_the_machine("a_container_ends_with_an_executor_that_is_killed")
    else {
        return;
    };
    let mut lone = Lone::start_as(engine.agent()).await;
    lone.run(contained(IMAGE, &["sleep", "1000"]), false);
    let running = running(&mut lone).await;
    let name = format!("mesos-{}", running.container_status.unwrap().container_id.unwrap().value);
    let marker = format!("--container={name}");
    let executor = fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.split('\0').any(|word| word == marker).then_some(pid)
    });
    let executor = nix::unistd::Pid::from_raw(executor.expect("the executor runs"));
    nix::sys::signal::kill(executor, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(
        lone.told().await,
        "t TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'Container terminated'"
    );
    let state = engine.text(&["inspect", "--format", "{{.State.Running}}", &name]);
    assert_eq!(state, "false");
    tokio::time::timeout(Duration::from_secs(60), lone.agent.shutdown()).await.unwrap();
}
