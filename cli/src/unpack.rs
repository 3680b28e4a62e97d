//! `marmoset unpack`: packs by hand.
//!
//! Owns what is done with each record. The format is `marmoset_proto::pack`.
//! Files are made below the named folder only, and links there are not followed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path},
};

use anyhow::{Context as _, bail};
use marmoset_proto::pack::{Content, Reader, Record, Stream};
use serde_json::json;

use crate::{
    args::UnpackArgs,
    exit::{Ending, UsageError},
    output,
};

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Does what was asked for with each record of each file.
///
/// # Errors
/// A file cannot be read or is no pack, or its contents cannot be written.
pub(crate) fn perform(args: &UnpackArgs) -> anyhow::Result<Ending> {
    if !args.list && args.task.is_none() && args.to.is_none() {
        return Err(UsageError(
            "say what to do with the packs: `--list`, `--task ID` or `--to DIR`".to_owned(),
        )
        .into());
    }
    let mut found = false;
    for file in &args.files {
        let torn = each(file, |record| {
            if let Some(task) = &args.task {
                if record.task_id == task {
                    found = true;
                    print(&record)?;
                }
                return Ok(());
            }
            found = true;
            match &args.to {
                Some(folder) => write(folder, &record),
                None => list(&record, args.json),
            }
        })
        .with_context(|| format!("`{}`", file.display()))?;
        tell_torn(file, torn);
    }
    if let Some(task) = args.task.as_ref().filter(|_| !found) {
        bail!("no output of task `{task}` in the packs: it wrote nothing, or to another pack");
    }
    Ok(Ending::Good)
}

/// Reads a pack from its beginning to its end, and tells how much of that is torn.
pub(crate) fn each(
    path: &Path,
    mut act: impl FnMut(Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut file = File::open(path)?;
    let mut reader = Reader::default();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => reader.push(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some(record) = reader.next()? {
            act(record)?;
        }
    }
    Ok(reader.torn())
}

/// Says that the end of a pack is missing.
fn tell_torn(path: &Path, torn: u64) {
    if torn > 0 {
        output::complain(format_args!(
            "warning: `{}`: the last {} bytes are no whole record: its writer was killed, or \
             writes still",
            path.display(),
            torn
        ));
    }
}

fn list(record: &Record<'_>, as_json: bool) -> anyhow::Result<()> {
    let Record { task_id, stream, content } = record;
    let size = content.size();
    let own_file = match content {
        Content::Bytes(_) => false,
        Content::OwnFile { .. } => true,
    };
    let line = if as_json {
        let stream = stream.to_string();
        json!({"task": task_id, "stream": stream, "bytes": size, "own_file": own_file}).to_string()
    } else {
        let note = if own_file { "  in a file of its own" } else { "" };
        format!("{task_id} {stream} {size}{note}")
    };
    to(&mut io::stdout().lock(), line.as_bytes())?;
    to(&mut io::stdout().lock(), b"\n")
}

fn print(record: &Record<'_>) -> anyhow::Result<()> {
    match (record.content, record.stream) {
        (Content::Bytes(bytes), Stream::Stdout) => to(&mut io::stdout().lock(), bytes),
        (Content::Bytes(bytes), Stream::Stderr) => to(&mut io::stderr().lock(), bytes),
        (Content::OwnFile { size }, stream) => {
            output::complain(format_args!(
                "warning: {stream} of `{}` has {size} bytes, too many for a pack: it is in \
                 `tasks/{}/{stream}` of the same sandbox",
                record.task_id, record.task_id
            ));
            Ok(())
        }
    }
}

fn to(stream: &mut impl io::Write, bytes: &[u8]) -> anyhow::Result<()> {
    stream.write_all(bytes).and_then(|()| stream.flush()).context("cannot write the output")
}

fn write(folder: &Path, record: &Record<'_>) -> anyhow::Result<()> {
    let Content::Bytes(bytes) = record.content else { return print(record) };
    // Anybody may have made the pack.
    let mut parts = Path::new(record.task_id).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        bail!("the task id `{}` is no file name", record.task_id);
    }
    let folder = folder.join(record.task_id);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    if fs::symlink_metadata(&folder)?.is_symlink() {
        bail!("`{}` is a link: remove it, or name another folder", folder.display());
    }
    let path = folder.join(record.stream.to_string());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(&path);
    file.and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use marmoset_proto::pack::HEAD;

    use super::*;

    fn pack(records: &[(&str, Stream, Content<'_>)], torn: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = HEAD.to_vec();
        for (task_id, stream, content) in records {
            Record { task_id, stream: *stream, content: *content }.put(&mut bytes);
        }
        bytes.truncate(bytes.len() - torn);
        fs::write(folder.path().join("p"), bytes).unwrap();
        folder
    }

    fn unpack(folder: &Path) -> anyhow::Result<Ending> {
        perform(&UnpackArgs {
            list: false,
            task: None,
            to: Some(folder.join("out")),
            json: false,
            files: vec![folder.join("p")],
        })
    }

    #[test]
    fn files_are_written_and_a_torn_end_is_left_out() {
        let folder = pack(
            &[
                ("j.0", Stream::Stdout, Content::Bytes(b"out")),
                ("j.0", Stream::Stderr, Content::Bytes(b"err")),
                ("j.1", Stream::Stdout, Content::Bytes(b"torn")),
            ],
            1,
        );
        unpack(folder.path()).unwrap();
        let at = |name: &str| folder.path().join("out").join(name);
        assert_eq!(fs::read(at("j.0/stdout")).unwrap(), b"out");
        assert_eq!(fs::read(at("j.0/stderr")).unwrap(), b"err");
        assert!(!at("j.1").exists());
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        for id in ["../j", "/tmp/j", "a/b", "..", ""] {
            let folder = pack(&[(id, Stream::Stdout, Content::Bytes(b"x"))], 0);
            let error = unpack(folder.path()).unwrap_err();
            assert!(format!("{error:#}").contains("is no file name"), "{id}: {error:#}");
        }
        let folder = pack(&[("j", Stream::Stdout, Content::Bytes(b"x"))], 0);
        fs::create_dir_all(folder.path().join("out")).unwrap();
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("out/j"))
            .unwrap();
        assert!(unpack(folder.path()).is_err());
        assert_eq!(fs::read_dir(folder.path().join("elsewhere")).unwrap().count(), 0);
    }
}
