//! Files that each of many tasks gets.

use std::os::unix::fs::MetadataExt as _;

use futures_util::future::join_all;
use nix::unistd::geteuid;

use super::{
    server::{Reply, Server},
    *,
};

fn bundle() -> Vec<u8> {
    let tar = Tar::default()
        .file("bin/tool", "#!/bin/sh\n")
        .symlink("tool", "bin/tool")
        .link("bin/twin", "bin/tool");
    gzip(&tar.end())
}

#[tokio::test]
async fn all_get_what_was_fetched_and_unpacked_once() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([
        ("/a.tgz", vec![Reply::ok(bundle())]),
        ("/b", vec![Reply::ok("contents").behind(&gate)]),
    ])
    .await;
    let site = Site::new();
    let executable = Uri { executable: Some(true), ..uri(format!("{}/b", server.url)) };
    let set = site.fetcher.set(&[cached(format!("{}/a.tgz", server.url)), executable], None);
    let targets = (0..20).map(|n| site.path(&format!("task{n}"))).collect::<Vec<_>>();
    let all = join_all(targets.iter().map(|target| set.place(target)));
    let open = async {
        server.reached("/b", 1).await;
        gate.add_permits(1);
    };
    let (all, ()) = tokio::join!(all, open);
    for (placed, target) in all.into_iter().zip(&targets) {
        placed.unwrap();
        let names = ["b", "bin/", "bin/tool", "bin/twin", "tool -> bin/tool"];
        assert_eq!(list(target), names);
        assert_eq!(mode(target), 0o755);
        assert_eq!(mode(&target.join("b")), 0o755);
        assert_eq!(mode(&target.join("bin/tool")), 0o644);
        let tool = target.join("bin/tool").metadata().unwrap();
        assert_eq!(tool.mtime(), 1_000_000_000);
        assert_eq!(tool.ino(), target.join("bin/twin").metadata().unwrap().ino());
        // What one does with them is nothing to the others.
        assert_eq!(fs::read(target.join("bin/tool")).unwrap(), b"#!/bin/sh\n");
        fs::write(target.join("bin/tool"), "altered").unwrap();
        assert_eq!(fs::read(target.join("b")).unwrap(), b"contents");
        fs::write(target.join("b"), "altered").unwrap();
    }
    assert_eq!((server.hits("/a.tgz"), server.hits("/b")), (1, 1));
    // A folder that is there is filled.
    set.place(&targets[0]).await.unwrap();
    assert_eq!(fs::read(targets[0].join("b")).unwrap(), b"contents");
    drop(set);
    site.fetcher.drained().await;
    assert_eq!(list(&site.path("work")), [""; 0]);
}

#[tokio::test]
async fn a_failure_is_the_answer_for_a_while() {
    let server =
        Server::start([("/a", vec![Reply::status("404 Not Found", ""), Reply::ok("a")])]).await;
    let site = Site::with(|config| config.remorse = Duration::MAX);
    let set = site.fetcher.set(&[uri(format!("{}/a", server.url))], None);
    let first = set.place(&site.target()).await.unwrap_err().to_string();
    assert!(first.ends_with("the server answered 404 Not Found: check the path"), "{first}");
    assert_eq!(set.place(&site.target()).await.unwrap_err().to_string(), first);
    assert_eq!(server.hits("/a"), 1);
    drop(set);
    site.is_clean().await;
}

#[tokio::test]
async fn a_failure_that_is_long_ago_is_forgotten() {
    let server =
        Server::start([("/a", vec![Reply::status("404 Not Found", ""), Reply::ok("a")])]).await;
    let site = Site::with(|config| config.remorse = Duration::ZERO);
    let set = site.fetcher.set(&[uri(format!("{}/a", server.url))], None);
    set.place(&site.target()).await.unwrap_err();
    set.place(&site.target()).await.unwrap();
    assert_eq!(server.hits("/a"), 2);
}

#[tokio::test]
async fn who_leaves_does_not_spoil_it_and_the_last_one_ends_it() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([("/a", vec![Reply::ok("a").behind(&gate)])]).await;
    let site = Site::new();
    let set = site.fetcher.set(&[uri(format!("{}/a", server.url))], None);
    let (one, two) = (site.path("one"), site.path("two"));
    let stays = async {
        set.place(&one).await.unwrap();
    };
    let leaves = async {
        tokio::select! {
            placed = set.place(&two) => panic!("{placed:?}"),
            () = server.reached("/a", 1) => gate.add_permits(1),
        }
    };
    tokio::join!(leaves, stays);
    assert!(one.join("a").exists() && !two.exists());
    assert_eq!(server.hits("/a"), 1);

    let set = site.fetcher.set(&[uri(format!("{}/a", server.url))], None);
    tokio::select! {
        placed = set.place(&two) => panic!("{placed:?}"),
        () = server.reached("/a", 2) => {}
    }
    // One for the request that nobody waits for.
    gate.add_permits(2);
    set.place(&two).await.unwrap();
    assert_eq!(server.hits("/a"), 3);
}

#[tokio::test]
async fn what_does_not_fit_leaves_nothing() {
    let site = Site::new();
    let set = site.fetcher.set(&[uri(site.source("a", "a"))], None);
    let file = site.source("file", "");
    let text = set.place(&Path::new(&file).join("t")).await.unwrap_err().to_string();
    assert!(text.contains(&format!("cannot use the folder `{file}/t`: Not a directory")), "{text}");
    drop(set);
    site.is_clean().await;
}

#[tokio::test]
async fn all_are_given_to_the_user() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let owner = Owner { uid: Uid::from_raw(4711), gid: Gid::from_raw(4712) };
    let server = Server::start([("/a.tgz", vec![Reply::ok(bundle())])]).await;
    let site = Site::new();
    let set = site.fetcher.set(&[cached(format!("{}/a.tgz", server.url))], Some(owner));
    set.place(&site.target()).await.unwrap();
    for name in ["", "bin", "bin/tool", "bin/twin", "tool"] {
        let about = site.target().join(name).symlink_metadata().unwrap();
        assert_eq!((about.uid(), about.gid()), (4711, 4712), "{name}");
    }
}
