//! What runs on this machine on behalf of one test: found by the test's own folder, never by name.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Process id of its parent.
    pub parent: i32,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// Processes whose working directory, arguments or environment name `folder`, and all below them;
/// the caller left out.
#[must_use]
pub fn within(folder: &Path) -> Vec<Process> {
    let mut found = naming(folder);
    let all = running();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        let known: Vec<i32> = found.iter().map(|process| process.pid).collect();
        let children = all.iter().filter(|process| process.parent == parent);
        found.extend(children.filter(|process| !known.contains(&process.pid)).cloned());
        next += 1;
    }
    found
}

fn running() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(&entry.path())).collect()
}

fn naming(folder: &Path) -> Vec<Process> {
    let needle = folder.as_os_str().as_bytes();
    let own = i32::try_from(std::process::id()).expect("a process id fits");
    let names = |bytes: Vec<u8>| bytes.windows(needle.len()).any(|part| part == needle);
    running()
        .into_iter()
        .filter(|process| process.pid != own)
        .filter(|process| {
            let proc = Path::new("/proc").join(process.pid.to_string());
            fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
                || fs::read(proc.join("cmdline")).is_ok_and(names)
                || fs::read(proc.join("environ")).is_ok_and(names)
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

/// Reads one folder of /proc; none for a zombie.
fn process(proc: &Path) -> Option<Process> {
    let pid = proc.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let bytes = fs::read(proc.join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned();
    Some(Process { pid, parent, command })
}
