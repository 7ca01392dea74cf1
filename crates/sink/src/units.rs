//! Numbers as people write them on a command line: `250ms`, `10m`, `20k`, `3000/s`.

use std::str::FromStr;
use std::time::Duration;

/// Reads a duration: `250ms`, `30s`, `5m`, `2h`, `4d`, parts of them in a row (`1m30s`), with
/// decimals if need be (`1.5s`); and `0`.
///
/// # Errors
///
/// Where a unit is missing or unknown, or the duration is beyond what [`Duration`] holds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::new("a duration such as 250ms, 30s, 5m or 2h", text);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let digits = leading_number(rest);
        let number: f64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = duration_unit(&rest[..letters]).ok_or_else(error)?;
        let part = Duration::try_from_secs_f64(number * unit.as_secs_f64()).map_err(|_| error())?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = &rest[letters..];
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// Reads a size in octets: `512`, `10k`, `1m`, `2g`, where `1k` is 1024. A `b`, `ib` or `B` behind
/// the unit is ignored.
///
/// # Errors
///
/// Where the text is not a whole number with one of these units, or beyond 64 bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError::new("a size such as 512, 10k or 1m", text);
    scaled(text, 1024, &["k", "m", "g", "t"]).ok_or_else(error)
}

/// Reads a count: `5`, `20k`, `1m`, where `1k` is 1000.
///
/// # Errors
///
/// Where the text is not a whole number with one of these units, or beyond 64 bits.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError::new("a count such as 5, 20k or 1m", text);
    scaled(text, 1000, &["k", "m", "g"]).ok_or_else(error)
}

/// Events over time, as in `3000/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    events: u64,
    per: Duration,
}

impl Rate {
    /// `events` in each period of `per`; `None` if either is zero.
    pub fn new(events: u64, per: Duration) -> Option<Self> {
        (events > 0 && !per.is_zero()).then_some(Self { events, per })
    }

    /// Events in a second.
    pub fn per_second(self) -> f64 {
        self.events as f64 / self.per.as_secs_f64()
    }

    /// The time between two events.
    pub fn interval(self) -> Duration {
        self.per.div_f64(self.events as f64)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    /// Reads `N/s`, `N/m` or `N/h`, where N is a count.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::new("a rate such as 3000/s, 100/m or 5k/h", text);
        let (count, unit) = text.split_once('/').ok_or_else(error)?;
        let events = parse_count(count).map_err(|_| error())?;
        let per = match unit {
            "s" | "m" | "h" => duration_unit(unit).ok_or_else(error)?,
            _ => return Err(error()),
        };
        Self::new(events, per).ok_or_else(error)
    }
}

/// A text that is not a number of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got:?}")]
pub struct UnitError {
    expected: &'static str,
    got: String,
}

impl UnitError {
    fn new(expected: &'static str, got: &str) -> Self {
        Self { expected, got: got.to_owned() }
    }
}

/// How many octets at the start of `text` belong to a decimal number.
fn leading_number(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count()
}

fn duration_unit(unit: &str) -> Option<Duration> {
    match unit {
        "us" => Some(Duration::from_micros(1)),
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        "h" => Some(Duration::from_secs(60 * 60)),
        "d" => Some(Duration::from_secs(24 * 60 * 60)),
        _ => None,
    }
}

/// A whole number and a unit, of which each is `base` times the one before it.
fn scaled(text: &str, base: u64, units: &[&str]) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 = number.parse().ok()?;
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    if unit.is_empty() {
        return Some(number);
    }
    let power = units.iter().position(|known| *known == unit)? + 1;
    number.checked_mul(base.checked_pow(power as u32)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |ms| Ok(Duration::from_millis(ms));
        let error = |text| Err(UnitError::new("a duration such as 250ms, 30s, 5m or 2h", text));
        for (text, expected) in [
            ("0", ms(0)),
            ("0s", ms(0)),
            ("250ms", ms(250)),
            ("30s", ms(30_000)),
            ("1.5s", ms(1_500)),
            ("5m", ms(300_000)),
            ("1m30s", ms(90_000)),
            ("2h", ms(7_200_000)),
            ("4d", ms(345_600_000)),
            ("", error("")),
            ("30", error("30")),
            ("s", error("s")),
            ("1.2.3s", error("1.2.3s")),
            ("5 s", error("5 s")),
            ("-5s", error("-5s")),
            ("99999999999999999999d", error("99999999999999999999d")),
            ("5µ", error("5µ")),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_binary_and_counts_decimal() {
        for (text, size, count) in [
            ("0", Some(0), Some(0)),
            ("512", Some(512), Some(512)),
            ("20k", Some(20 << 10), Some(20_000)),
            ("1M", Some(1 << 20), Some(1_000_000)),
            ("1MiB", Some(1 << 20), Some(1_000_000)),
            ("", None, None),
            ("k", None, None),
            ("1x", None, None),
            ("-1", None, None),
            ("99999999999g", None, None),
        ] {
            assert_eq!(parse_size(text).ok(), size, "{text:?}");
            assert_eq!(parse_count(text).ok(), count, "{text:?}");
        }
    }

    #[test]
    fn rates() {
        let rate: Rate = "3k/s".parse().unwrap();
        assert_eq!(rate.per_second(), 3000.0);
        assert_eq!("60/m".parse::<Rate>().unwrap().interval(), Duration::from_secs(1));
        for text in ["3000", "0/s", "/s", "5/d", "x/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
