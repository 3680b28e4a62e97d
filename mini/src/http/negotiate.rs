//! Which encoding an `Accept` header asks for.

use http::{HeaderMap, header::ACCEPT};
use marmoset_proto::codec::Encoding;

/// Chooses the encoding of a response, or none if the client accepts neither.
///
/// JSON is tried first, so `application/x-protobuf, */*` means JSON. A quality of
/// zero excludes a type; other qualities are not compared. (Mesos 1.11,
/// 3rdparty/libprocess/src/http.cpp, `Request::acceptsMediaType`.)
pub(crate) fn accepted_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let Some(accept) = headers.get(ACCEPT) else { return Some(Encoding::Json) };
    let Ok(accept) = accept.to_str() else { return None };
    [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| allows(accept, encoding.media_type()))
}

fn allows(accept: &str, media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default();
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let matches = parts.next().is_some_and(|name| {
            name == "*/*"
                || name == media_type
                || name.strip_suffix("/*").is_some_and(|prefix| prefix == kind)
        });
        let excluded = parts.any(|parameter| {
            parameter
                .strip_prefix("q=")
                .and_then(|quality| quality.trim().parse::<f64>().ok())
                .is_some_and(|quality| quality == 0.0)
        });
        matches && !excluded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_tried_first_and_zero_quality_excludes() {
        let cases = [
            (None, Some(Encoding::Json)),
            (Some("*/*"), Some(Encoding::Json)),
            (Some("application/json"), Some(Encoding::Json)),
            (Some("application/x-protobuf"), Some(Encoding::Protobuf)),
            (Some("application/x-protobuf, */*"), Some(Encoding::Json)),
            (Some("application/*"), Some(Encoding::Json)),
            (Some("application/json;q=0, application/x-protobuf"), Some(Encoding::Protobuf)),
            (Some("application/json; q=0.1, application/x-protobuf"), Some(Encoding::Json)),
            (Some("text/plain"), None),
            (Some("application/recordio"), None),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(accepted_encoding(&headers), expected, "{accept:?}");
        }
    }
}
