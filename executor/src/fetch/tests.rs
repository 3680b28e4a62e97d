mod agent;
mod archives;
mod caching;
mod endings;
mod escapes;
mod server;
mod sets;
mod tls;
mod web;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{config::Proxy, *};

/// A fetcher, its work folder and the folder of one task.
struct Site {
    fetcher: Fetcher,
    root: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut FetchConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = FetchConfig {
            backoff: Duration::ZERO,
            proxy: Proxy::Never,
            ..FetchConfig::new(root.path().join("work"))
        };
        change(&mut config);
        Self { fetcher: Fetcher::new(config), root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A file of the agent.
    fn source(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let folder = self.path("source");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn target(&self) -> PathBuf {
        self.path("task")
    }

    async fn fetch(&self, uris: &[Uri]) -> Result<(), FetchError> {
        self.fetch_into(&self.target(), uris).await
    }

    async fn fetch_into(&self, target: &Path, uris: &[Uri]) -> Result<(), FetchError> {
        let cancel = CancellationToken::new();
        self.fetcher.fetch(uris, target, None, &cancel).await
    }

    /// The text of a failure, after which nothing may be left.
    async fn refusal(&self, uris: &[Uri]) -> String {
        let text = self.fetch(uris).await.unwrap_err().to_string();
        self.is_clean().await;
        let (start, end) = text.split_once(": ").unwrap();
        assert_eq!(start, "Failed to fetch all URIs");
        end.to_owned()
    }

    /// Neither the task's folder nor the work folder holds anything.
    async fn is_clean(&self) {
        self.fetcher.drained().await;
        assert!(!self.target().exists(), "{:?}", list(&self.target()));
        assert_eq!(list(&self.path("work")), [""; 0]);
    }
}

fn uri(value: impl Into<String>) -> Uri {
    Uri { value: value.into(), ..Uri::default() }
}

fn cached(value: impl Into<String>) -> Uri {
    Uri { cache: Some(true), ..uri(value) }
}

/// All below a folder, sorted; folders end in `/`, links tell their targets.
fn list(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
                found.push(format!("{name}/"));
            } else if kind.is_symlink() {
                let to = fs::read_link(entry.path()).unwrap();
                found.push(format!("{name} -> {}", to.display()));
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found);
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(contents).unwrap();
    writer.finish().unwrap()
}

/// A tar archive; names go in as they are, however dangerous.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, name: &str, kind: tar::EntryType, link: &str, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o666);
        header.set_mtime(1_000_000_000);
        header.set_size(contents.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, contents: &str) -> Self {
        self.entry(name, tar::EntryType::Regular, "", contents.as_bytes())
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Symlink, target, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Link, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
