//! What a URI of a task asks for.
//!
//! Owns reading `CommandInfo.URI`: where the bytes are, which name they get and what is done with
//! them. Looks at no file and asks no server.

mod shown;

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use marmoset_proto::mesos::v1::command_info::Uri;
use reqwest::Url;

use self::shown::{redacted, shown};
use super::{archive::Format, error::Problem, place::Place};

/// One file to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The URI without its secrets.
    pub(super) shown: String,
    pub(super) source: Source,
    /// Where it goes.
    pub(super) place: Place,
    pub(super) then: Then,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of the agent. It is never cached: a copy in the cache costs as much as one in the
    /// folder, and would be readable for users that may not read the file.
    Local(PathBuf),
    /// A server; for this task alone.
    Web(Url),
    /// A server; for all tasks of this executor.
    Cached(Url),
}

/// What is done with a file once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    MakeExecutable,
    Unpack(Format),
}

impl Item {
    /// Reads a URI; the error comes with the URI as it may be shown.
    pub(super) fn read(uri: &Uri) -> Result<Self, (String, Problem)> {
        // As Mesos does.
        let text = uri.value.trim_start();
        let source = match source(text) {
            Ok(source) => source,
            Err(problem) => return Err((redacted(text), problem)),
        };
        let (shown, source) = match source {
            Source::Web(url) if uri.cache() => (shown(&url), Source::Cached(url)),
            Source::Web(url) | Source::Cached(url) => (shown(&url), Source::Web(url)),
            Source::Local(path) => (path.display().to_string(), Source::Local(path)),
        };
        let place = match place(uri.output_file.as_deref(), &source) {
            Ok(place) => place,
            Err(problem) => return Err((shown, problem)),
        };
        let then = match Format::of(place.last()) {
            _ if uri.executable() => Then::MakeExecutable,
            Some(format) if uri.extract() => Then::Unpack(format),
            Some(_) | None => Then::Nothing,
        };
        Ok(Self { shown, source, place, then })
    }
}

/// Tells files from servers. Text behind `file://` is taken as it is, as Mesos does.
fn source(text: &str) -> Result<Source, Problem> {
    let local = |path: &str| match path {
        _ if path.contains('\0') => {
            Err(Problem::Malformed("it contains a NUL character".to_owned()))
        }
        _ if path.starts_with('/') => Ok(Source::Local(PathBuf::from(path))),
        _ => Err(Problem::Relative),
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return local(text);
    };
    match scheme.to_ascii_lowercase().as_str() {
        // A path with `://` in it.
        _ if scheme.starts_with('/') => local(text),
        "file" => match rest.strip_prefix("localhost") {
            Some(path) if path.starts_with('/') => local(path),
            Some(_) | None => local(rest),
        },
        "http" | "https" => match Url::parse(text) {
            Ok(url) => Ok(Source::Web(url)),
            Err(error) => Err(Problem::Malformed(error.to_string())),
        },
        other => Err(Problem::Scheme(other.to_owned())),
    }
}

fn place(output_file: Option<&str>, source: &Source) -> Result<Place, Problem> {
    if let Some(path) = output_file {
        return Place::path(path.as_bytes())
            .map_err(|reason| Problem::OutputFile { path: path.to_owned(), reason });
    }
    let name = match source {
        Source::Local(path) => last_of(path),
        Source::Web(url) | Source::Cached(url) => {
            decoded(url.path().rsplit('/').next().unwrap_or_default())
        }
    };
    Place::name(name.clone()).map_err(|reason| Problem::Name {
        name: String::from_utf8_lossy(&name).into_owned(),
        reason,
    })
}

fn last_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
}

/// Undoes percent-encoding; what is not encoded properly stays.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
