//! Where log lines go: to stderr, above the progress bar.
//!
//! Warnings are always shown, `-v` adds the story of the framework, both as plain
//! sentences. `MARMOSET_LOG` asks for anything else, in the syntax of tracing's
//! `EnvFilter` (e.g. `marmoset_scheduler=debug`), with times and levels.

use std::{env, fmt, io};

use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use crate::run::Screen;

/// Names the filter for people who look for errors.
const VARIABLE: &str = "MARMOSET_LOG";

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Warnings.
    Warnings,
    /// And what the framework does.
    Framework,
    /// And what the embedded cluster does.
    Cluster,
}

/// Switches logging on for this process.
pub(crate) fn start(screen: &Screen, wanted: Wanted) {
    let asked = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let (filter, format) = match asked {
        Some(text) => (EnvFilter::new(text), Lines::Full(Format::default().with_ansi(false))),
        None => (EnvFilter::new(default_filter(wanted)), Lines::Plain),
    };
    // It fails only if somebody else has switched it on before: then theirs is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .event_format(format)
        .with_writer(AboveTheBar(screen.clone()))
        .try_init();
}

/// A target stands for all that begin like it: `marmoset` alone for every crate.
fn default_filter(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Warnings => "warn",
        Wanted::Framework => "warn,marmoset=info,marmoset_=warn",
        Wanted::Cluster => "warn,marmoset=info,marmoset_=warn,marmoset_mini=info",
    }
}

/// How an event becomes a line.
enum Lines {
    /// The sentence and its fields; a level only for what is no plain news.
    Plain,
    /// Everything.
    Full(Format<Full>),
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        match self {
            Self::Full(format) => format.format_event(context, writer, event),
            Self::Plain => {
                match *event.metadata().level() {
                    tracing::Level::ERROR => writer.write_str("error: ")?,
                    tracing::Level::WARN => writer.write_str("warning: ")?,
                    _news => {}
                }
                context.field_format().format_fields(writer.by_ref(), event)?;
                writeln!(writer)
            }
        }
    }
}

#[derive(Debug, Clone)]
struct AboveTheBar(Screen);

impl<'a> MakeWriter<'a> for AboveTheBar {
    type Writer = Line;

    fn make_writer(&'a self) -> Self::Writer {
        Line { screen: self.0.clone(), text: Vec::new() }
    }
}

/// Collects one event and shows it whole.
#[derive(Debug)]
struct Line {
    screen: Screen,
    text: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        let text = text.trim_end();
        if !text.is_empty() {
            self.screen.say(format_args!("{text}"));
        }
    }
}
