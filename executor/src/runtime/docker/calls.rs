//! Does what the room's core wants: calls to the engine, each a task of its own.

use std::{fs, io, path::Path, sync::Arc};

use bollard::models::ContainerCreateBody;
use marmoset_executor_core::{RunId, Signal};
use marmoset_proto::marmoset::v1::Pull;
use nix::sys::stat::Mode;

use super::{
    DockerRuntime,
    core::{Act, Input, Log},
    engine::{Engine, EngineError, ImageDefaults, Progress},
    plan::{Lookup, Plan, Request},
};
use crate::output::{create_file, create_folder, open_parent};

impl DockerRuntime {
    /// Does all that the core wants.
    pub(super) fn act(&mut self) {
        while let Some(act) = self.core.poll_act() {
            match act {
                Act::Image(image, pull) => self.have_image(image, pull),
                Act::Create(run) => self.create(run),
                Act::Start(run) => {
                    let Some((engine, name)) = self.addressee(run) else { continue };
                    self.call(async move { Input::Started(run, engine.start(&name).await) });
                }
                Act::Inspect(run) => {
                    let Some((engine, name)) = self.addressee(run) else { continue };
                    self.call(async move {
                        Input::Inspected(run, Box::new(engine.inspect(&name).await))
                    });
                }
                Act::Signal(run, signal) => self.send_signal(run, signal),
                Act::Remove(name) => {
                    let engine = self.engine.clone();
                    self.call(async move {
                        let result = engine.remove(&name).await;
                        Input::Removed(name, result)
                    });
                }
                Act::List => self.list.notify_one(),
                Act::Tell(run, told) => self.tell(run, told),
                Act::Log(log) => log_it(log),
            }
        }
    }

    /// What comes of a call is handed in.
    fn call(&self, answer: impl Future<Output = Input> + Send + 'static) {
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            // At the end nobody listens any more.
            let _ = sender.send(answer.await).await;
        });
    }

    fn addressee(&self, run: RunId) -> Option<(Engine, String)> {
        let run = self.runs.get(&run)?;
        Some((self.engine.clone(), run.name.clone()))
    }

    fn create(&self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let image = self.images.lock().expect(UNPOISONED).get(&run.plan.image).cloned();
        let image = image.unwrap_or_default();
        let folder = self.site.folder(&run.spawn.task);
        let prepared = run
            .plan
            .request(&run.spawn, &image, &self.site)
            .map_err(|error| EngineError::Invalid { message: error.to_string() })
            .and_then(|request| prepare(&folder, &run.plan, request));
        let (engine, name) = (self.engine.clone(), run.name.clone());
        self.call(async move {
            let result = match prepared {
                Ok(body) => engine.create(&name, body).await,
                Err(error) => Err(error),
            };
            Input::Created(id, result)
        });
    }

    fn send_signal(&self, id: RunId, signal: Signal) {
        let Some(run) = self.runs.get(&id) else { return };
        let images = self.images.lock().expect(UNPOISONED);
        let image = images.get(&run.plan.image).cloned().unwrap_or_default();
        drop(images);
        let text = match signal {
            Signal::Term => run.plan.stop_signal(&image).to_owned(),
            Signal::Kill => "SIGKILL".to_owned(),
        };
        let (engine, name) = (self.engine.clone(), run.name.clone());
        self.call(async move { Input::Signalled(id, engine.kill(&name, &text).await) });
    }

    fn have_image(&self, image: String, pull: Pull) {
        let engine = self.engine.clone();
        let (images, sender) = (self.images.clone(), self.sender.clone());
        let wanting =
            self.runs.values().find(|run| run.plan.image == image && run.plan.pull == pull);
        let credentials = wanting.map_or(Ok(None), |run| run.plan.credentials.clone());
        self.call(async move {
            let tell = |text: String| {
                // It is only for people: where the inputs are full it is left out.
                let _ = sender.try_send(Input::PullProgress(image.clone(), pull, text));
            };
            let result = found(&engine, &image, pull, credentials, tell).await;
            let result = result.map(|defaults| {
                images.lock().expect(UNPOISONED).insert(image.clone(), Arc::new(defaults));
            });
            Input::Image(image, pull, result)
        });
    }
}

