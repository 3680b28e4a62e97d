//! The loop between the core and its hands.
//!
//! Owns the core. Refuses to decide: it names what happened, and does what it
//! is told.

use std::{
    future,
    time::{Duration, Instant},
};

use marmoset_executor_core::{Action, Core, Exit, Input};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep_until,
};

use crate::{
    agent::Agent,
    clock::now,
    notes,
    output::Folders,
    pages,
    runtime::{Runtime, RuntimeEvent},
};

/// How long nothing happens before memory is given back.
const QUIET: Duration = Duration::from_secs(2);

/// Inputs that are handled together: what they ask for waits for the last of them.
const AT_ONCE: usize = 63;

/// Everything the executor consists of.
pub(crate) struct Dispatcher<R> {
    core: Core,
    agent: Agent,
    runtime: R,
    folders: Folders,
    signals: Signals,
    /// When memory is to be given back, unless something happens before.
    quiet_at: Option<Instant>,
}

/// What woke the loop.
enum Occurrence {
    Agent(Input),
    Runtime(RuntimeEvent),
    Signal(&'static str),
    FoldersRemoved,
    Wake,
    Quiet,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The core said so.
    Exit(Exit),
    /// Nothing can be run any more.
    Broken(String),
}

impl<R: Runtime> Dispatcher<R> {
    /// Takes the signals of this process over.
    pub(crate) fn new(
        core: Core,
        agent: Agent,
        runtime: R,
        folders: Folders,
    ) -> std::io::Result<Self> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { core, agent, runtime, folders, signals, quiet_at: None })
    }

    /// Runs until the executor is to end, and ends the runtime.
    pub(crate) async fn run(mut self) -> End {
        let end = loop {
            if let Some(exit) = self.act() {
                break End::Exit(exit);
            }
            self.folders.tidy(now().instant);
            let wake = self.core.poll_wake().map(|(at, _)| at);
            let wake = wake.into_iter().chain(self.folders.wake_at()).min();
            let quiet_first = self.quiet_at.is_some_and(|at| wake.is_none_or(|wake| at < wake));
            let timer = if quiet_first { self.quiet_at } else { wake };
            let occurrence = tokio::select! {
                biased;
                name = self.signals.next() => Occurrence::Signal(name),
                input = self.agent.next() => Occurrence::Agent(input),
                event = self.runtime.next() => Occurrence::Runtime(event),
                () = self.folders.next() => Occurrence::FoldersRemoved,
                () = until(timer) => if quiet_first { Occurrence::Quiet } else { Occurrence::Wake },
            };
            if let Some(reason) = self.handle(occurrence) {
                break End::Broken(reason);
            }
        };
        self.runtime.close().await;
        end
    }

    fn handle(&mut self, occurrence: Occurrence) -> Option<String> {
        let now = now();
        match &occurrence {
            Occurrence::Agent(_) | Occurrence::Runtime(_) | Occurrence::Signal(_) => {
                self.quiet_at = Some(now.instant + QUIET);
            }
            Occurrence::FoldersRemoved | Occurrence::Wake | Occurrence::Quiet => {}
        }
        match occurrence {
            Occurrence::Agent(input) => {
                let more = std::iter::from_fn(|| self.agent.waiting()).take(AT_ONCE);
                self.core.handle_all(now, std::iter::once(input).chain(more));
            }
            Occurrence::Runtime(RuntimeEvent::Runs(events)) => {
                for (run, event) in &events {
                    self.folders.observe(now.instant, *run, event);
                }
                let events = events.into_iter().map(|(run, event)| Input::Run(run, event));
                self.core.handle_all(now, events);
            }
            Occurrence::Runtime(RuntimeEvent::Probes(answers)) => {
                for (probe, answer) in answers {
                    self.core.handle(now, Input::Probed(probe, answer));
                }
            }
            Occurrence::Runtime(RuntimeEvent::Lost { reason }) => {
                self.folders.lose_all(now.instant, |run| self.core.is_at_launcher(run));
                self.core.handle(now, Input::LauncherDied(reason));
            }
            Occurrence::Runtime(RuntimeEvent::Broken { reason }) => return Some(reason),
            Occurrence::Signal(name) => {
                tracing::info!(signal = name, "asked to end");
                self.core.handle(now, Input::Terminate);
            }
            Occurrence::FoldersRemoved => self.folders.removed(),
            Occurrence::Wake => self.core.handle(now, Input::Wake),
            Occurrence::Quiet => {
                pages::give_back();
                self.quiet_at = None;
            }
        }
        None
    }

    /// Does everything the core wants.
    fn act(&mut self) -> Option<Exit> {
        let mut exit = None;
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Subscribe(id, call) => self.agent.subscribe(id, call),
                Action::Disconnect => self.agent.disconnect(),
                Action::Update(id, lane, call) => {
                    if let Some(failed) = self.agent.update(id, lane, call) {
                        self.core.handle(now(), failed);
                    }
                }
                Action::Spawn(spawn) => {
                    self.folders.prepare(&spawn);
                    self.runtime.spawn(*spawn);
                }
                Action::Cancel(run) => self.runtime.cancel(run),
                Action::Signal(run, signal) => self.runtime.signal(run, signal),
                Action::Probe(probe) => self.runtime.probe(*probe),
                Action::Abandon(probe) => self.runtime.abandon(probe),
                Action::Note(note) => notes::log(note),
                Action::Exit(why) => exit = Some(why),
            }
        }
        self.runtime.flush();
        exit
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => future::pending().await,
    }
}
