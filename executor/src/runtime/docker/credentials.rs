//! Credentials of registries, from a Docker configuration file.
//!
//! Owns the form of `config.json` (and of the older `.dockercfg`) and which
//! entry belongs to an image. Secrets stay in [`SecretString`]s: nothing here
//! prints them. Called when the executor starts, and for images that bring a
//! file of their own.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::engine::Credentials;

/// What Docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Why a configuration file cannot be used. Never quotes what stands in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("cannot read {0}: {1}")]
    Read(String, #[source] std::io::Error),
    #[error("{0} is not a Docker configuration file: {1}")]
    Form(String, &'static str),
    #[error(
        "{file} leaves `{registry}` to a credential helper, which the executor does not call: put \
         an `auth` into `auths`"
    )]
    HelperNeeded { file: String, registry: String },
}

/// A Docker configuration file.
#[derive(Debug, Clone)]
pub(crate) struct DockerConfig {
    /// For messages.
    file: String,
    entries: BTreeMap<String, Entry>,
    /// Whether helpers are named: then an empty entry is theirs.
    helpers: bool,
}

#[derive(Debug, Clone)]
enum Entry {
    Password(String, SecretString),
    Token(SecretString),
    Empty,
}

impl DockerConfig {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> Result<Self, CredentialsError> {
        let name = format!("`{}`", path.display());
        let bytes = fs::read(path).map_err(|error| CredentialsError::Read(name.clone(), error))?;
        Self::read(&bytes, &name)
    }

    /// Reads the content of a file; `name` stands in messages.
    pub(crate) fn read(bytes: &[u8], name: &str) -> Result<Self, CredentialsError> {
        let bad = |what| CredentialsError::Form(name.to_owned(), what);
        // Parse errors quote nothing either.
        let Ok(Value::Object(root)) = serde_json::from_slice(bytes) else {
            return Err(bad("it is no JSON object"));
        };
        let helpers = root.contains_key("credsStore") || root.contains_key("credHelpers");
        let auths = match root.get("auths") {
            Some(Value::Object(auths)) => auths.clone(),
            Some(_) => return Err(bad("`auths` is no object")),
            // A `.dockercfg` has the entries only.
            None if root.values().any(|value| value.get("auth").is_some()) => root,
            None => serde_json::Map::new(),
        };
        let mut entries = BTreeMap::new();
        for (registry, value) in auths {
            entries.insert(host(&registry).to_owned(), entry(&value).map_err(bad)?);
        }
        Ok(Self { file: name.to_owned(), entries, helpers })
    }

    /// What the registry of an image is to be told, if anything.
    pub(crate) fn credentials(&self, image: &str) -> Result<Option<Credentials>, CredentialsError> {
        let registry = registry(image);
        match self.entries.get(host(registry)) {
            Some(Entry::Password(user, password)) => Ok(Some(Credentials::Password {
                user: user.clone(),
                password: password.clone(),
                registry: registry.to_owned(),
            })),
            Some(Entry::Token(token)) => {
                Ok(Some(Credentials::Token { token: token.clone(), registry: registry.to_owned() }))
            }
            Some(Entry::Empty) if self.helpers => Err(CredentialsError::HelperNeeded {
                file: self.file.clone(),
                registry: registry.to_owned(),
            }),
            Some(Entry::Empty) | None => Ok(None),
        }
    }
}

fn entry(value: &Value) -> Result<Entry, &'static str> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Entry::Token(token.to_owned().into()));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Entry::Password(user.to_owned(), password.to_owned().into()));
    }
    let Some(auth) = text("auth") else { return Ok(Entry::Empty) };
    let decoded = STANDARD.decode(auth.trim()).map_err(|_| "an `auth` is not base64")?;
    let decoded =
        SecretString::from(String::from_utf8(decoded).map_err(|_| "an `auth` is no text")?);
    let (user, password) =
        decoded.expose_secret().split_once(':').ok_or("an `auth` has no colon")?;
    Ok(Entry::Password(user.to_owned(), password.trim_end_matches('\0').to_owned().into()))
}

/// The registry that an image comes from.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        Some(_) | None => DOCKER_HUB,
    }
}

/// The host of a registry, however it is written.
fn host(registry: &str) -> &str {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    if matches!(host, "docker.io" | "registry-1.docker.io") { "index.docker.io" } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(config: &str, image: &str) -> Option<(String, String)> {
        let config = DockerConfig::read(config.as_bytes(), "`c`").unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
        match config.credentials(image).unwrap()? {
            Credentials::Password { user, password, .. } => {
                Some((user, password.expose_secret().to_owned()))
            }
            Credentials::Token { token, .. } => {
                Some(("token".into(), token.expose_secret().to_owned()))
            }
        }
    }

    #[test]
    fn finds_the_registry_of_an_image() {
        let auth = STANDARD.encode("ada:geheim:x");
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},
                "http://localhost:5000/v2/":{{"username":"u","password":"geheim"}},
                "reg.example":{{"identitytoken":"geheim-t"}}}}}}"#
        );
        let ada = Some(("ada".to_owned(), "geheim:x".to_owned()));
        assert_eq!(shown(&config, "busybox"), ada);
        assert_eq!(shown(&config, "library/busybox:1"), ada);
        assert_eq!(shown(&config, "localhost:5000/a/b"), Some(("u".into(), "geheim".into())));
        assert_eq!(shown(&config, "reg.example/a"), Some(("token".into(), "geheim-t".into())));
        assert_eq!(shown(&config, "other.example/a"), None);
        assert_eq!(shown(&format!(r#"{{"docker.io":{{"auth":"{auth}"}}}}"#), "busybox"), ada);
    }

    #[test]
    fn refusals_name_the_file_and_no_secret() {
        for (text, part) in [
            ("geheim", "`c` is not a Docker configuration file: it is no JSON object"),
            (r#"{"auths":[]}"#, "`auths` is no object"),
            (r#"{"auths":{"r":{"auth":"geheim!"}}}"#, "an `auth` is not base64"),
        ] {
            let error = DockerConfig::read(text.as_bytes(), "`c`").unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("geheim"), "{error}");
        }
        let helped = DockerConfig::read(br#"{"auths":{"r.io":{}},"credsStore":"pass"}"#, "`c`");
        let error = helped.unwrap().credentials("r.io/a").unwrap_err().to_string();
        assert!(error.contains("leaves `r.io` to a credential helper"), "{error}");
    }
}
