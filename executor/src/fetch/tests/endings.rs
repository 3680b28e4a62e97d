//! Fetches that end early.

use super::{
    server::{Reply, Server},
    *,
};

fn half() -> Reply {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + 600_000, b'x');
    Reply::Stall(bytes)
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing() {
    let server = Server::start([("/a", vec![half()]), ("/b", vec![Reply::ok("b")])]).await;
    for wanted in [uri, cached] {
        let site = Site::new();
        let cancel = CancellationToken::new();
        let uris = [uri(format!("{}/b", server.url)), wanted(format!("{}/a", server.url))];
        let target = site.target();
        let fetch = site.fetcher.fetch(&uris, &target, None, &cancel);
        let leave = async {
            server.reached("/a", 1).await;
            cancel.cancel();
        };
        let (fetched, ()) = tokio::join!(fetch, leave);
        let error = fetched.unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.to_string(), "Failed to fetch all URIs: it was cancelled");
        // At once, not only after a while.
        assert_eq!(list(&site.path("work")), [""; 0]);
        site.is_clean().await;
    }
}

#[tokio::test]
async fn a_dropped_fetch_leaves_nothing() {
    let server = Server::start([("/a", vec![half()])]).await;
    let site = Site::new();
    let uris = [uri(site.source("x", "x")), uri(format!("{}/a", server.url))];
    tokio::select! {
        fetched = site.fetch(&uris) => panic!("{fetched:?}"),
        () = server.reached("/a", 1) => {}
    }
    site.is_clean().await;
}

#[tokio::test]
async fn what_is_cancelled_already_does_not_begin() {
    let site = Site::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let uris = [uri(site.source("x", "x"))];
    let fetched = site.fetcher.fetch(&uris, &site.target(), None, &cancel).await;
    assert!(fetched.unwrap_err().is_cancelled());
    site.is_clean().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told() {
    let site = Site::new();
    let file = site.source("file", "");
    let uris = [uri(&file)];
    let text = site.fetch_into(&Path::new(&file).join("t"), &uris).await.unwrap_err().to_string();
    assert!(text.contains(&format!("cannot use the folder `{file}/t`: Not a directory")), "{text}");
    site.is_clean().await;
    let site = Site::with(|config| config.work_dir = file.clone().into());
    let text = site.fetch(&uris).await.unwrap_err().to_string();
    assert!(text.contains(&format!("cannot use the folder `{file}`: ")), "{text}");
    assert!(!site.target().exists());
}
