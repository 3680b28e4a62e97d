//! The whole path: scheduler, master, agent, executor, launcher.
//!
//! Owns runs of one job on the embedded cluster, and the looks at the executor
//! meanwhile. Called by the rows about rate, CPU and growth.
//!
//! Rates are those between two looks: after the first tenth of the tasks, when
//! batches have their size and enough of them wait, and before the last one, when
//! there is less waiting than can run.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use marmoset_proto::{
    mesos::v1::CommandInfo,
    resources::{Millis, Need},
};
use marmoset_scheduler::{Items, Job, JobEvent, JobSpec, Summary};
use tokio::sync::mpsc;

use super::{
    PROGRAM,
    family::{Family, Holding},
    program::Program,
};
use crate::{
    interrupt::Interrupts,
    report,
    run::{self, embedded},
};

/// News that may wait.
const EVENTS: usize = 64;

/// A look at the executor while it works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// Tasks that had ended, as far as the scheduler knew.
    pub(super) ended: u64,
    /// CPU time of the executor and its launcher so far.
    pub(super) cpu: Duration,
    pub(super) holding: Holding,
}

/// What a run showed.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) summary: Summary,
    pub(super) looks: Vec<Look>,
}

impl Whole {
    /// The looks that a rate is taken between.
    fn window(&self, count: u64) -> anyhow::Result<(&Look, &Look)> {
        let first = self.looks.iter().find(|look| look.ended * 10 >= count);
        let last = self.looks.iter().rfind(|look| look.ended * 10 <= count * 9);
        let pair = first.zip(last).filter(|(first, last)| first.ended < last.ended);
        pair.context("it was over too soon to be looked at: raise `--count`")
    }

    /// Tasks per second in the middle of the run.
    ///
    /// # Errors
    /// It was too short.
    pub(super) fn rate(&self, count: u64) -> anyhow::Result<f64> {
        let (first, last) = self.window(count)?;
        Ok((last.ended - first.ended) as f64 / (last.at - first.at).as_secs_f64())
    }

    /// CPU time of the executor and its launcher for a task.
    ///
    /// # Errors
    /// It was too short.
    pub(super) fn cpu_each(&self, count: u64) -> anyhow::Result<Duration> {
        let (first, last) = self.window(count)?;
        let tasks = last.ended - first.ended;
        Ok((last.cpu - first.cpu).div_f64(tasks as f64))
    }
}

/// Runs [`PROGRAM`] so often.
///
/// # Errors
/// Not every task finished.
pub(super) async fn run(
    program: &Program,
    flags: &[&str],
    count: NonZeroU64,
) -> anyhow::Result<Whole> {
    let interrupts = Interrupts::listen(|| {}, || {})?;
    let command = CommandInfo {
        shell: Some(false),
        value: Some(PROGRAM.to_owned()),
        arguments: vec![PROGRAM.to_owned()],
        ..CommandInfo::default()
    };
    let spec = JobSpec {
        need: Need { cpus: Millis(1000), mem: Millis(16_000), ..Need::default() },
        ..JobSpec::new("true", command, Items::Array { count: count.get() })
    };
    let (cluster, mut framework) =
        embedded::with_framework("marmoset bench", run::own_user()?, &[]).await?;
    framework.core.executor = program.template(flags);
    let (events, mut news) = mpsc::channel(EVENTS);
    let running = marmoset_scheduler::run(framework, Job::from(spec), events, interrupts.token());
    let looking = async {
        let mut looks = Vec::new();
        let mut family = None;
        while let Some(event) = news.recv().await {
            if let JobEvent::Progress(progress) = event
                && progress.ended.total() > 0
            {
                if family.is_none() {
                    family = Family::below_us(&program.path).ok();
                }
                let look = family.as_ref().and_then(|family| look(family, progress.ended.total()));
                looks.extend(look);
            }
        }
        looks
    };
    let (result, looks) = tokio::join!(running, looking);
    cluster.shutdown(false).await;
    let summary = result?;
    ensure!(
        summary.tasks.finished == count.get(),
        "not all tasks finished:\n{}",
        report::text(&summary, &|_| report::Evidence::default())
    );
    Ok(Whole { summary, looks })
}

/// Nothing once the executor has ended.
fn look(family: &Family, ended: u64) -> Option<Look> {
    let at = Instant::now();
    Some(Look { at, ended, cpu: family.cpu().ok()?, holding: family.holding().ok()? })
}
