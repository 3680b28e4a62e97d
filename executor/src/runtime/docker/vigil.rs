//! The vigil: a process that removes an executor's containers after it died.
//!
//! Owns nothing but the end of a pipe: when the executor ends, in whatever way,
//! the pipe closes, and all containers with the executor's run in their labels
//! are removed. Where the executor itself runs in a container the vigil dies
//! with it; then the next executor removes them. Entered from a hidden
//! subcommand.
//!
//! ```text
//!   Watching ── the pipe closes ──▶ Removing ── none is left, or it took too long ──▶ end
//! ```

use std::{
    ffi::OsString,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::SigSet;

use super::{CALL_LIMIT, engine::Engine, remove_all};
use crate::launcher::close_inherited;

/// The hidden subcommand: `container-vigil SOCKET LABEL`.
pub(crate) const SUBCOMMAND: &str = "container-vigil";

/// How long an engine that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(900);

/// Between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

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

    /// Lets it look once more, and end.
    pub(super) fn end(mut self) {
        drop(self.0.stdin.take());
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
    let mut nothing = [0; 16];
    while !matches!(io::stdin().read(&mut nothing), Ok(0)) {}
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let engine = Engine::new(PathBuf::from(socket), CALL_LIMIT);
    match runtime.block_on(remove(&engine, &label.to_string_lossy())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("marmoset {SUBCOMMAND}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// A container that was being created when the executor died appears later: two looks that find
/// nothing are needed.
async fn remove(engine: &Engine, label: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let (mut pause, mut empty) = (PAUSE_MIN, 0);
    loop {
        match engine.list(label).await {
            Ok(listed) if listed.is_empty() => {
                empty += 1;
                if empty >= 2 {
                    return Ok(());
                }
            }
            Ok(listed) => {
                (pause, empty) = (PAUSE_MIN, 0);
                let names = listed.into_iter().map(|there| there.name).collect::<Vec<_>>();
                remove_all(engine, names).await;
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
