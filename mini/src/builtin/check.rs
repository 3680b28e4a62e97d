//! When a task is probed, and what the answers mean.
//!
//! Two machines: [`Health`] judges (Mesos' `health_check`, may end the task),
//! [`Watch`] only tells (`check`). Neither probes; the core asks them what is due
//! and hands them the answers. Mesos 1.11, `src/checks/health_checker.cpp`,
//! `src/checks/checker.cpp`.
//!
//! ```text
//!   waiting ──due──▶ probing ──answer──▶ waiting (interval from the answer on)
//! ```

use std::time::{Duration, Instant};

use marmoset_proto::mesos::v1::{
    CheckInfo, CheckStatusInfo, CommandInfo, HealthCheck, check_info, check_status_info,
    health_check, network_info::Protocol,
};

/// What to try.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Probe {
    /// Run it; its exit code is the answer.
    Command(CommandInfo),
    /// Get it; the status code is the answer.
    Http { url: String },
    /// Connect to it.
    Tcp { host: &'static str, port: u32 },
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The command's exit code.
    ExitCode(i32),
    /// The server's status code.
    StatusCode(u16),
    /// Whether there was a connection.
    Connected(bool),
    /// No answer: it timed out, or could not be tried.
    Nothing,
}

/// Either machine's place in its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Waiting { until: Instant },
    Probing,
}

#[derive(Debug)]
struct Schedule {
    round: Round,
    interval: Duration,
    timeout: Option<Duration>,
}

impl Schedule {
    fn new(now: Instant, delay: f64, interval: f64, timeout: f64) -> Self {
        let timeout = seconds(timeout);
        Self {
            round: Round::Waiting { until: now + seconds(delay) },
            interval: seconds(interval),
            timeout: (!timeout.is_zero()).then_some(timeout),
        }
    }

    fn poll_wake(&self) -> Option<Instant> {
        match self.round {
            Round::Waiting { until } => Some(until),
            Round::Probing => None,
        }
    }

    fn poll(&mut self, now: Instant) -> bool {
        let due = self.poll_wake().is_some_and(|at| at <= now);
        if due {
            self.round = Round::Probing;
        }
        due
    }

    fn answered(&mut self, now: Instant) {
        self.round = Round::Waiting { until: now + self.interval };
    }
}

fn seconds(value: f64) -> Duration {
    // Nonsense (negative, not a number, beyond all time) is taken as none at all.
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// What an answer means for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing to tell.
    Unchanged,
    /// It is healthy, for the first time or again.
    Healthy,
    /// It is not; with `kill`, once too often.
    Unhealthy { kill: bool },
}

/// A `health_check` at work.
#[derive(Debug)]
pub(super) struct Health {
    probe: Probe,
    schedule: Schedule,
    grace_until: Instant,
    limit: u32,
    failures: u32,
    /// No success yet.
    fresh: bool,
}

impl Health {
    /// Starts one, unless it says nothing that can be probed.
    pub(super) fn new(now: Instant, check: &HealthCheck) -> Option<Self> {
        use health_check::Type;
        let kind = match check.r#type() {
            Type::Unknown if check.command.is_some() => Type::Command,
            Type::Unknown if check.http.is_some() => Type::Http,
            Type::Unknown if check.tcp.is_some() => Type::Tcp,
            kind @ (Type::Unknown | Type::Command | Type::Http | Type::Tcp) => kind,
        };
        let probe = match kind {
            Type::Command => Probe::Command(check.command.clone()?),
            Type::Http => {
                let http = check.http.as_ref()?;
                let scheme = http.scheme.as_deref().unwrap_or("http");
                let path = http.path.as_deref().unwrap_or_default();
                let host = host(http.protocol());
                Probe::Http { url: format!("{scheme}://{host}:{}{path}", http.port) }
            }
            Type::Tcp => {
                let tcp = check.tcp.as_ref()?;
                Probe::Tcp { host: host(tcp.protocol()), port: tcp.port }
            }
            Type::Unknown => return None,
        };
        Some(Self {
            probe,
            schedule: Schedule::new(
                now,
                check.delay_seconds(),
                check.interval_seconds(),
                check.timeout_seconds(),
            ),
            grace_until: now + seconds(check.grace_period_seconds()),
            limit: check.consecutive_failures(),
            failures: 0,
            fresh: true,
        })
    }

    /// When [`Health::poll`] has something.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        self.schedule.poll_wake()
    }

    /// What is to be tried now, and for how long.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Probe, Option<Duration>)> {
        self.schedule.poll(now).then(|| (self.probe.clone(), self.schedule.timeout))
    }

    /// Judges an answer.
    pub(super) fn handle(&mut self, now: Instant, answer: Answer) -> Judgement {
        self.schedule.answered(now);
        let healthy = match answer {
            Answer::ExitCode(code) => code == 0,
            Answer::StatusCode(code) => (200..400).contains(&code),
            Answer::Connected(connected) => connected,
            Answer::Nothing => false,
        };
        if healthy {
            let news = self.fresh || self.failures > 0;
            self.fresh = false;
            self.failures = 0;
            return if news { Judgement::Healthy } else { Judgement::Unchanged };
        }
        if self.fresh && now < self.grace_until {
            return Judgement::Unchanged;
        }
        self.failures += 1;
        Judgement::Unhealthy { kill: self.failures >= self.limit }
    }
}

