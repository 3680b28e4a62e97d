//! An entrance for benchmarks to requests. No part of the interface.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc};

use marmoset_executor_core::{RunId, Spawn, Template};
use marmoset_proto::{marmoset::v1::Item, mesos::v1::CommandInfo};

use super::template::Templates;
use crate::{isolation::Isolation, launcher, output::OutputDefaults};

/// Makes requests for items of one batch.
#[derive(Debug)]
pub struct RequestBench {
    templates: Templates,
    template: Arc<Template>,
    next: u64,
}

impl RequestBench {
    /// Tasks inherit that many variables.
    pub fn new(variables: usize) -> Self {
        let inherited = (0..variables)
            .map(|number| (format!("MESOS_VARIABLE_{number}"), format!("value {number}")))
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect::<BTreeMap<_, _>>();
        let command = CommandInfo {
            shell: Some(false),
            value: Some("/bin/true".to_owned()),
            arguments: vec!["/bin/true".to_owned(), "{#}".to_owned()],
            ..CommandInfo::default()
        };
        let sandbox = PathBuf::from("/var/lib/mesos/slaves/s/frameworks/f/executors/e/runs/r");
        Self {
            templates: Templates::new(
                sandbox,
                inherited,
                OutputDefaults::default(),
                Isolation::None,
            ),
            template: Arc::new(Template::process(command)),
            next: 0,
        }
    }

    /// What the launcher is asked for the next item.
    ///
    /// # Panics
    /// When it cannot be asked for.
    pub fn request(&mut self) -> launcher::Spawn {
        self.next += 1;
        let spawn = Spawn {
            strand: None,
            run: RunId(self.next),
            template: Arc::clone(&self.template),
            item: Some(Item { index: self.next, line: None, attempt: None }),
            task: format!("job.{}", self.next),
            ports: Vec::new(),
        };
        self.templates.request(&spawn).expect("the program exists")
    }
}
