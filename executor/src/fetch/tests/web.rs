use super::{
    server::{Reply, Server},
    *,
};

#[tokio::test]
async fn files_arrive_under_their_names() {
    let site = Site::new();
    let server = Server::start([
        ("/a/plain.txt", vec![Reply::ok("plain")]),
        ("/a/tool", vec![Reply::ok("#!/bin/sh\n")]),
        ("/a/not-unpacked.tgz", vec![Reply::ok("not a tgz")]),
        ("/a%20b", vec![Reply::ok("")]),
    ])
    .await;
    let url = |path: &str| format!("{}{path}", server.url);
    let uris = [
        uri(url("/a/plain.txt?version=1/2#top")),
        Uri { executable: Some(true), ..uri(url("/a/tool")) },
        Uri { extract: Some(false), ..uri(url("/a/not-unpacked.tgz")) },
        Uri { output_file: Some("lib/x/renamed".into()), ..uri(url("/a/plain.txt")) },
        uri(url("/a%20b")),
    ];
    site.fetch(&uris).await.unwrap();
    let target = site.target();
    assert_eq!(
        list(&target),
        ["a b", "lib/", "lib/x/", "lib/x/renamed", "not-unpacked.tgz", "plain.txt", "tool"]
    );
    assert_eq!(fs::read(target.join("plain.txt")).unwrap(), b"plain");
    assert_eq!(mode(&target.join("plain.txt")), 0o644);
    assert_eq!(mode(&target.join("tool")), 0o755);
    assert_eq!(mode(&target.join("lib")), 0o755);
    assert_eq!(list(&site.path("work")), [""; 0]);
}

#[tokio::test]
async fn the_later_of_two_with_one_name_wins() {
    let site = Site::new();
    let server =
        Server::start([("/1/a", vec![Reply::ok("first")]), ("/2/a", vec![Reply::ok("second")])])
            .await;
    let uris = ["/1/a", "/2/a"].map(|path| uri(format!("{}{path}", server.url)));
    site.fetch(&uris).await.unwrap();
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"second");
}

#[tokio::test]
async fn credentials_go_to_the_server_and_nowhere_else() {
    let site = Site::new();
    let other = Server::start([("/a", vec![Reply::ok("a")])]).await;
    let away = other.url.replace("127.0.0.1", "localhost");
    let server = Server::start([("/a", vec![Reply::redirect(&format!("{away}/a"))])]).await;
    let url = |path: &str| server.url.replace("://", "://me:tamarin@") + path;
    site.fetch(&[uri(url("/a?token=tamarin"))]).await.unwrap();
    let head = &server.heads()[0];
    assert!(head.to_lowercase().contains("authorization: basic bwu6dgftyxjpbg=="), "{head}");
    assert!(head.starts_with("GET /a?token=tamarin "), "{head}");
    let head = other.heads()[0].to_lowercase();
    assert!(!head.contains("authorization") && !head.contains("referer"), "{head}");

    let site = Site::new();
    let text = site.refusal(&[uri(url("/missing?token=tamarin"))]).await;
    let shown = server.url.replace("://", "://***@");
    let status = "the server answered 404 Not Found: check the path";
    assert_eq!(text, format!("could not fetch '{shown}/missing?…': {status}"));
    assert_eq!(server.hits("/missing?token=tamarin"), 1);
    let error = site.fetch(&[uri(url("/missing"))]).await.unwrap_err();
    assert!(!format!("{error:?}").contains("tamarin"));
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let busy = || Reply::status("503 Service Unavailable", "");
    let torn = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ntorn".into());
    let torn_chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ntorn";
    let server = Server::start([
        ("/recovers", vec![busy(), torn, Reply::ok("whole")]),
        ("/busy", vec![busy()]),
        ("/torn", vec![Reply::Bytes(torn_chunk.to_vec())]),
    ])
    .await;
    let site = Site::new();
    site.fetch(&[uri(format!("{}/recovers", server.url))]).await.unwrap();
    assert_eq!(fs::read(site.target().join("recovers")).unwrap(), b"whole");
    assert_eq!(server.hits("/recovers"), 3);
    for (path, reason) in [
        ("/busy", "the server answered 503 Service Unavailable (tried 3 times)"),
        ("/torn", "the connection broke: "),
    ] {
        let text = Site::new().refusal(&[uri(format!("{}{path}", server.url))]).await;
        assert!(text.contains(reason) && text.ends_with(" (tried 3 times)"), "{text}");
        assert_eq!(server.hits(path), 3);
    }
}

