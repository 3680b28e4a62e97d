//! Exit codes, in one place.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | every task finished |
//! | 1 | some task did not finish |
//! | 2 | marmoset could not do its job |
//! | 64 | the command line is wrong |
//! | 128 + n | interrupted by signal n: 130 for Ctrl-C, 143 for SIGTERM |

use std::process::ExitCode;

use crate::output;

/// How a command ended that did its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is well.
    Good,
    /// A task failed, was killed or lost.
    TasksDidNotFinish,
    /// The user or the system asked it to stop.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

/// What is wrong with the command line, beyond what the parser sees.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Exit code of a wrong command line.
const USAGE: u8 = 64;

/// Prints the error, if any, and maps the result.
pub(crate) fn code(result: anyhow::Result<Ending>) -> ExitCode {
    match result {
        Ok(ending) => ExitCode::from(of(ending)),
        Err(error) => {
            output::complain(format_args!("error: {error:#}"));
            if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::from(2) }
        }
    }
}

/// The number that the shell sees.
pub(crate) fn of(ending: Ending) -> u8 {
    match ending {
        Ending::Good => 0,
        Ending::TasksDidNotFinish => 1,
        Ending::Interrupted { signal } => 128_u8.wrapping_add(u8::try_from(signal).unwrap_or(0)),
    }
}

/// Prints what the parser found: an error, or the help that was asked for.
pub(crate) fn refused(refusal: &clap::Error) -> ExitCode {
    // A closed pipe is no news.
    let _ = refusal.print();
    if refusal.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(of(Ending::Good), 0);
        assert_eq!(of(Ending::TasksDidNotFinish), 1);
        assert_eq!(of(Ending::Interrupted { signal: 2 }), 130);
        assert_eq!(of(Ending::Interrupted { signal: 15 }), 143);
    }
}
