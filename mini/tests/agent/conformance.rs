//! What a client may rely on, as it can be checked against a real agent, too.

use std::time::Duration;

use marmoset_mini::{AgentTimers, link::ToAgent};
use serde_json::json;

use crate::{
    http::{Stream, call, get, of_e, request, update},
    lone::{Lone, idle, shell, task, tell},
};

/// Method, headers, body; status and text of the answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

#[tokio::test]
async fn the_endpoint_refuses_in_the_order_and_words_of_mesos() {
    let lone = Lone::start().await;
    let path = "/api/v1/executor";
    let json = ("Content-Type", "application/json");
    let subscribe = br#"{"type":"SUBSCRIBE","framework_id":{"value":"f"},"executor_id":{"value":"e"},"subscribe":{}}"#;
    let cases: &[Case<'_>] = &[
        (
            "GET", &[json], b"", 405,
            "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
        ),
        ("POST", &[], b"{}", 400, "Expecting 'Content-Type' to be present"),
        (
            "POST", &[("Content-Type", "text/plain")], b"{}", 415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (
            "POST", &[("Content-Type", "application/json; charset=utf-8")], b"{}", 415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (
            "POST", &[json], b"{{{", 400,
            "Failed to parse body into JSON: syntax error at line 1 near: {{",
        ),
        (
            "POST", &[("Content-Type", "application/x-protobuf")], b"zzzz", 400,
            "Failed to parse body into Call protobuf",
        ),
        (
            "POST", &[json], b"{\"type\":\"SUBSCRIBE\",\"framework_id\":{\"value\":\"f\"},\"executor_id\":{\"value\":\"e\"}}", 400,
            "Failed to validate Executor::Call: Expecting 'subscribe' to be present",
        ),
        (
            "POST", &[json], b"{\"type\":\"NONSENSE\",\"framework_id\":{\"value\":\"f\"},\"executor_id\":{\"value\":\"e\"}}", 400,
            "Failed to validate Executor::Call: Expecting 'type' to be present",
        ),
        (
            "POST", &[json, ("Accept", "text/plain")], subscribe, 406,
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
        ),
        ("POST", &[json], subscribe, 400, "Framework cannot be found"),
        (
            "POST", &[json], b"{\"type\":\"UNKNOWN\",\"framework_id\":{\"value\":\"f\"},\"executor_id\":{\"value\":\"e\"}}", 501,
            "501 Not Implemented.",
        ),
    ];
    for (method, headers, body, status, text) in cases {
        for path in [path, "/slave(1)/api/v1/executor", "/slave%281%29/api/v1/executor"] {
            let answer = request(lone.addr, method, path, headers, body).await;
            assert_eq!((answer.status, answer.body.as_str()), (*status, *text), "{path}");
            if *status == 405 {
                assert!(answer.head.to_ascii_lowercase().contains("\r\nallow: post"), "{answer:?}");
            }
        }
    }
    let heartbeat = json!({
        "type": "HEARTBEAT", "framework_id": {"value": "unused"}, "executor_id": {"value": "unused"},
    });
    let answer = call(lone.addr, &heartbeat).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(get(lone.addr, "/nope").await.status, 404);
    assert_eq!(get(lone.addr, "/api/v1/executor/").await.status, 404);
    for path in ["/health", "/slave(1)/health"] {
        let answer = get(lone.addr, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn calls_before_the_subscription_are_forbidden() {
    let lone = Lone::start().await;
    lone.run(idle("a"), true);
    let early = of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1));
    let mut answer = call(lone.addr, &early).await;
    while answer.status == 400 {
        // The launch is still on its way to the agent.
        answer = call(lone.addr, &early).await;
    }
    assert_eq!((answer.status, answer.body.as_str()), (403, "Executor is not subscribed"));
    let mut other = early;
    other["executor_id"]["value"] = "other".into();
    let answer = call(lone.addr, &other).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "Executor cannot be found"));
    lone.agent.shutdown().await;
}

/// The object has what a real agent's state has.
fn has_keys(object: &serde_json::Value, keys: &str) {
    for key in keys.split_ascii_whitespace() {
        assert!(object.get(key).is_some(), "{key} of {object}");
    }
}

/// Subscribes as soon as the launch has arrived.
async fn subscribe(lone: &Lone) -> Stream {
    let probe = of_e("MESSAGE", "message", json!({"data": ""}));
    while call(lone.addr, &probe).await.body.starts_with("Framework") {}
    Stream::open(lone.addr, json!({})).await
}

#[tokio::test]
async fn a_subscription_tells_all_and_then_the_tasks() {
    let mut lone = Lone::start().await;
    lone.run(idle("a"), true);
    lone.run(idle("b"), false);
    let mut stream = subscribe(&lone).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event["type"], "SUBSCRIBED");
    let subscribed = &event["subscribed"];
    assert_eq!(subscribed["executor_info"]["framework_id"]["value"], "f");
    assert_eq!(subscribed["framework_info"]["name"], "test");
    let agent = &subscribed["agent_info"];
    assert_eq!(agent["id"]["value"], "S0");
    assert_eq!(agent["port"], lone.addr.port());
    assert_eq!(agent["resources"].as_array().unwrap().len(), 4);
    assert_eq!(agent["attributes"][0]["text"]["value"], "r1");
    let container = subscribed["container_id"]["value"].as_str().unwrap().to_owned();
    assert!(lone.sandbox("e").ends_with(&container));
    assert_eq!(stream.told().await, "LAUNCH a");
    assert_eq!(stream.told().await, "LAUNCH b");

    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1))).await;
    assert_eq!(stream.told().await, "ACKNOWLEDGED a");
    let (status, _) = lone.update().await;
    let told = status.container_status.as_ref().unwrap();
    assert_eq!(told.container_id.as_ref().unwrap().value, container);
    let pid = told.executor_pid.unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let address = &told.network_infos[0].ip_addresses[0];
    assert_eq!(address.ip_address.as_deref(), Some("127.0.0.1"));

    lone.message(b"ping");
    assert_eq!(stream.told().await, "MESSAGE cGluZw==");
    call(lone.addr, &of_e("MESSAGE", "message", json!({"data": "cG9uZw=="}))).await;
    match lone.next().await {
        marmoset_mini::link::ToMaster::Message { data, .. } => assert_eq!(&data[..], b"pong"),
        other => panic!("{other:?}"),
    }

    let state = get(lone.addr, "/slave(1)/state").await.json();
    let executor = &state["frameworks"][0]["executors"][0];
    has_keys(
        &state,
        "version build_date build_time build_user start_time id pid hostname capabilities resources \
         reserved_resources unreserved_resources reserved_resources_full \
         unreserved_resources_full reserved_resources_allocated unreserved_resources_allocated \
         resource_providers attributes master_hostname flags frameworks completed_frameworks",
    );
    has_keys(
        &state["frameworks"][0],
        "id name user failover_timeout checkpoint hostname role executors completed_executors",
    );
    has_keys(
        executor,
        "id name source container directory resources role tasks queued_tasks completed_tasks",
    );
    has_keys(
        &executor["tasks"][0],
        "id name framework_id executor_id slave_id state resources role statuses",
    );
    has_keys(&executor["tasks"][0]["statuses"][0], "state timestamp container_status");
    assert_eq!(executor["container"], container);
    assert_eq!(executor["resources"]["cpus"], 0.3);
    assert_eq!(executor["tasks"][0]["id"], "a");
    assert_eq!(executor["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(state["unreserved_resources_allocated"]["mem"], 96.0);
    assert_eq!(state["resources"]["ports"], "[8000-8100]");
    let metrics = get(lone.addr, "/metrics/snapshot").await.json();
    assert_eq!(metrics["slave/executors_running"], 1.0);
    assert_eq!(metrics["slave/tasks_staging"], 1.0);
    lone.agent.shutdown().await;
    assert_eq!(stream.told().await, "SHUTDOWN");
    assert_eq!(stream.told().await, "end");
}

#[tokio::test]
async fn an_unacknowledged_update_is_repeated_and_holds_back_the_next() {
    let retry = Duration::from_millis(50);
    let timers = AgentTimers {
        update_retry_min: retry,
        executor_shutdown_grace_period: retry,
        ..AgentTimers::default()
    };
    let mut lone = Lone::start_with(timers).await;
    lone.run(idle("a"), true);
    let mut stream = subscribe(&lone).await;
    for (state, number) in [("TASK_STARTING", 1), ("TASK_RUNNING", 2)] {
        let answer = call(lone.addr, &of_e("UPDATE", "update", update("a", state, number))).await;
        assert_eq!(answer.status, 202);
    }
    for expected in ["SUBSCRIBED", "LAUNCH a", "ACKNOWLEDGED a", "ACKNOWLEDGED a"] {
        assert_eq!(stream.told().await, expected);
    }
    let (first, latest) = lone.update().await;
    assert_eq!(latest, first.state());
    for _ in 0..3 {
        let (again, latest) = lone.update().await;
        assert_eq!(again.uuid, first.uuid);
        assert_eq!(latest.as_str_name(), "TASK_RUNNING");
    }
    lone.acknowledge(&first);
    let second = loop {
        let (update, _) = lone.update().await;
        if update.uuid != first.uuid {
            break update;
        }
    };
    assert_eq!(tell(&second), "a TASK_RUNNING SOURCE_EXECUTOR");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_update_for_another_agent_is_accepted_and_forgotten() {
    let mut lone = Lone::start().await;
    lone.run(idle("a"), true);
    let mut stream = subscribe(&lone).await;
    let mut foreign = update("a", "TASK_RUNNING", 1);
    foreign["status"]["agent_id"] = json!({"value": "S9"});
    assert_eq!(call(lone.addr, &of_e("UPDATE", "update", foreign)).await.status, 202);
    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_STARTING", 2))).await;
    assert_eq!(lone.told().await, "a TASK_STARTING SOURCE_EXECUTOR");
    for expected in ["SUBSCRIBED", "LAUNCH a", "ACKNOWLEDGED a"] {
        assert_eq!(stream.told().await, expected);
    }
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_task_killed_before_the_subscription_never_arrives() {
    let mut lone = Lone::start().await;
    lone.run(idle("a"), true);
    lone.kill("a");
    assert_eq!(
        lone.told().await,
        "a TASK_KILLED SOURCE_AGENT REASON_TASK_KILLED_DURING_LAUNCH 'Killed before delivery to the executor'"
    );
    let mut stream = Stream::open(lone.addr, json!({})).await;
    assert_eq!(stream.told().await, "SHUTDOWN");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_launch_lost_with_its_stream_is_dropped_at_the_next_subscription() {
    let mut lone = Lone::start().await;
    lone.run(idle("a"), true);
    let mut stream = subscribe(&lone).await;
    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1))).await;
    assert_eq!(lone.told().await, "a TASK_RUNNING SOURCE_EXECUTOR");
    lone.agent.cut_executor_streams().await;
    while stream.next().await.is_some() {}
    lone.run(idle("b"), false);
    let mut stream = Stream::open(lone.addr, json!({})).await;
    assert_eq!(
        lone.told().await,
        "b TASK_DROPPED SOURCE_AGENT REASON_AGENT_RESTARTED 'Task launched during agent restart'"
    );
    assert_eq!(stream.told().await, "SUBSCRIBED");
    lone.kill("a");
    assert_eq!(stream.told().await, "KILL a", "and nothing in between");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn a_second_subscription_replaces_the_first() {
    let lone = Lone::start().await;
    lone.run(idle("a"), true);
    let mut first = subscribe(&lone).await;
    let mut second = Stream::open(lone.addr, json!({})).await;
    assert_eq!(first.told().await, "SUBSCRIBED");
    assert_eq!(first.told().await, "LAUNCH a");
    assert_eq!(first.told().await, "end");
    assert_eq!(second.told().await, "SUBSCRIBED");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn no_subscription_in_time_is_the_end() {
    let timers = AgentTimers {
        executor_registration_timeout: Duration::from_millis(300),
        ..AgentTimers::default()
    };
    let mut lone = Lone::start_with(timers).await;
    lone.run(idle("a"), true);
    assert_eq!(lone.exited().await, 9);
    assert_eq!(
        lone.told().await,
        "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_REGISTRATION_TIMEOUT 'Executor did not register within 300ms'"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_executor_that_ends_takes_its_tasks_along() {
    for (script, status) in [("kill -9 $$", 9), ("exit 0", 0), ("exit 3", 3 << 8)] {
        let mut lone = Lone::start().await;
        lone.run(task("a", shell(script)), true);
        assert_eq!(lone.exited().await, status);
        let (update, _) = lone.update().await;
        assert_eq!(
            tell(&update),
            "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'Executor terminated'"
        );
        assert_eq!(update.executor_id, Some("e".into()));
        assert!(update.container_status.is_none());
        lone.acknowledge(&update);
        // Acknowledged: the id is free again.
        lone.run(task("b", shell("exit 7")), true);
        assert_eq!(lone.exited().await, 7 << 8);
        lone.agent.shutdown().await;
    }
}

#[tokio::test]
async fn a_shutdown_that_is_ignored_ends_with_sigkill() {
    let mut lone = Lone::start().await;
    lone.run(idle("a"), true);
    let mut stream = subscribe(&lone).await;
    lone.send(ToAgent::ShutdownExecutor { framework_id: "f".into(), executor_id: "e".into() });
    for expected in ["SUBSCRIBED", "LAUNCH a", "SHUTDOWN", "end"] {
        assert_eq!(stream.told().await, expected);
    }
    assert_eq!(lone.exited().await, 9);
    assert_eq!(
        lone.told().await,
        "a TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'Executor terminated'"
    );
    lone.agent.shutdown().await;
}
