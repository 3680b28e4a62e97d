//! Guards that come from containers.
//!
//! Owns the socket that the first process of a container connects to, and what is to be known of
//! it before it is employed. Refuses to know containers. Called by the warm runtime.
//!
//! ```text
//!   open ──▶ a socket in a folder ──▶ visitor: introduced ──▶ employ: a launcher as any other
//!                  (mounted)                └─ the socket is removed: nobody else comes
//! ```
//!
//! The links travel over that one connection as descriptors, so that what a run costs is what it
//! costs outside: the path is used once.

use std::{
    ffi::CString,
    fs, io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, recv,
    socket, sockopt,
};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::{
    Launcher, LauncherConfig, LauncherEvent, handle, sys,
    wire::{Introduction, Reader, VERSION},
};

/// The name of the socket in its folder.
const SOCKET: &str = "door";

/// Longest introduction: it has an environment in it.
const INTRODUCTION_MAX: usize = 256 << 10;

/// Waits for one guard.
#[derive(Debug)]
pub(crate) struct Door {
    socket: AsyncFd<OwnedFd>,
    folder: PathBuf,
}

/// A guard that waits for a hello.
#[derive(Debug)]
pub(crate) struct Visitor {
    control: OwnedFd,
    /// The user that it is, as this process sees it.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
    pid: i32,
    /// It makes cgroups for runs with limits.
    pub(crate) cgroups: bool,
    /// What the engine gave it.
    pub(crate) environment: Vec<CString>,
}

impl Door {
    /// Makes the folder, which must not be there, and the socket. The folder above it is made if
    /// it is missing, and is closed to other users: only who has the folder mounted comes.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent)?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
        }
        fs::create_dir(&folder)?;
        match Self::listen(&folder) {
            Ok(socket) => Ok(Self { socket, folder }),
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    fn listen(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        // An address has room for 107 bytes, and a sandbox has a longer path.
        let opened = fs::File::open(folder)?;
        let short = format!("/proc/self/fd/{}/{SOCKET}", opened.as_fd().as_raw_fd());
        bind(socket.as_raw_fd(), &UnixAddr::new(short.as_str())?)?;
        for (path, mode) in [(folder.to_owned(), 0o755), (folder.join(SOCKET), 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        listen(&socket, Backlog::new(1)?)?;
        sys::watched(socket)
    }

    /// The folder, which has to be mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of the socket for somebody who has the folder mounted.
    pub(crate) fn path_in(mounted: &str) -> String {
        format!("{mounted}/{SOCKET}")
    }

    /// Waits for the guard.
    ///
    /// # Errors
    /// When somebody comes who is no guard of this program.
    pub(crate) async fn visitor(&self) -> io::Result<Visitor> {
        let control = loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(accepted) = ready.try_io(|socket| sys::accept(socket.as_fd())) {
                break accepted?;
            }
        };
        let peer = getsockopt(&control, sockopt::PeerCredentials)?;
        let control = sys::watched(control)?;
        let packet = loop {
            let mut ready = control.readable().await?;
            let mut packet = vec![0; INTRODUCTION_MAX];
            let received = ready.try_io(|control| {
                Ok(recv(control.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)?)
            });
            if let Ok(count) = received {
                packet.truncate(count?);
                break packet;
            }
        };
        if packet.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Introduction { version, cgroups, environment } =
            Reader::whole(&packet).map_err(io::Error::other)?;
        if version != VERSION {
            return Err(io::Error::other(format!(
                "it speaks version {version} of the launcher's protocol, not {VERSION}: the \
                 program was replaced while the executor ran"
            )));
        }
        let (uid, gid, pid) = (peer.uid(), peer.gid(), peer.pid());
        Ok(Visitor { control: control.into_inner(), uid, gid, pid, cgroups, environment })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Visitor {
    /// Makes a launcher of it, with as many workers as pay.
    ///
    /// # Errors
    /// When it is gone, or there are no descriptors left.
    pub(crate) fn employ(
        self,
        workers: Option<NonZeroUsize>,
        mark: Option<CString>,
    ) -> io::Result<(Launcher, mpsc::Receiver<LauncherEvent>)> {
        let workers = workers.unwrap_or_else(LauncherConfig::workers_default);
        handle::employ(self.control, self.pid, workers, mark)
    }
}
