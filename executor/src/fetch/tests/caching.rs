use futures_util::future::join_all;

use super::{
    server::{Reply, Server},
    *,
};

#[tokio::test]
async fn concurrent_tasks_share_one_download() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([("/a", vec![Reply::ok("contents").behind(&gate)])]).await;
    let site = Site::new();
    let wanted = [cached(format!("{}/a", server.url))];
    let targets = (0..20).map(|n| site.path(&format!("task{n}"))).collect::<Vec<_>>();
    let all = join_all(targets.iter().map(|target| site.fetch_into(target, &wanted)));
    let open = async {
        server.reached("/a", 1).await;
        gate.add_permits(1);
    };
    let (all, ()) = tokio::join!(all, open);
    for (fetched, target) in all.into_iter().zip(&targets) {
        fetched.unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"contents");
    }
    // Later ones need no download either, whatever they do with it.
    let named =
        Uri { output_file: Some("d/b".into()), executable: Some(true), ..wanted[0].clone() };
    site.fetch(&[named]).await.unwrap();
    assert_eq!(mode(&site.target().join("d/b")), 0o755);
    assert_eq!(server.hits("/a"), 1);
    // Without the flag the cache is not used.
    gate.add_permits(1);
    site.fetch(&[uri(format!("{}/a", server.url))]).await.unwrap();
    assert_eq!(server.hits("/a"), 2);
    assert_eq!(list(&site.path("work")), [""; 0]);
}

#[tokio::test]
async fn a_task_cannot_alter_what_others_get() {
    let server = Server::start([("/a", vec![Reply::ok("contents")])]).await;
    let site = Site::new();
    let wanted = [cached(format!("{}/a", server.url))];
    for n in 0..3 {
        let target = site.path(&format!("task{n}"));
        site.fetch_into(&target, &wanted).await.unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"contents");
        fs::write(target.join("a"), "altered").unwrap();
    }
    assert_eq!(server.hits("/a"), 1);
}

#[tokio::test]
async fn archives_are_unpacked_from_the_cache() {
    let archive = gzip(&Tar::default().file("d/a", "a").end());
    let server = Server::start([("/x.tgz", vec![Reply::ok(archive)])]).await;
    let site = Site::new();
    let wanted = [cached(format!("{}/x.tgz", server.url))];
    for name in ["one", "two"] {
        let target = site.path(name);
        site.fetch_into(&target, &wanted).await.unwrap();
        // Without the archive itself, as with Mesos.
        assert_eq!(list(&target), ["d/", "d/a"]);
    }
    assert_eq!(server.hits("/x.tgz"), 1);
}

#[tokio::test]
async fn the_least_recently_used_makes_room() {
    let server = Server::start([
        ("/a", vec![Reply::ok("aaaa")]),
        ("/b", vec![Reply::ok("bbbb")]),
        ("/c", vec![Reply::ok("cccc")]),
        ("/large", vec![Reply::ok("more than ten bytes")]),
    ])
    .await;
    let site = Site::with(|config| config.cache_bytes = 10);
    let fetch = async |path: &str| {
        site.fetch(&[cached(format!("{}{path}", server.url))]).await.unwrap();
    };
    for path in ["/a", "/b", "/a", "/c", "/a", "/large", "/large", "/c", "/a", "/b"] {
        fetch(path).await;
    }
    let hits = ["/a", "/b", "/c", "/large"].map(|path| server.hits(path));
    assert_eq!(hits, [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_failure_is_shared_but_not_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([(
        "/a",
        vec![Reply::status("404 Not Found", "").behind(&gate), Reply::ok("now")],
    )])
    .await;
    let site = Site::new();
    let wanted = [cached(format!("{}/a", server.url))];
    let (one, two) = (site.path("one"), site.path("two"));
    let open = async {
        server.reached("/a", 1).await;
        gate.add_permits(1);
    };
    let (one, two, ()) =
        tokio::join!(site.fetch_into(&one, &wanted), site.fetch_into(&two, &wanted), open);
    assert_eq!(one.unwrap_err().to_string(), two.unwrap_err().to_string());
    assert_eq!(server.hits("/a"), 1);
    site.fetch(&wanted).await.unwrap();
}

#[tokio::test]
async fn who_leaves_does_not_spoil_it_for_others() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([("/a", vec![Reply::ok("a").behind(&gate)])]).await;
    let site = Site::new();
    let wanted = [cached(format!("{}/a", server.url))];
    let first = CancellationToken::new();
    let (one, two) = (site.path("one"), site.path("two"));
    let leave = async {
        server.reached("/a", 1).await;
        first.cancel();
    };
    let (fetched, (), other) = tokio::join!(
        async {
            let fetched = site.fetcher.fetch(&wanted, &one, None, &first).await;
            gate.add_permits(1);
            fetched
        },
        leave,
        site.fetch_into(&two, &wanted),
    );
    assert!(fetched.unwrap_err().is_cancelled());
    other.unwrap();
    assert_eq!(server.hits("/a"), 1);
    assert!(!one.exists());

    // The last one to leave ends it.
    let server = Server::start([("/b", vec![Reply::Stall(vec![])])]).await;
    let cancel = CancellationToken::new();
    let leave = async {
        server.reached("/b", 1).await;
        cancel.cancel();
    };
    let wanted = [cached(format!("{}/b", server.url))];
    let (fetched, ()) = tokio::join!(site.fetcher.fetch(&wanted, &one, None, &cancel), leave);
    assert!(fetched.unwrap_err().is_cancelled());
    site.is_clean().await;
}
