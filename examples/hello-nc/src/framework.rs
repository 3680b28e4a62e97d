//! What runs where: all the decisions of this framework.
//!
//! Owns which port of which agent is served by which task. An offer is used for one
//! task, if one of our ports is in it and nobody of us has that port; what is
//! left over is asked for again at once.

use std::{collections::BTreeMap, ops::RangeInclusive};

use marmoset_proto::{
    mesos::v1::{AgentId, FrameworkId, Offer, TaskId, TaskStatus},
    resources::Resources,
};
use marmoset_scheduler::{Driver, Framework};

use crate::task::Template;

/// One-shot services on the same ports of every agent.
#[derive(Debug)]
pub(crate) struct HelloNc {
    ports: RangeInclusive<u16>,
    template: Template,
    framework_id: Option<FrameworkId>,
    next: u64,
    /// Who has which port, until its task has ended.
    serving: BTreeMap<(AgentId, u16), TaskId>,
}

impl HelloNc {
    /// Serves `ports` on every agent with tasks made from `template`.
    pub(crate) fn new(ports: RangeInclusive<u16>, template: Template) -> Self {
        Self { ports, template, framework_id: None, next: 0, serving: BTreeMap::new() }
    }

    /// The lowest of our ports in an offer that no task of ours has.
    fn vacant(&self, agent: &AgentId, offered: &Resources) -> Option<u16> {
        let offered = offered.ports();
        self.ports.clone().find(|port| {
            let port_number = u64::from(*port);
            offered.iter().any(|(begin, end)| (begin..=end).contains(&port_number))
                && !self.serving.contains_key(&(agent.clone(), *port))
        })
    }
}

impl Framework for HelloNc {
    fn registered(&mut self, framework_id: &FrameworkId, _: &mut Driver) {
        self.framework_id = Some(framework_id.clone());
    }

    fn offers(&mut self, offers: Vec<Offer>, driver: &mut Driver) {
        let Some(framework_id) = self.framework_id.clone() else { return };
        for offer in offers {
            let Ok(offered) = Resources::from_proto(&offer.resources) else {
                driver.decline(&offer);
                continue;
            };
            let vacant = self.vacant(&offer.agent_id, &offered);
            let task = vacant.and_then(|port| {
                let task = self.template.task(self.next, port, &offer, &offered, &framework_id)?;
                Some((port, task))
            });
            let Some((port, task)) = task else {
                driver.decline(&offer);
                continue;
            };
            self.next += 1;
            self.serving.insert((offer.agent_id.clone(), port), task.task_id.clone());
            driver.launch(&offer, vec![task]);
            // The rest of the offer may serve the next port: do not wait for the allocation interval.
            driver.revive();
        }
    }

    fn update(&mut self, status: &TaskStatus, driver: &mut Driver) {
        if !status.state().is_terminal() {
            return;
        }
        let before = self.serving.len();
        self.serving.retain(|_, task| *task != status.task_id);
        if self.serving.len() < before {
            driver.revive();
        }
    }

    fn removed(&mut self, _: &mut Driver) {
        self.serving.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marmoset_proto::{
        marmoset::v1::TaskSpec,
        mesos::v1::{CommandInfo, OfferId, Resource, TaskState},
    };
    use marmoset_scheduler::ExecutorTemplate;
    use prost::Message as _;

    fn framework() -> HelloNc {
        let executor = ExecutorTemplate::new(CommandInfo::default());
        let nc = "busybox nc -l -p".to_owned();
        let template = Template { executor, nc, image: Some("busybox:1".to_owned()) };
        let mut framework = HelloNc::new(8000..=8001, template);
        framework.registered(&FrameworkId::from("f"), &mut Driver::default());
        framework
    }

    fn offer(ports: &[(u64, u64)]) -> Offer {
        Offer {
            id: OfferId::from("o"),
            agent_id: AgentId::from("a"),
            resources: vec![
                Resource::scalar("cpus", 1.0),
                Resource::scalar("mem", 1000.0),
                Resource::ranges("ports", ports.iter().copied()),
            ],
            ..Offer::default()
        }
    }

    fn ended(task: &str) -> TaskStatus {
        TaskStatus {
            task_id: TaskId::from(task),
            state: TaskState::TaskFinished.into(),
            ..TaskStatus::default()
        }
    }

    #[test]
    fn each_port_is_served_once_and_again_after_its_task_ended() {
        let mut framework = framework();
        let mut driver = Driver::default();
        framework.offers(vec![offer(&[(8000, 8100)])], &mut driver);
        framework.offers(vec![offer(&[(8001, 8100)])], &mut driver);
        framework.offers(vec![offer(&[(8002, 8100)])], &mut driver);
        let ports: Vec<u16> = framework.serving.keys().map(|(_, port)| *port).collect();
        assert_eq!(ports, [8000, 8001]);

        framework.update(&ended("0"), &mut driver);
        framework.offers(vec![offer(&[(8000, 8000), (8002, 8100)])], &mut driver);
        let key = (AgentId::from("a"), 8000);
        assert_eq!(framework.serving[&key], TaskId::from("2"));
    }

    #[test]
    fn an_offer_that_is_too_small_is_declined() {
        let mut framework = framework();
        let mut small = offer(&[(8000, 8100)]);
        small.resources[0] = Resource::scalar("cpus", 0.1);
        framework.offers(vec![small], &mut Driver::default());
        assert!(framework.serving.is_empty());
    }

    #[test]
    fn a_task_says_its_own_id() {
        let framework = framework();
        let offer = offer(&[(8000, 8100)]);
        let offered = Resources::from_proto(&offer.resources).unwrap();
        let id = FrameworkId::from("f");
        let task = framework.template.task(7, 8000, &offer, &offered, &id).unwrap();
        let container = task.container.unwrap();
        assert_eq!(container.docker.unwrap().image, "busybox:1");
        let spec = TaskSpec::decode(task.data.unwrap()).unwrap();
        let command = spec.command.unwrap();
        assert_eq!(command.value.as_deref(), Some("echo 'hello 7' | busybox nc -l -p 8000"));
    }
}
