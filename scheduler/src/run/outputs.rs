//! Fetching what tasks printed, from the agents they ran on.
//!
//! Owns the folder they are collected in and a few downloads at a time. What
//! cannot be fetched is a warning: the task itself is not touched by it. Empty
//! outputs are not fetched and make no file.
//!
//! Agents are asked without credentials: those of the framework are for masters.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use marmoset_http::{Client, Endpoint};
use marmoset_scheduler_core::{Location, TaskEnd};
use tokio::{fs::File, task::JoinSet, time::sleep};

use super::tally::folder;
use crate::{
    config::ConnectionConfig,
    error::{RunError, SessionError, chain},
};

/// Downloads at a time.
const AT_A_TIME: usize = 8;

/// Tries for each file.
const TRIES: u32 = 3;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// One of the two files of a task.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// A file to fetch.
#[derive(Debug)]
struct Fetch {
    location: Arc<Location>,
    task_id: String,
    index: u64,
    stream: Stream,
}

/// Collects outputs.
#[derive(Debug)]
pub(super) struct Outputs {
    folder: PathBuf,
    client: Client,
    tls: bool,
    /// Bounded by the job: two files for each of its tasks.
    waiting: VecDeque<Fetch>,
    active: JoinSet<Result<(), String>>,
    failed: u64,
    first_failure: Option<String>,
}

impl Outputs {
    /// Makes the folder.
    pub(super) fn new(folder: PathBuf, connection: &ConnectionConfig) -> Result<Self, RunError> {
        if let Err(source) = fs::create_dir_all(&folder) {
            return Err(RunError::Output { folder, source });
        }
        let client = Client::new(connection.client(None)).map_err(SessionError::from)?;
        Ok(Self {
            folder,
            client,
            tls: connection.ca_file.is_some(),
            waiting: VecDeque::new(),
            active: JoinSet::new(),
            failed: 0,
            first_failure: None,
        })
    }

    /// Takes up a task that has ended.
    pub(super) fn add(&mut self, job: &str, end: &TaskEnd) {
        let Some(location) = &end.location else { return };
        let (stdout, stderr) = end.output_bytes;
        for (stream, bytes) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            if bytes > 0 {
                self.waiting.push_back(Fetch {
                    location: Arc::clone(location),
                    task_id: end.task_id(job),
                    index: end.index,
                    stream,
                });
            }
        }
        self.start_some();
    }

    /// Whether nothing is left to fetch.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Waits for the end of one download; for ever if there is none. May be cancelled.
    pub(super) async fn next(&mut self) {
        let Some(done) = self.active.join_next().await else { return std::future::pending().await };
        let failure = match done {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            tracing::debug!(failure, "an output was not fetched");
            self.failed += 1;
            self.first_failure.get_or_insert(failure);
        }
        self.start_some();
    }

    /// What to tell about outputs that are missing.
    pub(super) fn take_warning(&mut self) -> Option<String> {
        let first = self.first_failure.take()?;
        Some(format!("{} outputs could not be fetched, e.g. {first}", self.failed))
    }

    fn start_some(&mut self) {
        while self.active.len() < AT_A_TIME
            && let Some(fetch) = self.waiting.pop_front()
        {
            let client = self.client.clone();
            let (folder, tls) = (self.folder.clone(), self.tls);
            self.active.spawn(async move {
                let task_id = fetch.task_id.clone();
                let mut tries = 1;
                loop {
                    match fetch.once(&client, &folder, tls).await {
                        Err(_) if tries < TRIES => {
                            tries += 1;
                            sleep(PAUSE).await;
                        }
                        outcome => return outcome.map_err(|error| format!("{task_id}: {error}")),
                    }
                }
            });
        }
    }
}

impl Fetch {
    async fn once(&self, client: &Client, folder: &Path, tls: bool) -> Result<(), String> {
        let Location { hostname, address, port, .. } = &*self.location;
        // Certificates are made out to names.
        let address = if tls { hostname } else { address };
        let address = match address.parse() {
            Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            Ok(std::net::IpAddr::V4(_)) | Err(_) => format!("{address}:{port}"),
        };
        let endpoint = if tls { Endpoint::tls(&address) } else { Endpoint::tcp(&address) }
            .map_err(|error| chain(&error))?;
        let ending = match self.stream {
            Stream::Stdout => "out",
            Stream::Stderr => "err",
        };
        let target = folder.join(format!("{}.{ending}", self.index));
        // Under its name only once it is whole.
        let partial = folder.join(format!(".{}.{ending}.part", self.index));
        let write = |error: std::io::Error| format!("`{}`: {error}", target.display());
        let file = File::create(&partial).await.map_err(write)?;
        let fetched = client.download(&endpoint, &self.path(), file).await;
        let outcome = match fetched {
            Ok(_) => tokio::fs::rename(&partial, &target).await.map_err(write),
            Err(error) => Err(chain(&error)),
        };
        if outcome.is_err() {
            // It may be that it could not even be made.
            let _ = tokio::fs::remove_file(&partial).await;
        }
        outcome
    }

    fn path(&self) -> String {
        let name = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let file = format!("{}/{name}", folder(&self.location, &self.task_id));
        format!("/files/download?path={}", encoded(&file))
    }
}

/// Percent-encodes what cannot stand in a query value.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encoded("/a/b c+ä&?"), "/a/b%20c%2B%C3%A4%26%3F");
        assert_eq!(encoded("g++.0-1_2~"), "g%2B%2B.0-1_2~");
    }
}
