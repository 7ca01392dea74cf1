//! What is shown while a command runs, on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

mod table;

use table::table;
pub(crate) use table::{Row, totals};

use crate::summary::tell;
use crate::units::{elapsed, grouped};

/// How often a line is printed where there is no terminal, and how long a command is left in peace.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How often a terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How long nothing may move until the display says why.
const STILL: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar and a table of the servers on a terminal, a line a second otherwise, nothing beside
    /// transcripts.
    #[default]
    Auto,
    /// The same beside transcripts, too.
    Tui,
    /// A line a second.
    Line,
    /// Nothing.
    None,
}

/// How things stand.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// What stands beside the number of mails.
    pub(crate) note: String,
    pub(crate) servers: Vec<Row>,
    /// Why nothing moves, where that is so.
    pub(crate) why: Option<String>,
}

/// Progress of some number of mails.
pub(crate) struct Progress {
    screen: Option<Screen>,
    lines: bool,
    started: Instant,
    printed: Instant,
    total: Option<u64>,
    done: u64,
    /// When the last mail was done.
    moved: Instant,
    /// What is left is told to be unsent, at no rate that means anything.
    is_stopping: bool,
}

/// A terminal.
struct Screen {
    all: MultiProgress,
    bar: ProgressBar,
    /// Everything below the bar.
    below: ProgressBar,
}

impl Progress {
    /// `total` is the number of mails, where it is known. A transcript takes the place of a bar.
    pub(crate) fn new(kind: ProgressKind, total: Option<u64>, verbosity: u8) -> Self {
        let is_wanted = match kind {
            ProgressKind::Auto => verbosity == 0,
            ProgressKind::Tui => true,
            ProgressKind::Line | ProgressKind::None => false,
        };
        let is_terminal = std::io::stderr().is_terminal();
        let screen = (is_wanted && is_terminal).then(|| Screen::new(total));
        let lines = kind == ProgressKind::Line || is_wanted && !is_terminal;
        let now = Instant::now();
        Self {
            screen,
            lines,
            started: now,
            printed: now,
            total,
            done: 0,
            moved: now,
            is_stopping: false,
        }
    }

    /// From now on mails are done with because nothing more is sent.
    pub(crate) fn stopping(&mut self) {
        self.is_stopping = true;
    }

    /// `done` mails are done with. `standing` tells the rest; it is asked for why nothing moves only
    /// if nothing does.
    pub(crate) fn update(&mut self, done: u64, standing: impl FnOnce(Stillness) -> Standing) {
        if done != self.done {
            (self.done, self.moved) = (done, Instant::now());
        }
        let every = if self.screen.is_some() { DRAW_EVERY } else { LINE_EVERY };
        if self.printed.elapsed() < every {
            return;
        }
        self.printed = Instant::now();
        let is_still = self.moved.elapsed() >= STILL;
        let stillness = if is_still { Stillness::Still } else { Stillness::Moving };
        if let Some(screen) = &self.screen {
            let standing = standing(stillness);
            screen.draw(
                done,
                format!("{}{}", self.line(done, stillness), standing.note),
                &standing,
            );
        } else if self.lines {
            let Standing { note, why, .. } = standing(stillness);
            let why = why.map(|why| format!(", waiting: {why}")).unwrap_or_default();
            tell(&format!("{}{note}{why}", self.line(done, stillness)));
        }
    }

    /// `683 of 1 200 mails, 200/s, 3 s left`; nobody knows how much is left while nothing moves.
    fn line(&self, done: u64, stillness: Stillness) -> String {
        if self.is_stopping {
            let of = self.total.map(|total| format!(" of {}", grouped(total))).unwrap_or_default();
            return format!("{}{of} mails", grouped(done));
        }
        let rate = done as f64 / self.started.elapsed().as_secs_f64();
        let Some(total) = self.total else {
            return format!("{} mails, {rate:.0}/s", grouped(done));
        };
        let mut line = format!("{} of {} mails, {rate:.0}/s", grouped(done), grouped(total));
        if done > 0 && done < total && stillness == Stillness::Moving {
            // At least a second, in whole ones: it is no more than a guess.
            let left = (total - done) as f64 / rate;
            line += &format!(", {} left", elapsed(Duration::from_secs(1 + left as u64)));
        }
        line
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn say(&self, line: &str) {
        match &self.screen {
            Some(screen) => screen.all.suspend(|| tell(line)),
            None => tell(line),
        }
    }

    /// Takes everything away.
    pub(crate) fn finish(self) {
        if let Some(screen) = self.screen {
            screen.below.finish_and_clear();
            screen.bar.finish_and_clear();
        }
    }
}

/// Whether anything has moved of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stillness {
    Moving,
    Still,
}

impl Screen {
    fn new(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:12.green/dim} {wide_msg}"),
            None => (ProgressBar::new_spinner(), "{spinner:.green} {wide_msg}"),
        };
        let all = MultiProgress::new();
        let bar = all.add(bar.with_style(style(template)));
        let below = all.add(ProgressBar::new_spinner().with_style(style("{msg}")));
        Self { all, bar, below }
    }

    fn draw(&self, done: u64, line: String, standing: &Standing) {
        self.bar.set_position(done);
        self.bar.set_message(line);
        let (_, columns) = Term::stderr().size();
        let mut lines = table(&standing.servers, columns.into());
        lines.extend(standing.why.iter().map(|why| format!("waiting: {why}")));
        self.below.set_message(lines.join("\n"));
    }
}

/// The templates are constant and correct; a plain bar would do as well.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
