use marmoset_proto::mesos::v1::{
    CheckInfo, CommandInfo, DurationInfo, FrameworkInfo, HealthCheck, check_info,
    framework_info::Capability,
};

use super::*;
use crate::{
    builtin::config::{Place, Recovery},
    docker::Docker,
};

/// A core under test, with a clock that jumps.
struct Bench {
    core: Core,
    start: Instant,
    now: Now,
    sent: Vec<TaskStatus>,
}

impl Bench {
    fn new(recovery: Option<Recovery>) -> Self {
        Self::at(recovery, None)
    }

    /// A task in a container, asked for but not there yet.
    fn in_docker() -> Self {
        let place = Place {
            docker: Docker::at("docker".into(), "/s".into()),
            name: "mesos-c".to_owned(),
            sandbox: "/w".into(),
            mapped: "/m".to_owned(),
        };
        let mut bench = Self::at(None, Some(place));
        bench.event(subscribed(true));
        let check = CheckInfo {
            r#type: Some(check_info::Type::Command.into()),
            command: Some(check_info::Command { command: CommandInfo::default() }),
            ..CheckInfo::default()
        };
        bench.launch(TaskInfo { check: Some(check), ..task() });
        assert_eq!(bench.actions(), ["send t TASK_STARTING", "spawn"]);
        bench
    }

    fn placed(&mut self, ip: Option<&str>) {
        let placed = Placed { data: Bytes::from_static(b"[]"), ip: ip.map(str::to_owned) };
        self.core.handle(self.now, Input::Spawned(Some(Box::new(placed))));
    }

    fn at(recovery: Option<Recovery>, place: Option<Place>) -> Self {
        let start = Instant::now();
        let config = Config {
            endpoint: "a".to_owned(),
            framework: "f".into(),
            executor: "t".into(),
            shutdown_grace: Duration::from_secs(5),
            recovery,
            place,
        };
        let now = Now { instant: start, epoch: 1.0 };
        let mut bench = Self { core: Core::new(config, start, 7), start, now, sent: Vec::new() };
        assert_eq!(bench.actions(), ["subscribe tasks=0 updates=0"]);
        bench
    }

    fn subscribed() -> Self {
        let mut bench = Self::new(None);
        bench.event(subscribed(true));
        bench
    }

    fn running(task: TaskInfo) -> Self {
        let mut bench = Self::subscribed();
        bench.launch(task);
        assert_eq!(bench.actions(), ["send t TASK_STARTING", "spawn"]);
        bench.core.handle(bench.now, Input::Spawned(None));
        assert_eq!(bench.actions(), ["send t TASK_RUNNING"]);
        bench
    }

    fn event(&mut self, event: Event) {
        self.core.handle(self.now, Input::Event(Box::new(event)));
    }

    fn launch(&mut self, task: TaskInfo) {
        self.event(Event {
            r#type: Some(event::Type::Launch.into()),
            launch: Some(event::Launch { task }),
            ..Event::default()
        });
    }

    fn kill(&mut self, grace: Option<u64>) {
        let policy = grace.map(|seconds| KillPolicy {
            grace_period: Some(DurationInfo { nanoseconds: seconds as i64 * 1_000_000_000 }),
        });
        self.event(Event {
            r#type: Some(event::Type::Kill.into()),
            kill: Some(event::Kill { task_id: "t".into(), kill_policy: policy }),
            ..Event::default()
        });
    }

    fn acknowledge_all(&mut self) {
        for status in std::mem::take(&mut self.sent) {
            self.event(Event {
                r#type: Some(event::Type::Acknowledged.into()),
                acknowledged: Some(event::Acknowledged {
                    task_id: status.task_id,
                    uuid: status.uuid.unwrap(),
                }),
                ..Event::default()
            });
        }
    }

    /// Lets time pass until something is due; yields when that was, in milliseconds.
    fn wait(&mut self) -> Option<u128> {
        let wake = self.core.poll_wake()?;
        self.now.instant = wake;
        self.core.handle(self.now, Input::Wake);
        Some((wake - self.start).as_millis())
    }

    /// All actions in words.
    fn actions(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(action) = self.core.poll_action(self.now.instant) {
            words.push(match action {
                Action::Subscribe(call) => {
                    let subscribe = call.subscribe.unwrap();
                    format!(
                        "subscribe tasks={} updates={}",
                        subscribe.unacknowledged_tasks.len(),
                        subscribe.unacknowledged_updates.len()
                    )
                }
                Action::Send(call) => {
                    let status = call.update.unwrap().status;
                    let told = tell(&status);
                    self.sent.push(status);
                    told
                }
                Action::Spawn(..) => "spawn".to_owned(),
                Action::Terminate(grace) if self.core.in_container() => {
                    format!("stop within {grace:?}")
                }
                Action::Terminate(_) => "SIGTERM".to_owned(),
                Action::Kill => "SIGKILL".to_owned(),
                Action::Health(..) => "probe health".to_owned(),
                Action::Watch(..) => "probe check".to_owned(),
                Action::Exit(Exit::Done) => "exit".to_owned(),
                Action::Exit(Exit::Failed(why)) => format!("exit: {why}"),
            });
        }
        words
    }
}

