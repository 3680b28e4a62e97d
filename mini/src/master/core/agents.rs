//! Registration, return and loss of agents.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use marmoset_proto::{
    mesos::v1::{
        AgentId, AgentInfo, ExecutorInfo, FrameworkId, FrameworkInfo, TaskId, TaskInfo, TaskState,
        TaskStatus, TimeInfo, task_status::Reason,
    },
    resources::Resources,
};

use super::{
    Action, Agent, AgentLink, Connection, Core, Executor, Framework, LinkId, Now, Task,
    Unreachable, events, state_for, statuses,
};
use crate::link::ToAgent;

/// What an agent tells when it comes back.
#[derive(Debug)]
pub(crate) struct Registration {
    /// With its id, if it has one.
    pub(crate) info: AgentInfo,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// The channel to it.
    pub(crate) link: LinkId,
    /// Frameworks it runs something of.
    pub(crate) frameworks: Vec<FrameworkInfo>,
    /// Executors it runs.
    pub(crate) executors: Vec<ExecutorInfo>,
    /// Tasks it knows.
    pub(crate) tasks: Vec<(FrameworkId, TaskInfo, TaskState)>,
}

/// Why an agent is taken out of the books.
#[derive(Debug)]
enum Removal {
    /// It may come back, and its tasks with it.
    Unreachable { why: &'static str, since_nanos: i64 },
    /// Another one listens at its address.
    Replaced,
}

impl Removal {
    /// As Mesos says it, with the agent's host name.
    fn message(&self, hostname: &str) -> String {
        match self {
            Self::Unreachable { why, .. } => format!("Agent {hostname} is unreachable: {why}"),
            Self::Replaced => {
                format!("Agent {hostname} removed: a new agent registered at the same address")
            }
        }
    }
}

impl Core {
    /// An agent registers: a new one without id, or one that was here (or with a predecessor of
    /// this master) before.
    pub(crate) fn handle_registration(&mut self, mut registration: Registration, now: Now) {
        let link = registration.link;
        let total = match Resources::from_proto(&registration.info.resources) {
            Ok(total) => total,
            Err(error) => {
                tracing::error!(%error, "refused an agent: its resources are invalid");
                self.actions.push_back(Action::CloseLink { link });
                return;
            }
        };
        let id = match registration.info.id.clone() {
            Some(id) => id,
            None => {
                self.remove_predecessor(registration.addr, now);
                self.next_agent_id()
            }
        };
        registration.info.id = Some(id.clone());
        let known = self.agents.contains_key(&id);
        let came_back = self.unreachable.remove(&id).is_some();
        let recovered = self.recovered.remove(&id);

        let message = ToAgent::Registered { agent_id: id.clone() };
        self.actions.push_back(Action::SendAgent { link, message });
        self.learn_frameworks(&registration.frameworks, now);
        self.shut_removed_down(&registration, link);
        if known {
            self.reconnect(&id, registration, now);
        } else {
            tracing::info!(agent = %id, came_back, recovered, "agent registered");
            self.counters.agent_registrations += 1;
            self.add_agent(&id, registration, total, now);
            let told = if came_back {
                Some("Unreachable agent re-reregistered")
            } else if recovered {
                None
            } else {
                Some("Unknown agent reregistered")
            };
            if let Some(message) = told {
                self.tell_tasks_of(&id, message, now);
            }
        }
        self.run_asked(now);
    }

    /// Frameworks this master has never heard of, because their schedulers have not subscribed
    /// again since a failover.
    fn learn_frameworks(&mut self, frameworks: &[FrameworkInfo], now: Now) {
        for info in frameworks {
            let Some(id) = info.id.clone() else { continue };
            if self.frameworks.contains_key(&id) || self.is_removed(&id) {
                continue;
            }
            tracing::info!(framework = %id, "framework recovered");
            let framework = Framework::new(info.clone(), Connection::Recovered, now.time);
            self.frameworks.insert(id, framework);
        }
    }

