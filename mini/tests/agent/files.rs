//! Sandboxes over HTTP, and nothing but sandboxes.

use std::fs;

use serde_json::json;

use crate::{
    http::get,
    lone::{Lone, shell, task},
};

fn escaped(path: &str) -> String {
    path.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_sandbox_is_read_browsed_and_downloaded_under_all_its_names() {
    let mut lone = Lone::start().await;
    lone.run(task("a", shell("echo hello; mkdir sub; ln -s /etc/passwd evil")), true);
    assert_eq!(lone.exited().await, 0);
    let sandbox = lone.sandbox("e");
    let real = sandbox.display().to_string();
    let latest = sandbox.parent().unwrap().join("latest").display().to_string();
    let virtual_ = "/frameworks/f/executors/e/runs/latest".to_owned();
    for root in [&real, &latest, &virtual_] {
        let path = escaped(&format!("{root}/stdout"));
        let answer = get(lone.addr, &format!("/files/read?path={path}&offset=0")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json(), json!({"data": "hello\n", "offset": 0}));
        let answer = get(lone.addr, &format!("/files/read?path={path}")).await;
        assert_eq!(answer.json(), json!({"data": "", "offset": 6}));
        let answer = get(lone.addr, &format!("/files/read?path={path}&offset=2&length=3")).await;
        assert_eq!(answer.json(), json!({"data": "llo", "offset": 2}));

        let answer = get(lone.addr, &format!("/files/browse?path={}", escaped(root))).await;
        let listed = answer.json();
        let names: Vec<&str> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["path"].as_str().unwrap())
            .collect();
        let expected = ["evil", "stderr", "stdout", "sub"].map(|name| format!("{root}/{name}"));
        assert_eq!(names, expected);
        assert_eq!(listed[2]["size"], 6);
        assert_eq!(listed[2]["mode"], "-rw-r--r--");
        assert_eq!(&listed[3]["mode"].as_str().unwrap()[..1], "d");

        let answer = get(lone.addr, &format!("/files/download?path={path}")).await;
        assert!(answer.head.contains("attachment; filename=stdout"), "{answer:?}");
        assert!(answer.body.contains("hello\n"), "{answer:?}");

        for (path, status) in [
            (format!("{root}/evil"), 404),
            (format!("{root}/nope"), 404),
            (format!("{root}/../../../../../../../../etc/passwd"), 404),
            ("/etc/passwd".to_owned(), 404),
            (lone.work_dir().display().to_string(), 404),
            (format!("{root}/sub"), 400),
        ] {
            for kind in ["read", "download"] {
                let query = format!("/slave(1)/files/{kind}?offset=0&path={}", escaped(&path));
                assert_eq!(get(lone.addr, &query).await.status, status, "{query}");
            }
        }
    }
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn odd_requests_are_refused_in_words() {
    let lone = Lone::start().await;
    let answer = get(lone.addr, "/files/read").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "Expecting 'path=value' in query.\n"));
    let answer = get(lone.addr, "/files/read?path=/nope&offset=0").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
    assert!(answer.head.to_ascii_lowercase().contains("text/plain; charset=utf-8"));
    for query in ["offset=-2", "offset=x", "length=-7&offset=0"] {
        fs::create_dir_all(lone.work_dir().join("slaves/S0/frameworks/f/executors/e/runs/c"))
            .unwrap();
        let path = lone.work_dir().join("slaves/S0/frameworks/f/executors/e/runs/c");
        let query = format!("/files/read?path={}&{query}", path.display());
        assert_eq!(get(lone.addr, &query).await.status, 400, "{query}");
    }
    lone.agent.shutdown().await;
}
