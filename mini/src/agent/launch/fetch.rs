//! The files an executor wants in its sandbox before it starts.
//!
//! Copies local files, downloads from http(s), unpacks with `tar`, `gzip` and
//! `unzip` as Mesos' fetcher does (Mesos 1.11, `src/launcher/fetcher.cpp`).
//! Programs run as the executor's user, so nobody gets at a file that is not
//! his. There is no cache.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use futures_util::StreamExt as _;
use marmoset_proto::mesos::v1::command_info::Uri;
use tokio::io::AsyncWriteExt as _;

use crate::processes::Identity;

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("A relative path was passed for the resource '{0}': give an absolute path or a URL")]
    Relative(String),
    #[error("The scheme of '{0}' is not supported: use a path, file://, http:// or https://")]
    Scheme(String),
    #[error("'{0}' has no file name: set `output_file`")]
    NoName(String),
    #[error("`output_file` '{0}' is not a path inside the sandbox")]
    Escape(String),
    #[error("Failed to copy '{0}': {1}")]
    Copy(String, String),
    #[error("Failed to download '{uri}': {source}")]
    Download { uri: String, source: reqwest::Error },
    #[error("Failed to download '{uri}': the server answered {status}")]
    Status { uri: String, status: reqwest::StatusCode },
    #[error("Failed to extract '{0}': {1}")]
    Extract(String, String),
    #[error("Failed to write '{path}': {source}")]
    Write { path: String, source: io::Error },
}

/// Where a URI's bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Http(reqwest::Url),
}

/// Fetches one after the other; the first that fails fails the launch.
pub(super) async fn all(
    uris: &[Uri],
    sandbox: &Path,
    user: Option<&Identity>,
) -> Result<(), FetchError> {
    for uri in uris {
        let fetched = one(uri, sandbox, user).await;
        note(sandbox, user, uri, fetched.as_ref().err());
        fetched?;
    }
    Ok(())
}

async fn one(uri: &Uri, sandbox: &Path, user: Option<&Identity>) -> Result<(), FetchError> {
    let source = source(&uri.value)?;
    let target = sandbox.join(target_name(uri, &source)?);
    let failed = |source| FetchError::Write { path: target.display().to_string(), source };
    if let Some(directory) = target.parent().filter(|directory| *directory != sandbox) {
        make_directories(sandbox, directory, user).map_err(failed)?;
    }
    match &source {
        Source::File(path) => copy(path, &target, user).await?,
        Source::Http(url) => {
            download(url, &target).await?;
            own(&target, user).map_err(failed)?;
        }
    }
    if uri.executable() {
        fs::set_permissions(&target, Permissions::from_mode(0o755)).map_err(failed)?;
    } else if uri.extract() {
        extract(&target, user).await?;
    }
    Ok(())
}

fn source(uri: &str) -> Result<Source, FetchError> {
    if let Some(path) = uri.strip_prefix("file://") {
        return match path.find('/') {
            Some(slash) => Ok(Source::File(PathBuf::from(&path[slash..]))),
            None => Err(FetchError::Relative(uri.to_owned())),
        };
    }
    if uri.starts_with('/') {
        return Ok(Source::File(PathBuf::from(uri)));
    }
    if !uri.contains("://") {
        return Err(FetchError::Relative(uri.to_owned()));
    }
    match reqwest::Url::parse(uri) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Source::Http(url)),
        Ok(_) | Err(_) => Err(FetchError::Scheme(uri.to_owned())),
    }
}

fn target_name(uri: &Uri, source: &Source) -> Result<PathBuf, FetchError> {
    if let Some(name) = &uri.output_file {
        let path = PathBuf::from(name);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        return if inside && !name.is_empty() {
            Ok(path)
        } else {
            Err(FetchError::Escape(name.clone()))
        };
    }
    let name = match source {
        Source::File(path) => path.file_name().map(PathBuf::from),
        Source::Http(url) => url
            .path_segments()
            .and_then(|mut segments| segments.next_back())
            .filter(|name| !matches!(*name, "" | "." | ".."))
            .map(PathBuf::from),
    };
    name.ok_or_else(|| FetchError::NoName(uri.value.clone()))
}

fn make_directories(sandbox: &Path, directory: &Path, user: Option<&Identity>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for made in directory.ancestors().take_while(|made| *made != sandbox) {
        own(made, user)?;
    }
    Ok(())
}

fn own(path: &Path, user: Option<&Identity>) -> io::Result<()> {
    user.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid)))
}

async fn copy(from: &Path, to: &Path, user: Option<&Identity>) -> Result<(), FetchError> {
    let mut command = Command::new("cp");
    command.arg("--").arg(from).arg(to);
    run(command, user).await.map_err(|why| FetchError::Copy(from.display().to_string(), why))
}

async fn download(url: &reqwest::Url, to: &Path) -> Result<(), FetchError> {
    let uri = url.to_string();
    let failed = |source| FetchError::Download { uri: uri.clone(), source };
    // Another part of the program may have chosen one already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().build().map_err(failed)?;
    let response = client.get(url.clone()).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(FetchError::Status { uri, status: response.status() });
    }
    let unwritable = |source| FetchError::Write { path: to.display().to_string(), source };
    let mut file = tokio::fs::File::create(to).await.map_err(unwritable)?;
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        file.write_all(&bytes.map_err(failed)?).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)
}

/// Unpacks what has the suffix of an archive, next to it.
async fn extract(file: &Path, user: Option<&Identity>) -> Result<(), FetchError> {
    const TAR: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"];
    let name = file.to_string_lossy();
    let Some(directory) = file.parent() else { return Ok(()) };
    let mut command;
    if TAR.iter().any(|suffix| name.ends_with(suffix)) {
        command = Command::new("tar");
        command.arg("-C").arg(directory).arg("-xf").arg(file);
    } else if name.ends_with(".zip") {
        command = Command::new("unzip");
        command.arg("-o").arg("-q").arg("-d").arg(directory).arg(file);
    } else if let Some(unpacked) = name.strip_suffix(".gz") {
        command = Command::new("/bin/sh");
        command.args(["-c", "gzip -dc -- \"$1\" > \"$2\"", "sh", &name, unpacked]);
    } else {
        return Ok(());
    }
    run(command, user).await.map_err(|why| FetchError::Extract(name.into_owned(), why))
}

/// Runs a program of the system as the executor's user; what it complains about is the error.
async fn run(mut command: Command, user: Option<&Identity>) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output =
        command.output().await.map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Tells in the sandbox's `stderr` what was fetched.
fn note(sandbox: &Path, user: Option<&Identity>, uri: &Uri, error: Option<&FetchError>) {
    let path = sandbox.join("stderr");
    let Ok(mut file) = OpenOptions::new().append(true).create(true).open(&path) else { return };
    // A note is a courtesy: the launch goes on, or fails for its own reason.
    let _unowned = own(&path, user);
    let _full = match error {
        None => writeln!(file, "Fetched '{}'", uri.value),
        Some(error) => writeln!(file, "{error}"),
    };
}

#[cfg(test)]
mod tests;
