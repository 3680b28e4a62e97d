//! Tasks and groups from the master: refused, queued or delivered.

use marmoset_proto::mesos::v1::{
    ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, TaskGroupInfo, TaskId, TaskInfo,
    executor::{Event, event},
    task_status::Reason,
};

use super::{
    Action, Container, Core, Executor, Framework, Kind, Now, Phase, Task, Timer,
    update::{Verdict, dropped_or_lost},
};
use crate::{
    agent::{
        command, environment,
        launch::{self, Launch},
        sandbox,
    },
    config::Containerizer,
    docker::{self, Amounts},
    link::ToMaster,
};

/// What is delivered together.
enum Cargo {
    Task(Box<TaskInfo>),
    Group(TaskGroupInfo),
}

impl Cargo {
    fn task_ids(&self) -> Vec<TaskId> {
        match self {
            Self::Task(task) => vec![task.task_id.clone()],
            Self::Group(group) => group.tasks.iter().map(|task| task.task_id.clone()).collect(),
        }
    }

    fn tasks(&self) -> &[TaskInfo] {
        match self {
            Self::Task(task) => std::slice::from_ref(task),
            Self::Group(group) => &group.tasks,
        }
    }
}

impl Core {
    pub(super) fn run_task(
        &mut self,
        now: Now,
        framework: FrameworkInfo,
        task: TaskInfo,
        launch_executor: bool,
    ) {
        let Some(id) = framework.id.clone() else {
            tracing::warn!(task = %task.task_id, "task of a framework without id ignored");
            return;
        };
        let (executor, kind) = match (&task.executor, &task.command) {
            (Some(executor), _) => (executor.clone(), Kind::Custom),
            (None, _) => {
                (command::executor_for(&id, &task, &self.settings.command_executor), Kind::Command)
            }
        };
        let launch = launch_executor || kind == Kind::Command;
        self.run(now, id, framework, executor, kind, Cargo::Task(Box::new(task)), launch);
    }

    pub(super) fn run_group(
        &mut self,
        now: Now,
        framework: FrameworkInfo,
        executor: ExecutorInfo,
        group: TaskGroupInfo,
        launch_executor: bool,
    ) {
        let Some(id) = framework.id.clone() else { return };
        if group.tasks.is_empty() {
            tracing::warn!(framework = %id, "empty task group ignored");
            return;
        }
        let cargo = Cargo::Group(group);
        self.run(now, id, framework, executor, Kind::Custom, cargo, launch_executor);
    }

    #[expect(clippy::too_many_arguments, reason = "one launch is that many facts")]
    fn run(
        &mut self,
        now: Now,
        id: FrameworkId,
        info: FrameworkInfo,
        executor_info: ExecutorInfo,
        kind: Kind,
        cargo: Cargo,
        launch: bool,
    ) {
        let framework =
            self.frameworks.entry(id.clone()).or_insert_with(|| Framework::new(id.clone(), info));
        if framework.terminating {
            tracing::warn!(framework = %id, "task of a framework that is removed dropped");
            return;
        }
        let tasks = cargo.task_ids();
        if let Some(known) = tasks.iter().find(|task| framework.owners.contains_key(task)) {
            // The master answers a repeated id itself; a second delivery must not disturb the first.
            tracing::warn!(task = %known, "task is here already, launch ignored");
            return;
        }
        let executor_id = executor_info.executor_id.clone();
        let phase = framework.executors.get(&executor_id).map(|executor| executor.phase);
        let refusal = match (phase, launch) {
            (None, true) | (Some(Phase::Registering | Phase::Running(_)), false) => None,
            (None, false) => Some("No executor is expected to launch and there is none running"),
            (Some(_), true) => Some("Master wants to launch executor, but one already exists"),
            (Some(Phase::Terminating(_)), false) => Some("Executor terminating"),
            (Some(Phase::Terminated), false) => Some("Executor terminated"),
        };
        if let Some(message) = refusal {
            let verdict = Verdict {
                state: dropped_or_lost(&framework.info),
                reason: Reason::ExecutorTerminated,
                message: message.to_owned(),
            };
            for task in &tasks {
                self.agent_update(now, &id, task, &verdict, None);
            }
            match (phase, launch) {
                // The master has an executor too many in its books.
                (Some(Phase::Terminated), true) if kind.is_custom() => {
                    let exited = ToMaster::ExitedExecutor {
                        agent_id: self.agent_id(),
                        framework_id: id.clone(),
                        executor_id,
                        status: -1,
                    };
                    self.actions.push_back(Action::ToMaster(exited));
                }
                // The master does not know the one that runs.
                (Some(Phase::Registering | Phase::Running(_)), true) => {
                    self.shut_down_executor(now, &id, &executor_id);
                }
                (None | Some(_), true | false) => {}
            }
            self.remove_framework_if_idle(&id);
            return;
        }
        for task in tasks {
            framework.owners.insert(task, executor_id.clone());
        }
        if phase.is_none() {
            self.start_executor(now, &id, executor_info, kind, cargo.tasks());
        }
        let Some(executor) = self.executor(&id, &executor_id) else { return };
        match (cargo, executor.phase) {
            (Cargo::Task(task), Phase::Running(_)) => self.deliver(&id, &executor_id, *task),
            (Cargo::Group(group), Phase::Running(_)) => {
                self.deliver_group(&id, &executor_id, group);
            }
            (Cargo::Task(task), _) => executor.queued.push_back(*task),
            (Cargo::Group(group), _) => executor.queued_groups.push_back(group),
        }
    }

