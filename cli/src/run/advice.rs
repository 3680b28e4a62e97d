//! What to do about a run that could not be.
//!
//! Owns the step from an error to the flag that mends it.

use marmoset_scheduler::{RunError, SessionError};

/// Puts what to do next in front of the error's causes.
pub(super) fn with_advice(error: RunError) -> anyhow::Error {
    match advice(&error) {
        Some(advice) => anyhow::anyhow!("{:#}; {advice}", anyhow::Error::new(error)),
        None => error.into(),
    }
}

fn advice(error: &RunError) -> Option<&'static str> {
    Some(match error {
        RunError::Session(error) => return session(error),
        // It names the field itself.
        RunError::Job(_) => return None,
        RunError::Executor { .. } => {
            "put the executor there on every agent, or say `--executor-path` where it lies; it must \
             be executable by the `--user`"
        }
        RunError::Output { .. } => "name a folder you may write to with `--output`",
    })
}

fn session(error: &SessionError) -> Option<&'static str> {
    Some(match error {
        SessionError::NoMasters | SessionError::Address(_) => "give `--master HOST:PORT`",
        SessionError::Setup(_) => "check `--principal`, `--secret-file` and `--ca-file`",
        SessionError::Unreachable { .. } => {
            "is a master running there? check `--master` (masters listen on port 5050), or wait \
             longer for it with `--master-timeout`"
        }
        SessionError::NotAMaster { .. } => {
            "check `--master`: masters listen on port 5050, agents on 5051"
        }
        SessionError::Unauthorized { .. } => {
            "give the `--principal` and `--secret-file` that the master knows"
        }
        SessionError::Impossible(_) => "check `--master`, and `--ca-file` if the master speaks TLS",
        SessionError::Refused { .. } => "check `--role`, `--user` and `--principal`",
        SessionError::TakenOver => "its tasks belong to that scheduler now",
        SessionError::Ended => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let error = with_advice(RunError::Session(SessionError::NotAMaster {
            master: "h:80".to_owned(),
            found: "it answered 404".to_owned(),
        }));
        let text = format!("{error:#}");
        assert!(text.starts_with("`h:80` is not a Mesos master: it answered 404; "), "{text}");
        assert!(text.contains("--master"), "{text}");
    }
}
