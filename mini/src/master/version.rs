//! What the cluster claims to be: Mesos 1.11, whose behaviour it has.

use serde_json::{Value, json};

/// The version in `MasterInfo`, states and `/version`.
pub(crate) const VERSION: &str = "1.11.0";

/// The build fields of `/state` and `/version`, without the version.
pub(crate) fn build() -> [(&'static str, Value); 3] {
    [
        ("build_date", json!("2020-11-17 00:00:00 UTC")),
        ("build_time", json!(1_605_571_200.0)),
        ("build_user", json!("marmoset")),
    ]
}

/// `/version`
pub(crate) fn document() -> Value {
    let mut document = serde_json::Map::from_iter(
        build().into_iter().map(|(name, value)| (name.to_owned(), value)),
    );
    document.insert("version".to_owned(), json!(VERSION));
    Value::Object(document)
}
