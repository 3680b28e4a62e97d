//! Pulls images.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bollard::{
    auth::DockerCredentials, errors::Error, models::CreateImageInfo,
    query_parameters::CreateImageOptions,
};
use futures_util::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::{Engine, EngineError};

/// Longest silence of the engine while it pulls.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Progress is told at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What a registry wants to know.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// A name and a password.
    Password {
        /// Who.
        user: String,
        /// Not shown.
        password: SecretString,
        /// The registry, as the engine names it.
        registry: String,
    },
    /// A token that stands for both.
    Token {
        /// Not shown.
        token: SecretString,
        /// The registry, as the engine names it.
        registry: String,
    },
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Layers that are seen.
    pub(crate) layers: usize,
    /// Layers that are there.
    pub(crate) complete: usize,
    /// Bytes that were downloaded.
    pub(crate) bytes: u64,
    /// Bytes that are known to be downloaded in all.
    pub(crate) total: u64,
}

impl Engine {
    /// Pulls an image, and tells now and then how far that is.
    ///
    /// # Errors
    /// The registry's or the engine's words.
    pub(crate) async fn pull(
        &self,
        image: &str,
        credentials: Option<Credentials>,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), EngineError> {
        // The answer begins when the registry has said something.
        let docker = self.client().await?.clone().with_timeout(SILENCE_MAX);
        let options = CreateImageOptions {
            from_image: Some(with_tag(image)),
            ..CreateImageOptions::default()
        };
        let credentials = credentials.map(exposed);
        let mut stream = Box::pin(docker.create_image(Some(options), None, credentials));
        let mut layers = BTreeMap::new();
        let mut told = Instant::now();
        loop {
            let next = timeout(SILENCE_MAX, stream.next()).await;
            match next {
                // It is there for everybody else: this is about the image.
                Err(_) | Ok(Some(Err(Error::RequestTimeoutError))) => {
                    let message = format!(
                        "the Docker engine told nothing of its pull for {SILENCE_MAX:?}: see to \
                         its way to the registry"
                    );
                    return Err(EngineError::Refused { status: 504, message });
                }
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(self.failure("pull", &error)),
                Ok(Some(Ok(info))) => note(&mut layers, info),
            }
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                tell(sum(&layers));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Layer {
    bytes: u64,
    total: u64,
    complete: bool,
}

fn note(layers: &mut BTreeMap<String, Layer>, info: CreateImageInfo) {
    let (Some(id), Some(status)) = (info.id, info.status) else { return };
    let layer = layers.entry(id).or_default();
    let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    match status.as_str() {
        "Downloading" => {
            let detail = info.progress_detail.unwrap_or_default();
            layer.bytes = bytes(detail.current).unwrap_or(layer.bytes);
            layer.total = bytes(detail.total).unwrap_or(layer.total);
        }
        "Download complete" => layer.bytes = layer.total,
        "Pull complete" | "Already exists" => layer.complete = true,
        _ => {}
    }
}

fn sum(layers: &BTreeMap<String, Layer>) -> Progress {
    Progress {
        layers: layers.len(),
        complete: layers.values().filter(|layer| layer.complete).count(),
        bytes: layers.values().map(|layer| layer.bytes).sum(),
        total: layers.values().map(|layer| layer.total).sum(),
    }
}

fn exposed(credentials: Credentials) -> DockerCredentials {
    match credentials {
        Credentials::Password { user, password, registry } => DockerCredentials {
            username: Some(user),
            password: Some(password.expose_secret().to_owned()),
            serveraddress: Some(registry),
            ..DockerCredentials::default()
        },
        Credentials::Token { token, registry } => DockerCredentials {
            identitytoken: Some(token.expose_secret().to_owned()),
            serveraddress: Some(registry),
            ..DockerCredentials::default()
        },
    }
}

/// Without a tag the engine would pull all there are.
pub(super) fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        for (image, expected) in [
            ("busybox", "busybox:latest"),
            ("host:5000/a/b", "host:5000/a/b:latest"),
            ("busybox:1", "busybox:1"),
            ("a/b@sha256:0123", "a/b@sha256:0123"),
        ] {
            assert_eq!(with_tag(image), expected);
        }
    }

    #[test]
    fn progress_counts_layers_and_bytes() {
        let mut layers = BTreeMap::new();
        for line in [
            r#"{"id":"a","status":"Pulling fs layer"}"#,
            r#"{"id":"a","status":"Downloading","progressDetail":{"current":5,"total":10}}"#,
            r#"{"id":"b","status":"Already exists"}"#,
            r#"{"status":"Digest: sha256:0"}"#,
        ] {
            note(&mut layers, serde_json::from_str(line).unwrap());
        }
        assert_eq!(sum(&layers), Progress { layers: 2, complete: 1, bytes: 5, total: 10 });
    }
}
