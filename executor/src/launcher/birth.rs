//! The creation of a process.
//!
//! Owns the way from a [`Spawn`] to a running program, and the one place where
//! two processes share memory. Refuses to retry. Called by the worker.
//!
//! clone(2) with `CLONE_VM | CLONE_VFORK`: the new process runs in our memory, on
//! a stack of its own, until it has executed the program or failed, and we stand
//! still meanwhile. Nothing is copied, whatever is to be set up is set up by the
//! process itself, and if that fails it leaves the reason where we find it. This
//! is how posix_spawn(3) works too, which knows nothing of users, limits and
//! PR_SET_PDEATHSIG.
//!
//! Where a cgroup of version 2 is wanted, clone3(2) does the same and puts the process
//! there at once; into others it writes itself.
#![expect(unsafe_code, reason = "shares memory with a process that is being created")]

use std::{
    cell::Cell,
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    fs, io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, RawFd},
        unix::ffi::OsStrExt,
    },
    ptr,
};

use nix::{
    errno::Errno,
    sys::stat::{self, Mode, SFlag},
    unistd::{self, Gid, Uid},
};

use super::{Output, Spawn, Step, clone3::clone3, search, sys};
use crate::cgroup::Door;

/// Why there is no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl Failure {
    /// Whether the same request may succeed in a moment.
    pub(super) fn is_transient(self) -> bool {
        let short = matches!(self.errno, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE);
        match self.step {
            // A program that was just written is busy while a process that is
            // being created elsewhere still has it open.
            Step::Exec => short || self.errno == libc::ETXTBSY,
            Step::Fork | Step::CreateFolder | Step::Cgroup | Step::Stdout | Step::Stderr => short,
            Step::Request | Step::Rlimit | Step::Nice | Step::User | Step::ChangeFolder => false,
        }
    }
}

/// Where processes are created.
#[derive(Debug)]
pub(super) struct Birthplace {
    stack: Stack,
    /// This process.
    worker: i32,
}

impl Birthplace {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { stack: Stack::new()?, worker: sys::own_pid() })
    }

    /// Starts a process. Returns once its program runs.
    ///
    /// It is in a cgroup from its first instruction, or from before its program, if there
    /// is a door.
    pub(super) fn start(&mut self, spawn: &Spawn, door: Option<&Door>) -> Result<i32, Failure> {
        if spawn.create_cwd {
            create_folder(spawn)?;
        }
        let found = search::find(spawn)?;
        let program = found.as_deref().unwrap_or(&spawn.program);
        match self.execute(spawn, door, program, &spawn.argv) {
            Err(Failure { step: Step::Exec, errno: libc::ENOEXEC }) => {
                let shell = c"/bin/sh".to_owned();
                let argv = [shell.clone(), program.to_owned()]
                    .into_iter()
                    .chain(spawn.argv.iter().skip(1).cloned())
                    .collect::<Vec<_>>();
                self.execute(spawn, door, &shell, &argv)
            }
            other => other,
        }
    }

    fn execute(
        &mut self,
        spawn: &Spawn,
        door: Option<&Door>,
        program: &CStr,
        argv: &[CString],
    ) -> Result<i32, Failure> {
        let (folder, procs) = match door {
            None => (None, Procs::None),
            Some(Door::Folder(folder)) => (Some(folder.as_fd()), Procs::None),
            Some(Door::Procs(path)) => (None, Procs::Path(path)),
            Some(Door::Open(file)) => (None, Procs::Open(file.as_raw_fd())),
        };
        let order = Order {
            spawn,
            procs,
            program,
            argv: pointers(argv),
            env: pointers(&spawn.env),
            worker: self.worker,
            failure: Cell::new(None),
        };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let argument = (&raw const order).cast_mut().cast::<c_void>();
        let pid = if folder.is_some() {
            // SAFETY: as below.
            let result = unsafe { clone3(self.stack.memory(), child3, argument, folder, None) };
            let pid = i32::try_from(result).unwrap_or(-libc::EIO);
            if pid < 0 {
                let failure = Failure { step: Step::Fork, errno: -pid };
                let step = if failure.is_transient() { Step::Fork } else { Step::Cgroup };
                return Err(Failure { step, ..failure });
            }
            pid
        } else {
            // SAFETY: the stack is ours, large enough for `child`, and used by no
            // one else: CLONE_VFORK holds us until the child is done with it and
            // with `order`. The child allocates nothing and returns nowhere.
            let pid = unsafe { libc::clone(child, self.stack.top(), flags, argument) };
            if pid < 0 {
                return Err(Failure { step: Step::Fork, errno: sys::last_errno() });
            }
            pid
        };
        match order.failure.get() {
            None => Ok(pid),
            Some(failure) => {
                sys::wait(pid, 0);
                Err(failure)
            }
        }
    }
}

