//! How fast a launcher is.
//!
//! Owns a measurement of a real launcher without the rest of an executor.
//! Refuses to compare: see [`floor`](crate::floor). Called by `marmoset bench spawn`.

use std::{
    ffi::CString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    LauncherConfig, LauncherEvent, Output, Report, RunId, Spawn, Step, handle,
    processes::Processes, sys,
};
use crate::{cgroup::Limits, floor::PROGRAM};

/// What to measure.
#[derive(Debug, Clone)]
pub struct SpawnRateConfig {
    /// The launcher. With cgroups, each process has one.
    pub launcher: LauncherConfig,
    /// How many processes to run.
    pub count: usize,
    /// How many of them the launcher knows of at a time, running or waiting.
    pub in_flight: usize,
    /// What each of them writes to. Nothing is written.
    pub output: RateOutput,
}

/// Where the processes of a measurement write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateOutput {
    /// `/dev/null`.
    Null,
    /// Two files each, in this folder. They are left there.
    Files(PathBuf),
    /// A folder each with two files, in this folder. They are left there.
    Folders(PathBuf),
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpawnRate {
    /// Processes that were started and reaped.
    pub count: usize,
    /// Processes that could not be started.
    pub failed: usize,
    /// How many launcher processes shared the work.
    pub workers: usize,
    /// From the first request to the last report.
    pub elapsed: Duration,
    /// CPU time of this process meanwhile: all of what the executor's side costs.
    pub parent_cpu: Duration,
    /// CPU time of the launcher in its own code.
    pub launcher_user: Duration,
    /// CPU time of the launcher in the kernel, which is mostly clone(2) and wait(2);
    /// what the kernel does in the new process is not in it.
    pub launcher_system: Duration,
}

impl SpawnRate {
    /// Processes per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs `/bin/true` many times through a launcher of its own.
///
/// # Errors
///
/// When the launcher cannot be started, or dies.
pub async fn spawn_rate(config: SpawnRateConfig) -> io::Result<SpawnRate> {
    let workers = config.launcher.worker_count().get();
    let (launcher, mut events) = handle::start(config.launcher.clone())?;
    // One run ahead, so that everything is there before the clock starts.
    // As an executor asks for by default, where there are cgroups.
    let limits = config.launcher.cgroups.as_ref().map(|_| Limits {
        memory: Some(64 << 20),
        cpu_shares: Some(1024),
        cpu_quota: None,
    });
    let request = |run| request(&config.output, run).map(|spawn| Spawn { limits, ..spawn });
    launcher.spawn(vec![request(0)?]);
    let mut warm = Outcomes::default();
    warm.await_more(&mut events).await?;
    if let Some((errno, step)) = warm.failure {
        let source = io::Error::from_raw_os_error(errno);
        return Err(io::Error::other(format!("cannot {step}: {source}")));
    }

    let launcher_before = launcher_cpu(launcher.pid())?;
    let parent_before = sys::own_cpu();
    let begin = Instant::now();
    let mut asked = 0;
    let mut outcomes = Outcomes::default();
    while outcomes.total() < config.count {
        let wanted = config.count.min(outcomes.total() + config.in_flight.max(1));
        let requests = (asked..wanted)
            .map(|index| request(index as u64 + 1))
            .collect::<io::Result<Vec<_>>>()?;
        asked = wanted;
        launcher.spawn(requests);
        outcomes.await_more(&mut events).await?;
    }
    let elapsed = begin.elapsed();
    let parent_cpu = sys::own_cpu().saturating_sub(parent_before);
    let launcher_after = launcher_cpu(launcher.pid())?;
    launcher.close().await;
    Ok(SpawnRate {
        count: outcomes.ended,
        failed: outcomes.failed,
        workers,
        elapsed,
        parent_cpu,
        launcher_user: launcher_after.0.saturating_sub(launcher_before.0),
        launcher_system: launcher_after.1.saturating_sub(launcher_before.1),
    })
}

/// How the runs so far have ended.
#[derive(Debug, Default)]
struct Outcomes {
    ended: usize,
    failed: usize,
    /// Why the last one failed that did.
    failure: Option<(i32, Step)>,
}

impl Outcomes {
    fn total(&self) -> usize {
        self.ended + self.failed
    }

