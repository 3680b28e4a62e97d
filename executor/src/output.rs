//! Where the output of tasks goes.
//!
//! Owns what a task's wishes and the executor's flags come to. Called by the
//! process runtime for each template.

use marmoset_proto::marmoset::v1::{Output, output::Target};

/// What holds for tasks that do not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutputDefaults {
    pub(crate) stdout: Target,
    pub(crate) stderr: Target,
}

/// Where the two streams of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) stdout: Target,
    pub(crate) stderr: Target,
}

impl OutputDefaults {
    /// Fills in what a task leaves open.
    pub(crate) fn targets(self, wishes: &Output) -> Targets {
        let or = |wish: Option<i32>, default| {
            wish.and_then(|number| Target::try_from(number).ok()).unwrap_or(default)
        };
        Targets { stdout: or(wishes.stdout, self.stdout), stderr: or(wishes.stderr, self.stderr) }
    }
}

impl Default for OutputDefaults {
    fn default() -> Self {
        Self { stdout: Target::File, stderr: Target::File }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_says_or_the_executor_does() {
        let defaults = OutputDefaults { stdout: Target::Null, ..OutputDefaults::default() };
        let wishes = Output { stderr: Some(Target::Inherit.into()), ..Output::default() };
        let targets = defaults.targets(&wishes);
        assert_eq!(targets, Targets { stdout: Target::Null, stderr: Target::Inherit });
        let targets = OutputDefaults::default().targets(&Output::default());
        assert_eq!(targets, Targets { stdout: Target::File, stderr: Target::File });
    }
}