/// The one writer does nothing that panics.
pub(super) const UNPOISONED: &str = "nothing panics while it holds the lock";

/// Has an image there, and tells what it says.
pub(super) async fn found(
    engine: &Engine,
    image: &str,
    pull: Pull,
    credentials: Lookup,
    tell: impl Fn(String),
) -> Result<ImageDefaults, EngineError> {
    let there = match pull {
        Pull::Always => None,
        Pull::IfNotPresent | Pull::Never => engine.image(image).await?,
    };
    if let Some(there) = there {
        return Ok(there);
    }
    if pull == Pull::Never {
        return Err(unusable(format!(
            "image `{image}` is not there and `pull` is NEVER: pull it on the agent, or choose \
             another policy"
        )));
    }
    // Only now is it of interest whether they can be had.
    let credentials = credentials.map_err(|error| unusable(error.to_string()))?;
    tracing::info!(image, "pulling");
    tell(format!("pulling image `{image}`"));
    engine
        .pull(image, credentials, |progress| {
            let Progress { layers, complete, bytes, total } = progress;
            tracing::info!(image, layers, complete, bytes, total, "still pulling");
            tell(format!(
                "pulling image `{image}`: {complete} of {layers} layers, {} of {} MB",
                bytes / 1_000_000,
                total / 1_000_000
            ));
        })
        .await
        .inspect_err(|error| tracing::warn!(image, %error, "the image cannot be pulled"))?;
    tracing::info!(image, "pulled");
    engine.image(image).await?.ok_or_else(|| {
        unusable(format!("image `{image}` was pulled, and the engine has it not all the same"))
    })
}

/// What the engine is not even asked.
fn unusable(message: String) -> EngineError {
    EngineError::Refused { status: 400, message }
}

/// Makes the task's folder, with the files that the container writes to.
fn prepare(
    folder: &Path,
    plan: &Plan,
    request: Request,
) -> Result<ContainerCreateBody, EngineError> {
    let cannot = |error: io::Error| {
        unusable(format!(
            "cannot prepare the folder `{}`: {error}; the executor's user must be able to write \
             there, and the disk must have room",
            folder.display()
        ))
    };
    let open_to_all = |bits: u32| request.open.then_some(Mode::from_bits_truncate(bits));
    let make = || -> io::Result<()> {
        let (Some(tasks), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        fs::create_dir_all(tasks)?;
        // A run of the same name may have been here, and have left what it likes.
        let own = create_folder(&open_parent(tasks)?, Path::new(name), open_to_all(0o777))?;
        for (stream, name) in ["stdout", "stderr"].into_iter().enumerate() {
            if plan.has_file(stream) {
                create_file(&own, Path::new(name), open_to_all(0o666))?;
            }
        }
        for below in plan.own_folders() {
            let mut at = own.try_clone()?;
            for part in below.components() {
                at = create_folder(&at, Path::new(&part), open_to_all(0o777))?;
            }
        }
        Ok(())
    };
    make().map_err(cannot)?;
    Ok(request.body)
}

fn log_it(log: Log) {
    match log {
        Log::EngineUp { after } => tracing::info!(?after, "the Docker engine is there again"),
        Log::EngineDown { reason } => tracing::warn!(reason, "the Docker engine is away"),
        Log::NotRemoved { name, reason } => {
            tracing::warn!(container = name, reason, "a container is left behind");
        }
        Log::NotSignalled { name, reason } => {
            tracing::warn!(container = name, reason, "a container was not sent its signal");
        }
        Log::Stray { name } => {
            tracing::info!(container = name, "a container that nobody waits for is removed");
        }
    }
}
