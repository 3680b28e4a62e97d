use marmoset_proto::json;

use super::*;

fn arguments() -> Vec<String> {
    vec!["--updates=all".to_owned()]
}

fn image(containerizer: ImageContainerizer) -> ExecutorSource {
    let volume = |path: &str, read_only| HostVolume {
        host: path.to_owned(),
        container: path.to_owned(),
        read_only,
    };
    ExecutorSource::Image(ExecutorImage {
        name: "registry:5000/marmoset-executor:1".to_owned(),
        containerizer,
        volumes: vec![volume("/var/run/docker.sock", false), volume("/srv", true)],
    })
}

fn docker(force_pull: bool) -> ExecutorSource {
    let parameters = vec![("label".to_owned(), "a=b".to_owned())];
    image(ImageContainerizer::Docker { parameters, force_pull })
}

/// The command and the container as JSON.
fn described(source: &ExecutorSource) -> (serde_json::Value, serde_json::Value) {
    let template = source.template(&arguments());
    let container = template.container.as_ref().map(json::to_value);
    (json::to_value(&template.command), container.unwrap_or_default())
}

#[test]
fn a_program_on_the_agents_is_started_without_a_shell() {
    let template = ExecutorSource::Path("/opt/m x".into()).template(&arguments());
    assert_eq!(template.id, "marmoset");
    assert_eq!(template.container, None);
    assert_eq!(
        json::to_value(&template.command),
        serde_json::json!({
            "shell": false, "value": "/opt/m x", "arguments": ["/opt/m x", "--updates=all"]
        })
    );
}

#[test]
fn a_fetched_program_is_executable_and_never_unpacked() {
    let uri = "https://files.example/marmoset-executor?v=1";
    let (command, container) = described(&ExecutorSource::Uri(uri.to_owned()));
    assert_eq!(container, serde_json::Value::Null);
    assert_eq!(
        command,
        serde_json::json!({
            "uris": [{
                "value": uri, "executable": true, "extract": false,
                "output_file": "marmoset-executor"
            }],
            "shell": false,
            "value": "./marmoset-executor",
            "arguments": ["./marmoset-executor", "--updates=all"]
        })
    );
}

#[test]
fn the_docker_containerizer_appends_arguments_to_the_entry_point() {
    let (command, container) = described(&docker(true));
    assert_eq!(command, serde_json::json!({"shell": false, "arguments": ["--updates=all"]}));
    assert_eq!(
        container,
        serde_json::json!({
            "type": "DOCKER",
            "volumes": [
                {"container_path": "/var/run/docker.sock", "host_path": "/var/run/docker.sock", "mode": "RW"},
                {"container_path": "/srv", "host_path": "/srv", "mode": "RO"}
            ],
            "docker": {
                "image": "registry:5000/marmoset-executor:1",
                "network": "HOST",
                "parameters": [
                    {"key": "memory-swap", "value": "-1"},
                    {"key": "label", "value": "a=b"}
                ],
                "force_pull_image": true,
                "privileged": false
            }
        })
    );
}

#[test]
fn the_mesos_containerizer_is_told_the_program_and_its_name() {
    let (command, container) = described(&image(ImageContainerizer::Mesos));
    assert_eq!(
        command,
        serde_json::json!({
            "shell": false,
            "value": "/marmoset-executor",
            "arguments": ["/marmoset-executor", "--updates=all"]
        })
    );
    assert_eq!(container["type"], "MESOS");
    assert_eq!(
        container["mesos"],
        serde_json::json!({
            "image": {
                "type": "DOCKER", "docker": {"name": "registry:5000/marmoset-executor:1"},
                "cached": true
            }
        })
    );
    assert_eq!(container["volumes"].as_array().unwrap().len(), 2);
}

#[test]
fn another_description_is_another_executor() {
    let uri = |text: &str| ExecutorSource::Uri(text.to_owned());
    let ids: Vec<String> = [
        uri("http://a/x"),
        uri("http://a/y"),
        docker(false),
        docker(true),
        image(ImageContainerizer::Mesos),
    ]
    .iter()
    .map(|source| source.template(&arguments()).id)
    .collect();
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_ne!(uri("http://a/x").template(&[]).id, ids[0], "arguments count");
    // A new version that gives other ids to the same executors must be on purpose.
    assert_eq!(ids[0], "marmoset-uri-225cc0c7");
}
