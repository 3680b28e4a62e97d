//! Agents that are none: they register, take Mesos tasks, and say at once that all went well.
//!
//! Owns what a master sees of such an agent. There is no executor and no process
//! behind it, so that a thousand of them fit on one machine. Called by
//! `marmoset bench scale`, as a process of its own beside the embedded master.
//!
//! ```text
//! registering ──Registered──▶ serving ──RunTask──▶ TASK_FINISHED with all results
//!                                └──ShutdownFramework──▶ its executor has ended
//! ```

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use marmoset_mini::{
    Cluster, ClusterConfig,
    link::{ToAgent, ToMaster},
};
use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::{ItemResult, Report, TaskSpec},
    mesos::v1::{
        AgentId, AgentInfo, ExecutorId, FrameworkId, TaskInfo, TaskState, TaskStatus,
        task_status::Source,
    },
    resources,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    args::SimulatedClusterArgs,
    exit::Ending,
    interrupt::Interrupts,
    logging::{self, Wanted},
    mini::end_of_stdin,
    output,
    run::Screen,
};

/// Resources of each agent.
const RESOURCES: &str = "cpus:8.1;mem:65536";

/// Runs a master with agents of this kind until its standard input ends.
///
/// # Errors
/// No port can be had.
pub(crate) fn perform(args: &SimulatedClusterArgs) -> anyhow::Result<Ending> {
    logging::start(&Screen::without_progress(), Wanted::Warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let config = ClusterConfig { agents: Vec::new(), ..ClusterConfig::default() };
        let cluster = Cluster::start(config).await.context("cannot start the master")?;
        for number in 1..=args.agents.get() {
            register(number, &cluster.master_link())?;
        }
        output::print(format_args!("{}", json!({"master": cluster.master_addr().to_string()})));
        let interrupted = interrupts.token();
        tokio::select! {
            () = interrupted.cancelled() => {}
            () = end_of_stdin() => {}
        }
        cluster.shutdown().await;
        Ok(Ending::Good)
    })
}

/// Lets the `number`th agent register, and serves it from then on.
fn register(number: u32, master: &mpsc::UnboundedSender<ToMaster>) -> anyhow::Result<()> {
    // Unbounded as in the cluster itself: what comes is bounded by what was offered.
    let (link, inbox) = mpsc::unbounded_channel();
    let info = AgentInfo {
        hostname: format!("simulated-{number}"),
        resources: resources::parse(RESOURCES).context("a constant")?.to_proto(),
        ..AgentInfo::default()
    };
    // Nobody asks there for files. Each has its own, or it would replace the one before it.
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 0));
    let addr = SocketAddr::from((Ipv4Addr::from(first.wrapping_add(number)), 1));
    master.send(ToMaster::Register { info, addr, link }).ok().context("the master has ended")?;
    let agent = Agent { master: master.clone(), id: None, executors: BTreeMap::new(), updates: 0 };
    // Ends when the master drops its side of the link.
    drop(tokio::spawn(agent.serve(inbox)));
    Ok(())
}

struct Agent {
    master: mpsc::UnboundedSender<ToMaster>,
    id: Option<AgentId>,
    /// The executor of each framework.
    executors: BTreeMap<FrameworkId, ExecutorId>,
    updates: u128,
}

impl Agent {
    async fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<ToAgent>) {
        while let Some(message) = inbox.recv().await {
            match message {
                ToAgent::Registered { agent_id } => self.id = Some(agent_id),
                ToAgent::RunTask { task, .. } => self.run(&task),
                ToAgent::RunTaskGroup { group, .. } => {
                    group.tasks.iter().for_each(|task| self.run(task));
                }
                ToAgent::ShutdownExecutor { framework_id, .. }
                | ToAgent::ShutdownFramework { framework_id } => self.shut_down(framework_id),
                // Everything has ended before it could be killed, and nothing is ever lost.
                ToAgent::KillTask { .. }
                | ToAgent::ReconcileTasks { .. }
                | ToAgent::UpdateFramework { .. }
                | ToAgent::Acknowledge { .. }
                | ToAgent::Message { .. } => {}
            }
        }
    }

    fn run(&mut self, task: &TaskInfo) {
        let Some(executor) = &task.executor else { return };
        let Some(framework_id) = executor.framework_id.clone() else { return };
        let Some(agent_id) = self.id.clone() else { return };
        self.executors.insert(framework_id.clone(), executor.executor_id.clone());
        self.updates += 1;
        let status = TaskStatus {
            task_id: task.task_id.clone(),
            state: TaskState::TaskFinished.into(),
            source: Some(Source::Executor.into()),
            agent_id: Some(agent_id.clone()),
            executor_id: Some(executor.executor_id.clone()),
            uuid: Some(Bytes::copy_from_slice(&self.updates.to_be_bytes())),
            data: task.data.as_deref().and_then(results),
            ..TaskStatus::default()
        };
        // The master is gone: then so is this agent, soon.
        let _ = self.master.send(ToMaster::StatusUpdate {
            agent_id,
            framework_id,
            executor_id: Some(executor.executor_id.clone()),
            status: Box::new(status),
            latest_state: TaskState::TaskFinished,
        });
    }

    fn shut_down(&mut self, framework_id: FrameworkId) {
        let (Some(executor_id), Some(agent_id)) =
            (self.executors.remove(&framework_id), self.id.clone())
        else {
            return;
        };
        let _ = self.master.send(ToMaster::ExitedExecutor {
            agent_id,
            framework_id,
            executor_id,
            status: 0,
        });
    }
}

/// What an executor would say of a Mesos task all of whose items took no time.
fn results(data: &[u8]) -> Option<Bytes> {
    let spec: TaskSpec = codec::decode(data, Encoding::Protobuf).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let finished = |index, attempt| ItemResult {
        index,
        attempt,
        started_us: Some(0),
        ended_us: Some(0),
        ..ItemResult::default()
    };
    let mut results = Vec::new();
    if let Some(batch) = &spec.batch {
        for range in &batch.ranges {
            results.extend((range.begin..=range.end).map(|index| finished(index, None)));
        }
        results.extend(batch.items.iter().map(|item| finished(item.index, item.attempt)));
    } else {
        let item = spec.item.unwrap_or_default();
        results.push(finished(item.index, item.attempt));
    }
    let received_us = u64::try_from(now.as_micros()).ok();
    let report = Report { received_us, results, ..Report::default() };
    Some(codec::encode(&report, Encoding::Protobuf))
}

#[cfg(test)]
mod tests {
    use marmoset_proto::marmoset::v1::{Batch, IndexRange, Item};

    use super::*;

    fn told(spec: &TaskSpec) -> Vec<(u64, u32)> {
        let bytes = results(&codec::encode(spec, Encoding::Protobuf)).unwrap();
        let report: Report = codec::decode(&bytes, Encoding::Protobuf).unwrap();
        report.results.iter().map(|result| (result.index, result.attempt())).collect()
    }

    #[test]
    fn every_item_has_a_result() {
        let batch = Batch {
            ranges: vec![IndexRange { begin: 3, end: 5 }],
            items: vec![Item { index: 9, line: None, attempt: Some(2) }],
            ..Batch::default()
        };
        let spec = TaskSpec { batch: Some(batch), ..TaskSpec::default() };
        assert_eq!(told(&spec), [(3, 0), (4, 0), (5, 0), (9, 2)]);
        let item = Item { index: 7, line: None, attempt: None };
        assert_eq!(told(&TaskSpec { item: Some(item), ..TaskSpec::default() }), [(7, 0)]);
    }
}
