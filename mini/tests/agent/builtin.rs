//! The built-in command executor under a real agent.

use std::{fs, time::Duration};

use marmoset_mini::{
    AgentTimers,
    link::{ToAgent, ToMaster},
};
use marmoset_proto::mesos::v1::{
    CheckInfo, CommandInfo, DurationInfo, HealthCheck, KillPolicy, TaskInfo, check_info,
};

use crate::lone::{Lone, framework, shell, task};

fn command_task(command: CommandInfo) -> TaskInfo {
    TaskInfo { executor: None, command: Some(command), ..task("t", CommandInfo::default()) }
}

async fn starts(lone: &mut Lone) {
    assert_eq!(lone.told().await, "t TASK_STARTING SOURCE_EXECUTOR");
    assert_eq!(lone.told().await, "t TASK_RUNNING SOURCE_EXECUTOR");
}

#[tokio::test]
async fn a_command_runs_in_the_sandbox_with_its_variables() {
    let mut lone = Lone::start().await;
    let script =
        "echo \"$MESOS_ALLOCATION_ROLE\" $MESOS_EXECUTOR_ID; test \"$PWD\" = \"$MESOS_SANDBOX\"";
    lone.run(command_task(shell(script)), false);
    let (starting, _) = lone.update().await;
    assert_eq!(starting.executor_id, Some("t".into()));
    lone.acknowledge(&starting);
    assert_eq!(lone.told().await, "t TASK_RUNNING SOURCE_EXECUTOR");
    assert_eq!(lone.told().await, "t TASK_FINISHED SOURCE_EXECUTOR 'Command exited with status 0'");
    let stdout = fs::read_to_string(lone.sandbox("t").join("stdout")).unwrap();
    assert_eq!(stdout, "* t\n");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_argv_command_that_is_not_there_fails() {
    let mut lone = Lone::start().await;
    let command = CommandInfo { shell: Some(false), ..shell("/no/such/program") };
    lone.run(command_task(command), false);
    starts(&mut lone).await;
    assert_eq!(lone.told().await, "t TASK_FAILED SOURCE_EXECUTOR 'Command exited with status 1'");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_with_all_it_started() {
    let mut lone = Lone::start().await;
    let script = "trap '' TERM; sleep 1000 & echo $! > child; while :; do sleep 0.1; done";
    let grace = DurationInfo { nanoseconds: 300_000_000 };
    let mut task = command_task(shell(script));
    task.kill_policy = Some(KillPolicy { grace_period: Some(grace) });
    lone.run(task, false);
    starts(&mut lone).await;
    let child = lone.sandbox("t").join("child");
    while !fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n')) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lone.kill("t");
    assert_eq!(lone.told().await, "t TASK_KILLING SOURCE_EXECUTOR");
    assert_eq!(
        lone.told().await,
        "t TASK_KILLED SOURCE_EXECUTOR 'Command terminated with signal Killed'"
    );
    let child = fs::read_to_string(child).unwrap();
    lone.agent.shutdown().await;
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn an_unhealthy_task_is_told_of_and_killed() {
    let mut lone = Lone::start().await;
    let mut task = command_task(shell("sleep 1000"));
    task.health_check = Some(HealthCheck {
        command: Some(shell("test ! -e sick")),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..HealthCheck::default()
    });
    lone.run(task, false);
    starts(&mut lone).await;
    let health = "t TASK_RUNNING SOURCE_EXECUTOR REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy=";
    assert_eq!(lone.told().await, format!("{health}true"));
    fs::write(lone.sandbox("t").join("sick"), "").unwrap();
    assert_eq!(lone.told().await, format!("{health}false"));
    assert_eq!(lone.told().await, format!("{health}false"));
    assert_eq!(lone.told().await, "t TASK_KILLING SOURCE_EXECUTOR healthy=false");
    assert_eq!(
        lone.told().await,
        "t TASK_KILLED SOURCE_EXECUTOR 'Command terminated with signal Terminated' healthy=false"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn http_and_tcp_checks_tell_what_they_find() {
    for (tcp, found) in [(false, "Some(204)"), (true, "Some(true)")] {
        let mut lone = Lone::start().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = u32::from(listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                let _gone = tokio::io::AsyncWriteExt::write_all(&mut socket, answer).await;
            }
        });
        let mut task = command_task(shell("sleep 1000"));
        let kind = if tcp { check_info::Type::Tcp } else { check_info::Type::Http };
        task.check = Some(CheckInfo {
            r#type: Some(kind.into()),
            http: (!tcp).then(|| check_info::Http { port, path: Some("/".to_owned()) }),
            tcp: tcp.then_some(check_info::Tcp { port }),
            delay_seconds: Some(0.0),
            ..CheckInfo::default()
        });
        lone.run(task, false);
        let mut told = Vec::new();
        while told.len() < 3 {
            let (status, _) = lone.update().await;
            lone.acknowledge(&status);
            let check = status.check_status.unwrap();
            told.push(if tcp {
                format!("{:?}", check.tcp.unwrap().succeeded)
            } else {
                format!("{:?}", check.http.unwrap().status_code)
            });
        }
        assert_eq!(told, ["None", "None", found]);
        server.abort();
        lone.agent.shutdown().await;
    }
}

#[tokio::test]
async fn a_command_survives_the_restart_of_its_agent() {
    let timers = AgentTimers {
        executor_reregistration_timeout: Duration::from_millis(2500),
        ..AgentTimers::default()
    };
    let mut lone = Lone::start_with(timers).await;
    let task = command_task(shell("while ! test -e go; do sleep 0.05; done"));
    lone.send(ToAgent::RunTask { framework: framework(true), task, launch_executor: false });
    starts(&mut lone).await;
    lone.agent.restart().await;
    assert!(matches!(lone.next().await, ToMaster::Disconnected { .. }));
    lone.accept_again().await;
    fs::write(lone.sandbox("t").join("go"), "").unwrap();
    let mut told = lone.told().await;
    if told == "t TASK_RUNNING SOURCE_EXECUTOR" {
        // Its acknowledgement did not reach the agent before the restart.
        told = lone.told().await;
    }
    assert_eq!(told, "t TASK_FINISHED SOURCE_EXECUTOR 'Command exited with status 0'");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_ends_commands_in_time_and_in_words() {
    let mut lone = Lone::start_with(AgentTimers::default()).await;
    lone.run(command_task(shell("sleep 1000")), false);
    starts(&mut lone).await;
    lone.send(ToAgent::ShutdownExecutor { framework_id: "f".into(), executor_id: "t".into() });
    assert_eq!(lone.told().await, "t TASK_KILLING SOURCE_EXECUTOR");
    assert_eq!(
        lone.told().await,
        "t TASK_KILLED SOURCE_EXECUTOR 'Command terminated with signal Terminated'"
    );
    lone.agent.shutdown().await;
}