fn create_folder(spawn: &Spawn) -> Result<(), Failure> {
    let failure = |errno| Failure { step: Step::CreateFolder, errno };
    let cwd = spawn.cwd.as_c_str();
    match unistd::mkdir(cwd, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return check_folder(spawn).map_err(|errno| failure(errno as i32)),
        Err(Errno::ENOENT) => fs::create_dir_all(OsStr::from_bytes(cwd.to_bytes()))
            .map_err(|error| failure(error.raw_os_error().unwrap_or(libc::EIO)))?,
        Err(errno) => return Err(failure(errno as i32)),
    }
    spawn.user.as_ref().map_or(Ok(()), |user| {
        unistd::chown(cwd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))
            .map_err(|errno| failure(errno as i32))
    })
}

/// Refuses a folder in which somebody has prepared something for the next one: a link that leads
/// elsewhere, or a file that would be waited for.
fn check_folder(spawn: &Spawn) -> Result<(), Errno> {
    let is =
        |found: &stat::FileStat, kind: SFlag| found.st_mode & SFlag::S_IFMT.bits() == kind.bits();
    if is(&stat::lstat(spawn.cwd.as_c_str())?, SFlag::S_IFLNK) {
        return Err(Errno::ELOOP);
    }
    for output in [&spawn.stdout, &spawn.stderr] {
        if let Output::File(path) = output
            && !path.as_bytes().starts_with(b"/")
        {
            let file = [spawn.cwd.as_bytes(), path.as_bytes()].join(&b'/');
            match stat::lstat(OsStr::from_bytes(&file)) {
                Ok(found) if is(&found, SFlag::S_IFREG) => {}
                Ok(_) => return Err(Errno::EEXIST),
                // It is about to be made.
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// The file of a cgroup that the child writes itself into.
#[derive(Debug, Clone, Copy)]
enum Procs<'a> {
    None,
    Path(&'a CStr),
    Open(RawFd),
}

/// All that the child needs, made before it exists.
struct Order<'a> {
    spawn: &'a Spawn,
    procs: Procs<'a>,
    program: &'a CStr,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    worker: i32,
    /// Written by the child.
    failure: Cell<Option<Failure>>,
}

/// The first function of the child, for the C library's clone.
extern "C" fn child(order: *mut c_void) -> c_int {
    child3(order)
}

/// The only function of the child. It must not allocate, nor panic.
extern "C" fn child3(order: *mut c_void) -> ! {
    // SAFETY: the parent passes an `Order` and waits until we are done.
    let order = unsafe { &*order.cast::<Order<'_>>() };
    let step = match become_program(order) {
        Err(step) => step,
        Ok(never) => match never {},
    };
    order.failure.set(Some(Failure { step, errno: sys::last_errno() }));
    // SAFETY: ends the process.
    unsafe { libc::_exit(127) }
}

/// Cannot be made.
enum Never {}

/// Does what is between clone and the program. On failure `errno` says why.
fn become_program(order: &Order<'_>) -> Result<Never, Step> {
    let Order { spawn, .. } = order;
    // SAFETY: calls that only affect this process, with pointers into `order`,
    // which outlives it. Raw calls for the user, because the library's versions
    // would want to tell the other threads of "this" process.
    unsafe {
        // Cannot fail: a new process leads no group.
        libc::setsid();
        // While it is still who its worker is.
        let procs = match order.procs {
            Procs::None => None,
            Procs::Path(path) => Some(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC)),
            Procs::Open(file) => Some(file),
        };
        if let Some(procs) = procs {
            check(procs.into(), Step::Cgroup)?;
            check(libc::pwrite(procs, c"0".as_ptr().cast(), 1, 0) as libc::c_long, Step::Cgroup)?;
        }
        // Of this process alone, before a limit counts them. All close themselves in the end; before
        // Linux 5.9 that is all.
        libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, 0);
        for limit in &spawn.rlimits {
            let value = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let set = libc::syscall(
                libc::SYS_prlimit64,
                0,
                limit.resource,
                &raw const value,
                ptr::null_mut::<c_void>(),
            );
            check(set, Step::Rlimit)?;
        }
        if spawn.nice != 0 {
            // The raw call answers 20 - nice; no process of ours has the nice value -1
            // for the library's wrapper to be unclear about.
            let own = 20 - libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) as c_int;
            let wanted = own.saturating_add(spawn.nice);
            check(libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, wanted), Step::Nice)?;
        }
        if let Some(user) = &spawn.user {
            let groups = user.groups.as_ptr();
            check(libc::syscall(libc::SYS_setgroups, user.groups.len(), groups), Step::User)?;
            let gid = user.gid;
            check(libc::syscall(libc::SYS_setresgid, gid, gid, gid), Step::User)?;
            let uid = user.uid;
            check(libc::syscall(libc::SYS_setresuid, uid, uid, uid), Step::User)?;
        }
        check(libc::chdir(spawn.cwd.as_ptr()).into(), Step::ChangeFolder)?;
        redirect(&spawn.stdout, 1, Step::Stdout)?;
        redirect(&spawn.stderr, 2, Step::Stderr)?;
        if let Some(umask) = spawn.umask {
            libc::umask(umask);
        }
        // After the change of the user, which would undo it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != order.worker {
            libc::_exit(127);
        }
        let mut none = mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(order.program.as_ptr(), order.argv.as_ptr(), order.env.as_ptr());
    }
    Err(Step::Exec)
}

