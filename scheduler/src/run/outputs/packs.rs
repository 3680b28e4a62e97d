//! Fetching packed outputs: a few large files of each executor instead of two of each task.
//!
//! Owns what is expected from packs, and the way from a pack on an agent to the
//! files of its tasks here. Refuses to fetch what tasks kept as files of their
//! own: that is said to the caller.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use marmoset_http::{Client, Endpoint};
use marmoset_proto::{
    item,
    pack::{Content, PackError, Reader, Record, Stream},
};
use marmoset_scheduler_core::{Location, TaskEnd};
use tokio::io::{AsyncReadExt as _, duplex};

use super::encoded;
use crate::error::chain;

/// Bytes that are read before they are sorted.
const PIECE: usize = 256 << 10;

/// Longest list of packs that is read. Each entry takes some 250 bytes.
const LIST_MAX: usize = 16 << 20;

/// What is to be found in the packs of a job.
#[derive(Debug)]
pub(super) struct Packed {
    name: String,
    job: String,
    folder: PathBuf,
    expected: Arc<Mutex<Expected>>,
    /// Where tasks of the job have run.
    places: BTreeMap<(String, String), Arc<Location>>,
}

type Expected = HashMap<u64, Outputs>;

/// What one task has written, as far as it was not found yet.
#[derive(Debug)]
struct Outputs {
    attempt: u32,
    stdout: bool,
    stderr: bool,
    location: Arc<Location>,
}

impl Outputs {
    fn is_empty(&self) -> bool {
        !self.stdout && !self.stderr
    }
}

impl Packed {
    pub(super) fn new(name: String, job: String, folder: PathBuf) -> Self {
        Self { name, job, folder, expected: Arc::default(), places: BTreeMap::new() }
    }

    /// Takes up a task that has ended.
    pub(super) fn add(&mut self, end: &TaskEnd) {
        let (stdout, stderr) = (end.output_bytes.0 > 0, end.output_bytes.1 > 0);
        let Some(location) = end.location.clone().filter(|_| stdout || stderr) else { return };
        let place = (location.agent_id.to_string(), location.executor_id.to_string());
        self.places.entry(place).or_insert_with(|| location.clone());
        let outputs = Outputs { attempt: end.attempt, stdout, stderr, location };
        lock(&self.expected).insert(end.index, outputs);
    }

    /// Where packs are.
    pub(super) fn places(&self) -> Vec<Arc<Location>> {
        self.places.values().cloned().collect()
    }

    /// Takes what is in no pack: the location, the task's id, its index, and which of the two.
    pub(super) fn take_missing(&self) -> Vec<(Arc<Location>, String, u64, Stream)> {
        let expected = std::mem::take(&mut *lock(&self.expected));
        let mut missing = Vec::new();
        for (index, outputs) in expected {
            for (stream, wanted) in
                [(Stream::Stdout, outputs.stdout), (Stream::Stderr, outputs.stderr)]
            {
                if wanted {
                    let task_id = item::task_id(&self.job, index, outputs.attempt);
                    missing.push((outputs.location.clone(), task_id, index, stream));
                }
            }
        }
        missing
    }

    /// What fetches from one place.
    pub(super) fn fetch(&self, client: Client) -> Fetch {
        let sorter = Sorter {
            job: self.job.clone(),
            folder: self.folder.clone(),
            expected: self.expected.clone(),
            reader: Reader::default(),
        };
        Fetch { client, name: self.name.clone(), sorter }
    }
}

fn lock(expected: &Mutex<Expected>) -> MutexGuard<'_, Expected> {
    expected.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches the packs of one executor.
pub(super) struct Fetch {
    client: Client,
    name: String,
    sorter: Sorter,
}

impl Fetch {
    /// Fetches all packs below `sandbox`, a path of the agent's files.
    pub(super) async fn all(&self, endpoint: &Endpoint, sandbox: &str) -> Result<(), String> {
        let folder = format!("{sandbox}/packs");
        let list = format!("/files/browse?path={}", encoded(&folder));
        let list = self.client.get(endpoint, &list, LIST_MAX).await.map_err(|e| chain(&e))?;
        let names = names(&list, &self.name)
            .ok_or_else(|| format!("`{folder}`: the agent's list of files cannot be read"))?;
        for name in names {
            self.one(endpoint, &format!("{folder}/{name}")).await?;
        }
        Ok(())
    }

    async fn one(&self, endpoint: &Endpoint, path: &str) -> Result<(), String> {
        let (to, mut from) = duplex(PIECE);
        let query = format!("/files/download?path={}", encoded(path));
        let download = async {
            let outcome = self.client.download(endpoint, &query, to).await;
            outcome.map_err(|error| chain(&error))
        };
        let sort = async {
            let mut sorter = self.sorter.anew();
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let mut part = (&mut from).take(PIECE as u64);
                let count = part.read_to_end(&mut piece).await.map_err(|e| e.to_string())?;
                if count == 0 {
                    break;
                }
                // It writes many small files.
                let work = move || {
                    let outcome = sorter.take(&piece);
                    (sorter, outcome)
                };
                let done = tokio::task::spawn_blocking(work).await;
                let (returned, outcome) = done.map_err(|error| error.to_string())?;
                sorter = returned;
                outcome.map_err(|error| format!("`{path}`: {error}"))?;
            }
            match sorter.reader.torn() {
                0 => {}
                bytes => tracing::info!(pack = path, bytes, "the end of a pack is torn"),
            }
            Ok(())
        };
        let (_, ()) = tokio::try_join!(download, sort)?;
        Ok(())
    }
}

