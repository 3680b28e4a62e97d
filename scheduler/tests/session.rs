//! Sessions and frameworks against a scripted fake master.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use marmoset_proto::mesos::v1::{
    Offer, TaskInfo, TaskState, TaskStatus,
    scheduler::{call, event},
};
use marmoset_scheduler::{
    CancellationToken, ConnectionConfig, Driver, Framework, Identity, Session, SessionConfig,
    SessionError, SessionEvent, Timing, drive,
};
use support::{FakeMaster, Refusal, launched, of, status};

fn config(master: &FakeMaster) -> SessionConfig {
    at([master.host_and_port()])
}

fn at<const N: usize>(masters: [String; N]) -> SessionConfig {
    SessionConfig {
        timing: Timing {
            connect_backoff: Duration::from_millis(5),
            connect_backoff_max: Duration::from_millis(20),
            patience: Some(Duration::from_millis(300)),
            ..Timing::default()
        },
        ..SessionConfig::new(ConnectionConfig::new(masters.into()), Identity::new("test", "nobody"))
    }
}

async fn subscribed(session: &mut Session) -> String {
    loop {
        match session.next().await.unwrap() {
            SessionEvent::Subscribed { framework_id, .. } => return framework_id.to_string(),
            SessionEvent::Unsubscribed { .. } | SessionEvent::Removed => {}
            SessionEvent::Event(event) => panic!("{event:?}"),
        }
    }
}

