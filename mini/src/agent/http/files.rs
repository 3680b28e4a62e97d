//! Sandboxes over HTTP: read, browse, download.
//!
//! A path names a sandbox under its real run directory, under `…/runs/latest`,
//! or under the virtual `/frameworks/<framework>/executors/<executor>/runs/latest`.
//! What it resolves to must lie in that sandbox, links followed: nothing else on
//! the machine can be read. Mesos 1.11, `src/files/files.cpp`.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{AgentService, only_get};
use crate::http::{Request, Response, empty, json as document, text};

/// Longest piece one read yields: 16 pages.
const LONGEST: u64 = 64 << 10;

/// Why there is no file to show.
#[derive(Debug)]
enum Refused {
    Bad(String),
    Unknown,
    Failed(io::Error),
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            Refused::Unknown => {
                let mut response = empty(StatusCode::NOT_FOUND);
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, plain);
                response
            }
            Refused::Failed(error) if error.kind() == io::ErrorKind::NotFound => {
                Refused::Unknown.into()
            }
            Refused::Failed(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

impl AgentService {
    pub(super) async fn read_file(&self, request: &Request) -> Response {
        let asked = (|| {
            let path = self.resolve(request)?;
            let offset = number(request, "offset")?;
            let length = number(request, "length")?;
            Ok((path, offset, length))
        })();
        self.answer(request, asked, |(path, offset, length)| read(&path, offset, length)).await
    }

    pub(super) async fn browse(&self, request: &Request) -> Response {
        let asked = self.resolve(request).map(|path| (path, path_of(request).unwrap_or_default()));
        self.answer(request, asked, |(path, shown)| browse(&path, &shown)).await
    }

    async fn answer<A: Send + 'static>(
        &self,
        request: &Request,
        asked: Result<A, Refused>,
        work: impl FnOnce(A) -> Result<Value, Refused> + Send + 'static,
    ) -> Response {
        if let Some(refused) = only_get(&request.method) {
            return refused;
        }
        let done = match asked {
            Ok(asked) => tokio::task::spawn_blocking(move || work(asked))
                .await
                .unwrap_or_else(|error| Err(Refused::Failed(io::Error::other(error)))),
            Err(refused) => Err(refused),
        };
        done.map_or_else(Response::from, |value| document(&value))
    }

    pub(super) async fn download(&self, request: &Request) -> Response {
        if let Some(refused) = only_get(&request.method) {
            return refused;
        }
        let path = match self.resolve(request) {
            Ok(path) => path,
            Err(refused) => return refused.into(),
        };
        if path.is_dir() {
            return Refused::Bad("Cannot download a directory.".to_owned()).into();
        }
        match tokio::fs::File::open(&path).await {
            Ok(file) => attachment(file, &path),
            Err(error) => Refused::Failed(error).into(),
        }
    }

    /// Finds the file that `path` names.
    fn resolve(&self, request: &Request) -> Result<PathBuf, Refused> {
        let path = path_of(request)
            .ok_or_else(|| Refused::Bad("Expecting 'path=value' in query.".to_owned()))?;
        resolve(&self.work_dir, &path).ok_or(Refused::Unknown)
    }
}

fn path_of(request: &Request) -> Option<String> {
    request.query_parameter("path").filter(|path| !path.is_empty())
}

/// Reads a number of at least -1, which stands for "not given".
fn number(request: &Request, name: &str) -> Result<Option<u64>, Refused> {
    let Some(text) = request.query_parameter(name) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| Refused::Bad(format!("Negative {name} provided: {value}."))),
        Err(error) => Err(Refused::Bad(format!("Failed to parse {name}: {error}."))),
    }
}

fn resolve(work_dir: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let names: Vec<&str> = path
        .components()
        .filter(|part| !matches!(part, Component::RootDir))
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            Component::RootDir
            | Component::CurDir
            | Component::ParentDir
            | Component::Prefix(_) => None,
        })
        .collect::<Option<_>>()?;
    let (base, rest) = match names.as_slice() {
        ["frameworks", framework, "executors", executor, "runs", "latest", rest @ ..] => {
            (newest(work_dir, framework, executor)?, rest.iter().collect::<PathBuf>())
        }
        _ => {
            let inside = path.strip_prefix(work_dir).ok()?;
            let parts: Vec<_> = inside.components().collect();
            // slaves / <agent> / frameworks / <framework> / executors / <executor> / runs / <run>
            if parts.len() < 8 || parts[0].as_os_str() != "slaves" || parts[6].as_os_str() != "runs"
            {
                return None;
            }
            let base = work_dir.join(parts[..8].iter().collect::<PathBuf>());
            (base, parts[8..].iter().collect())
        }
    };
    let base = base.canonicalize().ok()?;
    let target = base.join(rest).canonicalize().ok()?;
    (base.starts_with(work_dir) && target.starts_with(&base)).then_some(target)
}

/// The newest run of an executor, under whatever id the agent had then.
fn newest(work_dir: &Path, framework: &str, executor: &str) -> Option<PathBuf> {
    let run = |agent: PathBuf| {
        let latest = agent
            .join("frameworks")
            .join(framework)
            .join("executors")
            .join(executor)
            .join("runs")
            .join(crate::agent::sandbox::LATEST);
        let made = fs::symlink_metadata(&latest).and_then(|link| link.modified()).ok()?;
        Some((made, latest))
    };
    fs::read_dir(work_dir.join("slaves"))
        .ok()?
        .filter_map(|entry| run(entry.ok()?.path()))
        .max()
        .map(|(_, latest)| latest)
}

