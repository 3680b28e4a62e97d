//! Where people can see why a task did not finish.
//!
//! Owns the way from a task to its files: collected ones, those of the embedded
//! cluster, or a place on an agent.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use marmoset_scheduler::Example;

use super::embedded::Embedded;
use crate::{
    args::{Keep, RunArgs},
    report::Evidence,
};

/// How much of a file's end is looked at.
const TAIL: u64 = 512;

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
    let place = files.parent().filter(|_| kept).map(|folder| folder.display().to_string());
    Evidence {
        place: place.map(|folder| (folder, example.task_id.clone())),
        last_line: ["stderr", "stdout"].iter().find_map(|name| last_line(&files.join(name))),
    }
}

/// The last line of a file that is not empty, without control characters.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
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
