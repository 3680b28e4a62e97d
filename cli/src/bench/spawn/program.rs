//! The executor that is measured.
//!
//! Owns which program that is: this one, or the one that `--executor` names.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Context as _;
use marmoset_executor::launcher::LauncherConfig;
use marmoset_scheduler::{ExecutorTemplate, executor_at};

use crate::run::embedded;

/// A program and what makes an executor of it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl Program {
    /// This program, if no other is named.
    ///
    /// # Errors
    /// There is no such file.
    pub(super) fn new(named: Option<&PathBuf>) -> anyhow::Result<Self> {
        match named {
            None => {
                Ok(Self { path: embedded::own_program()?, arguments: vec!["executor".to_owned()] })
            }
            Some(path) => {
                let path = path.canonicalize().with_context(|| {
                    format!("`--executor {}`: name a `marmoset-executor`", path.display())
                })?;
                Ok(Self { path, arguments: Vec::new() })
            }
        }
    }

    /// As a framework names it.
    pub(super) fn template(&self, flags: &[&str]) -> ExecutorTemplate {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        executor_at(&self.path, &self.arguments.iter().cloned().chain(flags).collect::<Vec<_>>())
    }

    /// Its launcher alone.
    pub(super) fn launcher(&self) -> LauncherConfig {
        let arguments = self.arguments.iter().map(OsString::from).chain(["launcher".into()]);
        LauncherConfig::new(self.path.clone(), arguments.collect())
    }
}
