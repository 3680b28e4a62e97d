//! Protobuf's text format, which Mesos uses in some of its messages.
//!
//! Only writing. Called where Mesos shows a whole message in an error text.

use crate::{
    Message,
    schema::{self, Kind},
    wire::{Payload, Pieces},
};

/// Writes a message in protobuf's text format: one field a line, in the order of numbers.
pub fn format<M: Message>(message: &M) -> String {
    let mut out = String::new();
    write_message(&mut out, &message.encode_to_vec(), M::SCHEMA, 0);
    out
}

fn write_message(out: &mut String, bytes: &[u8], schema: &schema::Message, indent: usize) {
    let mut fields = Vec::new();
    let mut pieces = Pieces::new(bytes);
    // prost wrote the bytes: they are well-formed.
    while let Ok(Some(piece)) = pieces.next() {
        if let Some((index, field)) = schema.by_number(piece.number) {
            fields.push((index, field, piece.payload));
        }
    }
    fields.sort_by_key(|(index, ..)| *index);
    for (_, field, payload) in fields {
        out.extend(std::iter::repeat_n(' ', 2 * indent));
        out.push_str(field.name);
        if let (Kind::Message(inner), Payload::Bytes(bytes)) = (field.kind, payload) {
            out.push_str(" {\n");
            write_message(out, bytes, inner, indent + 1);
            out.extend(std::iter::repeat_n(' ', 2 * indent));
            out.push_str("}\n");
        } else {
            out.push_str(": ");
            out.push_str(&scalar(field.kind, payload));
            out.push('\n');
        }
    }
}

fn scalar(kind: Kind, payload: Payload<'_>) -> String {
    match (kind, payload) {
        (Kind::Bool, Payload::Varint(value)) => (value != 0).to_string(),
        (Kind::Int32 | Kind::Int64, Payload::Varint(value)) => value.cast_signed().to_string(),
        (Kind::Enum(known), Payload::Varint(value)) => {
            let number = value as i32;
            known.name_of(number).map_or_else(|| number.to_string(), ToString::to_string)
        }
        (_, Payload::Varint(value)) => value.to_string(),
        (_, Payload::Fixed64(bits)) => number(f64::from_bits(bits)),
        (_, Payload::Bytes(bytes)) => quoted(bytes),
        (_, Payload::Foreign) => String::new(),
    }
}

/// C's escapes, with octal numbers for what is not ASCII.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from('"');
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' | b'\'' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\{other:03o}")),
        }
    }
    out.push('"');
    out
}

/// Writes a number as C's `%.15g` does, or `%.17g` where 15 digits do not tell it.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let short = general(value, 15);
    if short.parse() == Ok(value) { short } else { general(value, 17) }
}

/// C's `%.<digits>g`.
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific.clone() };
    let precision = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    without_zeros(&format!("{value:.decimals$}")).to_string()
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesos::v1::{
        CommandInfo, ExecutorInfo, Resource, TaskInfo, executor_info, resource, value,
    };

    #[test]
    fn as_recorded() {
        let resource = |name, value| Resource {
            allocation_info: Some(resource::AllocationInfo { role: Some("*".into()) }),
            ..Resource::scalar(name, value)
        };
        let info = ExecutorInfo {
            executor_id: "resident".into(),
            resources: vec![resource("cpus", 0.1), resource("mem", 32.0)],
            command: Some(CommandInfo {
                value: Some(
                    "MESOS_AGENT_ENDPOINT=127.0.0.1:6151 exec /usr/local/bin/json-executor".into(),
                ),
                shell: Some(true),
                ..Default::default()
            }),
            framework_id: Some("3110ccd5-37df-41c0-bc9b-768e09c0b344-0002".into()),
            r#type: Some(executor_info::Type::Custom.into()),
            ..Default::default()
        };
        let log = include_str!("../testdata/json-errors/log.txt");
        let (_, recorded) = log.split_once("Existing ExecutorInfo:\n").unwrap();
        let (recorded, _) = recorded.split_once("\n------").unwrap();
        assert_eq!(format(&info), recorded);
    }

    #[test]
    fn maps_bytes_and_escapes() {
        let task = TaskInfo {
            name: "a\"b'\n\\ü\u{1}".into(),
            data: Some(bytes::Bytes::from_static(&[0, 255, b'x'])),
            limits: [("mem".to_string(), value::Scalar { value: f64::INFINITY })].into(),
            ..Default::default()
        };
        assert_eq!(
            format(&task),
            "name: \"a\\\"b\\'\\n\\\\\\303\\274\\001\"\n\
             task_id {\n  value: \"\"\n}\nagent_id {\n  value: \"\"\n}\n\
             data: \"\\000\\377x\"\n\
             limits {\n  key: \"mem\"\n  value {\n    value: inf\n  }\n}\n"
        );
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (32.0, "32"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1795465913.661477, "1795465913.6614771"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
