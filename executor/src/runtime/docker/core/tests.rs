//! Inputs in, acts out, and nothing else.

use super::{steps::OUT_OF_MEMORY_DELAY, *};
use crate::runtime::docker::engine::{Condition, Happening};

const PATIENCE: Duration = Duration::from_secs(60);

struct Table {
    core: Core,
    now: Now,
}

fn unreachable() -> EngineError {
    EngineError::Unreachable { socket: "/s".into(), reason: "gone".into() }
}

fn silent(call: &'static str) -> EngineError {
    EngineError::Silent { socket: "/s".into(), call, reason: "nothing came".into() }
}

fn refused(status: u16, message: &str) -> EngineError {
    EngineError::Refused { status, message: message.into() }
}

fn image() -> String {
    "i".to_owned()
}

fn listed(run: u64, state: Condition) -> Listed {
    Listed { name: name(run), state, labels: HashMap::new() }
}

fn name(run: u64) -> String {
    format!("c{run}")
}

fn launch(run: u64) -> Launch {
    Launch {
        run: RunId(run),
        name: name(run),
        image: image(),
        pull: Pull::IfNotPresent,
        describe: false,
        limited: false,
        group: Some(0),
    }
}

fn inspection(state: Condition, exit_code: i64) -> Inspection {
    Inspection {
        state,
        exit_code,
        oom_killed: false,
        error: String::new(),
        labels: HashMap::new(),
        addresses: Vec::new(),
        json: String::new(),
    }
}

impl Table {
    /// With an engine that is there.
    fn new(places: usize) -> Self {
        let now = Now { instant: Instant::now(), wall: WallTime(1_000_000) };
        let mut table = Self { core: Core::new(Config { places, patience: PATIENCE }, now), now };
        table.expect([]);
        table.list([]);
        table
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.core.handle(self.now, input);
        self
    }

    fn pass(&mut self, seconds: u64) -> &mut Self {
        self.now.instant += Duration::from_secs(seconds);
        self.now.wall.0 += seconds * 1_000_000;
        self
    }

    fn list(&mut self, all: impl IntoIterator<Item = Listed>) -> &mut Self {
        self.pass(1);
        let asked = self.now.instant;
        self.input(Input::Listed(asked, all.into_iter().collect()))
    }

    fn launch(&mut self, run: u64) -> &mut Self {
        self.launch_with(run, Pull::IfNotPresent, false)
    }

    fn launch_with(&mut self, run: u64, pull: Pull, describe: bool) -> &mut Self {
        self.input(Input::Launch(Launch { pull, describe, ..launch(run) }))
    }

    fn launch_limited(&mut self, run: u64) -> &mut Self {
        self.input(Input::Launch(Launch { limited: true, ..launch(run) }))
    }

    fn image_is_there(&mut self) -> &mut Self {
        self.input(Input::Image(image(), Pull::IfNotPresent, Ok(())))
    }

    fn died(&mut self, run: u64, exit_code: i64) -> &mut Self {
        self.event(run, Happening::Died { exit_code })
    }

    fn event(&mut self, run: u64, what: Happening) -> &mut Self {
        self.input(Input::Event(Event { name: name(run), at: WallTime(7), what }))
    }

    fn inspected(
        &mut self,
        run: u64,
        result: Result<Option<Inspection>, EngineError>,
    ) -> &mut Self {
        self.input(Input::Inspected(RunId(run), Box::new(result)))
    }

    /// A container that runs.
    fn running(run: u64) -> Self {
        let mut table = Self::new(1);
        table.launch(run).image_is_there();
        table.input(Input::Created(RunId(run), Ok(()))).input(Input::Started(RunId(run), Ok(())));
        table.acts();
        table
    }

    fn acts(&mut self) -> Vec<Act> {
        std::iter::from_fn(|| self.core.poll_act()).collect()
    }

    #[track_caller]
    fn expect(&mut self, acts: impl IntoIterator<Item = Act>) -> &mut Self {
        assert_eq!(self.acts(), acts.into_iter().collect::<Vec<_>>());
        self
    }
}

