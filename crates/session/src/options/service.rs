//! How a mail is to be handled: in time, later, before others, on whose authority.

use std::fmt;
use std::time::Duration;

use posthaste_reply::FutureRelease;

use super::OptionError;
use crate::address::Mailbox;

/// Largest number of nine digits, the form that times in seconds have in parameters.
const MAX_SECONDS: i64 = 999_999_999;
/// As an unsigned number.
const MAX_SECONDS_UNSIGNED: u64 = 999_999_999;

/// When a mail must have been delivered, and what is to become of it otherwise (DELIVERBY, RFC 2852).
///
/// The time runs from the moment at which the server accepts the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliverBy {
    seconds: i64,
    late: LateDelivery,
    trace: bool,
}

/// What becomes of a mail that was not delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LateDelivery {
    /// It is returned.
    Return,
    /// It is delivered all the same, and the reverse-path is told.
    Notify,
}

impl DeliverBy {
    /// So many seconds from now; negative ones are over already, which only
    /// [`LateDelivery::Notify`] allows.
    ///
    /// # Errors
    ///
    /// For more than nine digits, and for a time that is over with [`LateDelivery::Return`].
    pub fn new(seconds: i64, late: LateDelivery) -> Result<Self, OptionError> {
        if !(-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) {
            return Err(OptionError::Range("at most nine digits of seconds"));
        }
        if late == LateDelivery::Return && seconds <= 0 {
            return Err(OptionError::Range("at least 1 second where late mail is returned"));
        }
        Ok(Self { seconds, late, trace: false })
    }

    /// Has each server on the way reported to the reverse-path.
    #[must_use]
    pub fn with_trace(self) -> Self {
        Self { trace: true, ..self }
    }

    /// What becomes of the mail otherwise.
    pub fn late(&self) -> LateDelivery {
        self.late
    }

    /// The time, if it is not over.
    pub(crate) fn time(&self) -> Option<Duration> {
        u64::try_from(self.seconds).ok().map(Duration::from_secs)
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.late {
            LateDelivery::Return => 'R',
            LateDelivery::Notify => 'N',
        };
        write!(f, "{};{mode}{}", self.seconds, if self.trace { "T" } else { "" })
    }
}

/// When a mail may be delivered at the earliest (FUTURERELEASE, RFC 4865).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold(HoldForm);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HoldForm {
    For(u64),
    Until(Box<str>),
}

impl Hold {
    /// So long after the server has accepted it, in whole seconds.
    ///
    /// # Errors
    ///
    /// For less than a second and for more than nine digits of them.
    pub fn for_time(time: Duration) -> Result<Self, OptionError> {
        match time.as_secs() {
            seconds @ 1..=MAX_SECONDS_UNSIGNED => Ok(Self(HoldForm::For(seconds))),
            _ => Err(OptionError::Range("1 to 999999999 seconds")),
        }
    }

    /// At this time in UTC, as RFC 3339 has it: `2026-12-24T18:00:00Z`.
    ///
    /// # Errors
    ///
    /// When it is not of this form.
    pub fn until(time: &str) -> Result<Self, OptionError> {
        const FORM: &[u8] = b"0000-00-00T00:00:00Z";
        let fits = |(octet, form): (u8, &u8)| match form {
            b'0' => octet.is_ascii_digit(),
            form => octet == *form,
        };
        let is_time = time.len() == FORM.len() && time.bytes().zip(FORM).all(fits);
        let field =
            |at: usize| time.get(at..at + 2).and_then(|text| text.parse().ok()).unwrap_or(99u8);
        let is_in_range = is_time
            && matches!(field(5), 1..=12)
            && matches!(field(8), 1..=31)
            && matches!((field(11), field(14), field(17)), (..=23, ..=59, ..=60));
        if !is_in_range {
            return Err(OptionError::Form("a time in UTC like 2026-12-24T18:00:00Z"));
        }
        Ok(Self(HoldForm::Until(time.into())))
    }

