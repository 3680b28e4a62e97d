//! Messages are drawn from the message table: no field is forgotten.

use proptest::prelude::*;

use super::*;
use crate::{
    marmoset::v1::{Control, Report, TaskSpec},
    mesos::v1::{
        ContainerId, DrainInfo, FrameworkInfo, MachineInfo, OperationStatus, ResourceUsage, Task,
        TaskInfo, TaskState, TaskStatus, executor, scheduler,
    },
    schema::{self, Kind, Label},
    text, wire,
};

fn refusal<M: Message>(bytes: &[u8]) -> (String, String) {
    match decode::<M>(bytes, Encoding::Protobuf).unwrap_err() {
        DecodeError::Protobuf { message, source } => {
            (format!("Failed to parse body into {message} protobuf"), source.to_string())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn media_types() {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        assert_eq!(Encoding::from_media_type(encoding.media_type()), Some(encoding));
    }
    assert_eq!(Encoding::from_media_type("application/json; charset=utf-8"), None);
}

#[test]
fn refusals_are_those_of_mesos() {
    let error = decode::<scheduler::Call>(b"zzzz", Encoding::Protobuf).unwrap_err();
    assert_eq!(error.to_string(), "Failed to parse body into Call protobuf");
    assert_eq!(
        refusal::<executor::Call>(b""),
        (
            "Failed to parse body into Call protobuf".into(),
            "missing required fields: executor_id, framework_id".into()
        )
    );
    assert!(decode::<scheduler::Call>(b"", Encoding::Protobuf).is_ok());
}

#[test]
fn paths_of_missing_fields() {
    // Framework ids without a value, inside a list and inside a message.
    let mut bytes = Vec::new();
    wire::put_bytes(&mut bytes, 3, &[]); // framework_id
    wire::put_bytes(&mut bytes, 8, &[0x0a, 0]); // statuses[0].task_id
    wire::put_bytes(&mut bytes, 8, &[]); // statuses[1]
    wire::put_bytes(&mut bytes, 17, &[0x0a, 1, b'c']); // limits: a pair without value is one of 0
    assert_eq!(
        refusal::<Task>(&bytes).1,
        "missing required fields: name, task_id, agent_id, state, framework_id.value, \
         statuses[0].state, statuses[0].task_id.value, statuses[1].task_id, statuses[1].state"
    );
}

#[test]
fn parts_of_a_message_merge() {
    let info = FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
    let whole = prost::Message::encode_to_vec(&info);
    let (user, name) = whole.split_at(3);
    let mut bytes = Vec::new();
    for part in [user, name] {
        let mut subscribe = Vec::new();
        wire::put_bytes(&mut subscribe, 1, part);
        wire::put_bytes(&mut bytes, 3, &subscribe);
    }
    let call = decode::<scheduler::Call>(&bytes, Encoding::Protobuf).unwrap();
    assert_eq!(call.subscribe.unwrap().framework_info, info);
    assert_eq!(
        refusal::<scheduler::Call>(&bytes[..bytes.len() / 2]).1,
        "missing required fields: subscribe.framework_info.name"
    );
}

#[test]
fn unknown_enum_numbers() {
    let status = TaskStatus {
        task_id: "t".into(),
        state: TaskState::TaskRunning.into(),
        reason: Some(9999),
        message: Some("m".into()),
        ..Default::default()
    };
    let bytes = encode(&status, Encoding::Protobuf);
    let read = decode::<TaskStatus>(&bytes, Encoding::Protobuf).unwrap();
    assert_eq!(read, TaskStatus { reason: None, ..status.clone() });

    let nested = executor::Call {
        executor_id: "e".into(),
        framework_id: "f".into(),
        r#type: Some(77),
        update: Some(executor::call::Update { status: status.clone() }),
        ..Default::default()
    };
    let read =
        decode::<executor::Call>(&encode(&nested, Encoding::Protobuf), Encoding::Protobuf).unwrap();
    assert_eq!((read.r#type, read.update.unwrap().status.reason), (None, None));

    let bytes = encode(&TaskStatus { state: -1, ..status }, Encoding::Protobuf);
    assert_eq!(refusal::<TaskStatus>(&bytes).1, "missing required fields: state");

    // Repeated, once by one and once packed.
    for (bytes, left) in [
        (&[0x08, 0xe8, 0x07, 0x08, 1, 0x08, 0xe9, 0x07][..], vec![1000, 1001]),
        (&[0x0a, 5, 0xe8, 0x07, 1, 0xe9, 0x07][..], vec![1000, 1001]),
    ] {
        let read = decode::<crate::mesos::v1::CapabilityInfo>(bytes, Encoding::Protobuf).unwrap();
        assert_eq!(read.capabilities, left);
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes =
        encode(&ContainerId { value: "c".into(), parent: None }, Encoding::Protobuf).to_vec();
    wire::put_bytes(&mut bytes, 1000, b"x");
    bytes.extend([0x98, 0x06, 7, 0x9b, 0x06, 0x08, 1, 0x9c, 0x06]); // a varint, a group
    bytes.extend([0xa5, 0x06, 1, 2, 3, 4]); // a fixed32
    let read = decode::<ContainerId>(&bytes, Encoding::Protobuf).unwrap();
    assert_eq!(read.value, "c");
}

#[test]
fn depth_is_bounded() {
    let chain = |levels: usize| {
        let mut bytes = vec![0x0a, 0];
        for _ in 0..levels {
            let mut outer = vec![0x0a, 0];
            wire::put_bytes(&mut outer, 2, &bytes);
            bytes = outer;
        }
        bytes
    };
    assert!(decode::<ContainerId>(&chain(90), Encoding::Protobuf).is_ok());
    assert!(decode::<ContainerId>(&chain(2000), Encoding::Protobuf).is_err());
    let groups = [0x9b, 0x06].repeat(100_000);
    assert!(decode::<ContainerId>(&groups, Encoding::Protobuf).is_err());
}

/// A stream of small numbers out of a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Writes a valid message in prost's own order; leaves the n-th required field out.
struct Writer {
    draw: Draw,
    skip: Option<u64>,
    skipped: bool,
}

impl Writer {
    fn message(&mut self, schema: &schema::Message, depth: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let is_choice =
            ["Selector", "Predicate", "VolumeCapability"].contains(&schema.short_name());
        for field in schema.fields {
            let must = field.label == Label::Required || schema.is_map_entry;
            let is_chosen = !is_choice || out.is_empty();
            let count = match field.label {
                _ if must => 1,
                _ if depth == 0 || !is_chosen => 0,
                Label::Repeated if field.map_entry().is_none() => self.draw.below(3),
                Label::Repeated | Label::Optional | Label::Required => self.draw.below(2),
            };
            if must && !schema.is_map_entry {
                match &mut self.skip {
                    Some(0) => {
                        self.skip = None;
                        self.skipped = true;
                        continue;
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
            for _ in 0..count {
                self.value(&mut out, field, depth.saturating_sub(1));
            }
        }
        out
    }

    fn value(&mut self, out: &mut Vec<u8>, field: &schema::Field, depth: u32) {
        let number = field.number;
        let mut varint = |value: u64| {
            wire::put_key(out, number, 0);
            wire::put_varint(out, value);
        };
        // No zeros: a map's pair with a default key is written shorter.
        match field.kind {
            Kind::Bool => varint(self.draw.below(2)),
            Kind::Int32 => varint((self.draw.below(1 << 32) as i32 | 1) as i64 as u64),
            Kind::Uint32 => varint(self.draw.below(1 << 32)),
            Kind::Int64 | Kind::Uint64 => varint(self.draw.below(u64::MAX)),
            Kind::Enum(known) => {
                let index = self.draw.below(known.values.len() as u64) as usize;
                varint(known.values[index].1 as i64 as u64);
            }
            Kind::Double => {
                let value = 1.0 + self.draw.below(1 << 40) as f64 / 1024.0;
                wire::put_key(out, number, 1);
                out.extend(value.to_bits().to_le_bytes());
            }
            Kind::String => {
                let text = ["x", "a b", "ä\"\n", "0"][self.draw.below(4) as usize];
                wire::put_bytes(out, number, text.as_bytes());
            }
            Kind::Bytes => {
                let bytes = (0..self.draw.below(5)).map(|_| self.draw.below(256) as u8);
                wire::put_bytes(out, number, &bytes.collect::<Vec<_>>());
            }
            Kind::Message(inner) => {
                let bytes = self.message(inner, depth);
                wire::put_bytes(out, number, &bytes);
            }
        }
    }
}

fn drawn<M: Message>(seed: u64, skip: Option<u64>) -> (Vec<u8>, bool) {
    let mut writer = Writer { draw: Draw(seed), skip, skipped: false };
    let bytes = writer.message(M::SCHEMA, 6);
    (bytes, writer.skipped)
}

/// prost leaves such a value out.
fn writer_left_a_map_value_empty(bytes: &[u8], schema: &schema::Message) -> bool {
    let mut pieces = wire::Pieces::new(bytes);
    while let Some(piece) = pieces.next().unwrap() {
        let Some((_, field)) = schema.by_number(piece.number) else { continue };
        if let (Kind::Message(inner), wire::Payload::Bytes(bytes)) = (field.kind, piece.payload)
            && (schema.is_map_entry && bytes.is_empty()
                || writer_left_a_map_value_empty(bytes, inner))
        {
            return true;
        }
    }
    false
}

fn survives<M: Message>(seed: u64) {
    let (bytes, _) = drawn::<M>(seed, None);
    let message = decode::<M>(&bytes, Encoding::Protobuf).unwrap();
    let again = encode(&message, Encoding::Protobuf);
    if !writer_left_a_map_value_empty(&bytes, M::SCHEMA) {
        // Nothing is lost, not even order.
        assert_eq!(again, bytes, "{message:?}");
    }
    assert_eq!(decode::<M>(&again, Encoding::Protobuf).unwrap(), message);

    let written = encode(&message, Encoding::Json);
    let read = decode::<M>(&written, Encoding::Json).unwrap();
    // Defaults became explicit; otherwise it is the same.
    assert_eq!(json::to_value(&read), json::to_value(&message));
    text::format(&message);
}

fn misses<M: Message>(seed: u64, skip: u64) {
    let (bytes, skipped) = drawn::<M>(seed, Some(skip));
    let read = decode::<M>(&bytes, Encoding::Protobuf);
    assert_eq!(read.is_err(), skipped, "{read:?}");
}

fn endures<M: Message>(bytes: &[u8]) {
    if let Ok(message) = decode::<M>(bytes, Encoding::Protobuf) {
        let _ = decode::<M>(&encode(&message, Encoding::Json), Encoding::Json);
        text::format(&message);
    }
}

macro_rules! each {
    ($function:ident, $($argument:expr),*) => {
        $function::<scheduler::Call>($($argument),*);
        $function::<scheduler::Event>($($argument),*);
        $function::<scheduler::Response>($($argument),*);
        $function::<scheduler::ApiResult>($($argument),*);
        $function::<executor::Call>($($argument),*);
        $function::<executor::Event>($($argument),*);
        $function::<OperationStatus>($($argument),*);
        $function::<crate::mesos::v1::Operation>($($argument),*);
        $function::<ResourceUsage>($($argument),*);
        $function::<Task>($($argument),*);
        $function::<TaskInfo>($($argument),*);
        $function::<MachineInfo>($($argument),*);
        $function::<DrainInfo>($($argument),*);
        $function::<TaskSpec>($($argument),*);
        $function::<Report>($($argument),*);
        $function::<Control>($($argument),*);
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_field_survives(seed: u64) {
        each!(survives, seed);
    }

    #[test]
    fn every_required_field_is_missed(seed: u64, skip in 0_u64..40) {
        each!(misses, seed, skip);
    }

    #[test]
    fn damage_never_panics(seed: u64, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let (mut bytes, _) = drawn::<scheduler::Call>(seed, None);
        if !bytes.is_empty() {
            let index = at.index(bytes.len());
            bytes[index] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        each!(endures, &bytes);
    }
}
