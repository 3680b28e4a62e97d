//! URIs as people may see them.
//!
//! Owns leaving out what is secret: user and password, and the query, which carries the signature
//! of pre-signed URLs.

use std::fmt::Write as _;

use reqwest::Url;

/// Writes a URL without its secrets.
pub(super) fn shown(url: &Url) -> String {
    let mut text = format!("{}://", url.scheme());
    if !url.username().is_empty() || url.password().is_some() {
        text.push_str("***@");
    }
    text.push_str(url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        let _ = write!(text, ":{port}");
    }
    text.push_str(url.path());
    if url.query().is_some() {
        text.push_str("?…");
    }
    text
}

/// Leaves out of a text that is no URL whatever could be a secret, be it too much.
pub(super) fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    // A password may hold `?`, so that the query begins behind the last `@`.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?…"),
        None => (rest, ""),
    };
    format!("{scheme}://{user}{rest}{query}")
}