    /// Waits until at least one more has ended.
    async fn await_more(&mut self, events: &mut mpsc::Receiver<LauncherEvent>) -> io::Result<()> {
        let before = self.total();
        while self.total() == before {
            match events.recv().await {
                Some(LauncherEvent::Reports(reports)) => {
                    for report in reports {
                        self.count(&report);
                    }
                }
                Some(LauncherEvent::Died { reason }) => {
                    return Err(io::Error::other(format!("the launcher died: {reason}")));
                }
                None => return Err(io::Error::other("the launcher ended")),
            }
        }
        Ok(())
    }

    fn count(&mut self, report: &Report) {
        match report {
            Report::Started { .. } | Report::Returned { .. } => {}
            Report::SpawnFailed { errno, step, .. } => {
                self.failed += 1;
                self.failure = Some((*errno, *step));
            }
            Report::Exited { .. } => self.ended += 1,
        }
    }
}

/// A process like those that an executor starts: some environment, a folder of its own perhaps.
fn request(output: &RateOutput, run: u64) -> io::Result<Spawn> {
    const VARIABLES: u64 = 12;
    let mut spawn = Spawn::new(RunId(run), PROGRAM.to_owned());
    spawn.env = (0..VARIABLES)
        .map(|index| CString::new(format!("MARMOSET_BENCH_{index}=value {index} of run {run}")))
        .collect::<Result<_, _>>()?;
    match output {
        RateOutput::Null => {}
        RateOutput::Files(folder) => {
            spawn.cwd = CString::new(folder.as_os_str().as_bytes())?;
            spawn.stdout = Output::File(CString::new(format!("{run}.out"))?);
            spawn.stderr = Output::File(CString::new(format!("{run}.err"))?);
        }
        RateOutput::Folders(folder) => {
            let folder = folder.join(run.to_string());
            spawn.cwd = CString::new(folder.into_os_string().into_vec())?;
            spawn.create_cwd = true;
            spawn.stdout = Output::File(c"stdout".to_owned());
            spawn.stderr = Output::File(c"stderr".to_owned());
        }
    }
    Ok(spawn)
}

/// CPU time of guard and workers, in their own code and in the kernel.
fn launcher_cpu(guard: i32) -> io::Result<(Duration, Duration)> {
    let ticks = sys::clock_ticks();
    let time = |count: u64| Duration::from_secs_f64(count as f64 / ticks);
    let processes = Processes::scan()?;
    // Below the workers are only runs.
    let own = processes.iter().filter(|process| process.pid == guard || process.parent == guard);
    Ok(own.fold((Duration::ZERO, Duration::ZERO), |(user, system), process| {
        (user + time(process.user_ticks), system + time(process.system_ticks))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_writes_where_it_is_told() {
        let spawn = request(&RateOutput::Null, 1).unwrap();
        assert_eq!((spawn.stdout, spawn.create_cwd), (Output::Null, false));
        let spawn = request(&RateOutput::Folders("/bench".into()), 7).unwrap();
        assert_eq!((spawn.cwd.as_c_str(), spawn.create_cwd), (c"/bench/7", true));
    }

    #[tokio::test]
    async fn a_launcher_that_dies_is_an_error() {
        let launcher = LauncherConfig::new("/bin/true".into(), Vec::new());
        let config = SpawnRateConfig { launcher, count: 1, in_flight: 1, output: RateOutput::Null };
        let error = spawn_rate(config).await.unwrap_err().to_string();
        assert_eq!(error, "the launcher died: its process exited with status 0");
    }
}
