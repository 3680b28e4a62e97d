//! Archives as tools write them.

use std::{
    io::{Cursor, Write as _},
    process::Command,
    time::{Duration, SystemTime},
};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

fn bzip2(contents: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    writer.write_all(contents).unwrap();
    writer.finish().unwrap()
}

fn xz(contents: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(contents).unwrap();
    writer.finish().unwrap()
}

fn tar() -> Vec<u8> {
    Tar::default()
        .entry("./", tar::EntryType::Directory, "", b"")
        .entry("bin/", tar::EntryType::Directory, "", b"")
        .file("bin/tool", "#!/bin/sh\n")
        .symlink("bin/link", "../lib/x")
        .file("lib/x", "x")
        .link("again", "lib/x")
        .end()
}

const UNPACKED: [&str; 6] = ["again", "bin/", "bin/link -> ../lib/x", "bin/tool", "lib/", "lib/x"];

#[tokio::test]
async fn all_that_mesos_knows_is_unpacked() {
    for (name, contents) in [
        ("a.tar", tar()),
        ("a.tgz", gzip(&tar())),
        ("a.tar.gz", gzip(&tar())),
        ("a.tbz2", bzip2(&tar())),
        ("a.tar.bz2", bzip2(&tar())),
        ("a.txz", xz(&tar())),
        ("a.tar.xz", xz(&tar())),
    ] {
        let site = Site::new();
        site.fetch(&[uri(site.source(name, contents))]).await.unwrap();
        // The archive stays, as with Mesos.
        let mut expected = vec![name];
        expected.extend(UNPACKED);
        expected.sort_unstable();
        assert_eq!(list(&site.target()), expected);
        let path = |name: &str| site.target().join(name);
        assert_eq!(fs::read(path("bin/link")).unwrap(), b"x");
        assert_eq!(fs::read(path("again")).unwrap(), b"x");
        // Nobody else may write.
        assert_eq!(mode(&path("bin/tool")), 0o644);
        assert_eq!(mode(&path("bin")), 0o744);
        let modified = path("lib/x").metadata().unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    }
}

#[tokio::test]
async fn one_compressed_file_loses_its_ending() {
    let site = Site::new();
    // Concatenated files are one.
    let twice = [gzip(b"log "), gzip(b"lines")].concat();
    let nested = site.source("b.gz", gzip(b"b"));
    let uris = [
        uri(site.source("a.log.gz", twice)),
        Uri { output_file: Some("d/c.gz".into()), ..uri(nested) },
    ];
    site.fetch(&uris).await.unwrap();
    assert_eq!(list(&site.target()), ["a.log", "a.log.gz", "c", "d/", "d/c.gz"]);
    assert_eq!(fs::read(site.target().join("a.log")).unwrap(), b"log lines");
    let text = Site::new().refusal(&[uri(site.source(".gz", gzip(b"")))]).await;
    assert!(text.ends_with("nothing is left of the name `.gz` without `.gz`: set `output_file`"));
}

#[tokio::test]
async fn zip_archives_are_unpacked() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    writer.add_directory("lib", options).unwrap();
    writer.start_file("lib/é", options).unwrap();
    writer.write_all(&b"deflated ".repeat(100)).unwrap();
    let stored = options.compression_method(zip::CompressionMethod::Stored);
    writer.start_file("bin/tool", stored.unix_permissions(0o777)).unwrap();
    writer.write_all(b"#!/bin/sh\n").unwrap();
    writer.add_symlink("bin/link", "../lib/é", options).unwrap();
    let zip = writer.finish().unwrap().into_inner();
    let site = Site::new();
    site.fetch(&[uri(site.source("a.zip", zip))]).await.unwrap();
    assert_eq!(
        list(&site.target()),
        ["a.zip", "bin/", "bin/link -> ../lib/é", "bin/tool", "lib/", "lib/é"]
    );
    assert_eq!(mode(&site.target().join("bin/tool")), 0o755);
    assert_eq!(fs::read(site.target().join("bin/link")).unwrap(), b"deflated ".repeat(100));
}

/// What the system's tools write: long names, sparse files, pax and GNU headers.
#[tokio::test]
async fn archives_of_system_tools_are_unpacked() {
    let tree = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    fs::create_dir(tree.path().join("d".repeat(150))).unwrap();
    fs::write(tree.path().join(&long), "long").unwrap();
    std::os::unix::fs::symlink(&long, tree.path().join("link")).unwrap();
    fs::hard_link(tree.path().join(&long), tree.path().join("zhard")).unwrap();
    let sparse = fs::File::create(tree.path().join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 4 << 20).unwrap();
    let expected = list(tree.path());
    let attempts: [(&str, &str, &[&str]); 6] = [
        ("gnu.tar", "tar", &["--format=gnu", "--sparse", "-cf"]),
        ("pax.tar", "tar", &["--format=posix", "-cf"]),
        ("a.tar.gz", "tar", &["-czf"]),
        ("a.tar.bz2", "tar", &["-cjf"]),
        ("a.tar.xz", "tar", &["-cJf"]),
        ("a.zip", "zip", &["-qry"]),
    ];
    for (name, program, arguments) in attempts {
        let site = Site::new();
        let archive = site.source(name, "");
        fs::remove_file(&archive).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&archive).arg(".").current_dir(tree.path());
        match command.output() {
            Ok(made) if made.status.success() => {}
            failed => {
                let test = format!("{name} of archives_of_system_tools_are_unpacked");
                crate::skipped::skip(&test, &format!("{failed:?}"));
                continue;
            }
        }
        site.fetch(&[Uri { output_file: Some(format!("0/{name}")), ..uri(archive) }])
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        fs::remove_dir_all(site.target().join("0")).unwrap();
        assert_eq!(list(&site.target()), expected, "{name}");
        let unpacked = |file: &str| fs::read(site.target().join(file)).unwrap();
        assert_eq!(unpacked("link"), b"long", "{name}");
        assert_eq!(unpacked("zhard"), b"long", "{name}");
        assert_eq!(unpacked("sparse"), fs::read(tree.path().join("sparse")).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn what_would_be_unpacked_wrongly_is_refused() {
    let tree = tempfile::tempdir().unwrap();
    fs::File::create(tree.path().join("sparse")).unwrap().set_len(5 << 20).unwrap();
    let site = Site::new();
    let archive = site.source("a.tar", "");
    let mut command = Command::new("tar");
    command.args(["--format=posix", "--sparse", "-cf", &archive, "sparse"]);
    match command.current_dir(tree.path()).output() {
        Ok(made) if made.status.success() => {}
        failed => {
            let test = "what_would_be_unpacked_wrongly_is_refused";
            crate::skipped::skip(test, &format!("{failed:?}"));
            return;
        }
    }
    let text = site.refusal(&[uri(archive)]).await;
    assert!(
        text.contains("in it is a sparse file in pax format, which is not supported"),
        "{text}"
    );
}
