//! The executor as clusters get it: in its own image, and fetched by URI; and the files that deploy it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use e2e::{
    Done, Scene, TestCluster, cluster, dock,
    docker::{Engine, IMAGE},
    images, printed, programs, skip,
};

/// Runs a job of shell commands on a cluster, with these flags; outputs are in `out`.
fn run(scene: &Scene, cluster: &TestCluster, flags: &[&str], script: &str) -> Done {
    let master = cluster.master();
    let fixed = ["run", "--master", &master, "--json", "--output", "out", "--mem", "8"];
    let command = ["--", "/bin/sh", "-c", script];
    scene.marmoset([&fixed[..], flags, &command].concat())
}

/// A cluster of one agent with both containerizers.
fn start(scene: &Scene) -> TestCluster {
    let agent = images::with_docker(cluster::agent(scene, "agent", "cpus:4;mem:4096"));
    TestCluster::start(cluster::master(), vec![agent])
}

fn output(scene: &Scene, index: usize) -> String {
    printed(&scene.path().join("out"), index)
}

#[test]
fn the_executor_in_its_own_image_runs_tasks_and_reaps_what_they_leave() {
    let test = "the_executor_in_its_own_image_runs_tasks_and_reaps_what_they_leave";
    let Some(image) = images::executor_with_shell(test) else { return };
    let scene = Scene::new();
    let cluster = start(&scene);
    let flags = ["--executor-image", image, "--count", "40"];
    // The executor is the first process: what a task leaves behind becomes its child.
    let script = "echo $MESOS_CONTAINER_NAME $MESOS_SANDBOX; (sleep 0.1 &); exit 0";
    let done = run(&scene, &cluster, &flags, script);
    done.assert_all_finished(40);
    let first = output(&scene, 0);
    let (name, sandbox) = first.trim().split_once(' ').expect("a name and a sandbox");
    assert!(name.starts_with("mesos-"), "{first}");
    // A task's sandbox is its own folder below that of the executor.
    assert!(sandbox.starts_with("/mnt/mesos/sandbox"), "{first}");
    assert!(
        (0..40).all(|index| output(&scene, index) == first || !output(&scene, index).is_empty())
    );

    // The next executor has its own container, in which one task looks for the dead of the others.
    let flags = ["--executor-image", image, "--count", "30", "--max-running", "1", "--batch", "30"];
    let script = "(sleep 0.01 &); sleep 0.05; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l";
    let done = run(&scene, &cluster, &flags, script);
    done.assert_all_finished(30);
    let dead: Vec<u32> =
        (0..30).map(|index| output(&scene, index).trim().parse().expect("a number")).collect();
    // One that ends in this moment may not be reaped yet; they must not add up.
    assert!(dead.iter().all(|count| *count <= 2), "zombies stay: {dead:?}");
    drop(cluster);
    assert!(!images::containers("mesos-").contains(&name.to_owned()), "nothing is left");
    scene.assert_deserted();
}

#[test]
fn the_executor_in_its_own_image_starts_containers_of_tasks_beside_itself() {
    let test = "the_executor_in_its_own_image_starts_containers_of_tasks_beside_itself";
    let Some(image) = images::executor_with_shell(test) else { return };
    let scene = Scene::new();
    let cluster = start(&scene);
    let master = cluster.master();
    let flags =
        ["run", "--master", &master, "--json", "--output", "out", "--executor-image", image];
    let task = ["--count", "6", "--docker", image, "--shell", "--"];
    let script = "echo $MARMOSET_INDEX > /mnt/mesos/sandbox/made; cat /mnt/mesos/sandbox/made";
    let done = scene.marmoset([&flags[..], &task, &[script]].concat());
    done.assert_all_finished(6);
    assert_eq!(output(&scene, 4), "4\n");
    // The folder that the engine mounted is the one on the host, and not a path of the executor's container.
    let mut made = Vec::new();
    find(&scene.path().join("agent"), "made", &mut made);
    let mut texts: Vec<String> =
        made.iter().map(|file| fs::read_to_string(file).expect("a file of this test")).collect();
    texts.sort();
    assert_eq!(texts.concat(), "0\n1\n2\n3\n4\n5\n", "{made:?}");
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn the_image_sweeps_what_dead_executors_have_left() {
    let test = "the_image_sweeps_what_dead_executors_have_left";
    let Some(image) = images::executor_with_shell(test) else { return };
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let label = dock::label();
    let netns = fs::read_link("/proc/self/ns/net").unwrap();
    let netns = format!("marmoset.netns={}", netns.display());
    let labels = ["marmoset=task", "marmoset.run=dead", &netns, &label];
    let labels = labels.iter().flat_map(|label| ["--label", label]).collect::<Vec<_>>();
    let name = format!("marmoset-dead-in-image-{}", std::process::id());
    engine.text(&[&["create", "--name", &name], &labels[..], &[IMAGE, "true"]].concat());
    let socket = format!("{0}:{0}", engine.socket());
    let sweep = |network: &str| {
        let run = ["run", "--rm", "--network", network, "--volume", &socket, image, "sweep"];
        engine.text(&[&run[..], &["--label", &label]].concat())
    };
    // From another network it cannot be known whether an executor lives.
    let said = sweep("none");
    assert_eq!(said.matches("another network namespace").count(), 1, "{said}");
    let said = sweep("host");
    assert_eq!(said.matches(": removed").count(), 1, "{said}");
    engine.wait_until_deserted(&label);
}

/// Finds files by name, not following links.
fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a file of this test").flatten() {
        let kind = entry.file_type().expect("a file of this test");
        if kind.is_dir() {
            find(&entry.path(), name, found);
        } else if entry.file_name() == name {
            found.push(entry.path());
        }
    }
}

