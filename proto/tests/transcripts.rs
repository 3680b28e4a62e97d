//! Recordings of real Mesos traffic: every message is read and written again.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, fs, path::Path};

use marmoset_proto::{
    Message,
    codec::{Encoding, decode, encode},
    json,
    mesos::v1::{executor, scheduler},
    recordio,
};
use serde_json::Value;

/// One HTTP message of a recording.
struct Http {
    start: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Splits what one side of a connection sent; the last body may be cut off.
fn http_messages(mut bytes: &[u8]) -> Vec<Http> {
    let mut messages = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_string();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect::<BTreeMap<_, _>>();
        let body = if headers.get("transfer-encoding").is_some_and(|it| it == "chunked") {
            let (body, rest) = chunked(bytes);
            bytes = rest;
            body
        } else {
            let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
            let (body, rest) = bytes.split_at(length);
            bytes = rest;
            body.to_vec()
        };
        messages.push(Http { start, headers, body });
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    messages
}

fn chunked(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&bytes[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        bytes = &bytes[end + 2..];
        if length == 0 {
            return (body, bytes.strip_prefix(b"\r\n").unwrap());
        }
        if bytes.len() < length + 2 {
            break;
        }
        body.extend_from_slice(&bytes[..length]);
        bytes = &bytes[length + 2..];
    }
    (body, &[])
}

/// Every message of a file, as bytes of one encoding.
fn messages(file: &Path) -> Vec<(Encoding, Vec<u8>)> {
    let mut found = Vec::new();
    for http in http_messages(&fs::read(file).unwrap()) {
        let media_type = http.headers.get("content-type");
        let Some(encoding) = media_type.and_then(|it| Encoding::from_media_type(it)) else {
            let is_refusal = http.start.starts_with("HTTP/1.1 4");
            assert!(is_refusal || http.body.is_empty(), "{}", http.start);
            continue;
        };
        if http.start.starts_with("POST") {
            found.push((encoding, http.body));
        } else {
            let mut decoder = recordio::Decoder::new(1 << 20);
            decoder.push(&http.body);
            while let Some(record) = decoder.next().unwrap() {
                found.push((encoding, record.to_vec()));
            }
            assert!(decoder.is_clean());
        }
    }
    found
}

/// Whether `whole` has everything `part` has but empty lists; 32 and 32.0 are the same.
fn covers(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(name, part)| {
            let is_empty_list = part.as_array().is_some_and(Vec::is_empty);
            whole.get(name).map_or(is_empty_list, |whole| covers(whole, part))
        }),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| covers(w, p))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

fn check<M: Message>(encoding: Encoding, bytes: &[u8], is_ours_alone: bool) {
    let message = decode::<M>(bytes, encoding).unwrap();
    let other = match encoding {
        Encoding::Protobuf => {
            let again = encode(&message, Encoding::Protobuf);
            // AgentInfo has one flag more in the older API, and agents let it through.
            let foreign =
                if format!("{message:?}").contains("agent_info: AgentInfo") { 2 } else { 0 };
            assert_eq!(again.len() + foreign, bytes.len(), "{message:?}");
            assert_eq!(decode::<M>(&again, Encoding::Protobuf).unwrap(), message);
            Encoding::Json
        }
        Encoding::Json => {
            let original = json::parse(bytes).unwrap();
            let again = json::to_value(&message);
            if is_ours_alone {
                assert!(covers(&again, &original), "{again}\n{original}");
            } else {
                // Mesos' own: the very same, defaults included.
                assert_eq!(again, original);
            }
            Encoding::Protobuf
        }
    };
    let through = decode::<M>(&encode(&message, other), other).unwrap();
    assert_eq!(json::to_value(&through), json::to_value(&message));
}

#[test]
fn every_message_survives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut counts = BTreeMap::new();
    for case in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        for (side, is_scheduler) in [("scheduler", true), ("executor", false)] {
            let Ok(files) = fs::read_dir(case.join(side)) else { continue };
            for file in files.map(|entry| entry.unwrap().path()) {
                let is_call = file.to_string_lossy().contains(".client.");
                for (encoding, bytes) in messages(&file) {
                    match (is_scheduler, is_call) {
                        (true, true) => check::<scheduler::Call>(encoding, &bytes, true),
                        (true, false) => check::<scheduler::Event>(encoding, &bytes, false),
                        (false, true) => check::<executor::Call>(encoding, &bytes, true),
                        (false, false) => check::<executor::Event>(encoding, &bytes, false),
                    }
                    *counts.entry((side, is_call, encoding.to_string())).or_insert(0) += 1;
                }
            }
        }
    }
    insta::assert_debug_snapshot!(counts);
}

/// The answers of a real master and agent to bodies that cannot be decoded.
#[test]
fn refusals_are_worded_alike() {
    let recorded = include_str!("../testdata/http-errors.txt");
    let mut compared = 0;
    for part in recorded.split("### ").skip(1) {
        let (command, answer) = part.split_once("\nHTTP/1.1 ").unwrap();
        let (Some((_, data)), Some((_, body))) =
            (command.split_once(" -d "), answer.split_once("\n\n"))
        else {
            continue;
        };
        let (data, url) = data.rsplit_once(' ').unwrap();
        let body = body.trim_end();
        if !body.starts_with("Failed to parse") && !body.starts_with("Failed to convert") {
            continue;
        }
        assert!(url.ends_with("/scheduler"));
        let error = decode::<scheduler::Call>(data.as_bytes(), Encoding::Json).unwrap_err();
        assert_eq!(error.to_string(), body);
        compared += 1;
    }
    assert_eq!(compared, 2);
}
