//! How tasks of this executor are kept within their resources.
//!
//! Owns `--isolation`: what was asked for, what this machine has, and what follows for each
//! run. Says once, at the start, what it came to. Refuses to enforce anything itself:
//! cgroups and launcher do. Called at the start, and by the process runtime.

use std::str::FromStr;

use marmoset_executor_core::Bounds;

use crate::{
    cgroup::{self, Limits, NoPlace, Place},
    launcher::Rlimit,
};

/// `--isolation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Cgroups where they can be made, else what rlimits can do.
    Auto,
    /// Cgroups, or no executor.
    Cgroups,
    /// A limit of each process.
    Rlimits,
    /// Nothing.
    None,
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cgroups" => Ok(Self::Cgroups),
            "rlimits" => Ok(Self::Rlimits),
            "none" => Ok(Self::None),
            other => Err(format!("`{other}` is none of `auto`, `cgroups`, `rlimits`, `none`")),
        }
    }
}

/// What tasks are kept within their resources by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Each run has a cgroup.
    Cgroups {
        /// Below which.
        place: Place,
        /// `cpus` is a hard limit even where a task sets none.
        enable_cfs: bool,
    },
    /// `RLIMIT_DATA` for the memory of each process; nothing for CPU time.
    Rlimits {
        /// For tasks as well that set no limit: `mem` is one.
        of_requests: bool,
    },
    /// The executor's container, if that.
    None,
}

impl Isolation {
    /// Finds out what there is.
    ///
    /// # Errors
    /// When there must be cgroups and cannot be any.
    pub(crate) fn find(wish: Wish, enable_cfs: bool) -> Result<Self, NoPlace> {
        let place = match wish {
            Wish::None => return Ok(Self::None),
            Wish::Rlimits => return Ok(Self::Rlimits { of_requests: true }),
            Wish::Auto | Wish::Cgroups => Place::find(),
        };
        match place {
            Ok(place) => {
                tracing::info!(?place, "each task gets a cgroup");
                Ok(Self::Cgroups { place, enable_cfs })
            }
            Err(reason) if wish == Wish::Cgroups => Err(reason),
            Err(reason) => {
                tracing::info!(
                    %reason,
                    "tasks get no cgroups: `limits.mem` of a task limits each of its processes, \
                     and nothing but the executor's container limits all else"
                );
                Ok(Self::Rlimits { of_requests: false })
            }
        }
    }

    /// Where launchers make their cgroups.
    pub(crate) fn place(&self) -> Option<&Place> {
        match self {
            Self::Cgroups { place, .. } => Some(place),
            Self::Rlimits { .. } | Self::None => None,
        }
    }

    /// Limits of all processes of a run together.
    pub(crate) fn limits(&self, bounds: &Bounds) -> Option<Limits> {
        match self {
            Self::Cgroups { enable_cfs, .. } => Limits::of(bounds, *enable_cfs),
            Self::Rlimits { .. } | Self::None => None,
        }
    }

    /// The limit of each process of a run.
    ///
    /// Not `RLIMIT_AS`: Go, Java and sanitizers reserve address space far beyond what they
    /// use. `RLIMIT_DATA` counts what may be written, whether or not it was touched, which is
    /// still more than what is used: so `mem` alone, which a task must state anyhow, is no limit
    /// unless the operator says so.
    pub(crate) fn rlimit(&self, bounds: &Bounds) -> Option<Rlimit> {
        let bounded = match self {
            Self::Rlimits { of_requests } => *of_requests || bounds.mem_limit.is_some(),
            Self::Cgroups { .. } | Self::None => false,
        };
        let bytes = cgroup::memory(bounds).filter(|_| bounded)?;
        Some(Rlimit { resource: libc::RLIMIT_DATA, soft: bytes, hard: bytes })
    }
}

#[cfg(test)]
mod tests {
    use marmoset_executor_core::Limit;
    use marmoset_proto::resources::Millis;

    use super::*;

    #[test]
    fn rlimits_limit_what_asked_for_it() {
        let request = Bounds { mem: Some(Millis(64_000)), ..Bounds::default() };
        let limit = |mem_limit| Bounds { mem_limit: Some(mem_limit), ..request };
        let finite = limit(Limit::Finite(Millis(100_000)));
        let soft = |isolation: &Isolation, bounds: &Bounds| {
            isolation.rlimit(bounds).map(|Rlimit { soft, .. }| soft >> 20)
        };
        let lenient = Isolation::Rlimits { of_requests: false };
        assert_eq!(soft(&lenient, &request), None);
        assert_eq!(soft(&lenient, &finite), Some(100));
        assert_eq!(soft(&lenient, &limit(Limit::Infinite)), None);
        let strict = Isolation::Rlimits { of_requests: true };
        assert_eq!(soft(&strict, &request), Some(64));
        assert_eq!(soft(&strict, &limit(Limit::Infinite)), None);
        assert_eq!(soft(&Isolation::None, &finite), None);
    }

    #[test]
    fn wishes_have_names() {
        assert_eq!("cgroups".parse(), Ok(Wish::Cgroups));
        let error = "cgroup".parse::<Wish>().unwrap_err();
        assert_eq!(error, "`cgroup` is none of `auto`, `cgroups`, `rlimits`, `none`");
    }

    #[test]
    fn nothing_is_always_to_be_had() {
        assert_eq!(Isolation::find(Wish::None, false).unwrap(), Isolation::None);
    }
}