    /// Whether a server holds mails for so long, as far as it says.
    pub(crate) fn is_within(&self, offered: FutureRelease) -> bool {
        match &self.0 {
            HoldForm::For(seconds) => {
                offered.maximum.is_none_or(|most| Duration::from_secs(*seconds) <= most)
            }
            // Both are in UTC and of one form, so the text is in the order of time.
            HoldForm::Until(time) => {
                offered.latest.is_none_or(|latest| time.as_bytes() <= latest.as_slice())
            }
        }
    }
}

impl fmt::Display for Hold {
    /// The whole parameter: `HOLDFOR=…` or `HOLDUNTIL=…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HoldForm::For(seconds) => write!(f, "HOLDFOR={seconds}"),
            HoldForm::Until(time) => write!(f, "HOLDUNTIL={time}"),
        }
    }
}

/// A mail's place among others, from -9 to 9, higher before lower (MT-PRIORITY, RFC 6710).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(i8);

impl Priority {
    /// Takes -9 to 9.
    ///
    /// # Errors
    ///
    /// For everything else.
    pub fn new(priority: i8) -> Result<Self, OptionError> {
        match priority {
            -9..=9 => Ok(Self(priority)),
            _ => Err(OptionError::Range("-9 to 9")),
        }
    }

    /// The number.
    pub fn as_i8(self) -> i8 {
        self.0
    }
}

/// On whose authority a mail is sent (RFC 4954 section 5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// Nobody knows: `AUTH=<>`.
    Unknown,
    /// This mailbox's.
    Mailbox(Mailbox),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_times() {
        // DLVBY-01
        let check = |seconds, late, expected: &str| {
            assert_eq!(DeliverBy::new(seconds, late).unwrap().to_string(), expected);
        };
        check(120, LateDelivery::Return, "120;R");
        check(0, LateDelivery::Notify, "0;N");
        check(-5, LateDelivery::Notify, "-5;N");
        check(999_999_999, LateDelivery::Return, "999999999;R");
        let traced = DeliverBy::new(60, LateDelivery::Notify).unwrap().with_trace();
        assert_eq!(traced.to_string(), "60;NT");
        assert!(DeliverBy::new(0, LateDelivery::Return).is_err());
        assert!(DeliverBy::new(-1, LateDelivery::Return).is_err());
        assert!(DeliverBy::new(1_000_000_000, LateDelivery::Notify).is_err());
        assert!(DeliverBy::new(i64::MIN, LateDelivery::Notify).is_err());
    }

    #[test]
    fn holding_times() {
        // FUTREL-01
        let held = |seconds| Hold::for_time(Duration::from_secs(seconds));
        assert_eq!(held(86400).unwrap().to_string(), "HOLDFOR=86400");
        assert!(held(0).is_err());
        assert!(held(1_000_000_000).is_err());
        let until = "2026-12-24T18:00:00Z";
        assert_eq!(Hold::until(until).unwrap().to_string(), format!("HOLDUNTIL={until}"));
        for text in ["", "2026-12-24", "2026-13-24T18:00:00Z", "2026-12-24T24:00:00Z"] {
            assert!(Hold::until(text).is_err(), "{text:?}");
        }
        for text in ["2026-12-24T18:00:00+01:00", "2026-12-24T18:00:00z", "2026-12-24T18:00:00\r"] {
            assert!(Hold::until(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn holding_times_within_what_is_offered() {
        // FUTREL-01
        let latest = *b"2030-01-01T00:00:00Z";
        let offered =
            FutureRelease { maximum: Some(Duration::from_secs(60)), latest: Some(latest) };
        let is_within = |hold: Result<Hold, _>| hold.unwrap().is_within(offered);
        assert!(is_within(Hold::for_time(Duration::from_secs(60))));
        assert!(!is_within(Hold::for_time(Duration::from_secs(61))));
        assert!(is_within(Hold::until("2030-01-01T00:00:00Z")));
        assert!(!is_within(Hold::until("2030-01-01T00:00:01Z")));
        assert!(Hold::until("2031-01-01T00:00:00Z").unwrap().is_within(FutureRelease::default()));
    }

    #[test]
    fn priorities() {
        // MTPRI-01
        assert!(Priority::new(-9).is_ok() && Priority::new(9).is_ok());
        assert!(Priority::new(-10).is_err() && Priority::new(10).is_err());
    }
}
