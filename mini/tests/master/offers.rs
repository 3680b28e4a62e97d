//! Allocation: when what is offered to whom.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    FakeAgent, Scheduler, amount, cluster, cluster_with, command_task, framework,
};

#[tokio::test]
async fn an_offer_looks_like_one_of_a_real_master() {
    let cluster = cluster().await;
    let agent = FakeAgent::register_with(
        &cluster,
        "cpus:8;mem:8192;disk:10000;ports:[8000-8100]",
        "agent.example",
        &[("rack", "r1")],
    )
    .await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let mut offer = scheduler.offer().await;
    let id = offer["id"]["value"].as_str().unwrap().to_owned();
    let master = id.rsplit_once('-').unwrap().0.to_owned();
    assert_eq!(id, format!("{master}-O0"));
    offer.as_object_mut().unwrap().remove("id");
    let star = json!({"role": "*"});
    assert_eq!(
        offer,
        json!({
            "framework_id": {"value": format!("{master}-0000")},
            "agent_id": {"value": format!("{master}-S0")},
            "hostname": "agent.example",
            "url": {"scheme": "http", "path": "/slave(1)", "address": {
                "hostname": "agent.example", "ip": "127.0.0.1", "port": agent.addr.port()}},
            "resources": [
                {"name": "ports", "type": "RANGES", "role": "*", "allocation_info": star,
                 "ranges": {"range": [{"begin": 8000, "end": 8100}]}},
                {"name": "cpus", "type": "SCALAR", "role": "*", "allocation_info": star,
                 "scalar": {"value": 8.0}},
                {"name": "mem", "type": "SCALAR", "role": "*", "allocation_info": star,
                 "scalar": {"value": 8192.0}},
                {"name": "disk", "type": "SCALAR", "role": "*", "allocation_info": star,
                 "scalar": {"value": 10000.0}},
            ],
            "attributes": [{"name": "rack", "type": "TEXT", "text": {"value": "r1"}}],
            "allocation_info": star,
        })
    );
    cluster.shutdown().await;
}

