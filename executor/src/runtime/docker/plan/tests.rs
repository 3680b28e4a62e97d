//! What a task says, and what the engine is asked for.

use std::sync::Arc;

use marmoset_executor_core::{Bounds, Limit, RunId, RuntimeKind};
use marmoset_proto::{
    mesos::v1::{
        Environment, Image, NetworkInfo, Parameter, Volume,
        container_info::{
            DockerInfo, MesosInfo,
            docker_info::{Network, PortMapping},
        },
        environment::Variable,
        image::Docker,
        volume,
    },
    resources::Millis,
};

use super::*;
use crate::runtime::docker::ownership::network_namespace;

fn site() -> Site {
    Site {
        owner: Owner {
            framework: "f".into(),
            executor: "e".into(),
            agent: "S0".into(),
            run: "0123456789abcdef".into(),
            netns: network_namespace().unwrap(),
        },
        sandbox: "/sandbox".into(),
        host: "/host".into(),
        program: Program::find(&[], None).unwrap(),
        output: OutputDefaults::default(),
        allow_privileged: false,
        cfs: false,
        config: None,
        inherited: BTreeMap::from([("MESOS_SLAVE_ID".to_owned(), "S0".to_owned())]),
    }
}

fn docker(docker: DockerInfo) -> ContainerInfo {
    ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(DockerInfo { image: "i".into(), ..docker }),
        ..ContainerInfo::default()
    }
}

fn mesos() -> ContainerInfo {
    let image = Image {
        r#type: image::Type::Docker.into(),
        docker: Some(Docker { name: "i".into(), ..Docker::default() }),
        ..Image::default()
    };
    ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        mesos: Some(MesosInfo { image: Some(image) }),
        ..ContainerInfo::default()
    }
}

fn template(container: ContainerInfo, command: CommandInfo) -> Template {
    Template {
        runtime: RuntimeKind::Docker,
        container: Some(container.into()),
        ..Template::process(command)
    }
}

fn words(value: Option<&str>, arguments: &[&str]) -> CommandInfo {
    CommandInfo {
        shell: Some(false),
        value: value.map(str::to_owned),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..CommandInfo::default()
    }
}

fn image(entrypoint: &[&str], command: &[&str]) -> ImageDefaults {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    ImageDefaults {
        entrypoint: texts(entrypoint),
        command: texts(command),
        ..ImageDefaults::default()
    }
}

fn request_with(
    site: &Site,
    template: Template,
    image: &ImageDefaults,
    ports: &[u16],
) -> Result<Request, PlanError> {
    let plan = Plan::of(&template, site)?;
    let spawn = Spawn {
        run: RunId(1),
        strand: None,
        template: Arc::new(template),
        item: Some(Item { index: 4, line: Some("x".into()), attempt: None }),
        task: "job.4".into(),
        ports: ports.to_vec(),
    };
    plan.request(&spawn, image, site)
}

fn request(container: ContainerInfo, command: CommandInfo) -> Result<Request, PlanError> {
    request_with(&site(), template(container, command), &image(&[], &["own"]), &[])
}

/// What follows our own program and its three files.
fn argv(container: ContainerInfo, command: CommandInfo, image: &ImageDefaults) -> Vec<String> {
    let body = request_with(&site(), template(container, command), image, &[]).unwrap().body;
    let entrypoint = body.entrypoint.unwrap();
    assert_eq!(entrypoint.last().unwrap(), "container-init");
    let words = body.cmd.unwrap();
    let files = ["stdout", "stderr", ".marmoset-failure"];
    assert_eq!(words[..3], files.map(|name| format!("/mnt/mesos/sandbox/{name}")));
    words[6..].to_vec()
}

fn refusal(container: ContainerInfo) -> String {
    request(container, words(Some("p"), &[])).unwrap_err().to_string()
}