fn ask() -> Act {
    Act::Image(image(), Pull::IfNotPresent)
}

fn tell(run: u64, told: Told) -> Act {
    Act::Tell(RunId(run), told)
}

fn started(run: u64, at: u64) -> Act {
    tell(run, Told::Started { at: WallTime(at), inspection: None })
}

fn exited(run: u64, code: i64, remark: Option<&str>) -> Act {
    let remark = remark.map(str::to_owned);
    tell(run, Told::Exited(Exit { code, at: WallTime(7), out_of_memory: false, remark }))
}

fn gone(run: u64, message: &str) -> Act {
    tell(run, Told::Refused(message.to_owned()))
}

#[test]
fn a_container_from_its_image_to_its_removal() {
    let mut table = Table::new(2);
    table.launch(1).expect([ask()]);
    table.image_is_there().expect([Act::Create(RunId(1))]);
    table.input(Input::Created(RunId(1), Ok(()))).expect([Act::Start(RunId(1))]);
    table.event(1, Happening::Started).expect([]);
    table.input(Input::Started(RunId(1), Ok(()))).expect([started(1, 7)]);
    table.died(1, 3).expect([exited(1, 3, None), Act::Remove(name(1))]);
    table.input(Input::Removed(name(1), Ok(()))).expect([]);
    table.died(1, 3).expect([]);
    assert!(table.core.into_leftovers().is_empty());
}

#[test]
fn one_look_for_the_image_serves_all_and_places_are_kept_to() {
    let mut table = Table::new(2);
    table.launch(1).launch(2).launch(3).expect([ask()]);
    table.image_is_there().expect([Act::Create(RunId(1)), Act::Create(RunId(2))]);
    table.launch(4).expect([]);
    table.input(Input::Created(RunId(1), Ok(()))).expect([Act::Start(RunId(1))]);
    let at = table.now.wall.0;
    table.input(Input::Started(RunId(1), Ok(()))).expect([started(1, at), Act::Create(RunId(3))]);
    let end = "Failed to run docker container: no";
    table
        .input(Input::Created(RunId(2), Err(refused(500, "no"))))
        .expect([gone(2, end), Act::Create(RunId(4))]);
}

#[test]
fn an_image_that_cannot_be_had_fails_all_that_wait_for_it() {
    let mut table = Table::new(2);
    table.launch(1).launch(2).expect([ask()]);
    let text = "Failed to run docker container: no such image";
    table
        .input(Input::Image(image(), Pull::IfNotPresent, Err(refused(404, "no such image"))))
        .expect([gone(1, text), gone(2, text)]);
    // The next one looks again.
    table.launch(3).expect([ask()]);
}

#[test]
fn always_means_a_pull_for_whoever_comes_later() {
    let mut table = Table::new(9);
    let pull = || Act::Image(image(), Pull::Always);
    table.launch_with(1, Pull::Always, false).launch_with(2, Pull::Always, false).expect([pull()]);
    table
        .input(Input::Image(image(), Pull::Always, Ok(())))
        .expect([Act::Create(RunId(1)), Act::Create(RunId(2))]);
    table.launch_with(3, Pull::Always, false).expect([pull()]);
    let text = "pulling";
    table
        .input(Input::PullProgress(image(), Pull::Always, text.into()))
        .expect([tell(3, Told::Waiting(text.into()))]);
}

#[test]
fn an_image_that_was_removed_meanwhile_is_looked_for_once_more() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there().acts();
    let no = || Err(refused(404, "No such image: i"));
    table.input(Input::Created(RunId(1), no())).expect([ask()]);
    table.image_is_there().expect([Act::Create(RunId(1))]);
    let text = "Failed to run docker container: No such image: i";
    table.input(Input::Created(RunId(1), no())).expect([gone(1, text)]);
}

