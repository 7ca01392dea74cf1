//! What happened in a run.

use std::fmt;
use std::time::Duration;

use posthaste_session::{CloseReason, Finished, Mail, Pipelining, Unsendable};

/// What happened in a run.
#[derive(Debug)]
pub struct Report {
    /// What became of each of the application's mails, in their order.
    pub fates: Vec<Fate>,
    /// Why the client's session ended.
    pub closed: CloseReason,
    /// The mode that the client got down to, where the server did not bear a higher one.
    pub lowered: Option<Pipelining>,
    /// Whether the client said QUIT.
    pub has_quit: bool,
    /// Most replies awaited at once.
    pub most_awaited: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// What was said, heard and reported, and when.
    pub trace: Trace,
}

impl Report {
    /// Octets that the client wrote.
    pub fn octets_said(&self) -> u64 {
        self.octets(|line| match line {
            TraceLine::Said(octets) => octets.len(),
            TraceLine::Heard(_) | TraceLine::Event(_) => 0,
        })
    }

    /// Octets that the client read.
    pub fn octets_heard(&self) -> u64 {
        self.octets(|line| match line {
            TraceLine::Heard(octets) => octets.len(),
            TraceLine::Said(_) | TraceLine::Event(_) => 0,
        })
    }

    fn octets(&self, of: impl Fn(&TraceLine) -> usize) -> u64 {
        self.trace.lines().iter().map(|(_, line)| of(line) as u64).sum()
    }
}

/// What became of a mail.
#[derive(Debug)]
pub enum Fate {
    /// The session never took it.
    Kept(Mail),
    /// The session would not take it.
    Unsendable(Mail, Unsendable),
    /// It was handed in, and came back.
    Finished(Box<Finished>),
}

/// What was said, heard and reported, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    time: Duration,
    lines: Vec<(Duration, TraceLine)>,
}

/// Something that happened on the client's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceLine {
    /// The client wrote these octets.
    Said(Vec<u8>),
    /// The client read these octets.
    Heard(Vec<u8>),
    /// Something else.
    Event(String),
}

impl Trace {
    /// The lines, each with its time.
    pub fn lines(&self) -> &[(Duration, TraceLine)] {
        &self.lines
    }

    pub(super) fn set_time(&mut self, time: Duration) {
        self.time = time;
    }

    pub(super) fn push(&mut self, line: TraceLine) {
        self.lines.push((self.time, line));
    }
}

/// Octets of one line that are shown.
const SHOWN: usize = 400;

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (time, line) in &self.lines {
            let (mark, octets) = match line {
                TraceLine::Said(octets) => ("C:", octets.as_slice()),
                TraceLine::Heard(octets) => ("S:", octets.as_slice()),
                TraceLine::Event(text) => ("  ", text.as_bytes()),
            };
            let shown = octets[..octets.len().min(SHOWN)].escape_ascii();
            let rest = octets.len().saturating_sub(SHOWN);
            write!(f, "{:>12.3} {mark} {shown}", time.as_secs_f64())?;
            if rest > 0 {
                write!(f, " and {rest} octets")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Drop for Trace {
    /// A run that fails shows what was said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}
