//! Random answers against a loop of a few lines.

use std::{collections::VecDeque, time::Duration};

use marmoset_proto::mesos::v1::check_info;
use proptest::prelude::*;

use super::{
    spec::{GeneralSpec, HealthSpec, Pace},
    tests::{exited, nothing, spawn, task},
    *,
};
use crate::action::Attempt;

/// What a probe comes to, and after how many milliseconds.
#[derive(Debug, Clone, Copy)]
struct Try {
    takes: u64,
    /// An exit code; nothing if there is no answer.
    code: Option<i32>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    delay: u64,
    interval: u64,
    timeout: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    at: u64,
    kind: Kind,
    finding: Finding,
    healthy: Option<bool>,
    code: Option<Option<i32>>,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let code = prop_oneof![4 => Just(Some(0)), 3 => Just(Some(1)), 1 => Just(None)];
    let one = (0_u64..60, code).prop_map(|(takes, code)| Try { takes, code });
    proptest::collection::vec(one, 0..20)
}

fn times() -> impl Strategy<Value = Times> {
    (0_u64..40, 0_u64..40, proptest::option::of(1_u64..50))
        .prop_map(|(delay, interval, timeout)| Times { delay, interval, timeout })
}

/// The end of each probe, and what it came to.
fn ends(times: Times, tries: &[Try]) -> Vec<(u64, Option<i32>)> {
    let mut at = times.delay;
    tries
        .iter()
        .map(|one| {
            let (takes, code) = match times.timeout {
                Some(timeout) if one.takes >= timeout => (timeout, None),
                Some(_) | None => (one.takes, one.code),
            };
            let end = (at + takes, code);
            at = end.0 + times.interval;
            end
        })
        .collect()
}

/// What is to be told, from the rules as they are written down.
fn expected(health: &[(u64, Option<i32>)], grace: u64, limit: u32) -> Vec<(u64, Finding)> {
    let (mut told, mut failures, mut ever) = (Vec::new(), 0, false);
    for &(at, code) in health {
        if code == Some(0) {
            if !ever || failures > 0 {
                told.push((at, Finding::Healthy));
            }
            (ever, failures) = (true, 0);
        } else if ever || at >= grace {
            failures += 1;
            told.push((at, Finding::Unhealthy { kill: failures >= limit }));
            if failures >= limit {
                break;
            }
        }
    }
    told
}

fn changes(general: &[(u64, Option<i32>)]) -> Vec<(u64, Option<i32>)> {
    let mut last = None;
    let mut told = Vec::new();
    for &(at, code) in general {
        if code != last {
            told.push((at, code));
        }
        last = code;
    }
    told
}

fn pace(times: Times) -> Pace {
    let ms = Duration::from_millis;
    Pace { delay: ms(times.delay), interval: ms(times.interval), timeout: times.timeout.map(ms) }
}

