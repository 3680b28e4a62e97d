use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    codec::{Encoding, decode, encode},
    mesos::v1::{
        AgentInfo, CommandInfo, FrameworkInfo, Image, Labels, MasterInfo, Resource, TaskInfo,
        TaskStatus, executor, health_check::HttpCheckInfo, scheduler, task_status, value,
    },
};

fn refusal<M: Message>(text: &str) -> String {
    decode::<M>(text.as_bytes(), Encoding::Json).unwrap_err().to_string()
}

#[test]
fn defaults_are_printed() {
    assert_eq!(
        to_value(&FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() }),
        json!({"user": "u", "name": "n", "checkpoint": false, "failover_timeout": 0.0})
    );
    assert_eq!(to_value(&CommandInfo::default()), json!({"shell": true}));
    assert_eq!(to_value(&AgentInfo::default()), json!({"hostname": "", "port": 5051}));
    assert_eq!(to_value(&HttpCheckInfo::default()), json!({"port": 0, "protocol": "IPv4"}));
    assert_eq!(to_value(&Image::default()), json!({"type": "APPC", "cached": true}));
    // A deprecated default stays away.
    assert_eq!(to_value(&Resource::default()), json!({"name": "", "type": "SCALAR"}));
}

#[test]
fn values_are_printed() {
    let status = TaskStatus {
        task_id: "t".into(),
        state: crate::mesos::v1::TaskState::TaskRunning.into(),
        data: Some(bytes::Bytes::from_static(&[0, 255])),
        timestamp: Some(12.5),
        healthy: Some(false),
        reason: Some(task_status::Reason::Reconciliation.into()),
        ..Default::default()
    };
    assert_eq!(
        to_value(&status),
        json!({"task_id": {"value": "t"}, "state": "TASK_RUNNING", "data": "AP8=",
            "timestamp": 12.5, "healthy": false, "reason": "REASON_RECONCILIATION"})
    );
    let time = crate::mesos::v1::TimeInfo { nanoseconds: -9_007_199_254_740_993 };
    assert_eq!(to_vec(&time), br#"{"nanoseconds":-9007199254740993}"#);
}

#[test]
fn infinity_has_a_form() {
    let task = TaskInfo {
        limits: [
            ("cpus".to_string(), value::Scalar { value: f64::INFINITY }),
            ("mem".to_string(), value::Scalar { value: f64::NAN }),
        ]
        .into(),
        ..Default::default()
    };
    let value = to_value(&task);
    assert_eq!(value["limits"], json!({"cpus": {"value": "Infinity"}, "mem": {"value": "NaN"}}));
    let back = from_value::<TaskInfo>(value).unwrap();
    assert_eq!(back.limits["cpus"].value, f64::INFINITY);
    assert!(back.limits["mem"].value.is_nan());
}

#[test]
fn lenient_where_mesos_is() {
    let read = |value| from_value::<TaskStatus>(value).unwrap();
    let base = json!({"task_id": {"value": "t"}, "state": "TASK_LOST"});
    let with = |name: &str, value: Value| {
        let mut object = base.clone();
        object[name] = value;
        read(object)
    };
    assert_eq!(with("nonsense", json!([1])), read(base.clone()));
    assert_eq!(with("message", Value::Null).message, None);
    assert_eq!(with("reason", json!("REASON_OF_TOMORROW")).reason, None);
    assert_eq!(with("timestamp", json!("1.5")).timestamp, Some(1.5));
    assert_eq!(with("timestamp", json!(7)).timestamp, Some(7.0));
    assert_eq!(
        with("unreachable_time", json!({"nanoseconds": "-5"}))
            .unreachable_time
            .unwrap()
            .nanoseconds,
        -5
    );
    assert_eq!(
        with("unreachable_time", json!({"nanoseconds": 5.9})).unreachable_time.unwrap().nanoseconds,
        5
    );
    let labels = from_value::<Labels>(json!({"labels": {"key": "k"}})).unwrap();
    assert_eq!(labels.labels.len(), 1);
    let roles =
        from_value::<FrameworkInfo>(json!({"user": "", "name": "", "roles": [["a"], "b", null]}));
    assert_eq!(roles.unwrap().roles, ["a", "b"]);
    let master = from_value::<MasterInfo>(json!({"id": "", "ip": "16777343", "port": 5050.0}));
    assert_eq!(master.unwrap().ip, 16_777_343);
}

#[test]
fn refusals() {
    for (text, error) in [
        ("[]", "Failed to convert JSON into Call protobuf: Expecting a JSON object"),
        (
            r#"{"type":1}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'type'",
        ),
        (
            r#"{"type":true}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON boolean for field 'type'",
        ),
        (
            r#"{"type":["SUBSCRIBE"]}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON array for field 'type'",
        ),
        (
            r#"{"type":{}}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON object for field 'type'",
        ),
        (
            r#"{"kill":"x"}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON string for field 'kill'",
        ),
        (
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"x"}}}"#,
            "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info.user",
        ),
        (
            r#"{"accept":{"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"a"},{"task_id":{}}]}}]}}"#,
            "Failed to convert JSON into Call protobuf: Missing required fields: \
             accept.operations[0].launch.task_infos[0].task_id, \
             accept.operations[0].launch.task_infos[0].agent_id, \
             accept.operations[0].launch.task_infos[1].name, \
             accept.operations[0].launch.task_infos[1].agent_id, \
             accept.operations[0].launch.task_infos[1].task_id.value",
        ),
        (
            r#"{"acknowledge":{"agent_id":{"value":""},"task_id":{"value":""},"uuid":"*"}}"#,
            "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid': Invalid symbol 42, offset 0.",
        ),
        ("{{{", "Failed to parse body into JSON: syntax error at line 1 near: {{"),
        ("", "Failed to parse body into JSON: syntax error at line 1 near: "),
        ("{\n\"a\": tru", "Failed to parse body into JSON: syntax error at line 2 near: "),
        ("{\n\"a\"\n x\ny", "Failed to parse body into JSON: syntax error at line 3 near: x"),
        (
            "{} x",
            "Failed to parse body into JSON: Parsed JSON included non-whitespace trailing characters: x",
        ),
    ] {
        assert_eq!(refusal::<scheduler::Call>(text), error, "{text}");
    }
    assert_eq!(
        refusal::<executor::Call>("{}"),
        "Failed to convert JSON into Call protobuf: Missing required fields: executor_id, framework_id"
    );
    assert_eq!(
        refusal::<TaskStatus>(r#"{"task_id":{"value":"t"},"state":"TASK_DREAMING"}"#),
        "Failed to convert JSON into TaskStatus protobuf: Failed to find enum for 'TASK_DREAMING'"
    );
    for text in [
        r#"{"id":"","ip":-1,"port":1}"#,
        r#"{"id":"","ip":4294967296,"port":1}"#,
        r#"{"id":"","ip":"x","port":1}"#,
    ] {
        let error = refusal::<MasterInfo>(text);
        assert!(error.contains("as a JSON number for field 'ip'"), "{error}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(nested(200).as_bytes()).is_ok());
    assert_eq!(parse(nested(201).as_bytes()), Err(SyntaxError::TooDeep));
    assert_eq!(parse("[".repeat(1_000_000).as_bytes()), Err(SyntaxError::TooDeep));
    let chain =
        (0..150).fold(json!({"value": "x"}), |inner, _| json!({"value": "x", "parent": inner}));
    assert_eq!(from_value::<crate::mesos::v1::ContainerId>(chain), Err(ConvertError::TooDeep));
    let mut value = json!({"value": "x"});
    value["value"] = (0..500).fold(json!(0), |inner, _| Value::Array(vec![inner]));
    assert!(from_value::<crate::mesos::v1::ContainerId>(value).is_err());
}

#[test]
fn syntax() {
    for (text, value) in [
        (" null ", json!(null)),
        ("[true,\tfalse , []\n]", json!([true, false, []])),
        (r#""\u00e4\ud83d\ude00\n\/\"ü""#, json!("ä😀\n/\"ü")),
        ("[0,-1,18446744073709551615,1.5,-2E+2]", json!([0, -1, u64::MAX, 1.5, -200.0])),
        (r#"{"a":{},"a":1}"#, json!({"a": 1})),
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(value), "{text}");
    }
    for text in [
        "[1,]",
        "{\"a\"}",
        "{a:1}",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\u12g4\"",
        "-",
        "1.2.3",
        "\"\u{1}\"",
        "[",
        "{",
        "+1",
        "1e999",
    ] {
        assert!(matches!(parse(text.as_bytes()), Err(SyntaxError::Unexpected { .. })), "{text}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 50, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_serde_json_writes(value in any_json()) {
        prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value.clone()));
        prop_assert_eq!(parse(serde_json::to_string_pretty(&value).unwrap().as_bytes()), Ok(value));
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json(text in r#"[\[\]{}":,0-9a-e\\u \-.+tn"]{0,16}"#) {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(parse(text.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode::<scheduler::Call>(&bytes, Encoding::Json);
        let _ = decode::<scheduler::Call>(&bytes, Encoding::Protobuf);
        let _ = decode::<executor::Event>(&bytes, Encoding::Protobuf);
    }

    #[test]
    fn any_value_for_a_field_never_panics(field in "(type|accept|subscribe|framework_id|kill)", value in any_json()) {
        let mut object = json!({});
        object[field] = value;
        if let Ok(call) = from_value::<scheduler::Call>(object) {
            encode(&call, Encoding::Json);
        }
    }
}