    fn shut_removed_down(&mut self, registration: &Registration, link: LinkId) {
        for framework_id in registration.frameworks.iter().filter_map(|info| info.id.clone()) {
            if self.is_removed(&framework_id) {
                let message = ToAgent::ShutdownFramework { framework_id };
                self.actions.push_back(Action::SendAgent { link, message });
            }
        }
    }

    fn is_removed(&self, id: &FrameworkId) -> bool {
        self.completed.iter().any(|removed| removed.info.id.as_ref() == Some(id))
    }

    fn add_agent(&mut self, id: &AgentId, registration: Registration, total: Resources, now: Now) {
        let Registration { info, addr, link, frameworks: _, executors, tasks } = registration;
        let mut agent = Agent::new(info.clone(), addr, link, total.clone(), now.time);
        for executor in executors {
            let Some(framework) = executor.framework_id.clone() else { continue };
            if !self.frameworks.contains_key(&framework) {
                continue;
            }
            let resources = Resources::from_proto(&executor.resources).unwrap_or_default();
            agent.charge(&framework, &resources);
            let key = (framework, executor.executor_id.clone());
            agent.executors.insert(key, Executor { info: executor, resources });
        }
        for (framework_id, info, state) in tasks {
            let Some(framework) = self.frameworks.get_mut(&framework_id) else { continue };
            framework.unreachable.remove(&info.task_id);
            let resources = Resources::from_proto(&info.resources).unwrap_or_default();
            if !state.is_terminal() {
                agent.charge(&framework_id, &resources);
            }
            agent.tasks.entry(framework_id.clone()).or_default().insert(info.task_id.clone());
            let executor = info.executor.as_ref().map(|executor| executor.executor_id.clone());
            let role = role_of(&info);
            let mut task = Task::launched(&framework_id, &info, executor, resources, role);
            task.state = state;
            framework.tasks.insert(task.id.clone(), task);
        }
        self.allocator.add_agent(info, total, &agent.used);
        self.agents.insert(id.clone(), agent);
    }

    /// A registered agent is back after its process or its connection ended.
    fn reconnect(&mut self, id: &AgentId, registration: Registration, now: Now) {
        let Registration { info, addr, link, frameworks: _, executors, tasks } = registration;
        tracing::info!(agent = %id, "agent registered again");
        self.counters.agent_reregistrations += 1;
        let offers = self.agents.get(id).map(|agent| agent.offers.clone()).unwrap_or_default();
        self.rescind(offers, now);
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.info = info;
        agent.addr = addr;
        agent.link = AgentLink::Connected(link);
        agent.reregistered_time = Some(now.time);

        // Executors the agent no longer has are over; nobody is told, its updates tell of the tasks.
        let gone = agent
            .executors
            .keys()
            .filter(|(framework, executor)| {
                !executors.iter().any(|known| {
                    known.executor_id == *executor && known.framework_id.as_ref() == Some(framework)
                })
            })
            .cloned()
            .collect::<Vec<_>>();
        for (framework, executor) in gone {
            if let Some(executor) = agent.executors.remove(&(framework.clone(), executor)) {
                agent.release(&framework, &executor.resources);
                let resources = &executor.resources;
                self.allocator.recover(&framework, id, resources, None, now.instant);
            }
        }
        for ((framework_id, task_id), kill_policy) in std::mem::take(&mut agent.kills) {
            let message = ToAgent::KillTask { framework_id, task_id, kill_policy };
            self.actions.push_back(Action::SendAgent { link, message });
        }
        let named = tasks
            .iter()
            .map(|(framework, task, _)| (framework, &task.task_id))
            .collect::<BTreeSet<_>>();
        let mut lost = BTreeMap::<FrameworkId, Vec<TaskId>>::new();
        for (framework_id, known) in &agent.tasks {
            for task_id in known.iter().filter(|task| !named.contains(&(framework_id, *task))) {
                lost.entry(framework_id.clone()).or_default().push(task_id.clone());
            }
        }
        for (framework_id, tasks) in lost {
            let Some(framework) = self.frameworks.get(&framework_id) else { continue };
            let message = ToAgent::ReconcileTasks { framework: framework.info.clone(), tasks };
            self.actions.push_back(Action::SendAgent { link, message });
        }
        self.allocator.set_agent_active(id, true);
    }

