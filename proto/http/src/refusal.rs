//! What an answer that is not success means.
//!
//! Owns the table from status, headers and body to a [`Refusal`]; a pure
//! function, asked by subscriptions and calls. Sources: Mesos 1.11,
//! `src/slave/http.cpp` (`Http::executor`) and `src/master/http.cpp`
//! (`Http::scheduler`).

use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use crate::endpoint::Endpoint;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server is there, but not yet ready: starting, recovering, no leader.
    #[error("not ready yet ({status}): {body}")]
    NotReady {
        /// 404, 502, 503 or 504.
        status: u16,
        /// Text of the answer.
        body: String,
    },
    /// The server does not have this framework or executor as connected.
    #[error("not subscribed: {body}")]
    NotSubscribed {
        /// Text of the answer.
        body: String,
    },
    /// The subscription this call belongs to was replaced by another.
    #[error("subscription was replaced by another: {body}")]
    StreamIdMismatch {
        /// Text of the answer.
        body: String,
    },
    /// Credentials are missing or not accepted.
    #[error(
        "not authenticated: check principal and secret, or the token (server asks for `{}`): {body}",
        challenge.as_deref().unwrap_or("nothing")
    )]
    Unauthorized {
        /// `WWW-Authenticate` of the answer.
        challenge: Option<String>,
        /// Text of the answer.
        body: String,
    },
    /// Another master leads.
    #[error("redirected to `{leader}`")]
    Redirected {
        /// Where to.
        leader: Endpoint,
    },
    /// Masters point at each other, or one at itself.
    #[error(
        "redirected in a circle, back to `{to}`: no master leads yet, or its `--hostname` is wrong"
    )]
    RedirectLoop {
        /// The place that was visited before.
        to: Endpoint,
    },
    /// A redirect that must not or cannot be followed.
    #[error("redirected to `{location}`, which is not followed: {reason}")]
    BadRedirect {
        /// As it was sent.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// Something else than Mesos listens there.
    #[error(
        "neither a Mesos master nor an agent: {found}; check host and port (a master listens on 5050, an agent on 5051)"
    )]
    NotMesos {
        /// What gave it away.
        found: String,
    },
    /// Any other status: wrong configuration or a wrong request.
    #[error("refused with status {status}: {body}")]
    Fatal {
        /// The status code.
        status: u16,
        /// Text of the answer.
        body: String,
    },
}

impl Refusal {
    /// Whether the same request may succeed later, after a back-off.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotReady { .. } | Self::RedirectLoop { .. } => true,
            Self::NotSubscribed { .. }
            | Self::StreamIdMismatch { .. }
            | Self::Unauthorized { .. }
            | Self::Redirected { .. }
            | Self::BadRedirect { .. }
            | Self::NotMesos { .. }
            | Self::Fatal { .. } => false,
        }
    }

    /// Whether only a new subscription helps, at the leader if one is named.
    pub fn needs_resubscribe(&self) -> bool {
        match self {
            Self::NotSubscribed { .. }
            | Self::StreamIdMismatch { .. }
            | Self::Redirected { .. } => true,
            Self::NotReady { .. }
            | Self::Unauthorized { .. }
            | Self::RedirectLoop { .. }
            | Self::BadRedirect { .. }
            | Self::NotMesos { .. }
            | Self::Fatal { .. } => false,
        }
    }

    /// Whether repeating cannot help: neither of the two above.
    pub fn is_fatal(&self) -> bool {
        !self.is_retryable() && !self.needs_resubscribe()
    }

    /// The leader, if the answer named one.
    pub fn leader(&self) -> Option<&Endpoint> {
        if let Self::Redirected { leader } = self { Some(leader) } else { None }
    }
}

/// What an answer says before its meaning is known.
pub(crate) struct Answered<'a> {
    pub(crate) from: &'a Endpoint,
    pub(crate) path: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// Readable and bounded.
    pub(crate) body: String,
}