/// Plays the tries until the health check ends the task, or there are no more.
fn play(specs: &CheckSpecs, mut tries: BTreeMap<Kind, VecDeque<Try>>) -> Vec<Told> {
    let (mut checks, mut actions) = (Checks::default(), VecDeque::new());
    let start = Instant::now();
    checks.add(&task(), specs);
    checks.prepare(&task(), &spawn());
    checks.start(start, &task(), None);
    let mut told = Vec::new();
    // Answers to come, the next one first.
    let mut coming = BTreeSet::<(u64, ProbeId)>::new();
    let mut answers = BTreeMap::<ProbeId, Answer>::new();
    loop {
        let wake = checks.wake_at().map(|at| (at - start).as_millis() as u64);
        let answer = coming.first().copied();
        let (at, found) = match (wake, answer) {
            (None, None) => break,
            (Some(wake), answer) if answer.is_none_or(|(at, _)| wake <= at) => {
                let now = start + Duration::from_millis(wake);
                (wake, checks.wake(now, &mut actions))
            }
            (_, Some((at, probe))) => {
                coming.remove(&(at, probe));
                let now = start + Duration::from_millis(at);
                let found = checks.handle(now, probe, &answers[&probe], &mut actions);
                (at, found.into_iter().collect())
            }
            (Some(_), None) => unreachable!(),
        };
        for (_, finding) in found {
            let known = checks.known(&task());
            let kind = match finding {
                Finding::Healthy | Finding::Unhealthy { .. } => Kind::Health,
                Finding::Changed => Kind::General,
            };
            let code = known.check_status.map(|status| status.command.unwrap().exit_code);
            told.push(Told { at, kind, finding, healthy: known.healthy, code });
            if finding == (Finding::Unhealthy { kill: true }) {
                checks.stop(&task(), &mut actions);
            }
        }
        let mut over = false;
        for action in actions.drain(..) {
            match action {
                Action::Probe(probe) => {
                    // Abandoned in the same moment.
                    let Some((_, kind)) = checks.probes.get(&probe.id) else { continue };
                    match tries.get_mut(kind).and_then(VecDeque::pop_front) {
                        Some(one) => {
                            let answer = one.code.map_or_else(nothing, exited);
                            answers.insert(probe.id, answer);
                            coming.insert((at + one.takes, probe.id));
                        }
                        None => over = true,
                    }
                }
                Action::Abandon(probe) => coming.retain(|(_, id)| *id != probe),
                Action::Note(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(checks.probes.len() <= 2, "one of each at a time");
        if over {
            break;
        }
    }
    told
}

proptest! {
    #[test]
    fn a_health_check_tells_what_the_rules_say(
        times in times(), tries in tries(), grace in 0_u64..200, limit in 1_u32..5,
    ) {
        let health = HealthSpec {
            attempt: Arc::new(Attempt::Tcp("127.0.0.1:1".parse().unwrap())),
            pace: pace(times),
            grace: Duration::from_millis(grace),
            consecutive_failures: limit,
        };
        let specs = CheckSpecs { health: Some(health), general: None };
        let told = play(&specs, [(Kind::Health, tries.clone().into())].into());
        for told in &told {
            prop_assert_eq!(told.healthy, Some(told.finding == Finding::Healthy));
        }
        let told = told.into_iter().map(|told| (told.at, told.finding)).collect::<Vec<_>>();
        prop_assert_eq!(told, expected(&ends(times, &tries), grace, limit));
    }

    #[test]
    fn a_check_tells_every_change(times in times(), tries in tries()) {
        let general = GeneralSpec {
            attempt: Arc::new(Attempt::Tcp("127.0.0.1:1".parse().unwrap())),
            pace: pace(times),
            kind: check_info::Type::Command,
        };
        let specs = CheckSpecs { health: None, general: Some(general) };
        let told = play(&specs, [(Kind::General, tries.clone().into())].into());
        let told = told.into_iter().map(|told| (told.at, told.code.unwrap())).collect::<Vec<_>>();
        prop_assert_eq!(told, changes(&ends(times, &tries)));
    }

    #[test]
    fn both_go_their_own_way(
        times in (times(), times()), tries in (tries(), tries()), limit in 1_u32..5,
    ) {
        let attempt = Arc::new(Attempt::Tcp("127.0.0.1:1".parse().unwrap()));
        let health = HealthSpec {
            attempt: attempt.clone(),
            pace: pace(times.0),
            grace: Duration::ZERO,
            consecutive_failures: limit,
        };
        let kind = check_info::Type::Command;
        let general = GeneralSpec { attempt, pace: pace(times.1), kind };
        let specs = CheckSpecs { health: Some(health), general: Some(general) };
        let plays = [(Kind::Health, tries.0.clone().into()), (Kind::General, tries.1.clone().into())];
        let told = play(&specs, plays.into());
        // What was told of one is the beginning of what is told without the other.
        let judged = told.iter().filter(|told| told.kind == Kind::Health);
        let judged = judged.map(|told| (told.at, told.finding)).collect::<Vec<_>>();
        let alone = expected(&ends(times.0, &tries.0), 0, limit);
        prop_assert!(alone.starts_with(&judged), "{judged:?} {alone:?}");
        let changed = told.iter().filter(|told| told.kind == Kind::General);
        let changed = changed.map(|told| (told.at, told.code.unwrap())).collect::<Vec<_>>();
        let alone = changes(&ends(times.1, &tries.1));
        prop_assert!(alone.starts_with(&changed), "{changed:?} {alone:?}");
        // Nothing follows the kill.
        let kill = told.iter().position(|told| told.finding == (Finding::Unhealthy { kill: true }));
        prop_assert!(kill.is_none_or(|at| at == told.len() - 1 || told[at].at == told.last().unwrap().at));
    }
}
