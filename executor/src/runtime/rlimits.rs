//! Resource limits of a process, from Mesos' names to the kernel's numbers.

use marmoset_proto::mesos::v1::{
    ContainerInfo,
    r_limit_info::{RLimit, r_limit::Type},
};

use crate::launcher::Rlimit;

/// Translates what the core has checked.
pub(super) fn of(container: Option<&ContainerInfo>) -> Vec<Rlimit> {
    let info = container.and_then(|container| container.rlimit_info.as_ref());
    info.map_or(&[][..], |info| &info.rlimits).iter().filter_map(rlimit).collect()
}

fn rlimit(rlimit: &RLimit) -> Option<Rlimit> {
    let resource = match rlimit.r#type() {
        Type::Unknown => return None,
        Type::RlmtAs => libc::RLIMIT_AS,
        Type::RlmtCore => libc::RLIMIT_CORE,
        Type::RlmtCpu => libc::RLIMIT_CPU,
        Type::RlmtData => libc::RLIMIT_DATA,
        Type::RlmtFsize => libc::RLIMIT_FSIZE,
        Type::RlmtLocks => libc::RLIMIT_LOCKS,
        Type::RlmtMemlock => libc::RLIMIT_MEMLOCK,
        Type::RlmtMsgqueue => libc::RLIMIT_MSGQUEUE,
        Type::RlmtNice => libc::RLIMIT_NICE,
        Type::RlmtNofile => libc::RLIMIT_NOFILE,
        Type::RlmtNproc => libc::RLIMIT_NPROC,
        Type::RlmtRss => libc::RLIMIT_RSS,
        Type::RlmtRtprio => libc::RLIMIT_RTPRIO,
        Type::RlmtRttime => libc::RLIMIT_RTTIME,
        Type::RlmtSigpending => libc::RLIMIT_SIGPENDING,
        Type::RlmtStack => libc::RLIMIT_STACK,
    };
    // Absent is no limit, and so is the largest number: the kernel's own word for it.
    let bound = |bound: Option<u64>| bound.unwrap_or(u64::MAX);
    Some(Rlimit { resource, soft: bound(rlimit.soft), hard: bound(rlimit.hard) })
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::RLimitInfo;

    use super::*;

    #[test]
    fn every_limit_of_mesos_is_one_of_the_kernel() {
        let all = (1..=16).map(|kind| RLimit { r#type: Some(kind), soft: Some(1), hard: Some(2) });
        let container = ContainerInfo {
            rlimit_info: Some(RLimitInfo { rlimits: all.collect() }),
            ..ContainerInfo::default()
        };
        let rlimits = of(Some(&container));
        assert!(rlimits.iter().all(|rlimit| (rlimit.soft, rlimit.hard) == (1, 2)));
        let mut resources = rlimits.iter().map(|rlimit| rlimit.resource).collect::<Vec<_>>();
        resources.sort_unstable();
        // The kernel counts 16 of them, from 0.
        assert_eq!(resources, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn absent_is_unlimited() {
        let rlimits = vec![RLimit { r#type: Some(Type::RlmtCore.into()), ..RLimit::default() }];
        let container =
            ContainerInfo { rlimit_info: Some(RLimitInfo { rlimits }), ..ContainerInfo::default() };
        let unlimited = Rlimit { resource: libc::RLIMIT_CORE, soft: u64::MAX, hard: u64::MAX };
        assert_eq!(of(Some(&container)), [unlimited]);
        assert_eq!(of(None), []);
    }
}
