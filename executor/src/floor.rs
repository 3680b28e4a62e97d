//! The price of a process: a loop that does nothing but spawn and wait.
//!
//! Owns the figure that the launcher is measured against. Refuses to use any
//! code of the launcher. Called by `marmoset bench spawn`.
#![expect(
    unsafe_code,
    reason = "posix_spawn(3) has no safe wrapper that is in the standard library"
)]

use std::{
    env,
    ffi::{CStr, CString, c_char},
    fs, io,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process, ptr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

/// The program that is run.
pub(crate) const PROGRAM: &CStr = c"/bin/true";

/// What the loop did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloorResult {
    /// Processes started and reaped.
    pub count: usize,
    /// From the first spawn to the last wait.
    pub elapsed: Duration,
    /// CPU time of the threads in the kernel: what spawning and waiting cost there. What the
    /// kernel does in the new process is not in it.
    pub system: Duration,
}

impl FloorResult {
    /// Processes per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs `/bin/true` `count` times from `threads` threads, each of which spawns
/// and waits in turn; with two output files for each if `files`.
///
/// # Errors
///
/// When a process cannot be started or no folder for the files can be made.
pub fn floor(threads: usize, count: usize, files: bool) -> io::Result<FloorResult> {
    let folder = files.then(Folder::new).transpose()?;
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let system = thread::scope(|scope| {
        let threads = (0..threads.max(1))
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return system_time();
                        }
                        run(index, folder.as_ref().map(|folder| folder.path.as_path()))?;
                    }
                })
            })
            .collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            })
            .sum::<io::Result<Duration>>()
    })?;
    Ok(FloorResult { count, elapsed: begin.elapsed(), system })
}

/// Runs `/bin/true` `count` times, with a pause before each, and tells how long each took to be
/// there: the time in posix_spawn(3). In ascending order.
///
/// # Errors
///
/// When a process cannot be started.
pub fn floor_latency(count: usize, pause: Duration) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        thread::sleep(pause);
        let begin = Instant::now();
        let pid = spawn(&Actions::new(&[])?)?;
        times.push(begin.elapsed());
        wait(pid)?;
    }
    times.sort_unstable();
    Ok(times)
}

/// What this thread, which is new, has used.
fn system_time() -> io::Result<Duration> {
    let time = getrusage(UsageWho::RUSAGE_THREAD)?.system_time();
    let micros = u64::try_from(time.num_microseconds()).map_err(io::Error::other)?;
    Ok(Duration::from_micros(micros))
}

/// Spawns and waits once.
fn run(index: usize, folder: Option<&Path>) -> io::Result<()> {
    let paths = folder.map(|folder| {
        [(1, "out"), (2, "err")].map(|(fd, name)| (fd, folder.join(format!("{index}.{name}"))))
    });
    let actions = Actions::new(paths.as_ref().map_or(&[], |paths| paths))?;
    wait(spawn(&actions)?)
}

fn spawn(actions: &Actions) -> io::Result<i32> {
    let argv = [PROGRAM.as_ptr().cast_mut(), ptr::null_mut()];
    let env: [*mut c_char; 1] = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: all pointers are to locals, both lists end with a null pointer.
    let status = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            PROGRAM.as_ptr(),
            actions.as_ptr(),
            ptr::null(),
            argv.as_ptr(),
            env.as_ptr(),
        )
    };
    check(status)?;
    Ok(pid)
}

fn wait(pid: i32) -> io::Result<()> {
    loop {
        let mut wait_status = 0;
        // SAFETY: the pointer is to a local.
        if unsafe { libc::waitpid(pid, &raw mut wait_status, 0) } == pid {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What the new process opens.
struct Actions {
    /// Absent if there is nothing to open, which spares the library the work.
    actions: Option<Box<libc::posix_spawn_file_actions_t>>,
    /// Kept until the end, whether or not the library copies them.
    _paths: Vec<CString>,
}

impl Actions {
    fn new(files: &[(i32, PathBuf)]) -> io::Result<Self> {
        if files.is_empty() {
            return Ok(Self { actions: None, _paths: Vec::new() });
        }
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: initialises what the pointer points to.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            actions.assume_init()
        };
        let mut paths = Vec::new();
        for (fd, path) in files {
            let path = CString::new(path.as_os_str().as_bytes())?;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
            // SAFETY: initialised above; the path lives as long as the actions.
            check(unsafe {
                libc::posix_spawn_file_actions_addopen(
                    &raw mut *actions,
                    *fd,
                    path.as_ptr(),
                    flags,
                    0o644,
                )
            })?;
            paths.push(path);
        }
        Ok(Self { actions: Some(actions), _paths: paths })
    }

    fn as_ptr(&self) -> *const libc::posix_spawn_file_actions_t {
        self.actions.as_deref().map_or(ptr::null(), |actions| &raw const *actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        if let Some(actions) = &mut self.actions {
            // SAFETY: initialised by `new`, destroyed once.
            unsafe { libc::posix_spawn_file_actions_destroy(&raw mut **actions) };
        }
    }
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// A folder that is removed with all that is in it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> io::Result<Self> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("marmoset-floor-{}-{number}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "files of a measurement are left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_as_often_as_it_is_told() {
        assert_eq!(floor_latency(3, Duration::ZERO).unwrap().len(), 3);
        for (threads, files) in [(1, false), (2, true), (0, true)] {
            let result = floor(threads, 10, files).unwrap();
            assert_eq!(result.count, 10);
            assert!(result.rate() > 0.0);
        }
    }

    #[test]
    fn the_files_are_made_and_removed() {
        let folder = Folder::new().unwrap();
        run(3, Some(&folder.path)).unwrap();
        let path = folder.path.clone();
        assert!(path.join("3.out").exists() && path.join("3.err").exists());
        drop(folder);
        assert!(!path.exists());
    }
}
