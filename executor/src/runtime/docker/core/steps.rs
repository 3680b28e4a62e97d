//! The steps of one container.

use std::time::{Duration, Instant};

use marmoset_executor_core::{Now, RunId, Signal, WallTime};

use super::{
    Act, Container, Core, Exit, KILLED_BEFORE_START, LIST_INTERVAL, Log, Phase, Told, failure,
};
use crate::runtime::docker::engine::{
    Condition, EngineError, Event, Happening, Inspection, Listed,
};

const SIGKILL_CODE: i64 = 128 + 9;

/// How long after the end of a container its engine may take to tell that it was out of memory:
/// it hears of both in different ways.
pub(super) const OUT_OF_MEMORY_DELAY: Duration = Duration::from_millis(100);

/// A container that was told to end and does not is looked at then.
const AFTER_KILL: Duration = Duration::from_secs(5);

impl Core {
    /// Begins every step that can begin.
    pub(super) fn advance(&mut self) {
        if !self.engine.is_up() {
            return;
        }
        self.ask_images();
        while self.placed < self.config.places
            && let Some(run) = self.waiting.pop_front()
        {
            let Some(container) = self.containers.get_mut(&run) else { continue };
            if container.phase == Phase::Waiting {
                container.asked_for = true;
                self.set_phase(run, Phase::Creating);
                self.acts.push_back(Act::Create(run));
            }
        }
        for (run, container) in &mut self.containers {
            if let (Phase::Running { .. }, Some(signal)) = (container.phase, container.signal)
                && container.signal_sent != Some(signal)
            {
                container.signal_sent = Some(signal);
                self.acts.push_back(Act::Signal(*run, signal));
            }
        }
        self.remove_some();
    }

