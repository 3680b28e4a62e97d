//! A framework that launches plain tasks: Mesos' own executors run them.
//!
//! Owns what such a task looks like and the times of each. It is as eager as the
//! resident sides are: every offer is filled, what cannot be used is declined
//! without a filter, and freed resources are asked for at once.
//!
//! ```text
//!  waiting ──offer──▶ accepted ──TASK_RUNNING──▶ running ──terminal──▶ ended
//!                        └───────────── terminal ──────────────────────▲
//! ```

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use marmoset_proto::{
    marmoset::v1::Item,
    mesos::v1::{
        AgentId, CommandInfo, ContainerInfo, ExecutorInfo, FrameworkId, Offer, TaskGroupInfo,
        TaskId, TaskInfo, TaskState, TaskStatus, executor_info,
        offer::{Operation, operation},
    },
    placeholder,
    resources::{Need, Resources, parse},
};
use marmoset_scheduler::{Counters, Driver, ExecutorTemplate, Framework, TaskTimes};

/// Least time between two REVIVE calls: that of the resident sides on one agent.
const REVIVE_PAUSE: Duration = Duration::from_millis(7);

/// What the executor of a group holds itself; Mesos asks for 0.01 cpus and 32 MB at least.
const GROUP_EXECUTOR: &str = "cpus:0.1;mem:32";

/// Which of Mesos' own executors runs the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// LAUNCH with `TaskInfo.command`: the command executor, one for each task.
    Command,
    /// LAUNCH_GROUP of one task: one default executor for each group.
    Group,
    /// LAUNCH with an executor of ours that runs nothing, one on each agent.
    Null,
}

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// The one of [`Kind::Null`].
    pub(super) executor: Option<ExecutorTemplate>,
    pub(super) command: CommandInfo,
    pub(super) container: Option<ContainerInfo>,
    pub(super) need: Need,
    pub(super) count: u64,
    /// Tasks at a time, where not the offers alone decide.
    pub(super) at_a_time: Option<u64>,
}

/// Runs the tasks of a plan, then finishes.
#[derive(Debug)]
pub(super) struct Builtin {
    plan: Plan,
    framework_id: Option<FrameworkId>,
    begun: Instant,
    launched: u64,
    /// Tasks under way: when they were accepted, and started if they were.
    open: HashMap<TaskId, (Duration, Option<Duration>)>,
    /// The one of each agent, where all tasks have one.
    executors: HashMap<AgentId, ExecutorInfo>,
    revived: Option<Instant>,
    /// What came of it.
    pub(super) tasks: Vec<TaskTimes>,
    pub(super) finished: u64,
    /// What the first task that did not finish said.
    pub(super) failure: Option<String>,
    pub(super) counters: Counters,
}

