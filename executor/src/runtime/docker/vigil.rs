//! The vigil: a process that removes an executor's containers after it died.
//!
//! Owns nothing but the end of a pipe: when the executor ends, in whatever way,
//! the pipe closes, and all containers with the executor's run in their labels
//! are removed. What was being created when it died appears later, and is waited for. Where the executor itself runs in a container the vigil dies
//! with it; then the next executor removes them. Entered from a hidden
//! subcommand.
//!
//! ```text
//!   Watching ── the pipe closes ──▶ Removing ── none is left, or it took too long ──▶ end
//! ```

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::SigSet;

use super::{CALL_LIMIT, engine::Engine, ownership, remove_all};
use crate::launcher::close_inherited;

/// The hidden subcommand: `container-vigil SOCKET LABEL`.
pub(crate) const SUBCOMMAND: &str = "container-vigil";

/// How long an engine that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(900);

/// Between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long nothing may be found until nothing can come any more.
const QUIET: Duration = Duration::from_secs(5);

/// What an executor writes that has nothing on its way.
const SURE: u8 = b'.';

/// Exit status for being called in a way that makes no sense, as sysexits.h has it.
const USAGE: u8 = 64;

/// The executor's side.
#[derive(Debug)]
pub(super) struct Vigil(Child);

impl Vigil {
    /// Starts the process.
    pub(super) fn start(reexec: &[OsString], socket: &Path, label: &str) -> io::Result<Self> {
        let child = Command::new("/proc/self/exe")
            .args(reexec)
            .arg(SUBCOMMAND)
            .arg(socket)
            .arg(label)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    /// Ends it at once: nothing is there that it would look for, nor can anything come.
    pub(super) fn dismiss(mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::warn!(%error, "the process that removes containers does not end");
        }
    }

    /// Lets it look, and end. `sure` says that nothing is being created.
    pub(super) fn end(mut self, sure: bool) {
        if let Some(mut pipe) = self.0.stdin.take()
            && sure
        {
            // It is only slower without.
            let _ = pipe.write_all(&[SURE]);
        }
    }
}

/// Waits, and removes.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.into_iter().collect::<Vec<_>>();
    let [socket, label] = &arguments[..] else {
        eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
        return ExitCode::from(USAGE);
    };
    if let Err(error) = close_inherited() {
        eprintln!("marmoset {SUBCOMMAND}: cannot close what was inherited: {error}");
    }
    // Whoever ends the executor's processes by a signal to all of them must not end this one first.
    let _ = nix::unistd::setsid();
    let _ = SigSet::all().thread_block();
    let _ = nix::sys::prctl::set_name(c"marmoset-vigil");
    let (mut told, mut sure) = ([0; 16], false);
    loop {
        match io::stdin().read(&mut told) {
            Ok(0) => break,
            Ok(count) => sure = told[..count] == [SURE],
            Err(_) => {}
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let engine = Engine::new(PathBuf::from(socket), CALL_LIMIT);
    let quiet = if sure { Duration::ZERO } else { QUIET };
    match runtime.block_on(remove(&engine, &label.to_string_lossy(), quiet)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("marmoset {SUBCOMMAND}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Removes what there is, until nothing was found for as long as `quiet`.
async fn remove(engine: &Engine, label: &str, quiet: Duration) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let (mut pause, mut empty_since) = (PAUSE_MIN, None);
    loop {
        match engine.list(label).await {
            Ok(listed) => {
                pause = PAUSE_MIN;
                let own = listed.into_iter().filter(ownership::is_named).map(|there| there.name);
                let names = own.collect::<Vec<_>>();
                if names.is_empty() {
                    let since = *empty_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= quiet {
                        return Ok(());
                    }
                } else {
                    empty_since = None;
                    remove_all(engine, names).await;
                }
            }
            // Without the folder of its socket an engine cannot come back.
            Err(error) if Instant::now() > deadline || !engine.can_come_back() => {
                return Err(error.to_string());
            }
            Err(_) => pause = (pause * 2).min(PAUSE_MAX),
        }
        tokio::time::sleep(pause).await;
    }
}