    pub(super) fn handle_created(&mut self, now: Now, run: RunId, result: Result<(), EngineError>) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        match result {
            Ok(()) if container.cancelled => {
                let name = container.launch.name.clone();
                self.refuse(run, KILLED_BEFORE_START.to_owned());
                self.removals.add(name);
            }
            Ok(()) if self.engine.is_up() => {
                self.set_phase(run, Phase::Starting);
                self.acts.push_back(Act::Start(run));
            }
            Ok(()) => self.set_phase(run, Phase::Created),
            Err(error) if container.cancelled && !matches!(error, EngineError::Invalid { .. }) => {
                let name = container.launch.name.clone();
                self.refuse(run, KILLED_BEFORE_START.to_owned());
                if !error.is_answer() {
                    // It may be there all the same, or come.
                    self.removals.add(name);
                    self.away(now, &error);
                }
            }
            Err(error) if error.is_not_found() && !container.image_vanished => {
                // Between the look at the image and now somebody has removed it.
                container.image_vanished = true;
                let launch = container.launch.clone();
                self.image_vanished(&launch.image, launch.pull);
                self.set_phase(run, Phase::Imaging);
            }
            Err(error @ EngineError::Invalid { .. }) => {
                if self.forget(run).is_some() {
                    self.tell(run, Told::Invalid(failure(&error)));
                }
            }
            Err(error) if error.is_answer() => self.refuse(run, failure(&error)),
            Err(error) => {
                // If it was created after all, creating it again finds it.
                self.set_phase(run, Phase::Waiting);
                self.waiting.push_front(run);
                self.away(now, &error);
            }
        }
    }

    pub(super) fn handle_started(&mut self, now: Now, run: RunId, result: Result<(), EngineError>) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        match result {
            Ok(()) => self.runs_now(now, run),
            Err(error) if error.is_answer() => {
                let name = container.launch.name.clone();
                self.refuse(run, failure(&error));
                self.removals.add(name);
            }
            Err(error) => {
                self.set_phase(run, Phase::Doubtful);
                self.away(now, &error);
            }
        }
    }

    /// It was started, whatever became of it since.
    fn runs_now(&mut self, now: Now, run: RunId) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        container.started_at.get_or_insert(now.wall);
        if container.launch.describe {
            self.set_phase(run, Phase::Describing);
            self.acts.push_back(Act::Inspect(run));
        } else {
            self.told_started(now, run, None);
        }
    }

    fn told_started(&mut self, now: Now, run: RunId, inspection: Option<Box<Inspection>>) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        let at = container.started_at.unwrap_or(now.wall);
        let died = container.died;
        self.set_phase(run, Phase::Running { since: now.instant });
        self.tell(run, Told::Started { at, inspection });
        match died {
            Some((code, at)) => self.died(now, run, code, at),
            None => self.list_by(now.instant + LIST_INTERVAL),
        }
    }

    pub(super) fn handle_event(&mut self, now: Now, event: Event) {
        let Some(&run) = self.names.get(&event.name) else { return };
        let Some(container) = self.containers.get_mut(&run) else { return };
        match event.what {
            Happening::Started => {
                container.started_at.get_or_insert(event.at);
                if container.phase == Phase::Doubtful {
                    self.runs_now(now, run);
                }
            }
            Happening::OutOfMemory => {
                container.out_of_memory = true;
                if container.phase == Phase::Dying {
                    self.ended(run, None);
                }
            }
            Happening::Signalled { signal } => {
                // Ours is told as well. What comes after it from elsewhere is of no interest.
                if container.signal_sent.is_none() {
                    container.foreign_signal = Some(signal);
                }
            }
            Happening::Died { exit_code } => match container.phase {
                Phase::Running { .. } => self.died(now, run, exit_code, event.at),
                Phase::Starting | Phase::Doubtful | Phase::Describing => {
                    container.died.get_or_insert((exit_code, event.at));
                }
                // A list was quicker than the event.
                Phase::Missed { told, .. } => {
                    if !told {
                        let at = *container.started_at.get_or_insert(event.at);
                        self.tell(run, Told::Started { at, inspection: None });
                    }
                    self.died(now, run, exit_code, event.at);
                }
                Phase::Imaging
                | Phase::Waiting
                | Phase::Creating
                | Phase::Created
                | Phase::Dying => {}
            },
            // It died before.
            Happening::Removed => {}
        }
    }

    fn died(&mut self, now: Now, run: RunId, code: i64, at: WallTime) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        container.died = Some((code, at));
        let ours = container.signal_sent == Some(Signal::Kill);
        let limited = container.launch.limited;
        if code == 0 || ours || container.out_of_memory || !limited && code != SIGKILL_CODE {
            self.ended(run, None);
            return;
        }
        self.set_phase(run, Phase::Dying);
        if limited {
            self.suspects.push_back((now.instant + OUT_OF_MEMORY_DELAY, run));
        } else {
            self.acts.push_back(Act::Inspect(run));
        }
    }

    /// Asks about those that may have been out of memory, of which nothing was told.
    pub(super) fn ask_about_suspects(&mut self, now: Now) {
        while let Some((at, run)) = self.suspects.front().copied()
            && at <= now.instant
        {
            self.suspects.pop_front();
            if self.containers.get(&run).is_some_and(|known| known.phase == Phase::Dying) {
                self.acts.push_back(Act::Inspect(run));
            }
        }
    }

    /// Tells the end of a container that is known to have died.
    fn ended(&mut self, run: RunId, remark: Option<String>) {
        let Some(container) = self.forget(run) else { return };
        let Some((code, at)) = container.died else { return };
        let exit = Exit {
            code,
            at,
            out_of_memory: container.out_of_memory && code != 0,
            remark: remark.or_else(|| foreign(&container)),
        };
        self.removals.add(container.launch.name);
        self.tell(run, Told::Exited(exit));
    }

    pub(super) fn handle_inspected(
        &mut self,
        now: Now,
        run: RunId,
        result: Result<Option<Inspection>, EngineError>,
    ) {
        if let Err(error) = &result
            && !error.is_answer()
        {
            let error = error.clone();
            self.away(now, &error);
        }
        let Some(container) = self.containers.get_mut(&run) else { return };
        match (container.phase, result) {
            (Phase::Describing, result) => {
                self.told_started(now, run, result.ok().flatten().map(Box::new));
            }
            (Phase::Dying, result) => {
                let killed = result.ok().flatten().is_some_and(|found| found.oom_killed);
                container.out_of_memory |= killed;
                self.ended(run, None);
            }
            (Phase::Missed { told, .. }, Ok(Some(found))) => {
                self.found(now, run, told, found);
            }
            (Phase::Missed { told, .. }, Ok(None)) => self.vanished(run, told),
            (Phase::Missed { told, .. }, Err(_)) => {
                self.set_phase(run, Phase::Missed { told, asked: false });
                self.list_by(now.instant + AFTER_KILL);
            }
            (
                Phase::Imaging
                | Phase::Waiting
                | Phase::Creating
                | Phase::Created
                | Phase::Starting
                | Phase::Doubtful
                | Phase::Running { .. },
                _,
            ) => {}
        }
    }

    /// What the engine says about a container whose end was not heard.
    fn found(&mut self, now: Now, run: RunId, told: bool, found: Inspection) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        container.out_of_memory |= found.oom_killed;
        let at = container.started_at.unwrap_or(now.wall);
        match found.state {
            Condition::Running => {
                self.set_phase(run, Phase::Running { since: now.instant });
                self.list_by(now.instant + LIST_INTERVAL);
                if !told {
                    self.tell(run, Told::Started { at, inspection: None });
                }
            }
            Condition::Created => {
                let name = container.launch.name.clone();
                self.refuse(
                    run,
                    "Failed to run docker container: the Docker engine went away while it was to \
                     be started"
                        .to_owned(),
                );
                self.removals.add(name);
            }
            Condition::Ended => {
                let away = "the Docker engine was away when it ended";
                let remark = match found.error.trim() {
                    "" => away.to_owned(),
                    error => format!("{away}: {error}"),
                };
                container.died.get_or_insert((found.exit_code, now.wall));
                if !told {
                    self.tell(run, Told::Started { at, inspection: None });
                }
                self.ended(run, Some(remark));
            }
        }
    }

    fn vanished(&mut self, run: RunId, told: bool) {
        let Some(container) = self.forget(run) else { return };
        let message = "the container is gone: somebody has removed it, or the Docker engine has \
                       lost it";
        if told {
            self.tell(run, Told::Lost(message.to_owned()));
        } else {
            let at = container.started_at;
            match at {
                Some(at) => {
                    self.tell(run, Told::Started { at, inspection: None });
                    self.tell(run, Told::Lost(message.to_owned()));
                }
                None => self
                    .tell(run, Told::Refused(format!("Failed to run docker container: {message}"))),
            }
        }
    }

    pub(super) fn handle_signalled(
        &mut self,
        now: Now,
        run: RunId,
        result: Result<(), EngineError>,
    ) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        match result {
            // It is told by an event when it ends. Not so if there was nothing to kill.
            Ok(()) => {
                if container.signal_sent == Some(Signal::Kill) {
                    self.list_by(now.instant + AFTER_KILL);
                }
            }
            // It has ended, or the next list says that it has not: then it is sent again.
            Err(error) if error.is_answer() => {
                container.signal_refused = true;
                let (name, reason) = (container.launch.name.clone(), error.to_string());
                self.acts.push_back(Act::Log(Log::NotSignalled { name, reason }));
                self.list_by(now.instant + AFTER_KILL);
            }
            Err(error) => {
                container.signal_sent = None;
                self.away(now, &error);
            }
        }
    }

    /// Compares what there is with what there should be.
    pub(super) fn handle_listed(&mut self, now: Now, asked: Instant, listed: &[Listed]) {
        self.back(now);
        for there in listed {
            if !self.names.contains_key(&there.name) && !self.removals.contains(&there.name) {
                self.acts.push_back(Act::Log(Log::Stray { name: there.name.clone() }));
                self.removals.add(there.name.clone());
            }
        }
        let runs = self.containers.keys().copied().collect::<Vec<_>>();
        for run in runs {
            let Some(container) = self.containers.get(&run) else { continue };
            let there = listed.iter().find(|there| there.name == container.launch.name);
            let state = there.map(|there| there.state);
            match (container.phase, state) {
                (Phase::Created, Some(Condition::Created)) => {
                    self.set_phase(run, Phase::Starting);
                    self.acts.push_back(Act::Start(run));
                }
                (Phase::Created, _) => {
                    self.set_phase(run, Phase::Waiting);
                    self.waiting.push_front(run);
                }
                (Phase::Doubtful, Some(Condition::Running)) => self.runs_now(now, run),
                (Phase::Running { .. }, Some(Condition::Running)) if container.signal_refused => {
                    self.send_again(run);
                }
                (Phase::Doubtful, Some(Condition::Created | Condition::Ended) | None) => {
                    self.look(run, false);
                }
                // The list may be older than the container.
                (Phase::Running { since }, Some(Condition::Created | Condition::Ended) | None)
                    if since < asked =>
                {
                    self.look(run, true);
                }
                (Phase::Missed { told, asked: false }, _) => self.look(run, told),
                (
                    Phase::Imaging
                    | Phase::Waiting
                    | Phase::Creating
                    | Phase::Starting
                    | Phase::Describing
                    | Phase::Running { .. }
                    | Phase::Dying
                    | Phase::Missed { .. },
                    _,
                ) => {}
            }
        }
        if self.containers.values().any(|c| matches!(c.phase, Phase::Running { .. })) {
            self.list_by(now.instant + LIST_INTERVAL);
        }
    }

    fn send_again(&mut self, run: RunId) {
        if let Some(container) = self.containers.get_mut(&run) {
            (container.signal_sent, container.signal_refused) = (None, false);
        }
    }

    fn look(&mut self, run: RunId, told: bool) {
        self.set_phase(run, Phase::Missed { told, asked: true });
        self.acts.push_back(Act::Inspect(run));
    }

    fn list_by(&mut self, at: Instant) {
        self.list_at = Some(self.list_at.map_or(at, |before| before.min(at)));
    }
}

/// Who else wanted it to end.
fn foreign(container: &Container) -> Option<String> {
    let signal = container.foreign_signal?;
    Some(format!("somebody other than this executor sent it signal {signal}"))
}
