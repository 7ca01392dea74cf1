//! What is shown while a command runs, on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::units::grouped;

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
    /// `total` is the number of mails, where it is known.
    pub(crate) fn new(kind: ProgressKind, total: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = (kind == ProgressKind::Auto && is_terminal).then(|| bar(total));
        let lines = kind == ProgressKind::Line || kind == ProgressKind::Auto && !is_terminal;
        let now = Instant::now();
        Self { bar, lines, started: now, printed: now, total }
    }

    /// `done` mails are done with; `note` is what stands beside the number.
    pub(crate) fn update(&mut self, done: u64, note: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            if self.printed.elapsed() >= LINE_EVERY / 10 {
                self.printed = Instant::now();
                bar.set_message(note());
            }
        } else if self.lines && self.printed.elapsed() >= LINE_EVERY {
            self.printed = Instant::now();
            let of = self.total.map(|total| format!(" of {}", grouped(total))).unwrap_or_default();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            eprintln!("{}{of} mails, {rate:.0}/s{}", grouped(done), note());
        }
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
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
        Some(total) => (
            ProgressBar::new(total),
            "{bar:32.green/dim} {human_pos}/{human_len} {per_sec:.bold} eta {eta}{msg}",
        ),
        None => {
            (ProgressBar::new_spinner(), "{spinner:.green} {human_pos} mails {per_sec:.bold}{msg}")
        }
    };
    // The templates are constant and correct; a plain bar would do as well.
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
