//! Subscription, stream ids, failover, teardown.

use std::time::Duration;

use marmoset_mini::link::ToAgent;
use serde_json::json;

use crate::support::{
    FakeAgent, Scheduler, client, cluster, cluster_with, framework, get, patient_framework, post,
    task,
};

#[tokio::test]
async fn subscribed_then_heartbeats_at_once_and_every_interval() {
    let cluster = cluster_with(|master| {
        master.timers.heartbeat_interval = Duration::from_millis(200);
    })
    .await;
    let mut scheduler = Scheduler::open(cluster.master_addr(), framework()).await;
    let subscribed = scheduler.event().await.unwrap();
    let body = &subscribed["subscribed"];
    let port = cluster.master_addr().port();
    assert_eq!(body["heartbeat_interval_seconds"], 0.2);
    assert_eq!(body["master_info"]["ip"], 16_777_343);
    assert_eq!(body["master_info"]["port"], port);
    assert_eq!(body["master_info"]["pid"], format!("master@127.0.0.1:{port}"));
    let master = body["master_info"]["id"].as_str().unwrap();
    assert_eq!(body["framework_id"]["value"], format!("{master}-0000"));

    assert_eq!(scheduler.event().await.unwrap()["type"], "HEARTBEAT");
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(scheduler.event().await.unwrap()["type"], "HEARTBEAT");
    }
    let passed = start.elapsed();
    assert!(passed >= Duration::from_millis(500), "{passed:?}");
    cluster.shutdown().await;
}

#[tokio::test]
async fn events_are_json_unless_protobuf_alone_is_accepted() {
    let cluster = cluster().await;
    let url = format!("http://{}/api/v1/scheduler", cluster.master_addr());
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework()}});
    for (accept, expected) in [
        (None, "application/json"),
        (Some("application/x-protobuf"), "application/x-protobuf"),
        (Some("application/x-protobuf, */*"), "application/json"),
    ] {
        let mut request =
            client().post(&url).header("Content-Type", "application/json").body(call.to_string());
        if let Some(accept) = accept {
            request = request.header("Accept", accept);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], expected, "{accept:?}");
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn calls_need_the_stream_id_of_their_subscription() {
    let cluster = cluster().await;
    let addr = cluster.master_addr();
    let scheduler = Scheduler::subscribe(addr, framework()).await;
    let url = format!("http://{addr}/master/api/v1/scheduler");
    let id = scheduler.id["value"].as_str().unwrap();
    let call = json!({"type": "REVIVE", "framework_id": scheduler.id});

    let (status, body) = post(&client(), &url, None, &call).await;
    assert_eq!(status, 400);
    assert_eq!(body, "All non-subscribe calls should include the 'Mesos-Stream-Id' header");
    let (status, body) = post(&client(), &url, Some("other"), &call).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        format!(
            "The stream ID 'other' included in this request didn't match the stream ID currently \
             associated with framework ID {id}"
        )
    );
    let stream = Some(scheduler.stream_id.as_str());
    assert_eq!(post(&client(), &url, stream, &call).await, (202, String::new()));
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_second_subscription_takes_over() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut first = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = first.offer().await;
    let mut info = patient_framework();
    info["id"] = first.id.clone();
    let mut second = Scheduler::subscribe(cluster.master_addr(), info).await;

    let error = first.expect("ERROR").await;
    assert_eq!(error["error"]["message"], "Framework failed over");
    assert!(first.event().await.is_none(), "the old stream ends");
    let (status, _) = first.call(json!({"type": "REVIVE"})).await;
    assert_eq!(status, 400);

    // The old offer is gone, its resources are offered anew; no RESCIND is sent.
    assert_eq!(second.id, first.id);
    let again = second.expect("OFFERS").await;
    assert_ne!(again["offers"]["offers"][0]["id"], offer["id"]);
    assert!(matches!(agent.message().await, Some(ToAgent::UpdateFramework { .. })));
    cluster.shutdown().await;
}