/// Tells what an answer other than success means.
pub(crate) fn judge(answer: Answered<'_>) -> Refusal {
    let Answered { from, path, status, headers, body } = answer;
    let code = status.as_u16();
    match status {
        StatusCode::TEMPORARY_REDIRECT => {
            let location = text(headers, &LOCATION).unwrap_or_default();
            match from.follow(path, &location) {
                Ok(leader) if leader == *from => Refusal::RedirectLoop { to: leader },
                Ok(leader) => Refusal::Redirected { leader },
                Err(reason) => Refusal::BadRedirect { location, reason },
            }
        }
        // Either may come from a proxy in between, in whatever form.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Refusal::NotReady { status: code, body }
        }
        StatusCode::UNAUTHORIZED => {
            Refusal::Unauthorized { challenge: text(headers, &WWW_AUTHENTICATE), body }
        }
        _ if !is_plain(headers) => Refusal::NotMesos { found: found(status, headers) },
        StatusCode::NOT_FOUND if body.is_empty() || body.starts_with("404 Not Found") => {
            Refusal::NotReady { status: code, body }
        }
        StatusCode::NOT_FOUND => Refusal::NotMesos { found: format!("it has no path `{path}`") },
        StatusCode::FORBIDDEN if body.contains("is not subscribed") => {
            Refusal::NotSubscribed { body }
        }
        StatusCode::BAD_REQUEST if body.contains("didn't match the stream ID") => {
            Refusal::StreamIdMismatch { body }
        }
        _ if status.is_client_error() || status.is_server_error() => {
            Refusal::Fatal { status: code, body }
        }
        _ => Refusal::NotMesos { found: found(status, headers) },
    }
}

/// What an answer that is no HTTP means.
pub(crate) fn not_http() -> Refusal {
    let found = "it does not speak HTTP (if it expects TLS, write `https://`)".to_owned();
    Refusal::NotMesos { found }
}

/// Describes an answer that no Mesos gives.
pub(crate) fn found(status: StatusCode, headers: &HeaderMap) -> String {
    let content = match text(headers, &CONTENT_TYPE) {
        Some(content) => format!("content of type `{content}`"),
        None => "no content type".to_owned(),
    };
    match text(headers, &http::header::SERVER) {
        Some(server) => format!("`{server}` answered {} with {content}", status.as_u16()),
        None => format!("it answered {} with {content}", status.as_u16()),
    }
}

/// Makes a body or a header safe to print: one line, no control characters.
pub(crate) fn readable(bytes: &[u8], truncated: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line: String =
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if truncated {
        line.push_str(" […]");
    }
    line
}

