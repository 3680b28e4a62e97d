use marmoset_proto::mesos::v1::{
    CommandInfo, ContainerInfo, DurationInfo, TaskGroupInfo, TaskId, TaskStatus, container_info,
    executor::event,
    framework_info::{Capability, capability},
    task_status::Source,
};
use proptest::prelude::*;

use super::*;
use crate::agent::launch::EXECUTOR_TERMINATED;

/// A core under test, with a clock that jumps and actions in words.
struct Bench {
    core: Core,
    now: Now,
    start: Instant,
    /// Updates the master was given, oldest first.
    updates: Vec<(FrameworkId, TaskStatus)>,
    containers: Vec<Container>,
    streams: u64,
    uuids: u8,
}

const F: &str = "f";

impl Bench {
    fn new() -> Self {
        let settings = Settings {
            addr: "10.0.0.7:5051".parse().unwrap(),
            work_dir: "/w".into(),
            registration_timeout: Duration::from_secs(60),
            reregistration_timeout: Duration::from_secs(2),
            shutdown_grace: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(900),
            heartbeat: Duration::from_secs(1800),
            boot_pause: Duration::from_millis(100),
            retry: Retry { first: Duration::from_secs(10), longest: Duration::from_secs(600) },
            command_executor: CommandLine { program: "/cx".into(), arguments: Vec::new() },
            containerizers: vec![Containerizer::Docker, Containerizer::Mesos],
            docker: DockerConfig::default(),
        };
        let start = Instant::now();
        let mut bench = Self {
            core: Core::new(settings, AgentInfo::default(), 1),
            now: Now { instant: start, epoch: 100.0 },
            start,
            updates: Vec::new(),
            containers: Vec::new(),
            streams: 0,
            uuids: 0,
        };
        bench.input(Input::Started);
        assert_eq!(bench.actions(), ["register"]);
        bench.master(ToAgent::Registered { agent_id: "S0".into() });
        assert_eq!(bench.actions(), [""; 0]);
        bench
    }

