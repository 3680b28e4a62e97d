//! What is launched where, and what is declined.

use std::{sync::Arc, time::Duration};

use marmoset_proto::{
    mesos::v1::{TaskState, task_status::Reason},
    resources::{Millis, Resources},
};
use marmoset_scheduler_core::{
    CallFailure, Candidate, Demand, Grant, Input, Items, JobSpec, SessionInput,
};

use crate::env::{Env, Update, config, job};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_mesos_task_for_each_item() {
    let mut env = Env::running(job(5, 1));
    env.offer("O1", "S0", "cpus:4;mem:4096");
    env.expect(&[
        "ACCEPT O1 refuse 5: j.0(0 cpus:1 marmoset), j.1(1 cpus:1 marmoset), j.2(2 cpus:1 marmoset)",
    ]);
    let accept = env.last_accept().accept.unwrap();
    let tasks = &accept.operations[0].launch.as_ref().unwrap().task_infos;
    assert_eq!(tasks[0].executor, tasks[2].executor);
    let own = Resources::from_proto(&tasks[0].executor.as_ref().unwrap().resources).unwrap();
    assert_eq!(own.to_string(), "cpus(allocated: *):0.1; mem(allocated: *):64");
}

#[test]
fn fixed_batches() {
    let mut env = Env::running(job(100, 10));
    env.offer("O1", "S0", "cpus:8.1;mem:4096");
    env.expect(&[
        "ACCEPT O1 refuse 5: j.b0(0-9 x2 cpus:2 marmoset), j.b1(10-19 x2 cpus:2 marmoset), j.b2(20-29 x2 cpus:2 marmoset), j.b3(30-39 x2 cpus:2 marmoset)",
    ]);
}

#[test]
fn the_executor_is_charged_once() {
    let mut env = Env::running(job(9, 1));
    env.offer("O1", "S0", "cpus:1.1;mem:4096");
    env.expect(&["ACCEPT O1 refuse 5: j.0(0 cpus:1 marmoset)"]);
    env.offers(&[("O2", "S0", "cpus:2;mem:4096", &["marmoset"])]);
    env.expect(&["ACCEPT O2 refuse 5: j.1(1 cpus:1 marmoset), j.2(2 cpus:1 marmoset)"]);
    // An offer that does not know of the executor may be older than it.
    env.offer("O3", "S0", "cpus:2;mem:4096");
    env.expect(&["ACCEPT O3 refuse 5: j.3(3 cpus:1 marmoset)"]);
}

#[test]
fn offers_of_one_agent_are_used_together() {
    let mut env = Env::running(job(2, 2));
    env.offers(&[("O1", "S0", "cpus:1.1;mem:64", &[]), ("O2", "S0", "cpus:1;mem:1024", &[])]);
    env.expect(&["ACCEPT O1 O2 refuse 600: j.b0(0-1 x2 cpus:2 marmoset)"]);
}

#[test]
fn an_executor_of_an_earlier_life_is_left_alone() {
    let mut env = Env::running(job(1, 1));
    env.offers(&[("O1", "S0", "cpus:2;mem:1024", &["marmoset"])]);
    env.expect(&["ACCEPT O1 refuse 600: j.0(0 cpus:1 marmoset-2)"]);
}

#[test]
fn what_is_reserved_goes_first() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2;mem:1024;cpus(*):1");
    env.drain();
    let mut env = Env::running(job(1, 1));
    env.offers(&[("O1", "S0", "cpus(ads):1;cpus:1;mem:1024", &[])]);
    env.drain();
    let accept = env.last_accept().accept.unwrap();
    let task = &accept.operations[0].launch.as_ref().unwrap().task_infos[0];
    let used = Resources::from_proto(&task.resources).unwrap();
    assert_eq!(used.cpus(), Some(Millis(1000)));
    assert!(task.resources.len() == 3, "two entries of cpus, one of mem: {used}");
}

