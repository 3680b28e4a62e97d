//! Reads what a Mesos task asks for, and refuses what cannot be run.
//!
//! Owns every check that needs no look at the machine. Whether a program or a
//! folder is there is for the edge to find out. Called by the core for each
//! task of a LAUNCH or a LAUNCH_GROUP.
//!
//! A `TaskInfo` that has a `command` (task groups) is that command, and its
//! `data` is opaque. Otherwise `data` holds a [`TaskSpec`].

mod process;

use std::{sync::Arc, time::Duration};

use marmoset_proto::{
    codec::{self, DecodeError, Encoding},
    item,
    marmoset::v1::{Batch, Item, TaskSpec},
    mesos::v1::{
        CommandInfo, ContainerInfo, DurationInfo, Resource, TaskInfo, container_info, image,
    },
};

pub use self::process::ProcessError;
use crate::{
    action::{Options, RuntimeKind, Template},
    bounds::Bounds,
    checks::spec::{self as check_spec, CheckError, CheckSpecs},
    command::{self, CommandError},
    items::{ItemsError, Pending},
};

/// Longest task id: it names a folder.
const ID_BYTES_MAX: usize = 255;

/// The label that names a runtime, as `TaskSpec.runtime` does.
const RUNTIME_LABEL: &str = "marmoset.runtime";

/// Most items of a batch that run at a time: each of them takes memory before it starts.
const WIDTH_MAX: u32 = 65_536;

/// What a Mesos task asks for.
#[derive(Debug)]
pub(crate) enum Work {
    Single(Single),
    Batch(BatchSpec),
}

/// One command.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) template: Arc<Template>,
    pub(crate) item: Option<Item>,
    pub(crate) ports: Vec<u16>,
    pub(crate) limit: Option<Duration>,
    pub(crate) checks: CheckSpecs,
}

/// Many runs of one command.
#[derive(Debug)]
pub(crate) struct BatchSpec {
    pub(crate) template: Arc<Template>,
    pub(crate) job: String,
    pub(crate) pending: Pending,
    pub(crate) width: u32,
    pub(crate) ports: Vec<u16>,
    pub(crate) ports_each: usize,
    pub(crate) limit: Option<Duration>,
}