    /// With executor `e` running on stream 1 and one task, `a`, delivered.
    fn running() -> Self {
        let mut bench = Self::new();
        bench.run("a", true);
        bench.actions();
        bench.started();
        bench.subscribe().unwrap();
        assert_eq!(bench.actions(), ["1: SUBSCRIBED", "1: LAUNCH a"]);
        bench
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now, input);
    }

    fn master(&mut self, message: ToAgent) {
        self.input(Input::Master(Box::new(message)));
    }

    fn run(&mut self, task: &str, launch_executor: bool) {
        let framework = framework(F, true, false);
        self.master(ToAgent::RunTask { framework, task: self::task(task), launch_executor });
    }

    fn kill(&mut self, task: &str) {
        self.master(ToAgent::KillTask {
            framework_id: F.into(),
            task_id: task.into(),
            kill_policy: None,
        });
    }

    fn container(&self) -> Container {
        self.containers.last().unwrap().clone()
    }

    fn started(&mut self) {
        let container = self.container();
        self.input(Input::ContainerStarted { container, pid: 77 });
    }

    fn exited(&mut self, status: i32) {
        let container = self.container();
        self.input(Input::ContainerExited { container, status, message: EXECUTOR_TERMINATED });
    }

    fn subscribe(&mut self) -> Result<(), Refusal> {
        self.subscribe_with(&[], vec![])
    }

    fn subscribe_with(&mut self, tasks: &[&str], updates: Vec<TaskStatus>) -> Result<(), Refusal> {
        self.streams += 1;
        self.core.subscribe(
            self.now,
            StreamId(self.streams),
            Subscription {
                framework: F.into(),
                executor: "e".into(),
                tasks: tasks.iter().map(|id| task(id)).collect(),
                updates,
            },
        )
    }

    fn status(&mut self, task: &str, state: TaskState) -> TaskStatus {
        self.uuids += 1;
        TaskStatus {
            task_id: task.into(),
            state: state.into(),
            source: Some(Source::Executor.into()),
            uuid: Some(Bytes::from(vec![self.uuids; 16])),
            ..TaskStatus::default()
        }
    }

    fn update(&mut self, task: &str, state: TaskState) -> Result<(), Refusal> {
        let status = self.status(task, state);
        self.core.update(self.now, &F.into(), &"e".into(), status)
    }

    /// The scheduler acknowledges everything the master was given.
    fn acknowledge_all(&mut self) {
        for (framework_id, status) in std::mem::take(&mut self.updates) {
            let uuid = status.uuid.unwrap();
            self.master(ToAgent::Acknowledge { framework_id, task_id: status.task_id, uuid });
        }
    }

    /// Lets time pass until something is due; yields when that was, in milliseconds.
    fn wait(&mut self) -> u128 {
        self.now.instant = self.core.poll_wake().unwrap();
        self.input(Input::Wake);
        (self.now.instant - self.start).as_millis()
    }

    fn actions(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(action) = self.core.poll_action() {
            words.push(self.tell(action));
        }
        words
    }

    fn tell(&mut self, action: Action) -> String {
        match action {
            Action::Register(_) => "register".to_owned(),
            Action::Reregister(inventory) => {
                let mut tasks: Vec<String> = inventory
                    .tasks
                    .iter()
                    .map(|(_, task, state)| format!("{} {}", task.task_id, state.as_str_name()))
                    .collect();
                tasks.sort();
                let executors = inventory.executors.len();
                format!("reregister executors={executors} tasks={tasks:?}")
            }
            Action::Send(StreamId(stream), event) => {
                let kind = event.r#type();
                let what = match kind {
                    event::Type::Launch => format!(" {}", event.launch.unwrap().task.task_id),
                    event::Type::LaunchGroup => {
                        let tasks = event.launch_group.unwrap().task_group.tasks;
                        tasks.iter().map(|task| format!(" {}", task.task_id)).collect()
                    }
                    event::Type::Kill => format!(" {}", event.kill.unwrap().task_id),
                    event::Type::Acknowledged => {
                        let acknowledged = event.acknowledged.unwrap();
                        format!(" {} #{}", acknowledged.task_id, acknowledged.uuid[0])
                    }
                    event::Type::Unknown
                    | event::Type::Subscribed
                    | event::Type::Message
                    | event::Type::Error
                    | event::Type::Shutdown
                    | event::Type::Heartbeat => String::new(),
                };
                format!("{stream}: {}{what}", kind.as_str_name())
            }
            Action::Close(StreamId(stream)) => format!("{stream}: close"),
            Action::Launch(launch) => {
                self.containers.push(launch.container.clone());
                "launch".to_owned()
            }
            Action::Destroy(container) => {
                assert!(self.containers.contains(&container));
                "destroy".to_owned()
            }
            Action::Resize(container, amounts) => {
                assert!(self.containers.contains(&container));
                let mem = amounts.resources.iter().filter(|resource| resource.name == "mem");
                let mem = mem.filter_map(|resource| resource.scalar.as_ref());
                format!("resize mem={}", mem.fold(0.0, |sum, scalar| sum + scalar.value))
            }
            Action::Abandon(container) => {
                assert!(self.containers.contains(&container));
                "abandon".to_owned()
            }
            Action::ToMaster(ToMaster::StatusUpdate {
                framework_id,
                status,
                latest_state,
                executor_id,
                ..
            }) => {
                let mut told = format!("update {} {}", status.task_id, short(status.state()));
                if latest_state != status.state() {
                    told += &format!(" (latest {})", short(latest_state));
                }
                if executor_id.is_none() {
                    told += " (no executor)";
                }
                if status.reason.is_some() {
                    told += &format!(" {}", status.reason().as_str_name());
                }
                if let Some(message) = &status.message {
                    told += &format!(" '{message}'");
                }
                if !self.updates.iter().any(|(_, known)| known.uuid == status.uuid) {
                    self.updates.push((framework_id, *status));
                }
                told
            }
            Action::ToMaster(ToMaster::ExitedExecutor { executor_id, status, .. }) => {
                format!("exited {executor_id} {status}")
            }
            Action::ToMaster(ToMaster::Message { data, .. }) => format!("message {data:?}"),
            Action::ToMaster(ToMaster::Disconnected { .. }) => "disconnected".to_owned(),
            Action::ToMaster(other) => panic!("{other:?}"),
        }
    }
}

fn short(state: TaskState) -> &'static str {
    state.as_str_name().strip_prefix("TASK_").unwrap()
}

fn framework(id: &str, partition_aware: bool, checkpoint: bool) -> FrameworkInfo {
    let aware = Capability { r#type: Some(capability::Type::PartitionAware.into()) };
    FrameworkInfo {
        id: Some(id.into()),
        checkpoint: Some(checkpoint),
        capabilities: partition_aware.then_some(aware).into_iter().collect(),
        ..FrameworkInfo::default()
    }
}

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        executor_id: "e".into(),
        command: Some(CommandInfo::default()),
        ..ExecutorInfo::default()
    }
}

fn task(id: &str) -> TaskInfo {
    TaskInfo { task_id: id.into(), executor: Some(executor()), ..TaskInfo::default() }
}

fn group(ids: &[&str]) -> TaskGroupInfo {
    TaskGroupInfo { tasks: ids.iter().map(|id| task(id)).collect() }
}

