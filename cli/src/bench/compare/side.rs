//! The sides of the comparison, and one round of one of them.
//!
//! Owns how each side is given the same job, and what is measured around it.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use marmoset_proto::{
    mesos::v1::{CommandInfo, ContainerInfo, container_info},
    resources::Need,
};
use marmoset_scheduler::{
    BatchSize, CancellationToken, Counters, Items, JobSpec, SessionConfig, TaskTimes, drive,
    run_traced,
};
use tokio::sync::mpsc;

use super::builtin::{Builtin, Kind, Plan};
use crate::bench::{
    site::Site,
    usage::{self, Usage, Watch},
};

/// How a side runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The resident executor, each command a Mesos task.
    Single,
    /// The resident executor, batches.
    Batches,
    /// One of Mesos' own, or none at all.
    Builtin(Kind),
}

/// Where a side runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// As processes of the agent's machine.
    Process,
    /// In a container of their own each.
    Docker,
    /// In containers that they share.
    Warm,
}

/// One of those that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    /// For scripts.
    pub(super) id: &'static str,
    /// For people.
    pub(super) name: &'static str,
    /// What it was given, in a sentence.
    pub(super) given: &'static str,
    pub(super) way: Way,
    pub(super) place: Place,
}

impl Side {
    /// Whether it is ours.
    pub(super) fn is_resident(&self) -> bool {
        match self.way {
            Way::Single | Way::Batches => true,
            Way::Builtin(_) => false,
        }
    }
}

/// The two resident sides.
pub(super) const SINGLE: Side = Side {
    id: "single",
    name: "resident executor, --batch 1",
    given: "one Mesos task for each command, one executor for all",
    way: Way::Single,
    place: Place::Process,
};
pub(super) const BATCHES: Side = Side {
    id: "batches",
    name: "resident executor, batches",
    given: "many commands in each Mesos task, sized to last a second; one executor for all",
    way: Way::Batches,
    place: Place::Process,
};
/// What the others are compared with.
pub(super) const COMMAND: Side = Side {
    id: "command",
    name: "built-in command executor",
    given: "one Mesos task with a plain command for each, hence one executor process for each",
    way: Way::Builtin(Kind::Command),
    place: Place::Process,
};
pub(super) const GROUP: Side = Side {
    id: "default",
    name: "built-in default executor",
    given: "one task group of one task for each command, hence one default executor for each",
    way: Way::Builtin(Kind::Group),
    place: Place::Process,
};
/// What the cluster itself carries.
pub(super) const NULL: Side = Side {
    id: "null",
    name: "null executor, --batch 1",
    given: "one Mesos task for each command, answered at once by an executor that runs nothing",
    way: Way::Builtin(Kind::Null),
    place: Place::Process,
};
/// Those in containers.
pub(super) const IN_CONTAINERS: [Side; 2] = [
    Side {
        id: "docker-batches",
        name: "resident executor, Docker, batches",
        given: "a container for each command, many commands in each Mesos task",
        way: Way::Batches,
        place: Place::Docker,
    },
    Side {
        id: "docker-command",
        name: "built-in Docker containerizer",
        given: "one Mesos task with a plain command and a Docker container for each",
        way: Way::Builtin(Kind::Command),
        place: Place::Docker,
    },
];

/// Those in containers that the commands share.
pub(super) const IN_SHARED_CONTAINERS: [Side; 2] = [
    Side {
        id: "warm-single",
        name: "resident executor, warm, --batch 1",
        given: "one Mesos task for each command, in a container that they share",
        way: Way::Single,
        place: Place::Warm,
    },
    Side {
        id: "warm-batches",
        name: "resident executor, warm, batches",
        given: "many commands in each Mesos task, in a container that they share",
        way: Way::Batches,
        place: Place::Warm,
    },
];

/// The job that all sides run.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) command: CommandInfo,
    pub(super) need: Need,
    pub(super) image: Option<String>,
    /// The one of containers that commands share.
    pub(super) warm_image: Option<String>,
}

/// What came of one round of one side.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// Commands that ended.
    pub(super) tasks: u64,
    /// Of these, with exit status 0.
    pub(super) finished: u64,
    /// What the first of the others said.
    pub(super) failure: Option<String>,
    /// From the beginning, registration and the executors' start included, to the last end.
    pub(super) elapsed: Duration,
    pub(super) times: Vec<TaskTimes>,
    pub(super) mesos_tasks: u64,
    pub(super) counters: Counters,
    /// Processor time of this process: the scheduler, and the measuring itself.
    pub(super) scheduler: Duration,
    /// The most memory that this process held.
    pub(super) scheduler_peak: u64,
    /// Of the agent and all below it, if it is on this machine.
    pub(super) agent: Option<Usage>,
}

impl Round {
    /// Commands a second.
    pub(super) fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.tasks as f64 / seconds } else { 0.0 }
    }
}

