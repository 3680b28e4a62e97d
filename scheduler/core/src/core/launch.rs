//! Launching: from slots on an agent to TaskInfos, and back when they were not taken.

use std::sync::Arc;

use marmoset_proto::{
    item,
    marmoset::v1::{Batch, IndexRange, Item, Output, Pull, TaskSpec},
    mesos::v1::{KillPolicy, TaskId, TaskInfo, scheduler::call},
};
use prost::Message;

use super::{Action, Core, calls::launched, offers::Bundle, updates::Leftover};
use crate::{
    agents::duration_info,
    book::{Book, Outcome},
    clock::Now,
    event::{JobEvent, Location},
    flights::Departure,
    indices::Indices,
    job::{Items, JobId, JobSpec},
    sizing::Room,
};

/// What each line costs besides its bytes.
const ITEM_OVERHEAD: usize = 24;

impl Core {
    /// Fills slots of an agent with items of a job.
    pub(super) fn launch(
        &mut self,
        now: Now,
        bundle: &mut Bundle,
        job_id: JobId,
        slots: u64,
        new_slots: u64,
    ) {
        let limits = &self.config.limits;
        let (Some(job), Some(agent)) = (self.jobs.get(&job_id), self.agents.get(&bundle.agent_id))
        else {
            return;
        };
        let room = Room {
            slots: slots.min(job.wanted()),
            working: agent.slots,
            mesos_tasks: limits.mesos_tasks_per_executor.saturating_sub(agent.mesos_tasks),
            waiting: job.book.waiting(),
            all_slots: job.slots + new_slots,
            new_slots,
            agents: self.agents.len() as u64,
        };
        let cut = job.sizer.cut(room, limits);
        for (width, items) in cut.parts() {
            if width == 0 || bundle.bytes > self.config.limits.bytes_per_accept {
                break;
            }
            if !self.launch_one(now, bundle, job_id, width, items) {
                break;
            }
        }
    }

    /// Launches one Mesos task; says whether there was something to launch it with.
    fn launch_one(
        &mut self,
        now: Now,
        bundle: &mut Bundle,
        job_id: JobId,
        width: u64,
        items: u64,
    ) -> bool {
        let Some(framework_id) = self.session.framework_id().cloned() else { return false };
        let (Some(job), Some(agent)) =
            (self.jobs.get_mut(&job_id), self.agents.get_mut(&bundle.agent_id))
        else {
            return false;
        };
        let spec = Arc::clone(&job.spec);
        let items = take(&mut job.book, &spec, items, self.config.limits.bytes_per_batch);
        let width = width.min(items.len());
        let resources = match width {
            0 => None,
            width => bundle.resources.take(&spec.need.times(width)),
        };
        let Some(resources) = resources else {
            job.book.give_back(&items);
            return false;
        };
        let executor = match (agent.executor(&bundle.role), bundle.executor.take()) {
            (Some(own), _) => own.info.clone(),
            (None, share) => {
                self.counters.executors += 1;
                let (template, share) = (&self.config.executor, share.unwrap_or_default());
                agent.start_executor(&bundle.role, template, &framework_id, share)
            }
        };
        let single = items.len() == 1;
        let task_id = match items.iter().next() {
            Some(index) if single => item::task_id(&spec.name, index, job.book.attempt(index)),
            _ => format!("{}.b{}", spec.name, job.mesos_tasks),
        };
        let task_id = TaskId::from(task_id);
        let payload = payload(&spec, &job.book, &items, width);
        bundle.bytes += payload.encoded_len();

        job.mesos_tasks += 1;
        job.mesos_tasks_open += 1;
        job.under_way += items.len();
        job.slots += width;
        job.idle_slots = 0;
        job.stall.moved(now.instant, &self.config.timing);
        agent.mesos_tasks += 1;
        agent.slots += width;
        let location = Arc::new(Location {
            framework_id,
            agent_id: bundle.agent_id.clone(),
            hostname: agent.hostname.clone(),
            address: agent.address.clone(),
            port: agent.port,
            executor_id: executor.executor_id.clone(),
            task_id: task_id.clone(),
        });
        self.actions.push_back(Action::Job(
            job_id,
            JobEvent::Launched { location: Arc::clone(&location), items: items.len(), width },
        ));
        bundle.tasks.push(TaskInfo {
            name: task_id.value.clone(),
            task_id,
            agent_id: bundle.agent_id.clone(),
            resources: resources.to_proto(),
            executor: Some(executor),
            data: Some(payload.encode_to_vec().into()),
            container: spec.container.clone(),
            labels: spec.labels.clone(),
            kill_policy: spec
                .kill_grace
                .map(|grace| KillPolicy { grace_period: Some(duration_info(grace)) }),
            max_completion_time: spec.timeout.filter(|_| single).map(duration_info),
            health_check: spec.health_check.clone().filter(|_| single),
            check: spec.check.clone().filter(|_| single),
            ..TaskInfo::default()
        });
        let due = now.instant + self.config.timing.launch_timeout;
        self.flights.depart(now, due, Departure { job: job_id, location, single, width, items });
        true
    }