fn check(result: libc::c_long, step: Step) -> Result<(), Step> {
    if result < 0 { Err(step) } else { Ok(()) }
}

/// Points `target` to its output. Every other descriptor closes itself.
///
/// # Safety
///
/// For the child only.
unsafe fn redirect(output: &Output, target: c_int, step: Step) -> Result<(), Step> {
    const FLAGS: c_int = libc::O_WRONLY
        | libc::O_CREAT
        | libc::O_TRUNC
        | libc::O_APPEND
        | libc::O_NOFOLLOW
        | libc::O_NOCTTY
        | libc::O_CLOEXEC;
    // SAFETY: the path outlives the call; `target` is 1 or 2, of this process only.
    unsafe {
        let source = match output {
            Output::Inherit => return Ok(()),
            // `/dev/null` in every launcher process.
            Output::Null => 0,
            Output::File(path) => libc::open(path.as_ptr(), FLAGS, 0o644),
        };
        check(source.into(), step)?;
        check(libc::dup2(source, target).into(), step)
    }
}

/// Memory for the child to run on, with a page below it that must not be touched.
#[derive(Debug)]
struct Stack {
    base: *mut c_void,
}

impl Stack {
    const GUARD: usize = 4096;
    const SIZE: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        // SAFETY: new memory, used by nobody.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Self { base };
            if libc::mprotect(base, Self::GUARD, libc::PROT_NONE) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }
    }

    /// All of it.
    fn memory(&mut self) -> *mut [u8] {
        ptr::slice_from_raw_parts_mut(self.base.cast(), Self::SIZE)
    }

    /// Stacks grow downwards.
    fn top(&mut self) -> *mut c_void {
        // SAFETY: the end of the mapping.
        unsafe { self.base.byte_add(Self::SIZE) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no child runs on it.
        unsafe { libc::munmap(self.base, Self::SIZE) };
    }
}
