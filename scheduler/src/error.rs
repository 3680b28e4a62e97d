//! What can end a session or a run early.
//!
//! A failed task is none of it: that is in the [`Summary`](crate::Summary).

use std::{io, path::PathBuf};

use marmoset_http::{ConfigError, EndpointError, Refusal, SubscribeError};
use marmoset_scheduler_core::JobError;

/// Why a session with a master is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No master was named.
    #[error("no master is named: at least one `host:port` is needed")]
    NoMasters,
    /// A master's address cannot be one.
    #[error("the address of the master is malformed")]
    Address(#[from] EndpointError),
    /// Credentials or certificates cannot be used.
    #[error("the connection cannot be set up")]
    Setup(#[from] ConfigError),
    /// Nobody answered for as long as was to be waited.
    #[error("no master could be reached: {last}")]
    Unreachable {
        /// What the last attempt met, with its causes.
        last: String,
    },
    /// Something else listens there.
    #[error("`{master}` is not a Mesos master: {found}")]
    NotAMaster {
        /// Its address.
        master: String,
        /// What gave it away.
        found: String,
    },
    /// The master wants other credentials, or any at all.
    #[error("`{master}` does not accept the credentials: {answer}")]
    Unauthorized {
        /// Its address.
        master: String,
        /// What it said.
        answer: String,
    },
    /// The connection works, but the subscription never will.
    #[error("the subscription is impossible")]
    Impossible(#[source] Box<SubscribeError>),
    /// The master understood the subscription and does not want the framework.
    #[error("the master refused the framework: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// Another scheduler subscribed with the same framework id.
    #[error("another scheduler took over this framework")]
    TakenOver,
    /// The session was ended by its owner.
    #[error("the session was ended")]
    Ended,
}

impl SessionError {
    /// Names the kind of a subscription error that no retry helps against.
    pub(crate) fn of_subscription(error: SubscribeError) -> Self {
        let SubscribeError::Refused { endpoint, refusal } = &error else {
            return Self::Impossible(Box::new(error));
        };
        let master = endpoint.to_string();
        match refusal {
            Refusal::NotMesos { found } => Self::NotAMaster { master, found: found.clone() },
            Refusal::Unauthorized { body, .. } => {
                Self::Unauthorized { master, answer: body.clone() }
            }
            Refusal::NotReady { .. }
            | Refusal::NotSubscribed { .. }
            | Refusal::StreamIdMismatch { .. }
            | Refusal::Redirected { .. }
            | Refusal::RedirectLoop { .. }
            | Refusal::BadRedirect { .. }
            | Refusal::Fatal { .. } => Self::Impossible(Box::new(error)),
        }
    }
}

/// Why a job could not be run. What its tasks did is no error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The session with the master failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The job's description is wrong.
    #[error("the job cannot be run")]
    Job(#[from] JobError),
    /// No agent could start the executor.
    #[error("the executor `{program}` does not start on agent `{agent}`: {message}")]
    Executor {
        /// Its path on the agent.
        program: String,
        /// The agent's host name.
        agent: String,
        /// What the agent said.
        message: String,
    },
    /// The folder for outputs cannot be used.
    #[error("the folder for outputs `{}` cannot be made", .folder.display())]
    Output {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
