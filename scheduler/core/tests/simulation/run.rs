//! Runs a job on the model and checks the books as it goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::CommandInfo;
use marmoset_scheduler_core::{
    Action, Config, Core, EndState, ExecutorTemplate, Framework, Input, JobEvent, JobId, JobSpec,
    Now, Progress, RetryReason, SessionAction, SessionInput, StopMode, WallTime,
};

use crate::cluster::{Cluster, Delivery};

pub struct Run {
    pub cluster: Cluster,
    pub core: Core,
    start: Instant,
    pub job: JobId,
    pub ends: BTreeMap<u64, (EndState, Option<i32>)>,
    retries: BTreeMap<u64, (u32, u32)>,
    pub over: bool,
    never_started: BTreeSet<u64>,
    pub finished: bool,
    retries_allowed: u32,
    lost_retries_allowed: u32,
    /// Whether to keep every end; off for millions.
    keep: bool,
    pub total: u64,
}

pub fn config() -> Config {
    let command =
        CommandInfo { value: Some("/bin/marmoset-executor".to_owned()), ..CommandInfo::default() };
    Config {
        framework: Framework::new("test", "root"),
        executor: ExecutorTemplate::new(command),
        limits: marmoset_scheduler_core::Limits::default(),
        timing: marmoset_scheduler_core::Timing::default(),
    }
}

impl Run {
    pub fn new(cluster: Cluster, spec: JobSpec, seed: u64, keep: bool) -> Self {
        let start = Instant::now();
        let (retries_allowed, lost_retries_allowed) = (spec.retries, spec.lost_retries);
        let now = Now {
            instant: start + Duration::from_micros(cluster.now),
            wall: WallTime(cluster.now),
        };
        let mut core = Core::new(now, config(), seed);
        let job = core.submit(now, spec).unwrap();
        let mut run = Self {
            cluster,
            core,
            start,
            job,
            ends: BTreeMap::new(),
            retries: BTreeMap::new(),
            over: false,
            never_started: BTreeSet::new(),
            finished: false,
            retries_allowed,
            lost_retries_allowed,
            keep,
            total: 0,
        };
        run.perform();
        run
    }

    pub fn now(&self) -> Now {
        Now {
            instant: self.start + Duration::from_micros(self.cluster.now),
            wall: WallTime(self.cluster.now),
        }
    }

    pub fn progress(&self) -> Progress {
        self.core.progress(self.job).unwrap()
    }

    pub fn input(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input);
        self.perform();
    }

    /// Runs until a condition holds.
    pub fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = self.cluster.now + 40_000_000_000;
        while !condition(self) {
            assert!(
                self.cluster.now < deadline,
                "it takes for ever: {:?} {:?} {:?}",
                self.progress(),
                self.core.counters(),
                self.core.poll_wake()
            );
            self.step();
        }
    }

    fn step(&mut self) {
        let wake = self.core.poll_wake().map(|(due, _)| {
            let micros = due.saturating_duration_since(self.start).as_micros();
            // A wake-up is never early.
            u64::try_from(micros).unwrap() + 1
        });
        let next = self.cluster.next_at();
        match (wake, next) {
            (Some(wake), next) if next.is_none_or(|next| wake < next) => {
                self.cluster.now = self.cluster.now.max(wake);
                self.input(Input::Wake);
            }
            (_, Some(_)) => match self.cluster.step() {
                None => {}
                Some(Delivery::Connected) => self.input(Input::Session(SessionInput::Connected)),
                Some(Delivery::Event(event)) => {
                    self.input(Input::Session(SessionInput::Event(event)));
                }
                Some(Delivery::StreamEnded) => {
                    let why = "end of stream".to_owned();
                    self.input(Input::Session(SessionInput::Disconnected { why }));
                }
            },
            (_, None) => panic!("nothing will ever happen again: {:?}", self.progress()),
        }
    }

    fn perform(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Session(SessionAction::Subscribe(call)) => self.cluster.subscribe(&call),
                Action::Session(SessionAction::Disconnect { .. }) => self.cluster.disconnect(),
                Action::Session(_) | Action::Notice(_) => {}
                Action::Send(call) => self.cluster.call(call),
                Action::Finished(_) => self.finished = true,
                Action::Job(_, event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: JobEvent) {
        assert!(!self.over, "{event:?} behind the end");
        match event {
            JobEvent::TaskEnded(end) => {
                self.total += 1;
                assert!(end.launch.unwrap_or_default() <= end.total);
                if self.keep {
                    let before = self.ends.insert(end.index, (end.state, end.wait_status));
                    assert_eq!(before, None, "item {} ended twice", end.index);
                }
            }
            JobEvent::TaskRetried(retry) => {
                let spent = self.retries.entry(retry.index).or_default();
                match retry.why {
                    RetryReason::Failed => spent.0 += 1,
                    RetryReason::Lost => spent.1 += 1,
                    RetryReason::NotStarted => {}
                }
                assert!(spent.0 <= self.retries_allowed, "{retry:?}");
                assert!(spent.1 <= self.lost_retries_allowed, "{retry:?}");
            }
            JobEvent::NeverStarted { begin, end } => {
                self.total += end - begin + 1;
                if self.keep {
                    for index in begin..=end {
                        assert!(self.never_started.insert(index));
                        assert!(!self.ends.contains_key(&index), "item {index} ended twice");
                    }
                }
            }
            JobEvent::Ended => {
                self.over = true;
                assert_eq!(self.total, self.progress().total);
                assert_eq!(self.progress().ended.total(), self.progress().total);
                assert_eq!(self.progress().under_way, 0);
                assert_eq!(self.progress().slots, 0);
            }
            JobEvent::Launched { .. } | JobEvent::TaskStarted(_) | JobEvent::Waiting { .. } => {}
        }
    }

    /// Ends the framework and checks that nothing is left behind.
    pub fn finish(&mut self) {
        // Acknowledgements that were lost are repeated for updates that come again.
        let settled = self.cluster.now + 3_000_000_000;
        while self.cluster.now < settled {
            self.step();
        }
        self.cluster.assert_clean();
        self.input(Input::Stop(StopMode::Graceful));
        assert!(self.finished);
    }
}
