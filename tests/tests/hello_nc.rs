//! The example framework: six one-shot services that are replaced as often as they are used.

use std::{io::Read as _, net::TcpStream, process::Command, time::Duration};

use e2e::{Scene, TestCluster, programs, wait};
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