#[test]
fn the_command_follows_the_rules_of_its_containerizer() {
    let with_entrypoint = image(&["entry", "point"], &["own"]);
    let plain = image(&[], &["own", "arg"]);
    let shell = || CommandInfo { value: Some("echo {}".into()), ..CommandInfo::default() };
    let of_docker = || docker(DockerInfo::default());
    // Docker: a shell replaces the entrypoint; words follow it.
    assert_eq!(argv(of_docker(), shell(), &with_entrypoint), ["/bin/sh", "-c", "echo x"]);
    let command = words(Some("p"), &["{#}", "b"]);
    assert_eq!(
        argv(of_docker(), command.clone(), &with_entrypoint),
        ["entry", "point", "p", "4", "b"]
    );
    assert_eq!(argv(of_docker(), command.clone(), &plain), ["p", "4", "b"]);
    assert_eq!(argv(of_docker(), words(None, &["a"]), &with_entrypoint), ["entry", "point", "a"]);
    assert_eq!(argv(of_docker(), words(None, &[]), &with_entrypoint), ["entry", "point", "own"]);
    assert_eq!(argv(of_docker(), words(None, &[]), &plain), ["own", "arg"]);
    // Mesos: the value is the program, and the first argument its name.
    assert_eq!(argv(mesos(), shell(), &with_entrypoint), ["/bin/sh", "-c", "echo x"]);
    assert_eq!(argv(mesos(), words(Some("p"), &["name", "b"]), &with_entrypoint), ["p", "b"]);
    // Without a value the image's own program takes the arguments, the first one of CMD included.
    assert_eq!(argv(mesos(), words(None, &["a"]), &with_entrypoint), ["entry", "point", "a"]);
    assert_eq!(argv(mesos(), words(None, &["a"]), &plain), ["own", "a"]);
    let error =
        request_with(&site(), template(mesos(), words(None, &["a"])), &image(&[], &[]), &[]);
    assert!(error.is_err());
    assert_eq!(argv(mesos(), words(None, &[]), &with_entrypoint), ["entry", "point", "own"]);
    // Nothing at all.
    let error =
        request_with(&site(), template(of_docker(), words(None, &[])), &image(&[], &[]), &[]);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("the image `i` has no program of its own"), "{error}");
}

#[test]
fn without_files_nothing_of_ours_comes_between() {
    let mut template = template(docker(DockerInfo::default()), words(Some("p"), &["a"]));
    template.options.output.stdout = Some(Target::Null.into());
    template.options.output.stderr = Some(Target::Null.into());
    let body = request_with(&site(), template, &image(&["entry"], &[]), &[]).unwrap().body;
    assert_eq!(body.entrypoint, Some(vec!["entry".to_owned()]));
    assert_eq!(body.cmd, Some(vec!["p".to_owned(), "a".to_owned()]));
    let host = body.host_config.unwrap();
    let targets = host.mounts.unwrap().into_iter().map(|mount| mount.target.unwrap());
    assert_eq!(targets.collect::<Vec<_>>(), [SANDBOX]);
    assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
}

#[test]
fn what_no_engine_can_do_is_done_by_our_own_program() {
    let null = Some(Target::Null.into());
    let init = |container: ContainerInfo, command: CommandInfo, nice: i32, umask: Option<u32>| {
        let mut template = template(container, command);
        (template.options.output.stdout, template.options.output.stderr) = (null, null);
        (template.options.nice, template.options.umask) = (nice, umask);
        let body = request_with(&site(), template, &image(&["entry"], &[]), &[]).unwrap().body;
        let cmd = body.cmd.unwrap();
        (body.entrypoint.unwrap().last().unwrap() == "container-init").then_some(cmd)
    };
    let of_docker = || docker(DockerInfo::default());
    assert_eq!(init(of_docker(), words(Some("p"), &[]), 0, None), None);
    let why = format!("{SANDBOX}/{FAILURE}");
    let start = ["/dev/null", "/dev/null", &why];
    let told = init(of_docker(), words(Some("p"), &[]), 5, Some(0o27)).unwrap();
    assert_eq!(told, [&start[..], &["5", "27", "-", "entry", "p"]].concat());
    // The first argument is what the program is called.
    let told = init(mesos(), words(Some("/bin/busybox"), &["ls", "/"]), 0, None).unwrap();
    assert_eq!(told, [&start[..], &["0", "-", "ls", "/bin/busybox", "/"]].concat());
    assert_eq!(init(mesos(), words(Some("p"), &["p", "a"]), 0, None), None);
}

