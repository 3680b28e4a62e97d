//! `/state`, its relatives and the metrics, as dashboards read them.

use serde_json::{Value, json};

use crate::support::{FakeAgent, Scheduler, cluster, framework, get, task};

#[tokio::test]
async fn the_state_shows_agents_frameworks_and_tasks() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register_with(
        &cluster,
        "cpus(eng):2;cpus:8;mem:8192;ports:[8000-8100]",
        "agent.example",
        &[("rack", "r1")],
    )
    .await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let mut launched = task("t", &offer, 0.1);
    launched["labels"] = json!({"labels": [{"key": "k", "value": "v"}]});
    scheduler.launch(&offer, vec![launched]).await;
    let (framework_id, info, _) = agent.run_task().await;
    let rest = scheduler.offer().await;
    agent.update(&framework_id, &info.task_id, marmoset_proto::mesos::v1::TaskState::TaskRunning);
    scheduler.status().await;
    let state = get(cluster.master_addr(), "/master/state").await;

    assert_eq!(keys(&state), TOP);
    let slave = &state["slaves"][0];
    for key in SLAVE {
        assert!(slave.get(key).is_some(), "slave.{key}");
    }
    assert_eq!(slave["pid"], format!("slave(1)@{}", agent.addr));
    assert_eq!(slave["attributes"], json!({"rack": "r1"}));
    assert_eq!(
        slave["resources"],
        json!({"disk": 0.0, "mem": 8192.0, "gpus": 0.0, "cpus": 10.0, "ports": "[8000-8100]"})
    );
    assert_eq!(slave["used_resources"]["cpus"], 0.2);
    assert_eq!(slave["offered_resources"]["cpus"], 7.8);
    assert_eq!(slave["reserved_resources"]["eng"]["cpus"], 2.0);
    let framework = &state["frameworks"][0];
    for key in FRAMEWORK {
        assert!(framework.get(key).is_some(), "framework.{key}");
    }
    assert_eq!(framework["offers"][0]["id"], rest["id"]["value"]);
    assert_eq!(framework["capabilities"], json!(["MULTI_ROLE", "PARTITION_AWARE"]));
    assert_eq!(
        framework["tasks"][0],
        json!({
            "id": "t", "name": "t", "framework_id": framework_id.value,
            "executor_id": "resident", "slave_id": agent.id.value, "state": "TASK_RUNNING",
            "resources": {"disk": 0.0, "mem": 16.0, "gpus": 0.0, "cpus": 0.1},
            "role": "*",
            "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0}],
            "labels": [{"key": "k", "value": "v"}],
        })
    );
    assert_eq!(
        framework["executors"][0],
        json!({
            "executor_id": "resident", "name": "", "framework_id": framework_id.value,
            "command": {"shell": true, "value": "exec resident", "argv": [], "uris": []},
            "resources": {"disk": 0.0, "mem": 32.0, "gpus": 0.0, "cpus": 0.1},
            "role": "*", "type": "CUSTOM", "slave_id": agent.id.value,
        })
    );

    let summary = get(cluster.master_addr(), "/state-summary").await;
    assert_eq!(summary["frameworks"][0]["TASK_RUNNING"], 1);
    assert_eq!(summary["slaves"][0]["TASK_RUNNING"], 1);
    let tasks = get(cluster.master_addr(), "/tasks?limit=1").await;
    assert_eq!(tasks["tasks"][0]["id"], "t");
    let slaves = get(cluster.master_addr(), "/slaves").await;
    assert_eq!(slaves["slaves"][0]["id"], agent.id.value);
    let frameworks = get(cluster.master_addr(), "/frameworks").await;
    assert_eq!(frameworks["frameworks"][0]["id"], framework_id.value);
    let flags = get(cluster.master_addr(), "/flags").await;
    assert_eq!(flags["flags"]["allocation_interval"], "50ms");
    assert_eq!(get(cluster.master_addr(), "/version").await["version"], "1.11.0");

    let metrics = get(cluster.master_addr(), "/metrics/snapshot").await;
    for (name, value) in [
        ("master/elected", 1.0),
        ("master/slaves_active", 1.0),
        ("master/frameworks_active", 1.0),
        ("master/tasks_running", 1.0),
        ("master/tasks_staging", 0.0),
        ("master/cpus_total", 10.0),
        ("master/cpus_used", 0.2),
        ("master/cpus_percent", 0.02),
        ("master/mem_total", 8192.0),
        ("master/outstanding_offers", 1.0),
        ("master/valid_status_updates", 1.0),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
    assert!(metrics["master/uptime_secs"].as_f64().unwrap() > 0.0);
    cluster.shutdown().await;
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// As a real master has them, without those that only its own build has.
const TOP: [&str; 22] = [
    "version",
    "build_date",
    "build_time",
    "build_user",
    "start_time",
    "elected_time",
    "id",
    "pid",
    "hostname",
    "capabilities",
    "activated_slaves",
    "deactivated_slaves",
    "unreachable_slaves",
    "leader",
    "leader_info",
    "flags",
    "slaves",
    "recovered_slaves",
    "frameworks",
    "completed_frameworks",
    "orphan_tasks",
    "unregistered_frameworks",
];
const SLAVE: [&str; 18] = [
    "id",
    "hostname",
    "port",
    "attributes",
    "pid",
    "registered_time",
    "resources",
    "used_resources",
    "offered_resources",
    "reserved_resources",
    "unreserved_resources",
    "active",
    "deactivated",
    "version",
    "capabilities",
    "unreserved_resources_full",
    "used_resources_full",
    "offered_resources_full",
];
const FRAMEWORK: [&str; 23] = [
    "id",
    "name",
    "used_resources",
    "offered_resources",
    "capabilities",
    "hostname",
    "webui_url",
    "active",
    "connected",
    "recovered",
    "user",
    "failover_timeout",
    "checkpoint",
    "registered_time",
    "unregistered_time",
    "resources",
    "roles",
    "tasks",
    "unreachable_tasks",
    "completed_tasks",
    "offers",
    "executors",
    "offer_constraints",
];