impl Builtin {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            framework_id: None,
            begun: Instant::now(),
            launched: 0,
            open: HashMap::new(),
            executors: HashMap::new(),
            revived: None,
            tasks: Vec::new(),
            finished: 0,
            failure: None,
            counters: Counters::default(),
        }
    }

    /// How many more may be launched now.
    fn room(&self) -> u64 {
        let at_a_time = self.plan.at_a_time.unwrap_or(u64::MAX);
        (self.plan.count - self.launched).min(at_a_time.saturating_sub(self.open.len() as u64))
    }

    /// The next task, cut out of what an offer has left; none if that is too little.
    fn next(&mut self, offer: &Offer, left: &mut Resources) -> Option<Operation> {
        let need =
            parse(&format!("cpus:{};mem:{}", self.plan.need.cpus, self.plan.need.mem)).ok()?;
        let mut rest = left.clone();
        let number = self.launched;
        let null = match self.plan.kind {
            Kind::Null => Some(self.executor(&offer.agent_id, &mut rest)?),
            Kind::Command | Kind::Group => None,
        };
        let resources = rest.take_amounts(&need)?.to_proto();
        let task = TaskInfo {
            name: format!("task {number}"),
            task_id: TaskId::from(format!("task-{number}")),
            agent_id: offer.agent_id.clone(),
            resources,
            command: null.is_none().then(|| self.command(number)),
            executor: null.clone(),
            container: self.plan.container.clone(),
            ..TaskInfo::default()
        };
        let operation = match self.plan.kind {
            Kind::Command | Kind::Null => Operation {
                r#type: Some(operation::Type::Launch.into()),
                launch: Some(operation::Launch { task_infos: vec![task.clone()] }),
                ..Operation::default()
            },
            Kind::Group => {
                let amounts = parse(GROUP_EXECUTOR).ok()?;
                let executor = ExecutorInfo {
                    r#type: Some(executor_info::Type::Default.into()),
                    executor_id: format!("group-{number}").as_str().into(),
                    framework_id: self.framework_id.clone(),
                    resources: rest.take_amounts(&amounts)?.to_proto(),
                    ..ExecutorInfo::default()
                };
                Operation {
                    r#type: Some(operation::Type::LaunchGroup.into()),
                    launch_group: Some(operation::LaunchGroup {
                        executor,
                        task_group: TaskGroupInfo { tasks: vec![task.clone()] },
                    }),
                    ..Operation::default()
                }
            }
        };
        *left = rest;
        if let Some(executor) = null {
            self.executors.insert(offer.agent_id.clone(), executor);
        }
        self.launched += 1;
        self.open.insert(task.task_id, (self.begun.elapsed(), None));
        Some(operation)
    }

    /// The executor that an agent has, or what it is to start, with its share of an offer.
    fn executor(&self, agent: &AgentId, left: &mut Resources) -> Option<ExecutorInfo> {
        if let Some(known) = self.executors.get(agent) {
            return Some(known.clone());
        }
        let template = self.plan.executor.clone()?;
        let share =
            parse(&format!("cpus:{};mem:{}", template.need.cpus, template.need.mem)).ok()?;
        Some(ExecutorInfo {
            r#type: Some(executor_info::Type::Custom.into()),
            executor_id: "null".into(),
            framework_id: self.framework_id.clone(),
            command: Some(template.command),
            container: template.container,
            resources: left.take_amounts(&share)?.to_proto(),
            ..ExecutorInfo::default()
        })
    }

    /// As the resident executor would fill its placeholders.
    fn command(&self, number: u64) -> CommandInfo {
        let item = Item { index: number, line: None, attempt: None };
        placeholder::expand(&self.plan.command, &item)
    }

    fn end(&mut self, status: &TaskStatus, accepted: Duration, started: Option<Duration>) {
        let ended = self.begun.elapsed();
        self.tasks.push(TaskTimes { accepted, started, ended });
        if status.state() == TaskState::TaskFinished {
            self.finished += 1;
        } else if self.failure.is_none() {
            let text = status.message.clone().unwrap_or_default();
            self.failure = Some(format!("{}: {text}", status.state().as_str_name()));
        }
    }
}

impl Framework for Builtin {
    fn registered(&mut self, framework_id: &FrameworkId, _: &mut Driver) {
        self.framework_id = Some(framework_id.clone());
        self.counters.subscriptions += 1;
    }

    fn offers(&mut self, offers: Vec<Offer>, driver: &mut Driver) {
        self.counters.offers += offers.len() as u64;
        for offer in offers {
            let mut operations = Vec::new();
            if let Ok(mut left) = Resources::from_proto(&offer.resources) {
                while self.room() > 0
                    && let Some(operation) = self.next(&offer, &mut left)
                {
                    operations.push(operation);
                }
            }
            if operations.is_empty() {
                self.counters.declined += 1;
                driver.decline_for(&offer, Duration::ZERO);
            } else {
                self.counters.accepts += 1;
                driver.accept(vec![offer.id.clone()], operations, Duration::ZERO);
            }
        }
    }

    fn update(&mut self, status: &TaskStatus, driver: &mut Driver) {
        self.counters.updates += 1;
        let now = self.begun.elapsed();
        // An update may come twice: what is not open has been settled.
        let Some((accepted, started)) = self.open.get_mut(&status.task_id) else { return };
        if !status.state().is_terminal() {
            if status.state() == TaskState::TaskRunning {
                started.get_or_insert(now);
            }
            return;
        }
        let (accepted, started) = (*accepted, *started);
        self.open.remove(&status.task_id);
        self.end(status, accepted, started);
        if self.tasks.len() as u64 == self.plan.count {
            driver.finish();
        } else if self.room() > 0
            && (self.open.is_empty() || self.revived.is_none_or(|at| at.elapsed() >= REVIVE_PAUSE))
        {
            // When nothing runs, no other update would come after the pause.
            self.revived = Some(Instant::now());
            self.counters.revives += 1;
            driver.revive();
        }
    }