/// Mesos words its refusals in plain text, or sends no body at all.
fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    headers.get(name).map(|value| readable(value.as_bytes(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Reaction {
        Retry,
        Resubscribe,
        Fatal,
    }

    fn refusal(status: u16, headers: &[(&str, &str)], body: &str) -> Refusal {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        judge(Answered {
            from: &Endpoint::tcp("m1:5050").unwrap(),
            path: "/api/v1/scheduler",
            status: StatusCode::from_u16(status).unwrap(),
            headers: &map,
            body: body.to_owned(),
        })
    }

    fn reaction(refusal: &Refusal) -> Reaction {
        match (refusal.is_retryable(), refusal.needs_resubscribe(), refusal.is_fatal()) {
            (true, false, false) => Reaction::Retry,
            (false, true, false) => Reaction::Resubscribe,
            (false, false, true) => Reaction::Fatal,
            mixed => panic!("{refusal:?} is ambiguous: {mixed:?}"),
        }
    }

    #[test]
    fn every_status_has_its_reaction() {
        let plain = ("content-type", "text/plain; charset=utf-8");
        let html = ("content-type", "text/html");
        let to_m2 = ("location", "//m2:5050/api/v1/scheduler");
        let to_m1 = ("location", "//m1:5050/api/v1/scheduler");
        use Reaction::{Fatal, Resubscribe, Retry};
        for (status, headers, body, expected, shown) in [
            (404, vec![plain], "404 Not Found.", Retry, "not ready yet (404): 404 Not Found."),
            (404, vec![], "", Retry, "not ready yet (404): "),
            (
                503,
                vec![plain],
                "Agent has not finished recovery",
                Retry,
                "not ready yet (503): Agent has not finished recovery",
            ),
            (503, vec![html], "<h1>busy</h1>", Retry, "not ready yet (503): <h1>busy</h1>"),
            (502, vec![html], "x", Retry, "not ready yet (502): x"),
            (
                403,
                vec![plain],
                "Executor is not subscribed",
                Resubscribe,
                "not subscribed: Executor is not subscribed",
            ),
            (
                403,
                vec![plain],
                "Framework is not connected via HTTP",
                Fatal,
                "refused with status 403: Framework is not connected via HTTP",
            ),
            (
                400,
                vec![plain],
                "The stream ID 'x' included in this request didn't match the stream ID currently \
                 associated with framework ID y",
                Resubscribe,
                "subscription was replaced by another: The stream ID 'x' included in this request \
                 didn't match the stream ID currently associated with framework ID y",
            ),
            (
                400,
                vec![plain],
                "Framework cannot be found",
                Fatal,
                "refused with status 400: Framework cannot be found",
            ),
            (
                401,
                vec![plain, ("www-authenticate", "Basic realm=\"mesos-master-scheduler\"")],
                "401 Unauthorized.",
                Fatal,
                "not authenticated: check principal and secret, or the token (server asks for \
                 `Basic realm=\"mesos-master-scheduler\"`): 401 Unauthorized.",
            ),
            (405, vec![plain], "405", Fatal, "refused with status 405: 405"),
            (406, vec![plain], "a", Fatal, "refused with status 406: a"),
            (415, vec![plain], "c", Fatal, "refused with status 415: c"),
            (500, vec![plain], "e", Fatal, "refused with status 500: e"),
            (307, vec![to_m2], "", Resubscribe, "redirected to `m2:5050`"),
            (
                307,
                vec![to_m1],
                "",
                Retry,
                "redirected in a circle, back to `m1:5050`: no master leads yet, or its \
                 `--hostname` is wrong",
            ),
            (
                307,
                vec![("location", "//:::")],
                "",
                Fatal,
                "redirected to `//:::`, which is not followed: it is no address",
            ),
            (
                404,
                vec![html, ("server", "nginx")],
                "<html>",
                Fatal,
                "neither a Mesos master nor an agent: `nginx` answered 404 with content of type \
                 `text/html`; check host and port (a master listens on 5050, an agent on 5051)",
            ),
            (
                404,
                vec![plain],
                "404 page not found",
                Fatal,
                "neither a Mesos master nor an agent: it has no path `/api/v1/scheduler`; check \
                 host and port (a master listens on 5050, an agent on 5051)",
            ),
            (
                501,
                vec![html],
                "",
                Fatal,
                "neither a Mesos master nor an agent: it answered 501 with content of type \
                 `text/html`; check host and port (a master listens on 5050, an agent on 5051)",
            ),
            (
                302,
                vec![to_m2],
                "",
                Fatal,
                "neither a Mesos master nor an agent: it answered 302 with no content type; check \
                 host and port (a master listens on 5050, an agent on 5051)",
            ),
        ] {
            let refusal = refusal(status, &headers, body);
            assert_eq!(refusal.to_string(), shown);
            assert_eq!(reaction(&refusal), expected, "{refusal:?}");
        }
    }

    #[test]
    fn what_is_printed_is_one_harmless_line() {
        assert_eq!(readable(b" a\r\nb\x1b[31m\xff ", false), "a  b [31m\u{fffd}");
        assert_eq!(readable(b"abc", true), "abc […]");
    }
}