    /// The master refused an ACCEPT: it would refuse it again.
    pub(super) fn launch_refused(&mut self, now: Now, accept: call::Accept, message: &str) {
        for task in launched(accept) {
            let leftover = Leftover::new(Outcome::Error, message);
            self.land(now, &task.task_id, &leftover);
        }
    }

    /// An ACCEPT never reached the master.
    pub(super) fn launch_void(&mut self, now: Now, accept: call::Accept, why: &str) {
        for task in launched(accept) {
            let leftover = Leftover::new(Outcome::NotStarted { new_attempt: false }, why);
            self.land(now, &task.task_id, &leftover);
        }
    }
}

fn take(book: &mut Book, spec: &JobSpec, at_most: u64, budget: usize) -> Indices {
    match &spec.items {
        Items::Array { .. } => book.take(at_most),
        Items::Lines(_) => book.take_sized(at_most, budget, |index| {
            spec.items.line(index).map_or(0, str::len) + ITEM_OVERHEAD
        }),
    }
}

/// What the executor is told to run.
fn payload(spec: &JobSpec, book: &Book, items: &Indices, width: u64) -> TaskSpec {
    let whole = |index: u64| Item {
        index,
        line: spec.items.line(index).map(str::to_owned),
        attempt: Some(book.attempt(index)).filter(|attempt| *attempt > 0),
    };
    let runtime = spec.runtime.clone();
    let pull = Some(spec.pull.into()).filter(|_| spec.pull != Pull::IfNotPresent);
    let output = Some(spec.output.clone()).filter(|output| *output != Output::default());
    if items.len() == 1 {
        return TaskSpec {
            runtime,
            command: Some(spec.command.clone()),
            item: items.iter().next().map(whole),
            output,
            pull,
            ..TaskSpec::default()
        };
    }
    let mut batch = Batch {
        command: spec.command.clone(),
        job: spec.name.clone(),
        width: Some(u32::try_from(width).unwrap_or(u32::MAX)),
        ports: Some(u32::try_from(spec.need.ports).unwrap_or(u32::MAX)).filter(|ports| *ports > 0),
        max_completion_time: spec.timeout.map(duration_info),
        ..Batch::default()
    };
    match &spec.items {
        Items::Lines(_) => batch.items = items.iter().map(whole).collect(),
        Items::Array { .. } => {
            for (begin, end) in items.ranges() {
                let mut next = begin;
                for (index, _) in book.tried(begin, end) {
                    if next < index {
                        batch.ranges.push(IndexRange { begin: next, end: index - 1 });
                    }
                    batch.items.push(whole(index));
                    next = index + 1;
                }
                if next <= end {
                    batch.ranges.push(IndexRange { begin: next, end });
                }
            }
        }
    }
    TaskSpec { runtime, batch: Some(batch), output, pull, ..TaskSpec::default() }
}
