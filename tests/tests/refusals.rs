//! Bad input gets a message that names the field and what to do, and its exit code.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Shutdown, TcpListener},
    thread,
};

use e2e::{Scene, TestCluster, cluster, programs};
use marmoset_mini::MasterConfig;

/// Runs `marmoset run` with `arguments`; asserts the exit code and that each of `words` is on stderr.
fn refused(code: i32, arguments: &[&str], words: &[&str]) {
    let scene = Scene::new();
    let done = scene.marmoset([&["run"], arguments].concat());
    assert_eq!(done.code(), code, "{arguments:?}\n{}\n{}", done.stdout, done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{arguments:?}: no `{word}` in:\n{}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    scene.assert_deserted();
}

#[test]
fn usage_errors_name_the_flag() {
    refused(64, &[], &["COMMAND"]);
    refused(64, &["--count", "0", "--", "true"], &["--count"]);
    refused(64, &["--count", "-3", "--", "true"], &["--count"]);
    refused(64, &["--count", "3", "--each-line", "x", "--", "true"], &["--count", "--each-line"]);
    refused(64, &["--cpus", "lots", "--", "true"], &["--cpus"]);
    refused(64, &["--cpus", "-1", "--", "true"], &["--cpus"]);
    refused(64, &["--mem", "nan", "--", "true"], &["--mem"]);
    refused(64, &["--batch", "0", "--", "true"], &["--batch"]);
    refused(64, &["--timeout", "soon", "--", "true"], &["--timeout"]);
    refused(64, &["--env", "NOVALUE", "--", "true"], &["--env"]);
    refused(64, &["--master", "nowhere", "--", "true"], &["--master"]);
    refused(64, &["--master", "host:99999", "--", "true"], &["--master"]);
    refused(
        64,
        &["--principal", "me", "--master", "127.0.0.1:1", "--", "true"],
        &["--secret-file"],
    );
    refused(64, &["--each-line", "/no/such/file", "--", "true"], &["/no/such/file"]);
}

#[test]
fn a_command_that_is_not_there_fails_its_tasks_with_the_reason() {
    let scene = Scene::new();
    let done = scene.marmoset(["run", "--json", "--count", "3", "--", "no-such-command-here"]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let result = done.json();
    assert_eq!(result["tasks"]["failed"], 3);
    let message = result["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("no-such-command-here") && message.contains("not found"), "{message}");
}

#[test]
fn a_command_that_may_not_be_run_fails_its_tasks_with_the_reason() {
    let scene = Scene::new();
    let done = scene.marmoset(["run", "--json", "--count", "2", "--", "/etc/passwd"]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let message = done.json()["failures"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/etc/passwd"), "{message}");
    assert!(message.to_lowercase().contains("permission denied"), "{message}");
}

#[test]
fn a_port_where_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(2, &["--master", &free.to_string(), "--", "true"], &[&free.to_string(), "--master"]);
}

#[test]
fn a_master_that_comes_late_is_waited_for_if_asked() {
    let scene = Scene::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let master = free.to_string();
    let flags = ["run", "--verbose", "--master", &master, "--master-timeout", "2min"];
    let executor = programs::executor().display().to_string();
    let rest = ["--executor-path", &executor, "--count", "3", "--", "true"];
    let mut running = scene.start_marmoset([&flags[..], &rest].concat());
    running.wait_for("trying again");
    let agent = cluster::agent(&scene, "agent", "cpus:4;mem:4096");
    let late = MasterConfig { port: free.port(), ..cluster::master() };
    let cluster = TestCluster::start(late, vec![agent]);
    let done = running.wait();
    assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn a_master_that_is_not_a_master() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // An answer that is there before its request is no answer to it.
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = "<html>welcome</html>";
            let _ = write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // A socket closed with the request unread resets the connection, the answer with it.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    refused(2, &["--master", &address, "--", "true"], &[&address, "not a Mesos master"]);
}

#[test]
fn a_wait_without_offers_is_explained() {
    let scene = Scene::new();
    let mut running =
        scene.start_marmoset(["run", "--cpus", "100000", "--mem", "16", "--", "true"]);
    // What was asked, and what was offered.
    running.wait_for("100000");
    running.wait_for("offer");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let done = running.wait();
    assert_eq!(done.code(), 130, "{}\n{}", done.stdout, done.stderr);
    scene.assert_deserted();
}
