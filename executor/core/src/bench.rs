//! Entrances for benchmarks to what is private. No part of the interface.

use std::time::{Duration, Instant};

use marmoset_proto::mesos::v1::{TaskId, TaskState, TaskStatus};

use crate::{
    config::Config,
    ids::UpdateId,
    ledger::{Acknowledged, Ledger, Weight},
    random::Random,
};

/// A ledger in which other updates wait for their acknowledgement.
#[derive(Debug)]
pub struct LedgerBench {
    ledger: Ledger,
    random: Random,
    now: Instant,
    next: u64,
}

impl LedgerBench {
    /// So many updates of other tasks were sent before `now` and wait.
    pub fn new(now: Instant, waiting: u64) -> Self {
        let config = Config::new("framework".into(), "executor".into(), [1; 32]);
        let mut bench =
            Self { ledger: Ledger::new(&config), random: Random::new([2; 32]), now, next: 0 };
        for _ in 0..waiting {
            let (task, _) = bench.add_all();
            assert!(bench.send(), "{task} was not sent");
        }
        bench
    }

    /// A task comes, runs and ends within 2 ms, and what is to be told of it is acknowledged.
    ///
    /// # Panics
    /// When the ledger is wrong.
    pub fn task(&mut self) {
        let (task, end) = self.add_all();
        while self.send() {}
        assert_eq!(self.ledger.acknowledge(&task, end), Acknowledged::Last);
    }

    fn add_all(&mut self) -> (TaskId, UpdateId) {
        self.next += 1;
        let task = TaskId::from(format!("job.{}", self.next));
        self.add(&task, Weight::Passing, TaskState::TaskStarting);
        self.add(&task, Weight::Light, TaskState::TaskRunning);
        self.now += Duration::from_millis(2);
        let end = self.add(&task, Weight::Terminal, TaskState::TaskFinished);
        (task, end)
    }

    fn add(&mut self, task: &TaskId, weight: Weight, state: TaskState) -> UpdateId {
        let id = self.random.update_id();
        let status = TaskStatus {
            task_id: task.clone(),
            state: state.into(),
            message: Some("Command exited with status 0".to_owned()),
            uuid: Some(bytes::Bytes::copy_from_slice(id.0.as_bytes())),
            ..TaskStatus::default()
        };
        self.ledger.add(self.now, id, status, weight);
        id
    }

    fn send(&mut self) -> bool {
        let call = self.ledger.poll_call(self.now);
        call.is_some_and(|(call, ..)| self.ledger.call_done(self.now, call))
    }
}