#[test]
fn what_is_told_of_the_start_is_asked_for_even_if_it_is_over() {
    let mut table = Table::new(1);
    table.launch_with(1, Pull::IfNotPresent, true).image_is_there();
    table.input(Input::Created(RunId(1), Ok(()))).acts();
    table.event(1, Happening::Started).died(1, 0).expect([]);
    table.input(Input::Started(RunId(1), Ok(()))).expect([Act::Inspect(RunId(1))]);
    let found = inspection(Condition::Ended, 0);
    let told = Told::Started { at: WallTime(7), inspection: Some(Box::new(found.clone())) };
    table.inspected(1, Ok(Some(found))).expect([
        tell(1, told),
        exited(1, 0, None),
        Act::Remove(name(1)),
    ]);
}

#[test]
fn cancelled_while_it_waits_is_not_started() {
    let mut table = Table::new(1);
    table.launch(1).launch(2).expect([ask()]);
    table
        .input(Input::Cancel(RunId(2)))
        .expect([gone(2, "Container destroyed while pulling image")]);
    table.launch(3).image_is_there().expect([Act::Create(RunId(1))]);
    table.input(Input::Cancel(RunId(3))).expect([gone(3, KILLED_BEFORE_START)]);
    // A call that is under way is answered first; then the container goes.
    table.input(Input::Cancel(RunId(1))).expect([]);
    table
        .input(Input::Created(RunId(1), Ok(())))
        .expect([gone(1, KILLED_BEFORE_START), Act::Remove(name(1))]);
    // Once it is being started, it starts.
    table.launch(4).expect([Act::Create(RunId(4))]);
    table.input(Input::Created(RunId(4), Ok(()))).input(Input::Cancel(RunId(4)));
    table.expect([Act::Start(RunId(4))]);
}

#[test]
fn signals_are_sent_once_and_again_after_the_engine_was_away() {
    let mut table = Table::running(1);
    let term = || Input::Signal(RunId(1), Signal::Term);
    table.input(term()).expect([Act::Signal(RunId(1), Signal::Term)]);
    table.input(term()).expect([]);
    table.input(Input::Signalled(RunId(1), Ok(()))).expect([]);
    table
        .input(Input::Signal(RunId(1), Signal::Kill))
        .expect([Act::Signal(RunId(1), Signal::Kill)]);
    let down = Log::EngineDown { reason: silent("kill").to_string() };
    table
        .input(Input::Signalled(RunId(1), Err(silent("kill"))))
        .expect([Act::Log(down), Act::List]);
    table.pass(2).list([listed(1, Condition::Running)]).expect([
        Act::Log(Log::EngineUp { after: Duration::from_secs(3) }),
        Act::Signal(RunId(1), Signal::Kill),
    ]);
    // Our own kill: nobody is asked whether it was the memory.
    table.event(1, Happening::Signalled { signal: 9 }).died(1, 137);
    table.expect([exited(1, 137, None), Act::Remove(name(1))]);
}

#[test]
fn a_signal_from_elsewhere_is_told() {
    let mut table = Table::running(1);
    table.event(1, Happening::Signalled { signal: 15 }).died(1, 143).expect([
        exited(1, 143, Some("somebody other than this executor sent it signal 15")),
        Act::Remove(name(1)),
    ]);
}

#[test]
fn killed_without_a_reason_is_asked_about_its_memory() {
    for (result, out_of_memory) in [
        (Ok(Some(Inspection { oom_killed: true, ..inspection(Condition::Ended, 137) })), true),
        (Ok(Some(inspection(Condition::Ended, 137))), false),
        (Ok(None), false),
    ] {
        let mut table = Table::running(1);
        table.died(1, 137).expect([Act::Inspect(RunId(1))]);
        let exit = Exit { code: 137, at: WallTime(7), out_of_memory, remark: None };
        table.inspected(1, result).expect([tell(1, Told::Exited(exit)), Act::Remove(name(1))]);
    }
    // Some other process of it was killed, and it ended for that reason.
    let mut table = Table::running(1);
    let exit = Exit { code: 9, at: WallTime(7), out_of_memory: true, remark: None };
    table
        .event(1, Happening::OutOfMemory)
        .died(1, 9)
        .expect([tell(1, Told::Exited(exit)), Act::Remove(name(1))]);
}