#[tokio::test]
async fn without_failover_timeout_the_end_of_the_stream_is_the_end() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, ..) = agent.run_task().await;
    let mut info = framework();
    info["id"] = scheduler.id.clone();
    drop(scheduler);

    match agent.message().await {
        Some(ToAgent::ShutdownFramework { framework_id: id }) => assert_eq!(id, framework_id),
        other => panic!("{other:?}"),
    }
    let mut again = Scheduler::open(cluster.master_addr(), info).await;
    let error = again.event().await.unwrap();
    assert_eq!(error["error"]["message"], "Framework has been removed");
    assert!(again.event().await.is_none());
    let state = get(cluster.master_addr(), "/state").await;
    let completed = &state["completed_frameworks"][0];
    assert_eq!(completed["completed_tasks"][0]["state"], "TASK_KILLED");
    assert_eq!(state["slaves"][0]["used_resources"]["cpus"], 0.0);
    cluster.shutdown().await;
}

#[tokio::test]
async fn within_the_failover_timeout_tasks_run_on() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    agent.run_task().await;
    let mut info = patient_framework();
    info["id"] = scheduler.id.clone();
    info["user"] = json!("somebody else");
    info["name"] = json!("renamed");
    let call = json!({"type": "REVIVE", "framework_id": scheduler.id});
    let (url, stream) =
        (format!("http://{}/api/v1/scheduler", cluster.master_addr()), scheduler.stream_id.clone());
    drop(scheduler);

    // The master learns of the end from the socket, in its own time.
    loop {
        let (status, body) = post(&client(), &url, Some(&stream), &call).await;
        if status == 403 {
            assert_eq!(body, "Framework is not subscribed");
            break;
        }
        assert_eq!(status, 202);
        tokio::task::yield_now().await;
    }
    assert!(agent.is_idle());
    let mut again = Scheduler::subscribe(cluster.master_addr(), info).await;
    again.ok(json!({"type": "RECONCILE", "reconcile": {"tasks": []}})).await;
    assert_eq!(again.status().await["state"], "TASK_STAGING");
    match agent.message().await {
        Some(ToAgent::UpdateFramework { framework }) => {
            assert_eq!(framework.name, "renamed");
            assert_eq!(framework.user, "root", "the user cannot change");
        }
        other => panic!("{other:?}"),
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn teardown_ends_the_stream_without_updates() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    agent.run_task().await;
    scheduler.offer().await;
    scheduler.ok(json!({"type": "TEARDOWN"})).await;
    while let Some(event) = scheduler.event().await {
        assert_ne!(event["type"], "UPDATE");
    }
    assert!(matches!(agent.message().await, Some(ToAgent::ShutdownFramework { .. })));
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_id_nobody_knows_is_taken_as_it_is() {
    let cluster = cluster().await;
    let mut info = framework();
    info["id"] = json!({"value": "from-another-life-0007"});
    let scheduler = Scheduler::subscribe(cluster.master_addr(), info).await;
    assert_eq!(scheduler.id["value"], "from-another-life-0007");
    cluster.shutdown().await;
}

#[tokio::test]
async fn update_framework_is_answered_at_once() {
    let cluster = cluster().await;
    let mut info = patient_framework();
    let scheduler = Scheduler::subscribe(cluster.master_addr(), info.clone()).await;
    info["id"] = scheduler.id.clone();
    info["name"] = json!("renamed");
    let update = |info: &serde_json::Value| json!({"type": "UPDATE_FRAMEWORK", "update_framework": {"framework_info": info}});
    assert_eq!(scheduler.call(update(&info)).await, (200, String::new()));
    let state = get(cluster.master_addr(), "/state").await;
    assert_eq!(state["frameworks"][0]["name"], "renamed");

    info["user"] = json!("nobody");
    let (status, body) = scheduler.call(update(&info)).await;
    assert_eq!(status, 400);
    assert!(body.ends_with("attempted to update from 'root' to 'nobody'"), "{body}");
    info["user"] = json!("root");
    info["id"] = json!({"value": "other"});
    let (status, body) = scheduler.call(update(&info)).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        "Failed to validate scheduler::Call: 'framework_id' differs from \
         'update_framework.framework_info.id'"
    );
    cluster.shutdown().await;
}
