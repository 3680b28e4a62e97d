//! How long the folders of tasks stay after their runs.
//!
//! Owns the order in which they go: the oldest first, once there are too many of
//! them or they are too old, those of runs that failed apart from the others, so
//! that many good runs do not push out what one wants to look at. Refuses to
//! remove anything: the edge does, a few at a time, and says when it is done. A
//! folder that is in use, or in use again, is never named.
//!
//! ```text
//!   started ──▶ in use ── ended ──▶ kept ── too old, or too many ──▶ named ──▶ removed
//!                 ▲   │ to be kept, or nothing is left: forgotten      (by the edge)
//!                 │   ▼
//!                 └── started again under the same name ── kept
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::ids::RunId;

/// Most folders that are named at a time.
const BATCH: usize = 64;

/// What is kept of tasks whose runs have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// How long (`--keep-time`).
    pub time: Duration,
    /// How many folders of runs that succeeded, and as many of others (`--keep-count`).
    pub count: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self { time: Duration::from_secs(3600), count: 10_000 }
    }
}

/// Folders to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Names below the folder of all tasks.
    pub tasks: Vec<Arc<str>>,
    /// There are far more than there should be.
    pub hurry: bool,
}

/// The folders of tasks.
#[derive(Debug)]
pub struct Retention {
    keep: Keep,
    in_use: BTreeMap<RunId, Use>,
    /// Folders that may go, each with its number in one of the queues.
    kept: BTreeMap<Arc<str>, u64>,
    good: VecDeque<Entry>,
    bad: VecDeque<Entry>,
    last: u64,
    /// The edge has not said that it is done.
    removing: bool,
}

#[derive(Debug)]
struct Use {
    task: Arc<str>,
    for_ever: bool,
}

/// An end. Means nothing if the number is no longer that of the folder.
#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    task: Arc<str>,
}

