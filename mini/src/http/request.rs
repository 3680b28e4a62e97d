//! Requests, and the checks every call endpoint makes before it reads a call.

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use marmoset_proto::codec::{self, Encoding};

use super::{Response, not_allowed, text};

/// One request whose body has not been read.
pub(crate) struct Request {
    /// GET, POST, …
    pub(crate) method: Method,
    /// With percent escapes decoded.
    pub(crate) path: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// As sent, without the question mark.
    pub(crate) query: Option<String>,
    /// All headers.
    pub(crate) headers: HeaderMap,
    body: Incoming,
    max_body: usize,
}

impl Request {
    pub(super) fn new(request: http::Request<Incoming>, max_body: usize) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            method: parts.method,
            path: percent_decode(parts.uri.path()),
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            body,
            max_body,
        }
    }

    /// The first value of a query parameter, decoded.
    pub(crate) fn query_parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_deref()?.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// The answer to give: 413 past the bound, 415 for a compressed body, 400 for one that breaks off.
    pub(crate) async fn into_body(self) -> Result<Bytes, Response> {
        if let Some(encoding) = self.headers.get(CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "compressed request bodies are not supported: leave `Content-Encoding` out",
            ));
        }
        match Limited::new(self.body, self.max_body).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request body is longer than {} bytes", self.max_body),
            )),
            Err(error) => {
                Err(text(StatusCode::BAD_REQUEST, format!("the request body broke off: {error}")))
            }
        }
    }
}

/// Checks method and content type of a call, in Mesos' order: 405, 400, 415.
///
/// The content type must be one of the two byte for byte: no parameters, no other case.
///
/// # Errors
/// The answer to give.
#[expect(clippy::result_large_err, reason = "an answer is built once per refused request")]
pub(crate) fn check_call_headers(request: &Request) -> Result<Encoding, Response> {
    if request.method != Method::POST {
        return Err(not_allowed(&Method::POST, &request.method));
    }
    let Some(content_type) = request.headers.get(CONTENT_TYPE) else {
        return Err(text(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present"));
    };
    [Encoding::Protobuf, Encoding::Json]
        .into_iter()
        .find(|encoding| content_type == encoding.media_type())
        .ok_or_else(|| {
            text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Expecting 'Content-Type' of application/json or application/x-protobuf",
            )
        })
}

/// Decodes a call; the texts of what can be wrong with it are the codec's.
///
/// # Errors
/// 400 with that text.
#[expect(clippy::result_large_err, reason = "an answer is built once per refused request")]
pub(crate) fn decode_call<M: marmoset_proto::Message>(
    body: &[u8],
    encoding: Encoding,
) -> Result<M, Response> {
    codec::decode(body, encoding).map_err(|error| text(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Decodes `%XX`; a broken escape stays as it is.
fn percent_decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| path.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decode;

    #[test]
    fn paths_are_decoded_leniently() {
        assert_eq!(percent_decode("/slave%281%29/state"), "/slave(1)/state");
        assert_eq!(percent_decode("/a%2"), "/a%2");
        assert_eq!(percent_decode("/a%zz"), "/a%zz");
    }
}
