//! The runs of a worker that have a process.
//!
//! Owns which pid is which run. Refuses to start or signal. Called by the worker.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
};

use super::{Output, RunId, Spawn, StrandId};
use crate::{cgroup::Group, output::Files};

/// A run that has a process.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) strand: Option<StrandId>,
    /// What it writes to.
    pub(super) files: Files,
    /// The entry of the environment by which its processes are recognised.
    mark: Option<CString>,
    /// What all its processes are in, unless they go somewhere else.
    pub(super) group: Option<Group>,
}

impl Run {
    /// Keeps what is needed of a request when its process has been started.
    pub(super) fn new(spawn: Spawn, mark: &Mark, group: Option<Group>) -> Self {
        let Spawn { run, strand, cwd, stdout, stderr, keeping, mut env, .. } = spawn;
        let mark = mark.position(&env).map(|at| env.swap_remove(at));
        let files = Files::new(cwd, path(stdout), path(stderr), keeping);
        Self { id: run, strand, files, mark, group }
    }
}

fn path(output: Output) -> Option<CString> {
    match output {
        Output::Null | Output::Inherit => None,
        Output::File(path) => Some(path),
    }
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

    pub(super) fn get_mut(&mut self, pid: i32) -> Option<&mut Run> {
        self.by_pid.get_mut(&pid)
    }

    /// Whether `run` has the process `pid`.
    pub(super) fn is(&self, pid: i32, run: RunId) -> bool {
        self.by_pid.get(&pid).is_some_and(|found| found.id == run)
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

    /// What all processes of a run are in.
    pub(super) fn group(&self, pid: i32) -> Option<&Group> {
        self.by_pid.get(&pid)?.group.as_ref()
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
}
