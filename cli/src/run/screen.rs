//! The person's side of a run: a progress bar on a terminal, else a plain line now and then.
//!
//! Owns stderr while a run lasts. Everybody prints through [`Screen::say`], so that
//! lines and the bar do not mix.

use std::{
    fmt::Arguments,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use marmoset_scheduler::Progress;

use crate::output;

/// Pause between two plain lines.
const PLAIN_PAUSE: Duration = Duration::from_secs(10);

/// Where progress and remarks are shown. Clones show on the same screen.
#[derive(Debug, Clone)]
pub(crate) struct Screen(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    Plain { next: Mutex<Instant> },
    Silent,
}

impl Screen {
    /// A bar if stderr is a terminal, else plain lines.
    pub(crate) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            let next = Mutex::new(Instant::now() + PLAIN_PAUSE);
            return Self(Arc::new(Kind::Plain { next }));
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
        let style = "{wide_bar} {human_pos}/{human_len} {msg} {elapsed}";
        bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
        Self(Arc::new(Kind::Bar(bar)))
    }

    /// Shows remarks, and no progress.
    pub(crate) fn without_progress() -> Self {
        Self(Arc::new(Kind::Silent))
    }

    /// Shows how far the run is.
    pub(crate) fn show(&self, progress: Progress) {
        match &*self.0 {
            Kind::Bar(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.ended.total());
                bar.set_message(beside_the_bar(progress));
            }
            Kind::Plain { next } => {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                if now >= *next {
                    *next = now + PLAIN_PAUSE;
                    output::complain(format_args!("{}", plain(progress)));
                }
            }
            Kind::Silent => {}
        }
    }

    /// Prints one remark.
    pub(crate) fn say(&self, text: Arguments<'_>) {
        match &*self.0 {
            Kind::Bar(bar) => bar.suspend(|| output::complain(text)),
            Kind::Plain { .. } | Kind::Silent => output::complain(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        match &*self.0 {
            Kind::Bar(bar) => bar.finish_and_clear(),
            Kind::Plain { .. } | Kind::Silent => {}
        }
    }
}

fn beside_the_bar(progress: Progress) -> String {
    let ended = progress.ended;
    let mut text = format!("{} under way", progress.under_way);
    for (number, name) in [(ended.failed, "failed"), (ended.killed, "killed"), (ended.lost, "lost")]
    {
        if number > 0 {
            text.push_str(&format!(", {number} {name}"));
        }
    }
    text
}

fn plain(progress: Progress) -> String {
    format!(
        "{} of {} tasks ended, {}",
        progress.ended.total(),
        progress.total,
        beside_the_bar(progress)
    )
}

#[cfg(test)]
mod tests {
    use marmoset_scheduler::Counts;

    use super::*;

    #[test]
    fn plain_lines() {
        let mut progress = Progress {
            total: 100,
            ended: Counts { finished: 3, ..Counts::default() },
            under_way: 8,
        };
        assert_eq!(plain(progress), "3 of 100 tasks ended, 8 under way");
        progress.ended = Counts { finished: 1, failed: 2, killed: 3, lost: 4 };
        assert_eq!(
            plain(progress),
            "10 of 100 tasks ended, 8 under way, 2 failed, 3 killed, 4 lost"
        );
    }
}
