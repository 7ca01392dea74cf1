//! Points in time, as the planner knows them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: nanoseconds since an epoch that whoever drives the planner chooses.
///
/// Arithmetic saturates: the last representable time is 584 years after the epoch, and means never.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time this long after the epoch.
    pub fn after_epoch(elapsed: Duration) -> Self {
        Self(nanoseconds(elapsed))
    }

    /// This long before; the epoch, if that is further back.
    pub fn before(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(earlier)))
    }

    /// How long after the epoch.
    pub fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(later)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// How long after `earlier`; zero if it is not.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEVER => f.write_str("never"),
            Self(_) => self.since_epoch().fmt(f),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let second = Duration::from_secs(1);
        assert_eq!(Time::EPOCH + second, Time::after_epoch(second));
        assert_eq!((Time::EPOCH + second) - Time::EPOCH, second);
        assert_eq!(Time::EPOCH - (Time::EPOCH + second), Duration::ZERO);
        assert_eq!(Time::EPOCH + Duration::MAX, Time::NEVER);
        assert_eq!(Time::NEVER + second, Time::NEVER);
    }
}
