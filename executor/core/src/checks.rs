//! Checks: when a run is probed, and what the answers mean.
//!
//! Owns the schedule of every `health_check` and every `check`, with one probe of
//! each at a time, and what is known of each task. Refuses to probe, to end a
//! task and to write updates: it tells its caller, the core, what a probe has
//! shown. Mesos 1.11, `src/checks/health_checker.cpp`, `src/checks/checker.cpp`.
//!
//! ```text
//!           start               due                  answer, or too late (abandoned)
//!   Idle ──────────▶ Waiting ──────────▶ Probing ───────────────────────────▶ Waiting
//!     ▲               │ delay, then       │ timeout                           │
//!     └──── stop ─────┴───── interval ────┴───────────────────────────────────┘
//! ```
//!
//! * **Idle**: the task has no process yet, or is about to end.
//! * **Waiting**: for the delay at first; afterwards for the interval, which
//!   begins when a probe ends.
//! * **Probing**: one probe is under way.

mod general;
mod health;
mod round;
pub(crate) mod spec;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use marmoset_proto::{
    mesos::v1::{CheckStatusInfo, ContainerStatus, TaskId},
    status,
};

use self::{
    general::General,
    health::Health,
    round::{Due, Round},
    spec::CheckSpecs,
};
use crate::{
    action::{Action, Probe, Spawn},
    ids::ProbeId,
    input::Answer,
    note::Note,
};

/// Which of a task's two checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// `health_check`: judges, and may end the task.
    Health,
    /// `check`: only tells.
    General,
}

/// What a probe has shown, where that is worth an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The task is healthy, for the first time or again.
    Healthy,
    /// It is not; with `kill`, once too often.
    Unhealthy { kill: bool },
    /// The status of its `check` is another one.
    Changed,
}

/// What every update of a task says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Known {
    pub(crate) healthy: Option<bool>,
    pub(crate) check_status: Option<CheckStatusInfo>,
}

/// The checks of all tasks that have some.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    last: ProbeId,
    tasks: BTreeMap<TaskId, Watched>,
    probes: BTreeMap<ProbeId, (TaskId, Kind)>,
    timers: BTreeSet<(Instant, TaskId, Kind)>,
}

/// A task with checks.
#[derive(Debug)]
struct Watched {
    spawn: Option<Arc<Spawn>>,
    container_status: Option<ContainerStatus>,
    health: Option<Health>,
    general: Option<General>,
}

impl Watched {
    fn round(&mut self, kind: Kind) -> Option<&mut Round> {
        match kind {
            Kind::Health => self.health.as_mut().map(|health| &mut health.round),
            Kind::General => self.general.as_mut().map(|general| &mut general.round),
        }
    }
}

impl Checks {
    /// Takes the checks of a task in; nothing happens before [`Self::start`].
    pub(crate) fn add(&mut self, task: &TaskId, specs: &CheckSpecs) {
        if specs.is_empty() {
            return;
        }
        let watched = Watched {
            spawn: None,
            container_status: None,
            health: specs.health.as_ref().map(Health::new),
            general: specs.general.as_ref().map(General::new),
        };
        self.tasks.insert(task.clone(), watched);
    }

    /// Keeps what was asked to run, if the task has checks.
    pub(crate) fn prepare(&mut self, task: &TaskId, spawn: &Spawn) {
        if let Some(watched) = self.tasks.get_mut(task) {
            watched.spawn = Some(Arc::new(spawn.clone()));
        }
    }