#[test]
fn two_tasks_share_one_process_and_are_delivered_in_order() {
    let mut bench = Bench::new();
    bench.run("a", true);
    assert_eq!(bench.actions(), ["launch"]);
    bench.run("b", false);
    let run = ToAgent::RunTaskGroup {
        framework: framework(F, true, false),
        executor: executor(),
        group: group(&["g", "h"]),
        launch_executor: false,
    };
    bench.master(run);
    bench.run("c", false);
    assert_eq!(bench.actions(), [""; 0]);
    bench.subscribe().unwrap();
    assert_eq!(
        bench.actions(),
        ["1: SUBSCRIBED", "1: LAUNCH a", "1: LAUNCH b", "1: LAUNCH c", "1: LAUNCH_GROUP g h"]
    );
    bench.run("d", false);
    assert_eq!(bench.actions(), ["1: LAUNCH d"]);
}

#[test]
fn master_and_agent_must_agree_on_who_starts_the_executor() {
    let mut bench = Bench::new();
    bench.run("a", false);
    assert_eq!(
        bench.actions(),
        [
            "update a DROPPED (no executor) REASON_EXECUTOR_TERMINATED 'No executor is expected to launch and there is none running'"
        ]
    );
    let mut bench = Bench::running();
    bench.run("b", true);
    assert_eq!(
        bench.actions(),
        [
            "update b DROPPED (no executor) REASON_EXECUTOR_TERMINATED 'Master wants to launch executor, but one already exists'",
            "1: SHUTDOWN",
        ]
    );
}

#[test]
fn an_ended_executor_is_not_used_again_before_its_updates_are_acknowledged() {
    let mut bench = Bench::running();
    bench.exited(9);
    assert_eq!(
        bench.actions(),
        [
            "1: close",
            "exited e 9",
            "update a FAILED REASON_EXECUTOR_TERMINATED 'Executor terminated'"
        ]
    );
    bench.run("b", false);
    assert_eq!(
        bench.actions(),
        ["update b DROPPED (no executor) REASON_EXECUTOR_TERMINATED 'Executor terminated'"]
    );
    bench.run("c", true);
    assert_eq!(
        bench.actions(),
        [
            "update c DROPPED (no executor) REASON_EXECUTOR_TERMINATED 'Master wants to launch executor, but one already exists'",
            "exited e -1",
        ]
    );
    bench.acknowledge_all();
    bench.run("d", true);
    assert_eq!(bench.actions(), ["launch"]);
}

#[test]
fn what_is_killed_before_delivery_never_arrives() {
    let mut bench = Bench::new();
    bench.run("a", true);
    bench.actions();
    bench.kill("a");
    let killed = "REASON_TASK_KILLED_DURING_LAUNCH 'Killed before delivery to the executor'";
    assert_eq!(bench.actions(), [format!("update a KILLED {killed}")]);
    bench.subscribe().unwrap();
    assert_eq!(bench.actions(), ["1: SHUTDOWN"], "it never had a task");

    let mut bench = Bench::new();
    let run = ToAgent::RunTaskGroup {
        framework: framework(F, true, false),
        executor: executor(),
        group: group(&["g", "h"]),
        launch_executor: true,
    };
    bench.master(run);
    bench.run("b", false);
    bench.actions();
    bench.kill("h");
    let killed = "REASON_TASK_KILLED_DURING_LAUNCH 'A task within the task group was killed before delivery to the executor'";
    assert_eq!(
        bench.actions(),
        [format!("update g KILLED {killed}"), format!("update h KILLED {killed}")]
    );
    bench.subscribe().unwrap();
    assert_eq!(bench.actions(), ["1: SUBSCRIBED", "1: LAUNCH b"]);
}

#[test]
fn kills_are_forwarded_ignored_or_answered() {
    let mut bench = Bench::running();
    bench.kill("a");
    bench.kill("a");
    assert_eq!(bench.actions(), ["1: KILL a", "1: KILL a"]);
    bench.kill("nope");
    assert_eq!(
        bench.actions(),
        ["update nope DROPPED (no executor) REASON_EXECUTOR_TERMINATED 'Cannot find executor'"]
    );
    let shutdown = ToAgent::ShutdownExecutor { framework_id: F.into(), executor_id: "e".into() };
    bench.master(shutdown);
    bench.actions();
    bench.kill("a");
    assert_eq!(bench.actions(), [""; 0], "its executor ends anyway");
}

