//! Whole jobs on a model of a cluster that loses, repeats and breaks things.

#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(unreachable_pub, reason = "a test")]

mod cluster;
mod executor;
mod run;

use std::{num::NonZeroU64, time::Instant};

use cluster::{Chaos, Cluster};
use executor::Fate;
use marmoset_proto::{mesos::v1::CommandInfo, resources::Millis};
use marmoset_scheduler_core::{BatchSize, EndState, Input, Items, JobSpec, StopMode};
use proptest::prelude::*;
use run::Run;

const AGENTS: [&str; 3] = [
    "cpus:8;mem:8192;ports:[8000-8100]",
    "cpus:2;mem:4096;ports:[31000-31100]",
    "cpus:3.5;mem:1024;ports:[31000-31003]",
];

fn job(count: u64, batch: BatchSize) -> JobSpec {
    let command = CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() };
    JobSpec { batch, lost_retries: 1_000_000, ..JobSpec::new("j", command, Items::Array { count }) }
}

fn fixed(items: u64) -> BatchSize {
    BatchSize::Fixed(NonZeroU64::new(items).unwrap())
}

/// Every seventh succeeds; a few are slow.
fn mixed(index: u64) -> Fate {
    let micros = match index % 97 {
        0 => 3_000_000,
        rest => 2_000 + rest * 100,
    };
    Fate { exit: (index % 7) as i32, micros }
}

fn short(_: u64) -> Fate {
    Fate { exit: 0, micros: 2_000 }
}

fn expected(index: u64) -> (EndState, Option<i32>) {
    let exit = mixed(index).exit;
    let state = if exit == 0 { EndState::Finished } else { EndState::Failed };
    (state, Some(exit << 8))
}

fn ends_as_expected(run: &Run, count: u64) {
    assert_eq!(run.ends.len() as u64, count);
    for (index, end) in &run.ends {
        assert_eq!(*end, expected(*index), "item {index}");
    }
}

fn batch() -> impl Strategy<Value = BatchSize> {
    prop_oneof![Just(BatchSize::Auto), Just(fixed(1)), (2..200_u64).prop_map(fixed)]
}

