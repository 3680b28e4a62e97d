//! An executor that runs nothing: it answers each task at once with TASK_FINISHED.
//!
//! Owns one subscription, to its end. What a control plane can carry is measured with it, so it does
//! no more than the protocol asks for: one update for each task, and none is sent again. Entered
//! from a hidden subcommand; `marmoset bench compare --null` starts it.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use marmoset_http::{Auth, Calls, Client, ClientConfig};
use marmoset_proto::mesos::v1::{
    TaskId, TaskState, TaskStatus,
    executor::{
        Call, Event,
        call::{self, Subscribe, Update},
        event,
    },
    task_status::Source,
};
use tokio::{runtime, sync::mpsc};

use crate::environment::Environment;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "null";

/// Answers that wait for the agent; then the stream is read no further.
const WAITING: usize = 4096;

/// Answers until the agent ends it.
pub(crate) fn main() -> ExitCode {
    let environment = match Environment::take() {
        Ok(environment) => environment,
        Err(error) => {
            eprintln!("marmoset {SUBCOMMAND}: {error}");
            return ExitCode::from(64);
        }
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(serve(environment)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("marmoset {SUBCOMMAND}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(environment: Environment) -> anyhow::Result<()> {
    let Environment { endpoint, path, token, .. } = &environment;
    let client = Client::new(ClientConfig {
        auth: token.clone().map_or(Auth::None, Auth::Bearer),
        ..ClientConfig::default()
    })?;
    let subscribe =
        Call { subscribe: Some(Subscribe::default()), ..of(&environment, call::Type::Subscribe) };
    let mut subscription =
        client.subscribe::<Call, Event>(endpoint, path, &subscribe).await.context("SUBSCRIBE")?;
    let (sender, waiting) = mpsc::channel(WAITING);
    let answers = tokio::spawn(send(subscription.calls(), waiting));
    while let Some(event) = subscription.next().await.context("the agent's events")? {
        let kind = event.r#type();
        let one = event.launch.map(|launch| launch.task);
        let group = event.launch_group.map(|launch| launch.task_group.tasks).unwrap_or_default();
        for task in one.into_iter().chain(group) {
            sender
                .send(finished(&environment, task.task_id))
                .await
                .context("the connection ended")?;
        }
        if kind == event::Type::Shutdown {
            break;
        }
    }
    drop(sender);
    answers.await.context("the answers")?
}

async fn send(calls: Calls, mut waiting: mpsc::Receiver<Call>) -> anyhow::Result<()> {
    while let Some(call) = waiting.recv().await {
        calls.send(&call).await.context("UPDATE")?;
    }
    Ok(())
}

fn of(environment: &Environment, r#type: call::Type) -> Call {
    Call {
        r#type: Some(r#type.into()),
        framework_id: environment.framework_id.clone(),
        executor_id: environment.executor_id.clone(),
        ..Call::default()
    }
}

fn finished(environment: &Environment, task: TaskId) -> Call {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let status = TaskStatus {
        task_id: task,
        state: TaskState::TaskFinished.into(),
        source: Some(Source::Executor.into()),
        executor_id: Some(environment.executor_id.clone()),
        timestamp: Some(since.as_secs_f64()),
        uuid: Some(Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes())),
        ..TaskStatus::default()
    };
    Call { update: Some(Update { status }), ..of(environment, call::Type::Update) }
}
