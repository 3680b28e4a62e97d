//! The way of a shared container from the wish for it to a launcher in it, and its end.
//!
//! Owns the order of the calls, what is waited for in between, and the texts that say what went
//! wrong. Refuses to know tasks. Each container has a task of its own for it.
//!
//! ```text
//!   image ──▶ create ──▶ start ──▶ its first process comes to the door ──▶ a launcher
//!     └─────────┴──────────┴─── no engine: removed, and tried again until patience is over
//! ```

use std::{
    ffi::CString,
    fs, io,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, chown, geteuid};
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};

use super::super::{
    calls,
    engine::{Condition, Engine, EngineError, ImageDefaults, Inspection},
    plan::{FAILURE, Plan, Site},
};
use crate::{
    launcher::{Door, Launcher, LauncherEvent, Visitor},
    output::take_text,
};

/// The folder in the sandbox for the sockets of containers that are being raised.
const DOORS: &str = ".warm";

/// Between two looks at a container whose first process has not come yet.
const LOOK: Duration = Duration::from_millis(500);

/// How long the engine is asked what became of a container that is gone.
///
/// It learns of an end within milliseconds, unless it has much to do.
const AUTOPSY: Duration = Duration::from_secs(20);

/// Between two tries while the engine is away.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longest text of why it did not start that is read.
const FAILURE_BYTES_MAX: u64 = 1024;

/// What is to be raised.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) engine: Engine,
    pub(super) site: Arc<Site>,
    pub(super) plan: Arc<Plan>,
    pub(super) name: String,
    /// Streams of the executor that tasks write to.
    pub(super) inherit: [bool; 2],
    pub(super) workers: Option<NonZeroUsize>,
    /// Name of the variable that differs from run to run.
    pub(super) mark: CString,
    /// Longest time that the first process may take.
    pub(super) limit: Duration,
    /// How long the engine may be away.
    pub(super) patience: Duration,
    /// Set when the engine is asked for a container.
    pub(super) asked: Arc<AtomicBool>,
    /// Places for those that are being started.
    pub(super) starts: Arc<Semaphore>,
}

/// A container that is ready.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) launcher: (Launcher, mpsc::Receiver<LauncherEvent>),
    pub(super) found: Found,
}

/// What was found in it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) image: Arc<ImageDefaults>,
    pub(super) environment: Vec<CString>,
    /// It makes cgroups for runs with limits.
    pub(super) cgroups: bool,
    /// Who its processes are, where that is somebody else than this process.
    owner: Option<(Uid, Gid)>,
}

/// Why there is no container.
enum Failure {
    /// The engine is away.
    Away(EngineError),
    /// It will not be otherwise the next time.
    Final(String),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        if error.is_answer() { Self::Final(error.to_string()) } else { Self::Away(error) }
    }
}

impl Found {
    /// Makes the folder of a run that its container may not make, or not as its own.
    pub(super) fn prepare(&self, folder: &Path) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        match fs::create_dir(folder) {
            // It has files in it, or a run of the same name was here.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(folder)?.is_dir() {
                    return Err(error);
                }
            }
            other => other?,
        }
        if geteuid().is_root() {
            chown(folder, Some(uid), Some(gid))?;
            return Ok(());
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
    }
}