#[test]
fn nothing_to_do() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.drain();
    env.offer("O2", "S1", "cpus:2;mem:1024");
    env.expect(&["DECLINE O2 refuse 600"]);
    env.advance(2 * SECOND);
    env.expect(&["SUPPRESS"]);
    env.update(
        Update::agent("j.0", TaskState::TaskFailed, "u", Reason::ExecutorTerminated)
            .message("Executor terminated"),
    );
    env.expect(&["retry 0.0 Lost: Executor terminated", "ACKNOWLEDGE j.0 u", "REVIVE"]);
    // The executor never ran anything to its end: its agent has a pause.
    env.offer("O3", "S0", "cpus:2;mem:1024");
    env.expect(&["DECLINE O3 refuse 1"]);
    env.advance(SECOND);
    env.offer("O4", "S0", "cpus:2;mem:1024");
    env.expect(&["ACCEPT O4 refuse 600: j.0.r1(0r1 cpus:1 marmoset-2)"]);
}

#[test]
fn waiting_is_told() {
    let mut env = Env::new();
    env.submit(job(1, 1));
    env.session(SessionInput::Connected);
    env.drain();
    env.advance(11 * SECOND);
    env.expect(&["waiting 10s: not connected to a master"]);
    env.subscribed("F");
    env.drain();
    env.advance(10 * SECOND);
    env.expect(&["waiting 20s: connected to the master, but no agent has offered anything"]);
    env.offer("O1", "S0", "cpus:0.5;mem:1024;ports:[8000-8003]");
    env.offer("O2", "S1", "cpus:0.01;mem:10");
    env.expect(&["DECLINE O1 refuse 5", "DECLINE O2 refuse 5"]);
    env.advance(20 * SECOND);
    env.expect(&[
        "waiting 40s: offers are too small: a task asks for cpus:1; mem:16 and the executor for cpus:0.1; mem:64, S0.example offered cpus:0.5; mem:1024; ports:[8000-8003]",
    ]);
}

#[test]
fn waiting_for_executors_that_fail() {
    let mut env = Env::running(job(1, 1));
    for round in 0..4 {
        env.offer("O1", "S0", "cpus:2;mem:1024");
        let id = if round == 0 { "j.0".to_owned() } else { format!("j.0.r{round}") };
        env.update(
            Update::agent(
                &id,
                TaskState::TaskFailed,
                &round.to_string(),
                Reason::ContainerLaunchFailed,
            )
            .message("Failed to launch container: no such file"),
        );
        env.advance(Duration::from_secs(1 << round));
    }
    let lines = env.drain();
    let spent = "ended 0.3 lost: Failed to launch container: no such file".to_owned();
    assert!(lines.contains(&spent), "the budget of three is spent: {lines:?}");

    let mut spec = job(1, 1);
    spec.lost_retries = 100;
    let mut env = Env::running(spec);
    for round in 0..5 {
        env.offer("O1", "S0", "cpus:2;mem:1024");
        let id = if round == 0 { "j.0".to_owned() } else { format!("j.0.r{round}") };
        env.update(
            Update::agent(
                &id,
                TaskState::TaskFailed,
                &round.to_string(),
                Reason::ContainerLaunchFailed,
            )
            .message("Failed to launch container: no such file"),
        );
        if round < 4 {
            env.advance(Duration::from_secs(1 << round));
        }
    }
    env.drain();
    env.advance(11 * SECOND);
    env.expect(&[
        "waiting 10s: the executor on S0.example keeps ending: Failed to launch container: no such file",
    ]);
}

