//! Numbers of a scenario: they print as they are written.

use std::fmt;
use std::ops::{Add, Range};
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::Time;

/// Milliseconds: a duration, or a time since the epoch.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Millis({})", self.0)
    }
}

impl Millis {
    /// So many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(count * 1000)
    }

    /// As a time since the epoch.
    pub fn time(self) -> Time {
        Time::after_epoch(self.into())
    }
}

impl From<Millis> for Duration {
    fn from(Millis(count): Millis) -> Self {
        Self::from_millis(count)
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// How long something takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Anything between two durations, each as likely as the next.
    Between(Millis, Millis),
    /// Never less than `least`; beyond that seldom long, sometimes very long.
    Exponential {
        /// The shortest.
        least: Millis,
        /// What comes on top, on average.
        mean: Millis,
    },
}

impl Latency {
    /// One that is drawn.
    pub(super) fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Between(least, most) => between(&(least..most), rng),
            Self::Exponential { least, mean } => {
                // Behind 20 times the mean comes one in half a billion.
                let times = -(1.0 - rng.f64()).ln().max(-20.0);
                Duration::from(least) + Duration::from(mean).mul_f64(times)
            }
        }
    }

    /// The average.
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Between(least, most) => (Duration::from(least) + Duration::from(most)) / 2,
            Self::Exponential { least, mean } => Duration::from(least) + Duration::from(mean),
        }
    }
}

impl From<Range<Millis>> for Latency {
    fn from(range: Range<Millis>) -> Self {
        Self::Between(range.start, range.end)
    }
}

pub(super) fn between(range: &Range<Millis>, rng: &mut Rng) -> Duration {
    let width = Duration::from_millis(range.end.0.saturating_sub(range.start.0));
    Duration::from(range.start) + width.mul_f64(rng.f64())
}
