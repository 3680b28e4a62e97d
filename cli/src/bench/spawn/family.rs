//! The processes of one executor, as the kernel sees them.
//!
//! Owns what is counted as the executor: its process, and those of its launcher.
//! What its tasks run is not in it. Called by the rows of `marmoset bench spawn`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

/// An executor and its launcher: a guard, which is its child, and the guard's workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    executor: i32,
    launcher: Vec<i32>,
}

/// What the processes hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holding {
    /// Sum of the resident sets: a page that several share counts several times.
    pub(super) rss: u64,
    /// The same with each shared page counted once among those who share it.
    pub(super) pss: u64,
    pub(super) descriptors: usize,
    pub(super) threads: usize,
}

impl Holding {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            descriptors: self.descriptors + other.descriptors,
            threads: self.threads + other.threads,
        }
    }

    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            rss: self.rss.max(other.rss),
            pss: self.pss.max(other.pss),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

impl Family {
    /// Finds the launcher of an executor.
    ///
    /// # Errors
    /// The executor has ended.
    pub(super) fn of(executor: i32) -> anyhow::Result<Self> {
        let program = exe(executor).context("the executor has ended")?;
        // A task is another program, or on its way to become one: below the workers.
        let own = |pid: &i32| exe(*pid).is_ok_and(|exe| exe == program);
        let guards = children(executor).into_iter().filter(own).collect::<Vec<_>>();
        let workers = guards.iter().flat_map(|guard| children(*guard)).filter(own);
        let launcher = guards.iter().copied().chain(workers).collect();
        Ok(Self { executor, launcher })
    }

    /// Finds the executor that this process has started somewhere below itself.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn below_us(program: &Path) -> anyhow::Result<Self> {
        let program = program.canonicalize().context("the executor's program is gone")?;
        let mut below = children(std::process::id() as i32);
        while let Some(pid) = below.pop() {
            below.extend(children(pid));
            let is_launcher = fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"launcher"));
            if !is_launcher && exe(pid).is_ok_and(|exe| exe == program) {
                return Self::of(pid);
            }
        }
        anyhow::bail!("no executor runs")
    }

    /// The processes of the launcher.
    pub(super) fn launcher(&self) -> &[i32] {
        &self.launcher
    }

    /// How many processes there are.
    pub(super) fn len(&self) -> usize {
        1 + self.launcher.len()
    }

    /// CPU time of all of them so far, in their own code and in the kernel.
    ///
    /// # Errors
    /// One has ended.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        self.pids().map(|pid| cpu(pid).context("a process of the executor has ended")).sum()
    }

    /// What all of them hold now.
    ///
    /// # Errors
    /// One has ended.
    pub(super) fn holding(&self) -> anyhow::Result<Holding> {
        self.pids().try_fold(Holding::default(), |sum, pid| {
            Ok(sum.plus(holding(pid).context("a process of the executor has ended")?))
        })
    }

    fn pids(&self) -> impl Iterator<Item = i32> {
        std::iter::once(self.executor).chain(self.launcher.iter().copied())
    }
}

fn exe(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
}

/// Processes that have this one as their parent, whichever of its threads started them.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| {
        let list = fs::read_to_string(thread.path().join("children")).ok()?;
        Some(list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
    });
    lists.flatten().collect()
}

/// Nanoseconds on a processor, by the scheduler's own books: `schedstat` of each thread.
fn cpu(pid: i32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
        sum += Duration::from_nanos(nanos.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(sum)
}

/// What one process holds now.
///
/// # Errors
/// It has ended.
pub(super) fn holding(pid: i32) -> io::Result<Holding> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Holding {
        rss: kilobytes(&text, "Rss:") * 1024,
        pss: kilobytes(&text, "Pss:") * 1024,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        threads: fs::read_dir(format!("/proc/{pid}/task"))?.count(),
    })
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_waits_is_measured() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id() as i32;
        assert!(children(std::process::id() as i32).contains(&pid));
        let one = holding(pid).unwrap();
        assert!(one.rss >= one.pss && one.pss > 0 && one.threads == 1, "{one:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Family::of(pid).is_err());
    }

    #[test]
    fn memory_is_read_from_its_line() {
        let text = "5581-7ffe ---p 0 00:00 0  [rollup]\nRss:    5920 kB\nPss:    1010 kB\n";
        assert_eq!((kilobytes(text, "Rss:"), kilobytes(text, "Pss:")), (5920, 1010));
        assert_eq!(kilobytes(text, "Swap:"), 0);
    }
}
