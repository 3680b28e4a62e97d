//! Executors as processes: what they are given, and that nothing of them stays.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use marmoset_mini::{AgentTimers, link::ToAgent};
use marmoset_proto::mesos::v1::{
    CommandInfo, Environment, command_info::Uri, container_info, environment,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use crate::{
    http::PATIENCE,
    lone::{Lone, framework, shell, task},
};

/// Waits for a file that an executor writes, whole.
async fn written(path: &Path) -> String {
    let appears = async {
        loop {
            if let Ok(text) = fs::read_to_string(path)
                && text.ends_with('\n')
            {
                return text;
            }
            // There is no event for it: look again, as a person would.
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, appears).await.unwrap_or_else(|_| panic!("{} in time", path.display()))
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn the_environment_is_exactly_that_of_mesos() {
    let mut lone = Lone::start_with(AgentTimers::default()).await;
    // `env` itself adds nothing; a shell would add PWD.
    let command = CommandInfo {
        shell: Some(false),
        value: Some("env".to_owned()),
        arguments: vec!["env".to_owned()],
        environment: Some(Environment {
            variables: vec![environment::Variable {
                name: "MINE".to_owned(),
                value: Some("1".to_owned()),
                ..Default::default()
            }],
        }),
        ..CommandInfo::default()
    };
    lone.run(task("a", command), true);
    assert_eq!(lone.exited().await, 0);
    let sandbox = lone.sandbox("e");
    let mut lines: Vec<String> =
        fs::read_to_string(sandbox.join("stdout")).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    let addr = lone.addr;
    let directory = sandbox.display();
    assert_eq!(
        lines,
        [
            "LIBPROCESS_IP=127.0.0.1".to_owned(),
            "LIBPROCESS_PORT=0".to_owned(),
            format!("MESOS_AGENT_ENDPOINT={addr}"),
            "MESOS_CHECKPOINT=0".to_owned(),
            format!("MESOS_DIRECTORY={directory}"),
            "MESOS_EXECUTOR_ID=e".to_owned(),
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs".to_owned(),
            "MESOS_FRAMEWORK_ID=f".to_owned(),
            "MESOS_HTTP_COMMAND_EXECUTOR=0".to_owned(),
            format!("MESOS_SANDBOX={directory}"),
            "MESOS_SLAVE_ID=S0".to_owned(),
            format!("MESOS_SLAVE_PID=slave(1)@{addr}"),
            "MINE=1".to_owned(),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ]
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_checkpointing_framework_is_told_how_long_to_wait() {
    let mut lone = Lone::start().await;
    let framework = framework(true);
    let task = task(
        "a",
        shell("echo $MESOS_CHECKPOINT $MESOS_RECOVERY_TIMEOUT $MESOS_SUBSCRIPTION_BACKOFF_MAX"),
    );
    lone.send(ToAgent::RunTask { framework, task, launch_executor: true });
    assert_eq!(lone.exited().await, 0);
    let stdout = fs::read_to_string(lone.sandbox("e").join("stdout")).unwrap();
    assert_eq!(stdout, "1 15mins 2secs\n");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn shell_and_argv_commands_are_what_they_say() {
    let program = |value: &str, arguments: &[&str]| CommandInfo {
        shell: Some(false),
        value: Some(value.to_owned()),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        ..CommandInfo::default()
    };
    for (command, status, stdout) in [
        (shell("echo \"$0\" \"$PWD\" | sed s,/slaves.*,,"), 0, "sh WORK\n"),
        (program("/bin/sh", &["own-name", "-c", "echo $0"]), 0, "own-name\n"),
        (program("sh", &["sh", "-c", "echo found"]), 0, "found\n"),
        (program("/no/such/program", &["x"]), 1 << 8, ""),
        (program("/etc/passwd", &["x"]), 1 << 8, ""),
        (shell("exit 5"), 5 << 8, ""),
    ] {
        let mut lone = Lone::start().await;
        lone.run(task("a", command.clone()), true);
        assert_eq!(lone.exited().await, status, "{command:?}");
        let sandbox = lone.sandbox("e");
        let told = fs::read_to_string(sandbox.join("stdout")).unwrap();
        assert_eq!(told.replace(&lone.work_dir().display().to_string(), "WORK"), stdout);
        let complaint = fs::read_to_string(sandbox.join("stderr")).unwrap();
        assert_eq!(complaint.contains("Failed to execute command"), status == 1 << 8);
        lone.agent.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_of_an_executor_survives_it() {
    let lone = Lone::start().await;
    // A child, a child in a session of its own, and a daemon that lost its parents.
    let script = "sleep 1000 & echo $! > pids; \
        setsid sleep 1000 & echo $! >> pids; \
        (setsid sh -c 'echo $$ >> pids; echo end > done; exec sleep 1000' &) ; \
        exec sleep 1000";
    lone.run(task("a", shell(script)), true);
    let sandbox = loop {
        let latest = lone.work_dir().join("slaves/S0/frameworks/f/executors/e/runs/latest");
        if let Ok(sandbox) = latest.canonicalize() {
            break sandbox;
        }
        sleep(Duration::from_millis(5)).await;
    };
    written(&sandbox.join("done")).await;
    let pids = fs::read_to_string(sandbox.join("pids")).unwrap();
    let pids: Vec<&str> = pids.split_ascii_whitespace().collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(pid)));
    lone.agent.shutdown().await;
    for pid in pids {
        assert!(!is_alive(pid), "{pid} lives on");
    }
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_the_grace_period() {
    let lone = Lone::start().await;
    lone.run(task("a", shell("trap '' TERM; while :; do sleep 1; done")), true);
    let before = Instant::now();
    lone.agent.shutdown().await;
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn uris_are_fetched_before_the_command_runs() {
    let mut lone = Lone::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let answers = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let length = socket.read(&mut request).await.unwrap();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n#!/bin/sh\necho ")
            .await
            .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let local = lone.work_dir().join("local");
    fs::write(&local, "local\n").unwrap();
    let uri = |value: String| Uri { value, ..Uri::default() };
    let command = CommandInfo {
        uris: vec![
            Uri { executable: Some(true), ..uri(format!("http://{server}/dir/tool?x=1")) },
            Uri { output_file: Some("sub/name".to_owned()), ..uri(local.display().to_string()) },
        ],
        ..shell("./tool && cat sub/name")
    };
    lone.run(task("a", command), true);
    assert_eq!(lone.exited().await, 0);
    let sandbox = lone.sandbox("e");
    assert_eq!(fs::read_to_string(sandbox.join("stdout")).unwrap(), "\nlocal\n");
    let mode = fs::metadata(sandbox.join("tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    assert!(answers.await.unwrap().starts_with("GET /dir/tool?x=1 "));
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_fetched_fails_the_launch() {
    for (bad, why) in [
        (
            Uri { value: "/no/such/file".to_owned(), ..Uri::default() },
            "Failed to copy '/no/such/file': ",
        ),
        (
            Uri {
                value: "/etc/passwd".to_owned(),
                output_file: Some("../../passwd".to_owned()),
                ..Uri::default()
            },
            "`output_file` '../../passwd' is not a path inside the sandbox",
        ),
        (
            Uri { value: "hdfs://x/y".to_owned(), ..Uri::default() },
            "The scheme of 'hdfs://x/y' is not supported",
        ),
    ] {
        let mut lone = Lone::start().await;
        lone.run(task("a", CommandInfo { uris: vec![bad], ..shell("true") }), true);
        assert_eq!(lone.exited().await, -1);
        let told = lone.told().await;
        let container = lone.sandbox("e");
        let container = container.file_name().unwrap().to_string_lossy();
        let expected = format!(
            "a TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'Failed to launch container: \
             Failed to fetch all URIs for container '{container}': {why}"
        );
        assert!(told.starts_with(&expected), "{told}\n{expected}");
        lone.agent.shutdown().await;
    }
}

#[tokio::test]
async fn an_image_is_refused_and_not_ignored() {
    let mut lone = Lone::start().await;
    let mut wants_image = task("a", shell("true"));
    if let Some(executor) = &mut wants_image.executor {
        let container = executor.container.get_or_insert_default();
        container.r#type = container_info::Type::Docker.into();
    }
    lone.run(wants_image, true);
    assert_eq!(lone.exited().await, -1);
    let told = lone.told().await;
    assert!(told.contains("None of the enabled containerizers (mesos) could create"), "{told}");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_user_nobody_knows_fails_the_launch() {
    if !nix::unistd::geteuid().is_root() {
        crate::skip::skip("a_user_nobody_knows_fails_the_launch", "only root changes users");
        return;
    }
    let mut lone = Lone::start().await;
    let command = CommandInfo { user: Some("no-such-user".to_owned()), ..shell("true") };
    lone.run(task("a", command), true);
    assert_eq!(lone.exited().await, -1);
    let told = lone.told().await;
    assert!(told.contains("Failed to get user information for 'no-such-user'"), "{told}");
    lone.agent.shutdown().await;

    let mut lone = Lone::start().await;
    // The agent's work directory must let others in, as an operator's would.
    fs::set_permissions(lone.work_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let command = CommandInfo { user: Some("nobody".to_owned()), ..shell("id -un; touch mine") };
    lone.run(task("a", command), true);
    assert_eq!(lone.exited().await, 0);
    let stdout = fs::read_to_string(lone.sandbox("e").join("stdout")).unwrap();
    assert_eq!(stdout, "nobody\n");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_destroyed_fetch_ends_at_once() {
    let timers = AgentTimers {
        executor_registration_timeout: Duration::from_millis(300),
        ..AgentTimers::default()
    };
    let mut lone = Lone::start_with(timers).await;
    // A server that never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri =
        Uri { value: format!("http://{}/x", listener.local_addr().unwrap()), ..Uri::default() };
    let slow = task("a", CommandInfo { uris: vec![uri], ..shell("true") });
    lone.run(slow, true);
    assert_eq!(lone.exited().await, 9);
    assert!(lone.told().await.contains("REASON_EXECUTOR_REGISTRATION_TIMEOUT"));
    lone.agent.shutdown().await;
}