    /// The process of an agent, or the connection to it, has ended.
    pub(crate) fn handle_agent_disconnected(&mut self, id: &AgentId, now: Now) {
        let timeout = self.timers.agent_timeout;
        let Some(agent) = self.agents.get_mut(id).filter(|agent| agent.connected().is_some())
        else {
            return;
        };
        tracing::info!(agent = %id, "agent disconnected");
        agent.link = AgentLink::Disconnected { give_up_at: now.instant + timeout };
        let offers = agent.offers.clone();
        let frameworks = agent.used.keys().chain(agent.tasks.keys()).cloned().collect::<Vec<_>>();
        self.allocator.set_agent_active(id, false);
        self.rescind(offers, now);
        for framework in frameworks {
            let checkpoints =
                self.frameworks.get(&framework).is_some_and(|known| known.info.checkpoint());
            if !checkpoints {
                self.lose_framework_on(id, &framework, now);
            }
        }
    }

    /// Nobody listens on a channel to an agent any more.
    pub(crate) fn handle_link_ended(&mut self, link: LinkId, now: Now) {
        let agent = self.agents.values().find(|agent| agent.connected() == Some(link));
        if let Some(id) = agent.map(Agent::id) {
            self.handle_agent_disconnected(&id, now);
        }
    }

    /// What a framework without checkpointing had on an agent does not survive the agent.
    fn lose_framework_on(&mut self, id: &AgentId, framework_id: &FrameworkId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let message = format!("Agent {} disconnected", agent.info.hostname);
        agent.executors.retain(|(owner, _), _| owner != framework_id);
        if let Some(used) = agent.used.remove(framework_id) {
            self.allocator.recover(framework_id, id, &used, None, now.instant);
        }
        for task_id in agent.tasks.remove(framework_id).unwrap_or_default() {
            let status = statuses::master_made(
                &task_id,
                TaskState::TaskLost,
                Some(Reason::AgentDisconnected),
                message.clone(),
                Some(id),
                now,
            );
            let Some(framework) = self.frameworks.get_mut(framework_id) else { continue };
            let Some(mut task) = framework.tasks.remove(&task_id) else { continue };
            let live = !task.state.is_terminal();
            if live {
                task.state = TaskState::TaskLost;
                task.record(&status);
            }
            framework.complete(task);
            if live {
                self.tell(framework_id, status);
            }
        }
    }

    pub(super) fn give_up_overdue_agents(&mut self, now: Now) {
        let overdue = self
            .agents
            .iter()
            .filter(|(_, agent)| {
                matches!(agent.link,
                    AgentLink::Disconnected { give_up_at } if give_up_at <= now.instant)
            })
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>();
        for id in overdue {
            self.handle_agent_unreachable(&id, "health check timed out", now);
        }
    }

    /// Agents of a predecessor that did not come in time are unreachable. Nobody is told of their
    /// tasks, because nobody here knows them; reconciliation answers from now on.
    pub(super) fn give_up_recovered_agents(&mut self, now: Now) {
        if now.instant < self.started.instant + self.timers.agent_reregister_timeout {
            return;
        }
        let since_nanos = (now.time * 1e9) as i64;
        for id in std::mem::take(&mut self.recovered) {
            tracing::warn!(agent = %id, "agent did not come back after the failover");
            self.unreachable.insert(id, Unreachable { since_nanos });
        }
    }

    /// The agent at an address is given up as if it had not answered pings.
    pub(crate) fn handle_agent_at_unreachable(&mut self, addr: SocketAddr, now: Now) {
        let id = self.agents.values().find(|agent| agent.addr == addr).map(Agent::id);
        if let Some(id) = id {
            self.handle_agent_unreachable(&id, "health check timed out", now);
        }
    }