fn read(path: &Path, offset: Option<u64>, length: Option<u64>) -> Result<Value, Refused> {
    let mut file = File::open(path).map_err(Refused::Failed)?;
    let metadata = file.metadata().map_err(Refused::Failed)?;
    if metadata.is_dir() {
        return Err(Refused::Bad("Cannot read a directory.".to_owned()));
    }
    let Some(offset) = offset else { return Ok(json!({ "data": "", "offset": metadata.len() })) };
    let mut data = Vec::new();
    if offset < metadata.len() {
        file.seek(SeekFrom::Start(offset)).map_err(Refused::Failed)?;
        let length = length.unwrap_or(LONGEST).min(LONGEST);
        file.take(length).read_to_end(&mut data).map_err(Refused::Failed)?;
    }
    Ok(json!({ "data": as_text(&data), "offset": offset }))
}

/// Bytes that are no UTF-8 become the characters of the same number.
fn as_text(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                return text;
            }
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(good));
                let skipped = error.error_len().unwrap_or(bad.len());
                text.extend(bad[..skipped].iter().map(|byte| char::from(*byte)));
                bytes = &bad[skipped..];
            }
        }
    }
}

fn browse(path: &Path, shown: &str) -> Result<Value, Refused> {
    let metadata = fs::metadata(path).map_err(Refused::Failed)?;
    if !metadata.is_dir() {
        return Err(Refused::Bad("Cannot browse a file.".to_owned()));
    }
    let mut entries: Vec<(PathBuf, Metadata)> = fs::read_dir(path)
        .map_err(Refused::Failed)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((Path::new(shown).join(entry.file_name()), entry.metadata().ok()?))
        })
        .collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries.iter().map(|(path, metadata)| info(path, metadata)).collect())
}

fn info(path: &Path, metadata: &Metadata) -> Value {
    json!({
        "gid": metadata.gid().to_string(),
        "mode": mode(metadata),
        "mtime": metadata.mtime(),
        "nlink": metadata.nlink(),
        "path": path.to_string_lossy(),
        "size": metadata.len(),
        "uid": metadata.uid().to_string(),
    })
}

/// As `ls -l` shows it.
fn mode(metadata: &Metadata) -> String {
    let kind = if metadata.is_dir() {
        'd'
    } else if metadata.is_symlink() {
        'l'
    } else {
        '-'
    };
    let bits = metadata.permissions().mode();
    let flags = (0..9).map(|at| {
        let letter = ['r', 'w', 'x'][at % 3];
        if bits & (0o400 >> at) == 0 { '-' } else { letter }
    });
    std::iter::once(kind).chain(flags).collect()
}

fn attachment(file: tokio::fs::File, path: &Path) -> Response {
    let pieces = stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut piece = vec![0; LONGEST as usize];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(Frame::data(Bytes::from(piece))), Some(file)))
            }
            Err(error) => {
                tracing::debug!(%error, "download broke off");
                None
            }
        }
    });
    let mut response = http::Response::new(Box::pin(StreamBody::new(pieces)) as crate::http::Body);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    // A name that no header can carry is left out.
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename={name}")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_sandboxes_are_reached_and_nothing_outside_them() {
        let dir = tempfile::tempdir().unwrap();
        let work_dir = dir.path().canonicalize().unwrap();
        let runs = work_dir.join("slaves/S0/frameworks/F/executors/E/runs");
        let run = runs.join("c1");
        fs::create_dir_all(run.join("sub")).unwrap();
        fs::create_dir_all(runs.join("c2")).unwrap();
        fs::write(run.join("stdout"), "out").unwrap();
        fs::write(work_dir.join("secret"), "no").unwrap();
        symlink(&run, runs.join("latest")).unwrap();
        symlink("/etc/passwd", run.join("evil")).unwrap();
        symlink(runs.join("c2"), run.join("sibling")).unwrap();
        symlink("stdout", run.join("good")).unwrap();
        let at = |path: &str| resolve(&work_dir, path);
        let real = |rest: &str| format!("{}/{rest}", runs.display());

        let stdout = Some(run.join("stdout"));
        assert_eq!(at(&real("c1/stdout")), stdout);
        assert_eq!(at(&real("latest/stdout")), stdout);
        assert_eq!(at(&real("c1/good")), stdout);
        assert_eq!(at("/frameworks/F/executors/E/runs/latest/stdout"), stdout);
        assert_eq!(at("/frameworks/F/executors/E/runs/latest"), Some(run.clone()));
        assert_eq!(at(&real("c1")), Some(run.clone()));
        for escape in [
            real("c1/../../../../../../../../secret"),
            real("c1/evil"),
            real("c1/sibling"),
            real("c1/sub/../../c2"),
            real("c3"),
            real(""),
            work_dir.join("secret").display().to_string(),
            work_dir.display().to_string(),
            "/etc/passwd".to_owned(),
            "etc/passwd".to_owned(),
            "/frameworks/F/executors/E/runs/latest/evil".to_owned(),
            "/frameworks/F/executors/E/runs/latest/../../../../../../secret".to_owned(),
            "/frameworks/../executors/E/runs/latest".to_owned(),
        ] {
            assert_eq!(at(&escape), None, "{escape}");
        }
    }

    #[test]
    fn reading_echoes_the_offset_and_keeps_odd_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"caf\xc3\xa9 \xff!").unwrap();
        let cases = [
            (None, None, "", 8),
            (Some(0), None, "caf\u{e9} \u{ff}!", 0),
            (Some(0), Some(3), "caf", 0),
            (Some(6), Some(100), "\u{ff}!", 6),
            (Some(100), None, "", 100),
        ];
        for (offset, length, data, shown) in cases {
            let expected = json!({ "data": data, "offset": shown });
            assert_eq!(read(&path, offset, length).unwrap(), expected);
        }
        assert!(matches!(read(dir.path(), Some(0), None), Err(Refused::Bad(_))));
    }
}
