//! Files that tasks want in their folders before they start.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{CommandInfo, TaskInfo, TaskState, command_info::Uri, task_status::Reason},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Uid, User},
};
use prost::Message as _;

use crate::{
    agent::{Agent, shell, task},
    children, eventually,
    web::{Page, Web},
};

/// A task with files; `uris` is what stands in the list.
fn with_uris(id: &str, script: &str, uris: &str) -> TaskInfo {
    task(id, &format!(r#"{{"command": {{"value": "{script}", "uris": [{uris}]}}}}"#))
}

fn batch_with_uris(id: &str, items: u64, width: u32, script: &str, uris: &str) -> TaskInfo {
    let last = items - 1;
    task(
        id,
        &format!(
            r#"{{"batch": {{"command": {{"value": "{script}", "uris": [{uris}]}}, "job": "{id}",
                 "width": {width}, "ranges": [{{"begin": 0, "end": {last}}}]}}}}"#
        ),
    )
}

fn file(text: &str) -> Page {
    Page::File(text.as_bytes().to_vec())
}

/// Packs files with the tools of the system.
fn pack(program: &str, arguments: &[&str], folder: &Path) {
    let done = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{program}: {done:?}");
}

/// Names in the folder of a task, without its outputs.
fn names(agent: &Agent, task: &str) -> Vec<String> {
    let entries = fs::read_dir(agent.sandbox.path().join("tasks").join(task)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names = names.filter(|name| name != "stdout" && name != "stderr").collect::<Vec<_>>();
    names.sort();
    names
}

/// What is left of fetches beside the folders of tasks.
fn leftovers(agent: &Agent) -> usize {
    fs::read_dir(agent.sandbox.path().join(".fetch")).map_or(0, Iterator::count)
}

#[test]
fn files_of_the_agent_and_of_servers_are_there_before_the_task_starts() {
    let source = tempfile::tempdir().unwrap();
    let plain = source.path().join("plain");
    fs::write(&plain, "plain").unwrap();
    let (secured, pem) = Web::start_secured([("/c", file("https"))]);
    let authorities = source.path().join("authorities.pem");
    fs::write(&authorities, pem).unwrap();
    let authorities = authorities.to_str().unwrap();
    let web = Web::start([("/b", file("http")), ("/tool", file("#!/bin/sh\necho I run\n"))]);
    let agent = Agent::start(&[("SSL_CERT_FILE", authorities)], &[]);
    let (path, http, https) = (plain.display(), &web.url, &secured.url);
    agent.launch(with_uris(
        "t",
        "cat plain d/renamed b c; ./tool",
        &format!(
            r#"{{"value": "{path}"}}, {{"value": "file://{path}", "output_file": "d/renamed"}},
               {{"value": "{http}/b"}}, {{"value": "{https}/c"}},
               {{"value": "{http}/tool", "executable": true}}"#
        ),
    ));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFinished, "{} {}", end.message(), agent.log());
    assert_eq!(agent.file("t", "stdout"), "plainplainhttphttpsI run\n");
    // A program that is fetched is found, too, by a name relative to the folder.
    agent.launch(task(
        "argv",
        &format!(
            r#"{{"command": {{"value": "./tool", "shell": false, "arguments": ["tool"],
                 "uris": [{{"value": "{http}/tool", "executable": true}}]}}}}"#
        ),
    ));
    let end = agent.end_of("argv");
    assert_eq!(end.state(), TaskState::TaskFinished, "{}", end.message());
    assert_eq!(agent.file("argv", "stdout"), "I run\n");
    // A member of a task group has its command elsewhere.
    let uri = Uri { value: format!("{http}/b"), ..Uri::default() };
    let command =
        CommandInfo { value: Some("cat b".into()), uris: vec![uri], ..CommandInfo::default() };
    agent.launch(TaskInfo { command: Some(command), data: None, ..task("member", "") });
    assert_eq!(agent.end_of("member").state(), TaskState::TaskFinished);
    assert_eq!(agent.file("member", "stdout"), "http");
    assert_eq!(leftovers(&agent), 0);
}

