//! What goes in comes out, and nothing else does.

use std::{
    ffi::CString,
    time::{Duration, SystemTime},
};

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    cgroup::{Branch, Limits, OutOfMemory, Place},
    launcher::{
        Cut, Keeping, Kept, Output, Report, Rlimit, RunId, Scope, Signal, Spawn, Step, StrandId,
        Usage, User,
    },
};

fn text() -> impl Strategy<Value = CString> {
    vec(1..=u8::MAX, 0..40).prop_map(|bytes| CString::new(bytes).unwrap())
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![Just(Output::Null), text().prop_map(Output::File), Just(Output::Inherit)]
}

fn user() -> impl Strategy<Value = User> {
    (any::<u32>(), any::<u32>(), vec(any::<u32>(), 0..4)).prop_map(|(uid, gid, groups)| User {
        uid,
        gid,
        groups,
    })
}

fn rlimit() -> impl Strategy<Value = Rlimit> {
    any::<(u32, u64, u64)>().prop_map(|(resource, soft, hard)| Rlimit { resource, soft, hard })
}

fn limits() -> impl Strategy<Value = Limits> {
    any::<(Option<u64>, Option<u64>, Option<u32>)>().prop_map(|(memory, cpu_shares, quota)| {
        Limits {
            memory,
            cpu_shares,
            cpu_quota: quota.map(|micros| Duration::from_micros(micros.into())),
        }
    })
}

prop_compose! {
    fn spawn()(
        (run, strand) in any::<(u64, Option<u64>)>(),
        (create_cwd, umask, nice) in any::<(bool, Option<u32>, i32)>(),
        (program, cwd, argv, env) in (text(), text(), vec(text(), 0..5), vec(text(), 0..5)),
        (stdout, stderr) in (output(), output()),
        (user, rlimits, limits) in (option::of(user()), vec(rlimit(), 0..3), option::of(limits())),
        (limit, remove_empty) in any::<(Option<std::num::NonZeroU64>, bool)>(),
        pack in option::of(text()),
    ) -> Spawn {
        Spawn {
            run: RunId(run), strand: strand.map(StrandId), program, argv, env, cwd, create_cwd, stdout, stderr, user, umask,
            nice, rlimits, limits, keeping: Keeping { limit, remove_empty, pack },
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => spawn().prop_map(Request::Spawn),
        1 => any::<u64>().prop_map(|run| Request::Cancel(RunId(run))),
        1 => any::<(u64, i32, bool)>().prop_map(|(run, signal, all)| Request::Signal(Signal {
            run: RunId(run),
            signal,
            scope: if all { Scope::Session } else { Scope::Group },
        })),
    ]
}

fn time() -> impl Strategy<Value = SystemTime> {
    any::<u32>().prop_map(|at| SystemTime::UNIX_EPOCH + Duration::from_micros(u64::from(at) * 999))
}

fn report() -> impl Strategy<Value = Report> {
    let run = || any::<u64>().prop_map(RunId);
    let span = || any::<u32>().prop_map(|micros| Duration::from_micros(micros.into()));
    prop_oneof![
        run().prop_map(|run| Report::Returned { run }),
        (run(), any::<i32>(), time()).prop_map(|(run, pid, at)| Report::Started { run, pid, at }),
        (run(), any::<i32>(), prop::sample::select(Step::ALL.to_vec()), time())
            .prop_map(|(run, errno, step, at)| Report::SpawnFailed { run, errno, step, at }),
        (run(), any::<(i32, u64, u64, u64)>(), time(), span(), span()).prop_map(
            |(run, (wait_status, max_rss_kib, stdout_bytes, stderr_bytes), at, user, system)| {
                let usage = Usage { user, system, max_rss_kib };
                let kept = Kept::default();
                Report::Exited {
                    run,
                    wait_status,
                    at,
                    usage,
                    stdout_bytes,
                    stderr_bytes,
                    kept,
                    out_of_memory: None,
                }
            }
        ),
        (run(), time(), any::<Option<(u64, u64)>>(), any::<bool>()).prop_map(
            |(run, at, cut, folder_removed)| Report::Exited {
                run,
                wait_status: 0,
                at,
                usage: Usage::default(),
                stdout_bytes: 0,
                stderr_bytes: 0,
                kept: Kept {
                    stdout_cut: cut.map(|(written, kept)| Cut { written, kept }),
                    stderr_cut: cut.map(|(written, kept)| Cut { written: kept, kept: written }),
                    folder_removed,
                },
                out_of_memory: cut.map(|(limit, peak)| OutOfMemory { limit, peak }),
            }
        ),
    ]
}

/// Sends messages through frames and pieces of them as a socket would.
fn carry<T: Wire>(messages: &[T], piece: usize, flush_every: usize) -> Vec<T> {
    let (mut outbox, mut inbox, mut got) = (Outbox::default(), Inbox::default(), Vec::new());
    let mut bytes = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        outbox.push(message).unwrap();
        if n % flush_every == 0 {
            let part = outbox.unsent().len().min(piece);
            bytes.extend_from_slice(&outbox.unsent()[..part]);
            outbox.advance(part);
        }
    }
    bytes.extend_from_slice(outbox.unsent());
    for piece in bytes.chunks(piece) {
        inbox.push(piece);
        while inbox.next(&mut got).unwrap() {}
    }
    inbox.is_clean().unwrap();
    got
}

