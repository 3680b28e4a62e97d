//! ACCEPT: what is launched, what is refused, in which words.

use serde_json::{Value, json};

use crate::support::{
    FakeAgent, Scheduler, amount, cluster, command_task, executor, framework, scalar, task,
};

#[tokio::test]
async fn an_executor_is_charged_once_and_starts_once() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("a", &offer, 1.0), task("b", &offer, 1.0)]).await;
    let (framework_id, first, starts) = agent.run_task().await;
    assert!(starts);
    let executor = first.executor.unwrap();
    assert_eq!(executor.framework_id.unwrap(), framework_id, "filled in");
    for resource in first.resources.iter().chain(&executor.resources) {
        assert_eq!(resource.allocation_info.as_ref().unwrap().role(), "*");
        assert_eq!(resource.role, None);
    }
    assert!(!agent.run_task().await.2);

    let rest = scheduler.offer().await;
    assert_eq!(amount(&rest, "cpus"), 5.9);
    assert_eq!(amount(&rest, "mem"), 8192.0 - 2.0 * 16.0 - 32.0);
    assert_eq!(rest["executor_ids"], json!([{"value": "resident"}]));
    scheduler.launch(&rest, vec![task("c", &rest, 1.0)]).await;
    assert!(!agent.run_task().await.2);
    assert_eq!(amount(&scheduler.offer().await, "cpus"), 4.9);

    // When the executor is gone the next task starts it again.
    agent.executor_exited(&framework_id, 9);
    let failure = scheduler.next("FAILURE").await;
    assert_eq!(
        failure["failure"],
        json!({"agent_id": {"value": agent.id.value}, "executor_id": {"value": "resident"},
               "status": 9})
    );
    let freed = scheduler.offer().await;
    assert_eq!(amount(&freed, "cpus"), 0.1);
    cluster.shutdown().await;
}

/// The refusals of the recording, in its order, with its texts.
#[tokio::test]
async fn invalid_tasks_are_refused_in_mesos_words() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let ordinary = |id: &str| {
        let mut task = task(id, &offer, 0.1);
        task["executor"]["framework_id"] = scheduler.id.clone();
        task
    };
    let with = |id: &str, field: &str, value: Value| {
        let mut task = ordinary(id);
        task[field] = value;
        task
    };
    let mut other_executor = executor();
    other_executor["resources"][0] = scalar("cpus", 0.2);
    other_executor["framework_id"] = scheduler.id.clone();
    let mut no_value = command_task("env", &offer, 0.1);
    no_value["command"]["environment"] = json!({"variables": [{"name": "A"}]});
    let mut elsewhere = ordinary("elsewhere");
    elsewhere["agent_id"] = json!({"value": "S9"});
    let master = offer["id"]["value"].as_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
    let cases = vec![
        (ordinary("dup"), "Task has duplicate ID: dup".to_owned()),
        (ordinary("a/b"), "'a/b' contains invalid characters".to_owned()),
        (ordinary(""), "ID must not be empty".to_owned()),
        (ordinary(".."), "'..' is disallowed".to_owned()),
        (ordinary(&"x".repeat(256)), "ID must not be greater than 255 characters".to_owned()),
        (
            with("both", "command", json!({"value": "true"})),
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                .to_owned(),
        ),
        (with("nores", "resources", json!([])), "Task uses no resources".to_owned()),
        (
            with("toomuch", "resources", json!([scalar("cpus", 1000.0), scalar("mem", 16.0)])),
            "Total resources cpus(allocated: *):1000; mem(allocated: *):16 required by task and \
             its executor is more than available ports(allocated: *):[8000-8100]; \
             cpus(allocated: *):7.8; mem(allocated: *):8144; disk(allocated: *):10000"
                .to_owned(),
        ),
        (with("badexec", "executor", other_executor), incompatible(&master)),
        (
            elsewhere,
            format!("Task uses invalid agent S9 while agent {} is expected", agent.id),
        ),
        (
            with("grace", "kill_policy", json!({"grace_period": {"nanoseconds": -1}})),
            "Task's 'kill_policy.grace_period' must be non-negative".to_owned(),
        ),
        (
            with("check", "check", json!({"type": "HTTP", "http": {"port": 1, "path": "x"}})),
            "Task uses invalid check: The path 'x' of HTTP check must start with '/'".to_owned(),
        ),
        (
            with("health", "health_check", json!({"type": "COMMAND"})),
            "Task uses invalid health check: Expecting 'command' to be set for COMMAND health check"
                .to_owned(),
        ),
        (
            no_value,
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have \
             a value set"
                .to_owned(),
        ),
        (
            with("limits", "limits", json!({"cpus": {"value": 0.05}})),
            "The cpu limit must be greater than or equal to the cpu request".to_owned(),
        ),
        (
            with("docker", "container", json!({"type": "DOCKER"})),
            "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed \
             ContainerInfo"
                .to_owned(),
        ),
    ];
    let mut tasks = vec![ordinary("dup")];
    tasks.extend(cases.iter().map(|(task, _)| task.clone()));
    scheduler.launch(&offer, tasks).await;
    for (task, expected) in cases {
        let status = scheduler.expect("UPDATE").await["update"]["status"].clone();
        let id = &task["task_id"];
        assert_eq!(&status["task_id"], id);
        assert_eq!(status["message"], expected, "{id}");
        assert_eq!(status["state"], "TASK_ERROR", "{id}");
        assert_eq!(status["source"], "SOURCE_MASTER");
        assert_eq!(status["reason"], "REASON_TASK_INVALID");
        assert!(status.get("uuid").is_none());
    }
    assert_eq!(agent.run_task().await.1.task_id.value, "dup");
    assert!(agent.is_idle());
    assert_eq!(amount(&scheduler.offer().await, "cpus"), 7.8);
    cluster.shutdown().await;
}

