//! What makes two tasks share a container.
//!
//! Owns what of a template decides that, and the plan of the containers of each kind. What is not
//! needed any more is forgotten. Called by the warm runtime for each run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
};

use marmoset_executor_core::{Bounds, Template};
use marmoset_proto::{
    marmoset::v1::{Pull, output::Target},
    mesos::v1::ContainerInfo,
};

use super::{
    super::plan::{Plan, PlanError, Site},
    pool::KindId,
};

/// Templates whose kind is remembered.
const KNOWN: usize = 64;

/// Kinds that are remembered without a container.
const KINDS: usize = 64;

/// All kinds of containers.
#[derive(Debug)]
pub(super) struct Kinds {
    /// Tasks in a container at a time.
    slots: u64,
    kinds: BTreeMap<KindId, Kind>,
    last: u64,
    /// That a template is kept here does not keep it.
    known: VecDeque<(Weak<Template>, KindId)>,
}

/// What the containers of one kind have in common.
#[derive(Debug)]
pub(super) struct Kind {
    key: Key,
    pub(super) plan: Arc<Plan>,
}

/// What tasks have in common that share a container.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    container: Option<Box<ContainerInfo>>,
    user: Option<String>,
    bounds: Bounds,
    pull: Pull,
    /// Streams of the executor that they write to.
    inherit: [bool; 2],
}

impl Kinds {
    /// For containers of so many slots each.
    pub(super) fn new(slots: u64) -> Self {
        Self { slots, kinds: BTreeMap::new(), last: 0, known: VecDeque::new() }
    }

    /// What the runs of a template may share a container with. `has` tells whether there is a
    /// container of a kind.
    ///
    /// # Errors
    /// When no container can be made for it: the text names the field.
    pub(super) fn of(
        &mut self,
        template: &Arc<Template>,
        site: &Site,
        has: impl Fn(KindId) -> bool,
    ) -> Result<KindId, PlanError> {
        let is_it = |known: &Weak<Template>| known.as_ptr() == Arc::as_ptr(template);
        let known = self.known.iter().find(|(known, _)| is_it(known));
        if let Some((_, kind)) = known
            && self.kinds.contains_key(kind)
        {
            return Ok(*kind);
        }
        let key = Key::of(template, site);
        let kind = match self.kinds.iter().find(|(_, kind)| kind.key == key) {
            Some((id, _)) => *id,
            None => {
                let plan = Arc::new(Plan::of_shared(template, self.slots, site)?);
                if self.kinds.len() >= KINDS {
                    self.kinds.retain(|id, _| has(*id));
                }
                self.last += 1;
                let id = KindId(self.last);
                self.kinds.insert(id, Kind { key, plan });
                id
            }
        };
        self.known.retain(|(known, _)| !is_it(known));
        self.known.truncate(KNOWN - 1);
        self.known.push_front((Arc::downgrade(template), kind));
        Ok(kind)
    }

    /// A kind that was not forgotten.
    pub(super) fn get(&self, kind: KindId) -> Option<&Kind> {
        self.kinds.get(&kind)
    }
}

impl Kind {
    /// Streams of the executor that runs of this kind write to: stdout, stderr.
    pub(super) fn inherit(&self) -> [bool; 2] {
        self.key.inherit
    }
}

impl Key {
    fn of(template: &Template, site: &Site) -> Self {
        let targets = site.output.plan(&template.options.output, &site.sandbox);
        Self {
            container: template.container.clone(),
            user: template.command.user.clone(),
            bounds: template.bounds,
            pull: template.options.pull,
            inherit: [targets.stdout, targets.stderr].map(|target| target == Target::Inherit),
        }
    }
}
