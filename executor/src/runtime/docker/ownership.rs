//! Which container belongs to whom, and whether its owner lives.
//!
//! Owns the names and labels of everything that is started in Docker, and the
//! life line: an abstract socket that an executor holds while it lives, so that
//! anybody in its network namespace can tell. Refuses to remove anything.
//!
//! | label | value |
//! | --- | --- |
//! | `marmoset` | what the container is for: `task`, or `warm` if tasks share it |
//! | `marmoset.framework`, `marmoset.executor`, `marmoset.agent` | ids, as Mesos knows them |
//! | `marmoset.task` | the id of the task, or of the item of a batch; `shared` |
//! | `marmoset.run` | the executor's run: different each time that an executor starts |
//! | `marmoset.netns` | where the run's life line can be seen |
//!
//! A container is an orphan when the run in its labels is over. That is known in two ways: the
//! life line of the run cannot be found in the network namespace where it must be; or framework,
//! executor and agent are our own and the run is not, for an agent starts an executor anew only
//! when it has ended.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use marmoset_executor_core::RunId;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};

use super::engine::Listed;

/// Has whatever we start.
pub(crate) const LABEL: &str = "marmoset";
const FRAMEWORK: &str = "marmoset.framework";
const EXECUTOR: &str = "marmoset.executor";
const AGENT: &str = "marmoset.agent";
pub(crate) const TASK: &str = "marmoset.task";
pub(crate) const RUN: &str = "marmoset.run";
const NETNS: &str = "marmoset.netns";

/// One life of an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) framework: String,
    pub(crate) executor: String,
    pub(crate) agent: String,
    /// Random.
    pub(crate) run: String,
    /// The network namespace it lives in.
    pub(crate) netns: String,
}

/// Kept while the executor lives.
#[derive(Debug)]
pub(crate) struct LifeLine(#[expect(dead_code, reason = "it only has to stay open")] OwnedFd);

/// What is known about the owner of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The container is not ours at all.
    Foreign,
    /// Its executor lives, or is this one.
    Owned,
    /// Its executor is dead.
    Orphan,
    /// Its executor's life line cannot be seen from here.
    Unknown,
}

