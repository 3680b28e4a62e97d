//! Listens to the engine: one stream of events for all containers, and lists.
//!
//! Owns the connection for events and its renewal. After each renewal, and
//! whenever it is asked to, it lists all our containers: what happened while
//! nobody listened shows there. Refuses to draw conclusions.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use marmoset_executor_core::WallTime;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{
    core::Input,
    engine::{Engine, EngineError, Listed},
    ownership,
};

const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The receiver is gone: the executor ends.
struct Over;

/// Listens until the receiver is gone.
pub(super) async fn listen(
    engine: Engine,
    label: String,
    list: Arc<Notify>,
    sender: mpsc::Sender<Input>,
) {
    let mut pause = RECONNECT_MIN;
    let mut listener = Listener { engine, label, since: WallTime::from(SystemTime::now()), sender };
    loop {
        match listener.hear(&list, &mut pause).await {
            Err(Over) => return,
            Ok(error) => {
                if listener.sender.send(Input::Away(error)).await.is_err() {
                    return;
                }
            }
        }
        // Whoever wants a list does not wait for it longer than that.
        let _ = timeout(pause, list.notified()).await;
        sleep(RECONNECT_MIN).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

struct Listener {
    engine: Engine,
    label: String,
    /// Events from then on were not heard.
    since: WallTime,
    sender: mpsc::Sender<Input>,
}

impl Listener {
    /// Hears one stream of events to its end.
    async fn hear(&mut self, list: &Notify, pause: &mut Duration) -> Result<EngineError, Over> {
        let mut watch = match self.engine.watch(&self.label, self.since).await {
            Ok(watch) => watch,
            Err(error) => return Ok(error),
        };
        loop {
            let (asked, listing) = (Instant::now(), self.engine.list(&self.label));
            tokio::pin!(listing);
            // Events are heard while the list is made: the stream is only opened by listening.
            let listed: Vec<Listed> = loop {
                tokio::select! {
                    event = watch.next() => match event {
                        Ok(event) => {
                            self.since = self.since.max(event.at);
                            self.send(Input::Event(event)).await?;
                        }
                        Err(error) => return Ok(error),
                    },
                    listed = &mut listing => match listed {
                        Ok(listed) => break listed,
                        Err(error) => return Ok(error),
                    },
                }
            };
            let own = listed.into_iter().filter(ownership::is_named).collect();
            self.send(Input::Listed(asked, own)).await?;
            *pause = RECONNECT_MIN;
            loop {
                tokio::select! {
                    event = watch.next() => match event {
                        Ok(event) => {
                            self.since = self.since.max(event.at);
                            self.send(Input::Event(event)).await?;
                        }
                        Err(error) => return Ok(error),
                    },
                    () = list.notified() => break,
                }
            }
        }
    }

    async fn send(&self, input: Input) -> Result<(), Over> {
        self.sender.send(input).await.map_err(|_| Over)
    }
}