#[test]
fn updates_are_passed_on_one_at_a_time_and_acknowledged_to_the_executor() {
    let mut bench = Bench::running();
    bench.update("a", TaskState::TaskStarting).unwrap();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.update("a", TaskState::TaskFinished).unwrap();
    assert_eq!(
        bench.actions(),
        [
            "update a STARTING",
            "1: ACKNOWLEDGED a #1",
            "1: ACKNOWLEDGED a #2",
            "1: ACKNOWLEDGED a #3"
        ]
    );
    bench.acknowledge_all();
    assert_eq!(bench.actions(), ["update a RUNNING (latest FINISHED)"]);
    bench.acknowledge_all();
    assert_eq!(bench.actions(), ["update a FINISHED"]);
    assert_eq!(bench.wait(), 10_000);
    assert_eq!(bench.actions(), ["update a FINISHED"], "again");
    assert_eq!(bench.wait(), 30_000);
    bench.actions();
    bench.acknowledge_all();
    assert_eq!(bench.actions(), [""; 0]);
    let framework = bench.core.frameworks().next().unwrap();
    let executor = &framework.executors[&"e".into()];
    assert_eq!(executor.completed.len(), 1);
    assert!(framework.owners.is_empty() && executor.terminated.is_empty());
}

#[test]
fn the_agent_adds_what_it_knows_of_the_container() {
    let mut bench = Bench::running();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.actions();
    let (_, status) = bench.updates.pop().unwrap();
    assert_eq!(status.agent_id, Some("S0".into()));
    assert_eq!(status.executor_id, None);
    assert_eq!(status.timestamp, Some(100.0));
    let container = status.container_status.unwrap();
    assert_eq!(container.container_id.unwrap().value, bench.container().0);
    assert_eq!(container.executor_pid, Some(77));
    let address = &container.network_infos[0].ip_addresses[0];
    assert_eq!(address.ip_address.as_deref(), Some("10.0.0.7"));
}

#[test]
fn updates_that_do_not_count_are_dropped_or_only_acknowledged() {
    let mut bench = Bench::running();
    // For another agent: not a word.
    let foreign = bench.status("a", TaskState::TaskRunning);
    let foreign = TaskStatus { agent_id: Some("S9".into()), ..foreign };
    bench.core.update(bench.now, &F.into(), &"e".into(), foreign).unwrap();
    assert_eq!(bench.actions(), [""; 0]);
    // The same update twice: acknowledged twice, passed on once.
    let twice = bench.status("a", TaskState::TaskRunning);
    for _ in 0..2 {
        bench.core.update(bench.now, &F.into(), &"e".into(), twice.clone()).unwrap();
    }
    assert_eq!(
        bench.actions(),
        ["update a RUNNING", "1: ACKNOWLEDGED a #2", "1: ACKNOWLEDGED a #2"]
    );
    // Of a task nobody has: passed on, never acknowledged.
    bench.update("stranger", TaskState::TaskRunning).unwrap();
    assert_eq!(bench.actions(), ["update stranger RUNNING (no executor)"]);
    // After the end: acknowledged only.
    bench.update("a", TaskState::TaskFinished).unwrap();
    bench.actions();
    bench.update("a", TaskState::TaskFailed).unwrap();
    assert_eq!(bench.actions(), ["1: ACKNOWLEDGED a #5"]);
}

#[test]
fn calls_are_refused_in_the_order_of_the_endpoint() {
    let mut bench = Bench::new();
    assert_eq!(bench.update("a", TaskState::TaskRunning), Err(Refusal::UnknownFramework));
    assert_eq!(bench.subscribe(), Err(Refusal::UnknownFramework));
    bench.run("a", true);
    assert_eq!(bench.update("a", TaskState::TaskRunning), Err(Refusal::NotSubscribed));
    let status = bench.status("a", TaskState::TaskRunning);
    let other = bench.core.update(bench.now, &F.into(), &"other".into(), status);
    assert_eq!(other, Err(Refusal::UnknownExecutor));
}

#[test]
fn the_end_of_the_executor_is_the_end_of_its_tasks_whatever_it_exits_with() {
    for status in [0, 9, 256] {
        let mut bench = Bench::running();
        bench.run("b", false);
        bench.update("a", TaskState::TaskFinished).unwrap();
        bench.actions();
        bench.exited(status);
        assert_eq!(
            bench.actions(),
            [
                "1: close".to_owned(),
                format!("exited e {status}"),
                "update b FAILED REASON_EXECUTOR_TERMINATED 'Executor terminated'".to_owned(),
            ],
            "what it told of `a` stands"
        );
    }
}

#[test]
fn an_executor_that_does_not_subscribe_is_killed() {
    let mut bench = Bench::new();
    bench.run("a", true);
    bench.actions();
    assert_eq!(bench.wait(), 60_000);
    assert_eq!(bench.actions(), ["destroy"]);
    bench.exited(9);
    assert_eq!(
        bench.actions(),
        [
            "exited e 9",
            "update a FAILED REASON_EXECUTOR_REGISTRATION_TIMEOUT 'Executor did not register within 1mins'"
        ]
    );
}

