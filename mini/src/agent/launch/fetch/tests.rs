use super::*;

fn uri(value: impl Into<String>) -> Uri {
    Uri { value: value.into(), ..Uri::default() }
}

fn sh(directory: &Path, script: &str) {
    let status =
        Command::new("/bin/sh").arg("-c").arg(script).current_dir(directory).status().unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn sources_and_names() {
    let http = |url: &str| Source::Http(url.parse().unwrap());
    assert_eq!(source("/a/b").unwrap(), Source::File("/a/b".into()));
    assert_eq!(source("file:///a/b").unwrap(), Source::File("/a/b".into()));
    assert_eq!(source("file://localhost/a/b").unwrap(), Source::File("/a/b".into()));
    assert_eq!(source("http://h:1/x/y.tgz?z=1").unwrap(), http("http://h:1/x/y.tgz?z=1"));
    for bad in ["a/b", "", "file://x"] {
        assert!(matches!(source(bad), Err(FetchError::Relative(_))), "{bad}");
    }
    for bad in ["hdfs://h/x", "ftp://h/x"] {
        assert!(matches!(source(bad), Err(FetchError::Scheme(_))), "{bad}");
    }
    let name = |output: Option<&str>, value: &str| {
        let uri = Uri { output_file: output.map(str::to_owned), ..uri(value) };
        target_name(&uri, &source(value).unwrap())
    };
    assert_eq!(name(None, "http://h/x/y.tgz?z=1").unwrap(), Path::new("y.tgz"));
    assert_eq!(name(Some("d/f"), "/a/b").unwrap(), Path::new("d/f"));
    for bad in ["..", "../x", "/x", "a/../../x", ""] {
        assert!(matches!(name(Some(bad), "/a/b"), Err(FetchError::Escape(_))), "{bad}");
    }
    assert!(matches!(name(None, "http://h/"), Err(FetchError::NoName(_))));
}

#[tokio::test]
async fn files_are_copied_made_executable_and_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let sandbox = dir.path().join("sandbox");
    fs::create_dir_all(&from).unwrap();
    fs::create_dir_all(&sandbox).unwrap();
    sh(
        &from,
        "echo hi > plain; echo in > inner; tar -czf a.tar.gz inner; gzip -k plain; echo x > keep.tar",
    );
    let path = |name: &str| from.join(name).display().to_string();
    let uris = [
        Uri { executable: Some(true), ..uri(path("plain")) },
        uri(path("a.tar.gz")),
        Uri { output_file: Some("d/e.gz".into()), ..uri(format!("file://{}", path("plain.gz"))) },
        Uri { extract: Some(false), ..uri(path("keep.tar")) },
    ];
    all(&uris, &sandbox, None).await.unwrap();
    let read = |name: &str| fs::read_to_string(sandbox.join(name)).unwrap();
    assert_eq!(read("plain"), "hi\n");
    assert_eq!(fs::metadata(sandbox.join("plain")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(read("inner"), "in\n");
    assert_eq!(read("d/e"), "hi\n");
    assert_eq!(read("keep.tar"), "x\n");
    assert_eq!(read("stderr").lines().count(), 4);
}

#[tokio::test]
async fn what_is_missing_or_broken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = all(&[uri("/no/such/file")], dir.path(), None).await.unwrap_err().to_string();
    assert!(error.starts_with("Failed to copy '/no/such/file': "), "{error}");
    fs::write(dir.path().join("bad.tgz"), "no archive").unwrap();
    let bad = dir.path().join("bad.tgz").display().to_string();
    let sandbox = dir.path().join("sandbox");
    fs::create_dir_all(&sandbox).unwrap();
    let error = all(&[uri(bad)], &sandbox, None).await.unwrap_err().to_string();
    assert!(error.starts_with("Failed to extract '"), "{error}");
}
