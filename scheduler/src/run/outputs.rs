//! Fetching what tasks printed, from the agents they ran on.
//!
//! Owns the folder they are collected in and a few downloads at a time. What
//! cannot be fetched is a warning: the task itself is not touched by it. Empty
//! outputs are not fetched and make no file.
//!
//! Of a job whose outputs are packed nothing is fetched before it has ended: then
//! the packs of each executor, and what is in none of them as a file of its own.
//!
//! Agents are asked without credentials: those of the framework are for masters.

mod packs;

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use marmoset_http::{Client, Endpoint};
use marmoset_proto::pack::Stream;
use marmoset_scheduler_core::{JobSpec, Location, TaskEnd};
use tokio::{fs::File, task::JoinSet, time::sleep};

use super::tally::{folder, sandbox};
use crate::{
    config::ConnectionConfig,
    error::{RunError, SessionError, chain},
};
use packs::Packed;

/// Downloads at a time.
const AT_A_TIME: usize = 8;

/// Tries for each file.
const TRIES: u32 = 3;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// A file to fetch.
#[derive(Debug)]
struct Fetch {
    location: Arc<Location>,
    task_id: String,
    index: u64,
    stream: Stream,
}

/// An executor on an agent.
type Place = (String, String);

fn place(location: &Location) -> Place {
    (location.agent_id.to_string(), location.executor_id.to_string())
}

/// The end of a download.
#[derive(Debug)]
enum Done {
    File(Result<(), String>),
    Packs(Place, Result<(), String>),
}

/// Collects outputs.
#[derive(Debug)]
pub(super) struct Outputs {
    folder: PathBuf,
    client: Client,
    tls: bool,
    /// Bounded by the job: two files for each of its tasks.
    waiting: VecDeque<Fetch>,
    active: JoinSet<Done>,
    /// What is to be found in packs.
    packed: Option<Packed>,
    /// Places whose packs are on their way, and those that gave none.
    packs_awaited: usize,
    without_packs: BTreeSet<Place>,
    failed: u64,
    first_failure: Option<String>,
}

impl Outputs {
    /// Makes the folder.
    pub(super) fn new(
        folder: PathBuf,
        connection: &ConnectionConfig,
        job: &JobSpec,
    ) -> Result<Self, RunError> {
        if let Err(source) = fs::create_dir_all(&folder) {
            return Err(RunError::Output { folder, source });
        }
        let client = Client::new(connection.client(None)).map_err(SessionError::from)?;
        let pack = job.output.pack.clone();
        Ok(Self {
            packed: pack.map(|pack| Packed::new(pack, job.name.clone(), folder.clone())),
            packs_awaited: 0,
            without_packs: BTreeSet::new(),
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
        if let Some(packed) = &mut self.packed {
            return packed.add(end);
        }
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

    /// Begins with what has to wait for the end of the job.
    pub(super) fn job_ended(&mut self) {
        let Some(packed) = &self.packed else { return };
        for location in packed.places() {
            let (client, tls) = (self.client.clone(), self.tls);
            let fetch = packed.fetch(client);
            self.packs_awaited += 1;
            self.active.spawn(async move {
                let path = sandbox(&location);
                let mut tries = 0;
                let outcome = loop {
                    let outcome = match endpoint(&location, tls) {
                        Ok(endpoint) => fetch.all(&endpoint, &path).await,
                        Err(error) => Err(error),
                    };
                    if !again(&outcome, &mut tries).await {
                        break outcome;
                    }
                };
                let outcome = outcome.map_err(|error| format!("{}: {error}", location.hostname));
                Done::Packs(place(&location), outcome)
            });
        }
    }

    /// Fetches what was in no pack, once all of them were seen.
    fn fetch_missing(&mut self) {
        let Some(packed) = &self.packed else { return };
        for (location, task_id, index, stream) in packed.take_missing() {
            if self.without_packs.contains(&place(&location)) {
                // It would most likely not be there.
                self.failed += 1;
            } else {
                self.waiting.push_back(Fetch { location, task_id, index, stream });
            }
        }
    }

    /// Whether nothing is left to fetch.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Waits for the end of one download; for ever if there is none. May be cancelled.
    pub(super) async fn next(&mut self) {
        let Some(done) = self.active.join_next().await else { return std::future::pending().await };
        let outcome = match done {
            Ok(Done::File(outcome)) => outcome,
            Ok(Done::Packs(place, outcome)) => {
                self.packs_awaited -= 1;
                if let Err(failure) = outcome {
                    tracing::debug!(failure, "packs were not fetched");
                    self.first_failure.get_or_insert(failure);
                    self.without_packs.insert(place);
                }
                if self.packs_awaited == 0 {
                    self.fetch_missing();
                }
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(failure) = outcome {
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
                let mut tries = 0;
                let outcome = loop {
                    let outcome = fetch.once(&client, &folder, tls).await;
                    if !again(&outcome, &mut tries).await {
                        break outcome;
                    }
                };
                Done::File(outcome.map_err(|error| format!("{}: {error}", fetch.task_id)))
            });
        }
    }
}

impl Fetch {
    async fn once(&self, client: &Client, folder: &Path, tls: bool) -> Result<(), String> {
        let endpoint = endpoint(&self.location, tls)?;
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

/// Where an agent is reached.
fn endpoint(location: &Location, tls: bool) -> Result<Endpoint, String> {
    let Location { hostname, address, port, .. } = location;
    // Certificates are made out to names.
    let address = if tls { hostname } else { address };
    let address = match address.parse() {
        Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Ok(std::net::IpAddr::V4(_)) | Err(_) => format!("{address}:{port}"),
    };
    if tls { Endpoint::tls(&address) } else { Endpoint::tcp(&address) }
        .map_err(|error| chain(&error))
}

/// Whether to try again, after a pause.
async fn again<T>(outcome: &Result<T, String>, tries: &mut u32) -> bool {
    *tries += 1;
    let again = outcome.is_err() && *tries < TRIES;
    if again {
        sleep(PAUSE).await;
    }
    again
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