fn tell(status: &TaskStatus) -> String {
    let mut told = format!("send {} {}", status.task_id, status.state().as_str_name());
    if status.reason.is_some() {
        told += &format!(" {}", status.reason().as_str_name());
    }
    if let Some(message) = &status.message {
        told += &format!(" '{message}'");
    }
    if let Some(healthy) = status.healthy {
        told += &format!(" healthy={healthy}");
    }
    if let Some(check) = &status.check_status {
        told += &format!(" exit_code={:?}", check.command.and_then(|c| c.exit_code));
    }
    told
}

fn subscribed(killing: bool) -> Event {
    let capability =
        Capability { r#type: Some(framework_info::capability::Type::TaskKillingState.into()) };
    let framework_info = FrameworkInfo {
        capabilities: killing.then_some(capability).into_iter().collect(),
        ..FrameworkInfo::default()
    };
    Event {
        r#type: Some(event::Type::Subscribed.into()),
        subscribed: Some(event::Subscribed { framework_info, ..Default::default() }),
        ..Event::default()
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        task_id: "t".into(),
        command: Some(CommandInfo { value: Some("x".into()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

fn signalled(signal: i32) -> Input {
    Input::Exited(signal)
}

#[test]
fn a_command_runs_and_its_executor_leaves_after_the_last_acknowledgement() {
    for (status, told) in [
        (0, "send t TASK_FINISHED 'Command exited with status 0'"),
        (3 << 8, "send t TASK_FAILED 'Command exited with status 3'"),
        (11, "send t TASK_FAILED 'Command terminated with signal Segmentation fault'"),
    ] {
        let mut bench = Bench::running(task());
        bench.acknowledge_all();
        bench.core.handle(bench.now, Input::Exited(status));
        assert_eq!(bench.actions(), [told]);
        bench.acknowledge_all();
        assert_eq!(bench.actions(), ["exit"]);
    }
}

#[test]
fn without_an_acknowledgement_it_leaves_after_a_minute() {
    let mut bench = Bench::running(task());
    bench.core.handle(bench.now, Input::Exited(0));
    bench.actions();
    assert_eq!(bench.wait(), Some(60_000));
    assert_eq!(bench.actions(), ["exit: the last update was never acknowledged"]);
}

#[test]
fn a_kill_is_a_signal_a_pause_and_another_signal() {
    let mut bench = Bench::running(task());
    bench.kill(None);
    assert_eq!(bench.actions(), ["send t TASK_KILLING", "SIGTERM"]);
    assert_eq!(bench.wait(), Some(3_000));
    assert_eq!(bench.actions(), ["SIGKILL"]);
    bench.core.handle(bench.now, signalled(9));
    assert_eq!(bench.actions(), ["send t TASK_KILLED 'Command terminated with signal Killed'"]);
}

#[test]
fn a_repeated_kill_shortens_the_pause_and_never_extends_it() {
    let mut bench = Bench::running(TaskInfo {
        kill_policy: Some(KillPolicy {
            grace_period: Some(DurationInfo { nanoseconds: 10_000_000_000 }),
        }),
        ..task()
    });
    bench.kill(None);
    assert_eq!(bench.actions(), ["send t TASK_KILLING", "SIGTERM"]);
    bench.kill(Some(60));
    bench.kill(Some(2));
    assert_eq!(bench.actions(), [""; 0]);
    assert_eq!(bench.wait(), Some(2_000));
    assert_eq!(bench.actions(), ["SIGKILL"]);
}

#[test]
fn a_framework_without_the_capability_hears_no_killing() {
    let mut bench = Bench::new(None);
    bench.event(subscribed(false));
    bench.launch(task());
    bench.core.handle(bench.now, Input::Spawned(None));
    bench.actions();
    bench.kill(None);
    assert_eq!(bench.actions(), ["SIGTERM"]);
    bench.core.handle(bench.now, Input::Exited(0));
    assert_eq!(bench.actions(), ["send t TASK_KILLED 'Command exited with status 0'"]);
}

#[test]
fn time_over_is_a_failure_with_a_reason() {
    let limit = DurationInfo { nanoseconds: 1_500_000_000 };
    let mut bench = Bench::running(TaskInfo { max_completion_time: Some(limit), ..task() });
    assert_eq!(bench.wait(), Some(1_500));
    assert_eq!(bench.actions(), ["SIGTERM"]);
    bench.core.handle(bench.now, signalled(15));
    assert_eq!(
        bench.actions(),
        [
            "send t TASK_FAILED REASON_MAX_COMPLETION_TIME_REACHED 'Command terminated with signal Terminated'"
        ]
    );
}

#[test]
fn an_unhealthy_task_is_killed() {
    let check = HealthCheck {
        command: Some(CommandInfo::default()),
        delay_seconds: Some(0.0),
        interval_seconds: Some(1.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..HealthCheck::default()
    };
    let mut bench = Bench::running(TaskInfo { health_check: Some(check), ..task() });
    let running = "send t TASK_RUNNING REASON_TASK_HEALTH_CHECK_STATUS_UPDATED";
    for (at, answer, told) in [
        (0, Answer::ExitCode(0), vec![format!("{running} healthy=true")]),
        (1_000, Answer::ExitCode(0), vec![]),
        (2_000, Answer::ExitCode(1), vec![format!("{running} healthy=false")]),
        (
            3_000,
            Answer::Nothing,
            vec![
                format!("{running} healthy=false"),
                "send t TASK_KILLING healthy=false".to_owned(),
                "SIGTERM".to_owned(),
            ],
        ),
    ] {
        assert_eq!(bench.wait(), Some(at));
        assert_eq!(bench.actions(), ["probe health"]);
        bench.core.handle(bench.now, Input::Healthy(answer));
        assert_eq!(bench.actions(), told);
    }
    bench.core.handle(bench.now, signalled(15));
    assert_eq!(
        bench.actions(),
        ["send t TASK_KILLED 'Command terminated with signal Terminated' healthy=false"]
    );
}

#[test]
fn a_check_is_in_every_update_and_its_changes_are_told() {
    let check = CheckInfo {
        r#type: Some(check_info::Type::Command.into()),
        command: Some(check_info::Command { command: CommandInfo::default() }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(1.0),
        ..CheckInfo::default()
    };
    let mut bench = Bench::subscribed();
    bench.launch(TaskInfo { check: Some(check), ..task() });
    bench.core.handle(bench.now, Input::Spawned(None));
    let empty = "exit_code=None";
    assert_eq!(
        bench.actions(),
        [
            format!("send t TASK_STARTING {empty}"),
            "spawn".to_owned(),
            format!("send t TASK_RUNNING {empty}")
        ]
    );
    for (code, told) in [(4, 1), (4, 0), (0, 1)] {
        bench.wait();
        assert_eq!(bench.actions(), ["probe check"]);
        bench.core.handle(bench.now, Input::Watched(Answer::ExitCode(code)));
        let actions = bench.actions();
        assert_eq!(actions.len(), told);
        for action in actions {
            assert_eq!(
                action,
                format!(
                    "send t TASK_RUNNING REASON_TASK_CHECK_STATUS_UPDATED exit_code=Some({code})"
                )
            );
        }
    }
    bench.core.handle(bench.now, Input::Exited(0));
    assert_eq!(
        bench.actions(),
        ["send t TASK_FINISHED 'Command exited with status 0' exit_code=None"]
    );
}

#[test]
fn a_second_task_fails_and_the_first_goes_on() {
    let mut bench = Bench::running(task());
    bench.launch(task());
    assert_eq!(bench.actions(), [""; 0], "the same task again is a repetition");
    bench.launch(TaskInfo { task_id: "u".into(), ..task() });
    let told = "send u TASK_FAILED 'Attempted to run multiple tasks using a \"command\" executor'";
    assert_eq!(bench.actions(), [told]);
    bench.core.handle(bench.now, Input::Exited(0));
    assert_eq!(bench.actions(), ["send t TASK_FINISHED 'Command exited with status 0'"]);
}

#[test]
fn a_shutdown_keeps_two_seconds_for_the_report() {
    let mut bench = Bench::subscribed();
    let shutdown = || Event { r#type: Some(event::Type::Shutdown.into()), ..Event::default() };
    bench.event(shutdown());
    assert_eq!(bench.actions(), ["exit"]);

    let mut bench = Bench::running(task());
    bench.event(shutdown());
    assert_eq!(bench.actions(), ["send t TASK_KILLING", "SIGTERM"]);
    assert_eq!(bench.wait(), Some(3_000));
    assert_eq!(bench.actions(), ["SIGKILL"]);
    bench.core.handle(bench.now, signalled(9));
    assert_eq!(bench.actions(), ["send t TASK_KILLED 'Command terminated with signal Killed'"]);
}

#[test]
fn a_lost_agent_ends_the_task_unless_it_may_come_back() {
    let mut bench = Bench::running(task());
    bench.core.handle(bench.now, Input::Lost);
    assert_eq!(bench.actions(), ["SIGTERM"], "nobody is left to hear of it");
    bench.core.handle(bench.now, signalled(15));
    assert_eq!(bench.actions(), ["exit"]);

    let recovery = Recovery { timeout: Duration::from_secs(60), backoff: Duration::from_secs(2) };
    let mut bench = Bench::new(Some(recovery));
    bench.event(subscribed(true));
    bench.launch(task());
    bench.core.handle(bench.now, Input::Spawned(None));
    bench.actions();
    bench.core.handle(bench.now, Input::Lost);
    assert_eq!(bench.actions(), [""; 0]);
    bench.core.handle(bench.now, Input::Exited(0));
    bench.wait();
    assert_eq!(bench.actions(), ["subscribe tasks=1 updates=3"]);
    bench.event(subscribed(true));
    assert_eq!(bench.actions(), [""; 0], "everything was in the subscription");
}

#[test]
fn a_refusal_is_the_end() {
    let mut bench = Bench::new(None);
    bench.core.handle(bench.now, Input::Refused("400".to_owned()));
    assert_eq!(bench.actions(), ["exit: 400"]);
}

#[test]
fn a_container_is_told_of_with_the_engines_own_words() {
    let mut bench = Bench::in_docker();
    bench.placed(Some("10.0.0.9"));
    assert_eq!(bench.actions(), ["send t TASK_RUNNING"]);
    let running = bench.sent.last().unwrap().clone();
    assert_eq!(running.data.unwrap(), "[]");
    let network = &running.container_status.unwrap().network_infos[0];
    assert_eq!(network.ip_addresses[0].ip_address.as_deref(), Some("10.0.0.9"));
    bench.core.handle(bench.now, Input::Exited(3 << 8));
    assert_eq!(bench.actions(), ["send t TASK_FAILED 'Container exited with status 3'"]);
    bench.acknowledge_all();
    assert_eq!(bench.actions(), ["exit"]);
}

#[test]
fn on_the_hosts_network_a_container_has_no_address() {
    let mut bench = Bench::in_docker();
    bench.placed(None);
    bench.actions();
    assert_eq!(bench.sent.last().unwrap().container_status, None, "the agent adds its own");
}

#[test]
fn a_container_that_is_killed_has_the_executors_grace_period() {
    let mut bench = Bench::in_docker();
    bench.placed(None);
    bench.actions();
    bench.kill(None);
    assert_eq!(bench.actions(), ["send t TASK_KILLING", "stop within 5s"]);
    bench.core.handle(bench.now, Input::Exited(137 << 8));
    assert_eq!(bench.actions(), ["send t TASK_KILLED 'Container exited with status 137'"]);
}

#[test]
fn a_kill_waits_for_the_container() {
    let mut bench = Bench::in_docker();
    bench.kill(Some(1));
    assert_eq!(bench.actions(), [""; 0]);
    bench.placed(None);
    let stopped = ["send t TASK_RUNNING", "send t TASK_KILLING", "stop within 1s"];
    assert_eq!(bench.actions(), stopped);
    bench.core.handle(bench.now, Input::Exited(0));
    assert_eq!(
        bench.actions(),
        ["send t TASK_FINISHED 'Container exited with status 0'"],
        "it ended well after all"
    );
}

#[test]
fn a_container_that_never_ran_is_a_failure() {
    let mut bench = Bench::in_docker();
    bench.kill(None);
    bench.core.handle(bench.now, Input::Exited(127 << 8));
    assert_eq!(bench.actions(), ["send t TASK_FAILED 'Container exited with status 127'"]);
    let mut bench = Bench::in_docker();
    bench.core.handle(bench.now, Input::NotRun("no".to_owned()));
    assert_eq!(bench.actions(), ["send t TASK_FAILED 'Failed to run docker container: no'"]);
}

#[test]
fn a_shutdown_stops_a_container_that_starts() {
    let mut bench = Bench::in_docker();
    bench.event(Event { r#type: Some(event::Type::Shutdown.into()), ..Event::default() });
    assert_eq!(bench.actions(), [""; 0]);
    bench.placed(None);
    let stopped = ["send t TASK_RUNNING", "send t TASK_KILLING", "stop within 3s"];
    assert_eq!(bench.actions(), stopped);
}

#[test]
fn a_second_task_is_refused_by_the_name_of_the_executor() {
    let mut bench = Bench::in_docker();
    bench.launch(TaskInfo { task_id: "u".into(), ..task() });
    assert_eq!(
        bench.actions(),
        ["send u TASK_FAILED 'Attempted to run multiple tasks using a \"docker\" executor'"]
    );
}
