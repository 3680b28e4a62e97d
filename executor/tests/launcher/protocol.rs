//! The protocol as it is documented, spoken by hand.

use std::{
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};

const HELLO: &[u8] = b"MRML\x03\x00\x00\x00";

const ANSWER: &[u8] = b"MRML\x03\x00";

/// A launcher with one worker, and our ends of its sockets.
struct Raw {
    control: OwnedFd,
    link: UnixStream,
    guard: Child,
}

impl Raw {
    fn greet(hello: &[u8]) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (control, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let (link, worker) = UnixStream::pair().unwrap();
        let fds = [worker.as_raw_fd()];
        let attached = [ControlMessage::ScmRights(&fds)];
        let packet = [IoSlice::new(hello)];
        sendmsg::<()>(control.as_raw_fd(), &packet, &attached, MsgFlags::empty(), None).unwrap();
        let guard = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"))
            .arg("launcher")
            .stdin(theirs)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { control, link, guard }
    }

    /// The next packet from the guard.
    fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0; 4096];
        let count = recv(self.control.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
        packet.truncate(count);
        packet
    }

    fn fault(&self) -> String {
        let packet = self.packet();
        let (length, text) = packet.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, text.len());
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut error = String::new();
        self.guard.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (self.guard.wait().unwrap().code(), error)
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text].concat()
}

fn frame(messages: &[u8]) -> Vec<u8> {
    string(messages)
}

/// `/bin/sh -c 'exit 3'` as run 7.
fn spawn() -> Vec<u8> {
    [
        &[1][..],
        &7_u64.to_le_bytes(),
        // No strand.
        &[0],
        &string(b"/bin/sh"),
        &3_u32.to_le_bytes(),
        &string(b"sh"),
        &string(b"-c"),
        &string(b"exit 3"),
        // No environment; `/`, not to be created; null, null, all of it, the
        // folder stays, no pack; no user, no umask;
        // nice 0; no limits of a process, none of all.
        &0_u32.to_le_bytes(),
        &string(b"/"),
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &0_i32.to_le_bytes(),
        &0_u32.to_le_bytes(),
        &[0],
    ]
    .concat()
}

#[test]
fn a_run_by_hand() {
    let mut raw = Raw::greet(HELLO);
    assert_eq!(raw.packet(), ANSWER);
    raw.link.write_all(&frame(&spawn())).unwrap();
    let mut messages = Vec::new();
    // Started has 21 bytes, Exited 65.
    while messages.len() < 21 + 65 {
        let mut length = [0; 4];
        raw.link.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        raw.link.read_exact(&mut body).unwrap();
        messages.extend(body);
    }
    let (started, exited) = messages.split_at(21);
    assert_eq!(started[..9], [&[1][..], &7_u64.to_le_bytes()].concat());
    assert_eq!(exited[..9], [&[3][..], &7_u64.to_le_bytes()].concat());
    assert_eq!(exited[9..13], (3_i32 << 8).to_le_bytes());
    let Raw { control, link, mut guard } = raw;
    drop((control, link));
    assert_eq!(guard.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_malformed_is_refused_and_ends_the_launcher() {
    let malformed = [
        // No such message; a message that is cut off; an empty frame; one too large.
        frame(&[9]),
        frame(&spawn()[..20]),
        frame(&[]),
        (5_u32 << 20).to_le_bytes().to_vec(),
    ];
    for bytes in malformed {
        let mut raw = Raw::greet(HELLO);
        assert_eq!(raw.packet(), ANSWER);
        raw.link.write_all(&bytes).unwrap();
        assert_eq!(raw.fault(), "worker 0 refused a malformed request");
        let mut rest = Vec::new();
        raw.link.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, Vec::<u8>::new());
        let (code, error) = raw.end();
        assert_eq!(code, Some(1));
        assert!(error.contains("a request was refused: "), "{error}");
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_is_told() {
    let mut raw = Raw::greet(HELLO);
    assert_eq!(raw.packet(), ANSWER);
    raw.link.write_all(&frame(&spawn())[..30]).unwrap();
    raw.link.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(raw.fault(), "worker 0 refused a malformed request");
    assert!(raw.end().1.contains("the stream ended within a frame"));
}

#[test]
fn strangers_and_other_versions_are_turned_away() {
    let raw = Raw::greet(b"GET / HTTP/1.1\r\n");
    assert_eq!(raw.packet(), b"");
    let (code, error) = raw.end();
    assert_eq!(code, Some(1));
    assert!(error.contains("does not speak the launcher's protocol"), "{error}");

    let raw = Raw::greet(b"MRML\x04\x00 and what a later version adds");
    // The answer lets the other side say what is wrong as well.
    assert_eq!(raw.packet(), ANSWER);
    let (code, error) = raw.end();
    assert_eq!(code, Some(1));
    assert!(error.contains("version 4"), "{error}");
}
