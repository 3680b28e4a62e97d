//! Where the output of tasks goes, and how much of it stays.
//!
//! Owns what a task's wishes and the executor's flags come to ([`OutputDefaults`]),
//! and what is done with the files that tasks write. Refuses to start anything.
//! The flags and wishes are read by the process runtime for each template; the
//! files are looked at by the launcher's workers, each of which knows its own runs.
//!
//! | module | owns |
//! | --- | --- |
//! | `files` | the two files of a run, from its start to what becomes of them |
//! | `watch` | when which run is looked at |
//! | `cut` | how a file loses its middle |
//! | `packs` | files that take in the small outputs of many tasks |
//! | `folders`, `remove` | the removal of folders that are no longer kept |
//! | `folder` | opening and making files where tasks do what they like |

mod cut;
mod files;
mod folder;
mod folders;
mod packs;
mod remove;
mod watch;

use std::{ffi::CString, num::NonZeroU64, os::unix::ffi::OsStringExt as _, path::Path};

use marmoset_proto::{
    marmoset::v1::{Output, output::Target},
    size,
};

pub use cut::Cut;
pub use files::Keeping;
pub(crate) use files::{Files, Settled};
pub(crate) use folder::{create_file, create_folder, open_parent, take_text};
pub(crate) use folders::Folders;
pub(crate) use packs::Packs;
pub(crate) use watch::{Watch, Watched};

use crate::launcher::Kept;

/// Most that is kept of a stream if nobody says otherwise (`--output-limit`).
pub(crate) const LIMIT: u64 = 10 << 20;

/// What holds for tasks that do not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutputDefaults {
    pub(crate) stdout: Target,
    pub(crate) stderr: Target,
    /// Most that is kept of each file, in bytes; 0: all of it.
    pub(crate) limit: u64,
}

/// What a run's output comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) stdout: Target,
    pub(crate) stderr: Target,
    pub(crate) keeping: Keeping,
}

impl OutputDefaults {
    /// Fills in what a task leaves open. Packs lie in the sandbox.
    pub(crate) fn plan(self, wishes: &Output, sandbox: &Path) -> Plan {
        let or = |wish: Option<i32>, default| {
            wish.and_then(|number| Target::try_from(number).ok()).unwrap_or(default)
        };
        let pack = wishes.pack.as_ref().and_then(|name| {
            // A checked file name.
            CString::new(sandbox.join("packs").join(name).into_os_string().into_vec()).ok()
        });
        let limit = NonZeroU64::new(wishes.limit_bytes.unwrap_or(self.limit));
        let stdout = or(wishes.stdout, self.stdout);
        let stderr = or(wishes.stderr, self.stderr);
        let nowhere = [stdout, stderr].iter().all(|target| *target != Target::File);
        let remove_empty = nowhere && !wishes.keep();
        Plan { stdout, stderr, keeping: Keeping { limit, remove_empty, pack } }
    }
}

impl Default for OutputDefaults {
    fn default() -> Self {
        Self { stdout: Target::File, stderr: Target::File, limit: LIMIT }
    }
}

/// What people read about outputs that were cut: the end of a message.
pub(crate) fn told(kept: &Kept) -> Option<String> {
    let texts = [("stdout", kept.stdout_cut), ("stderr", kept.stderr_cut)]
        .into_iter()
        .filter_map(|(stream, cut)| {
            let Cut { written, kept } = cut?;
            let (written, half) = (size::for_people(written), size::for_people(kept / 2));
            Some(format!("{stream} was cut: {written} written, the first and last {half} kept"))
        })
        .collect::<Vec<_>>();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_says_or_the_executor_does() {
        let defaults = OutputDefaults { stdout: Target::Null, ..OutputDefaults::default() };
        let wishes = Output {
            stderr: Some(Target::Inherit.into()),
            limit_bytes: Some(0),
            pack: Some("job".into()),
            ..Output::default()
        };
        let plan = defaults.plan(&wishes, Path::new("/s"));
        assert_eq!((plan.stdout, plan.stderr), (Target::Null, Target::Inherit));
        let pack = Some(c"/s/packs/job".into());
        assert_eq!(plan.keeping, Keeping { limit: None, remove_empty: true, pack });
        let kept = defaults.plan(&Output { keep: Some(true), ..wishes }, Path::new("/s"));
        assert!(!kept.keeping.remove_empty);
        let plan = OutputDefaults::default().plan(&Output::default(), Path::new("/s"));
        assert_eq!((plan.stdout, plan.stderr), (Target::File, Target::File));
        let limit = NonZeroU64::new(10 << 20);
        assert_eq!(plan.keeping, Keeping { limit, remove_empty: false, pack: None });
    }

    #[test]
    fn cuts_are_told() {
        let mut kept = Kept::default();
        assert_eq!(told(&kept), None);
        kept.stdout_cut = Some(Cut { written: 812 << 20, kept: 10 << 20 });
        let stdout = "stdout was cut: 812 MB written, the first and last 5 MB kept";
        assert_eq!(told(&kept).as_deref(), Some(stdout));
        kept.stderr_cut = Some(Cut { written: 3000, kept: 2048 });
        let both =
            format!("{stdout}; stderr was cut: 2.9 KB written, the first and last 1 KB kept");
        assert_eq!(told(&kept), Some(both));
    }
}
