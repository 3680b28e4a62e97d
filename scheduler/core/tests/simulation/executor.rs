//! A model of the resident executor: it runs batches, and answers as the real one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use marmoset_proto::{
    marmoset::v1::{Control, IndexRange, ItemResult, Report, TaskSpec},
    mesos::v1::{TaskId, TaskInfo, TaskState},
};
use prost::Message;

/// How a command ends: what the model decides in place of a process.
pub type Script = fn(index: u64) -> Fate;

#[derive(Debug, Clone, Copy)]
pub struct Fate {
    pub exit: i32,
    pub micros: u64,
}

#[derive(Debug)]
pub struct Executor {
    script: Script,
    tasks: BTreeMap<TaskId, Running>,
}

#[derive(Debug)]
struct Running {
    single: bool,
    width: usize,
    waiting: VecDeque<(u64, u32)>,
    /// Index, attempt and start of what runs.
    running: BTreeMap<u64, (u32, u64)>,
    results: Vec<ItemResult>,
    returned: BTreeSet<u64>,
    received: u64,
    killed: bool,
    reported: bool,
}

/// What the executor wants to happen.
#[derive(Debug)]
pub enum Wish {
    EndItem { task: TaskId, index: u64, at: u64 },
    Update { task: TaskId, state: TaskState, report: Option<Report> },
    ReportAt { task: TaskId, at: u64 },
}

const REPORT_INTERVAL: u64 = 100_000;

impl Executor {
    pub fn new(script: Script) -> Self {
        Self { script, tasks: BTreeMap::new() }
    }

    pub fn tasks(&self) -> Vec<TaskId> {
        self.tasks.keys().cloned().collect()
    }

    pub fn launch(&mut self, now: u64, info: &TaskInfo) -> Vec<Wish> {
        let spec = TaskSpec::decode(info.data.clone().unwrap()).unwrap();
        let mut waiting = VecDeque::new();
        let single = spec.command.is_some();
        let mut width = 1;
        if let Some(item) = spec.item {
            waiting.push_back((item.index, item.attempt()));
        }
        if let Some(batch) = spec.batch {
            assert!(batch.items.len() + batch.ranges.len() > 0, "an empty batch");
            width = batch.width() as usize;
            for range in batch.ranges {
                waiting.extend((range.begin..=range.end).map(|index| (index, 0)));
            }
            waiting.extend(batch.items.iter().map(|item| (item.index, item.attempt())));
        }
        assert!(width <= waiting.len(), "more slots than items");
        let mut running = Running {
            single,
            width,
            waiting,
            running: BTreeMap::new(),
            results: Vec::new(),
            returned: BTreeSet::new(),
            received: now,
            killed: false,
            reported: false,
        };
        let mut wishes = vec![Wish::Update {
            task: info.task_id.clone(),
            state: TaskState::TaskRunning,
            report: None,
        }];
        running.fill(now, &info.task_id, self.script, &mut wishes);
        self.tasks.insert(info.task_id.clone(), running);
        wishes
    }

    pub fn end_item(&mut self, now: u64, task: &TaskId, index: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let script = self.script;
        let Some(running) = self.tasks.get_mut(task) else { return wishes };
        let Some((attempt, started)) = running.running.remove(&index) else { return wishes };
        let exit = script(index).exit;
        let state = match (running.killed, exit) {
            (true, _) => TaskState::TaskKilled,
            (false, 0) => TaskState::TaskFinished,
            (false, _) => TaskState::TaskFailed,
        };
        running.results.push(ItemResult {
            index,
            attempt: Some(attempt),
            state: Some(state.into()),
            wait_status: Some(if running.killed { 15 } else { exit << 8 }),
            started_us: Some(started - running.received),
            ended_us: Some(now - running.received),
            ..ItemResult::default()
        });
        running.fill(now, task, script, &mut wishes);
        self.progress(now, task, &mut wishes);
        wishes
    }

    pub fn report(&mut self, task: &TaskId) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if let Some(running) = self.tasks.get_mut(task) {
            running.reported = false;
            if !running.results.is_empty() || !running.returned.is_empty() {
                let report = Some(running.take_report());
                wishes.push(Wish::Update {
                    task: task.clone(),
                    state: TaskState::TaskRunning,
                    report,
                });
            }
        }
        wishes
    }

    pub fn kill(&mut self, now: u64, task: &TaskId) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(running) = self.tasks.get_mut(task) else { return wishes };
        running.killed = true;
        for (index, attempt) in running.waiting.drain(..) {
            running.results.push(ItemResult {
                index,
                attempt: Some(attempt),
                state: Some(TaskState::TaskKilled.into()),
                ended_us: Some(now - running.received),
                ..ItemResult::default()
            });
        }
        for index in running.running.keys() {
            wishes.push(Wish::EndItem { task: task.clone(), index: *index, at: now + 1000 });
        }
        self.progress(now, task, &mut wishes);
        wishes
    }

    pub fn message(&mut self, now: u64, data: &[u8]) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(select) = Control::decode(data).unwrap().take_back else { return wishes };
        let Some(running) = self.tasks.get_mut(&select.task_id) else { return wishes };
        let chosen = |index: u64| {
            select.indices.iter().any(|range| (range.begin..=range.end).contains(&index))
        };
        let (back, rest) = running.waiting.drain(..).partition(|(index, _)| chosen(*index));
        let back: VecDeque<(u64, u32)> = back;
        running.waiting = rest;
        running.returned.extend(back.iter().map(|(index, _)| *index));
        self.progress(now, &select.task_id, &mut wishes);
        wishes
    }

    /// Ends the Mesos task when nothing is left, or sees to the next report.
    fn progress(&mut self, now: u64, task: &TaskId, wishes: &mut Vec<Wish>) {
        let Some(running) = self.tasks.get_mut(task) else { return };
        if running.waiting.is_empty() && running.running.is_empty() {
            let state = match (running.killed, running.single) {
                (true, _) => TaskState::TaskKilled,
                (false, true) => running.results[0].state(),
                (false, false) => TaskState::TaskFinished,
            };
            let report = Some(running.take_report());
            wishes.push(Wish::Update { task: task.clone(), state, report });
            self.tasks.remove(task);
        } else if !running.reported {
            running.reported = true;
            wishes.push(Wish::ReportAt { task: task.clone(), at: now + REPORT_INTERVAL });
        }
    }
}

impl Running {
    fn fill(&mut self, now: u64, task: &TaskId, script: Script, wishes: &mut Vec<Wish>) {
        while self.running.len() < self.width {
            let Some((index, attempt)) = self.waiting.pop_front() else { break };
            self.running.insert(index, (attempt, now));
            let at = now + script(index).micros;
            wishes.push(Wish::EndItem { task: task.clone(), index, at });
        }
    }

    fn take_report(&mut self) -> Report {
        let returned = std::mem::take(&mut self.returned);
        Report {
            received_us: Some(self.received),
            results: std::mem::take(&mut self.results),
            returned: returned
                .into_iter()
                .map(|index| IndexRange { begin: index, end: index })
                .collect(),
        }
    }
}
