//! The answer of `docker inspect`, as far as it is of use.

use bytes::Bytes;
use serde_json::Value;

/// When a container started that never did.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the engine knows of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// The whole answer, word for word.
    pub(crate) output: Bytes,
    /// Whether it ever ran.
    pub(crate) started: bool,
    /// The first process, as the host sees it; none if it does not run.
    pub(crate) pid: Option<u32>,
    /// Its address, if its network gives it one of its own.
    pub(crate) ip: Option<String>,
}

/// Reads the answer about one container; none if it is not one.
pub(super) fn read(output: Vec<u8>) -> Option<Inspected> {
    let answer: Value = serde_json::from_slice(&output).ok()?;
    let [container] = answer.as_array()?.as_slice() else { return None };
    let state = container.get("State")?.as_object()?;
    let started = state.get("StartedAt").and_then(Value::as_str).unwrap_or_default();
    let pid = state.get("Pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
    let settings = &container["NetworkSettings"];
    let networks = settings["Networks"].as_object().into_iter().flatten();
    let ip = std::iter::once(settings)
        .chain(networks.map(|(_name, network)| network))
        .filter_map(|network| network["IPAddress"].as_str())
        .find(|address| !address.is_empty())
        .map(str::to_owned);
    Some(Inspected {
        started: !started.is_empty() && started != NEVER,
        pid: pid.filter(|pid| *pid != 0),
        ip,
        output: output.into(),
    })
}

#[cfg(test)]
mod tests {
    fn read(text: &str) -> (bool, Option<u32>, Option<String>) {
        let read = super::read(text.as_bytes().to_vec()).unwrap();
        assert_eq!(read.output, text.as_bytes());
        (read.started, read.pid, read.ip)
    }

    #[test]
    fn what_matters_is_found() {
        let running = r#"[{"State": {"Pid": 7, "StartedAt": "2026-11-23T21:17:29.06Z"},
            "NetworkSettings": {"IPAddress": "", "Networks": {"mine": {"IPAddress": "10.0.0.9"}}}}]"#;
        assert_eq!(read(running), (true, Some(7), Some("10.0.0.9".to_owned())));
        let host = r#"[{"State": {"Pid": 0, "StartedAt": "2026-11-23T21:17:29.06Z"},
            "NetworkSettings": {"IPAddress": "", "Networks": {"host": {"IPAddress": ""}}}}]"#;
        assert_eq!(read(host), (true, None, None));
        let created = r#"[{"State": {"Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"},
            "NetworkSettings": {"IPAddress": "172.17.0.2", "Networks": null}}]"#;
        assert_eq!(read(created), (false, None, Some("172.17.0.2".to_owned())));
    }

    #[test]
    fn anything_else_is_an_error() {
        for odd in
            ["", "[]", "{}", "[{}]", "[{\"State\": 1}]", "[{\"State\": {}}, {\"State\": {}}]"]
        {
            assert!(super::read(odd.as_bytes().to_vec()).is_none(), "{odd}");
        }
    }
}
