use marmoset_proto::mesos::v1::{
    NetworkInfo, Parameter,
    container_info::{self, docker_info},
    volume::Source,
};

use super::*;

const MB: u64 = 1 << 20;

fn container(docker: DockerInfo) -> ContainerInfo {
    ContainerInfo {
        r#type: container_info::Type::Docker.into(),
        docker: Some(DockerInfo { image: "image:1".to_owned(), ..docker }),
        ..ContainerInfo::default()
    }
}

fn program(value: Option<&str>, arguments: &[&str]) -> CommandInfo {
    CommandInfo {
        shell: Some(false),
        value: value.map(str::to_owned),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        ..CommandInfo::default()
    }
}

struct Case {
    container: ContainerInfo,
    command: CommandInfo,
    resources: Vec<Resource>,
    limits: Limits,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            container: container(DockerInfo::default()),
            command: program(None, &[]),
            resources: vec![Resource::scalar("cpus", 0.2), Resource::scalar("mem", 48.0)],
            limits: Limits::default(),
        }
    }
}

impl Case {
    fn words(&self) -> Result<String, OptionsError> {
        let environment =
            [("B", "2 2"), ("A", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let run = Run {
            name: "mesos-c",
            container: &self.container,
            command: &self.command,
            sandbox: Path::new("/w/c"),
            sandbox_source: Path::new("/w/c"),
            mapped: "/mnt/mesos/sandbox",
            resources: &self.resources,
            limits: self.limits,
            environment: &environment.into(),
        };
        run.arguments().map(|words| words.join(" "))
    }

    fn error(&self) -> String {
        self.words().unwrap_err().to_string()
    }
}

#[test]
fn the_plain_case_is_that_of_the_recording() {
    assert_eq!(
        Case::default().words().unwrap(),
        "run --cpu-shares 204 --memory 50331648 -e A=1 -e B=2 2 -v /w/c:/mnt/mesos/sandbox \
         --net host --name mesos-c image:1"
    );
}

#[test]
fn everything_has_its_place() {
    let port_mappings = vec![docker_info::PortMapping {
        host_port: 8005,
        container_port: 80,
        protocol: Some("TCP".to_owned()),
    }];
    let parameter =
        |key: &str, value: &str| Parameter { key: key.to_owned(), value: value.to_owned() };
    let volume = |inside: &str, host: &str, mode: volume::Mode| Volume {
        container_path: inside.to_owned(),
        host_path: Some(host.to_owned()),
        mode: mode.into(),
        ..Volume::default()
    };
    let mut case = Case {
        container: ContainerInfo {
            hostname: Some("inner".to_owned()),
            volumes: vec![
                volume("/run/d.sock", "/var/run/d.sock", volume::Mode::Rw),
                volume("data", "/srv/data", volume::Mode::Ro),
                volume("/own", "below", volume::Mode::Rw),
            ],
            network_infos: vec![NetworkInfo {
                name: Some("mine".to_owned()),
                ..NetworkInfo::default()
            }],
            ..container(DockerInfo {
                network: Some(docker_info::Network::User.into()),
                privileged: Some(true),
                port_mappings,
                parameters: vec![parameter("label", "a=b"), parameter("user", "1:2")],
                ..DockerInfo::default()
            })
        },
        command: CommandInfo {
            value: Some("echo hi".to_owned()),
            arguments: vec!["ignored".to_owned()],
            ..CommandInfo::default()
        },
        ..Case::default()
    };
    case.resources.push(Resource::ranges("ports", [(8000, 8010)]));
    assert_eq!(
        case.words().unwrap(),
        "run --privileged --cpu-shares 204 --memory 50331648 -e A=1 -e B=2 2 \
         -v /var/run/d.sock:/run/d.sock:rw -v /srv/data:/mnt/mesos/sandbox/data:ro \
         -v /w/c/below:/own:rw -v /w/c:/mnt/mesos/sandbox --net mine --hostname inner \
         -p 8005:80/tcp --entrypoint /bin/sh --name mesos-c --label=a=b --user=1:2 image:1 \
         -c echo hi"
    );
}

#[test]
fn arguments_follow_the_value_and_none_of_them_is_argv0() {
    let words = |value, arguments: &[&str]| {
        Case { command: program(value, arguments), ..Case::default() }.words().unwrap()
    };
    assert!(words(None, &[]).ends_with(" image:1"));
    assert!(words(None, &["a", "b"]).ends_with(" image:1 a b"));
    assert!(words(Some("/bin/x"), &["a"]).ends_with(" image:1 /bin/x a"));
}

#[test]
fn little_is_rounded_up_and_nothing_is_left_out() {
    let words = |resources| Case { resources, ..Case::default() }.words().unwrap();
    let little = words(vec![Resource::scalar("cpus", 0.001), Resource::scalar("mem", 1.0)]);
    assert!(little.starts_with("run --cpu-shares 2 --memory 33554432 -e"), "{little}");
    assert!(words(Vec::new()).starts_with("run -e"));
}

#[test]
fn limits_are_told_beside_requests() {
    let words = |cpus, mem| {
        let limits = Limits { cpus, mem };
        let words = Case { limits, ..Case::default() }.words().unwrap();
        let words = words.split(" -e ").next().unwrap();
        // The score depends on the machine.
        words.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
    };
    assert_eq!(
        words(Some(1.5), Some(96.0)),
        "run --cpu-shares 204 --cpu-quota 150000 --memory-reservation 50331648 \
         --memory 100663296 --oom-score-adj "
    );
    assert_eq!(
        words(Some(f64::INFINITY), Some(f64::INFINITY)),
        "run --cpu-shares 204 --memory-reservation 50331648 --oom-score-adj "
    );
    assert_eq!(
        words(Some(0.001), Some(48.0)),
        "run --cpu-shares 204 --cpu-quota 1000 --memory-reservation 50331648 --memory "
    );
    assert_eq!(oom_score(48 * MB, 1000 * MB), 952);
    assert_eq!(oom_score(1, 1000 * MB), 999);
    assert_eq!(oom_score(1000 * MB, 1000 * MB), 2);
    assert_eq!(oom_score(1, 0), 2);
}

#[test]
fn named_volumes_share_one_driver() {
    let named = |driver: Option<&str>| Volume {
        container_path: "/d".to_owned(),
        mode: volume::Mode::Rw.into(),
        source: Some(Source {
            r#type: Some(volume::source::Type::DockerVolume.into()),
            docker_volume: Some(volume::source::DockerVolume {
                driver: driver.map(str::to_owned),
                name: "v".to_owned(),
                ..Default::default()
            }),
            ..Source::default()
        }),
        ..Volume::default()
    };
    let case = |volumes| Case {
        container: ContainerInfo { volumes, ..container(DockerInfo::default()) },
        ..Case::default()
    };
    let words = case(vec![named(Some("nfs")), named(None)]).words().unwrap();
    assert!(words.contains(" -v v:/d:rw -v v:/d:rw -v /w/c:"), "{words}");
    assert!(words.contains(" --volume-driver=nfs --net host "), "{words}");
    assert_eq!(
        case(vec![named(Some("nfs")), named(Some("ceph"))]).error(),
        "Only one volume driver is supported, not both 'nfs' and 'ceph'"
    );
    let anonymous = Volume { source: None, ..named(None) };
    assert!(case(vec![anonymous]).words().unwrap().contains(" -v /d -v "));
}

#[test]
fn what_cannot_be_is_an_error() {
    let of = |docker| Case { container: container(docker), ..Case::default() };
    let relative = Volume {
        container_path: "b".to_owned(),
        host_path: Some("a".to_owned()),
        mode: volume::Mode::Rw.into(),
        ..Volume::default()
    };
    let with = |change: fn(&mut ContainerInfo)| {
        let mut case = Case::default();
        change(&mut case.container);
        case
    };
    let mapping = |network: docker_info::Network, host_port| {
        of(DockerInfo {
            network: Some(network.into()),
            port_mappings: vec![docker_info::PortMapping {
                host_port,
                container_port: 80,
                protocol: None,
            }],
            ..DockerInfo::default()
        })
    };
    let mut both = Case::default();
    both.container.volumes.push(relative);
    let user =
        DockerInfo { network: Some(docker_info::Network::User.into()), ..DockerInfo::default() };
    let shell = Case { command: CommandInfo::default(), ..Case::default() };
    for (case, error) in [
        (
            with(|c| c.docker = None),
            "`container.docker` is not set: give a DOCKER container an image",
        ),
        (both, "Both host_path 'a' and container_path 'b' of a volume are relative"),
        (of(user), "User defined networks require exactly one network info with a name"),
        (
            with(|c| c.hostname = Some("h".to_owned())),
            "Unable to set hostname with host network mode",
        ),
        (
            mapping(docker_info::Network::Host, 8000),
            "Port mappings are only supported for bridge and user-defined networks",
        ),
        (mapping(docker_info::Network::Bridge, 8000), "Port [8000] not included in resources"),
        (shell, "Shell specified but no command value provided"),
    ] {
        assert_eq!(case.error(), error);
    }
}
