//! Basic authentication of schedulers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    config::Credential,
    http::{Request, Response, text},
};

/// The realm of the scheduler API.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"mesos-master-scheduler\"");

/// Finds out who calls: nobody in particular while no credentials are configured.
///
/// # Errors
/// 401 with a challenge.
#[expect(clippy::result_large_err, reason = "an answer is built once per refused request")]
pub(super) fn principal(
    request: &Request,
    credentials: Option<&[Credential]>,
) -> Result<Option<String>, Response> {
    let Some(credentials) = credentials else { return Ok(None) };
    let given = request
        .header("Authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded.trim()).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok());
    let known =
        given.as_deref().and_then(|given| given.split_once(':')).and_then(|(principal, secret)| {
            credentials.iter().find(|known| known.principal == principal && known.secret == secret)
        });
    known.map(|known| Some(known.principal.clone())).ok_or_else(|| {
        let mut response = text(StatusCode::UNAUTHORIZED, "");
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        response
    })
}
