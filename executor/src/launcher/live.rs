//! The runs of a worker that have a process.
//!
//! Owns which pid is which run. Refuses to start or signal. Called by the worker.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
};

use nix::sys::stat;

use super::{Output, RunId, Spawn};

/// A run that has a process.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    stdout: Option<CString>,
    stderr: Option<CString>,
    /// The entry of the environment by which its processes are recognised.
    mark: Option<CString>,
}

impl Run {
    /// Keeps what is needed of a request when its process has been started.
    pub(super) fn new(spawn: Spawn, mark: &Mark) -> Self {
        let Spawn { run, cwd, stdout, stderr, mut env, .. } = spawn;
        let mark = mark.position(&env).map(|at| env.swap_remove(at));
        Self { id: run, stdout: path(stdout, &cwd), stderr: path(stderr, &cwd), mark }
    }

    /// How much its output files hold.
    pub(super) fn output_bytes(&self) -> (u64, u64) {
        (size(self.stdout.as_deref()), size(self.stderr.as_deref()))
    }
}

fn path(output: Output, cwd: &CStr) -> Option<CString> {
    match output {
        Output::Null | Output::Inherit => None,
        Output::File(path) if path.as_bytes().starts_with(b"/") => Some(path),
        Output::File(path) => {
            let bytes = [cwd.to_bytes(), path.as_bytes()].join(&b'/');
            // Neither part has a NUL.
            CString::new(bytes).ok()
        }
    }
}

fn size(path: Option<&CStr>) -> u64 {
    path.and_then(|path| stat::stat(path).ok())
        .and_then(|stat| u64::try_from(stat.st_size).ok())
        .unwrap_or(0)
}

/// How processes are recognised: a variable that each run has another value of.
#[derive(Debug, Default)]
pub(super) struct Mark {
    /// `NAME=`.
    prefix: Option<Vec<u8>>,
}

impl Mark {
    pub(super) fn new(variable: Option<CString>) -> Self {
        let prefix = variable.map(|name| {
            let mut prefix = name.into_bytes();
            prefix.push(b'=');
            prefix
        });
        Self { prefix }
    }

    fn position(&self, env: &[CString]) -> Option<usize> {
        let prefix = self.prefix.as_deref()?;
        env.iter().position(|entry| entry.as_bytes().starts_with(prefix))
    }

    /// Finds the mark in an environment as `/proc` shows it.
    pub(super) fn find<'a>(&self, environment: &'a [u8]) -> Option<&'a [u8]> {
        let prefix = self.prefix.as_deref()?;
        environment.split(|byte| *byte == 0).find(|entry| entry.starts_with(prefix))
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Live {
    by_pid: HashMap<i32, Run>,
    pids: HashMap<RunId, i32>,
}

impl Live {
    pub(super) fn insert(&mut self, pid: i32, run: Run) {
        self.pids.insert(run.id, pid);
        self.by_pid.insert(pid, run);
    }

    pub(super) fn remove(&mut self, pid: i32) -> Option<Run> {
        let run = self.by_pid.remove(&pid)?;
        self.pids.remove(&run.id);
        Some(run)
    }

    pub(super) fn pid(&self, run: RunId) -> Option<i32> {
        self.pids.get(&run).copied()
    }

    pub(super) fn is_leader(&self, pid: i32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.by_pid.keys().copied()
    }

    pub(super) fn mark(&self, pid: i32) -> Option<&CStr> {
        self.by_pid.get(&pid)?.mark.as_deref()
    }

    /// The first process of the run that has this mark.
    pub(super) fn marked(&self, mark: &[u8]) -> Option<i32> {
        self.by_pid
            .iter()
            .find(|(_, run)| run.mark.as_ref().is_some_and(|own| own.as_bytes() == mark))
            .map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_whole_name() {
        let mark = Mark::new(Some(c"ID".into()));
        assert_eq!(mark.find(b"IDX=1\0AID=2\0ID=3\0ID=4\0"), Some(&b"ID=3"[..]));
        assert_eq!(mark.find(b"X=ID=1\0"), None);
        assert_eq!(Mark::new(None).find(b"=1\0"), None);
    }

    #[test]
    fn output_sizes_are_found_relative_to_the_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("out"), "four").unwrap();
        let mut spawn = Spawn::new(RunId(1), c"/bin/true".into());
        spawn.cwd = CString::new(folder.path().to_str().unwrap()).unwrap();
        spawn.stdout = Output::File(c"out".into());
        spawn.stderr = Output::File(c"/nowhere/err".into());
        assert_eq!(Run::new(spawn, &Mark::default()).output_bytes(), (4, 0));
    }
}