#[tokio::test]
async fn older_and_newer_frameworks_get_their_own_forms() {
    let cluster = cluster().await;
    let _agent = FakeAgent::register(&cluster).await;
    let old = json!({"user": "root", "name": "old"});
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), old).await;
    let offer = scheduler.offer().await;
    assert!(offer.get("allocation_info").is_none());
    for resource in offer["resources"].as_array().unwrap() {
        assert!(resource.get("allocation_info").is_none(), "{resource}");
        assert_eq!(resource["role"], "*");
    }
    scheduler.ok(json!({"type": "TEARDOWN"})).await;

    let mut new = framework();
    new["capabilities"].as_array_mut().unwrap().push(json!({"type": "RESERVATION_REFINEMENT"}));
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), new).await;
    for resource in scheduler.offer().await["resources"].as_array().unwrap() {
        assert!(resource.get("role").is_none(), "{resource}");
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn declined_resources_come_back_after_their_filter() {
    let cluster = cluster_with(|master| {
        master.timers.allocation_interval = Duration::from_millis(100);
    })
    .await;
    let _agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;

    let offer = scheduler.offer().await;
    let declined = Instant::now();
    scheduler.decline(&offer, 0.5).await;
    let offer = scheduler.offer().await;
    assert!(declined.elapsed() >= Duration::from_millis(500), "{:?}", declined.elapsed());

    let declined = Instant::now();
    scheduler.decline(&offer, 0.0).await;
    let offer = scheduler.offer().await;
    assert!(declined.elapsed() < Duration::from_millis(500), "{:?}", declined.elapsed());

    // A used offer cannot be declined again, which nobody is told.
    scheduler.decline(&offer, 1000.0).await;
    scheduler.decline(&offer, 1000.0).await;
    scheduler.ok(json!({"type": "REVIVE"})).await;
    let again = scheduler.offer().await;
    assert_eq!(again["resources"], offer["resources"]);
    cluster.shutdown().await;
}

#[tokio::test]
async fn suppressed_roles_get_nothing_until_revived() {
    let cluster = cluster().await;
    let agent = FakeAgent::register(&cluster).await;
    let mut info = framework();
    info["roles"] = json!(["a", "b"]);
    let mut scheduler = Scheduler::open_with(
        cluster.master_addr(),
        json!({"type": "SUBSCRIBE",
               "subscribe": {"framework_info": info, "suppressed_roles": ["a", "b"]}}),
    )
    .await;
    scheduler.id = scheduler.next("SUBSCRIBED").await["subscribed"]["framework_id"].clone();
    scheduler.ok(json!({"type": "REVIVE", "revive": {"roles": ["b"]}})).await;
    let offer = scheduler.offer().await;
    assert_eq!(offer["allocation_info"]["role"], "b");
    assert_eq!(offer["agent_id"]["value"], agent.id.value);

    scheduler.ok(json!({"type": "SUPPRESS", "suppress": {"roles": ["b"]}})).await;
    scheduler.decline(&offer, 0.0).await;
    // A call that names a role of somebody else's is dropped whole.
    scheduler.ok(json!({"type": "REVIVE", "revive": {"roles": ["a", "c"]}})).await;
    scheduler.ok(json!({"type": "REVIVE", "revive": {"roles": ["a"]}})).await;
    assert_eq!(scheduler.offer().await["allocation_info"]["role"], "a");
    cluster.shutdown().await;
}

#[tokio::test]
async fn one_event_holds_the_offers_of_a_run_and_freed_resources_are_a_second_offer() {
    let cluster = cluster().await;
    let mut first = FakeAgent::register(&cluster).await;
    let _second = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let event = scheduler.next("OFFERS").await;
    let offers = event["offers"]["offers"].as_array().unwrap();
    assert_eq!(offers.len(), 2);

    let offer = offers.iter().find(|offer| offer["agent_id"]["value"] == first.id.value).unwrap();
    scheduler.launch(offer, vec![command_task("t", offer, 1.0)]).await;
    let (framework_id, task, _) = first.run_task().await;
    let rest = scheduler.offer().await;
    assert_eq!(amount(&rest, "cpus"), 7.0);

    // The rest is still held when the task ends: what it frees is offered by itself.
    first.update(&framework_id, &task.task_id, marmoset_proto::mesos::v1::TaskState::TaskFinished);
    scheduler.next("UPDATE").await;
    let freed = scheduler.offer().await;
    assert_eq!(amount(&freed, "cpus"), 1.0);
    assert_eq!(freed["agent_id"], rest["agent_id"]);

    // Both can be accepted together.
    let task = command_task("both", &rest, 8.0);
    scheduler
        .ok(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [rest["id"], freed["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}]}}))
        .await;
    assert_eq!(first.run_task().await.1.name, "both");
    cluster.shutdown().await;
}

#[tokio::test]
async fn two_frameworks_share_by_fairness() {
    let cluster = cluster().await;
    let mut one = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let mut other = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let mut holders = Vec::new();
    for _ in 0..4 {
        let _agent = FakeAgent::register(&cluster).await;
        tokio::select! {
            _ = one.offer() => holders.push(1),
            _ = other.offer() => holders.push(2),
        }
    }
    holders.sort_unstable();
    assert_eq!(holders, [1, 1, 2, 2]);
    cluster.shutdown().await;
}

#[tokio::test]
async fn constraints_and_own_minimums_choose_agents() {
    let cluster = cluster().await;
    let _wrong = FakeAgent::register_with(&cluster, "cpus:1;mem:64", "h1", &[("rack", "r1")]).await;
    let right = FakeAgent::register_with(&cluster, "cpus:1;mem:64", "h2", &[("rack", "r22")]).await;
    let subscribe = |constraints, filters| {
        let mut info = framework();
        info["offer_filters"] = filters;
        json!({"type": "SUBSCRIBE", "subscribe": {
            "framework_info": info, "offer_constraints": {"role_constraints": constraints}}})
    };
    let matches = json!({"*": {"groups": [{"attribute_constraints": [
        {"selector": {"attribute_name": "rack"}, "predicate": {"text_matches": {"regex": "r2+"}}},
        {"selector": {"pseudoattribute_type": "HOSTNAME"},
         "predicate": {"text_not_equals": {"value": "h1"}}},
    ]}]}});
    let mut scheduler =
        Scheduler::open_with(cluster.master_addr(), subscribe(matches.clone(), json!({}))).await;
    assert_eq!(scheduler.offer().await["agent_id"]["value"], right.id.value);
    drop(scheduler);

    // An own minimum that nothing here reaches.
    let huge = json!({"*": {"min_allocatable_resources": {"quantities": [
        {"quantities": {"cpus": {"value": 64.0}}}]}}});
    let mut scheduler =
        Scheduler::open_with(cluster.master_addr(), subscribe(json!({}), huge)).await;
    scheduler.next("HEARTBEAT").await;
    let _big = FakeAgent::register_with(&cluster, "cpus:64;mem:64", "h3", &[]).await;
    assert_eq!(amount(&scheduler.offer().await, "cpus"), 64.0);

    for (constraints, expected) in [
        (json!({"*": {"groups": []}}), "'groups' must not be empty"),
        (json!({"*": {"groups": [{}]}}), "'attribute_constraints' must not be empty"),
        (json!({"x": matches["*"]}), "not contained in the set of roles"),
    ] {
        let call = subscribe(constraints, json!({}));
        let mut scheduler = Scheduler::open_with(cluster.master_addr(), call).await;
        let error = scheduler.event().await.unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn gpus_and_reservations_are_for_those_who_may() {
    let cluster = cluster().await;
    let _gpus = FakeAgent::register_with(&cluster, "cpus:2;mem:64;gpus:1", "g", &[]).await;
    let reserved = "cpus(eng):4;mem(eng):64;cpus:2;mem:64";
    let agent = FakeAgent::register_with(&cluster, reserved, "r", &[]).await;
    let mut star = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = star.offer().await;
    assert_eq!(offer["agent_id"]["value"], agent.id.value);
    assert_eq!(amount(&offer, "cpus"), 2.0);

    let mut info = framework();
    info["roles"] = json!(["eng/web"]);
    let mut below = Scheduler::subscribe(cluster.master_addr(), info.clone()).await;
    let offer = below.offer().await;
    assert_eq!(amount(&offer, "cpus"), 4.0);
    assert_eq!(offer["resources"][0]["role"], "eng");

    info["capabilities"].as_array_mut().unwrap().push(json!({"type": "GPU_RESOURCES"}));
    let mut gpus = Scheduler::subscribe(cluster.master_addr(), info).await;
    assert_eq!(amount(&gpus.offer().await, "gpus"), 1.0);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_reservation_stays_with_its_role() {
    let cluster = cluster().await;
    let _agent = FakeAgent::register_with(&cluster, "cpus:4;mem:1024", "h", &[]).await;
    let mut info = framework();
    info["roles"] = json!(["eng"]);
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), info).await;
    let offer = scheduler.offer().await;
    let reserved = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 3.0},
        "reservations": [{"type": "DYNAMIC", "role": "eng"}]});
    let mut too_much = reserved.clone();
    too_much["scalar"]["value"] = json!(9.0);
    let operations = json!([
        {"type": "RESERVE", "id": {"value": "r"}, "reserve": {"resources": [reserved]}},
        {"type": "RESERVE", "id": {"value": "m"}, "reserve": {"resources": [too_much]}},
        {"type": "CREATE", "id": {"value": "c"}, "create": {"volumes": []}},
    ]);
    scheduler.accept(&offer, operations).await;
    for (id, state) in
        [("r", "OPERATION_FINISHED"), ("m", "OPERATION_ERROR"), ("c", "OPERATION_ERROR")]
    {
        let event = scheduler.expect("UPDATE_OPERATION_STATUS").await;
        let status = &event["update_operation_status"]["status"];
        assert_eq!(status["operation_id"]["value"], id);
        assert_eq!(status["state"], state, "{status}");
        assert!(status.get("uuid").is_none());
    }
    let mut offer = scheduler.offer().await;
    assert_eq!(amount(&offer, "cpus"), 4.0);
    let mut other = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    scheduler.decline(&offer, 1000.0).await;
    offer = other.offer().await;
    assert_eq!(amount(&offer, "cpus"), 1.0, "{offer}");
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_unanswered_offer_is_rescinded_after_the_timeout() {
    let cluster = cluster_with(|master| {
        master.timers.offer_timeout = Some(Duration::from_millis(100));
    })
    .await;
    let _agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let rescind = scheduler.expect("RESCIND").await;
    assert_eq!(rescind["rescind"]["offer_id"], offer["id"]);
    scheduler.offer().await;
    cluster.shutdown().await;
}
