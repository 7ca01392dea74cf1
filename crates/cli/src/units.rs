//! Numbers as users type them, for flags.

use std::time::Duration;

use posthaste::scheduler::Unit;
use posthaste::{Class, Rate};
use posthaste_sink::units::{UnitError, parse_count, parse_duration, parse_size};

/// `250ms`, `30s`, `5m`, `2h`, `4d`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    parse_duration(text)
}

/// `1k` = 1024, `1m`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let octets = parse_size(text).map_err(|error| error.to_string())?;
    usize::try_from(octets).map_err(|_| "that is more than fits into memory".to_owned())
}

/// `20k` = 20 000, `1m` = 1 000 000.
pub(crate) fn count(text: &str) -> Result<u64, UnitError> {
    parse_count(text)
}

/// A count of at least 1.
pub(crate) fn positive(text: &str) -> Result<u32, String> {
    let number = parse_count(text).map_err(|error| error.to_string())?;
    u32::try_from(number)
        .ok()
        .filter(|&number| number > 0)
        .ok_or("expected a number from 1 to 4 billion".to_owned())
}

/// Mails in a time: `100/s`, `20/m`, `2k/h`.
pub(crate) fn rate(text: &str) -> Result<Rate, &'static str> {
    const EXPECTED: &str = "expected N/s, N/m or N/h, e.g. 100/s";
    let (count, unit) = text.split_once('/').ok_or(EXPECTED)?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(EXPECTED),
    };
    match parse_count(count) {
        Ok(count) if count > 0 => Ok(Rate { unit: Unit::Mails, count, per }),
        _ => Err(EXPECTED),
    }
}

/// How urgent a mail is, by its name.
pub(crate) fn class(text: &str) -> Result<Class, &'static str> {
    let mut classes = Class::ALL.into_iter();
    classes.find(|class| class.as_str() == text).ok_or("expected interactive, normal or bulk")
}

/// `12 345`, as people read it.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MiB`.
pub(crate) fn octets(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// `1 mail`, `2 mails`: a number and what it counts.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `42 ms`, `4.20 s`, `3 min 20 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 if time.subsec_millis() == 0 => format!("{seconds} s"),
        1..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_mails_in_a_time() {
        for (text, count, seconds) in [("100/s", 100, 1), ("2k/h", 2000, 3600), ("1/m", 1, 60)] {
            let per = Duration::from_secs(seconds);
            assert_eq!(rate(text), Ok(Rate { unit: Unit::Mails, count, per }), "{text}");
        }
        for text in ["", "100", "0/s", "-1/s", "1/d", "/s", "1/", "0.5/s", "1/s/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn people_can_read_it() {
        assert_eq!(grouped(1_234_567).replace('\u{202f}', " "), "1 234 567");
        assert_eq!(grouped(999), "999");
        assert_eq!(octets(512), "512 B");
        assert_eq!(octets(1536), "1.5 KiB");
        assert_eq!(counted(1, "mail"), "1 mail");
        assert_eq!(counted(0, "mail"), "0 mails");
        assert_eq!(elapsed(Duration::from_millis(420)), "420 ms");
        assert_eq!(elapsed(Duration::from_millis(4200)), "4.20 s");
        assert_eq!(elapsed(Duration::from_secs(200)), "3 min 20 s");
    }
}
