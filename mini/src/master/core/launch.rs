//! LAUNCH and LAUNCH_GROUP: from a validated task to a message to its agent.

use marmoset_proto::{
    mesos::v1::{
        AgentId, ExecutorInfo, FrameworkId, OperationId, TaskInfo, TaskState,
        offer::operation::LaunchGroup, task_status::Reason,
    },
    resources::Resources,
};

use super::{Core, Executor, Now, Task, accept::Accepted, statuses};
use crate::{
    link::ToAgent,
    master::{
        upgrade,
        validate::{self, Context},
    },
};

impl Core {
    /// Launches one task or tells why not; a refused one leaves the others and the resources alone.
    pub(super) fn launch(
        &mut self,
        accepted: &mut Accepted,
        mut task: TaskInfo,
        operation_id: Option<&OperationId>,
        now: Now,
    ) {
        upgrade::task(&mut task, &accepted.role);
        if let Some(executor) = &mut task.executor {
            executor.framework_id.get_or_insert_with(|| accepted.framework_id.clone());
        }
        let checked = match operation_id {
            Some(_) => Err(NO_OPERATION_ID.to_owned()),
            None => self.context(accepted).map_or_else(
                || Err("Framework removed".to_owned()),
                |on| validate::task(&task, on),
            ),
        };
        if let Err(message) = checked {
            self.refuse_task(&accepted.framework_id, &task, Reason::TaskInvalid, message, now);
            return;
        }
        let launch_executor = self.start_executor(accepted, task.executor.as_ref());
        self.add_task(accepted, &task);
        let Some(framework) = self.frameworks.get(&accepted.framework_id) else { return };
        let message = ToAgent::RunTask { framework: framework.info.clone(), task, launch_executor };
        self.send_agent(&accepted.agent_id, message);
    }

    /// Launches all tasks of a group, or none of them.
    pub(super) fn launch_group(
        &mut self,
        accepted: &mut Accepted,
        launch: LaunchGroup,
        operation_id: Option<&OperationId>,
        now: Now,
    ) {
        let LaunchGroup { mut executor, task_group: mut group } = launch;
        upgrade::executor(&mut executor, &accepted.role);
        for task in &mut group.tasks {
            upgrade::task(task, &accepted.role);
            task.executor.get_or_insert_with(|| executor.clone());
        }
        let checked = match operation_id {
            Some(_) => Err(NO_OPERATION_ID.to_owned()),
            None => self.context(accepted).map_or_else(
                || Err("Framework removed".to_owned()),
                |on| validate::group(&group, &executor, on),
            ),
        };
        if let Err(message) = checked {
            for task in &group.tasks {
                let (id, message) = (&accepted.framework_id, message.clone());
                self.refuse_task(id, task, Reason::TaskGroupInvalid, message, now);
            }
            return;
        }
        let launch_executor = self.start_executor(accepted, Some(&executor));
        for task in &group.tasks {
            self.add_task(accepted, task);
        }
        let Some(framework) = self.frameworks.get(&accepted.framework_id) else { return };
        let framework = framework.info.clone();
        let message = ToAgent::RunTaskGroup { framework, executor, group, launch_executor };
        self.send_agent(&accepted.agent_id, message);
    }

    fn context<'a>(&'a self, accepted: &'a Accepted) -> Option<Context<'a>> {
        Some(Context {
            framework: self.frameworks.get(&accepted.framework_id)?,
            agent: self.agents.get(&accepted.agent_id)?,
            left: &accepted.left,
        })
    }

    /// Charges an executor that does not run yet. Tells whether the agent is to start one.
    fn start_executor(&mut self, accepted: &mut Accepted, info: Option<&ExecutorInfo>) -> bool {
        // A task with a command gets an executor of the agent's own, which costs nothing here.
        let Some(info) = info else { return true };
        let Some(agent) = self.agents.get_mut(&accepted.agent_id) else { return true };
        let key = (accepted.framework_id.clone(), info.executor_id.clone());
        if agent.executors.contains_key(&key) {
            return false;
        }
        let resources = Resources::from_proto(&info.resources).unwrap_or_default();
        accepted.left -= &resources;
        agent.charge(&accepted.framework_id, &resources);
        agent.executors.insert(key, Executor { info: info.clone(), resources });
        true
    }

    fn add_task(&mut self, accepted: &mut Accepted, info: &TaskInfo) {
        let Accepted { framework_id, agent_id, role, left } = accepted;
        let resources = Resources::from_proto(&info.resources).unwrap_or_default();
        *left -= &resources;
        if let Some(agent) = self.agents.get_mut(agent_id) {
            agent.charge(framework_id, &resources);
            agent.tasks.entry(framework_id.clone()).or_default().insert(info.task_id.clone());
        }
        let executor = info.executor.as_ref().map(|executor| executor.executor_id.clone());
        let task = Task::launched(framework_id, info, executor, resources, role.clone());
        if let Some(framework) = self.frameworks.get_mut(framework_id) {
            framework.tasks.insert(task.id.clone(), task);
        }
    }

    fn refuse_task(
        &mut self,
        framework_id: &FrameworkId,
        task: &TaskInfo,
        reason: Reason,
        message: String,
        now: Now,
    ) {
        let agent_id: Option<&AgentId> = Some(&task.agent_id);
        let state = TaskState::TaskError;
        let status =
            statuses::master_made(&task.task_id, state, Some(reason), message, agent_id, now);
        self.tell(framework_id, status);
    }
}

const NO_OPERATION_ID: &str = "Operation feedback is not supported for LAUNCH or LAUNCH_GROUP: leave the operation's `id` unset";
