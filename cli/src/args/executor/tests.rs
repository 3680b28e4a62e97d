use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    executor: ExecutorArgs,
}

fn source(flags: &[&str]) -> Result<Option<ExecutorSource>, String> {
    let line = Line::try_parse_from(["x"].iter().chain(flags));
    line.map_err(|refusal| refusal.to_string())?.executor.source()
}

fn image(flags: &[&str]) -> ExecutorImage {
    let flags = [&["--executor-image", "m:1"], flags].concat();
    match source(&flags).unwrap() {
        Some(ExecutorSource::Image(image)) => image,
        other => panic!("{other:?}"),
    }
}

fn volumes(image: &ExecutorImage) -> Vec<String> {
    let mode = |volume: &HostVolume| if volume.read_only { "ro" } else { "rw" };
    image.volumes.iter().map(|v| format!("{}:{}:{}", v.host, v.container, mode(v))).collect()
}

#[test]
fn one_way_is_chosen() {
    assert_eq!(source(&[]).unwrap(), None);
    let path = source(&["--executor-path", "/opt/x"]).unwrap();
    assert_eq!(path, Some(ExecutorSource::Path("/opt/x".into())));
    let uri = source(&["--executor-uri", "http://h/x"]).unwrap();
    assert_eq!(uri, Some(ExecutorSource::Uri("http://h/x".to_owned())));
    assert_eq!(image(&[]).name, "m:1");
}

#[test]
fn a_docker_container_has_the_engines_socket_unless_it_must_not() {
    const SOCKET: &str = "/var/run/docker.sock:/var/run/docker.sock:rw";
    assert_eq!(volumes(&image(&[])), [SOCKET]);
    assert_eq!(volumes(&image(&["--executor-docker-socket=none"])), [""; 0]);
    assert_eq!(
        volumes(&image(&["--executor-docker-socket=/run/d.sock", "--executor-volume=/a:/b:ro"])),
        ["/run/d.sock:/var/run/docker.sock:rw", "/a:/b:ro"]
    );
    let mesos = image(&["--executor-containerizer=mesos", "--executor-volume=/a"]);
    assert_eq!(mesos.containerizer, ImageContainerizer::Mesos);
    assert_eq!(volumes(&mesos), ["/a:/a:rw"]);
}

#[test]
fn an_engine_is_within_reach_or_the_way_to_it_is_named() {
    let reach = |flags: &[&str], socket: Option<&str>| {
        let line = Line::try_parse_from(["x", "--executor-image=m"].iter().chain(flags)).unwrap();
        line.executor.reaches_engine("--docker", socket.map(Path::new))
    };
    const MESOS: &str = "--executor-containerizer=mesos";
    for (flags, socket) in [
        (&[][..], None),
        (&[], Some("/var/run/docker.sock")),
        (&["--executor-docker-socket=/run/d.sock"], None),
        (&[MESOS, "--executor-docker-socket=/var/run/docker.sock"], None),
        // Another way in.
        (&["--executor-volume=/run/d.sock"], Some("/run/d.sock")),
        (&["--executor-docker-socket=none", "--executor-volume=/srv:/run"], Some("/run/d.sock")),
        (&["--executor-argument=--docker-socket=/x", "--executor-docker-socket=none"], None),
    ] {
        assert_eq!(reach(flags, socket), Ok(()), "{flags:?} {socket:?}");
    }
    for (flags, socket, way_out) in [
        (&[][..], Some("/run/d.sock"), "with `--executor-docker-socket /run/d.sock` instead"),
        (
            &["--executor-volume=/runner"],
            Some("/run/d.sock"),
            "`--docker-socket /run/d.sock` is not",
        ),
        (&["--executor-docker-socket=none"], None, "leave it out, or name the socket"),
        (&[MESOS], None, "say `--executor-docker-socket /var/run/docker.sock`"),
    ] {
        let refusal = reach(flags, socket).unwrap_err();
        assert!(refusal.contains(way_out), "{flags:?}: {refusal}");
    }
    // Outside of an image every path of the agent is there.
    let line = Line::try_parse_from(["x", "--executor-path=/x"]).unwrap();
    assert_eq!(line.executor.reaches_engine("--docker", Some(Path::new("/any"))), Ok(()));
}

#[test]
fn parameters_are_for_docker() {
    let docker = image(&[
        "--executor-docker-parameter=label=a=b",
        "--executor-docker-parameter=init=true",
        "--executor-force-pull",
    ]);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        docker.containerizer,
        ImageContainerizer::Docker {
            parameters: vec![pair("label", "a=b"), pair("init", "true")],
            force_pull: true,
        }
    );
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    for (flags, expected) in [
        (
            &["--executor-path=/x", "--executor-image=m"][..],
            "`--executor-path` and `--executor-image` exclude each other",
        ),
        (
            &["--executor-uri=http://h/x", "--executor-image=m"],
            "`--executor-uri` and `--executor-image` exclude each other",
        ),
        (&["--executor-path=x"], "`--executor-path x` is not absolute"),
        (&["--executor-uri=x"], "`--executor-uri x` is not a URI"),
        (&["--executor-image="], "`--executor-image ` is no name of an image"),
        (&["--executor-volume=/a"], "`--executor-volume` needs `--executor-image IMAGE`"),
        (
            &["--executor-containerizer=mesos", "--executor-path=/x"],
            "`--executor-containerizer` needs `--executor-image IMAGE`",
        ),
        (
            &[
                "--executor-image=m",
                "--executor-containerizer=mesos",
                "--executor-docker-parameter=a=b",
            ],
            "`--executor-docker-parameter` needs `--executor-containerizer docker`",
        ),
        (
            &["--executor-image=m", "--executor-docker-socket=sock"],
            "`--executor-docker-socket sock` is not absolute",
        ),
        (&["--executor-image=m", "--executor-volume=a:/b"], "is not like `/srv/data:/data:ro`"),
        (&["--executor-image=m", "--executor-volume=/a:/b:/c"], "is not like `/srv/data:/data:ro`"),
        (&["--executor-image=m", "--executor-docker-parameter=--a=b"], "begins with a dash"),
        (&["--executor-image=m", "--executor-docker-parameter=a"], "is not like `memory=4g`"),
        (&["--executor-image=m", "--executor-docker-parameter==a"], "names no option"),
        (&["--executor-image=m", "--executor-docker-parameter=name=a"], "which is the agent's"),
    ] {
        let refusal = source(flags).unwrap_err();
        assert!(refusal.contains(expected), "{flags:?}: {refusal}");
    }
}