#[test]
fn archives_are_unpacked_unless_they_are_wanted_as_they_are() {
    let source = tempfile::tempdir().unwrap();
    let folder = source.path();
    fs::write(folder.join("inside"), "inside").unwrap();
    pack("tar", &["cf", "a.tar", "inside"], folder);
    pack("tar", &["czf", "b.tar.gz", "inside"], folder);
    pack("tar", &["cJf", "c.tar.xz", "inside"], folder);
    pack("tar", &["czf", "d.tgz", "inside"], folder);
    pack("gzip", &["-k", "inside"], folder);
    pack("python3", &["-m", "zipfile", "-c", "e.zip", "inside"], folder);
    let agent = Agent::start(&[], &[]);
    for name in ["a.tar", "b.tar.gz", "c.tar.xz", "d.tgz", "e.zip", "inside.gz"] {
        let path = folder.join(name);
        let uri = format!(r#"{{"value": "{}"}}"#, path.display());
        agent.launch(with_uris(name, "cat inside", &uri));
        let end = agent.end_of(name);
        assert_eq!(end.state(), TaskState::TaskFinished, "{name}: {}", end.message());
        assert_eq!(agent.file(name, "stdout"), "inside", "{name}");
        for (task, flag) in [("kept", "\"extract\": false"), ("run", "\"executable\": true")] {
            let task = format!("{name}-{task}");
            let uri = format!(r#"{{"value": "{}", {flag}}}"#, path.display());
            agent.launch(with_uris(&task, "true", &uri));
            assert_eq!(agent.end_of(&task).state(), TaskState::TaskFinished);
            assert_eq!(names(&agent, &task), [name]);
        }
    }
}

#[test]
fn what_cannot_be_had_fails_the_task_and_says_why() {
    let web = Web::start([]);
    let address = web.url.strip_prefix("http://").unwrap();
    let agent = Agent::start(&[], &[]);
    for (id, uri, text) in [
        (
            "absent",
            format!(r#"{{"value": "http://me:secret@{address}/a?signature=secret"}}"#),
            format!(
                "Failed to fetch all URIs: could not fetch 'http://***@{address}/a?…': the server \
                 answered 404 Not Found: check the path"
            ),
        ),
        (
            "scheme",
            r#"{"value": "hdfs://a/b"}"#.to_owned(),
            "Failed to fetch all URIs: could not fetch 'hdfs://a/b': scheme `hdfs` is not \
             supported: use `http://`, `https://`, `file://` or an absolute path"
                .to_owned(),
        ),
        (
            "escape",
            r#"{"value": "/etc/hosts", "output_file": "../../hosts"}"#.to_owned(),
            "Failed to fetch all URIs: could not fetch '/etc/hosts': `output_file` `../../hosts` \
             contains `..`: only paths inside the task's folder are allowed"
                .to_owned(),
        ),
    ] {
        agent.launch(with_uris(id, "true", &uri));
        let end = agent.end_of(id);
        assert_eq!(end.state(), TaskState::TaskFailed);
        assert_eq!(end.message(), text);
        assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
        assert!(!agent.sandbox.path().join("tasks").join(id).exists());
    }
    assert!(!agent.log().contains("secret"), "{}", agent.log());
}

#[test]
fn an_archive_does_not_reach_beyond_the_folder() {
    let source = tempfile::tempdir().unwrap();
    let folder = source.path();
    let script = "import tarfile, io, sys\n\
        def pack(path, *entries):\n\
        \x20   with tarfile.open(path, 'w') as tar:\n\
        \x20       for name, kind, link in entries:\n\
        \x20           entry = tarfile.TarInfo(name)\n\
        \x20           entry.type, entry.linkname = kind, link\n\
        \x20           tar.addfile(entry, io.BytesIO(b''))\n\
        F, S, H = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE\n\
        pack('up.tar', ('../escaped', F, ''))\n\
        pack('root.tar', ('/tmp/escaped', F, ''))\n\
        pack('symbolic.tar', ('out', S, '../..'), ('out/escaped', F, ''))\n\
        pack('hard.tar', ('mine', H, '../../../stdout'))\n";
    pack("python3", &["-c", script], folder);
    let agent = Agent::start(&[], &[]);
    for name in ["up", "root", "symbolic", "hard"] {
        let path = folder.join(format!("{name}.tar"));
        let uri = format!(r#"{{"value": "{}"}}"#, path.display());
        agent.launch(with_uris(name, "true", &uri));
        let end = agent.end_of(name);
        assert_eq!(end.state(), TaskState::TaskFailed, "{name}");
        let outside = "only paths inside the task's folder are allowed";
        assert!(end.message().contains(outside), "{name}: {}", end.message());
        assert!(!agent.sandbox.path().join("tasks").join(name).exists());
    }
    assert!(!agent.sandbox.path().join("escaped").exists());
    assert!(!agent.sandbox.path().join("tasks/escaped").exists());
    assert_eq!(leftovers(&agent), 0);
}

#[test]
fn a_kill_and_a_shutdown_end_the_download_and_the_task() {
    let web = Web::start([("/slow", Page::Endless)]);
    let mut agent = Agent::start(&[], &[]);
    let uri = format!(r#"{{"value": "{}/slow"}}"#, web.url);
    let check = |end: &marmoset_proto::mesos::v1::TaskStatus| {
        assert_eq!(end.state(), TaskState::TaskKilled);
        assert_eq!(end.message(), "Killed before it was started");
    };
    agent.launch(with_uris("killed", "touch started", &uri));
    web.wait_for("/slow", 1);
    agent.kill("killed");
    check(&agent.end_of("killed"));
    web.wait_until_left(1);
    // All items of a batch wait for the same download.
    agent.launch(batch_with_uris("batch", 50, 20, "true", &uri));
    web.wait_for("/slow", 2);
    agent.kill("batch");
    let end = agent.end_of("batch");
    assert_eq!(
        (end.state(), end.message()),
        (TaskState::TaskKilled, "50 items: 0 finished, 50 killed")
    );
    web.wait_until_left(2);
    eventually("nothing is left", || leftovers(&agent) == 0);
    agent.launch(with_uris("shut-down", "touch started", &uri));
    web.wait_for("/slow", 3);
    agent.shutdown();
    check(&agent.end_of("shut-down"));
    assert_eq!(agent.wait().code(), Some(0));
    web.wait_until_left(3);
    assert!(!agent.sandbox.path().join("tasks").exists());
}

#[test]
fn who_waits_for_files_keeps_nobody_waiting() {
    let web = Web::start([("/slow", Page::Endless), ("/quick", file("quick"))]);
    let agent = Agent::start(&[], &[]);
    let uri = |path: &str| format!(r#"{{"value": "{}{path}"}}"#, web.url);
    // More than may be starting at a time.
    agent.launch(batch_with_uris("batch", 1000, 500, "true", &uri("/slow")));
    web.wait_for("/slow", 1);
    agent.launch(shell("without", "true"));
    assert_eq!(agent.end_of("without").state(), TaskState::TaskFinished);
    agent.launch(with_uris("with", "cat quick", &uri("/quick")));
    assert_eq!(agent.end_of("with").state(), TaskState::TaskFinished);
    assert_eq!(agent.file("with", "stdout"), "quick");
}

#[test]
fn a_batch_fetches_once_and_each_item_has_its_own() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("inside"), "inside").unwrap();
    pack("tar", &["czf", "a.tgz", "inside"], source.path());
    let archive = fs::read(source.path().join("a.tgz")).unwrap();
    let web = Web::start([("/a.tgz", Page::File(archive)), ("/b", file("b"))]);
    let agent = Agent::start(&[], &[]);
    let uris = format!(r#"{{"value": "{0}/a.tgz", "cache": true}}, {{"value": "{0}/b"}}"#, web.url);
    let script = "grep -qx inside inside && grep -qx b b && echo spoilt | tee inside > b";
    agent.launch(batch_with_uris("j", 300, 8, script, &uris));
    let end = agent.end_of("j");
    assert_eq!(end.message(), "300 items: 300 finished");
    assert_eq!((web.hits("/a.tgz"), web.hits("/b")), (1, 1));
    eventually("the shared files go with the batch", || leftovers(&agent) == 0);
    // What is cached serves later tasks; the rest is asked for again.
    agent.launch(with_uris("later", "cat inside b", &uris));
    agent.end_of("later");
    assert_eq!(agent.file("later", "stdout"), "insideb");
    assert_eq!((web.hits("/a.tgz"), web.hits("/b")), (1, 2));
}

#[test]
fn a_batch_whose_files_cannot_be_had_asks_once() {
    let web = Web::start([]);
    let agent = Agent::start(&[], &[]);
    let uri = format!(r#"{{"value": "{}/absent"}}"#, web.url);
    agent.launch(batch_with_uris("j", 200, 3, "true", &uri));
    let end = agent.end_of("j");
    assert_eq!(end.message(), "200 items: 0 finished, 200 failed");
    let report = Report::decode(end.data.unwrap()).unwrap();
    let text = report.results[0].message();
    assert!(text.starts_with("Failed to fetch all URIs: could not fetch"), "{text}");
    assert_eq!(web.hits("/absent"), 1);
}

#[test]
fn tasks_that_want_the_same_at_the_same_time_share_one_download() {
    let web = Web::start([("/a", file("a"))]);
    let agent = Agent::start(&[], &[]);
    let uri = format!(r#"{{"value": "{}/a", "cache": true}}"#, web.url);
    let names = (0..30).map(|number| format!("t{number}")).collect::<Vec<_>>();
    for name in &names {
        agent.launch(with_uris(name, "cat a", &uri));
    }
    let mut ended = 0;
    while ended < names.len() {
        let status = agent.update();
        if status.state().is_terminal() {
            assert_eq!(status.state(), TaskState::TaskFinished, "{}", status.message());
            ended += 1;
        }
    }
    for name in &names {
        assert_eq!(agent.file(name, "stdout"), "a");
    }
    assert_eq!(web.hits("/a"), 1);
}

#[test]
fn what_is_fetched_is_the_users() {
    let nobody = User::from_name("nobody").unwrap().unwrap();
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let source = tempfile::tempdir().unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (open, closed) = (source.path().join("open"), source.path().join("closed"));
    fs::write(&open, "open").unwrap();
    fs::write(&closed, "closed").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    let web = Web::start([("/a", file("a"))]);
    let agent = Agent::start(&[], &[]);
    fs::set_permissions(agent.sandbox.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let command = |script: &str, uris: &str| {
        format!(r#"{{"value": "{script}", "user": "nobody", "uris": [{uris}]}}"#)
    };
    let uris = format!(
        r#"{{"value": "{}"}}, {{"value": "{}/a", "output_file": "d/a"}}"#,
        open.display(),
        web.url
    );
    let single = command("echo more >> open; echo more >> d/a", &uris);
    agent.launch(task("t", &format!(r#"{{"command": {single}}}"#)));
    let end = agent.end_of("t");
    assert_eq!(
        end.state(),
        TaskState::TaskFinished,
        "{} {}",
        end.message(),
        agent.file("t", "stderr")
    );
    let batch = format!(
        r#"{{"batch": {{"command": {single}, "job": "j", "ranges": [{{"begin": 0, "end": 2}}]}}}}"#
    );
    agent.launch(task("b", &batch));
    assert_eq!(agent.end_of("b").message(), "3 items: 3 finished");
    for folder in ["t", "j.0", "j.2"] {
        for name in ["", "open", "d", "d/a"] {
            let path = agent.sandbox.path().join("tasks").join(folder).join(name);
            assert_eq!(fs::metadata(&path).unwrap().uid(), nobody.uid.as_raw(), "{path:?}");
        }
    }
    // What the user may not read, the executor does not hand out.
    let single = command("true", &format!(r#"{{"value": "{}"}}"#, closed.display()));
    agent.launch(task("refused", &format!(r#"{{"command": {single}}}"#)));
    let end = agent.end_of("refused");
    assert!(end.message().contains("cannot read it on the agent as user"), "{}", end.message());
}

#[test]
fn the_launcher_may_die_while_files_are_fetched() {
    let web = Web::start([("/a", file("a")), ("/slow", Page::Endless)]);
    let agent = Agent::start(&[], &[]);
    let uri = |path: &str| format!(r#"{{"value": "{}{path}"}}"#, web.url);
    agent.launch(with_uris("waits", "true", &uri("/slow")));
    web.wait_for("/slow", 1);
    agent.launch(shell("runs", "sleep 1000"));
    while agent.update().state() != TaskState::TaskRunning {}
    for launcher in children(agent.pid()) {
        kill(nix::unistd::Pid::from_raw(launcher), Signal::SIGKILL).unwrap();
    }
    let end = agent.end_of("runs");
    assert!(end.message().starts_with("the process launcher died"), "{}", end.message());
    agent.launch(with_uris("next", "cat a", &uri("/a")));
    assert_eq!(agent.end_of("next").state(), TaskState::TaskFinished);
    agent.kill("waits");
    assert_eq!(agent.end_of("waits").state(), TaskState::TaskKilled);
}