/// A `check` at work.
#[derive(Debug)]
pub(super) struct Watch {
    probe: Probe,
    schedule: Schedule,
    kind: check_info::Type,
    last: CheckStatusInfo,
}

impl Watch {
    /// Starts one, unless it says nothing that can be probed.
    pub(super) fn new(now: Instant, check: &CheckInfo) -> Option<Self> {
        use check_info::Type;
        let probe = match check.r#type() {
            Type::Command => Probe::Command(check.command.as_ref()?.command.clone()),
            Type::Http => {
                let http = check.http.as_ref()?;
                let path = http.path.as_deref().unwrap_or_default();
                Probe::Http { url: format!("http://127.0.0.1:{}{path}", http.port) }
            }
            Type::Tcp => Probe::Tcp { host: host(Protocol::IPv4), port: check.tcp.as_ref()?.port },
            Type::Unknown => return None,
        };
        Some(Self {
            probe,
            schedule: Schedule::new(
                now,
                check.delay_seconds(),
                check.interval_seconds(),
                check.timeout_seconds(),
            ),
            kind: check.r#type(),
            last: status(check.r#type(), Answer::Nothing),
        })
    }

    /// When [`Watch::poll`] has something.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        self.schedule.poll_wake()
    }

    /// What is to be tried now, and for how long.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Probe, Option<Duration>)> {
        self.schedule.poll(now).then(|| (self.probe.clone(), self.schedule.timeout))
    }

    /// Takes an answer; yields the status if it is another one.
    pub(super) fn handle(&mut self, now: Instant, answer: Answer) -> Option<CheckStatusInfo> {
        self.schedule.answered(now);
        let status = status(self.kind, answer);
        if status == self.last {
            return None;
        }
        self.last = status;
        Some(status)
    }

    /// The status as long as nothing is known.
    pub(super) fn empty(&self) -> CheckStatusInfo {
        status(self.kind, Answer::Nothing)
    }
}