    /// The run has started: delays and the grace period begin.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        task: &TaskId,
        container_status: Option<&ContainerStatus>,
    ) {
        let Some(watched) = self.tasks.get_mut(task) else { return };
        watched.container_status = container_status.cloned();
        if let Some(health) = &mut watched.health {
            health.start(now);
        }
        for kind in [Kind::Health, Kind::General] {
            let Some(round) = watched.round(kind) else { continue };
            round.start(now);
            self.timers.extend(round.timer().map(|at| (at, task.clone(), kind)));
        }
    }

    /// Probes no more. What is known stays known.
    pub(crate) fn stop(&mut self, task: &TaskId, actions: &mut VecDeque<Action>) {
        let Some(watched) = self.tasks.get_mut(task) else { return };
        for kind in [Kind::Health, Kind::General] {
            let Some(round) = watched.round(kind) else { continue };
            if let Some(at) = round.timer() {
                self.timers.remove(&(at, task.clone(), kind));
            }
            if let Some(probe) = round.stop() {
                self.probes.remove(&probe);
                actions.push_back(Action::Abandon(probe));
            }
        }
    }

    /// Forgets a task that was stopped.
    pub(crate) fn remove(&mut self, task: &TaskId) {
        self.tasks.remove(task);
    }

    /// What every update of the task says.
    pub(crate) fn known(&self, task: &TaskId) -> Known {
        let Some(watched) = self.tasks.get(task) else { return Known::default() };
        Known {
            healthy: watched.health.as_ref().and_then(|health| health.healthy),
            check_status: watched.general.as_ref().map(|general| general.status),
        }
    }

    /// What TASK_RUNNING has told of the task's container, to be repeated.
    pub(crate) fn container_status(&self, task: &TaskId) -> Option<ContainerStatus> {
        self.tasks.get(task)?.container_status.clone()
    }

    /// Starts the probes that are due, and gives up those that take too long.
    pub(crate) fn wake(
        &mut self,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> Vec<(TaskId, Finding)> {
        let due = self
            .timers
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .map(|(_, task, kind)| (task.clone(), *kind))
            .collect::<Vec<_>>();
        // Each of them once: a round of no length must not keep us here.
        due.into_iter()
            .filter_map(|(task, kind)| {
                let finding = self.wake_one(now, &task, kind, actions);
                Some((task, finding?))
            })
            .collect()
    }

    fn wake_one(
        &mut self,
        now: Instant,
        task: &TaskId,
        kind: Kind,
        actions: &mut VecDeque<Action>,
    ) -> Option<Finding> {
        let watched = self.tasks.get_mut(task)?;
        let spawn = watched.spawn.clone()?;
        let round = watched.round(kind)?;
        let before = round.timer()?;
        match round.due(now)? {
            Due::Probe(attempt) => {
                let id = self.last.next();
                round.probe(now, id);
                self.timers.remove(&(before, task.clone(), kind));
                self.timers.extend(round.timer().map(|at| (at, task.clone(), kind)));
                self.probes.insert(id, (task.clone(), kind));
                actions.push_back(Action::Probe(Box::new(Probe { id, spawn, attempt })));
                None
            }
            Due::TooLate(probe, timeout) => {
                actions.push_back(Action::Abandon(probe));
                let reason = format!("no answer within {timeout:?}");
                self.handle(now, probe, &Answer::Nothing { reason }, actions).map(|(_, it)| it)
            }
        }
    }

    /// Takes an answer. Those to probes that were abandoned mean nothing.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        probe: ProbeId,
        answer: &Answer,
        actions: &mut VecDeque<Action>,
    ) -> Option<(TaskId, Finding)> {
        let (task, kind) = self.probes.remove(&probe)?;
        let watched = self.tasks.get_mut(&task)?;
        let round = watched.round(kind)?;
        if let Some(at) = round.timer() {
            self.timers.remove(&(at, task.clone(), kind));
        }
        round.ended(now);
        self.timers.extend(round.timer().map(|at| (at, task.clone(), kind)));
        let (finding, note) = match kind {
            Kind::Health => {
                let health = watched.health.as_mut()?;
                let finding = health.judge(now, is_healthy(answer));
                let note = complaint(answer).map(|reason| match finding {
                    Some(_) => Note::Unhealthy {
                        task: task.clone(),
                        failures: health.failures(),
                        limit: health.limit(),
                        reason,
                    },
                    None => Note::FailureIgnored { task: task.clone(), reason },
                });
                (finding, note)
            }
            Kind::General => {
                let changed = watched.general.as_mut()?.take(answer);
                let note = match answer {
                    Answer::Nothing { reason } => {
                        Some(Note::CheckFailed { task: task.clone(), reason: reason.clone() })
                    }
                    Answer::Exited { .. }
                    | Answer::Responded { .. }
                    | Answer::Connected
                    | Answer::NotConnected { .. } => None,
                };
                (changed.then_some(Finding::Changed), note)
            }
        };
        actions.extend(note.map(Action::Note));
        Some((task, finding?))
    }

    /// When [`Self::wake`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.timers.first().map(|(at, ..)| *at)
    }
}

fn is_healthy(answer: &Answer) -> bool {
    match answer {
        Answer::Exited { wait_status } => status::is_success(*wait_status),
        Answer::Responded { code } => (200..400).contains(code),
        Answer::Connected => true,
        Answer::NotConnected { .. } | Answer::Nothing { .. } => false,
    }
}

/// Why an answer does not speak for the task; nothing if it does.
fn complaint(answer: &Answer) -> Option<String> {
    if is_healthy(answer) {
        return None;
    }
    Some(match answer {
        Answer::Exited { wait_status } => status::describe(*wait_status),
        Answer::Responded { code } => format!("the answer was {code}"),
        Answer::Connected => return None,
        Answer::NotConnected { reason } | Answer::Nothing { reason } => reason.clone(),
    })
}
