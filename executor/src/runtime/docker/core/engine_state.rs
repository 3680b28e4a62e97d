//! Whether the engine is there.

use std::time::{Duration, Instant};

use super::{Act, Core, Log, Phase};
use crate::runtime::docker::engine::EngineError;
use marmoset_executor_core::{Now, RunId};

#[derive(Debug)]
pub(super) enum EngineState {
    Up,
    /// The reason is absent until something has failed.
    Down {
        since: Instant,
        reason: Option<String>,
    },
}

impl EngineState {
    /// Nothing is known before the first list.
    pub(super) fn new(now: Instant) -> Self {
        Self::Down { since: now, reason: None }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }

    pub(super) fn down_since(&self) -> Option<Instant> {
        match self {
            Self::Up => None,
            Self::Down { since, .. } => Some(*since),
        }
    }
}

impl Core {
    /// A call had no answer, or the events ended.
    pub(super) fn away(&mut self, now: Now, error: &EngineError) {
        let text = error.to_string();
        match &mut self.engine {
            EngineState::Up => {
                self.engine = EngineState::Down { since: now.instant, reason: Some(text.clone()) };
                self.acts.push_back(Act::Log(Log::EngineDown { reason: text }));
                self.acts.push_back(Act::List);
            }
            EngineState::Down { reason, .. } => {
                if reason.is_none() {
                    self.acts.push_back(Act::Log(Log::EngineDown { reason: text.clone() }));
                }
                *reason = Some(text);
            }
        }
    }

    /// A list was answered.
    pub(super) fn back(&mut self, now: Now) {
        if let EngineState::Down { since, reason } = &self.engine {
            if reason.is_some() {
                let after = now.instant.saturating_duration_since(*since);
                self.acts.push_back(Act::Log(Log::EngineUp { after }));
            }
            self.engine = EngineState::Up;
        }
    }

    /// Whether a run would be refused if the engine stays away.
    pub(super) fn waits_for_engine(&self) -> bool {
        self.containers.values().any(|container| may_wait(container.phase))
    }

    /// Gives up what has waited for too long, and asks for a list where one is due.
    pub(super) fn wake(&mut self, now: Now) {
        if self.list_at.is_some_and(|at| at <= now.instant) {
            self.list_at = None;
            self.acts.push_back(Act::List);
        }
        self.ask_about_suspects(now);
        let EngineState::Down { since, reason } = &self.engine else { return };
        if now.instant < *since + self.config.patience {
            return;
        }
        let reason = reason.clone().unwrap_or_else(|| "the Docker engine does not answer".into());
        let message = format!(
            "Failed to run docker container: {reason}; it was waited for {}",
            seconds(self.config.patience)
        );
        let waiting = self.containers.iter().filter(|(_, c)| may_wait(c.phase));
        let waiting = waiting.map(|(run, c)| (*run, c.phase)).collect::<Vec<_>>();
        for (run, phase) in waiting {
            self.give_up(run, phase, message.clone());
        }
    }

    fn give_up(&mut self, run: RunId, phase: Phase, message: String) {
        let message = match phase {
            Phase::Doubtful => format!("{message}; whether it was started is not known"),
            _ => message,
        };
        self.drop_container(run);
        self.refuse(run, message);
    }
}

fn may_wait(phase: Phase) -> bool {
    match phase {
        Phase::Imaging | Phase::Waiting | Phase::Created | Phase::Doubtful => true,
        Phase::Creating
        | Phase::Starting
        | Phase::Describing
        | Phase::Running { .. }
        | Phase::Dying
        | Phase::Missed { .. } => false,
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