    fn removed(&mut self, driver: &mut Driver) {
        self.failure.get_or_insert_with(|| "the master has removed the framework".to_owned());
        driver.finish();
    }
}

#[cfg(test)]
mod tests {
    use marmoset_proto::{
        mesos::v1::{OfferId, Resource},
        resources::Millis,
    };

    use super::*;

    fn plan(kind: Kind, count: u64) -> Plan {
        Plan {
            kind,
            executor: Some(ExecutorTemplate::new(CommandInfo::default())),
            command: CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() },
            container: None,
            need: Need { cpus: Millis(500), mem: Millis(32_000), ..Need::default() },
            count,
            at_a_time: None,
        }
    }

    fn offer(cpus: f64) -> Offer {
        Offer {
            id: OfferId::from("o"),
            agent_id: AgentId::from("a"),
            resources: vec![Resource::scalar("cpus", cpus), Resource::scalar("mem", 1000.0)],
            ..Offer::default()
        }
    }

    fn status(task: u64, state: TaskState) -> TaskStatus {
        TaskStatus {
            task_id: TaskId::from(format!("task-{task}")),
            state: state.into(),
            ..TaskStatus::default()
        }
    }

    #[test]
    fn an_offer_is_filled_and_no_more() {
        let mut framework = Builtin::new(plan(Kind::Command, 10));
        let mut driver = Driver::default();
        framework.offers(vec![offer(2.1)], &mut driver);
        assert_eq!(framework.open.len(), 4);
        framework.offers(vec![offer(0.1)], &mut driver);
        assert_eq!((framework.counters.accepts, framework.counters.declined), (1, 1));
        // The executor of a group takes its own share.
        let mut framework = Builtin::new(plan(Kind::Group, 10));
        framework.offers(vec![offer(2.1)], &mut driver);
        assert_eq!(framework.open.len(), 3);
        // One for all of them takes it once.
        let mut framework = Builtin::new(plan(Kind::Null, 10));
        framework.offers(vec![offer(2.1)], &mut driver);
        assert_eq!(framework.open.len(), 4);
        framework.offers(vec![offer(1.0)], &mut driver);
        assert_eq!(framework.open.len(), 6);
    }

    #[test]
    fn limits_are_kept() {
        let mut framework = Builtin::new(Plan { at_a_time: Some(1), ..plan(Kind::Command, 2) });
        let mut driver = Driver::default();
        framework.offers(vec![offer(8.0)], &mut driver);
        assert_eq!(framework.open.len(), 1);
        framework.offers(vec![offer(8.0)], &mut driver);
        assert_eq!(framework.open.len(), 1);
        framework.update(&status(0, TaskState::TaskFinished), &mut driver);
        framework.offers(vec![offer(8.0), offer(8.0)], &mut driver);
        assert_eq!((framework.launched, framework.open.len()), (2, 1));
    }

    #[test]
    fn each_task_ends_once() {
        let mut framework = Builtin::new(plan(Kind::Command, 2));
        let mut driver = Driver::default();
        framework.offers(vec![offer(8.0)], &mut driver);
        for state in [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished] {
            framework.update(&status(0, state), &mut driver);
        }
        framework.update(&status(0, TaskState::TaskFinished), &mut driver);
        let failed = TaskStatus {
            message: Some("Command exited with status 1".to_owned()),
            ..status(1, TaskState::TaskFailed)
        };
        framework.update(&failed, &mut driver);
        assert_eq!((framework.finished, framework.tasks.len()), (1, 2));
        assert_eq!(framework.counters.updates, 5);
        assert_eq!(framework.failure.as_deref(), Some("TASK_FAILED: Command exited with status 1"));
        let [first, second] = framework.tasks[..] else { panic!("{framework:?}") };
        assert!(first.accepted <= first.started.unwrap());
        assert!(first.started.unwrap() <= first.ended);
        assert_eq!(second.started, None);
    }
}