/// Why a pack could not be sorted into files.
#[derive(Debug, thiserror::Error)]
enum SortError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Writes what is in a pack to files.
struct Sorter {
    job: String,
    folder: PathBuf,
    expected: Arc<Mutex<Expected>>,
    reader: Reader,
}

impl Sorter {
    /// The same, at the beginning of a pack.
    fn anew(&self) -> Self {
        let reader = Reader::default();
        let (job, folder) = (self.job.clone(), self.folder.clone());
        Self { job, folder, expected: self.expected.clone(), reader }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SortError> {
        let Self { job, folder, expected, reader } = self;
        reader.push(bytes);
        while let Some(Record { task_id, stream, content }) = reader.next()? {
            let Content::Bytes(bytes) = content else { continue };
            let Some((index, attempt)) = item::parse(job, task_id) else { continue };
            let is_wanted = lock(expected).get(&index).is_some_and(|outputs| {
                outputs.attempt == attempt
                    && match stream {
                        Stream::Stdout => outputs.stdout,
                        Stream::Stderr => outputs.stderr,
                    }
            });
            if !is_wanted {
                continue;
            }
            let ending = match stream {
                Stream::Stdout => "out",
                Stream::Stderr => "err",
            };
            let path = folder.join(format!("{index}.{ending}"));
            if let Err(source) = fs::write(&path, bytes) {
                // Half a file would look like a whole one; it may be that none was made.
                let _ = fs::remove_file(&path);
                return Err(SortError::Write { path, source });
            }
            let mut expected = lock(expected);
            if let Some(outputs) = expected.get_mut(&index) {
                match stream {
                    Stream::Stdout => outputs.stdout = false,
                    Stream::Stderr => outputs.stderr = false,
                }
                if outputs.is_empty() {
                    expected.remove(&index);
                }
            }
        }
        Ok(())
    }
}

/// The packs of this name in an agent's list of files.
fn names(list: &[u8], name: &str) -> Option<Vec<String>> {
    let list = serde_json::from_slice::<serde_json::Value>(list).ok()?;
    let paths = list.as_array()?.iter().filter_map(|file| file["path"].as_str());
    let names = paths.filter_map(|path| path.rsplit('/').next());
    Some(names.filter(|file| is_pack(file, name)).map(str::to_owned).collect())
}

/// Whether a file is called `<name>.<number>.pack`.
fn is_pack(file: &str, name: &str) -> bool {
    file.strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(".pack"))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use marmoset_proto::pack::HEAD;
    use marmoset_scheduler_core::EndState;

    use super::*;

    fn end(index: u64, attempt: u32, output_bytes: (u64, u64)) -> TaskEnd {
        TaskEnd {
            index,
            attempt,
            state: EndState::Finished,
            wait_status: Some(0),
            message: None,
            reason: None,
            launch: None,
            total: std::time::Duration::ZERO,
            output_bytes,
            location: Some(Arc::new(Location {
                framework_id: "f".into(),
                agent_id: "a".into(),
                hostname: "h".into(),
                address: "127.0.0.1".into(),
                port: 5051,
                executor_id: "e".into(),
                task_id: "j.b0".into(),
            })),
        }
    }

    #[test]
    fn packs_are_found_by_their_name() {
        let list = br#"[{"path": "/f/packs/job.0.pack"}, {"path": "/f/packs/job.12.pack"},
                        {"path": "/f/packs/job.x.pack"}, {"path": "/f/packs/job.1.0.pack"},
                        {"path": "/f/packs/other.0.pack"}, {"path": "/f/packs/job..pack"}]"#;
        assert_eq!(names(list, "job").unwrap(), ["job.0.pack", "job.12.pack"]);
        assert_eq!(names(list, "job.1").unwrap(), ["job.1.0.pack"]);
        assert_eq!(names(b"no list", "job"), None);
    }

    #[test]
    fn what_is_expected_becomes_files_and_the_rest_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut packed = Packed::new("j".into(), "j".into(), folder.path().to_owned());
        packed.add(&end(0, 0, (3, 3)));
        packed.add(&end(1, 1, (3, 0)));
        packed.add(&end(2, 0, (9 << 20, 0)));
        packed.add(&end(3, 0, (0, 0)));
        let mut bytes = HEAD.to_vec();
        for (task_id, stream, content) in [
            ("j.0", Stream::Stdout, Content::Bytes(b"out")),
            ("j.0", Stream::Stderr, Content::Bytes(b"err")),
            ("j.1", Stream::Stdout, Content::Bytes(b"first try")),
            ("j.1.r1", Stream::Stdout, Content::Bytes(b"one")),
            ("j.2", Stream::Stdout, Content::OwnFile { size: 9 << 20 }),
            ("j.3", Stream::Stdout, Content::Bytes(b"not expected")),
            ("k.0", Stream::Stdout, Content::Bytes(b"another job's")),
        ] {
            Record { task_id, stream, content }.put(&mut bytes);
        }
        bytes.extend([1, 2, 3]);
        let client = Client::new(marmoset_http::ClientConfig::default()).unwrap();
        let mut sorter = packed.fetch(client).sorter;
        for piece in bytes.chunks(10) {
            sorter.take(piece).unwrap();
        }
        assert_eq!(sorter.reader.torn(), 3);
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        let file = |name: &str, content: &str| (name.into(), content.as_bytes().to_vec());
        assert_eq!(files, [file("0.err", "err"), file("0.out", "out"), file("1.out", "one")]);
        let missing = packed.take_missing();
        let [(_, task_id, 2, Stream::Stdout)] = &*missing else { panic!("{missing:?}") };
        assert_eq!(task_id, "j.2");
        assert_eq!(packed.places().len(), 1);
    }
}
