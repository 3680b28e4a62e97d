use bytes::Bytes;
use marmoset_proto::{
    codec::{Encoding, encode},
    mesos::v1::{DurationInfo, Label, Labels, RLimitInfo, container_info::DockerInfo, value},
};

use proptest::prelude::*;

use super::*;

fn task(data: &str) -> TaskInfo {
    TaskInfo {
        name: "t".into(),
        task_id: "t".into(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        ..TaskInfo::default()
    }
}

fn with_ports(mut task: TaskInfo, begin: u64, end: u64) -> TaskInfo {
    let range = vec![value::Range { begin, end }];
    let ranges = Some(value::Ranges { range });
    task.resources.push(Resource { name: "ports".into(), ranges, ..Resource::default() });
    task
}

fn with_uris(count: usize) -> TaskInfo {
    let uris = vec![r#"{"value": "/etc/hosts"}"#; count].join(", ");
    task(&format!(r#"{{"command": {{"value": "x", "uris": [{uris}]}}}}"#))
}

fn refusal(task: &TaskInfo) -> String {
    read(task).unwrap_err().to_string()
}

#[test]
fn reads_both_encodings() {
    let json = r#"{"command": {"value": "echo {}"}, "item": {"index": 4, "line": "x"}}"#;
    let Work::Single(single) = read(&task(json)).unwrap() else { panic!() };
    assert_eq!(single.template.command.value(), "echo {}");
    assert_eq!(single.item.unwrap().line(), "x");

    let spec = codec::decode::<TaskSpec>(json.as_bytes(), Encoding::Json).unwrap();
    let mut same = task("");
    same.data = Some(encode(&spec, Encoding::Protobuf));
    assert!(matches!(read(&same).unwrap(), Work::Single(_)));
}

#[test]
fn uris_are_taken_as_they_are() {
    let Work::Single(single) = read(&with_uris(256)).unwrap() else { panic!() };
    assert_eq!(single.template.command.uris.len(), 256);
}

#[test]
fn a_plain_command_wins_over_opaque_data() {
    let mut task = task("anything");
    task.command = Some(CommandInfo { value: Some("true".into()), ..CommandInfo::default() });
    task.max_completion_time = Some(DurationInfo { nanoseconds: 5 });
    let Work::Single(single) = read(&with_ports(task, 8000, 8002)).unwrap() else { panic!() };
    assert_eq!(single.ports, [8000, 8001, 8002]);
    assert_eq!(single.limit, Some(Duration::from_nanos(5)));
}

#[test]
fn reads_a_batch() {
    let json = r#"{"batch": {"command": {"value": "x"}, "job": "j", "width": 2, "ports": 2,
        "ranges": [{"begin": 0, "end": 9}], "items": [{"index": 10, "attempt": 1}]}}"#;
    let task = with_ports(task(json), 8000, 8003);
    let Work::Batch(batch) = read(&task).unwrap() else { panic!() };
    assert_eq!((batch.pending.len(), batch.width, batch.ports_each), (11, 2, 2));
}

#[test]
fn an_image_chooses_the_runtime() {
    let runtime = |spec: &str, container: Option<ContainerInfo>| {
        let mut task = task(spec);
        task.container = container;
        match read(&task).unwrap() {
            Work::Single(single) => single.template.runtime,
            Work::Batch(batch) => batch.template.runtime,
        }
    };
    let image = Some(ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(DockerInfo { image: "busybox".into(), ..DockerInfo::default() }),
        ..ContainerInfo::default()
    });
    let limits = Some(ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        rlimit_info: Some(RLimitInfo::default()),
        ..ContainerInfo::default()
    });
    let plain = r#"{"command": {"value": "x"}}"#;
    assert_eq!(runtime(plain, None), RuntimeKind::Process);
    assert_eq!(runtime(plain, limits), RuntimeKind::Process);
    assert_eq!(runtime(plain, image.clone()), RuntimeKind::Docker);
    let docker = r#"{"runtime": "docker", "command": {"value": "x"}}"#;
    assert_eq!(runtime(docker, image.clone()), RuntimeKind::Docker);
    let warm = r#"{"runtime": "warm", "command": {"value": "x"}}"#;
    assert_eq!(runtime(warm, image), RuntimeKind::Warm);
}

