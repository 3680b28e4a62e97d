//! Timelines of whole scenes.

use std::time::Duration;

use marmoset_proto::mesos::v1::{TaskState, task_status::Reason};
use marmoset_scheduler_core::SessionInput;

use crate::env::{Env, Update, job};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_small_job() {
    let mut env = Env::new();
    env.notices = true;
    env.submit(job(6, 0));
    env.subscribe();
    env.offer("O1", "S0", "cpus:2.1;mem:1024;ports:[8000-8100]");
    env.advance(SECOND / 100);
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u0"));
    env.advance(SECOND / 100);
    env.update(Update::new("j.b0", TaskState::TaskFinished, "u1").results(&[(0, 0), (1, 1)]));
    env.update(Update::new("j.b1", TaskState::TaskFinished, "u2").results(&[(2, 0), (3, 0)]));
    env.advance(SECOND / 10);
    env.offers(&[("O2", "S0", "cpus:2;mem:900;ports:[8000-8100]", &["marmoset"])]);
    env.advance(SECOND / 100);
    env.update(Update::new("j.4", TaskState::TaskFinished, "u3").results(&[(4, 0)]));
    env.update(Update::new("j.5", TaskState::TaskFinished, "u4").results(&[(5, 0)]));
    env.advance(3 * SECOND);
    insta::assert_snapshot!(env.timeline());
}

#[test]
fn an_executor_dies_while_the_stream_is_down() {
    let mut env = Env::new();
    env.submit(job(40, 20));
    env.subscribe();
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u0").results(&[(0, 0)]));
    env.advance(SECOND);
    env.session(SessionInput::Disconnected { why: "end of stream".to_owned() });
    env.advance(SECOND);
    env.subscribe();
    for (task, uuid) in [("j.b0", "u1"), ("j.b1", "u2")] {
        env.update(
            Update::agent(task, TaskState::TaskFailed, uuid, Reason::ExecutorTerminated)
                .message("Executor terminated"),
        );
    }
    env.advance(SECOND);
    env.offer("O2", "S0", "cpus:2.1;mem:1024");
    let timeline = env.timeline();
    let lines = timeline.lines().filter(|line| !line.contains("retry"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