/// Why a task cannot be run. The text becomes the message of its TASK_ERROR.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The id would not be a file name.
    #[error("task id `{id}` {problem}: it names a folder in the sandbox")]
    TaskId {
        /// The id.
        id: String,
        /// What is wrong with it.
        problem: IdProblem,
    },
    /// Neither `command` nor `data`.
    #[error(
        "`TaskInfo.data` is empty: it must hold a `marmoset.v1.TaskSpec` \
         (protobuf, or JSON starting with `{{`)"
    )]
    Absent,
    /// Bytes that are no TaskSpec.
    #[error(
        "`TaskInfo.data` is not a `marmoset.v1.TaskSpec` in protobuf ({0}): \
         write one, or its JSON form starting with `{{`"
    )]
    Protobuf(#[source] codec::ProtobufError),
    /// Starts like JSON.
    #[error("`TaskInfo.data` is not a `marmoset.v1.TaskSpec` in JSON: {0}")]
    Json(#[source] DecodeError),
    /// Nothing to run.
    #[error("`TaskSpec` has neither `command` nor `batch`: set exactly one of them")]
    Neither,
    /// Two things to run.
    #[error("`TaskSpec` has both `command` and `batch`: set exactly one of them")]
    Both,
    /// `item` has no meaning for a batch.
    #[error("`TaskSpec.item` stands next to `batch`: put it into `batch.items`")]
    ItemBesideBatch,
    /// No such runtime here.
    #[error(
        "unknown runtime `{name}` in `TaskSpec.runtime` or the label `marmoset.runtime`: this executor knows {known}"
    )]
    UnknownRuntime {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A container that nobody would start.
    #[error(
        "`TaskInfo.container` is more than `rlimit_info`, but the runtime `{0}` starts no \
         container: remove it, or choose another runtime"
    )]
    Container(&'static str),
    /// A container of nothing.
    #[error(
        "the runtime `{0}` needs an image: set `TaskInfo.container` to one of type DOCKER with \
         `docker.image`, or of type MESOS with `mesos.image.docker`"
    )]
    NoImage(&'static str),
    /// The command cannot be run.
    #[error("`{field}` {problem}")]
    Command {
        /// Where the command stands.
        field: &'static str,
        /// What is wrong with it.
        problem: CommandError,
    },
    /// The process would not be what is wished for.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The items cannot be used.
    #[error(transparent)]
    Items(#[from] ItemsError),
    /// A text that no argument can hold.
    #[error("the line of item {0} in `batch.items` contains a NUL character")]
    Line(u64),
    /// Nothing would ever run.
    #[error("`batch.width` is 0: at least one item has to run at a time")]
    NoWidth,
    /// More at a time than any machine runs.
    #[error("`batch.width` is {0}, and {WIDTH_MAX} at most")]
    Wide(u32),
    /// The prefix would not make file names.
    #[error(
        "`batch.job` `{job}` {problem}: with the index behind it, it names folders in the sandbox"
    )]
    Job {
        /// The prefix.
        job: String,
        /// What is wrong with it.
        problem: IdProblem,
    },
    /// The name would not make file names.
    #[error("`TaskSpec.output.pack` `{pack}` {problem}: it names files in the sandbox")]
    Pack {
        /// The name.
        pack: String,
        /// What is wrong with it.
        problem: IdProblem,
    },
    /// Ports cannot be shared out.
    #[error(
        "`batch.width` {width} times `batch.ports` {each} is not the number of ports \
         in the task's resources, {have}"
    )]
    Ports {
        /// Items at a time.
        width: u32,
        /// Ports of each.
        each: u32,
        /// Ports there are.
        have: usize,
    },
    /// Not a port.
    #[error("the task's resources hold the ports {begin} to {end}, which are not ports")]
    PortRange {
        /// First.
        begin: u64,
        /// Last.
        end: u64,
    },
    /// The limit belongs to the items.
    #[error(
        "`TaskInfo.max_completion_time` is set for a batch: \
         `batch.max_completion_time` limits each item"
    )]
    LimitOfBatch,
    /// A check cannot be tried.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Which of the runs would it be about?
    #[error(
        "`TaskInfo.{0}` is set for a batch, whose runs come and go: \
         launch the task that is to be watched alone"
    )]
    CheckOfBatch(&'static str),
    /// Ends before it begins.
    #[error("`TaskInfo.{0}` is negative: it must be 0 or more")]
    Negative(&'static str),
    /// No time at all.
    #[error("`{0}` is not more than 0")]
    NoTime(&'static str),
}

/// What is wrong with a text that has to be a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdProblem {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// More than a file system takes.
    #[error("is too long (255 bytes at most)")]
    TooLong,
    /// A path, not a name.
    #[error("contains a slash or a backslash")]
    Slash,
    /// Unprintable.
    #[error("contains a control character")]
    Control,
    /// Names something else.
    #[error("is a dot name")]
    Dots,
}

/// Reads a task.
pub(crate) fn read(task: &TaskInfo) -> Result<Work, SpecError> {
    let id = task.task_id.as_str();
    check_id(id).map_err(|problem| SpecError::TaskId { id: id.to_string(), problem })?;
    let spec = match (&task.command, &task.data) {
        (Some(command), _) => TaskSpec { command: Some(command.clone()), ..TaskSpec::default() },
        (None, Some(data)) if !data.is_empty() => decode(data)?,
        (None, _) => return Err(SpecError::Absent),
    };
    let negative = |time: &Option<DurationInfo>| time.is_some_and(|time| time.nanoseconds < 0);
    if negative(&task.max_completion_time) {
        return Err(SpecError::Negative("max_completion_time"));
    }
    if task.kill_policy.is_some_and(|policy| negative(&policy.grace_period)) {
        return Err(SpecError::Negative("kill_policy.grace_period"));
    }
    let name = spec.runtime.as_deref().or_else(|| label(task));
    let runtime = runtime(name, task.container.as_ref())?;
    if let Some(pack) = spec.output.as_ref().and_then(|output| output.pack.as_ref()) {
        // The number of the pack follows it.
        check_id(pack)
            .and_then(|()| check_id(&format!("{pack}.{}.pack", u32::MAX)))
            .map_err(|problem| SpecError::Pack { pack: pack.clone(), problem })?;
    }
    let ports = ports(&task.resources)?;
    let width = spec.batch.as_ref().map_or(1, Batch::width);
    let options = Options {
        nice: spec.nice(),
        umask: spec.umask,
        pull: spec.pull(),
        output: spec.output.unwrap_or_default(),
    };
    process::check(&options, task.container.as_ref())?;
    let template = |command, many| {
        Arc::new(Template {
            runtime,
            command,
            many,
            role: role(&task.resources),
            container: task.container.clone().map(Box::new),
            bounds: Bounds::of(task, width),
            options,
        })
    };
    match (spec.command, spec.batch) {
        (None, None) => Err(SpecError::Neither),
        (Some(_), Some(_)) => Err(SpecError::Both),
        (Some(command), None) => {
            let field =
                if task.command.is_some() { "TaskInfo.command" } else { "TaskSpec.command" };
            command::check(&command, runtime)
                .map_err(|problem| SpecError::Command { field, problem })?;
            if spec.item.as_ref().is_some_and(|item| item.line().contains('\0')) {
                return Err(SpecError::Line(spec.item.map_or(0, |item| item.index)));
            }
            let template = template(command, false);
            let checks = check_spec::read(task, &template)?;
            let limit = task.max_completion_time.map(|limit| limit.to_duration());
            Ok(Work::Single(Single { template, item: spec.item, ports, limit, checks }))
        }
        (None, Some(_)) if spec.item.is_some() => Err(SpecError::ItemBesideBatch),
        (None, Some(_)) if task.max_completion_time.is_some() => Err(SpecError::LimitOfBatch),
        (None, Some(_)) if task.health_check.is_some() => {
            Err(SpecError::CheckOfBatch("health_check"))
        }
        (None, Some(_)) if task.check.is_some() => Err(SpecError::CheckOfBatch("check")),
        (None, Some(batch)) => read_batch(batch, runtime, template, ports).map(Work::Batch),
    }
}

/// The runtime that a task names in its labels: where `data` is not ours there is no other place.
fn label(task: &TaskInfo) -> Option<&str> {
    let labels = task.labels.as_ref()?.labels.iter();
    labels.filter(|label| label.key == RUNTIME_LABEL).find_map(|label| label.value.as_deref())
}

/// Where a task runs: where it says, or in a container if it has an image.
fn runtime(
    name: Option<&str>,
    container: Option<&ContainerInfo>,
) -> Result<RuntimeKind, SpecError> {
    let image = container.is_some_and(has_image);
    let kind = match name {
        Some(name) => RuntimeKind::by_name(name).ok_or_else(|| SpecError::UnknownRuntime {
            name: name.to_string(),
            known: RuntimeKind::ALL.map(|kind| format!("`{}`", kind.name())).join(", "),
        })?,
        None if image => RuntimeKind::Docker,
        None => RuntimeKind::Process,
    };
    match kind {
        RuntimeKind::Process if container.is_some_and(|container| !is_only_rlimits(container)) => {
            Err(SpecError::Container(kind.name()))
        }
        RuntimeKind::Docker | RuntimeKind::Warm if !image => Err(SpecError::NoImage(kind.name())),
        RuntimeKind::Process | RuntimeKind::Docker | RuntimeKind::Warm => Ok(kind),
    }
}

fn has_image(container: &ContainerInfo) -> bool {
    let of_docker = container.docker.as_ref().is_some_and(|docker| !docker.image.is_empty());
    let image = container.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
    of_docker || image.is_some_and(|image| image.r#type() == image::Type::Docker)
}

/// Whether nothing is asked for that needs a container.
fn is_only_rlimits(container: &ContainerInfo) -> bool {
    let rest = ContainerInfo { rlimit_info: None, mesos: None, ..container.clone() };
    let empty =
        ContainerInfo { r#type: container_info::Type::Mesos.into(), ..ContainerInfo::default() };
    rest == empty && container.mesos.as_ref().is_none_or(|mesos| mesos.image.is_none())
}

fn read_batch(
    batch: Batch,
    runtime: RuntimeKind,
    template: impl FnOnce(CommandInfo, bool) -> Arc<Template>,
    ports: Vec<u16>,
) -> Result<BatchSpec, SpecError> {
    let (width, each) = (batch.width(), batch.ports());
    command::check(&batch.command, runtime)
        .map_err(|problem| SpecError::Command { field: "batch.command", problem })?;
    if width == 0 {
        return Err(SpecError::NoWidth);
    }
    if width > WIDTH_MAX {
        return Err(SpecError::Wide(width));
    }
    if u64::from(width) * u64::from(each) != ports.len() as u64 {
        return Err(SpecError::Ports { width, each, have: ports.len() });
    }
    let limit = match batch.max_completion_time {
        Some(limit) if limit.nanoseconds <= 0 => {
            return Err(SpecError::NoTime("batch.max_completion_time"));
        }
        limit => limit.map(|limit| limit.to_duration()),
    };
    let pending = Pending::new(&batch.ranges, batch.items)?;
    let (index, attempt) = pending.largest();
    check_id(&batch.job)
        .and_then(|()| check_id(&item::task_id(&batch.job, index, attempt)))
        .map_err(|problem| SpecError::Job { job: batch.job.clone(), problem })?;
    if let Some((index, _)) = pending.lines().find(|(_, line)| line.contains('\0')) {
        return Err(SpecError::Line(index));
    }
    Ok(BatchSpec {
        template: template(batch.command, pending.len() > 1),
        job: batch.job,
        pending,
        width,
        ports,
        ports_each: each as usize,
        limit,
    })
}

fn decode(data: &[u8]) -> Result<TaskSpec, SpecError> {
    match data.first() {
        Some(b'{') => codec::decode(data, Encoding::Json).map_err(SpecError::Json),
        _ => codec::decode_protobuf(data).map_err(SpecError::Protobuf),
    }
}

/// Checks that `id` can be the name of a folder.
///
/// The rules of Mesos 1.11 (src/common/validation.cpp, `validateID`).
fn check_id(id: &str) -> Result<(), IdProblem> {
    match id {
        "" => Err(IdProblem::Empty),
        "." | ".." => Err(IdProblem::Dots),
        _ if id.len() > ID_BYTES_MAX => Err(IdProblem::TooLong),
        _ if id.contains(['/', '\\']) => Err(IdProblem::Slash),
        _ if id.chars().any(char::is_control) => Err(IdProblem::Control),
        _ => Ok(()),
    }
}

/// All ports of the task, in order.
fn ports(resources: &[Resource]) -> Result<Vec<u16>, SpecError> {
    let mut ports = Vec::new();
    let ranges = resources
        .iter()
        .filter(|resource| resource.name == "ports")
        .filter_map(|resource| resource.ranges.as_ref())
        .flat_map(|ranges| &ranges.range);
    for range in ranges {
        let (begin, end) = (range.begin, range.end);
        match (u16::try_from(begin), u16::try_from(end)) {
            (Ok(begin), Ok(end)) if begin <= end => ports.extend(begin..=end),
            _ => return Err(SpecError::PortRange { begin, end }),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

fn role(resources: &[Resource]) -> Option<String> {
    resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.clone())
}

#[cfg(test)]
mod tests;