async fn failure(session: &mut Session) -> SessionError {
    loop {
        match session.next().await {
            Ok(SessionEvent::Unsubscribed { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn subscribes_and_takes_up_its_id_after_the_stream_broke() {
    let mut master = FakeMaster::start().await;
    let mut session = Session::start(config(&master)).unwrap();
    let (first, id) = tokio::join!(master.subscribed("f-1"), subscribed(&mut session));
    assert_eq!((first.framework_id, id.as_str()), (None, "f-1"));
    master.send(of(event::Type::Heartbeat));
    master.cut();
    let (again, id) = tokio::join!(master.subscribed("f-1"), subscribed(&mut session));
    assert_eq!((again.framework_id, id.as_str()), (Some("f-1".into()), "f-1"));
    assert_eq!(again.subscribe.unwrap().framework_info.id, Some("f-1".into()));
    session.teardown().await;
    let (teardown, headers) = master.expect_with_headers(call::Type::Teardown).await;
    assert_eq!(teardown.framework_id, Some("f-1".into()));
    assert_eq!(headers.get("mesos-stream-id").unwrap(), "a-stream");
}

#[tokio::test]
async fn follows_the_leader_and_remembers_it() {
    let mut follower = FakeMaster::start().await;
    let mut leader = FakeMaster::start().await;
    follower.refuse(Refusal::Redirect(leader.address)).await;
    let mut session = Session::start(config(&follower)).unwrap();
    tokio::join!(leader.subscribed("f"), subscribed(&mut session));
    follower.expect(call::Type::Subscribe).await;
    leader.cut();
    tokio::join!(leader.subscribed("f"), subscribed(&mut session));
    follower.assert_quiet();
}

#[tokio::test]
async fn tries_each_master_that_was_named() {
    let gone = unused().await.to_string();
    let busy = FakeMaster::start().await;
    busy.refuse(Refusal::Status(503, "text/plain", "No leader elected")).await;
    let mut good = FakeMaster::start().await;
    let mut session =
        Session::start(at([gone, busy.host_and_port(), good.host_and_port()])).unwrap();
    tokio::join!(good.subscribed("f"), subscribed(&mut session));
}

/// An address where nobody listens.
async fn unused() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn errors_have_their_kinds() {
    let master = FakeMaster::start().await;
    let mut session = Session::start(config(&master)).unwrap();

    master.refuse(Refusal::Status(401, "text/plain", "401 Unauthorized.")).await;
    let error = failure(&mut session).await;
    assert!(matches!(error, SessionError::Unauthorized { .. }), "{error:?}");

    master.refuse(Refusal::Status(404, "text/html", "<html>")).await;
    let mut session = Session::start(config(&master)).unwrap();
    let error = failure(&mut session).await;
    assert!(matches!(error, SessionError::NotAMaster { .. }), "{error:?}");
    assert!(error.to_string().contains("is not a Mesos master"), "{error}");

    master.refuse(Refusal::Status(503, "text/plain", "No leader elected")).await;
    let mut session = Session::start(config(&master)).unwrap();
    let error = failure(&mut session).await;
    assert!(matches!(error, SessionError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("No leader elected"), "{error}");

    let nobody = unused().await.to_string();
    let mut session = Session::start(at([nobody.clone()])).unwrap();
    let error = failure(&mut session).await;
    assert!(matches!(error, SessionError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&nobody), "{error}");
}

#[tokio::test]
async fn a_refused_framework_is_told_in_the_masters_words() {
    let mut master = FakeMaster::start().await;
    let mut session = Session::start(config(&master)).unwrap();
    let script = async {
        master.expect(call::Type::Subscribe).await;
        master.error("Not authorized to use role 'x'");
        master.cut();
    };
    let ((), error) = tokio::join!(script, failure(&mut session));
    let SessionError::Refused { message } = error else { panic!("{error:?}") };
    assert_eq!(message, "Not authorized to use role 'x'");
}

#[tokio::test]
async fn another_scheduler_with_the_same_id_ends_the_session() {
    let mut master = FakeMaster::start().await;
    let mut session = Session::start(config(&master)).unwrap();
    tokio::join!(master.subscribed("f"), subscribed(&mut session));
    master.error("Framework failed over");
    let error = failure(&mut session).await;
    assert!(matches!(error, SessionError::TakenOver), "{error:?}");
}

#[tokio::test]
async fn a_removed_framework_becomes_a_new_one() {
    let mut master = FakeMaster::start().await;
    let mut session = Session::start(config(&master)).unwrap();
    tokio::join!(master.subscribed("f-1"), subscribed(&mut session));
    master.cut();
    let script = async {
        master.expect(call::Type::Subscribe).await;
        master.error("Framework has been removed");
        master.cut();
        let call = master.subscribed("f-2").await;
        assert_eq!(call.framework_id, None);
    };
    let ((), id) = tokio::join!(script, subscribed(&mut session));
    assert_eq!(id, "f-2");
}

/// Launches one task with the first offer, declines the others, and ends with the task.
#[derive(Default)]
struct OneTask {
    seen: Vec<TaskState>,
}

impl Framework for OneTask {
    fn offers(&mut self, offers: Vec<Offer>, driver: &mut Driver) {
        for offer in offers {
            if offer.id.as_str() == "o-1" {
                let task = TaskInfo {
                    name: "one".to_owned(),
                    task_id: "0".into(),
                    agent_id: offer.agent_id.clone(),
                    resources: offer.resources.clone(),
                    ..TaskInfo::default()
                };
                driver.launch(&offer, vec![task]);
            } else {
                driver.decline(&offer);
            }
        }
    }

    fn update(&mut self, status: &TaskStatus, driver: &mut Driver) {
        self.seen.push(status.state());
        if status.state().is_terminal() {
            driver.finish();
        }
    }
}

#[tokio::test]
async fn a_framework_of_ones_own() {
    let mut master = FakeMaster::start().await;
    let config = config(&master);
    let mut framework = OneTask::default();
    let script = async {
        master.subscribed("f").await;
        master.offer(master.an_offer("o-1", "f", "cpus:4;mem:6686;ports:[8000-8100]"));
        let accept = master.expect(call::Type::Accept).await;
        let [task] = &launched(&accept)[..] else { panic!("{accept:?}") };
        master.offer(master.an_offer("o-2", "f", "cpus:1"));
        let decline = master.expect(call::Type::Decline).await;
        assert_eq!(decline.decline.unwrap().offer_ids, ["o-2".into()]);
        master.update(status(task, TaskState::TaskStarting, None));
        master.update(status(task, TaskState::TaskRunning, Some(1)));
        let acknowledge = master.expect(call::Type::Acknowledge).await.acknowledge.unwrap();
        assert_eq!((acknowledge.task_id, &acknowledge.uuid[..]), ("0".into(), &[1; 16][..]));
        master.update(status(task, TaskState::TaskFinished, Some(2)));
        master.expect(call::Type::Acknowledge).await;
        master.expect(call::Type::Teardown).await;
    };
    let (outcome, ()) =
        tokio::join!(drive(config, &mut framework, CancellationToken::new()), script);
    outcome.unwrap();
    let states = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished];
    assert_eq!(framework.seen, states);
}

#[tokio::test]
async fn a_framework_that_is_stopped_is_torn_down() {
    let mut master = FakeMaster::start().await;
    let stop = CancellationToken::new();
    let config = config(&master);
    let mut framework = OneTask::default();
    let script = async {
        master.subscribed("f").await;
        master.offer(master.an_offer("o-9", "f", "cpus:1"));
        master.expect(call::Type::Decline).await;
        stop.cancel();
        master.expect(call::Type::Teardown).await;
    };
    let (outcome, ()) = tokio::join!(drive(config, &mut framework, stop.clone()), script);
    outcome.unwrap();
}
