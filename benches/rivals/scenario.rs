//! Where mails are sent, and one client's runs there.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::delay::Line;
use crate::measure::Run;
use crate::rival::Rival;
use crate::servers::{Kind, Running};
use benches::load::Load;

/// A server, so many connections, and how far away it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// As it is asked for on the command line.
    pub(crate) name: &'static str,
    /// The server.
    pub(crate) server: Kind,
    /// At most so many, open for the whole run.
    pub(crate) connections: usize,
    /// What the line adds.
    pub(crate) round_trip: Duration,
}

impl Scenario {
    /// All that the table has.
    pub(crate) const ALL: [Self; 9] = [
        Self::new("smtp-sink-20", Kind::SmtpSink, 20, 0),
        Self::new("smtp-sink-1000", Kind::SmtpSink, 1000, 0),
        Self::new("sink-4", Kind::Sink, 4, 0),
        Self::new("sink-20", Kind::Sink, 20, 0),
        Self::new("sink-1000", Kind::Sink, 1000, 0),
        Self::new("sink-20-far", Kind::Sink, 20, 50),
        Self::new("sink-1000-far", Kind::Sink, 1000, 50),
        Self::new("postfix-1", Kind::Postfix, 1, 0),
        Self::new("postfix-1-far", Kind::Postfix, 1, 50),
    ];

    const fn new(name: &'static str, server: Kind, connections: usize, round_trip_ms: u64) -> Self {
        let round_trip = Duration::from_millis(round_trip_ms);
        Self { name, server, connections, round_trip }
    }

    /// How long a run takes, and how often it is done, where that is asked for. Far away it takes
    /// long until all connections are open, and the rate is the line's, which does not vary. What a Postfix takes varies from
    /// second to second, so that it is sent as long near as far.
    pub(crate) fn turns(&self, run: Duration, rounds: usize) -> (Duration, usize) {
        if self.round_trip.is_zero() && self.server != Kind::Postfix {
            return (run, rounds);
        }
        (run.max(LONG_RUN), 1)
    }

    /// Whether it is one of those names, which commas part, or begins with one.
    pub(crate) fn is_named(&self, names: &str) -> bool {
        names.split(',').any(|name| self.name.starts_with(name))
    }

    /// Mails that a client sends in about that time: as many as it takes until a run is long enough
    /// to tell its rate.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or fails.
    pub(crate) fn mails_in(
        &self,
        time: Duration,
        rival: Rival,
        postfix: &mut Option<Running>,
    ) -> Result<usize, String> {
        let step = self.connections * rival.flight();
        let mut mails = step;
        loop {
            let elapsed = self.run(rival, mails, postfix)?.elapsed;
            if elapsed * 5 > time * 2 || mails > MAILS_MAX / GROWTH {
                let wanted = mails as f64 * time.as_secs_f64() / elapsed.as_secs_f64();
                let wanted = (wanted as usize).min(MAILS_MAX);
                return Ok(wanted.div_ceil(step).max(1) * step);
            }
            mails *= GROWTH;
        }
    }

    /// One run.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or fails, or the server did not get what was sent.
    pub(crate) fn run(
        &self,
        rival: Rival,
        mails: usize,
        postfix: &mut Option<Running>,
    ) -> Result<Run, String> {
        static RUNS: AtomicU32 = AtomicU32::new(1);

        let server = match postfix.take() {
            Some(server) => server,
            None => self.server.start(mails)?,
        };
        let far = !self.round_trip.is_zero();
        let line = far.then(|| Line::start(server.addr(), self.round_trip));
        let load = Load {
            server: line.as_ref().map_or(server.addr(), Line::addr),
            mails,
            connections: self.connections,
            size: SIZE,
            run: RUNS.fetch_add(1, Ordering::Relaxed),
        };
        let run = Run::of(&rival.command(load)?)?;
        drop(line);
        *postfix = server.check(rival, &load)?;
        Ok(run)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connections == 1 { "" } else { "s" };
        write!(f, "{}, {} connection{plural}", self.server, self.connections)?;
        if !self.round_trip.is_zero() {
            write!(f, ", round trip {} ms", self.round_trip.as_millis())?;
        }
        Ok(())
    }
}

/// Octets of a content.
pub(crate) const SIZE: usize = 1024;

/// A run over a line that takes its time: many times what opening all connections takes, and their windows.
const LONG_RUN: Duration = Duration::from_secs(8);

/// How the number of mails grows until a run is long enough.
const GROWTH: usize = 8;

/// Mails of a run, at most: what the sink's books of Message-IDs are sized for.
const MAILS_MAX: usize = 4_000_000;