#[tokio::test]
async fn redirects_are_bounded() {
    let server = Server::start([
        ("/1", vec![Reply::redirect("/2")]),
        ("/2", vec![Reply::redirect("/file")]),
        ("/file", vec![Reply::ok("there")]),
        ("/loop", vec![Reply::redirect("/loop")]),
        ("/away", vec![Reply::redirect("ftp://127.0.0.1/a")]),
    ])
    .await;
    let with = || Site::with(|config| config.max_redirects = 2);
    let site = with();
    site.fetch(&[uri(format!("{}/1", server.url))]).await.unwrap();
    // The name is that of the URI, not of where it leads.
    assert_eq!(fs::read(site.target().join("1")).unwrap(), b"there");
    let text = with().refusal(&[uri(format!("{}/loop", server.url))]).await;
    assert!(text.ends_with("the server redirects more than 2 times"), "{text}");
    assert_eq!(server.hits("/loop"), 3);
    let text = with().refusal(&[uri(format!("{}/away", server.url))]).await;
    assert!(text.contains("could not fetch"), "{text}");
}

#[tokio::test]
async fn too_large_is_told_early() {
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_vec();
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(b"8\r\n12345678\r\n8\r\n12345678\r\n");
    let server = Server::start([
        ("/told", vec![Reply::Stall(huge)]),
        ("/untold", vec![Reply::Stall(chunked)]),
        ("/fits", vec![Reply::ok("123456789")]),
    ])
    .await;
    let with = || Site::with(|config| config.max_bytes = 9);
    with().fetch(&[uri(format!("{}/fits", server.url))]).await.unwrap();
    for path in ["/told", "/untold"] {
        for uri in [uri, cached] {
            let site = with();
            let text = site.refusal(&[uri(format!("{}{path}", server.url))]).await;
            assert!(text.ends_with("it is larger than the 9 bytes that are allowed"), "{text}");
        }
        assert_eq!(server.hits(path), 2);
    }
}

#[tokio::test]
async fn silence_ends() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1".to_vec();
    let server =
        Server::start([("/head", vec![Reply::Stall(head)]), ("/none", vec![Reply::Stall(vec![])])])
            .await;
    for path in ["/head", "/none"] {
        let site = Site::with(|config| config.stall_timeout = Duration::from_millis(50));
        let text = site.refusal(&[uri(format!("{}{path}", server.url))]).await;
        assert!(text.ends_with("no byte for 50ms (tried 3 times)"), "{text}");
    }
    let site = Site::with(|config| config.total_timeout = Duration::from_millis(50));
    let text = site.refusal(&[uri(format!("{}/none", server.url))]).await;
    assert!(text.ends_with("it takes longer than 50ms"), "{text}");
}

#[tokio::test]
async fn nobody_there_is_told() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = Site::new().refusal(&[uri(format!("http://{gone}/a"))]).await;
    assert!(text.contains("no connection to the server: "), "{text}");
    assert!(text.contains("refused") && text.ends_with("(tried 3 times)"), "{text}");
}

#[tokio::test]
async fn downloads_of_one_task_wait_for_slots() {
    let few: [fn(&mut FetchConfig); 2] =
        [|config| config.downloads = 2, |config| config.downloads_each = 2];
    for few in few {
        downloads_wait(few).await;
    }
}

async fn downloads_wait(few: fn(&mut FetchConfig)) {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::start([
        ("/a", vec![Reply::ok("a").behind(&gate)]),
        ("/b", vec![Reply::ok("b").behind(&gate)]),
        ("/c", vec![Reply::ok("c").behind(&gate)]),
    ])
    .await;
    let site = Site::with(few);
    let uris = ["/a", "/b", "/c"].map(|path| uri(format!("{}{path}", server.url)));
    let open = async {
        for done in 0..3 {
            let going = (done + 2).min(3);
            server.asked(going).await;
            assert_eq!(server.heads().len(), going);
            gate.add_permits(1);
        }
    };
    let (fetched, ()) = tokio::join!(site.fetch(&uris), open);
    fetched.unwrap();
    assert_eq!(list(&site.target()), ["a", "b", "c"]);
}