    fn start_executor(
        &mut self,
        now: Now,
        id: &FrameworkId,
        info: ExecutorInfo,
        kind: Kind,
        first: &[TaskInfo],
    ) {
        let container = Container(self.seed.uuid().to_string());
        let agent_id = self.agent_id();
        let directory = sandbox::run_directory(
            &self.settings.work_dir,
            &agent_id,
            id,
            &info.executor_id,
            &container.0,
        );
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let info = ExecutorInfo { framework_id: Some(id.clone()), ..info };
        let containerizer =
            launch::containerizer_for(&self.settings.containerizers, info.container.as_ref());
        let launch = Launch {
            container: container.clone(),
            containerizers: self.settings.containerizers.clone(),
            containerizer,
            docker: self.settings.docker.clone(),
            kind,
            links: sandbox::agent_directory(&self.settings.work_dir, &agent_id),
            resources: docker::resources(&info.resources, first),
            limits: docker::limits(&info.resources, first),
            directory: directory.clone(),
            command: info.command.clone().unwrap_or_default(),
            container_info: info.container.clone(),
            user: info
                .command
                .as_ref()
                .and_then(|command| command.user.clone())
                .unwrap_or_else(|| framework.info.user.clone()),
            environment: environment::of_executor(
                &self.settings,
                &agent_id,
                &framework.info,
                &info,
                &directory,
                containerizer.unwrap_or(Containerizer::Mesos),
                &container,
            ),
        };
        let executor_id = info.executor_id.clone();
        tracing::info!(executor = %executor_id, container = container.0, "launching executor");
        let executor = Executor::new(info, kind, container.clone(), directory, containerizer);
        framework.executors.insert(executor_id.clone(), executor);
        self.containers.insert(container.clone(), (id.clone(), executor_id));
        self.timers
            .set(Timer::Registration(container), now.instant + self.settings.registration_timeout);
        self.actions.push_back(Action::Launch(Box::new(launch)));
    }

    pub(super) fn deliver(
        &mut self,
        framework: &FrameworkId,
        executor_id: &ExecutorId,
        task: TaskInfo,
    ) {
        let Some(executor) = self.executor(framework, executor_id) else { return };
        executor.sent_task = true;
        executor.launched.insert(task.task_id.clone(), Task::new(&task));
        let event = Event {
            r#type: Some(event::Type::Launch.into()),
            launch: Some(event::Launch { task }),
            ..Event::default()
        };
        self.resize(framework, executor_id);
        self.send(framework, executor_id, event);
    }

    /// Lets a container in Docker grow or shrink with the tasks of its executor.
    pub(super) fn resize(&mut self, framework: &FrameworkId, executor_id: &ExecutorId) {
        let Some(executor) = self.executor(framework, executor_id) else { return };
        match (executor.containerizer, executor.kind) {
            (Some(Containerizer::Docker), Kind::Custom) => {}
            (Some(Containerizer::Docker), Kind::Command)
            | (Some(Containerizer::Mesos) | None, Kind::Custom | Kind::Command) => return,
        }
        let tasks: Vec<TaskInfo> = executor
            .queued_tasks()
            .chain(executor.launched.values().map(|task| &task.info))
            .cloned()
            .collect();
        let amounts = Amounts {
            resources: docker::resources(&executor.info.resources, &tasks),
            limits: docker::limits(&executor.info.resources, &tasks),
        };
        let container = executor.container.clone();
        self.actions.push_back(Action::Resize(container, Box::new(amounts)));
    }

    pub(super) fn deliver_group(
        &mut self,
        framework: &FrameworkId,
        executor_id: &ExecutorId,
        group: TaskGroupInfo,
    ) {
        let Some(executor) = self.executor(framework, executor_id) else { return };
        executor.sent_task = true;
        for task in &group.tasks {
            executor.launched.insert(task.task_id.clone(), Task::new(task));
        }
        let event = Event {
            r#type: Some(event::Type::LaunchGroup.into()),
            launch_group: Some(event::LaunchGroup { task_group: group }),
            ..Event::default()
        };
        self.resize(framework, executor_id);
        self.send(framework, executor_id, event);
    }
}