impl Owner {
    /// The labels of a container.
    pub(crate) fn labels(&self, purpose: &str, task: &str) -> HashMap<String, String> {
        [
            (LABEL, purpose),
            (FRAMEWORK, &self.framework),
            (EXECUTOR, &self.executor),
            (AGENT, &self.agent),
            (TASK, task),
            (RUN, &self.run),
            (NETNS, &self.netns),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The label that only this run's containers have.
    pub(crate) fn own_label(&self) -> String {
        format!("{RUN}={}", self.run)
    }

    /// The name of a run's container.
    pub(crate) fn name(&self, run: RunId) -> String {
        format!("{}{run}", name_prefix(&self.run))
    }

    /// Says whose a container is.
    pub(crate) fn verdict(&self, labels: &HashMap<String, String>) -> Verdict {
        let is = |key: &str, own: &str| labels.get(key).is_some_and(|value| value == own);
        if !labels.contains_key(LABEL) {
            return Verdict::Foreign;
        }
        if is(RUN, &self.run) {
            return Verdict::Owned;
        }
        let predecessor = is(FRAMEWORK, &self.framework)
            && is(EXECUTOR, &self.executor)
            && is(AGENT, &self.agent);
        // Where its life line can be seen it is looked at: an executor has a life for each of its
        // runtimes, and not all of them are this one.
        if predecessor && !is(NETNS, &self.netns) {
            return Verdict::Orphan;
        }
        verdict(labels, &self.netns)
    }
}

/// How the names of all containers of an executor's run begin.
fn name_prefix(run: &str) -> String {
    format!("marmoset-{}-", run.get(..12).unwrap_or(run))
}

/// Whether a container has the name that goes with its labels. Those of an image that somebody
/// has made of a container of ours have its labels, and are not ours.
pub(crate) fn is_named(there: &Listed) -> bool {
    there.labels.get(RUN).is_some_and(|run| there.name.starts_with(&name_prefix(run)))
}

/// Says whether the owner of a container lives, as seen from a network namespace.
pub(crate) fn verdict(labels: &HashMap<String, String>, netns: &str) -> Verdict {
    let (Some(_), Some(run)) = (labels.get(LABEL), labels.get(RUN)) else {
        return Verdict::Foreign;
    };
    if labels.get(NETNS).is_none_or(|there| there != netns) {
        return Verdict::Unknown;
    }
    match is_alive(run) {
        Ok(true) => Verdict::Owned,
        Ok(false) => Verdict::Orphan,
        Err(_) => Verdict::Unknown,
    }
}

/// The network namespace of this process.
pub(crate) fn network_namespace() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

impl LifeLine {
    /// Shows that a run lives, until this is dropped or the process ends.
    pub(crate) fn hold(run: &str) -> io::Result<Self> {
        let line = datagram()?;
        bind(line.as_raw_fd(), &address(run)?)?;
        Ok(Self(line))
    }
}

/// Whether somebody in this network namespace holds the run's life line.
fn is_alive(run: &str) -> io::Result<bool> {
    match connect(datagram()?.as_raw_fd(), &address(run)?) {
        Ok(()) => Ok(true),
        Err(nix::errno::Errno::ECONNREFUSED) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Connecting a datagram socket asks nothing of the other side.
fn datagram() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

fn address(run: &str) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new_abstract(format!("marmoset-run-{run}").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::{super::engine::Condition, *};

    fn owner(framework: &str, run: &str) -> Owner {
        Owner {
            framework: framework.into(),
            executor: "e".into(),
            agent: "S0".into(),
            run: run.into(),
            netns: network_namespace().unwrap(),
        }
    }

    fn fresh() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    #[test]
    fn the_living_keep_their_containers_and_the_dead_do_not() {
        let (other, me) = (owner("f1", &fresh()), owner("f2", &fresh()));
        let labels = other.labels("task", "t");
        let line = LifeLine::hold(&other.run).unwrap();
        assert_eq!(me.verdict(&labels), Verdict::Owned);
        drop(line);
        assert_eq!(me.verdict(&labels), Verdict::Orphan);
        assert_eq!(me.verdict(&me.labels("task", "t")), Verdict::Owned);
    }

    #[test]
    fn a_predecessor_is_dead_wherever_it_lived() {
        let mut before = owner("f", &fresh());
        before.netns = "net:[1]".into();
        let _line = LifeLine::hold(&before.run).unwrap();
        assert_eq!(owner("f", &fresh()).verdict(&before.labels("task", "t")), Verdict::Orphan);
        assert_eq!(owner("g", &fresh()).verdict(&before.labels("task", "t")), Verdict::Unknown);
    }

    #[test]
    fn what_is_not_ours_is_not_judged() {
        let me = owner("f", &fresh());
        assert_eq!(me.verdict(&HashMap::new()), Verdict::Foreign);
        let somebody = HashMap::from([("com.example".to_owned(), "marmoset".to_owned())]);
        assert_eq!(me.verdict(&somebody), Verdict::Foreign);
        let odd = HashMap::from([(LABEL.to_owned(), String::new())]);
        assert_eq!(verdict(&odd, &me.netns), Verdict::Foreign);
    }

    #[test]
    fn labels_alone_make_no_container_ours() {
        let me = owner("f", "0123456789abcdef0123456789abcdef");
        let labels = me.labels("task", "t");
        let there = |name: &str, labels: &HashMap<String, String>| {
            let (name, labels) = (name.to_owned(), labels.clone());
            is_named(&Listed { name, state: Condition::Running, labels })
        };
        assert!(there(&me.name(RunId(3)), &labels));
        // Of an image that was made of one of ours.
        assert!(!there("jolly_banach", &labels));
        assert!(!there("marmoset-ffffffffffff-3", &labels));
        assert!(!there(&me.name(RunId(3)), &HashMap::new()));
    }

    #[test]
    fn names_are_short_and_never_mesos() {
        let me = owner("f", "0123456789abcdef0123456789abcdef");
        assert_eq!(me.name(RunId(17)), "marmoset-0123456789ab-17");
    }
}