#[test]
fn an_engine_may_tell_of_the_memory_after_the_end() {
    let dying = || {
        let mut table = Table::new(1);
        table.launch_limited(1).image_is_there();
        table.input(Input::Created(RunId(1), Ok(()))).input(Input::Started(RunId(1), Ok(())));
        table.acts();
        table.died(1, 9).expect([]);
        assert_eq!(table.core.poll_wake(), Some(table.now.instant + OUT_OF_MEMORY_DELAY));
        table
    };
    let exit = |out_of_memory| {
        let exit = Exit { code: 9, at: WallTime(7), out_of_memory, remark: None };
        [tell(1, Told::Exited(exit)), Act::Remove(name(1))]
    };
    let mut table = dying();
    table.event(1, Happening::OutOfMemory).expect(exit(true));
    table.pass(1).input(Input::Wake).expect([]);
    // It does not: then it is asked.
    let mut table = dying();
    table.pass(1).input(Input::Wake).expect([Act::Inspect(RunId(1))]);
    table.inspected(1, Ok(Some(inspection(Condition::Ended, 9)))).expect(exit(false));
}

#[test]
fn creating_is_tried_again_when_the_engine_is_back() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there().acts();
    let down = Log::EngineDown { reason: unreachable().to_string() };
    table.input(Input::Created(RunId(1), Err(unreachable()))).expect([Act::Log(down), Act::List]);
    table.launch(2).expect([]);
    // It was created after all: creating it again finds it, and it is no stray.
    table
        .list([listed(1, Condition::Created)])
        .expect([Act::Log(Log::EngineUp { after: Duration::from_secs(1) }), Act::Create(RunId(1))]);
}

#[test]
fn a_start_without_an_answer_is_never_tried_again() {
    for (state, acts) in [
        (Some(Condition::Created), vec![gone(1, NEVER_STARTED), Act::Remove(name(1))]),
        (None, vec![gone(1, LOST)]),
        (
            Some(Condition::Ended),
            vec![
                started(1, 4_000_000),
                tell(
                    1,
                    Told::Exited(Exit {
                        code: 0,
                        at: WallTime(4_000_000),
                        out_of_memory: false,
                        remark: Some("the Docker engine was away when it ended".into()),
                    }),
                ),
                Act::Remove(name(1)),
            ],
        ),
    ] {
        let mut table = Table::new(1);
        table.launch(1).image_is_there();
        table.input(Input::Created(RunId(1), Ok(()))).acts();
        table.input(Input::Started(RunId(1), Err(silent("start")))).acts();
        table.pass(1).list(state.map(|state| listed(1, state)));
        let up = Act::Log(Log::EngineUp { after: Duration::from_secs(2) });
        table.expect([up, Act::Inspect(RunId(1))]);
        table.inspected(1, Ok(state.map(|state| inspection(state, 0)))).expect(acts);
    }
    let mut table = Table::new(1);
    table.launch(1).image_is_there();
    table.input(Input::Created(RunId(1), Ok(()))).acts();
    table.input(Input::Started(RunId(1), Err(silent("start")))).acts();
    let at = table.now.wall.0 + 1_000_000;
    let up = Act::Log(Log::EngineUp { after: Duration::from_secs(1) });
    table.list([listed(1, Condition::Running)]).expect([up, started(1, at)]);
}

const NEVER_STARTED: &str = "Failed to run docker container: the Docker engine went away while it \
                             was to be started";
const LOST: &str = "Failed to run docker container: the container is gone: somebody has removed \
                    it, or the Docker engine has lost it";

#[test]
fn an_event_settles_a_doubt() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there();
    table.input(Input::Created(RunId(1), Ok(()))).acts();
    table.input(Input::Started(RunId(1), Err(silent("start")))).acts();
    table.event(1, Happening::Started).expect([started(1, 7)]);
    table.died(1, 0).expect([exited(1, 0, None)]);
}

