//! Where sandboxes lie, and how one is made.
//!
//! ```text
//! <work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>
//!                                                                       runs/latest -> <container>
//! ```
//!
//! Called by the core for the paths (pure) and by the launch for the making.
//! Mesos 1.11, `src/slave/paths.cpp`.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Component, Path, PathBuf},
};

use marmoset_proto::mesos::v1::{AgentId, ExecutorId, FrameworkId};

use crate::processes::Identity;

/// Name of the link to the newest run.
pub(crate) const LATEST: &str = "latest";

/// Names the directory of all that an agent has.
pub(crate) fn agent_directory(work_dir: &Path, agent: &AgentId) -> PathBuf {
    work_dir.join("slaves").join(component(&agent.value))
}

/// Names the sandbox of one run.
pub(crate) fn run_directory(
    work_dir: &Path,
    agent: &AgentId,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &str,
) -> PathBuf {
    agent_directory(work_dir, agent)
        .join("frameworks")
        .join(component(&framework.value))
        .join("executors")
        .join(component(&executor.value))
        .join("runs")
        .join(container)
}

/// An id as one component of a path: the master refuses ids that are none, this keeps them harmless.
fn component(id: &str) -> String {
    let name = id.replace('/', "_");
    match Path::new(&name).components().next() {
        Some(Component::Normal(_)) => name,
        Some(_) | None => format!("_{name}"),
    }
}

/// Makes a sandbox with mode 0750, owned by whom the executor runs as, and points `latest` to it.
///
/// # Errors
/// A directory cannot be made, or its owner cannot be set.
pub(crate) fn create(directory: &Path, owner: Option<&Identity>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750))?;
    if let Some(owner) = owner {
        chown(directory, Some(owner.uid), Some(owner.gid))?;
    }
    let (Some(runs), Some(container)) = (directory.parent(), directory.file_name()) else {
        return Ok(());
    };
    // Renaming over the old link leaves no moment without one.
    let fresh = runs.join(format!(".{}", container.to_string_lossy()));
    symlink(directory, &fresh)?;
    fs::rename(&fresh, runs.join(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_mesos_and_ids_stay_inside() {
        let path = |executor: &str| {
            let work_dir = Path::new("/w");
            run_directory(work_dir, &"M-S0".into(), &"M-0001".into(), &executor.into(), "c")
        };
        assert_eq!(
            path("resident"),
            Path::new("/w/slaves/M-S0/frameworks/M-0001/executors/resident/runs/c")
        );
        for evil in ["..", "../../x", "/etc", "", "."] {
            let path = path(evil);
            assert!(path.components().all(|c| c != Component::ParentDir), "{path:?}");
            assert_eq!(path.components().count(), 10, "{path:?}");
        }
    }

    #[test]
    fn latest_follows_the_newest_run() {
        let dir = tempfile::tempdir().unwrap();
        for run in ["a", "b"] {
            let sandbox = dir.path().join("runs").join(run);
            create(&sandbox, None).unwrap();
            let mode = fs::metadata(&sandbox).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o750);
            assert_eq!(fs::read_link(dir.path().join("runs/latest")).unwrap(), sandbox);
        }
    }
}
