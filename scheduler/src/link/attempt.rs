//! The task of one attempt: find a master, then move events and calls until the stream ends.
//!
//! Owns both connections. Events and calls do not wait for each other.

use marmoset_http::{CallError, Calls, Client, SCHEDULER_PATH, StreamError, Subscription};
use marmoset_proto::mesos::v1::scheduler::{Call, Event};
use marmoset_scheduler_core::{CallFailure, ConnectFailure};
use tokio::sync::mpsc;

use super::{Report, masters::Masters};
use crate::error::{SessionError, chain};

/// Redirects that are followed in one round: masters may point at one another for a moment.
const REDIRECTS: u32 = 4;

/// Runs from SUBSCRIBE to the end of its stream, or until `calls` is closed and empty.
pub(super) async fn run(
    client: Client,
    masters: Masters,
    call: Call,
    calls: mpsc::UnboundedReceiver<Box<Call>>,
    reports: mpsc::Sender<Report>,
) {
    let mut subscription = match subscribe(&client, &masters, &call).await {
        Ok(subscription) => subscription,
        Err(failed) => {
            // Nobody listens any more if the attempt was given up meanwhile.
            let _ = reports.send(failed).await;
            return;
        }
    };
    let master = subscription.endpoint().clone();
    if reports.send(Report::Connected { master }).await.is_err() {
        return;
    }
    let line = subscription.calls();
    tokio::select! {
        () = read(&mut subscription, &reports) => {}
        () = write(&line, calls, &reports) => {}
    }
}

/// Asks each master once.
async fn subscribe(
    client: &Client,
    masters: &Masters,
    call: &Call,
) -> Result<Subscription<Event>, Report> {
    let mut round = masters.round();
    let mut redirects = REDIRECTS;
    let mut fatal = None;
    let mut hopes = Vec::new();
    while let Some(endpoint) = round.pop_front() {
        match client.subscribe(&endpoint, SCHEDULER_PATH, call).await {
            Ok(subscription) => return Ok(subscription),
            Err(error) if error.is_fatal() => {
                fatal.get_or_insert(error);
            }
            Err(error) => {
                hopes.push(chain(&error));
                if let Some(leader) = error.leader()
                    && redirects > 0
                {
                    redirects -= 1;
                    round.retain(|other| other != leader);
                    round.push_front(leader.clone());
                }
            }
        }
    }
    // One master that may answer later is reason enough to try again.
    Err(match fatal {
        Some(error) if hopes.is_empty() => Report::ConnectFailed {
            failure: ConnectFailure::Fatal { why: chain(&error) },
            error: Some(SessionError::of_subscription(error)),
        },
        Some(_) | None => {
            let why = hopes.join("; ");
            Report::ConnectFailed { failure: ConnectFailure::Unavailable { why }, error: None }
        }
    })
}

/// Reports events until there are no more.
async fn read(subscription: &mut Subscription<Event>, reports: &mpsc::Sender<Report>) {
    loop {
        let report = match subscription.next().await {
            Ok(Some(event)) => Report::Event(Box::new(event)),
            Ok(None) => Report::Disconnected { why: "the master ended the stream".to_owned() },
            Err(error @ StreamError::Decode { .. }) => {
                tracing::warn!(error = %chain(&error), "an event is skipped");
                continue;
            }
            Err(error) => Report::Disconnected { why: chain(&error) },
        };
        let is_over = matches!(report, Report::Disconnected { .. });
        if reports.send(report).await.is_err() || is_over {
            return;
        }
    }
}

/// Sends calls, each after the answer to the one before.
async fn write(
    line: &Calls,
    mut calls: mpsc::UnboundedReceiver<Box<Call>>,
    reports: &mpsc::Sender<Report>,
) {
    while let Some(call) = calls.recv().await {
        let Err(error) = line.send(&*call).await else { continue };
        let why = failure(&error);
        let goes_on = matches!(why, CallFailure::Refused { .. });
        let leader = error.leader().cloned();
        if reports.send(Report::CallFailed { call, why, leader }).await.is_err() || !goes_on {
            return;
        }
    }
}

fn failure(error: &CallError) -> CallFailure {
    let why = chain(error);
    let forgotten = why.contains("Framework cannot be found");
    if !error.was_not_executed() {
        CallFailure::Broken { why }
    } else if error.is_fatal() && !forgotten {
        CallFailure::Refused { why }
    } else {
        CallFailure::NotSubscribed { why }
    }
}
