//! What runs on this machine on behalf of one test: found by the test's own folder, never by name.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// Processes whose working directory, arguments or environment name `folder`, the caller left out.
#[must_use]
pub fn within(folder: &Path) -> Vec<Process> {
    let needle = folder.as_os_str().as_bytes();
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid: i32 = name.parse().ok()?;
            if name == own || is_zombie(&entry.path()) {
                return None;
            }
            let names = |bytes: Vec<u8>| bytes.windows(needle.len()).any(|part| part == needle);
            let belongs = fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|cwd| cwd.starts_with(folder))
                || fs::read(entry.path().join("cmdline")).is_ok_and(names)
                || fs::read(entry.path().join("environ")).is_ok_and(names);
            belongs.then(|| Process { pid, command: command(&entry.path()) })
        })
        .collect()
}

/// Processes of [`within`] whose command contains `text`; `marmoset` itself is none of them,
/// although its own command line may name the tasks' command.
#[must_use]
pub fn within_running(folder: &Path, text: &str) -> Vec<Process> {
    let is_ours = |process: &Process| {
        process.command.split(' ').next().is_some_and(|program| program.ends_with("/marmoset"))
    };
    within(folder)
        .into_iter()
        .filter(|process| process.command.contains(text) && !is_ours(process))
        .collect()
}

fn command(proc: &Path) -> String {
    let bytes = fs::read(proc.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

fn is_zombie(proc: &Path) -> bool {
    fs::read_to_string(proc.join("stat")).is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}
