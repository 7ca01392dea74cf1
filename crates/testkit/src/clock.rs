//! Virtual time.

use std::time::{Duration, Instant};

/// A clock that stands still until it is told to go on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    elapsed: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        // The only look at a real clock: virtual time has to begin somewhere.
        Self { start: Instant::now(), elapsed: Duration::ZERO }
    }
}

impl Clock {
    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    /// How long the clock has run.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Goes on to `time`.
    ///
    /// # Panics
    ///
    /// If that is over already.
    pub fn advance_to(&mut self, time: Instant) {
        assert!(time >= self.now(), "time goes forward");
        self.elapsed = time - self.start;
    }
}
