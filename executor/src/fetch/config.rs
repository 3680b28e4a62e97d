//! What the fetcher is allowed, and how patient it is.
//!
//! Owns the settings and their defaults. Nothing here is read from flags or the environment;
//! callers do that.

use std::{path::PathBuf, time::Duration};

/// Settings of a [`Fetcher`](super::Fetcher).
#[derive(Debug, Clone)]
pub(crate) struct FetchConfig {
    /// Folder of the fetcher alone, closed to the users of tasks; made when first needed.
    ///
    /// Must be on the file system of the task folders, as files are moved there. Between fetches
    /// it looks empty: cached files have no name, only the executor has them open.
    pub(crate) work_dir: PathBuf,
    /// Bytes that are kept for later tasks; 0 only shares downloads that happen at the same time.
    pub(crate) cache_bytes: u64,
    /// Files that are kept; each costs one descriptor.
    pub(crate) cache_files: usize,
    /// Most bytes of one URI, as they are before unpacking.
    pub(crate) max_bytes: u64,
    /// Most bytes that the archives of one task may unpack to.
    pub(crate) max_unpacked_bytes: u64,
    /// Most files, folders and links that the archives of one task may hold.
    pub(crate) max_entries: u64,
    /// Downloads at one time.
    pub(crate) downloads: usize,
    /// Downloads at one time of one task: one slow server does not keep other tasks waiting.
    pub(crate) downloads_each: usize,
    /// Tasks whose files are unpacked or copied at one time.
    pub(crate) placing: usize,
    /// How often a download is tried when the server or the network fails.
    pub(crate) attempts: u32,
    /// Pause before the second attempt; doubled before each later one.
    pub(crate) backoff: Duration,
    /// Longest time to connect, the TLS handshake included.
    pub(crate) connect_timeout: Duration,
    /// How long the failure of a [`FileSet`](super::FileSet) is the answer for all who ask later:
    /// a URL that is wrong is not asked for by each of a hundred thousand items.
    pub(crate) remorse: Duration,
    /// Longest time without a byte.
    pub(crate) stall_timeout: Duration,
    /// Longest time of one download with all its attempts.
    pub(crate) total_timeout: Duration,
    /// Redirects that are followed.
    pub(crate) max_redirects: usize,
    /// PEM file of the only authorities trusted for `https`; the system's otherwise.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether to go through a proxy.
    pub(crate) proxy: Proxy,
}

/// Where proxies are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// In `http_proxy`, `https_proxy` and `no_proxy` of the executor's environment, as Mesos'
    /// fetcher does.
    Environment,
    /// Nowhere: always straight to the server.
    #[cfg(test)]
    Never,
}

impl FetchConfig {
    /// The defaults, with the one setting that has none.
    pub(crate) fn new(work_dir: PathBuf) -> Self {
        Self {
            work_dir,
            cache_bytes: 2 << 30,
            cache_files: 128,
            max_bytes: 4 << 30,
            max_unpacked_bytes: 16 << 30,
            max_entries: 200_000,
            downloads: 16,
            downloads_each: 4,
            placing: 4,
            attempts: 3,
            backoff: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(10),
            remorse: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(30 * 60),
            max_redirects: 5,
            ca_file: None,
            proxy: Proxy::Environment,
        }
    }
}
