//! Where people can see why a task did not finish.
//!
//! Owns the way from a task to its files: collected ones, those of the embedded
//! cluster or what its packs hold, or a place on an agent.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use marmoset_proto::pack::{Content, Stream};
use marmoset_scheduler::Example;

use super::embedded::Embedded;
use crate::{
    args::{Keep, RunArgs},
    report::Evidence,
    unpack,
};

/// How much of a file's end is looked at.
const TAIL: usize = 512;

/// Longest part of a line that is shown.
const LINE: usize = 120;

/// What is known about one task.
pub(super) fn of(args: &RunArgs, example: &Example, embedded: Option<&Embedded>) -> Evidence {
    let Some(sandbox) = &example.sandbox else { return Evidence::default() };
    if let Some(folder) = &args.output {
        let names = ["err", "out"].map(|ending| format!("{}.{ending}", example.index));
        let name = names.iter().find(|name| folder.join(name).exists());
        return Evidence {
            place: name.map(|name| (folder.display().to_string(), name.clone())),
            last_line: names.iter().find_map(|name| last_line(&folder.join(name))),
        };
    }
    let Some(embedded) = embedded else {
        let folder = sandbox.folder.trim_end_matches(&example.task_id).trim_end_matches('/');
        let folder = format!("agent {}: {folder}", sandbox.hostname);
        return Evidence { place: Some((folder, example.task_id.clone())), last_line: None };
    };
    let files = embedded.local(sandbox);
    let kept = args.keep != Keep::Never;
    if args.pack_output && !files.exists() {
        let packs = files.ancestors().nth(2).map(|sandbox| sandbox.join("packs"));
        let found = packs.and_then(|packs| packed(&packs, &example.task_id));
        let (pack, last_line) = found.unzip();
        let pack = pack.filter(|_| kept);
        let place = pack.as_ref().and_then(|pack| Some((pack.parent()?, pack.file_name()?)));
        return Evidence {
            place: place.map(|(folder, name)| {
                (folder.display().to_string(), name.to_string_lossy().into_owned())
            }),
            last_line,
        };
    }
    let place = files.parent().filter(|_| kept).map(|folder| folder.display().to_string());
    Evidence {
        place: place.map(|folder| (folder, example.task_id.clone())),
        last_line: ["stderr", "stdout"].iter().find_map(|name| last_line(&files.join(name))),
    }
}

/// The pack that a task's output is in, and the last line of its stderr, or else of its stdout.
fn packed(packs: &Path, task: &str) -> Option<(PathBuf, String)> {
    let mut found: Option<(PathBuf, String)> = None;
    for entry in fs::read_dir(packs).ok()? {
        let path = entry.ok()?.path();
        // What cannot be read to its end is read to there.
        let _ = unpack::each(&path, |record| {
            if record.task_id == task
                && let Content::Bytes(bytes) = record.content
                && let Some(line) = last_line_of(&bytes[bytes.len().saturating_sub(TAIL)..])
                && (record.stream == Stream::Stderr || found.is_none())
            {
                found = Some((path.clone(), line));
            }
            Ok(())
        });
    }
    found
}

/// The last line of a file that is not empty, without control characters.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL as u64))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL as u64).read_to_end(&mut bytes).ok()?;
    last_line_of(&bytes)
}

fn last_line_of(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let shown: String = line.chars().filter(|c| !c.is_control()).take(LINE).collect();
    let cut = if line.chars().count() > LINE { " […]" } else { "" };
    Some(format!("{shown}{cut}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let of = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            last_line(&path)
        };
        assert_eq!(of(b""), None);
        assert_eq!(of(b"\n \n"), None);
        assert_eq!(of(b"a\nb\n\n").as_deref(), Some("b"));
        assert_eq!(of(b"\x1b[31mred\x07").as_deref(), Some("[31mred"));
        let long = of(&[b'x'; 5000]).unwrap();
        assert!(long.ends_with("x […]") && long.len() < 130, "{long}");
        assert_eq!(last_line(Path::new("/no/such")), None);
    }
}
