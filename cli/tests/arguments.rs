//! Wrong command lines: each is refused with 64, and told with the flag's name and a way out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

fn marmoset(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marmoset"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn refused(arguments: &[&str], words: &[&str]) {
    let output = marmoset(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{arguments:?}\n{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: no `{word}` in:\n{stderr}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn of_run() {
    for (arguments, words) in [
        (&[][..], &["COMMAND"][..]),
        (&["--count", "5"], &["COMMAND"]),
        (&["--"], &["COMMAND"]),
        (&["--", ""], &["COMMAND", "name a program"]),
        (&["--count", "0", "--", "true"], &["--count", "at least 1"]),
        (&["--count", "-3", "--", "true"], &["--count", "negative"]),
        (&["--count", "many", "--", "true"], &["--count", "`100`"]),
        (
            &["--count", "3", "--each-line", "x", "--", "true"],
            &["`--count`", "`--each-line`", "leave one out"],
        ),
        (&["--each-line", "/no/such", "--", "echo", "{}"], &["--each-line", "/no/such", "`-`"]),
        (&["--each-line", "/", "--", "echo", "{}"], &["--each-line", "cannot be read"]),
        (&["--cpus", "lots", "--", "true"], &["--cpus", "`0.5`"]),
        (&["--cpus", "-1", "--", "true"], &["--cpus", "negative"]),
        (&["--cpus", "0", "--", "true"], &["--cpus", "more than 0"]),
        (&["--cpus", "0.0001", "--", "true"], &["--cpus", "thousandths"]),
        (&["--mem", "nan", "--", "true"], &["--mem", "not a number"]),
        (&["--ports", "-1", "--", "true"], &["--ports", "negative"]),
        (&["--batch", "0", "--", "true"], &["--batch", "at least 1", "auto"]),
        (&["--batch", "all", "--", "true"], &["--batch", "auto"]),
        (&["--max-running", "0", "--", "true"], &["--max-running", "at least 1"]),
        (&["--retries", "-1", "--", "true"], &["--retries", "negative"]),
        (&["--timeout", "soon", "--", "true"], &["--timeout", "`30s`"]),
        (&["--timeout", "0s", "--", "true"], &["--timeout", "longer"]),
        (&["--env", "NOVALUE", "--", "true"], &["--env", "NAME=value"]),
        (&["--env", "=x", "--", "true"], &["--env", "no name"]),
        (&["--output", "/dev/null/x", "--", "true"], &["--output", "/dev/null/x"]),
        (&["--keep", "maybe", "--", "true"], &["--keep", "always"]),
        (&["--master", "nowhere", "--", "true"], &["--master", "nowhere:5050"]),
        (&["--master", "h:99999", "--", "true"], &["--master", "65535"]),
        (&["--master", "h:1,zk://z/m", "--", "true"], &["--master", "host:port"]),
        (&["--master", "h:1", "--principal", "p", "--", "true"], &["--principal", "--secret-file"]),
        (
            &["--master", "h:1", "--secret-file", "/x", "--", "true"],
            &["--secret-file", "--principal"],
        ),
        (
            &["--master", "h:1", "--principal", "p", "--secret-file", "/no/such", "--", "true"],
            &["--secret-file", "/no/such"],
        ),
        (
            &["--master", "h:1", "--executor-path", "bin/x", "--", "true"],
            &["--executor-path bin/x", "absolute"],
        ),
        (&["--executor-path", "/x", "--", "true"], &["--executor-path", "--master"]),
        (&["--ca-file", "/x", "--", "true"], &["--ca-file", "--master"]),
        (&["--master-timeout", "1min", "--", "true"], &["--master-timeout", "--master HOST:PORT"]),
        (&["--master-timeout", "soon", "--", "true"], &["--master-timeout", "`30s`"]),
        (&["--role", "", "--", "true"], &["--role", "empty"]),
        (&["--executor-argument=--queue=many", "--", "true"], &["--executor-argument", "--queue"]),
        (&["--executor-argument=--fast", "--", "true"], &["--executor-argument", "--fast"]),
        (&["--executor-argument=--help", "--", "true"], &["--executor-argument", "runs nothing"]),
        (
            &["--docker", "i", "--docker-socket=/a", "--executor-argument=--docker-socket=/b"],
            &["--docker-socket", "multiple times"],
        ),
        (
            &["--master", "h:1", "--docker", "i", "--executor-image=m", "--docker-socket=/other"],
            &["--docker-socket /other", "--executor-docker-socket /other"],
        ),
        (
            &[
                "--master",
                "h:1",
                "--docker=i",
                "--executor-image=m",
                "--executor-docker-socket=none",
            ],
            &["`--docker`", "`--executor-docker-socket none`", "leave it out"],
        ),
        (
            &[
                "--master",
                "h:1",
                "--warm=i",
                "--executor-image=m",
                "--executor-containerizer=mesos",
            ],
            &["`--warm`", "mesos", "`--executor-docker-socket /var/run/docker.sock`"],
        ),
        (&["--user", "", "--", "true"], &["--user", "empty"]),
        (&["--docker", "i", "--docker-config", "/no/such"], &["--docker-config /no/such", "read"]),
        (&["--docker", "i", "--docker-config", "config.json"], &["--docker-config", "absolute"]),
        (&["--docker", "i", "--docker-socket", "docker.sock"], &["--docker-socket", "absolute"]),
        (&["--container-user", "7", "--", "id"], &["--container-user", "`--docker IMAGE`"]),
        (&["--docker", "i", "--container-user", "a:b:c"], &["--container-user", "`USER:GROUP`"]),
        (&["--docker", "i", "--container-user", ""], &["--container-user", "`USER:GROUP`"]),
        (
            &["--docker", "i", "--container-user", "7", "--docker-parameter", "user=8"],
            &["`--container-user`", "`--docker-parameter user=`", "leave one out"],
        ),
        (&["--fast", "--", "true"], &["--fast"]),
    ] {
        refused(&[&["run"], arguments].concat(), words);
    }
}

#[test]
fn of_files_with_bad_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (nul, latin) = (file("nul", b"a\nb\0\n"), file("latin", b"a\nb\nc\xe4\n"));
    refused(&["run", "--each-line", &nul, "--", "echo", "{}"], &["--each-line", "line 2", "NUL"]);
    refused(&["run", "--each-line", &latin, "--", "echo", "{}"], &["line 3", "UTF-8"]);
    let with = |secret: &str, words: &[&str]| {
        let master = ["run", "--master", "127.0.0.1:1", "--principal", "p", "--secret-file"];
        refused(&[&master[..], &[secret, "--", "true"]].concat(), words);
    };
    with(&file("colon", b"se:cret\n"), &["--secret-file", "colon"]);
    with(&file("empty", b""), &["--secret-file", "empty"]);
    with(&file("lines", b"a\nb\n"), &["--secret-file", "more than one line"]);
}

#[test]
fn of_the_others() {
    for (arguments, words) in [
        (&[][..], &["run", "mini", "bench"][..]),
        (&["fly"], &["fly"]),
        (&["mini", "--agents", "0"], &["--agents", "at least 1"]),
        (&["mini", "--agents", "5000"], &["--agents", "1000"]),
        (&["mini", "--port", "65530", "--agents", "9"], &["--port", "lower"]),
        (&["mini", "--port", "99999"], &["--port"]),
        (&["mini", "--ip", "here"], &["--ip"]),
        (&["mini", "--offer-timeout", "soon"], &["--offer-timeout", "`30s`"]),
        (&["mini", "--work-dir", "/dev/null/x"], &["--work-dir", "/dev/null/x"]),
        (&["mini", "--credentials", "/no/such"], &["--credentials", "/no/such"]),
        (&["bench"], &["spawn"]),
        (&["bench", "spawn", "--count", "0"], &["--count", "at least 1"]),
    ] {
        refused(arguments, words);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (arguments, words) in [
        (&["--help"][..], &["run", "mini", "bench", "executor", "Examples"][..]),
        (&["run", "--help"], &["--each-line", "Examples", "MARMOSET_INDEX", "130"]),
        (&["mini", "--help"], &["--agents", "Examples"]),
        (&["bench", "spawn", "--help"], &["--count", "Examples"]),
        (&["--version"], &["marmoset 0"]),
    ] {
        let output = marmoset(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        for word in words {
            assert!(stdout.contains(word), "{arguments:?}: no `{word}` in:\n{stdout}");
        }
        assert!(!stdout.contains("mini-command-executor"), "{stdout}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let script = format!("{} run --help | head -n 1", env!("CARGO_BIN_EXE_marmoset"));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
}