#[test]
fn what_ended_while_nobody_listened_is_found_by_a_list() {
    let mut table = Table::running(1);
    table.input(Input::Away(silent("events"))).acts();
    table.list([listed(1, Condition::Ended)]);
    let up = Act::Log(Log::EngineUp { after: Duration::from_secs(1) });
    table.expect([up, Act::Inspect(RunId(1))]);
    table.inspected(1, Ok(Some(inspection(Condition::Ended, 5))));
    let at = table.now.wall;
    let remark = Some("the Docker engine was away when it ended".to_owned());
    let exit = Exit { code: 5, at, out_of_memory: false, remark };
    table.expect([tell(1, Told::Exited(exit)), Act::Remove(name(1))]);
    table.died(1, 5).expect([]);
}

#[test]
fn an_event_that_is_slower_than_a_list_is_believed() {
    let mut table = Table::running(1);
    table.event(1, Happening::Signalled { signal: 9 });
    table.list([]).expect([Act::Inspect(RunId(1))]);
    let foreign = Some("somebody other than this executor sent it signal 9");
    table.died(1, 5).expect([exited(1, 5, foreign), Act::Remove(name(1))]);
    // One end is told.
    table.inspected(1, Ok(Some(inspection(Condition::Ended, 5)))).expect([]);
    // Whether it was started was not known either.
    let mut table = Table::new(1);
    table.launch(1).image_is_there();
    table.input(Input::Created(RunId(1), Ok(()))).acts();
    table.input(Input::Started(RunId(1), Err(silent("start")))).acts();
    table.list([]).acts();
    table.died(1, 0).expect([started(1, 7), exited(1, 0, None), Act::Remove(name(1))]);
}

#[test]
fn a_signal_that_the_engine_refuses_is_sent_again() {
    let mut table = Table::running(1);
    table
        .input(Input::Signal(RunId(1), Signal::Kill))
        .expect([Act::Signal(RunId(1), Signal::Kill)]);
    let error = refused(500, "no");
    let log = Log::NotSignalled { name: name(1), reason: error.to_string() };
    table.input(Input::Signalled(RunId(1), Err(error))).expect([Act::Log(log)]);
    table.pass(5).input(Input::Wake).expect([Act::List]);
    table.list([listed(1, Condition::Running)]).expect([Act::Signal(RunId(1), Signal::Kill)]);
    table.input(Input::Signalled(RunId(1), Ok(()))).died(1, 137);
    table.expect([exited(1, 137, None), Act::Remove(name(1))]);
}

#[test]
fn whoever_is_cancelled_does_not_wait_for_an_engine_that_does_not_answer() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there().acts();
    table.input(Input::Cancel(RunId(1))).expect([]);
    table.input(Input::Created(RunId(1), Err(silent("create"))));
    assert_eq!(table.acts()[0], gone(1, KILLED_BEFORE_START));
    // It was created after all.
    table.list([listed(1, Condition::Created)]);
    assert_eq!(table.acts().last(), Some(&Act::Remove(name(1))));
    // Nor for an image that has vanished meanwhile.
    table.launch(2).acts();
    table.input(Input::Cancel(RunId(2))).expect([]);
    table.input(Input::Created(RunId(2), Err(refused(404, "no such image"))));
    table.expect([gone(2, KILLED_BEFORE_START)]);
}

#[test]
fn a_list_older_than_a_container_says_nothing_about_it() {
    let mut table = Table::running(1);
    let before = table.now.instant - Duration::from_millis(1);
    table.input(Input::Listed(before, Vec::new())).expect([]);
    table.list([]).expect([Act::Inspect(RunId(1))]);
    let lost = "the container is gone: somebody has removed it, or the Docker engine has lost it";
    table.inspected(1, Ok(None)).expect([tell(1, Told::Lost(lost.into()))]);
}

#[test]
fn a_question_without_an_answer_is_asked_again_after_the_next_list() {
    let mut table = Table::running(1);
    table.list([]).expect([Act::Inspect(RunId(1))]);
    table.inspected(1, Err(silent("inspect"))).acts();
    table.list([]);
    let up = Act::Log(Log::EngineUp { after: Duration::from_secs(1) });
    table.expect([up, Act::Inspect(RunId(1))]);
}

