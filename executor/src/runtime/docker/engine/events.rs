//! What happens to containers, as the engine tells it.

use std::{collections::HashMap, pin::Pin};

use bollard::{errors::Error, models::EventMessage, query_parameters::EventsOptions};
use futures_util::{Stream, StreamExt as _};
use marmoset_executor_core::WallTime;

use super::{Engine, EngineError};

/// One thing that happened to one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Name of the container.
    pub(crate) name: String,
    /// When, by the engine's clock.
    pub(crate) at: WallTime,
    pub(crate) what: Happening,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    Started,
    Died {
        exit_code: i64,
    },
    OutOfMemory,
    /// Somebody has sent it a signal.
    Signalled {
        signal: i32,
    },
    Removed,
}

/// A stream of events. Ends with an error.
pub(crate) struct Watch {
    engine: Engine,
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>,
}

impl Engine {
    /// Watches the containers that have a label (`key=value`), from `since` on: what happened
    /// between then and now is told first, as far as the engine remembers.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub(crate) async fn watch(&self, label: &str, since: WallTime) -> Result<Watch, EngineError> {
        let kinds = ["start", "die", "oom", "kill", "destroy"];
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![label.to_owned()]),
            ("event".to_owned(), kinds.map(str::to_owned).to_vec()),
        ]);
        let (seconds, micros) = (since.0 / 1_000_000, since.0 % 1_000_000);
        let options = EventsOptions {
            since: Some(format!("{seconds}.{micros:06}000")),
            filters: Some(filters),
            ..EventsOptions::default()
        };
        let docker = self.client().await?.clone();
        Ok(Watch { engine: self.clone(), stream: Box::pin(docker.events(Some(options))) })
    }
}

impl Watch {
    /// Waits for the next event. May be cancelled.
    ///
    /// # Errors
    /// The stream has ended.
    pub(crate) async fn next(&mut self) -> Result<Event, EngineError> {
        loop {
            match self.stream.next().await {
                Some(Ok(message)) => {
                    if let Some(event) = read(message) {
                        return Ok(event);
                    }
                }
                Some(Err(error)) => return Err(self.engine.failure("events", &error)),
                None => return Err(self.engine.silent("events", "the stream ended".to_owned())),
            }
        }
    }
}

fn read(message: EventMessage) -> Option<Event> {
    let mut attributes = message.actor?.attributes?;
    let name = attributes.remove("name")?;
    let number = |key: &str| attributes.get(key).and_then(|text| text.parse::<i64>().ok());
    let what = match message.action?.as_str() {
        "start" => Happening::Started,
        "die" => Happening::Died { exit_code: number("exitCode").unwrap_or(-1) },
        "oom" => Happening::OutOfMemory,
        "kill" => Happening::Signalled { signal: number("signal")?.try_into().ok()? },
        "destroy" => Happening::Removed,
        _ => return None,
    };
    let nanos = message.time_nano.or_else(|| message.time?.checked_mul(1_000_000_000))?;
    let at = WallTime(u64::try_from(nanos).ok()? / 1000);
    Some(Event { name, at, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_engine_says() {
        let event = |action: &str, attributes: &str| {
            let text = format!(
                r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"ab","Attributes":{{"name":"n"{attributes}}}}},"time":5,"timeNano":5000001000}}"#
            );
            read(serde_json::from_str(&text).unwrap()).map(|event| (event.at.0, event.what))
        };
        assert_eq!(event("start", ""), Some((5_000_001, Happening::Started)));
        let died = Happening::Died { exit_code: 137 };
        assert_eq!(event("die", r#","exitCode":"137""#), Some((5_000_001, died)));
        let signalled = Happening::Signalled { signal: 15 };
        assert_eq!(event("kill", r#","signal":"15""#), Some((5_000_001, signalled)));
        assert_eq!(event("kill", r#","signal":"?""#), None);
        assert_eq!(event("exec_start", ""), None);
    }
}
