//! Answers, with the headers and texts of Mesos 1.11.

use std::pin::Pin;

use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, LOCATION},
};
use http_body_util::Full;
use marmoset_proto::codec::Encoding;

use super::events::StreamCut;

/// A response body: a known number of bytes, or an endless stream of records.
pub(crate) type Body = Pin<Box<dyn http_body::Body<Data = Bytes, Error = StreamCut> + Send>>;
/// An answer to one request.
pub(crate) type Response = http::Response<Body>;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers with a plain text; an empty one gets `NNN Reason.`, as Mesos' own handlers do.
pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Response {
    let mut message = message.into();
    if message.is_empty() {
        message =
            format!("{} {}.", status.as_u16(), status.canonical_reason().unwrap_or("Unknown"));
    }
    let mut response = full(status, message);
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

/// Answers without a body and without a content type.
pub(crate) fn empty(status: StatusCode) -> Response {
    full(status, Bytes::new())
}

/// The answer to most calls: 202 with nothing in it.
pub(crate) fn accepted() -> Response {
    empty(StatusCode::ACCEPTED)
}

/// 405 with `Allow` and Mesos' text.
pub(crate) fn not_allowed(expected: &Method, received: &Method) -> Response {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "405 Method Not Allowed. Expecting one of {{ '{expected}' }}, but received '{received}'."
        ),
    );
    if let Ok(allow) = HeaderValue::from_str(expected.as_str()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// 307 to a location, which Mesos gives relative to the scheme: `//host:port/path`.
pub(crate) fn redirect(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "the leader's name is not a header value")
        }
    }
}

/// 200 with a JSON document.
pub(crate) fn json(value: &serde_json::Value) -> Response {
    let mut response = full(StatusCode::OK, value.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with an endless stream of records; the content type is that of one record.
pub(crate) fn events(body: Body, encoding: Encoding) -> Response {
    let mut response = http::Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}

fn full(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let body: Body =
        Box::pin(http_body_util::BodyExt::map_err(Full::new(body.into()), |never| match never {}));
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    response
}