#[test]
fn names_and_variables_are_those_of_the_run() {
    let variable = |name: &str, value: &str| Variable {
        name: name.into(),
        value: Some(value.into()),
        ..Variable::default()
    };
    let variables = vec![variable("A", "1"), variable("PORT0", "x"), variable("B", "2")];
    let command =
        CommandInfo { environment: Some(Environment { variables }), ..words(Some("p"), &[]) };
    let parameter = |key: &str, value: &str| Parameter { key: key.into(), value: value.into() };
    let parameters = vec![parameter("env", "B=0"), parameter("label", "x=y")];
    let container = docker(DockerInfo { parameters, ..DockerInfo::default() });
    let mut template = template(container, command);
    template.role = Some("batch".into());
    let body = request_with(&site(), template, &image(&[], &[]), &[31_000, 31_001]).unwrap().body;
    assert_eq!(
        body.env.unwrap(),
        [
            "A=1",
            "B=2",
            "MARMOSET_INDEX=4",
            "MARMOSET_TASK_ID=job.4",
            "MESOS_ALLOCATION_ROLE=batch",
            "MESOS_CONTAINER_NAME=marmoset-0123456789ab-1",
            "MESOS_DIRECTORY=/host/tasks/job.4",
            "MESOS_SANDBOX=/mnt/mesos/sandbox",
            "MESOS_SLAVE_ID=S0",
            "PORT=31000",
            "PORT0=31000",
            "PORT1=31001",
        ]
    );
    let labels = body.labels.unwrap();
    for (key, value) in [
        ("x", "y"),
        ("marmoset", "task"),
        ("marmoset.framework", "f"),
        ("marmoset.executor", "e"),
        ("marmoset.agent", "S0"),
        ("marmoset.task", "job.4"),
        ("marmoset.run", "0123456789abcdef"),
    ] {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn limits_are_those_of_mesos_docker_containerizer() {
    let limits = |bounds: Bounds| {
        let mut host = HostConfig::default();
        let memory = limits::apply(&bounds, false, &mut host);
        assert_eq!(host.memory, memory);
        (host.cpu_shares, host.cpu_quota, host.memory_reservation, host.memory)
    };
    let mib = |count: i64| Some(count * 1024 * 1024);
    let given = Bounds { cpus: Some(Millis(500)), mem: Some(Millis(64_000)), ..Bounds::default() };
    assert_eq!(limits(given), (Some(512), None, None, mib(64)));
    let small = Bounds { cpus: Some(Millis(1)), mem: Some(Millis(1_000)), ..Bounds::default() };
    assert_eq!(limits(small), (Some(2), None, None, mib(32)));
    let limited = Bounds {
        cpus_limit: Some(Limit::Finite(Millis(1_500))),
        mem_limit: Some(Limit::Finite(Millis(128_000))),
        ..given
    };
    assert_eq!(limits(limited), (Some(512), Some(150_000), mib(64), mib(128)));
    let unlimited =
        Bounds { cpus_limit: Some(Limit::Infinite), mem_limit: Some(Limit::Infinite), ..given };
    assert_eq!(limits(unlimited), (Some(512), None, mib(64), None));
    let mut host = HostConfig::default();
    limits::apply(&given, true, &mut host);
    assert_eq!(host.cpu_quota, Some(50_000));
    let mut host = HostConfig::default();
    limits::apply(&Bounds { gpus: Some(Millis(2_000)), ..Bounds::default() }, false, &mut host);
    assert_eq!(host.device_requests.unwrap()[0].count, Some(2));
}

#[test]
fn networks() {
    let network = |network: Network| {
        docker(DockerInfo { network: Some(network.into()), ..DockerInfo::default() })
    };
    let mode = |container: ContainerInfo| {
        let body = request(container, words(Some("p"), &[])).unwrap().body;
        body.host_config.unwrap().network_mode.unwrap()
    };
    let named = |container: ContainerInfo| ContainerInfo {
        network_infos: vec![NetworkInfo { name: Some("n".into()), ..NetworkInfo::default() }],
        ..container
    };
    assert_eq!(mode(docker(DockerInfo::default())), "host");
    assert_eq!(mode(network(Network::Bridge)), "bridge");
    assert_eq!(mode(network(Network::None)), "none");
    assert_eq!(mode(named(network(Network::User))), "n");
    assert_eq!(mode(mesos()), "host");
    assert_eq!(mode(named(mesos())), "n");
    let error = refusal(network(Network::User));
    assert!(error.contains("exactly one `network_infos` entry"), "{error}");
    let hostname = ContainerInfo { hostname: Some("h".into()), ..docker(DockerInfo::default()) };
    assert!(refusal(hostname).contains("`container.hostname` is set with the network HOST"));
}

#[test]
fn only_the_ports_of_the_run_are_published() {
    let mapping =
        |host_port, container_port| PortMapping { host_port, container_port, protocol: None };
    let publish = |mappings: Vec<PortMapping>, network: Network| {
        let container = docker(DockerInfo {
            network: Some(network.into()),
            port_mappings: mappings,
            ..DockerInfo::default()
        });
        let template = template(container, words(Some("p"), &[]));
        let request = request_with(&site(), template, &image(&[], &[]), &[31_000, 31_001])?;
        let bindings = request.body.host_config.unwrap().port_bindings.unwrap();
        let mut ports = bindings
            .into_iter()
            .map(|(container, hosts)| (container, hosts.unwrap()[0].host_port.clone().unwrap()))
            .collect::<Vec<_>>();
        ports.sort();
        Ok::<_, PlanError>(ports)
    };
    let pair = |container: &str, host: &str| (container.to_owned(), host.to_owned());
    let chosen = publish(vec![mapping(31_001, 80), mapping(0, 81)], Network::Bridge).unwrap();
    assert_eq!(chosen, [pair("80/tcp", "31001"), pair("81/tcp", "31000")]);
    let text = |result: Result<_, PlanError>| -> String {
        result.map(|_: Vec<(String, String)>| ()).unwrap_err().to_string()
    };
    let error = text(publish(vec![mapping(80, 80)], Network::Bridge));
    assert!(error.contains("`port_mappings.host_port` 80 is not among the ports"), "{error}");
    let error = text(publish(vec![mapping(0, 1); 3], Network::Bridge));
    assert!(error.contains("ask for more ports than the 2"), "{error}");
    let error = text(publish(vec![mapping(0, 80)], Network::Host));
    assert!(error.contains("have no meaning in the network `host`"), "{error}");
    let error = text(publish(vec![mapping(0, 70_000)], Network::Bridge));
    assert!(error.contains("`port_mappings.container_port` 70000 is not a port"), "{error}");
}

#[test]
fn volumes_stay_where_they_belong() {
    let volume = |container: &str, host: Option<&str>| Volume {
        container_path: container.into(),
        host_path: host.map(str::to_owned),
        mode: volume::Mode::Ro.into(),
        ..Volume::default()
    };
    let with =
        |volume: Volume| ContainerInfo { volumes: vec![volume], ..docker(DockerInfo::default()) };
    let host = |volume: Volume| {
        request(with(volume), words(Some("p"), &[])).unwrap().body.host_config.unwrap()
    };
    assert_eq!(host(volume("/in", Some("/out"))).binds.unwrap(), ["/out:/in:ro"]);
    let inside = host(volume("in", Some("/out"))).binds.unwrap();
    assert_eq!(inside, ["/out:/mnt/mesos/sandbox/in:ro"]);
    let mounts = host(volume("/in", Some("mine"))).mounts.unwrap();
    assert_eq!(mounts[0].source.as_deref(), Some("/host/tasks/job.4/mine"));
    assert_eq!(mounts[0].read_only, Some(true));
    assert_eq!(host(volume("/in", None)).mounts.unwrap()[0].source, None);
    for (container, path, part) in [
        ("/in/../..", Some("/out"), "has `..` in its `container_path`"),
        ("/in", Some("../out"), "has `..` in its `host_path`"),
        ("in", Some("out"), "a relative `container_path` and a relative `host_path`"),
        ("/in", Some("/a:b"), "has a colon in its `host_path`"),
        ("", Some("/a"), "has no `container_path`"),
    ] {
        let error = refusal(with(volume(container, path)));
        assert!(error.contains(part), "{error}");
    }
    let secret = volume::Source {
        r#type: Some(volume::source::Type::Secret.into()),
        ..volume::Source::default()
    };
    let error = refusal(with(Volume { source: Some(secret), ..volume("/in", None) }));
    assert!(error.contains("use DOCKER_VOLUME, HOST_PATH or SANDBOX_PATH"), "{error}");
}

#[test]
fn privileges_need_a_flag() {
    let privileged = || docker(DockerInfo { privileged: Some(true), ..DockerInfo::default() });
    assert!(refusal(privileged()).contains("`--allow-privileged`"));
    let allowed = Site { allow_privileged: true, ..site() };
    let template = template(privileged(), words(Some("p"), &[]));
    let body = request_with(&allowed, template, &image(&[], &[]), &[]).unwrap().body;
    assert_eq!(body.host_config.unwrap().privileged, Some(true));
}

#[test]
fn folders_are_opened_for_users_that_do_not_own_them() {
    let open = |user: &str, own: Option<&str>| {
        let command = CommandInfo { user: own.map(str::to_owned), ..words(Some("p"), &[]) };
        let image = ImageDefaults { user: user.into(), ..image(&[], &[]) };
        let template = template(docker(DockerInfo::default()), command);
        request_with(&site(), template, &image, &[]).unwrap().open
    };
    assert!(!open("", None) && !open("root", None) && !open("0:0", None));
    assert!(open("65534", None) && open("ada", None) && open("", Some("ada:users")));
    assert!(!open("ada", Some("0")));
}

#[test]
fn a_pull_is_forced_by_the_container_too() {
    let pull = |container: ContainerInfo| {
        Plan::of(&template(container, words(Some("p"), &[])), &site()).unwrap().pull
    };
    assert_eq!(pull(docker(DockerInfo::default())), Pull::IfNotPresent);
    let forced = DockerInfo { force_pull_image: Some(true), ..DockerInfo::default() };
    assert_eq!(pull(docker(forced)), Pull::Always);
    let mut uncached = mesos();
    uncached.mesos.as_mut().unwrap().image.as_mut().unwrap().cached = Some(false);
    assert_eq!(pull(uncached), Pull::Always);
}
