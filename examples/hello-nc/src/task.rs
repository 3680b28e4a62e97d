//! What a task looks like: its resources, its executor, its command.
//!
//! Owns the messages and their sizes; which port and when is for `framework`.

use marmoset_proto::{
    marmoset::v1::TaskSpec,
    mesos::v1::{
        CommandInfo, ContainerInfo, ExecutorInfo, FrameworkId, Offer, TaskId, TaskInfo,
        container_info::{self, DockerInfo, docker_info::Network},
        executor_info,
    },
    resources::{Millis, Resources, parse},
};
use marmoset_scheduler::ExecutorTemplate;
use prost::Message as _;

/// Each task is given 0.1 processors and 100 MiB, as the offers in the log tell.
const CPUS: Millis = Millis(100);
const MEM: Millis = Millis(100_000);

/// How tasks are made.
#[derive(Debug)]
pub(crate) struct Template {
    /// The executor that all tasks of an agent share.
    pub(crate) executor: ExecutorTemplate,
    /// Listens once; the port is put behind it.
    pub(crate) nc: String,
    /// The image of the tasks' containers; without it they are processes of the agent.
    pub(crate) image: Option<String>,
}

impl Template {
    /// Cuts the `number`th task, serving `port`, out of an offer; none if the offer is too small.
    pub(crate) fn task(
        &self,
        number: u64,
        port: u16,
        offer: &Offer,
        offered: &Resources,
        framework_id: &FrameworkId,
    ) -> Option<TaskInfo> {
        let executor = self.executor(framework_id);
        let mut left = offered.clone();
        // The first task of an agent brings the executor, which is charged once.
        if !offer.executor_ids.contains(&executor.executor_id) {
            left.take_amounts(&Resources::from_proto(&executor.resources).ok()?)?;
        }
        let need = parse(&format!("cpus:{CPUS};mem:{MEM};ports:[{port}-{port}]")).ok()?;
        let resources = left.take_amounts(&need)?.to_proto();

        let task_id = TaskId::from(number.to_string());
        let spec = TaskSpec {
            command: Some(CommandInfo {
                value: Some(format!("echo 'hello {task_id}' | {} {port}", self.nc)),
                shell: Some(true),
                ..CommandInfo::default()
            }),
            ..TaskSpec::default()
        };
        Some(TaskInfo {
            name: format!("hello on port {port}"),
            task_id,
            agent_id: offer.agent_id.clone(),
            resources,
            executor: Some(executor),
            container: self.image.as_deref().map(container),
            data: Some(spec.encode_to_vec().into()),
            ..TaskInfo::default()
        })
    }

    /// The executor, the same to the last byte for every task: Mesos insists.
    fn executor(&self, framework_id: &FrameworkId) -> ExecutorInfo {
        let ExecutorTemplate { id, name, command, need, .. } = &self.executor;
        let mut resources = parse(&format!("cpus:{};mem:{}", need.cpus, need.mem))
            .expect("two amounts are resources");
        resources.allocate("*");
        ExecutorInfo {
            executor_id: id.as_str().into(),
            name: Some(name.clone()),
            framework_id: Some(framework_id.clone()),
            r#type: Some(executor_info::Type::Custom.into()),
            command: Some(command.clone()),
            resources: resources.to_proto(),
            ..ExecutorInfo::default()
        }
    }
}

/// A container that listens on the ports of its host.
fn container(image: &str) -> ContainerInfo {
    let docker = DockerInfo {
        image: image.to_owned(),
        network: Some(Network::Host.into()),
        ..DockerInfo::default()
    };
    ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(docker),
        ..ContainerInfo::default()
    }
}
