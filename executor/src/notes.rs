//! The core's notes as log lines.

use marmoset_executor_core::Note;
use tracing::{debug, error, info, warn};

/// Writes one note.
pub(crate) fn log(note: Note) {
    match note {
        Note::Subscribed { agent, tasks, updates } => {
            info!(agent, tasks, updates, "subscribed");
        }
        Note::Disconnected { reason, retry_in } => {
            warn!(reason, ?retry_in, "no connection to the agent");
        }
        Note::ShuttingDown { reason, within } => info!(reason, ?within, "shutting down"),
        Note::TaskReceived { task, items } => debug!(%task, items, "task received"),
        Note::TaskEnded { task, state, message } => debug!(%task, state, message, "task ended"),
        Note::TaskRefused { task, message } => warn!(%task, message, "task refused"),
        Note::Unhealthy { task, failures, limit, reason } => {
            warn!(%task, failures, limit, reason, "the task is not healthy");
        }
        Note::FailureIgnored { task, reason } => {
            debug!(%task, reason, "health check failed in the grace period");
        }
        Note::CheckFailed { task, reason } => info!(%task, reason, "check without a result"),
        Note::LaunchIgnored { task, reason } => warn!(%task, reason, "LAUNCH ignored"),
        Note::KillIgnored { task } => info!(%task, "KILL ignored: the task is not running here"),
        Note::AcknowledgementIgnored { task, update } => {
            let update = update.map(tracing::field::display);
            debug!(%task, update, "acknowledgement of an unknown update ignored");
        }
        Note::MessageIgnored { reason } => warn!(reason, "MESSAGE ignored"),
        Note::EventIgnored { kind } => warn!(kind, "event ignored"),
        Note::AcknowledgementOverdue { task, update } => {
            warn!(%task, %update, "an acknowledgement is overdue: subscribing anew");
        }
        Note::LauncherDied { reason, runs } => error!(reason, runs, "the launcher died"),
    }
}