fn status(kind: check_info::Type, answer: Answer) -> CheckStatusInfo {
    let mut info = CheckStatusInfo { r#type: Some(kind.into()), ..CheckStatusInfo::default() };
    match kind {
        check_info::Type::Command => {
            let exit_code = match answer {
                Answer::ExitCode(code) => Some(code),
                Answer::StatusCode(_) | Answer::Connected(_) | Answer::Nothing => None,
            };
            info.command = Some(check_status_info::Command { exit_code });
        }
        check_info::Type::Http => {
            let status_code = match answer {
                Answer::StatusCode(code) => Some(u32::from(code)),
                Answer::ExitCode(_) | Answer::Connected(_) | Answer::Nothing => None,
            };
            info.http = Some(check_status_info::Http { status_code });
        }
        check_info::Type::Tcp => {
            let succeeded = match answer {
                Answer::Connected(connected) => Some(connected),
                Answer::ExitCode(_) | Answer::StatusCode(_) | Answer::Nothing => None,
            };
            info.tcp = Some(check_status_info::Tcp { succeeded });
        }
        check_info::Type::Unknown => {}
    }
    info
}

fn host(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::IPv4 => "127.0.0.1",
        Protocol::IPv6 => "[::1]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grace: f64, limit: u32) -> HealthCheck {
        HealthCheck {
            command: Some(CommandInfo::default()),
            delay_seconds: Some(1.0),
            interval_seconds: Some(2.0),
            grace_period_seconds: Some(grace),
            consecutive_failures: Some(limit),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn failures_in_the_grace_period_do_not_count_and_successes_are_told_once() {
        use Judgement::{Healthy, Unchanged, Unhealthy};
        let start = Instant::now();
        let mut health = Health::new(start, &check(5.0, 2)).unwrap();
        let steps = [
            (1, Answer::ExitCode(1), Unchanged), // within the grace period
            (3, Answer::Nothing, Unchanged),
            (5, Answer::ExitCode(1), Unhealthy { kill: false }),
            (7, Answer::ExitCode(0), Healthy),
            (9, Answer::ExitCode(0), Unchanged),
            (11, Answer::ExitCode(7), Unhealthy { kill: false }),
            (13, Answer::ExitCode(0), Healthy),
            (15, Answer::ExitCode(1), Unhealthy { kill: false }),
            (17, Answer::ExitCode(1), Unhealthy { kill: true }),
        ];
        for (second, answer, expected) in steps {
            let now = start + Duration::from_secs(second);
            assert_eq!(health.poll_wake(), Some(now));
            assert!(health.poll(now - Duration::from_millis(1)).is_none());
            assert!(health.poll(now).is_some());
            assert_eq!(health.poll_wake(), None, "one probe at a time");
            assert_eq!(health.handle(now, answer), expected, "at {second}");
        }
    }

    #[test]
    fn codes_and_connections_are_judged() {
        let now = Instant::now();
        for (answer, healthy) in [
            (Answer::StatusCode(199), false),
            (Answer::StatusCode(200), true),
            (Answer::StatusCode(399), true),
            (Answer::StatusCode(400), false),
            (Answer::Connected(true), true),
            (Answer::Connected(false), false),
        ] {
            let mut health = Health::new(now, &check(0.0, 9)).unwrap();
            let judged = health.handle(now, answer);
            assert_eq!(judged == Judgement::Healthy, healthy, "{answer:?}");
        }
    }

    #[test]
    fn a_watch_tells_changes_only() {
        let now = Instant::now();
        let info = CheckInfo {
            r#type: Some(check_info::Type::Tcp.into()),
            tcp: Some(check_info::Tcp { port: 80 }),
            ..CheckInfo::default()
        };
        let mut watch = Watch::new(now, &info).unwrap();
        assert_eq!(watch.empty().tcp, Some(check_status_info::Tcp { succeeded: None }));
        assert_eq!(watch.handle(now, Answer::Nothing), None);
        let up = watch.handle(now, Answer::Connected(true)).unwrap();
        assert_eq!(up.tcp.unwrap().succeeded, Some(true));
        assert_eq!(watch.handle(now, Answer::Connected(true)), None);
        let lost = watch.handle(now, Answer::Nothing).unwrap();
        assert_eq!(lost.tcp.unwrap().succeeded, None);
    }

    #[test]
    fn addresses_are_those_of_the_loopback() {
        let now = Instant::now();
        let http = |protocol: Option<Protocol>| HealthCheck {
            http: Some(health_check::HttpCheckInfo {
                port: 80,
                path: Some("/ok".to_owned()),
                protocol: protocol.map(Into::into),
                ..Default::default()
            }),
            ..HealthCheck::default()
        };
        let url = |check: &HealthCheck| Health::new(now, check).unwrap().probe;
        let expected = Probe::Http { url: "http://127.0.0.1:80/ok".to_owned() };
        assert_eq!(url(&http(None)), expected);
        let expected = Probe::Http { url: "http://[::1]:80/ok".to_owned() };
        assert_eq!(url(&http(Some(Protocol::IPv6))), expected);
        assert!(Health::new(now, &HealthCheck::default()).is_none());
    }
}
