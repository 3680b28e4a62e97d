//! Each rule of a check by itself.

use std::{collections::VecDeque, time::Duration};

use marmoset_proto::mesos::v1::{
    CheckInfo, CommandInfo, HealthCheck, TaskInfo, check_info, health_check,
};

use super::{
    spec::{Pace, read},
    *,
};
use crate::{
    action::{Attempt, Page, Template},
    ids::RunId,
};

pub(super) fn task() -> TaskId {
    "t".into()
}

pub(super) fn spawn() -> Spawn {
    Spawn {
        run: RunId(1),
        template: Arc::new(Template::process(CommandInfo::default())),
        item: None,
        task: "t".into(),
        ports: Vec::new(),
        strand: None,
    }
}

pub(super) fn exited(code: i32) -> Answer {
    Answer::Exited { wait_status: code << 8 }
}

pub(super) fn nothing() -> Answer {
    Answer::Nothing { reason: "for a test".into() }
}

fn tcp_health() -> HealthCheck {
    HealthCheck {
        r#type: Some(health_check::Type::Tcp.into()),
        tcp: Some(health_check::TcpCheckInfo { port: 8000, protocol: None }),
        ..HealthCheck::default()
    }
}

fn tcp_check() -> CheckInfo {
    CheckInfo {
        r#type: Some(check_info::Type::Tcp.into()),
        tcp: Some(check_info::Tcp { port: 8000 }),
        ..CheckInfo::default()
    }
}

fn specs(health_check: Option<HealthCheck>, check: Option<CheckInfo>) -> CheckSpecs {
    let task = TaskInfo { health_check, check, ..TaskInfo::default() };
    read(&task, &Template::process(CommandInfo::default())).unwrap()
}

/// A room with one task that has just started, and its clock.
struct Room {
    checks: Checks,
    actions: VecDeque<Action>,
    start: Instant,
    at: f64,
}

impl Room {
    fn new(health: Option<HealthCheck>, check: Option<CheckInfo>) -> Self {
        let (mut checks, start) = (Checks::default(), Instant::now());
        checks.add(&task(), &specs(health, check));
        checks.prepare(&task(), &spawn());
        checks.start(start, &task(), None);
        Self { checks, actions: VecDeque::new(), start, at: 0.0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.at)
    }

    /// Seconds from the start to the next wake-up.
    fn wake_at(&self) -> Option<f64> {
        let at = self.checks.wake_at()?;
        Some((at - self.start).as_secs_f64())
    }

