//! Archives that want out.

use std::io::{Cursor, Write as _};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

type Writer = ZipWriter<Cursor<Vec<u8>>>;

/// Fetches an archive that must be refused, and must have written nothing anywhere.
async fn refused(name: &str, archive: &[u8], reason: &str) {
    let site = Site::new();
    let source = site.source(name, archive);
    let before = list(site.root.path());
    let text = site.refusal(&[uri(&source)]).await;
    assert!(text.contains(reason), "{text}");
    let mut after = list(site.root.path());
    after.retain(|name| name != "work/");
    assert_eq!(after, before);
}

#[tokio::test]
async fn tar_archives_stay_inside() {
    let tar = Tar::default;
    let outside = "only paths inside the task's folder are allowed";
    for (archive, reason) in [
        (tar().file("../evil", ""), "the name `../evil` in it contains `..`: only paths"),
        (tar().file("a/../../evil", ""), outside),
        (tar().file("/tmp/evil", ""), "the name `/tmp/evil` in it is absolute: only paths"),
        (tar().entry("../", tar::EntryType::Directory, "", b""), outside),
        (tar().entry("/", tar::EntryType::Directory, "", b""), outside),
        (
            tar().symlink("link", "/etc/passwd"),
            "the target `/etc/passwd` of the link `link` in it is absolute: only paths",
        ),
        (tar().symlink("link", ".."), outside),
        (tar().symlink("d/link", "../../evil"), outside),
        (tar().symlink("d/s", ".").symlink("d/link", "s/../../evil"), outside),
        (tar().link("link", "/etc/passwd"), outside),
        (tar().link("link", "../source/victim"), outside),
        // Through a link, even one that stays inside.
        (
            tar().file("d/x", "").symlink("s", "d").file("s/evil", ""),
            "cannot write `s/evil`: `s` is there already and is a file or a symbolic link",
        ),
        (tar().file("d/x", "").symlink("s", "d").link("hard", "s/x"), "cannot write `hard`"),
        (
            tar().symlink("s", ".").entry("s/", tar::EntryType::Directory, "", b""),
            "cannot write `s`",
        ),
        (tar().file("f", "").file("f/g", ""), "cannot write `f/g`"),
        (tar().file("d/f", "").file("d", ""), "a folder with this name is there already"),
        (tar().link("a", "missing"), "cannot write `a`: No such file"),
        (tar().file("a", "").link("a", "a"), "it is a link to itself"),
        (
            tar().entry("null", tar::EntryType::Char, "", b""),
            "`null` in it is a device, which is not allowed",
        ),
        (tar().entry("sda", tar::EntryType::Block, "", b""), "a device"),
        (tar().entry("pipe", tar::EntryType::Fifo, "", b""), "a named pipe"),
        (tar().entry("odd", tar::EntryType::new(b'Q'), "", b""), "of an unknown kind"),
        (tar().file("", "x"), "the name `` in it is empty"),
    ] {
        refused("a.tar", &archive.end(), reason).await;
    }
}

#[tokio::test]
async fn a_link_that_a_file_replaces_is_not_followed() {
    let site = Site::new();
    let victim = site.source("victim", "unharmed");
    let archive = Tar::default()
        .file("inside", "unharmed")
        .symlink("s", "inside")
        .file("s", "evil")
        .link("h", "inside")
        .file("h", "evil")
        .end();
    site.fetch(&[uri(site.source("a.tar", archive))]).await.unwrap();
    assert_eq!(fs::read(site.target().join("inside")).unwrap(), b"unharmed");
    assert_eq!(fs::read(site.target().join("s")).unwrap(), b"evil");
    assert_eq!(fs::read(victim).unwrap(), b"unharmed");
}

#[tokio::test]
async fn zip_archives_stay_inside() {
    let options = SimpleFileOptions::default();
    let zip = |fill: &dyn Fn(&mut Writer)| {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        fill(&mut writer);
        writer.finish().unwrap().into_inner()
    };
    let file = |name: &'static str| {
        zip(&move |writer| {
            writer.start_file(name, options).unwrap();
            writer.write_all(b"evil").unwrap();
        })
    };
    let outside = "only paths inside the task's folder are allowed";
    refused("a.zip", &file("../evil"), outside).await;
    refused("a.zip", &file("/tmp/evil"), outside).await;
    refused("a.zip", &file("a/../../evil"), outside).await;
    let link = |at: &'static str, target: &'static str| {
        zip(&move |writer| {
            writer.add_symlink(at, target, options).unwrap();
            writer.start_file("s/evil", options).unwrap();
        })
    };
    refused("a.zip", &link("s", "/tmp"), outside).await;
    refused("a.zip", &link("s", "../source"), outside).await;
    refused("a.zip", &link("s", "d"), "cannot write `s/evil`").await;
}

#[tokio::test]
async fn damage_is_told() {
    let tar = Tar::default().file("a", &"contents ".repeat(1000)).end();
    let tgz = gzip(&tar);
    let mut flipped = tgz.clone();
    // Of the checksum, which stands behind everything.
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    let damaged = "it cannot be unpacked: it is damaged, or not what its name says: ";
    for (name, contents) in [
        ("a.tar", &tar[..700]),
        ("a.tar", b"<html>no such file</html>".repeat(100).as_slice()),
        ("a.tgz", &tgz[..tgz.len() / 2]),
        ("a.tgz", &tgz[..tgz.len() - 1]),
        ("a.tgz", &flipped),
        ("a.gz", &flipped),
        ("a.tgz", &tar),
        ("a.tbz2", &tar),
        ("a.txz", &tar),
        ("a.zip", &tar),
        ("a.zip", b""),
        ("a.gz", b""),
        ("a.gz", b"plain"),
    ] {
        refused(name, contents, damaged).await;
    }
    refused("a.zip", b"", "; set `extract` to false to keep it as it is").await;
}