#[test]
fn an_executor_that_cannot_be_started_is_told_of() {
    let mut bench = Bench::new();
    bench.run("a", true);
    bench.actions();
    let container = bench.container();
    bench.input(Input::LaunchFailed { container, message: "no disk".to_owned() });
    assert_eq!(
        bench.actions(),
        [
            "exited e -1",
            "update a FAILED REASON_CONTAINER_LAUNCH_FAILED 'Failed to launch container: no disk'"
        ]
    );
}

#[test]
fn a_shutdown_has_a_grace_period_of_the_executors_own() {
    for (own, expected) in [(None, 5_000), (Some(7), 7_000)] {
        let mut bench = Bench::new();
        let mut task = task("a");
        task.executor.as_mut().unwrap().shutdown_grace_period =
            own.map(|seconds| DurationInfo { nanoseconds: seconds * 1_000_000_000 });
        let framework = framework(F, true, false);
        bench.master(ToAgent::RunTask { framework, task, launch_executor: true });
        bench.actions();
        bench.subscribe().unwrap();
        bench.actions();
        let shutdown =
            ToAgent::ShutdownExecutor { framework_id: F.into(), executor_id: "e".into() };
        bench.master(shutdown);
        assert_eq!(bench.actions(), ["1: SHUTDOWN"]);
        bench.update("a", TaskState::TaskKilled).unwrap();
        assert_eq!(bench.actions(), ["update a KILLED", "1: ACKNOWLEDGED a #1"]);
        bench.acknowledge_all();
        assert_eq!(bench.wait(), expected);
        assert_eq!(bench.actions(), ["destroy"]);
        bench.exited(9);
        assert_eq!(bench.actions(), ["1: close", "exited e 9"]);
        assert_eq!(bench.core.frameworks().count(), 0);
        assert_eq!(bench.core.completed_frameworks().count(), 1);
    }
}

#[test]
fn a_removed_framework_is_not_told_anything_any_more() {
    let mut bench = Bench::running();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.actions();
    bench.master(ToAgent::ShutdownFramework { framework_id: F.into() });
    assert_eq!(bench.actions(), ["1: SHUTDOWN"]);
    bench.update("a", TaskState::TaskKilled).unwrap();
    bench.run("b", false);
    assert_eq!(bench.actions(), [""; 0]);
    bench.exited(0);
    assert_eq!(bench.actions(), ["1: close", "exited e 0"]);
    assert_eq!(bench.core.frameworks().count(), 0);
    assert_eq!(bench.core.poll_wake(), None);
}

#[test]
fn a_task_lost_with_a_stream_is_told_of_at_the_next_subscription() {
    for (aware, state) in [(true, "DROPPED"), (false, "LOST")] {
        let mut bench = Bench::new();
        for (id, launch_executor) in [("a", true), ("b", false), ("c", false)] {
            let framework = framework(F, aware, false);
            bench.master(ToAgent::RunTask { framework, task: task(id), launch_executor });
        }
        bench.actions();
        bench.subscribe().unwrap();
        bench.actions();
        bench.update("c", TaskState::TaskRunning).unwrap();
        bench.actions();
        let running = bench.status("b", TaskState::TaskRunning);
        bench.subscribe_with(&["b"], vec![running]).unwrap();
        assert_eq!(
            bench.actions(),
            [
                "1: close".to_owned(),
                "update b RUNNING".to_owned(),
                "2: ACKNOWLEDGED b #2".to_owned(),
                format!(
                    "update a {state} REASON_AGENT_RESTARTED 'Task launched during agent restart'"
                ),
                "2: SUBSCRIBED".to_owned(),
            ]
        );
    }
}

#[test]
fn messages_travel_both_ways_while_the_executor_runs() {
    let mut bench = Bench::new();
    let message = || ToAgent::Message {
        framework_id: F.into(),
        executor_id: "e".into(),
        data: Bytes::from_static(b"x"),
    };
    bench.run("a", true);
    bench.actions();
    bench.master(message());
    assert_eq!(bench.actions(), [""; 0], "nobody is there yet");
    bench.subscribe().unwrap();
    bench.actions();
    bench.master(message());
    bench.core.message(&F.into(), &"e".into(), Bytes::from_static(b"y")).unwrap();
    assert_eq!(bench.actions(), ["1: MESSAGE", "message b\"y\""]);
}

#[test]
fn heartbeats_come_at_their_interval() {
    let mut bench = Bench::running();
    assert_eq!(bench.wait(), 1_800_000);
    assert_eq!(bench.actions(), ["1: HEARTBEAT"]);
    assert_eq!(bench.wait(), 3_600_000);
    assert_eq!(bench.actions(), ["1: HEARTBEAT"]);
}