fn incompatible(master: &str) -> String {
    let line = "-".repeat(60);
    let info = |cpus: &str| {
        format!(
            "executor_id {{\n  value: \"resident\"\n}}\nresources {{\n  name: \"cpus\"\n  type: \
             SCALAR\n  scalar {{\n    value: {cpus}\n  }}\n  allocation_info {{\n    role: \
             \"*\"\n  }}\n}}\nresources {{\n  name: \"mem\"\n  type: SCALAR\n  scalar {{\n    \
             value: 32\n  }}\n  allocation_info {{\n    role: \"*\"\n  }}\n}}\ncommand {{\n  \
             value: \"exec resident\"\n  shell: true\n}}\nframework_id {{\n  value: \
             \"{master}-0000\"\n}}\ntype: CUSTOM\n"
        )
    };
    format!(
        "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n{line}\n\
         Existing ExecutorInfo:\n{}\n{line}\nExecutorInfo:\n{}\n{line}\n",
        info("0.1"),
        info("0.2")
    )
}

#[tokio::test]
async fn the_same_executor_may_differ_in_what_does_not_matter() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let variables = |names: [&str; 2]| json!({"variables": names.map(|name| json!({"name": name, "value": "1"}))});
    let mut first = task("a", &offer, 0.1);
    first["executor"]["command"]["environment"] = variables(["A", "B"]);
    let mut second = task("b", &offer, 0.1);
    second["executor"]["command"]["environment"] = variables(["B", "A"]);
    second["executor"]["labels"] = json!({"labels": [{"key": "k"}]});
    second["executor"]["resources"] = json!([scalar("mem", 32.0), scalar("cpus", 0.1)]);
    scheduler.launch(&offer, vec![first, second]).await;
    agent.run_task().await;
    agent.run_task().await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn offers_that_are_no_longer_there_drop_their_tasks() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    for (aware, state) in [(true, "TASK_DROPPED"), (false, "TASK_LOST")] {
        let mut info = framework();
        if !aware {
            info["capabilities"] = json!([{"type": "MULTI_ROLE"}]);
        }
        let mut scheduler = Scheduler::subscribe(cluster.master_addr(), info).await;
        let offer = scheduler.offer().await;
        scheduler.launch(&offer, vec![command_task("t", &offer, 0.1)]).await;
        agent.run_task().await;
        scheduler.launch(&offer, vec![command_task("used", &offer, 0.1)]).await;
        let status = scheduler.status().await;
        let id = offer["id"]["value"].as_str().unwrap();
        assert_eq!(status["task_id"]["value"], "used");
        assert_eq!(status["state"], state);
        assert_eq!(status["reason"], "REASON_INVALID_OFFERS");
        assert_eq!(
            status["message"],
            format!("Task launched with invalid offers: Offer {id} is no longer valid")
        );
        assert!(status.get("uuid").is_none());

        // None at all, and one twice; that one is given back at once.
        let offers = json!([]);
        let task = command_task("none", &offer, 0.1);
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
        let accept = |offers: Value| json!({"type": "ACCEPT", "accept": {"offer_ids": offers, "operations": launch}});
        scheduler.ok(accept(offers)).await;
        let message = scheduler.status().await["message"].clone();
        assert_eq!(message, "Task launched with invalid offers: No offers specified");
        scheduler.ok(json!({"type": "REVIVE"})).await;
        let rest = scheduler.offer().await;
        scheduler.ok(accept(json!([rest["id"], rest["id"]]))).await;
        let message = scheduler.status().await["message"].clone();
        let twice = rest["id"]["value"].as_str().unwrap();
        assert_eq!(
            message,
            format!("Task launched with invalid offers: Duplicate offer {twice} in offer list")
        );
        let again = scheduler.offer().await;
        assert_eq!(again["resources"], rest["resources"]);
        scheduler.ok(json!({"type": "TEARDOWN"})).await;
        assert!(agent.message().await.is_some());
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_group_is_launched_whole_or_not_at_all() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let mut info = executor();
    info["framework_id"] = scheduler.id.clone();
    info["resources"].as_array_mut().unwrap().push(scalar("disk", 32.0));
    let group = |executor: &Value, tasks: Vec<Value>| {
        json!([{"type": "LAUNCH_GROUP",
                "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}}])
    };
    let without = |field: &str| {
        let mut info = info.clone();
        info.as_object_mut().unwrap().remove(field);
        info
    };
    let mut small = info.clone();
    small["resources"][1] = scalar("mem", 16.0);
    let mut diskless = info.clone();
    diskless["resources"].as_array_mut().unwrap().pop();
    for (executor, second, expected) in [
        (without("type"), "g2", "'ExecutorInfo.type' must be set"),
        (without("framework_id"), "g2", "'ExecutorInfo.framework_id' must be set"),
        (
            small,
            "g2",
            "Executor 'resident' uses less memory (16MB) than the minimum required (32MB)",
        ),
        (diskless, "g2", "Executor 'resident' uses no disk"),
        (info.clone(), "g/2", "Task 'g/2' is invalid: 'g/2' contains invalid characters"),
    ] {
        let offer = scheduler.offer().await;
        let tasks = vec![command_task("g1", &offer, 0.1), command_task(second, &offer, 0.1)]
            .into_iter()
            .collect();
        scheduler.accept(&offer, group(&executor, tasks)).await;
        for id in ["g1", second] {
            let status = scheduler.status().await;
            assert_eq!(status["task_id"]["value"], id);
            assert_eq!(status["message"], expected);
            assert_eq!(status["state"], "TASK_ERROR");
            assert_eq!(status["reason"], "REASON_TASK_GROUP_INVALID");
        }
    }
    assert!(agent.is_idle());

    let offer = scheduler.offer().await;
    let tasks = vec![command_task("g1", &offer, 0.1), command_task("g2", &offer, 0.1)];
    scheduler.accept(&offer, group(&info, tasks)).await;
    match agent.message().await {
        Some(marmoset_mini::link::ToAgent::RunTaskGroup { group, launch_executor, .. }) => {
            assert!(launch_executor);
            assert_eq!(group.tasks.len(), 2);
            for task in group.tasks {
                assert_eq!(task.executor.unwrap().executor_id.value, "resident", "filled in");
            }
        }
        other => panic!("{other:?}"),
    }
    let rest = scheduler.offer().await;
    assert_eq!(amount(&rest, "cpus"), 7.7);
    assert_eq!(amount(&rest, "disk"), 9968.0);
    cluster.shutdown().await;
}

#[tokio::test]
async fn ports_are_taken_and_come_back_apart() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let tasks = (8000..=8005)
        .map(|port| {
            let mut task = command_task(&port.to_string(), &offer, 0.1);
            task["resources"].as_array_mut().unwrap().push(json!({
                "name": "ports", "type": "RANGES",
                "ranges": {"range": [{"begin": port, "end": port}]}}));
            task
        })
        .collect();
    scheduler.launch(&offer, tasks).await;
    let ports = |offer: &Value| offer["resources"][0]["ranges"]["range"].clone();
    let rest = scheduler.offer().await;
    assert_eq!(ports(&rest), json!([{"begin": 8006, "end": 8100}]));
    scheduler.decline(&rest, 1000.0).await;
    for _ in 0..6 {
        let (framework_id, task, _) = agent.run_task().await;
        if task.name == "8003" {
            let state = marmoset_proto::mesos::v1::TaskState::TaskFinished;
            agent.update(&framework_id, &task.task_id, state);
        }
    }
    let more = scheduler.offer().await;
    assert_eq!(ports(&more), json!([{"begin": 8003, "end": 8003}, {"begin": 8006, "end": 8100}]));
    cluster.shutdown().await;
}
