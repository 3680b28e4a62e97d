//! What a task wants of the process itself: resource limits, nice value, umask.
//!
//! Owns the checks that need no look at the machine. Refuses to know which number
//! a limit has there. Called when a task is read.

use marmoset_proto::mesos::v1::{ContainerInfo, r_limit_info::RLimit, r_limit_info::r_limit};

use crate::action::Options;

/// Bits that a umask may have.
const UMASK_MAX: u32 = 0o777;

/// Why a wish cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// No kernel knows it.
    #[error("`{RLIMITS}[{0}].type` is UNKNOWN or missing: name one of the `RLMT_` limits")]
    RlimitType(usize),
    /// Mesos' rule: both or none.
    #[error(
        "`{RLIMITS}` sets {name} only in part: set both `soft` and `hard`, or none for no limit"
    )]
    RlimitHalf {
        /// Which limit.
        name: &'static str,
    },
    /// The kernel would refuse it.
    #[error("`{RLIMITS}` sets {name} to soft {soft}, which is more than hard {hard}")]
    RlimitOrder {
        /// Which limit.
        name: &'static str,
        /// What is to be enforced.
        soft: u64,
        /// What it may be raised to.
        hard: u64,
    },
    /// Two wishes.
    #[error("`{RLIMITS}` sets {name} twice")]
    RlimitTwice {
        /// Which limit.
        name: &'static str,
    },
    /// Not a nice value.
    #[error("`TaskSpec.nice` is {0}, and -20 to 19 are possible")]
    Nice(i32),
    /// Not file permissions.
    #[error(
        "`TaskSpec.umask` is {0} (octal {0:o}), and 0 to 511 (octal 777) are possible: JSON \
         knows no octal numbers, 022 is written 18"
    )]
    Umask(u32),
}

const RLIMITS: &str = "TaskInfo.container.rlimit_info.rlimits";

/// Checks everything that needs no look at the machine.
pub(super) fn check(
    options: &Options,
    container: Option<&ContainerInfo>,
) -> Result<(), ProcessError> {
    if !(-20..=19).contains(&options.nice) {
        return Err(ProcessError::Nice(options.nice));
    }
    if let Some(umask) = options.umask
        && umask > UMASK_MAX
    {
        return Err(ProcessError::Umask(umask));
    }
    let info = container.and_then(|container| container.rlimit_info.as_ref());
    check_rlimits(info.map_or(&[], |info| &info.rlimits))
}

fn check_rlimits(rlimits: &[RLimit]) -> Result<(), ProcessError> {
    for (index, rlimit) in rlimits.iter().enumerate() {
        let kind = rlimit.r#type();
        if kind == r_limit::Type::Unknown {
            return Err(ProcessError::RlimitType(index));
        }
        let name = kind.as_str_name();
        match (rlimit.soft, rlimit.hard) {
            (None, None) => {}
            (Some(soft), Some(hard)) if soft > hard => {
                return Err(ProcessError::RlimitOrder { name, soft, hard });
            }
            (Some(_), Some(_)) => {}
            (Some(_), None) | (None, Some(_)) => return Err(ProcessError::RlimitHalf { name }),
        }
        if rlimits[..index].iter().any(|earlier| earlier.r#type() == kind) {
            return Err(ProcessError::RlimitTwice { name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::RLimitInfo;

    use super::*;

    fn rlimit(kind: r_limit::Type, soft: Option<u64>, hard: Option<u64>) -> RLimit {
        RLimit { r#type: Some(kind.into()), soft, hard }
    }

    fn refusal(rlimits: Vec<RLimit>) -> Option<String> {
        let container =
            ContainerInfo { rlimit_info: Some(RLimitInfo { rlimits }), ..ContainerInfo::default() };
        let result = check(&Options::default(), Some(&container));
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn limits_are_whole_or_absent() {
        use r_limit::Type::{RlmtCore, RlmtNofile, Unknown};
        let fine = [rlimit(RlmtNofile, Some(1), Some(2)), rlimit(RlmtCore, None, None)];
        assert_eq!(refusal(fine.to_vec()), None);
        for (rlimits, text) in [
            (vec![rlimit(Unknown, None, None)], "[0].type` is UNKNOWN or missing"),
            (vec![fine[0], RLimit::default()], "[1].type` is UNKNOWN or missing"),
            (vec![rlimit(RlmtNofile, Some(1), None)], "sets RLMT_NOFILE only in part"),
            (vec![rlimit(RlmtNofile, None, Some(1))], "sets RLMT_NOFILE only in part"),
            (vec![rlimit(RlmtNofile, Some(2), Some(1))], "soft 2, which is more than hard 1"),
            (vec![fine[0], fine[0]], "sets RLMT_NOFILE twice"),
        ] {
            let refusal = refusal(rlimits).unwrap();
            assert!(refusal.contains(text), "{refusal}");
        }
    }

    #[test]
    fn nice_and_umask_have_a_range() {
        let with = |nice, umask| {
            let options = Options { nice, umask, ..Options::default() };
            check(&options, None).map_err(|error| error.to_string())
        };
        assert_eq!(with(-20, Some(0)), Ok(()));
        assert_eq!(with(19, Some(0o777)), Ok(()));
        for nice in [-21, 20, i32::MIN, i32::MAX] {
            assert!(with(nice, None).unwrap_err().contains("`TaskSpec.nice` is"));
        }
        let text = with(0, Some(0o1000)).unwrap_err();
        assert!(text.contains("`TaskSpec.umask` is 512 (octal 1000)"), "{text}");
    }
}
