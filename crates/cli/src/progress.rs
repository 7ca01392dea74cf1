//! What is shown while a command runs, on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::summary::tell;
use crate::units::{elapsed, grouped};

/// How often a line is printed where there is no terminal, and how long a command is left in peace.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar on a terminal, a line a second otherwise.
    #[default]
    Auto,
    /// A line a second.
    Line,
    /// Nothing.
    None,
}

/// Progress of some number of mails.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    printed: Instant,
    total: Option<u64>,
}

impl Progress {
    /// `total` is the number of mails, where it is known. A transcript takes the place of a bar.
    pub(crate) fn new(kind: ProgressKind, total: Option<u64>, verbosity: u8) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let is_auto = kind == ProgressKind::Auto && verbosity == 0;
        let bar = (is_auto && is_terminal).then(|| bar(total));
        let lines = kind == ProgressKind::Line || is_auto && !is_terminal;
        let now = Instant::now();
        Self { bar, lines, started: now, printed: now, total }
    }

    /// `done` mails are done with; `note` is what stands beside the number.
    pub(crate) fn update(&mut self, done: u64, note: impl FnOnce() -> String) {
        let every = if self.bar.is_some() { LINE_EVERY / 10 } else { LINE_EVERY };
        if self.printed.elapsed() < every {
            return;
        }
        self.printed = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{}{}", self.line(done), note()));
        } else if self.lines {
            tell(&format!("{}{}", self.line(done), note()));
        }
    }

    /// `683 of 1 200 mails, 200/s, 3 s left`.
    fn line(&self, done: u64) -> String {
        let rate = done as f64 / self.started.elapsed().as_secs_f64();
        let Some(total) = self.total else {
            return format!("{} mails, {rate:.0}/s", grouped(done));
        };
        let mut line = format!("{} of {} mails, {rate:.0}/s", grouped(done), grouped(total));
        if done > 0 && done < total {
            // At least a second, in whole ones: it is no more than a guess.
            let left = (total - done) as f64 / rate;
            line += &format!(", {} left", elapsed(Duration::from_secs(1 + left as u64)));
        }
        line
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(line)),
            None => tell(line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:24.green/dim} {wide_msg}"),
        None => (ProgressBar::new_spinner(), "{spinner:.green} {wide_msg}"),
    };
    // The templates are constant and correct; a plain bar would do as well.
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
