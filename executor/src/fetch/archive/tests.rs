use std::{
    io::{self, Write as _},
    path::Path,
    sync::LazyLock,
};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fetch::config::FetchConfig;

const NAMES: [&str; 6] = ["a.tar", "a.tgz", "a.tbz2", "a.txz", "a.gz", "a.zip"];

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(contents).unwrap();
    writer.finish().unwrap()
}

fn zip(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, contents) in files {
        writer.start_file(name, ::zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&contents).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tar(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut writer = ::tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        writer.append_data(&mut header, name, contents.as_slice()).unwrap();
    }
    writer.into_inner().unwrap()
}

/// What is allowed in these tests.
fn config() -> FetchConfig {
    FetchConfig {
        max_unpacked_bytes: 1 << 20,
        max_entries: 50,
        ..FetchConfig::new("/nonexistent".into())
    }
}

fn unpack_into(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    stop: CancellationToken,
) -> Result<(), Problem> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let name = Place::path(name.as_bytes()).unwrap();
    let format = Format::of(name.last()).unwrap();
    let folder = Folder::open(folder, None).unwrap();
    unpack(&file, &name, format, &folder, &mut Allowance::new(&config(), stop))
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    unpack_into(folder.path(), name, bytes, CancellationToken::new()).unwrap_err().to_string()
}

#[test]
fn formats_go_by_name() {
    for (name, format) in [
        ("a.tar", Some(Format::Tar(Compression::None))),
        ("a.b.tar.gz", Some(Format::Tar(Compression::Gzip))),
        ("a.tgz", Some(Format::Tar(Compression::Gzip))),
        ("a.tar.bz2", Some(Format::Tar(Compression::Bzip2))),
        ("a.txz", Some(Format::Tar(Compression::Xz))),
        ("a.zip", Some(Format::Zip)),
        ("a.gz", Some(Format::Gzip)),
        ("a.jar", None),
        ("a.ZIP", None),
        ("tar", None),
        ("a.xz", None),
    ] {
        assert_eq!(Format::of(OsStr::new(name)), format, "{name}");
    }
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 3 << 20];
    let large = "it unpacks to more than the 1048576 bytes that are allowed";
    let tarred = tar([("zeros".into(), zeros.clone())]);
    for (name, bomb) in [
        ("a.gz", gzip(&zeros)),
        ("a.tar", tarred.clone()),
        ("a.tgz", gzip(&tarred)),
        ("a.zip", zip([("zeros".into(), zeros)])),
    ] {
        assert!(refusal(name, &bomb).contains(large), "{name}");
    }
}

#[test]
fn many_entries_are_too_many() {
    let many = || (0..51).map(|n| (n.to_string(), Vec::new()));
    let few = || (0..3).map(|n| (format!("{n}/{}f", "d/".repeat(20)), Vec::new()));
    let fit = || (0..50).map(|n| (n.to_string(), Vec::new()));
    let text = "it holds more than the 50 files and folders that are allowed";
    for (name, write) in [
        ("a.tar", &(|files: Vec<_>| tar(files)) as &dyn Fn(Vec<(String, Vec<u8>)>) -> Vec<u8>),
        ("a.zip", &|files: Vec<_>| zip(files)),
    ] {
        assert!(refusal(name, &write(many().collect())).contains(text));
        // Folders on the way count too.
        assert!(refusal(name, &write(few().collect())).contains(text));
        let folder = tempfile::tempdir().unwrap();
        let fit = write(fit().collect());
        unpack_into(folder.path(), name, &fit, CancellationToken::new()).unwrap();
        let deep = vec![("d/".repeat(200) + "f", Vec::new())];
        assert!(refusal(name, &write(deep)).contains("is nested deeper than 128 folders"));
    }
}

#[test]
fn headers_cannot_fill_the_memory() {
    for kind in [b'L', b'K', b'x'] {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_size(8 << 30);
        header.set_cksum();
        let mut bomb = header.as_bytes().to_vec();
        bomb.resize(bomb.len() + (2 << 20), b'a');
        let text = refusal("a.tgz", &gzip(&bomb));
        assert!(text.contains("its headers alone are larger than allowed"), "{text}");
    }
    // A table of contents of very many entries.
    let many = (0..30_000).map(|n| (format!("{n:0>20}"), Vec::new()));
    let text = refusal("a.zip", &zip(many));
    assert!(text.contains("its headers alone are larger than allowed"), "{text}");
}

#[test]
fn a_stop_is_heard() {
    for (name, archive) in [
        ("a.gz", gzip(b"a")),
        ("a.tgz", gzip(&tar([("a".into(), vec![1])]))),
        ("a.zip", zip([("a".into(), vec![1])])),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let unpacked = unpack_into(folder.path(), name, &archive, stop);
        assert!(matches!(unpacked, Err(Problem::Cancelled)), "{name}: {unpacked:?}");
    }
}

/// Unpacks whatever it is into a folder beside a file, which must be all there is outside.
fn unpack_anything(archives: &[(&str, &[u8])]) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("x").join("y");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(root.path().join("victim"), "unharmed").unwrap();
    for (name, bytes) in archives {
        let _ = unpack_into(&folder, name, bytes, CancellationToken::new());
    }
    assert_eq!(std::fs::read(root.path().join("victim")).unwrap(), b"unharmed");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(root.path().join("x")).unwrap().count(), 1);
}

static GOOD: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(good);

/// A good archive of each format.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let files = || [("d/a".to_owned(), b"contents".repeat(20)), ("b".repeat(120), b"b".to_vec())];
    let tar = tar(files());
    let mut xz =
        lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&tar).unwrap();
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&tar).unwrap();
    vec![
        ("a.tgz", gzip(&tar)),
        ("a.txz", xz.finish().unwrap()),
        ("a.tbz2", bz.finish().unwrap()),
        ("a.zip", zip(files())),
        ("a.tar", tar),
    ]
}

#[test]
fn good_archives_are_good() {
    for (name, archive) in GOOD.iter() {
        let folder = tempfile::tempdir().unwrap();
        unpack_into(folder.path(), name, archive, CancellationToken::new()).unwrap();
        assert_eq!(std::fs::read(folder.path().join("d/a")).unwrap(), b"contents".repeat(20));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        // Behind a good layer too.
        let layered = gzip(&bytes);
        let mut archives = NAMES.map(|name| (name, bytes.as_slice())).to_vec();
        archives.push(("a.tgz", &layered));
        unpack_anything(&archives);
    }

    #[test]
    fn altered_archives_never_panic(
        which in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, mut archive) = GOOD[which].clone();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        unpack_anything(&[(name, &archive)]);
    }

    #[test]
    fn altered_tar_headers_never_panic(
        changes in prop::collection::vec((0usize..512, any::<u8>()), 1..8),
    ) {
        let (_, mut archive) = GOOD[4].clone();
        for (at, byte) in changes {
            archive[at] = byte;
        }
        // With a checksum that fits, so that it is believed.
        let mut header = ::tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&archive[..512]);
        header.set_cksum();
        archive[..512].copy_from_slice(header.as_bytes());
        unpack_anything(&[("a.tar", &archive)]);
    }
}