#[test]
fn max_running_is_a_limit() {
    let mut spec = job(10, 1);
    spec.max_running = std::num::NonZeroU64::new(2);
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:8;mem:1024");
    env.expect(&["ACCEPT O1 refuse 600: j.0(0 cpus:1 marmoset), j.1(1 cpus:1 marmoset)"]);
    env.update(Update::new("j.0", TaskState::TaskFinished, "u").results(&[(0, 0)]));
    env.expect(&[
        "ended 0.0 finished: Command exited with status 0",
        "ACKNOWLEDGE j.0 u",
        "REVIVE",
    ]);
    env.offers(&[("O2", "S0", "cpus:6;mem:1024", &["marmoset"])]);
    env.expect(&["ACCEPT O2 refuse 600: j.2(2 cpus:1 marmoset)"]);
}

#[test]
fn lines_travel_with_their_items() {
    let lines: Arc<[String]> = ["a", "b c", "{}"].map(str::to_owned).into();
    let spec = JobSpec { items: Items::Lines(lines), ..job(0, 2) };
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:8;mem:1024");
    env.expect(&[
        "ACCEPT O1 refuse 600: j.b0(0=a 1=b c x2 cpus:2 marmoset), j.2(2={} cpus:1 marmoset)",
    ]);
}

#[test]
fn long_lines_make_small_batches() {
    let lines: Arc<[String]> = (0..4).map(|_| "x".repeat(200 * 1024)).collect();
    let spec = JobSpec { items: Items::Lines(lines), ..job(0, 100) };
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:8;mem:1024");
    let accept = env.last_accept_after_drain();
    let tasks = &accept.operations[0].launch.as_ref().unwrap().task_infos;
    assert!(tasks.iter().all(|task| task.data.as_ref().unwrap().len() < 600 * 1024));
}

#[test]
fn ports_are_part_of_the_need() {
    let mut spec = job(10, 4);
    spec.need.ports = 2;
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:8;mem:1024;ports:[8000-8005]");
    env.expect(&[
        "ACCEPT O1 refuse 600: j.b0(0-3 x1 cpus:1 marmoset), j.b1(4-7 x1 cpus:1 marmoset), j.b2(8-9 x1 cpus:1 marmoset)",
    ]);
}

#[test]
fn a_placement_can_be_replaced() {
    let picky = |candidates: &[Candidate<'_>], demands: &[Demand<'_>]| {
        let wanted = demands[0].wanted;
        let mut grants = vec![Grant { candidate: 99, demand: 0, slots: 1 }];
        for (candidate, agent) in candidates.iter().enumerate() {
            if agent.hostname == "S1.example" {
                grants.push(Grant { candidate, demand: 0, slots: wanted + 1000 });
            }
        }
        grants
    };
    let mut env = Env::with(config());
    let fresh = Env::with(config()).core.with_placement(Box::new(picky));
    env.core = fresh;
    env.submit(job(3, 1));
    env.subscribe();
    env.drain();
    env.offers(&[("O1", "S0", "cpus:8;mem:1024", &[]), ("O2", "S1", "cpus:2.1;mem:1024", &[])]);
    env.expect(&[
        "DECLINE O1 refuse 5",
        "ACCEPT O2 refuse 5: j.0(0 cpus:1 marmoset), j.1(1 cpus:1 marmoset)",
    ]);
}

#[test]
fn an_accept_that_is_refused_is_not_repeated() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.drain();
    let call = Box::new(env.last_accept());
    let why = CallFailure::Refused { why: "400 Bad Request".to_owned() };
    env.input(Input::CallFailed { call, why });
    env.expect(&[
        "ended 0.0 error: the master refused the ACCEPT: 400 Bad Request",
        "DECLINE O1 refuse 5",
        "job ended",
    ]);
}

#[test]
fn an_accept_that_was_void_costs_nothing() {
    let mut spec = job(1, 1);
    spec.lost_retries = 0;
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.drain();
    let call = Box::new(env.last_accept());
    let why = CallFailure::NotSubscribed { why: "503".to_owned() };
    env.input(Input::CallFailed { call, why });
    env.expect(&["retry 0.0 NotStarted: 503", "disconnect: 503", "unsubscribed: 503"]);
}