#[test]
fn strays_are_removed() {
    let mut table = Table::running(1);
    table
        .list([listed(1, Condition::Running), listed(8, Condition::Created)])
        .expect([Act::Log(Log::Stray { name: name(8) }), Act::Remove(name(8))]);
    // It is on its way out.
    table.list([listed(1, Condition::Running), listed(8, Condition::Created)]).expect([]);
}

#[test]
fn an_engine_that_stays_away_fails_what_waits_and_nothing_that_runs() {
    let mut table = Table::running(1);
    table.launch(2).acts();
    table.input(Input::Created(RunId(2), Err(unreachable()))).acts();
    table.launch(3).expect([]);
    let at = table.core.poll_wake().unwrap();
    assert_eq!(at, table.now.instant + PATIENCE);
    table.pass(PATIENCE.as_secs()).input(Input::Wake);
    let text = format!("Failed to run docker container: {}; it was waited for 60 s", unreachable());
    let acts = table.acts();
    assert_eq!(acts.iter().filter(|act| **act == gone(2, &text)).count(), 1, "{acts:?}");
    assert_eq!(acts.iter().filter(|act| **act == gone(3, &text)).count(), 1, "{acts:?}");
    assert!(!acts.iter().any(|act| matches!(act, Act::Tell(RunId(1), _))), "{acts:?}");
    table.list([listed(1, Condition::Running)]);
    let names = table.acts();
    assert!(names.contains(&Act::Remove(name(2))), "it may have been created: {names:?}");
}

#[test]
fn removals_are_few_at_a_time_and_given_up_in_the_end() {
    let mut table = Table::new(9);
    for run in 1..=4 {
        table.launch(run).image_is_there();
        table.input(Input::Created(RunId(run), Ok(()))).input(Input::Started(RunId(run), Ok(())));
    }
    table.acts();
    for run in 1..=4 {
        table.died(run, 0);
    }
    let asked = table.acts().into_iter().filter(|act| matches!(act, Act::Remove(_))).count();
    assert_eq!(asked, REMOVALS);
    let mut given_up = 0;
    for _ in 0..40 {
        for run in 1..=4 {
            table.input(Input::Removed(name(run), Err(refused(409, "busy"))));
        }
        given_up += table.acts().iter().filter(|act| matches!(act, Act::Log(_))).count();
    }
    assert!(given_up >= 4, "{given_up}");
}

#[test]
fn leftovers_are_all_that_may_be_there() {
    let mut table = Table::running(1);
    table.launch(2).expect([Act::Create(RunId(2))]);
    table.died(1, 0).acts();
    let mut names = table.core.into_leftovers();
    names.sort();
    assert_eq!(names, [name(1), name(2)]);
}

#[test]
fn what_the_engine_was_never_asked_for_leaves_nothing() {
    let now = Now { instant: Instant::now(), wall: WallTime(1) };
    let mut table = Table { core: Core::new(Config { places: 1, patience: PATIENCE }, now), now };
    table.launch(1).launch(2).input(Input::Cancel(RunId(2)));
    table.pass(PATIENCE.as_secs()).launch(3).acts();
    assert!(table.core.into_leftovers().is_empty());
}

#[test]
fn a_container_that_may_be_there_is_removed_when_nobody_wants_it_any_more() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there();
    table.input(Input::Created(RunId(1), Err(silent("create")))).acts();
    table.input(Input::Cancel(RunId(1)));
    table.expect([gone(1, KILLED_BEFORE_START)]);
    table.list([]);
    assert!(table.acts().contains(&Act::Remove(name(1))));
    assert_eq!(table.core.into_leftovers(), [name(1)]);
}

#[test]
fn a_description_that_cannot_be_is_told_apart() {
    let mut table = Table::new(1);
    table.launch(1).image_is_there().acts();
    let error = EngineError::Invalid { message: "no".into() };
    table.input(Input::Created(RunId(1), Err(error)));
    table.expect([tell(1, Told::Invalid("Failed to run docker container: no".into()))]);
}
