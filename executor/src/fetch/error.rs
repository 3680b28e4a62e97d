//! What can go wrong, in words for whoever wrote the task.
//!
//! Owns the texts. They become the message of the task's last update, so each is complete in
//! itself, and none shows credentials.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::{archive::ArchiveError, place::PlaceError};

/// Why the files of a task are not in its folder.
///
/// The text begins as that of Mesos does, without the name of the task: people look for failures
/// that are alike.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Failed to fetch all URIs: {0}")]
pub(crate) struct FetchError(pub(super) Arc<Reason>);

impl FetchError {
    /// Whether it ended because it was told to.
    #[cfg(test)]
    pub(super) fn is_cancelled(&self) -> bool {
        match &*self.0 {
            Reason::Cancelled => true,
            Reason::Uri { problem, .. } => matches!(**problem, Problem::Cancelled),
            Reason::Folder { .. } | Reason::TooMany { .. } => false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    /// `uri` is as it may be shown.
    #[error("could not fetch '{uri}': {problem}")]
    Uri { uri: String, problem: Arc<Problem> },
    #[error("cannot use the folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("there are {count} of them, and at most {limit} are allowed: pack files together")]
    TooMany { count: usize, limit: usize },
    #[error("it was cancelled")]
    Cancelled,
}

/// Why one URI cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "a relative path has no meaning here: give an absolute path, or a URL that begins with \
         `http://`, `https://` or `file://`"
    )]
    Relative,
    #[error(
        "scheme `{0}` is not supported: use `http://`, `https://`, `file://` or an absolute path"
    )]
    Scheme(String),
    #[error("it is not a valid URL: {0}")]
    Malformed(String),
    #[error("its last part `{name}` {reason}: set `output_file` to a name for the file")]
    Name { name: String, reason: PlaceError },
    #[error("`output_file` `{path}` {reason}")]
    OutputFile { path: String, reason: PlaceError },
    #[error("nothing is left of the name `{0}` without `.gz`: set `output_file`")]
    NoNameLeft(String),

    #[error("cannot read it on the agent{}: {source}", as_user(*user))]
    Open { user: Option<u32>, source: io::Error },
    #[error("it is not a regular file: pack folders into an archive")]
    NotAFile,
    #[error("cannot fetch for user {0}: the executor does not run as root")]
    NotRoot(u32),

    #[error("{reason}{}", after(*attempts))]
    Transfer { reason: TransferError, attempts: u32 },

    #[error("it is larger than the {limit} bytes that are allowed")]
    TooLarge { limit: u64 },
    #[error("it cannot be unpacked: {0}; set `extract` to false to keep it as it is")]
    Archive(ArchiveError),
    #[error("cannot write `{what}`: {source}")]
    Write { what: String, source: io::Error },
    #[error("it was cancelled")]
    Cancelled,
    /// A worker thread ended without a result.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why a download did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error("the server answered {0}{hint}", hint = advice(*.0))]
    Status(reqwest::StatusCode),
    #[error("the server redirects {0}")]
    Redirect(RedirectError),
    #[error("no connection to the server: {0}")]
    Connect(String),
    #[error("no secure connection to the server: {0}")]
    Tls(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no byte for {0:?}")]
    Stalled(Duration),
    #[error("it takes longer than {0:?}")]
    TooLong(Duration),
    #[error("the request cannot be made: {0}")]
    Request(String),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum RedirectError {
    #[error("more than {limit} times")]
    TooOften { limit: usize },
    #[error("from `https` to `http`, which is not followed")]
    LeavesTls,
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}

fn as_user(user: Option<u32>) -> String {
    user.map_or_else(String::new, |user| format!(" as user {user}"))
}

fn advice(status: reqwest::StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 | 407 => ": check the credentials",
        404 | 410 => ": check the path",
        _ => "",
    }
}