#[test]
fn an_image_that_is_not_there_is_told_with_the_words_of_the_engine() {
    let test = "an_image_that_is_not_there_is_told_with_the_words_of_the_engine";
    if images::executor_with_shell(test).is_none() {
        return;
    }
    let image = "127.0.0.1:1/no/such:image";
    let why = format!("docker -H unix:///var/run/docker.sock pull {image}");
    let scene = Scene::new();
    waits_in_vain(&scene, &start(&scene), ["--executor-image", image], &why);
}

#[test]
fn an_executor_is_fetched_from_a_file_and_over_http() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, "cpus:4;mem:4096");
    let file = format!("file://{}", programs::executor().display());
    let web = format!("http://{}/files/marmoset-executor?version=1", serve(programs::executor()));
    for uri in [file, web] {
        let flags = ["--executor-uri", &uri, "--count", "20"];
        let done = run(&scene, &cluster, &flags, "echo $0 $MARMOSET_INDEX");
        done.assert_all_finished(20);
        assert_eq!(output(&scene, 7), "/bin/sh 7\n");
        fs::remove_dir_all(scene.path().join("out")).expect("a server of this test");
    }
    drop(cluster);
    scene.assert_deserted();
}

/// Serves one file, whatever is asked for, on a loopback port. Ends with the test's process.
fn serve(file: &'static Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a server of this test");
    let address = listener.local_addr().expect("a server of this test").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = fs::read(file).expect("a server of this test");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let mut stream = &stream;
            // A client that went away is no concern of this server.
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn a_file_that_cannot_be_fetched_is_told() {
    let why = "Failed to launch container: Failed to fetch all URIs for container";
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, "cpus:4;mem:4096");
    waits_in_vain(&scene, &cluster, ["--executor-uri", "file:///no/such/marmoset-executor"], why);
}

/// Starts a run with an executor that agents cannot get, until it has told why.
fn waits_in_vain(scene: &Scene, cluster: &TestCluster, executor: [&str; 2], why: &str) {
    let flags = ["run", "--master", &cluster.master(), "--verbose"];
    let mut running = scene.start_marmoset([&flags[..], &executor, &["--", "true"]].concat());
    running.wait_for(why);
}

#[test]
fn the_compose_file_is_sound() {
    let file = programs::tree().join("images/compose.yaml");
    let candidates = [&["docker", "compose"][..], &["docker-compose"]];
    let checker = candidates.into_iter().find(|words| {
        let version = Command::new(words[0]).args(&words[1..]).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    });
    let Some(words) = checker else {
        skip("the_compose_file_is_sound", "no `docker compose` and no docker-compose");
        return;
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-f").arg(file).arg("config");
    let output = command.env("MESOS_MASTER_IMAGE", "my/master:1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "my/master:1",
        "mesos-agent",
        "/var/run/docker.sock",
        "--containerizers=docker,mesos",
        "--executor_registration_timeout=5mins",
        "--executor-image=marmoset-executor-busybox:0.1.0",
        "server.1=127.0.0.1:2888:3888;127.0.0.1:2181\n",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    // ZooKeeper takes no address without a port, and a job is not repeated for a task that failed.
    for wrong in ["clientPortAddress", "on-failure"] {
        assert!(!text.contains(wrong), "{wrong} is in\n{text}");
    }
}

/// The versions in the files are those that `images/build` gives to images.
#[test]
fn the_compose_file_names_the_images_that_are_built() {
    let read = |path: &str| fs::read_to_string(programs::tree().join(path)).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    let version = version.trim_matches('"');
    let compose = read("images/compose.yaml");
    for name in ["marmoset", "marmoset-executor-busybox"] {
        let default = format!(":-{name}:{version}}}");
        assert!(compose.contains(&default), "`{default}` is missing in images/compose.yaml");
    }
}