fn chaos() -> impl Strategy<Value = Chaos> {
    (
        (0..60_u64, 0..100_u64, 0..60_u64, 0..100_u64),
        prop_oneof![Just(0), 2_000_000..20_000_000_u64],
        prop_oneof![Just(0), 2_000_000..60_000_000_u64],
        prop_oneof![Just(0), 10_000_000..90_000_000_u64],
    )
        .prop_map(|(rates, kill_executor_every, drop_stream_every, lose_agent_every)| Chaos {
            lose_update: rates.0,
            repeat_update: rates.1,
            lose_call: rates.2,
            stale_offer: rates.3,
            kill_executor_every,
            drop_stream_every,
            lose_agent_every,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Whatever breaks, every item ends once, and as its command says.
    #[test]
    fn every_item_ends_once(
        batch in batch(),
        chaos in chaos(),
        count in 1..700_u64,
        cpus in prop_oneof![Just(100_u64), Just(1000), Just(1500)],
        ports in 0..2_u64,
        max_running in prop_oneof![Just(None), (1..20_u64).prop_map(NonZeroU64::new)],
        seed: u64,
    ) {
        let cluster = Cluster::new(&AGENTS, mixed, chaos, seed);
        let mut spec = JobSpec { max_running, ..job(count, batch) };
        spec.need.cpus = Millis(cpus);
        spec.need.ports = ports;
        let mut run = Run::new(cluster, spec, seed, true);
        run.until(|run| {
            assert!(max_running.is_none_or(|most| run.progress().slots <= most.get()));
            run.over
        });
        ends_as_expected(&run, count);
        run.finish();
    }

    /// Budgets are kept, and what they do not cover is told as lost.
    #[test]
    fn budgets_hold(
        batch in batch(),
        count in 1..400_u64,
        retries in 0..3_u32,
        lost_retries in 0..3_u32,
        seed: u64,
    ) {
        let chaos = Chaos { kill_executor_every: 3_000_000, lose_update: 20, ..Chaos::default() };
        let cluster = Cluster::new(&AGENTS[..2], mixed, chaos, seed);
        let spec = JobSpec { retries, lost_retries, ..job(count, batch) };
        let mut run = Run::new(cluster, spec, seed, true);
        run.until(|run| run.over);
        for (index, end) in &run.ends {
            prop_assert!(*end == expected(*index) || end.0 == EndState::Lost, "item {}: {:?}", index, end);
        }
        run.finish();
    }

    /// A job that is killed ends, and says so of every item.
    #[test]
    fn killed_jobs_end(batch in batch(), chaos in chaos(), at in 0..4_000_000_u64, seed: u64) {
        let cluster = Cluster::new(&AGENTS, mixed, chaos, seed);
        let mut run = Run::new(cluster, job(20_000, batch), seed, true);
        let at = run.cluster.now + at;
        run.until(|run| run.cluster.now >= at);
        let job = run.job;
        run.input(Input::KillJob(job));
        run.until(|run| run.over);
        prop_assert_eq!(run.total, 20_000);
        run.finish();
    }
}

#[test]
fn batch_sizes_give_the_same_outcome() {
    let outcome = |batch: BatchSize, seed: u64| {
        let chaos = Chaos {
            kill_executor_every: 4_000_000,
            lose_update: 5,
            repeat_update: 20,
            stale_offer: 20,
            ..Chaos::default()
        };
        let mut run =
            Run::new(Cluster::new(&AGENTS, mixed, chaos, seed), job(5000, batch), seed, true);
        run.until(|run| run.over);
        run.finish();
        run.ends
    };
    let ones = outcome(fixed(1), 1);
    assert_eq!(ones.len(), 5000);
    assert!(ones.iter().all(|(index, end)| *end == expected(*index)));
    assert_eq!(outcome(fixed(64), 2), ones);
    assert_eq!(outcome(BatchSize::Auto, 3), ones);
}

#[test]
fn chaos_happens() {
    let chaos = Chaos {
        lose_update: 50,
        repeat_update: 50,
        lose_call: 50,
        stale_offer: 50,
        kill_executor_every: 2_500_000,
        drop_stream_every: 5_000_000,
        lose_agent_every: 3_000_000,
    };
    let mut run =
        Run::new(Cluster::new(&AGENTS, mixed, chaos, 3), job(30_000, BatchSize::Auto), 3, true);
    run.until(|run| run.over);
    run.finish();
    let (counters, progress) = (run.core.counters(), run.progress());
    println!("{counters:?} {progress:?}");
    assert!(counters.subscriptions > 1);
    assert!(counters.duplicates > 0);
    assert!(counters.unknown > 0);
    assert!(counters.kills > 0);
    assert!(counters.reconciles > 0);
    assert!(counters.executors > 3);
    assert!(progress.lost_retried > 0);
    assert!(progress.returned > 0);
    assert!(progress.late > 0);
}

#[test]
fn a_million_items_cost_seconds() {
    // The books check themselves in a debug build: a tenth is enough there.
    let count = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let clock = Instant::now();
    let cluster = Cluster::new(&["cpus:64;mem:65536"; 10], short, Chaos::default(), 1);
    let mut spec = job(count, BatchSize::Auto);
    spec.need.cpus = Millis(1000);
    let mut run = Run::new(cluster, spec, 1, false);
    let began = run.cluster.now;
    run.until(|run| run.over);
    let simulated = (run.cluster.now - began) as f64 / 1e6;
    let mesos_tasks = run.cluster.launched;
    println!(
        "{count} items: {:?}, simulated {simulated:.2} s, {mesos_tasks} Mesos tasks",
        clock.elapsed()
    );
    assert_eq!(run.progress().ended.finished, count);
    // 630 slots, 2 ms each, if nothing ever waited.
    let least = count as f64 * 0.002 / 630.0;
    assert!(simulated < 1.3 * least + 0.5, "agents idle: {simulated} s instead of {least}");
    assert!(mesos_tasks < 1000, "{mesos_tasks} Mesos tasks");
}

#[test]
fn slow_batches_give_back() {
    // Ten items take 20 s each and lie together; the others take 1 ms.
    fn script(index: u64) -> Fate {
        let slow = (500..510).contains(&index);
        Fate { exit: 0, micros: if slow { 20_000_000 } else { 1_000 } }
    }
    let cluster = Cluster::new(&["cpus:4;mem:4096"; 2], script, Chaos::default(), 5);
    let mut spec = job(2000, fixed(1000));
    spec.need.cpus = Millis(1000);
    let mut run = Run::new(cluster, spec, 5, true);
    let began = run.cluster.now;
    run.until(|run| run.over);
    let seconds = (run.cluster.now - began) as f64 / 1e6;
    assert!(run.core.counters().take_backs > 0);
    assert!(run.progress().returned > 0);
    // By themselves the ten would take their batch's four slots 60 s.
    assert!(seconds < 50.0, "{seconds} s");
    run.finish();
}

#[test]
fn a_graceful_stop_kills_and_tears_down() {
    let cluster = Cluster::new(&AGENTS, mixed, Chaos::default(), 9);
    let mut run = Run::new(cluster, job(100_000, BatchSize::Auto), 9, true);
    let at = run.cluster.now + 2_000_000;
    run.until(|run| run.cluster.now >= at);
    run.input(Input::Stop(StopMode::Graceful));
    run.until(|run| run.finished);
    assert!(run.over);
    assert_eq!(run.total, 100_000);
    assert!(run.progress().ended.killed > 0);
    run.until(|run| run.cluster.torn_down);
}

#[test]
fn a_huge_job_costs_little_until_it_runs() {
    let cluster = Cluster::new(&[], short, Chaos::default(), 2);
    let clock = Instant::now();
    let mut run = Run::new(cluster, job(1 << 50, BatchSize::Auto), 2, false);
    let job = run.job;
    run.input(Input::KillJob(job));
    assert!(run.over);
    assert_eq!(run.progress().ended.killed, 1 << 50);
    assert!(clock.elapsed().as_secs() < 5);
}