    fn handle_agent_unreachable(&mut self, id: &AgentId, why: &'static str, now: Now) {
        let since_nanos = (now.time * 1e9) as i64;
        self.unreachable.insert(id.clone(), Unreachable { since_nanos });
        self.remove_agent(id, &Removal::Unreachable { why, since_nanos }, now);
    }

    /// Whoever asks for an id where another agent listens has taken its place. The other one may
    /// have ended before it knew its own id, so that nobody would ever tell its end.
    fn remove_predecessor(&mut self, addr: SocketAddr, now: Now) {
        let predecessor = self.agents.values().find(|agent| agent.addr == addr).map(Agent::id);
        if let Some(id) = predecessor {
            self.remove_agent(&id, &Removal::Replaced, now);
        }
    }

    /// Takes an agent out of the books, and tells what becomes of its tasks.
    fn remove_agent(&mut self, id: &AgentId, removal: &Removal, now: Now) {
        let Some(agent) = self.agents.get(id) else { return };
        let message = removal.message(&agent.info.hostname);
        tracing::warn!(agent = %id, message);
        if let Some(link) = agent.connected() {
            self.actions.push_back(Action::CloseLink { link });
        }
        let offers = agent.offers.clone();
        self.rescind(offers, now);
        let Some(agent) = self.agents.remove(id) else { return };
        for (framework, used) in &agent.used {
            self.allocator.recover(framework, id, used, None, now.instant);
        }
        self.allocator.remove_agent(id);
        self.counters.agent_removals += 1;

        for (framework_id, tasks) in &agent.tasks {
            for task_id in tasks {
                let Some(framework) = self.frameworks.get_mut(framework_id) else { continue };
                let Some(mut task) = framework.tasks.remove(task_id) else { continue };
                if task.state.is_terminal() {
                    framework.complete(task);
                    continue;
                }
                let reason = Some(Reason::AgentRemoved);
                let (aware, unreachable_time) = match *removal {
                    Removal::Unreachable { since_nanos, .. } => {
                        (TaskState::TaskUnreachable, Some(TimeInfo { nanoseconds: since_nanos }))
                    }
                    Removal::Replaced => (TaskState::TaskGone, None),
                };
                let state = state_for(framework.capabilities, aware);
                let (message, agent) = (message.clone(), Some(id));
                let status = TaskStatus {
                    unreachable_time,
                    ..statuses::master_made(task_id, state, reason, message, agent, now)
                };
                task.state = state;
                task.record(&status);
                match removal {
                    Removal::Unreachable { .. } => framework.unreachable.insert(task),
                    Removal::Replaced => framework.complete(task),
                }
                self.tell(framework_id, status);
            }
        }
        let everybody = self.frameworks.keys().cloned().collect::<Vec<_>>();
        for framework in everybody {
            self.send(&framework, events::agent_failure(id.clone()));
        }
    }

    /// Tells the state of every task on an agent that was believed lost.
    fn tell_tasks_of(&mut self, id: &AgentId, message: &str, now: Now) {
        let Some(agent) = self.agents.get(id) else { return };
        let tasks = agent
            .tasks
            .iter()
            .flat_map(|(framework, tasks)| tasks.iter().map(move |task| (framework, task)))
            .filter_map(|(framework, task)| {
                let task = self.frameworks.get(framework)?.tasks.get(task)?;
                let reason = Some(Reason::AgentReregistered);
                let status =
                    statuses::master_made(&task.id, task.state, reason, message, Some(id), now);
                Some((framework.clone(), status))
            })
            .collect::<Vec<_>>();
        for (framework, status) in tasks {
            self.send(&framework, events::update(status));
        }
    }

    fn next_agent_id(&mut self) -> AgentId {
        let id = format!("{}-S{}", self.info.id, self.next_agent);
        self.next_agent += 1;
        id.into()
    }
}

/// The role a task's resources are allocated to.
fn role_of(info: &TaskInfo) -> String {
    info.resources
        .iter()
        .find_map(|resource| resource.allocation_info.as_ref())
        .map_or_else(|| "*".to_owned(), |allocation| allocation.role().to_owned())
}