#[test]
fn a_command_task_gets_an_executor_the_master_never_hears_of() {
    let mut bench = Bench::new();
    let command = CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() };
    let task = TaskInfo { task_id: "e".into(), command: Some(command), ..TaskInfo::default() };
    let framework = framework(F, true, false);
    bench.master(ToAgent::RunTask { framework, task, launch_executor: false });
    assert_eq!(bench.actions(), ["launch"]);
    bench.subscribe().unwrap();
    bench.actions();
    bench.exited(9);
    assert_eq!(
        bench.actions(),
        [
            "1: close",
            "update e FAILED (no executor) REASON_EXECUTOR_TERMINATED 'Executor terminated'"
        ]
    );
}

fn checkpointing() -> Bench {
    let mut bench = Bench::new();
    let framework = framework(F, true, true);
    for (id, launch_executor) in [("a", true), ("b", false)] {
        let framework = framework.clone();
        bench.master(ToAgent::RunTask { framework, task: task(id), launch_executor });
    }
    bench.actions();
    bench.subscribe().unwrap();
    bench.actions();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.actions();
    bench.input(Input::Stop);
    assert_eq!(bench.actions(), ["disconnected"]);
    bench
}

#[test]
fn an_executor_that_comes_back_to_a_restarted_agent_goes_on() {
    let mut bench = checkpointing();
    assert_eq!(bench.subscribe(), Err(Refusal::Recovering));
    bench.input(Input::Start);
    assert!(bench.core.is_booting());
    assert_eq!(bench.wait(), 100);
    assert!(!bench.core.is_booting());
    assert_eq!(bench.update("a", TaskState::TaskRunning), Err(Refusal::Recovering));
    bench.subscribe_with(&["b"], vec![]).unwrap();
    assert_eq!(bench.actions(), ["3: SUBSCRIBED"]);
    assert_eq!(bench.update("a", TaskState::TaskRunning), Err(Refusal::Recovering));
    assert_eq!(bench.wait(), 2_100);
    assert_eq!(
        bench.actions(),
        [r#"reregister executors=1 tasks=["a TASK_RUNNING", "b TASK_STAGING"]"#]
    );
    bench.update("b", TaskState::TaskRunning).unwrap();
    assert_eq!(bench.actions(), ["3: ACKNOWLEDGED b #4"]);
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    assert_eq!(bench.actions(), ["update a RUNNING", "update b RUNNING"], "kept and sent again");
}

#[test]
fn an_executor_that_does_not_come_back_is_gone() {
    let mut bench = checkpointing();
    bench.input(Input::Start);
    bench.wait();
    bench.wait();
    assert_eq!(
        bench.actions(),
        ["destroy", r#"reregister executors=1 tasks=["a TASK_RUNNING", "b TASK_STAGING"]"#]
    );
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    bench.actions();
    bench.exited(9);
    let gone = "REASON_EXECUTOR_REREGISTRATION_TIMEOUT 'Executor did not reregister within 2secs'";
    assert_eq!(bench.actions(), ["exited e 9".to_owned(), format!("update b GONE {gone}")]);
    bench.acknowledge_all();
    assert_eq!(bench.actions(), [format!("update a GONE {gone}")]);
}

#[test]
fn an_executor_that_ended_while_the_agent_was_away_is_noticed() {
    let mut bench = checkpointing();
    bench.exited(0);
    bench.input(Input::Start);
    bench.wait();
    assert_eq!(
        bench.actions(),
        [r#"reregister executors=0 tasks=["a TASK_FAILED", "b TASK_FAILED"]"#]
    );
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    let failed = "REASON_EXECUTOR_TERMINATED 'Executor terminated'";
    assert_eq!(
        bench.actions(),
        ["update a RUNNING (latest FAILED)".to_owned(), format!("update b FAILED {failed}")]
    );
}

#[test]
fn without_checkpointing_a_restarted_agent_knows_nobody() {
    let mut bench = Bench::running();
    bench.input(Input::Stop);
    bench.input(Input::Start);
    assert_eq!(bench.actions(), ["disconnected", "destroy"]);
    bench.wait();
    assert_eq!(bench.actions(), ["reregister executors=0 tasks=[]"]);
    assert_eq!(bench.subscribe(), Err(Refusal::UnknownFramework));
    bench.exited(9);
    assert_eq!(bench.actions(), [""; 0]);
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    let tasks = vec![TaskId::from("a")];
    bench.master(ToAgent::ReconcileTasks { framework: framework(F, true, false), tasks });
    assert_eq!(
        bench.actions(),
        [
            "update a DROPPED (no executor) REASON_RECONCILIATION 'Reconciliation: task unknown to the agent'"
        ]
    );
}

/// With executor `e` in a Docker container and one task, `a`, running.
fn in_docker(checkpoint: bool) -> Bench {
    let mut bench = Bench::new();
    let mut task = task("a");
    task.executor.as_mut().unwrap().container = Some(ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        ..ContainerInfo::default()
    });
    let framework = framework(F, true, checkpoint);
    bench.master(ToAgent::RunTask { framework, task, launch_executor: true });
    bench.actions();
    bench.subscribe().unwrap();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.actions();
    bench.acknowledge_all();
    bench.actions();
    assert!(bench.core.recovered().is_empty());
    bench
}

/// The same after the agent's process went away.
fn abandoned(checkpoint: bool) -> Bench {
    let mut bench = in_docker(checkpoint);
    bench.input(Input::Stop);
    assert_eq!(bench.actions(), ["disconnected"]);
    bench
}

#[test]
fn an_executor_in_a_docker_container_is_not_recovered() {
    let mut bench = abandoned(true);
    bench.input(Input::Start);
    assert_eq!(bench.actions(), ["abandon"]);
    bench.exited(-1);
    assert_eq!(bench.wait(), 100);
    assert_eq!(bench.actions(), [r#"reregister executors=0 tasks=["a TASK_FAILED"]"#]);
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    let lost = "REASON_EXECUTOR_TERMINATED 'Abnormal executor termination: unknown container'";
    assert_eq!(bench.actions(), [format!("update a FAILED {lost}")]);
    bench.subscribe().unwrap();
    assert_eq!(
        bench.actions(),
        ["2: SHUTDOWN", "2: close"],
        "while updates wait for their acknowledgement"
    );
    bench.acknowledge_all();
    assert_eq!(bench.subscribe(), Err(Refusal::UnknownFramework));
}

#[test]
fn a_docker_container_follows_its_tasks() {
    let mut bench = in_docker(true);
    let mem = |amount| vec![marmoset_proto::mesos::v1::Resource::scalar("mem", amount)];
    let task = TaskInfo { resources: mem(100.0), ..task("b") };
    let framework = framework(F, true, true);
    bench.master(ToAgent::RunTask { framework, task, launch_executor: false });
    assert_eq!(bench.actions(), ["resize mem=100", "1: LAUNCH b"]);
    bench.update("b", TaskState::TaskFinished).unwrap();
    let told = ["resize mem=0", "update b FINISHED", "1: ACKNOWLEDGED b #2"];
    assert_eq!(bench.actions(), told);
}

#[test]
fn a_docker_container_that_cannot_grow_is_destroyed() {
    let mut bench = in_docker(true);
    let container = bench.container();
    bench.input(Input::ResizeFailed { container, message: "no room".to_owned() });
    assert_eq!(bench.actions(), ["destroy"]);
    bench.exited(-1);
    let gone = "REASON_CONTAINER_UPDATE_FAILED 'Failed to update resources for container: no room'";
    let told = ["1: close".to_owned(), "exited e -1".to_owned(), format!("update a GONE {gone}")];
    assert_eq!(bench.actions(), told);
}

#[test]
fn a_docker_container_is_left_to_the_sweep_without_checkpointing_too() {
    let mut bench = abandoned(false);
    bench.input(Input::Start);
    assert_eq!(bench.actions(), ["abandon"]);
    bench.wait();
    assert_eq!(bench.actions(), ["reregister executors=0 tasks=[]"]);
}

#[test]
fn the_built_in_executor_of_a_docker_task_is_recovered() {
    let mut bench = Bench::new();
    let task = TaskInfo {
        executor: None,
        command: Some(CommandInfo::default()),
        container: Some(ContainerInfo {
            r#type: container_info::Type::Docker.into(),
            ..ContainerInfo::default()
        }),
        ..task("a")
    };
    let framework = framework(F, true, true);
    bench.master(ToAgent::RunTask { framework, task, launch_executor: false });
    assert_eq!(bench.actions(), ["launch"]);
    assert_eq!(bench.core.recovered(), BTreeSet::from([bench.container()]));
    bench.input(Input::Stop);
    bench.input(Input::Start);
    assert_eq!(bench.actions(), ["disconnected"]);
}

#[test]
fn a_lost_master_is_looked_for_and_told_everything() {
    let mut bench = Bench::running();
    bench.update("a", TaskState::TaskRunning).unwrap();
    bench.actions();
    bench.input(Input::MasterGone);
    assert_eq!(bench.actions(), [r#"reregister executors=1 tasks=["a TASK_RUNNING"]"#]);
    bench.update("a", TaskState::TaskFinished).unwrap();
    assert_eq!(bench.actions(), ["1: ACKNOWLEDGED a #2"], "the executor does not notice");
    bench.master(ToAgent::Registered { agent_id: "S0".into() });
    assert_eq!(bench.actions(), ["update a RUNNING (latest FINISHED)"]);
}

#[derive(Debug, Clone)]
enum Step {
    Run(u8),
    Kill(u8),
    Update(u8, TaskState),
    Subscribe,
    Exit,
    Acknowledge,
    ShutdownExecutor,
    ShutdownFramework,
    Wait,
    Stop,
    Start,
    Register,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        Just(TaskState::TaskStarting),
        Just(TaskState::TaskRunning),
        Just(TaskState::TaskFinished),
        Just(TaskState::TaskFailed),
    ];
    prop_oneof![
        6 => (0u8..12).prop_map(Step::Run),
        2 => (0u8..12).prop_map(Step::Kill),
        8 => (0u8..12, state).prop_map(|(task, state)| Step::Update(task, state)),
        5 => Just(Step::Subscribe),
        2 => Just(Step::Exit),
        5 => Just(Step::Acknowledge),
        1 => Just(Step::ShutdownExecutor),
        1 => Just(Step::ShutdownFramework),
        2 => Just(Step::Wait),
        1 => Just(Step::Stop),
        1 => Just(Step::Start),
        3 => Just(Step::Register),
    ]
}

proptest! {
    /// Whatever happens: nothing panics, a task has at most one end, and once its
    /// executor is dead every task it had is told to be over (unless nobody listens).
    #[test]
    fn every_task_ends_at_most_once(
        steps in prop::collection::vec(step(), 0..80),
        checkpoint: bool,
    ) {
        let mut bench = Bench::new();
        let mut ends: BTreeMap<TaskId, Bytes> = BTreeMap::new();
        let mut used = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Run(id) => {
                    // A master does not launch a task id twice.
                    if !used.insert(id) || !bench.core.is_registered() {
                        continue;
                    }
                    let launch_executor = bench
                        .core
                        .executor(&F.into(), &"e".into())
                        .is_none_or(|executor| executor.phase == Phase::Terminated);
                    let framework = framework(F, true, checkpoint);
                    let task = task(&format!("t{id}"));
                    bench.master(ToAgent::RunTask { framework, task, launch_executor });
                }
                Step::Kill(id) => bench.kill(&format!("k{id}")),
                Step::Update(id, state) => {
                    // Nor does an executor speak of tasks it was never meant to have.
                    if !used.contains(&id) {
                        continue;
                    }
                    let _refused = bench.update(&format!("t{id}"), state);
                }
                Step::Subscribe => {
                    let _refused = bench.subscribe();
                }
                Step::Exit => {
                    if !bench.containers.is_empty() {
                        bench.exited(0);
                    }
                }
                Step::Acknowledge => bench.acknowledge_all(),
                Step::ShutdownExecutor => {
                    let (framework_id, executor_id) = (F.into(), "e".into());
                    bench.master(ToAgent::ShutdownExecutor { framework_id, executor_id });
                }
                Step::ShutdownFramework => {
                    bench.master(ToAgent::ShutdownFramework { framework_id: F.into() });
                }
                Step::Wait => {
                    if bench.core.poll_wake().is_some() {
                        bench.wait();
                    }
                }
                Step::Stop => bench.input(Input::Stop),
                Step::Start => bench.input(Input::Start),
                Step::Register => bench.master(ToAgent::Registered { agent_id: "S0".into() }),
            }
            bench.actions();
            for (_, status) in &bench.updates {
                if status.state().is_terminal() && status.task_id.value.starts_with('t') {
                    let uuid = status.uuid.clone().unwrap();
                    let end = ends.entry(status.task_id.clone()).or_insert(uuid.clone());
                    // A task whose end was acknowledged is unknown; a late word of it is passed on.
                    let known = bench.core.frameworks.get(&F.into())
                        .is_some_and(|f| f.owners.contains_key(&status.task_id));
                    prop_assert!(*end == uuid || !known, "{} ended twice", status.task_id);
                }
            }
            for framework in bench.core.frameworks() {
                for executor in framework.executors.values() {
                    if executor.phase == Phase::Terminated {
                        prop_assert!(executor.launched.is_empty() && !executor.has_queued());
                        prop_assert!(executor.is_busy(), "its record has no purpose");
                    }
                    for id in executor.launched.keys().chain(executor.terminated.keys()) {
                        prop_assert_eq!(framework.owners.get(id), Some(&executor.id));
                    }
                }
            }
        }
    }
}
