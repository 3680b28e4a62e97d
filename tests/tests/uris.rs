//! `marmoset run --uri`: files that the tasks find in their folders.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use e2e::Scene;

/// Serves one text under any path, and counts how often.
fn serve(text: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            count.fetch_add(1, Ordering::Relaxed);
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            let _ = write!(client, "{head}Connection: close\r\n\r\n{text}");
        }
    });
    (url, asked)
}

#[test]
fn tasks_alone_and_in_batches_find_their_files() {
    let scene = Scene::new();
    let (url, asked) = serve("from a server");
    let source = scene.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("inside"), "inside").unwrap();
    let tar = ["-C", source.to_str().unwrap(), "-czf", "a.tgz", "inside"];
    let packed = Command::new("tar").args(tar).current_dir(scene.path()).status().unwrap();
    assert!(packed.success());
    let archive = scene.path().join("a.tgz").display().to_string();
    let tool = source.join("tool");
    fs::write(&tool, "#!/bin/sh\ncat inside d/web\n").unwrap();
    for batch in ["1", "10"] {
        let output = scene.path().join(format!("out-{batch}"));
        asked.store(0, Ordering::Relaxed);
        let done = scene.marmoset([
            "run",
            "--json",
            "--count",
            "40",
            "--batch",
            batch,
            "--uri",
            &archive,
            "--uri",
            &format!("{url}/a?b=1,2,cache,output=d/web"),
            "--uri",
            &format!("file://{},executable", tool.display()),
            "--output",
            output.to_str().unwrap(),
            "--",
            "./tool",
        ]);
        assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
        for index in 0..40 {
            let printed = fs::read_to_string(output.join(format!("{index}.out"))).unwrap();
            assert_eq!(printed, "insidefrom a server");
        }
        // One executor, one cache.
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
    scene.assert_deserted();
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let scene = Scene::new();
    let done =
        scene.marmoset(["run", "--count", "30", "--uri", "/no/such/file", "--", "/bin/true"]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let said = done.stdout + &done.stderr;
    let text = "Failed to fetch all URIs: could not fetch '/no/such/file': cannot read it on the \
                agent: No such file or directory (os error 2)";
    assert_eq!(said.matches(text).count(), 1, "{said}");
}