impl Retention {
    /// Knows of no folder.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            in_use: BTreeMap::new(),
            kept: BTreeMap::new(),
            good: VecDeque::new(),
            bad: VecDeque::new(),
            last: 0,
            removing: false,
        }
    }

    /// Takes up a run that is about to be started. Its folder is kept `for_ever` if the task says so.
    pub fn started(&mut self, run: RunId, task: &str, for_ever: bool) {
        let task = Arc::<str>::from(task);
        self.kept.remove(&task);
        self.in_use.insert(run, Use { task, for_ever });
    }

    /// Handles the end of a run, or that it could not be started.
    pub fn ended(&mut self, now: Instant, run: RunId, is_good: bool, folder_removed: bool) {
        let Some(Use { task, for_ever }) = self.in_use.remove(&run) else { return };
        if for_ever || folder_removed {
            return;
        }
        self.last += 1;
        self.kept.insert(task.clone(), self.last);
        let queue = if is_good { &mut self.good } else { &mut self.bad };
        queue.push_back(Entry { at: now, number: self.last, task });
    }

    /// Handles the end of all runs that `ended` names.
    pub fn all_ended(&mut self, now: Instant, ended: impl Fn(RunId) -> bool) {
        let runs = self.in_use.keys().copied().filter(|run| ended(*run));
        for run in runs.collect::<Vec<_>>() {
            self.ended(now, run, false, false);
        }
    }

    /// The edge has removed what was named.
    pub fn removed(&mut self) {
        self.removing = false;
    }

    /// Names folders to remove; nothing before the last ones are removed.
    pub fn poll(&mut self, now: Instant) -> Option<Removal> {
        if self.removing {
            return None;
        }
        let Keep { time, count } = self.keep;
        let mut tasks = Vec::new();
        let mut hurry = false;
        for queue in [&mut self.good, &mut self.bad] {
            // Some at once, rather than one with each end.
            let many = queue.len() > count + BATCH.min(count / 8);
            hurry |= queue.len() > count + count / 4 + 4 * BATCH;
            while tasks.len() < BATCH
                && let Some(first) = queue.front()
                && (first.at + time <= now || many && queue.len() > count)
                && let Some(Entry { number, task, .. }) = queue.pop_front()
            {
                if self.kept.get(&task) == Some(&number) {
                    self.kept.remove(&task);
                    tasks.push(task);
                }
            }
        }
        self.removing = !tasks.is_empty();
        self.removing.then(|| Removal { tasks: mem::take(&mut tasks), hurry })
    }

    /// When [`Self::poll`] has something to tell, if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.removing {
            return None;
        }
        let first = self.good.front().into_iter().chain(self.bad.front()).map(|entry| entry.at);
        first.min().map(|at| at + self.keep.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Scene {
        retention: Retention,
        now: Instant,
        last: u64,
    }

    impl Scene {
        fn new(count: usize) -> Self {
            let retention = Retention::new(Keep { time: HOUR, count });
            Self { retention, now: Instant::now(), last: 0 }
        }

        fn start(&mut self, task: &str) -> RunId {
            self.last += 1;
            self.retention.started(RunId(self.last), task, false);
            RunId(self.last)
        }

        fn run(&mut self, task: &str, is_good: bool) {
            let run = self.start(task);
            self.retention.ended(self.now, run, is_good, false);
        }

        /// All that goes now.
        fn gone(&mut self) -> Vec<String> {
            let mut gone = Vec::new();
            while let Some(removal) = self.retention.poll(self.now) {
                assert!(!removal.tasks.is_empty() && removal.tasks.len() <= BATCH);
                assert_eq!(self.retention.poll(self.now), None, "one at a time");
                gone.extend(removal.tasks.iter().map(|task| task.to_string()));
                self.retention.removed();
            }
            gone
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut scene = Scene::new(10);
        for number in 0..11 {
            scene.run(&format!("t{number}"), true);
        }
        assert_eq!(scene.gone(), [""; 0]);
        scene.run("t11", true);
        assert_eq!(scene.gone(), ["t0", "t1"]);
        for number in 12..500 {
            scene.run(&format!("t{number}"), true);
        }
        assert_eq!(scene.gone().len(), 488);
        assert_eq!(scene.retention.kept.len(), 10);
    }

    #[test]
    fn they_go_when_they_are_too_old() {
        let mut scene = Scene::new(10);
        let start = scene.now;
        scene.run("a", true);
        scene.now += Duration::from_secs(60);
        scene.run("b", false);
        assert_eq!(scene.retention.wake_at(), Some(start + HOUR));
        scene.now = start + HOUR;
        assert_eq!(scene.gone(), ["a"]);
        assert_eq!(scene.retention.wake_at(), Some(start + HOUR + Duration::from_secs(60)));
        scene.now += Duration::from_secs(60);
        assert_eq!(scene.gone(), ["b"]);
        assert_eq!(scene.retention.wake_at(), None);
    }

    #[test]
    fn good_runs_do_not_push_out_failures() {
        let mut scene = Scene::new(10);
        scene.run("bad", false);
        for number in 0..100 {
            scene.run(&format!("t{number}"), true);
        }
        let gone = scene.gone();
        assert!(gone.len() == 90 && !gone.contains(&"bad".to_owned()), "{gone:?}");
    }

    #[test]
    fn what_runs_or_runs_again_is_spared() {
        let mut scene = Scene::new(1);
        scene.run("again", true);
        let old = scene.start("old");
        let again = scene.start("again");
        for number in 0..20 {
            scene.run(&format!("t{number}"), true);
        }
        scene.now += 2 * HOUR;
        let gone = scene.gone();
        assert_eq!(gone.len(), 20);
        assert!(gone.iter().all(|task| task.starts_with('t')), "{gone:?}");
        scene.retention.ended(scene.now, again, true, false);
        scene.retention.ended(scene.now, old, true, false);
        scene.now += HOUR;
        assert_eq!(scene.gone(), ["again", "old"]);
        assert!(scene.retention.kept.is_empty() && scene.retention.in_use.is_empty());
    }

    #[test]
    fn some_are_not_ours_to_remove() {
        let mut scene = Scene::new(1);
        scene.retention.started(RunId(90), "kept", true);
        scene.retention.ended(scene.now, RunId(90), true, false);
        let run = scene.start("packed");
        scene.retention.ended(scene.now, run, true, true);
        // A run that nobody has started.
        scene.retention.ended(scene.now, RunId(91), true, false);
        scene.now += HOUR;
        assert_eq!(scene.gone(), [""; 0]);
    }

    #[test]
    fn runs_that_die_with_their_launcher_have_ended() {
        let mut scene = Scene::new(1);
        scene.start("a");
        scene.retention.all_ended(scene.now, |_| true);
        scene.now += HOUR;
        assert_eq!(scene.gone(), ["a"]);
    }

    #[test]
    fn a_flood_is_told_to_hurry() {
        let mut scene = Scene::new(16);
        for number in 0..400 {
            scene.run(&format!("t{number}"), true);
        }
        assert!(scene.retention.poll(scene.now).unwrap().hurry);
        scene.retention.removed();
        scene.gone();
        for number in 0..20 {
            scene.run(&format!("u{number}"), true);
        }
        assert!(!scene.retention.poll(scene.now).unwrap().hurry);
    }
}