    fn wake(&mut self, at: f64) -> Vec<Finding> {
        self.at = at;
        let found = self.checks.wake(self.now(), &mut self.actions);
        found.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Wakes at the next time, which is to be `at`, and takes the probe of it.
    fn probe(&mut self, at: f64) -> ProbeId {
        assert_eq!(self.wake_at(), Some(at));
        assert_eq!(self.wake(at), []);
        let probe = self.actions.iter().find_map(|action| match action {
            Action::Probe(probe) => Some(probe.id),
            _ => None,
        });
        self.actions.clear();
        probe.expect("a probe")
    }

    fn answer(&mut self, at: f64, probe: ProbeId, answer: &Answer) -> Option<Finding> {
        self.at = at;
        let found = self.checks.handle(self.now(), probe, answer, &mut self.actions);
        found.map(|(_, finding)| finding)
    }

    fn healthy(&self) -> Option<bool> {
        self.checks.known(&task()).healthy
    }
}

#[test]
fn the_defaults_are_those_of_mesos() {
    let specs = specs(Some(tcp_health()), Some(tcp_check()));
    let pace = Pace {
        delay: Duration::from_secs(15),
        interval: Duration::from_secs(10),
        timeout: Some(Duration::from_secs(20)),
    };
    let (health, general) = (specs.health.unwrap(), specs.general.unwrap());
    assert_eq!((health.pace, general.pace), (pace, pace));
    assert_eq!((health.consecutive_failures, health.grace), (3, Duration::from_secs(10)));
}

#[test]
fn a_timeout_of_nothing_is_none() {
    let health = HealthCheck { timeout_seconds: Some(0.0), ..tcp_health() };
    let mut room = Room::new(Some(health), None);
    let probe = room.probe(15.0);
    assert_eq!(room.wake_at(), None, "a probe may take for ever");
    assert_eq!(room.answer(1e6, probe, &Answer::Connected), Some(Finding::Healthy));
}

#[test]
fn the_interval_begins_when_a_probe_ends() {
    let mut room = Room::new(Some(tcp_health()), None);
    let probe = room.probe(15.0);
    room.answer(18.5, probe, &Answer::Connected);
    let probe = room.probe(28.5);
    // Given up after 20 seconds.
    assert_eq!(room.wake_at(), Some(48.5));
    assert_eq!(room.wake(48.5), [Finding::Unhealthy { kill: false }]);
    assert!(matches!(room.actions[0], Action::Abandon(id) if id == probe), "{:?}", room.actions);
    assert_eq!(room.answer(49.0, probe, &Answer::Connected), None, "too late");
    room.actions.clear();
    room.probe(58.5);
}

#[test]
fn failures_before_the_first_success_do_not_count_in_the_grace_period() {
    let health = HealthCheck {
        delay_seconds: Some(0.0),
        interval_seconds: Some(1.0),
        grace_period_seconds: Some(3.0),
        consecutive_failures: Some(2),
        ..tcp_health()
    };
    let mut room = Room::new(Some(health.clone()), None);
    let mut at = 0.0;
    for expected in [None, None, None, Some(false), Some(true)] {
        let probe = room.probe(at);
        let found = room.answer(at, probe, &nothing());
        assert_eq!(found, expected.map(|kill| Finding::Unhealthy { kill }), "at {at}");
        assert_eq!(room.healthy(), expected.map(|_| false));
        at += 1.0;
    }
    // After a success there is no grace.
    let mut room = Room::new(Some(health), None);
    let probe = room.probe(0.0);
    assert_eq!(room.answer(0.0, probe, &Answer::Connected), Some(Finding::Healthy));
    let probe = room.probe(1.0);
    assert_eq!(room.answer(1.0, probe, &nothing()), Some(Finding::Unhealthy { kill: false }));
}

#[test]
fn every_failure_is_told_and_of_successes_the_first_and_those_after_failures() {
    let health = HealthCheck { grace_period_seconds: Some(0.0), ..tcp_health() };
    let mut room = Room::new(Some(health), None);
    let (up, down) = (Some(Finding::Healthy), Some(Finding::Unhealthy { kill: false }));
    let last = Some(Finding::Unhealthy { kill: true });
    let mut at = 15.0;
    for (success, expected) in [
        (true, up),
        (true, None),
        (false, down),
        (false, down),
        (true, up),
        (true, None),
        (false, down),
        (false, down),
        (false, last),
    ] {
        let probe = room.probe(at);
        let answer = if success { Answer::Connected } else { nothing() };
        assert_eq!(room.answer(at, probe, &answer), expected, "at {at}");
        assert_eq!(room.healthy(), Some(success));
        at += 10.0;
    }
}

#[test]
fn what_is_healthy() {
    let not_connected = Answer::NotConnected { reason: "refused".into() };
    for (answer, healthy) in [
        (exited(0), true),
        (exited(1), false),
        (Answer::Exited { wait_status: 9 }, false),
        (Answer::Responded { code: 199 }, false),
        (Answer::Responded { code: 200 }, true),
        (Answer::Responded { code: 399 }, true),
        (Answer::Responded { code: 400 }, false),
        (Answer::Connected, true),
        (not_connected, false),
        (nothing(), false),
    ] {
        assert_eq!(is_healthy(&answer), healthy, "{answer:?}");
        assert_eq!(complaint(&answer).is_none(), healthy, "{answer:?}");
    }
}

#[test]
fn a_check_tells_changes_and_judges_nothing() {
    let command = check_info::Command {
        command: CommandInfo { value: Some("x".into()), ..CommandInfo::default() },
    };
    let check = CheckInfo {
        r#type: Some(check_info::Type::Command.into()),
        command: Some(command),
        ..CheckInfo::default()
    };
    let mut room = Room::new(None, Some(check));
    let code = |room: &Room| {
        let status = room.checks.known(&task()).check_status.expect("from the start");
        assert_eq!(status.r#type(), check_info::Type::Command);
        assert_eq!((status.http, status.tcp), (None, None));
        status.command.expect("even if it is empty").exit_code
    };
    assert_eq!(code(&room), None);
    let mut at = 15.0;
    for (answer, expected) in [
        (nothing(), None),
        (exited(1), Some(1)),
        (exited(1), Some(1)),
        (exited(0), Some(0)),
        (Answer::Exited { wait_status: 9 }, None),
        (nothing(), None),
        (exited(7), Some(7)),
    ] {
        let before = code(&room);
        let probe = room.probe(at);
        let changed = (before != expected).then_some(Finding::Changed);
        assert_eq!(room.answer(at, probe, &answer), changed, "at {at}");
        assert_eq!(code(&room), expected);
        assert_eq!(room.healthy(), None);
        at += 10.0;
    }
}

#[test]
fn statuses_of_http_and_tcp_checks() {
    let http = CheckInfo {
        r#type: Some(check_info::Type::Http.into()),
        http: Some(check_info::Http { port: 80, path: None }),
        ..CheckInfo::default()
    };
    let status = |check: &CheckInfo, answer: Answer| {
        let mut room = Room::new(None, Some(check.clone()));
        let probe = room.probe(15.0);
        room.answer(15.0, probe, &answer);
        room.checks.known(&task()).check_status.unwrap()
    };
    assert_eq!(status(&http, Answer::Responded { code: 503 }).http.unwrap().status_code, Some(503));
    assert_eq!(status(&http, nothing()).http.unwrap().status_code, None);
    let tcp = tcp_check();
    let refused = Answer::NotConnected { reason: "refused".into() };
    assert_eq!(status(&tcp, refused).tcp.unwrap().succeeded, Some(false));
    assert_eq!(status(&tcp, Answer::Connected).tcp.unwrap().succeeded, Some(true));
    assert_eq!(status(&tcp, nothing()).tcp.unwrap().succeeded, None);
}

#[test]
fn what_was_stopped_is_abandoned_and_what_is_known_stays() {
    let mut room = Room::new(Some(tcp_health()), Some(tcp_check()));
    let probe = room.probe(15.0);
    room.answer(15.0, probe, &Answer::Connected);
    assert_eq!(room.wake(25.0), []);
    room.actions.clear();
    room.checks.stop(&task(), &mut room.actions);
    assert_eq!(room.actions.len(), 2, "both probes: {:?}", room.actions);
    assert!(room.actions.iter().all(|action| matches!(action, Action::Abandon(_))));
    assert_eq!(room.wake_at(), None);
    assert_eq!(room.healthy(), Some(true));
    room.checks.remove(&task());
    assert_eq!(room.checks.known(&task()), Known::default());
    assert!(room.checks.probes.is_empty() && room.checks.timers.is_empty());
}

#[test]
fn what_is_probed() {
    let http = health_check::HttpCheckInfo {
        port: 8080,
        path: Some("/ok?a=b".into()),
        scheme: Some("https".into()),
        protocol: Some(marmoset_proto::mesos::v1::network_info::Protocol::IPv6.into()),
        ..Default::default()
    };
    let health = HealthCheck {
        r#type: Some(health_check::Type::Http.into()),
        http: Some(http),
        ..HealthCheck::default()
    };
    let specs = specs(Some(health), Some(tcp_check()));
    let page = Page { tls: true, address: "[::1]:8080".parse().unwrap(), path: "/ok?a=b".into() };
    assert_eq!(*specs.health.unwrap().attempt, Attempt::Http(page));
    let address = "127.0.0.1:8000".parse().unwrap();
    assert_eq!(*specs.general.unwrap().attempt, Attempt::Tcp(address));
}

#[test]
fn refuses_with_the_field_and_what_to_do() {
    let refusal = |health_check: Option<HealthCheck>, check: Option<CheckInfo>| {
        let task = TaskInfo { health_check, check, ..TaskInfo::default() };
        let read = read(&task, &Template::process(CommandInfo::default()));
        read.expect_err("refused").to_string()
    };
    let health = |check: HealthCheck| refusal(Some(check), None);
    let check = |check: CheckInfo| refusal(None, Some(check));
    let http = |port: u32, path: &str, scheme: Option<&str>| HealthCheck {
        r#type: Some(health_check::Type::Http.into()),
        http: Some(health_check::HttpCheckInfo {
            port,
            path: Some(path.into()),
            scheme: scheme.map(Into::into),
            ..Default::default()
        }),
        ..HealthCheck::default()
    };
    let command = |command: CommandInfo| HealthCheck {
        r#type: Some(health_check::Type::Command.into()),
        command: Some(command),
        ..HealthCheck::default()
    };
    let value = |value: &str| CommandInfo { value: Some(value.into()), ..CommandInfo::default() };
    for (refusal, text) in [
        (
            health(HealthCheck { r#type: None, ..tcp_health() }),
            "`TaskInfo.health_check.type` is not set: set it to COMMAND, HTTP or TCP",
        ),
        (
            check(CheckInfo { r#type: Some(0), ..tcp_check() }),
            "`TaskInfo.check.type` is not set: set it to COMMAND, HTTP or TCP",
        ),
        (
            check(CheckInfo { r#type: Some(99), ..tcp_check() }),
            "`TaskInfo.check.type` is not set: set it to COMMAND, HTTP or TCP",
        ),
        (
            health(HealthCheck { tcp: None, ..tcp_health() }),
            "`TaskInfo.health_check.type` is TCP, but `TaskInfo.health_check.tcp` is not set",
        ),
        (
            check(CheckInfo { r#type: Some(check_info::Type::Http.into()), ..tcp_check() }),
            "`TaskInfo.check.type` is HTTP, but `TaskInfo.check.http` is not set",
        ),
        (
            check(CheckInfo { r#type: Some(check_info::Type::Command.into()), ..tcp_check() }),
            "`TaskInfo.check.type` is COMMAND, but `TaskInfo.check.command` is not set",
        ),
        (
            health(HealthCheck { delay_seconds: Some(-1.0), ..tcp_health() }),
            "`TaskInfo.health_check.delay_seconds` is -1: it must be 0 or more seconds, and \
             1000000000 at most",
        ),
        (
            check(CheckInfo { timeout_seconds: Some(f64::NAN), ..tcp_check() }),
            "`TaskInfo.check.timeout_seconds` is NaN: it must be 0 or more seconds, and \
             1000000000 at most",
        ),
        (
            health(HealthCheck { interval_seconds: Some(f64::INFINITY), ..tcp_health() }),
            "`TaskInfo.health_check.interval_seconds` is inf: it must be 0 or more seconds, and \
             1000000000 at most",
        ),
        (
            health(HealthCheck { grace_period_seconds: Some(-0.5), ..tcp_health() }),
            "`TaskInfo.health_check.grace_period_seconds` is -0.5: it must be 0 or more seconds, \
             and 1000000000 at most",
        ),
        (
            health(HealthCheck { consecutive_failures: Some(0), ..tcp_health() }),
            "`TaskInfo.health_check.consecutive_failures` is 0: at least one failure has to end \
             the task",
        ),
        (
            health(http(0, "/", None)),
            "`TaskInfo.health_check.http.port` is 0: a port is a number from 1 to 65535",
        ),
        (
            check(CheckInfo { tcp: Some(check_info::Tcp { port: 65_536 }), ..tcp_check() }),
            "`TaskInfo.check.tcp.port` is 65536: a port is a number from 1 to 65535",
        ),
        (
            health(http(80, "health", None)),
            "`TaskInfo.health_check.http.path` is `health`: it must begin with `/`",
        ),
        (
            health(http(80, "/", Some("ftp"))),
            "`TaskInfo.health_check.http.scheme` is `ftp`: it must be `http` or `https`",
        ),
        (
            health(command(value(""))),
            "`TaskInfo.health_check.command` has no `value`: set it to the text for `/bin/sh -c`",
        ),
        (
            health(command(CommandInfo { shell: Some(false), ..value("x") })),
            "`TaskInfo.health_check.command` has `shell` false and no `arguments`: they are the \
             whole argv, the program's name first",
        ),
        (
            health(command(CommandInfo { uris: vec![Default::default()], ..value("x") })),
            "`TaskInfo.health_check.command` has `uris`: put them into the task's command",
        ),
    ] {
        assert_eq!(refusal, text);
    }
}
