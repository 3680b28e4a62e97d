//! Paths that cannot leave the task's folder.
//!
//! Owns the rules for names that come from outside: `output_file`, URLs, archives. Looks at the
//! text alone; [`Folder`](super::folder::Folder) sees to it that no symbolic link bends the path.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

/// The kernel's `PATH_MAX`, without the closing zero.
const MAX_BYTES: usize = 4095;
/// Deeper trees exist only to trip programs: removing one takes a descriptor for each level.
const MAX_DEPTH: usize = 128;

/// A path below a folder: at least one name, no `.` and no `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(PathBuf);

/// Why a text is not such a path; reads as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("is empty")]
    Empty,
    #[error("is absolute: only paths inside the task's folder are allowed")]
    Absolute,
    #[error("contains `..`: only paths inside the task's folder are allowed")]
    Upwards,
    #[error("contains `/`")]
    Slash,
    #[error("contains a NUL character")]
    Nul,
    #[error("is longer than {MAX_BYTES} bytes")]
    Long,
    #[error("is nested deeper than {MAX_DEPTH} folders")]
    Deep,
}

impl Place {
    /// Takes a relative path; `.` and repeated slashes are dropped.
    pub(super) fn path(text: &[u8]) -> Result<Self, PlaceError> {
        let mut path = PathBuf::new();
        let mut depth = 0;
        for name in names(text)? {
            if name == b".." {
                return Err(PlaceError::Upwards);
            }
            path.push(OsStr::from_bytes(name));
            depth += 1;
        }
        match depth {
            0 => Err(PlaceError::Empty),
            _ if depth > MAX_DEPTH => Err(PlaceError::Deep),
            _ => Ok(Self(path)),
        }
    }

    /// Takes the name of one file.
    pub(super) fn name(text: Vec<u8>) -> Result<Self, PlaceError> {
        if text.contains(&b'/') {
            return Err(PlaceError::Slash);
        }
        Self::path(&text).map(|_| Self(PathBuf::from(OsString::from_vec(text))))
    }

    /// Checks where a symbolic link at this place leads.
    ///
    /// `..` is taken only in front: behind a name it would depend on where that name leads. The
    /// link lies in a real folder, so that as many `..` as there are folders above stay inside.
    pub(super) fn may_link_to(&self, target: &[u8]) -> Result<(), PlaceError> {
        let mut above = self.0.iter().count() - 1;
        let mut descending = false;
        let mut empty = true;
        for name in names(target)? {
            empty = false;
            if name != b".." {
                descending = true;
            } else if descending || above == 0 {
                return Err(PlaceError::Upwards);
            } else {
                above -= 1;
            }
        }
        if empty && target.is_empty() { Err(PlaceError::Empty) } else { Ok(()) }
    }

    /// The folders on the way, from the outermost.
    pub(super) fn folders(&self) -> impl Iterator<Item = &OsStr> {
        self.0.parent().into_iter().flat_map(Path::iter)
    }

    /// The last name.
    pub(super) fn last(&self) -> &OsStr {
        self.0.file_name().expect("a place has a last name")
    }

    /// The whole path, relative to the folder.
    #[cfg(test)]
    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Splits a relative path; `.` and nothing between slashes are no names.
fn names(text: &[u8]) -> Result<impl Iterator<Item = &[u8]>, PlaceError> {
    if text.contains(&0) {
        return Err(PlaceError::Nul);
    }
    if text.first() == Some(&b'/') {
        return Err(PlaceError::Absolute);
    }
    if text.len() > MAX_BYTES {
        return Err(PlaceError::Long);
    }
    Ok(text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_stay_below() {
        for (text, found) in [
            ("a", Ok("a")),
            ("a/b.c", Ok("a/b.c")),
            ("./a//b/", Ok("a/b")),
            ("...", Ok("...")),
            ("", Err(PlaceError::Empty)),
            (".", Err(PlaceError::Empty)),
            ("./.", Err(PlaceError::Empty)),
            ("/etc/passwd", Err(PlaceError::Absolute)),
            ("..", Err(PlaceError::Upwards)),
            ("a/../b", Err(PlaceError::Upwards)),
            ("a/..", Err(PlaceError::Upwards)),
            ("a\0b", Err(PlaceError::Nul)),
        ] {
            let place = Place::path(text.as_bytes());
            assert_eq!(
                place.as_ref().map(|place| place.as_path().to_str().unwrap()),
                found.as_ref().copied(),
                "{text:?}"
            );
        }
        assert_eq!(Place::path(&b"a/".repeat(128)).unwrap().folders().count(), 127);
        assert_eq!(Place::path(&b"a/".repeat(129)), Err(PlaceError::Deep));
        assert_eq!(Place::path(&[b'a'; 5000]), Err(PlaceError::Long));
    }

    #[test]
    fn names_are_one_name() {
        assert_eq!(Place::name(b"a b".to_vec()).unwrap().last(), "a b");
        assert_eq!(Place::name(b"a/b".to_vec()), Err(PlaceError::Slash));
        assert_eq!(Place::name(b"..".to_vec()), Err(PlaceError::Upwards));
        assert_eq!(Place::name(b"".to_vec()), Err(PlaceError::Empty));
    }

    #[test]
    fn links_stay_below() {
        for (at, target, found) in [
            ("a", "b", Ok(())),
            ("a", "./b/./c", Ok(())),
            ("a", ".", Ok(())),
            ("d/a", "..", Ok(())),
            ("d/e/a", "../../b", Ok(())),
            ("a", "..", Err(PlaceError::Upwards)),
            ("d/a", "../../b", Err(PlaceError::Upwards)),
            ("d/a", "./../..", Err(PlaceError::Upwards)),
            // Where `s` leads is not known here.
            ("d/a", "../s/../b", Err(PlaceError::Upwards)),
            ("a", "/etc/passwd", Err(PlaceError::Absolute)),
            ("a", "", Err(PlaceError::Empty)),
            ("a", "b\0", Err(PlaceError::Nul)),
        ] {
            let place = Place::path(at.as_bytes()).unwrap();
            assert_eq!(place.may_link_to(target.as_bytes()), found, "{at} -> {target}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_out(text: Vec<u8>) {
            if let Ok(place) = Place::path(&text) {
                for part in place.as_path().components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                }
                let _ = place.may_link_to(&text);
            }
        }
    }
}
