//! The example framework: six one-shot services that are replaced as often as they are used.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use e2e::{
    Scene, TestCluster,
    docker::{Engine, IMAGE},
    programs, wait,
};
use nix::sys::signal::Signal;

/// What the service on `port` says, once somebody listens there.
fn greeting(port: u16) -> String {
    wait::until(&format!("an answer on port {port}"), || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then(|| text.trim_end().to_owned())
    })
}

#[test]
fn six_services_answer_once_each_and_are_replaced() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, "cpus:4;mem:6686;ports:[8000-8100]");
    let mut command = Command::new(programs::hello_nc());
    command.args(["-v", "--master", &cluster.master(), "--executor-path"]);
    command.arg(programs::executor());
    let running = scene.start(command);

    let mut first: Vec<String> = (8000..=8005).map(greeting).collect();
    let again = greeting(8003);
    assert!(again.starts_with("hello "), "{again}");
    assert!(!first.contains(&again), "port 8003 is served by a new task: {first:?} {again}");
    first.sort();
    assert_eq!(first, (0..6).map(|id| format!("hello {id}")).collect::<Vec<_>>());

    running.signal(Signal::SIGINT);
    let done = running.wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    for line in [
        "Registered with framework ID ",
        "cpus: 4.0, mem: 6686.0, ports: 8000-8100",
        "Creating task 0",
        "Task 0 is in state TASK_RUNNING",
        "Creating task 5",
        "ports: 8006-8100",
        "Declining offer",
    ] {
        assert!(done.stderr.contains(line), "no `{line}` in:\n{}", done.stderr);
    }
    drop(cluster);
    scene.assert_deserted();
}

/// The first of six ports that nobody listens on.
fn six_ports() -> u16 {
    let free =
        |first: &u16| (*first..first + 6).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok());
    // Tests of other trees look for theirs at the same time.
    let start = 20_000 + (std::process::id() % 1000) as u16 * 10;
    (start..).step_by(10).take(100).find(free).expect("there are six free ports in a row")
}

#[test]
fn six_containers_answer_once_each_and_are_replaced() {
    let test = "six_containers_answer_once_each_and_are_replaced";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let scene = Scene::new();
    let port = six_ports();
    let resources = format!("cpus:4;mem:6686;ports:[{port}-{}]", port + 100);
    let cluster = TestCluster::single(&scene, &resources);
    let mut command = Command::new(programs::hello_nc());
    command.args(["-v", "--docker", IMAGE, "--master", &cluster.master()]);
    command.args(["--first-port", &port.to_string(), "--executor-path"]);
    command.arg(programs::executor());
    let mut running = scene.start(command);
    running.wait_for("Registered with framework ID ");
    let seen = running.stderr();
    let id =
        seen.split("Registered with framework ID ").nth(1).and_then(|rest| rest.lines().next());
    let label = format!("marmoset.framework={}", id.expect("it was waited for"));

    let before = engine.wait_for_running(&label, 6);
    assert_eq!(before.len(), 6, "{before:?}");
    assert!(before.iter().all(|name| name.starts_with("marmoset-")), "{before:?}");
    let mut first = (port..port + 6).map(greeting).collect::<Vec<_>>();
    let again = greeting(port + 3);
    assert!(again.starts_with("hello "), "{again}");
    assert!(!first.contains(&again), "the port is served by a new container: {first:?} {again}");
    first.sort();
    assert_eq!(first, (0..6).map(|id| format!("hello {id}")).collect::<Vec<_>>());
    wait::until("six other containers", || {
        let now = engine.wait_for_running(&label, 6);
        (now.len() == 6 && now.iter().all(|name| !before.contains(name))).then_some(())
    });

    running.signal(Signal::SIGINT);
    let done = running.wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    drop(cluster);
    engine.wait_until_deserted(&label);
    scene.assert_deserted();
}