#[test]
fn a_label_names_the_runtime_where_nothing_else_does() {
    let runtime = |spec: &str, runtime: &str| {
        let mut task = task(spec);
        let docker = Some(DockerInfo { image: "busybox".into(), ..DockerInfo::default() });
        let r#type = container_info::Type::Docker.into();
        task.container = Some(ContainerInfo { r#type, docker, ..ContainerInfo::default() });
        let value = Some(runtime.to_owned());
        task.labels = Some(Labels { labels: vec![Label { key: RUNTIME_LABEL.into(), value }] });
        match read(&task) {
            Ok(Work::Single(single)) => Ok(single.template.runtime),
            Ok(Work::Batch(batch)) => Ok(batch.template.runtime),
            Err(error) => Err(error.to_string()),
        }
    };
    let plain = r#"{"command": {"value": "x"}}"#;
    assert_eq!(runtime(plain, "warm"), Ok(RuntimeKind::Warm));
    let docker = r#"{"runtime": "docker", "command": {"value": "x"}}"#;
    assert_eq!(runtime(docker, "warm"), Ok(RuntimeKind::Docker));
    assert!(runtime(plain, "hot").unwrap_err().contains("`hot`"));
}

#[test]
fn refuses_with_the_field_and_what_to_do() {
    let mut absent = task("");
    absent.data = None;
    let mut container = task(r#"{"command": {"value": "x"}}"#);
    container.container = Some(ContainerInfo {
        hostname: Some("h".into()),
        r#type: container_info::Type::Mesos.into(),
        ..ContainerInfo::default()
    });
    let mut bare = task(r#"{"runtime": "docker", "command": {"value": "x"}}"#);
    bare.container = Some(ContainerInfo::default());
    let mut limited =
        task(r#"{"batch": {"command": {"value": "x"}, "job": "j", "items": [{"index": 0}]}}"#);
    limited.max_completion_time = Some(DurationInfo { nanoseconds: 1 });
    let batch = |rest: &str| {
        task(&format!(
            r#"{{"batch": {{"command": {{"value": "x"}}, "job": "j", "items": [{{"index": 0}}], {rest}}}}}"#
        ))
    };

    let refusals = [
        absent,
        task(""),
        task("echo hello"),
        task("{\"command\": \n  [}"),
        task(r#"{"command": "echo"}"#),
        task("{}"),
        task(r#"{"command": {"value": "x"}, "batch": {"command": {"value": "x"}, "job": "j"}}"#),
        task(r#"{"batch": {"command": {"value": "x"}, "job": "j"}, "item": {"index": 0}}"#),
        task(r#"{"runtime": "jail", "command": {"value": "x"}}"#),
        container,
        bare,
        task(r#"{"command": {"value": "x"}, "output": {"pack": "../etc/x"}}"#),
        task(r#"{"command": {}}"#),
        task(r#"{"command": {"shell": false}}"#),
        task(r#"{"command": {"shell": false, "value": "x"}}"#),
        task(r#"{"command": {"value": "a\u0000b"}}"#),
        task(r#"{"command": {"value": "x", "uris": [{"value": "http://a/b"}, {"value": " "}]}}"#),
        task(r#"{"command": {"value": "x", "uris": [{"value": "/a", "output_file": "b\u0000"}]}}"#),
        with_uris(257),
        task(
            r#"{"command": {"value": "x", "environment": {"variables": [{"name": "A=B", "value": "c"}]}}}"#,
        ),
        task(r#"{"command": {"value": "x", "environment": {"variables": [{"name": "A"}]}}}"#),
        task(
            r#"{"command": {"value": "x", "environment": {"variables": [{"name": "A", "type": "SECRET", "secret": {}}]}}}"#,
        ),
        limited,
        task(r#"{"batch": {"command": {"value": "x"}, "job": "j"}}"#),
        batch(r#""ranges": [{"begin": 7, "end": 3}]"#),
        batch(r#""ranges": [{"begin": 0, "end": 3}]"#),
        batch(r#""width": 0"#),
        batch(r#""width": 4000000000"#),
        batch(r#""ports": 1"#),
        batch(r#""max_completion_time": {"nanoseconds": 0}"#),
        task(r#"{"batch": {"command": {"value": "x"}, "job": "a/b", "items": [{"index": 0}]}}"#),
        task(
            r#"{"batch": {"command": {"value": "x"}, "job": "j", "items": [{"index": 3, "line": "\u0000"}]}}"#,
        ),
        with_ports(task(r#"{"command": {"value": "x"}}"#), 70_000, 70_001),
    ];
    let texts = refusals.iter().map(refusal).collect::<Vec<_>>();
    insta::assert_snapshot!(texts.join("\n"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..200), json: bool) {
        let mut spec = task("");
        let prefix: &[u8] = if json { b"{" } else { b"" };
        spec.data = Some(Bytes::from([prefix, &data].concat()));
        if let Err(error) = read(&spec) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn ids_that_are_no_file_names_are_refused() {
    for (id, problem) in [
        ("", IdProblem::Empty),
        (".", IdProblem::Dots),
        ("..", IdProblem::Dots),
        ("../../etc", IdProblem::Slash),
        ("a\\b", IdProblem::Slash),
        ("a\nb", IdProblem::Control),
        (&"x".repeat(256), IdProblem::TooLong),
    ] {
        assert_eq!(check_id(id), Err(problem), "{id}");
        let mut task = task(r#"{"command": {"value": "x"}}"#);
        task.task_id = id.into();
        assert!(matches!(read(&task), Err(SpecError::TaskId { .. })), "{id}");
    }
    for id in ["a", "a..b", "...", "Aufgabe-ü", &"x".repeat(255)] {
        assert_eq!(check_id(id), Ok(()), "{id}");
    }
    // Long before the index is put behind it.
    let job = "x".repeat(254);
    let spec = task(&format!(
        r#"{{"batch": {{"command": {{"value": "x"}}, "job": "{job}", "items": [{{"index": 10}}]}}}}"#
    ));
    assert!(matches!(read(&spec), Err(SpecError::Job { problem: IdProblem::TooLong, .. })));
}
