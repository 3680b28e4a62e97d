//! Programs that only the launcher can find: it is in a container, and the executor is not.
//!
//! Owns the search in the `PATH` of a run's environment, as execvp(3) has it. Refuses to remember:
//! it costs a system call for each folder. Called by `birth` for programs without a slash.

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use nix::unistd::{AccessFlags, access};

use super::{Spawn, Step, birth::Failure};

/// The file that a name stands for. None for what is a path already.
pub(super) fn find(spawn: &Spawn) -> Result<Option<CString>, Failure> {
    let name = spawn.program.as_bytes();
    if name.contains(&b'/') {
        return Ok(None);
    }
    let path = spawn.env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    let cwd = Path::new(OsStr::from_bytes(spawn.cwd.as_bytes()));
    let mut errno = libc::ENOENT;
    for folder in path.unwrap_or_default().split(|byte| *byte == b':').filter(|_| !name.is_empty())
    {
        let candidate = cwd.join(OsStr::from_bytes(folder)).join(OsStr::from_bytes(name));
        let Ok(found) = candidate.metadata() else { continue };
        if found.is_file() && access(&candidate, AccessFlags::X_OK).is_ok() {
            // No part of it has a NUL.
            return Ok(CString::new(candidate.into_os_string().into_vec()).ok());
        }
        errno = libc::EACCES;
    }
    Err(Failure { step: Step::Exec, errno })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::launcher::RunId;

    #[test]
    fn searches_the_path_of_the_run() {
        let root = tempfile::tempdir().unwrap();
        for (folder, mode) in [("a", 0o644), ("b", 0o755)] {
            let file = root.path().join(folder).join("tool");
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let at = |name: &str| root.path().join(name).display().to_string();
        let find = |program: &str, path: &str| {
            let program = CString::new(program).unwrap();
            let env = vec![CString::new(format!("PATH={path}")).unwrap()];
            find(&Spawn {
                env,
                cwd: CString::new(at("b")).unwrap(),
                ..Spawn::new(RunId(1), program)
            })
        };
        let tool = Ok(Some(CString::new(at("b/tool")).unwrap()));
        assert_eq!(find("tool", &format!("{}:{}", at("a"), at("b"))), tool);
        // The empty entry is the working directory.
        assert_eq!(find("tool", ""), Ok(Some(CString::new(at("b/tool")).unwrap())));
        let failure = |errno| Err(Failure { step: Step::Exec, errno });
        assert_eq!(find("tool", &at("a")), failure(libc::EACCES));
        assert_eq!(find("other", &at("b")), failure(libc::ENOENT));
        assert_eq!(find("", &at("b")), failure(libc::ENOENT));
        assert_eq!(find("./tool", &at("b")), Ok(None));
    }
}
