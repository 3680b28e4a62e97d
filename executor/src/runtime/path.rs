//! Finds programs in `PATH`, and remembers where they were.
//!
//! A look-up costs a system call for each folder in front of the right one;
//! the same program is asked for thousands of times.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use nix::unistd::{AccessFlags, access};

/// What is searched when the environment has no `PATH`.
pub(super) const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that are remembered; then all are forgotten.
const REMEMBERED: usize = 256;

/// Why there is no program to run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("command `{name}` not found in PATH `{path}`")]
    NotFound { name: String, path: String },
    #[error("command `{name}` is at `{found}`, which may not be executed")]
    NotExecutable { name: String, found: String },
}

/// Programs by `PATH` and name.
#[derive(Debug, Default)]
pub(super) struct Programs {
    found: HashMap<OsString, HashMap<String, CString>>,
    count: usize,
}

impl Programs {
    /// Finds what `execvp` would run in the folder `cwd`.
    pub(super) fn find(
        &mut self,
        name: &str,
        path: &OsStr,
        cwd: &Path,
    ) -> Result<CString, PathError> {
        if name.contains('/') {
            // Relative to the working directory: the kernel sees to it.
            return Ok(c_string(name.as_bytes().to_vec()));
        }
        if let Some(program) = self.found.get(path).and_then(|known| known.get(name)) {
            return Ok(program.clone());
        }
        let mut forbidden = None;
        for folder in path.as_bytes().split(|byte| *byte == b':') {
            let folder = Path::new(OsStr::from_bytes(folder));
            let candidate = cwd.join(folder).join(name);
            match executable(&candidate) {
                Ok(()) if folder.is_absolute() => {
                    let program = c_string(candidate.into_os_string().into_vec());
                    self.remember(path, name, &program);
                    return Ok(program);
                }
                Ok(()) => return Ok(c_string(candidate.into_os_string().into_vec())),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    forbidden.get_or_insert(candidate);
                }
                Err(_) => {}
            }
        }
        let name = name.to_string();
        Err(match forbidden {
            Some(found) => PathError::NotExecutable { name, found: found.display().to_string() },
            None => PathError::NotFound { name, path: path.to_string_lossy().into_owned() },
        })
    }

    /// Forgets everything: a program was not where it had been.
    pub(super) fn forget(&mut self) {
        self.found.clear();
        self.count = 0;
    }

    fn remember(&mut self, path: &OsStr, name: &str, program: &CString) {
        if self.count >= REMEMBERED {
            self.forget();
        }
        self.count += 1;
        let known = self.found.entry(path.to_owned()).or_default();
        known.insert(name.to_string(), program.clone());
    }
}

fn executable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    access(path, AccessFlags::X_OK).map_err(io::Error::from)
}

/// The texts of a command were checked for NUL characters, and the environment cannot hold one.
pub(super) fn c_string(bytes: Vec<u8>) -> CString {
    CString::new(bytes).expect("checked for NUL characters")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn program(folder: &Path, name: &str, mode: u32) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), "").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn searches_as_execvp_does() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        program(&a, "plain", 0o644);
        program(&a, "tool", 0o644);
        program(&b, "tool", 0o755);
        fs::create_dir(a.join("folder")).unwrap();
        let path = OsString::from(format!("{}:{}:", a.display(), b.display()));
        let mut programs = Programs::default();
        let mut find = |name: &str, cwd: &Path| {
            programs.find(name, &path, cwd).map(|found| found.into_string().unwrap())
        };
        let tool = b.join("tool").display().to_string();
        assert_eq!(find("tool", Path::new("/")), Ok(tool.clone()));
        // The empty folder at the end is the working directory.
        program(&root.path().join("here"), "local", 0o755);
        let here = root.path().join("here");
        assert_eq!(find("local", &here), Ok(here.join("local").display().to_string()));
        assert!(find("local", Path::new("/")).is_err());
        assert_eq!(find("./x", Path::new("/")), Ok("./x".to_string()));
        let text = find("plain", Path::new("/")).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "command `plain` is at `{}`, which may not be executed",
                a.join("plain").display()
            )
        );
        assert!(find("folder", Path::new("/")).unwrap_err().to_string().contains("may not"));
        let text = find("nothing", Path::new("/")).unwrap_err().to_string();
        assert_eq!(text, format!("command `nothing` not found in PATH `{}`", path.display()));
        // Remembered, until it is forgotten.
        fs::remove_file(b.join("tool")).unwrap();
        assert_eq!(find("tool", Path::new("/")), Ok(tool));
        programs.forget();
        assert!(programs.find("tool", &path, Path::new("/")).is_err());
    }
}