/// Runs `count` commands the way of a side, and measures. With `at_a_time` not more of them at once.
///
/// # Errors
/// The cluster is gone, or not all of them ended within `limit`.
pub(super) async fn measure(
    site: &Site,
    side: &Side,
    work: &Work,
    count: u64,
    at_a_time: Option<u64>,
    limit: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<Round> {
    usage::reset_peak("self");
    let watch = site.agent.and_then(Watch::start);
    let before = usage::own_time();
    let stop = stop.child_token();
    let ran = async {
        match side.way {
            Way::Single => {
                resident(
                    site,
                    side,
                    work,
                    count,
                    at_a_time,
                    BatchSize::Fixed(NonZeroU64::MIN),
                    stop.clone(),
                )
                .await
            }
            Way::Batches => {
                resident(site, side, work, count, at_a_time, BatchSize::Auto, stop.clone()).await
            }
            Way::Builtin(kind) => {
                builtin(site, side, work, count, at_a_time, kind, stop.clone()).await
            }
        }
    };
    let deadline = Instant::now() + limit;
    let mut ran = std::pin::pin!(ran);
    let round = tokio::select! {
        round = &mut ran => round,
        () = tokio::time::sleep_until(deadline.into()) => {
            stop.cancel();
            // It ends soon: what runs is killed, and the framework goes.
            ran.await
        }
    }
    .with_context(|| side.name)?;
    let scheduler = usage::own_time().saturating_sub(before);
    let agent = match watch {
        // It waits for processes to end: not on a thread that others need.
        Some(watch) => tokio::task::spawn_blocking(move || watch.stop()).await.unwrap_or_default(),
        None => None,
    };
    if stop.is_cancelled() && Instant::now() >= deadline && round.tasks < count {
        bail!("{}: {} of {count} commands ended within {limit:?}", side.name, round.tasks);
    }
    Ok(Round { scheduler, scheduler_peak: usage::peak("self"), agent, ..round })
}

async fn resident(
    site: &Site,
    side: &Side,
    work: &Work,
    count: u64,
    at_a_time: Option<u64>,
    batch: BatchSize,
    stop: CancellationToken,
) -> anyhow::Result<Round> {
    let spec = JobSpec {
        need: work.need,
        batch,
        max_running: at_a_time.and_then(NonZeroU64::new),
        runtime: match side.place {
            Place::Process => None,
            Place::Docker => Some("docker".to_owned()),
            Place::Warm => Some("warm".to_owned()),
        },
        container: container(side.place, work),
        ..JobSpec::new("task", command(side.place, work), Items::Array { count })
    };
    // Nobody looks: what is told while it runs is dropped.
    let (events, _) = mpsc::channel(1);
    let (summary, trace) = run_traced(site.framework(side.name), spec, events, stop).await?;
    Ok(Round {
        tasks: trace.tasks.len() as u64,
        finished: summary.tasks.finished,
        failure: summary.failures.first().map(|group| group.message.clone()),
        elapsed: summary.elapsed,
        times: trace.tasks,
        mesos_tasks: summary.mesos_tasks,
        counters: trace.counters,
        scheduler: Duration::ZERO,
        scheduler_peak: 0,
        agent: None,
    })
}

async fn builtin(
    site: &Site,
    side: &Side,
    work: &Work,
    count: u64,
    at_a_time: Option<u64>,
    kind: Kind,
    stop: CancellationToken,
) -> anyhow::Result<Round> {
    let mut framework = Builtin::new(Plan {
        kind,
        executor: site.null.clone(),
        command: command(side.place, work),
        container: container(side.place, work),
        need: work.need,
        count,
        at_a_time,
    });
    let config = SessionConfig {
        timing: site.framework(side.name).core.timing,
        ..SessionConfig::new(site.connection.clone(), site.identity(side.name))
    };
    drive(config, &mut framework, stop).await?;
    let Builtin { tasks, finished, failure, counters, .. } = framework;
    Ok(Round {
        tasks: tasks.len() as u64,
        finished,
        failure,
        elapsed: tasks.iter().map(|times| times.ended).max().unwrap_or_default(),
        mesos_tasks: tasks.len() as u64,
        times: tasks,
        counters,
        scheduler: Duration::ZERO,
        scheduler_peak: 0,
        agent: None,
    })
}

/// In a container the arguments follow the program, whose name is not among them.
fn command(place: Place, work: &Work) -> CommandInfo {
    let mut command = work.command.clone();
    match place {
        Place::Process => {}
        Place::Docker | Place::Warm => {
            command.arguments.remove(0);
        }
    }
    command
}

fn container(place: Place, work: &Work) -> Option<ContainerInfo> {
    let image = match place {
        Place::Process => return None,
        Place::Docker => work.image.clone()?,
        Place::Warm => work.warm_image.clone()?,
    };
    Some(ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(container_info::DockerInfo {
            image,
            network: Some(container_info::docker_info::Network::Host.into()),
            ..container_info::DockerInfo::default()
        }),
        ..ContainerInfo::default()
    })
}
