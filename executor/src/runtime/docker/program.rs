//! This program inside of containers.
//!
//! Owns what has to be mounted so that our own binary runs in any image, one
//! without a libc or a shell included, and how it is called there. Called by
//! the docker runtime once.
//!
//! The static binary that is deployed needs itself and nothing else. One that
//! was built for development is mounted with its loader and its libraries, and
//! called through the loader.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use bollard::models::{Mount, MountType};

/// Where all of it is mounted.
const FOLDER: &str = "/.marmoset";

/// Our binary, as containers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Files on the engine's host, and where containers find them.
    files: Vec<(PathBuf, String)>,
    /// What begins the command line.
    command: Vec<String>,
}

impl Program {
    /// Finds this program.
    ///
    /// `reexec` is what reaches the executor's own subcommands on our command line. `copy` is a
    /// folder and its path on the engine's host, for an executor in a container: its own files
    /// are not the host's, so it puts copies there.
    ///
    /// # Errors
    /// When a file cannot be read or copied.
    pub(crate) fn find(reexec: &[OsString], copy: Option<(&Path, &Path)>) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let libraries = libraries(&maps, &own);
        let loader = libraries.iter().find(|path| is_loader(path)).cloned();
        let inside = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{FOLDER}/{name}")
        };
        let program = format!("{FOLDER}/marmoset");
        let mut files = vec![(PathBuf::from("/proc/self/exe"), program.clone())];
        files.extend(libraries.iter().map(|path| (path.clone(), inside(path))));
        let mut command = Vec::new();
        if let Some(loader) = &loader {
            command = vec![inside(loader), "--library-path".into(), FOLDER.into()];
        }
        command.push(program);
        command.extend(reexec.iter().map(|argument| argument.to_string_lossy().into_owned()));
        for (source, inside) in &mut files {
            *source = match copy {
                Some((folder, host)) => {
                    let name = Path::new(inside).file_name().unwrap_or_default();
                    fs::create_dir_all(folder)?;
                    fs::copy(&*source, folder.join(name))?;
                    host.join(name)
                }
                None if source == Path::new("/proc/self/exe") => own.clone(),
                None => fs::canonicalize(&*source)?,
            };
        }
        Ok(Self { files, command })
    }

    /// The mounts that a container needs.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = Mount> + '_ {
        self.files.iter().map(|(source, target)| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_string_lossy().into_owned()),
            target: Some(target.clone()),
            read_only: Some(true),
            ..Mount::default()
        })
    }

    /// The command line of a subcommand.
    pub(crate) fn command(&self, subcommand: &str) -> Vec<String> {
        let mut command = self.command.clone();
        command.push(subcommand.to_owned());
        command
    }
}

/// Files that a process maps beside its program: its loader and its libraries.
fn libraries(maps: &str, own: &Path) -> BTreeSet<PathBuf> {
    maps.lines()
        .filter_map(|line| {
            let path = line.splitn(6, ' ').nth(5)?.trim_start();
            let name = path.rsplit('/').next()?;
            let library = name.ends_with(".so") || name.contains(".so.");
            (path.starts_with('/') && library && Path::new(path) != own)
                .then(|| PathBuf::from(path))
        })
        .collect()
}

fn is_loader(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55e0-55e1 r--p 00000000 fe:00 1  /opt/my programs/marmoset-executor
7f00-7f01 r-xp 00028000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6
7f01-7f02 r--p 00000000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6
7f02-7f03 rw-p 00000000 00:00 0
7f03-7f04 r-xp 00000000 fe:00 3  /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffc-7ffd rw-p 00000000 00:00 0  [stack]
";

    #[test]
    fn finds_the_loader_and_the_libraries() {
        let found = libraries(MAPS, Path::new("/opt/my programs/marmoset-executor"));
        let names = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["ld-linux-x86-64.so.2", "libc.so.6"]);
        assert!(is_loader(found.first().unwrap()));
        assert!(libraries("55e0-55e1 r--p 0 fe:00 1  /opt/static\n", Path::new("/x")).is_empty());
    }

    #[test]
    fn copies_are_named_as_the_engines_host_sees_them() {
        let folder = tempfile::tempdir().unwrap();
        let host = Path::new("/host/sandbox/.marmoset");
        let program = Program::find(&["executor".into()], Some((folder.path(), host))).unwrap();
        assert!(folder.path().join("marmoset").exists());
        let mounts = program.mounts().collect::<Vec<_>>();
        assert!(mounts.iter().all(|mount| mount.source.as_ref().unwrap().starts_with("/host/")));
        let command = program.command("container-init");
        assert_eq!(command[command.len() - 2..], ["executor", "container-init"]);
    }
}