proptest! {
    #[test]
    fn requests_survive(
        requests in vec(request(), 0..20), piece in 1_usize..200, every in 1_usize..5,
    ) {
        prop_assert_eq!(carry(&requests, piece, every), requests);
    }

    #[test]
    fn reports_survive(
        reports in vec(report(), 0..20), piece in 1_usize..200, every in 1_usize..5,
    ) {
        prop_assert_eq!(carry(&reports, piece, every), reports);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Reader::whole::<Request>(&bytes);
        let _ = Reader::whole::<Report>(&bytes);
        let _ = Reader::whole::<Hello>(&bytes);
        let _ = Reader::whole::<Fault>(&bytes);
        let mut inbox = Inbox::default();
        inbox.push(&bytes);
        let mut requests = Vec::<Request>::new();
        while let Ok(true) = inbox.next(&mut requests) {}
    }

    #[test]
    fn a_cut_message_is_refused(request in request(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(Reader::whole::<Request>(&bytes).is_err());
    }
}

#[test]
fn a_request_larger_than_a_frame_is_refused_and_leaves_no_trace() {
    let mut outbox = Outbox::default();
    let small = Request::Spawn(Spawn::new(RunId(1), c"/bin/true".into()));
    outbox.push(&small).unwrap();
    let mut large = Spawn::new(RunId(2), c"/bin/true".into());
    large.argv.push(CString::new(vec![b'x'; FRAME_MAX]).unwrap());
    assert!(matches!(outbox.push(&Request::Spawn(large)), Err(WireError::FrameLength(_))));
    outbox.push(&small).unwrap();

    let (mut inbox, mut got) = (Inbox::default(), Vec::<Request>::new());
    inbox.push(outbox.unsent());
    while inbox.next(&mut got).unwrap() {}
    assert_eq!(got, [small.clone(), small]);
}

#[test]
fn frames_stay_within_their_bound() {
    let mut large = Spawn::new(RunId(2), c"/bin/true".into());
    large.argv.push(CString::new(vec![b'x'; FRAME_MAX - 100]).unwrap());
    let requests = [
        Request::Spawn(Spawn::new(RunId(1), c"/bin/true".into())),
        Request::Spawn(large.clone()),
        Request::Spawn(large),
    ];
    assert_eq!(carry(&requests, 1 << 20, 10), requests);
}

#[test]
fn frames_of_no_or_too_many_bytes_are_refused() {
    for length in [0, FRAME_MAX as u32 + 1, u32::MAX] {
        let mut inbox = Inbox::default();
        inbox.push(&length.to_le_bytes());
        assert_eq!(
            inbox.next(&mut Vec::<Request>::new()),
            Err(WireError::FrameLength(length as usize))
        );
    }
}

#[test]
fn a_list_whose_count_is_a_lie_is_refused_before_memory_is_asked_for() {
    let bytes = u32::MAX.to_le_bytes();
    assert_eq!(Reader::whole::<Vec<u64>>(&bytes), Err(WireError::Short));
}

#[test]
fn a_hello_of_another_version_is_read_as_far_as_its_version() {
    let mut bytes = Vec::new();
    let place = Place::V1 { memory: Some("/m".into()), cpu: None, freezer: Some("/f/ü".into()) };
    let cgroups = Some(Branch { place });
    let hello = Hello { version: VERSION, mark: Some(c"ID".into()), cgroups };
    hello.put(&mut bytes);
    assert_eq!(Reader::whole::<Hello>(&bytes), Ok(hello));
    bytes[4] = 77;
    bytes.truncate(7);
    assert_eq!(
        Reader::whole::<Hello>(&bytes),
        Ok(Hello { version: 77, mark: None, cgroups: None })
    );
    bytes[0] = 0;
    assert_eq!(Reader::whole::<Hello>(&bytes), Err(WireError::Magic));
}
