//! The end of the executor: kill everything, deliver what is to be said, go.
//!
//! ```text
//!   SHUTDOWN          kill_by: SIGKILL to all    end_at: exit       the agent destroys all
//!      │ SIGTERM to all       │                     │                       │
//!      ├──────────────────────┼─────────────────────┼───────────────────────┤
//!      0              grace − 2 s         grace − 0.5 s                   grace
//! ```
//!
//! As soon as nothing runs and every update is acknowledged, it is over. Where
//! acknowledgements cannot be expected (a framework that is torn down gets
//! none), it is over a moment after everything was sent.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{Core, Life};
use crate::{
    action::{Action, Exit},
    note::Note,
    time::Now,
};

/// Room for the last acknowledgements, as the built-in executor plans it.
const ACKNOWLEDGEMENT_ROOM: Duration = Duration::from_secs(2);
/// Room for the process itself.
const EXIT_ROOM: Duration = Duration::from_millis(500);
/// How long acknowledgements are waited for when everything was sent.
const QUIET: Duration = Duration::from_secs(1);

/// An executor that is about to end.
#[derive(Debug)]
pub(super) struct Drain {
    exit: Exit,
    end_at: Instant,
    /// Set when nothing but acknowledgements is missing.
    quiet_at: Option<Instant>,
}

impl Drain {
    pub(super) fn wake_at(&self) -> Instant {
        self.quiet_at.map_or(self.end_at, |at| at.min(self.end_at))
    }
}

impl Core {
    pub(super) fn handle_terminate(&mut self, now: Now) {
        self.drain(now, "the process was told to end".to_string(), Exit::Ordered);
    }

    /// Kills everything and begins to end. Does nothing the second time.
    pub(super) fn drain(&mut self, now: Now, reason: String, exit: Exit) {
        match self.life {
            Life::Serving => {}
            Life::Draining(_) | Life::Over => return,
        }
        let grace = self.config.shutdown_grace;
        let within = grace - EXIT_ROOM.min(grace / 10);
        let kill_within = grace - ACKNOWLEDGEMENT_ROOM.min(grace / 2);
        self.note(Note::ShuttingDown { reason, within });
        self.life = Life::Draining(Drain { exit, end_at: now.instant + within, quiet_at: None });
        let ids = self.tasks.keys().cloned().collect::<Vec<_>>();
        for id in ids {
            let grace = self.tasks.get(&id).map_or(kill_within, |task| task.grace.min(kill_within));
            self.kill_task(now, &id, grace);
        }
    }

    /// Ends the executor once there is nothing left to wait for.
    pub(super) fn check_drained(&mut self, now: Now) {
        let Life::Draining(drain) = &mut self.life else { return };
        let acknowledged = self.active == 0 && self.ledger.len() == 0;
        let sent = self.active == 0 && self.ledger.is_all_sent();
        let over = acknowledged
            || now.instant >= drain.end_at
            || sent && self.session.is_closed()
            || sent && drain.quiet_at.is_some_and(|at| now.instant >= at);
        if over {
            if let Life::Draining(drain) = mem::replace(&mut self.life, Life::Over) {
                self.actions.push_back(Action::Exit(drain.exit));
            }
        } else if sent {
            drain.quiet_at.get_or_insert(now.instant + QUIET);
        } else {
            drain.quiet_at = None;
        }
    }
}