/// Raises a container. What it waits for is told.
///
/// # Errors
/// The text says why. Its container is the caller's to remove.
pub(super) async fn raise(order: &Order, tell: impl Fn(String)) -> Result<Raised, String> {
    let begin = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let failure = match attempt(order, &tell).await {
            Ok(raised) => return Ok(raised),
            Err(failure) => failure,
        };
        if let Err(error) = order.engine.remove(&order.name).await {
            tracing::debug!(container = order.name, %error, "not removed yet");
        }
        let error = match failure {
            Failure::Final(text) => return Err(text),
            Failure::Away(error) => error,
        };
        if begin.elapsed() + pause > order.patience {
            let seconds = order.patience.as_secs();
            return Err(format!("{error}; it was waited for {seconds} s"));
        }
        if pause == PAUSE_MIN {
            tracing::warn!(container = order.name, %error, "the Docker engine is away");
            tell(format!("waiting for the Docker engine: {error}"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt(order: &Order, tell: &impl Fn(String)) -> Result<Raised, Failure> {
    let Order { engine, site, plan, name, inherit, starts, .. } = order;
    let credentials = plan.credentials.clone();
    let image = calls::found(engine, &plan.image, plan.pull, credentials, tell).await?;
    // Never closed.
    let _place = starts.acquire().await;
    let door = prepare(site, name).map_err(|error| {
        let folder = site.sandbox.display();
        Failure::Final(format!(
            "cannot prepare the folders in `{folder}`: {error}; the executor's user must be able \
             to write there, and the disk must have room"
        ))
    })?;
    let body = plan.shared_body(&site.host.join(DOORS).join(name), *inherit, site);
    order.asked.store(true, Ordering::Relaxed);
    engine.create(name, body).await?;
    match engine.start(name).await {
        // It runs: an earlier call has started it, and its answer was lost.
        Err(EngineError::Refused { status: 304, .. }) => {}
        other => other?,
    }
    let visitor = visitor(order, &door).await?;
    let owner = (!Uid::from_raw(visitor.uid).eq(&geteuid()))
        .then(|| (Uid::from_raw(visitor.uid), Gid::from_raw(visitor.gid)));
    if owner.is_some() {
        // Whoever runs there makes files in it. They cannot take each other's away.
        let _ours =
            fs::set_permissions(site.sandbox.join("packs"), fs::Permissions::from_mode(0o1777));
    }
    let environment = visitor.environment.clone();
    let cgroups = visitor.cgroups;
    let launcher = visitor
        .employ(order.workers, Some(order.mark.clone()))
        .map_err(|error| Failure::Final(format!("its first process is gone: {error}")))?;
    let found = Found { image: Arc::new(image), environment, cgroups, owner };
    Ok(Raised { launcher, found })
}

/// Makes what is mounted.
fn prepare(site: &Site, name: &str) -> io::Result<Door> {
    for folder in ["tasks", "packs"] {
        fs::create_dir_all(site.sandbox.join(folder))?;
    }
    let folder = site.sandbox.join(DOORS).join(name);
    let door = Door::open(folder)?;
    // Where it says why it could not come, whoever it is.
    fs::set_permissions(door.folder(), fs::Permissions::from_mode(0o777))?;
    Ok(door)
}

/// Waits until the first process of the container comes.
async fn visitor(order: &Order, door: &Door) -> Result<Visitor, Failure> {
    let began = Instant::now();
    let mut coming = pin!(door.visitor());
    loop {
        tokio::select! {
            visitor = &mut coming => return visitor.map_err(|error| {
                Failure::Final(format!("its first process is not what was started: {error}"))
            }),
            () = sleep(LOOK) => {}
        }
        let text = match order.engine.inspect(&order.name).await? {
            Some(Inspection { state: Condition::Ended, exit_code, error, .. }) => {
                let said = take_text(&door.folder().join(FAILURE), FAILURE_BYTES_MAX).ok();
                let told = [said, Some(error)];
                let told = told.into_iter().flatten().find(|text| !text.is_empty());
                let told = told.map_or_else(String::new, |text| format!(": {text}"));
                format!("its first process ended with status {exit_code}{told}")
            }
            Some(_) if began.elapsed() > order.limit => {
                format!("its first process has not come for {} s", order.limit.as_secs())
            }
            Some(_) => continue,
            None => "somebody has removed it while it was started".to_owned(),
        };
        return Err(Failure::Final(text));
    }
}

/// Finds out how a container ended whose first process is gone.
///
/// `reason` is what its end of the connection has told.
pub(super) async fn bury(engine: &Engine, name: &str, reason: String) -> String {
    let deadline = Instant::now() + AUTOPSY;
    loop {
        match engine.inspect(name).await {
            // The engine may learn of it later than we.
            Ok(Some(Inspection { state: Condition::Running, .. })) if Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            Ok(Some(found)) if found.oom_killed => {
                break "a process of it was killed for want of memory: raise `mem` of the tasks, \
                       or let fewer share it (`--warm-slots`)"
                    .to_owned();
            }
            Ok(Some(found)) if found.exit_code == 137 => {
                break "somebody has killed it (exit status 137)".to_owned();
            }
            Ok(Some(found)) => break format!("{reason} (exit status {})", found.exit_code),
            Ok(None) => break "somebody has removed it".to_owned(),
            Err(error) => break format!("{reason}, and {error}"),
        }
    }
}
