//! Where log lines go: to stderr, above the progress bar.
//!
//! Without `-v` only warnings are seen; `MARMOSET_LOG` says more in the syntax of
//! tracing's `EnvFilter`, e.g. `marmoset_scheduler=debug`.

use std::io;

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::run::Screen;

/// Switches logging on for this process.
pub(crate) fn start(screen: &Screen, verbose: bool) {
    let default = if verbose { "warn,marmoset=info,marmoset_mini=info" } else { "warn" };
    let filter = EnvFilter::try_from_env("MARMOSET_LOG").unwrap_or_else(|_| default.into());
    // It fails only if somebody else has switched it on before: then theirs is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(AboveTheBar(screen.clone()))
        .try_init();
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
