//! Times of the clock on the wall.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3600;

/// A time of the clock on the wall, written as RFC 3339 does it, in UTC to the millisecond:
/// `2026-06-01T12:00:31.250Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(SystemTime);

impl Timestamp {
    /// Now.
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    /// The time of day, to the second: `12:00:31Z`.
    pub fn time_of_day(self) -> String {
        let seconds = self.since_1970().as_secs() % DAY;
        format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// As the standard library has it.
    pub fn as_system_time(self) -> SystemTime {
        self.0
    }

    /// This much later; the same where the clock does not reach that far.
    pub(crate) fn after(self, time: Duration) -> Self {
        self.0.checked_add(time).map_or(self, Self)
    }

    /// No clock that was set is behind 1970.
    fn since_1970(self) -> Duration {
        self.0.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.since_1970();
        let (year, month, day) = date(time.as_secs() / DAY);
        let seconds = time.as_secs() % DAY;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let milliseconds = time.subsec_millis();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
        )
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// Year, month and day of the Gregorian calendar, so many days after the first of 1970.
///
/// Counted in years that begin in March: the leap day is the last one then, and every five months
/// from there on have 153 days.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097; // days of 400 years
    let days = days + 719_468; // from the first of March of year 0 to 1970
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(milliseconds: u64, expected: &str) {
        let time = Timestamp(UNIX_EPOCH + Duration::from_millis(milliseconds));
        assert_eq!(time.to_string(), expected);
        assert_eq!(time.time_of_day(), format!("{}Z", &expected[11..19]));
    }

    #[test]
    fn it_reads_as_in_rfc_3339() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_251_199_001, "2024-02-29T23:59:59.001Z");
        check(1_780_315_231_250, "2026-06-01T12:00:31.250Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }
}
