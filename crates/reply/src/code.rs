//! Reply codes (RFC 5321, 4.2).

use std::fmt;

/// What the first digit of a reply code says (RFC 5321, 4.2.1).
///
/// Complete on purpose: the first digits 0, 1 and 6 to 9 do not exist in SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// 2yz: the command was accepted and done.
    PositiveCompletion,
    /// 3yz: the command was accepted so far, the server waits for more.
    PositiveIntermediate,
    /// 4yz: refused for now; the same command may be repeated later.
    TransientNegative,
    /// 5yz: refused; the same command must not be repeated unchanged.
    PermanentNegative,
}

impl Severity {
    /// Its name in records, e.g. `transient_negative`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PositiveCompletion => "positive_completion",
            Self::PositiveIntermediate => "positive_intermediate",
            Self::TransientNegative => "transient_negative",
            Self::PermanentNegative => "permanent_negative",
        }
    }
}

/// A reply code from 200 to 599.
///
/// A code that is not among the constants is judged by its [`severity`](Self::severity), as
/// RFC 5321, 4.3.2 wants. The second digit is not checked: 571, 585, 591 and 498 are in use
/// although the grammar stops at 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// 220: greeting, or ready to start TLS.
    pub const READY: Self = Self(220);
    /// 221: closing the connection.
    pub const CLOSING: Self = Self(221);
    /// 235: authentication succeeded (RFC 4954).
    pub const AUTHENTICATED: Self = Self(235);
    /// 250: done.
    pub const OK: Self = Self(250);
    /// 251: the user is not local, the server forwards.
    pub const WILL_FORWARD: Self = Self(251);
    /// 252: the user could not be verified, delivery is attempted.
    pub const NOT_VERIFIED: Self = Self(252);
    /// 334: a challenge of the AUTH exchange (RFC 4954).
    pub const CONTINUE_AUTH: Self = Self(334);
    /// 354: send the content, end it with a lone dot.
    pub const START_CONTENT: Self = Self(354);
    /// 421: the service is not available, the connection is closing.
    pub const NOT_AVAILABLE: Self = Self(421);
    /// 432: a password transition is needed (RFC 4954); a concurrency limit at Exchange Online.
    pub const PASSWORD_TRANSITION: Self = Self(432);
    /// 450: the mailbox is not available for now.
    pub const MAILBOX_BUSY: Self = Self(450);
    /// 451: a local error, the command was given up.
    pub const LOCAL_ERROR: Self = Self(451);
    /// 452: not enough storage, or too many recipients in this transaction.
    pub const INSUFFICIENT_STORAGE: Self = Self(452);
    /// 454: TLS or authentication is not available for now (RFC 3207, RFC 4954).
    pub const TEMPORARILY_UNAVAILABLE: Self = Self(454);
    /// 455: the parameters cannot be accommodated for now.
    pub const PARAMETERS_NOT_ACCOMMODATED: Self = Self(455);
    /// 500: the command was not recognised, or its line was too long.
    pub const COMMAND_UNRECOGNIZED: Self = Self(500);
    /// 501: syntax error in the parameters; the answer to a cancelled AUTH exchange.
    pub const SYNTAX_ERROR: Self = Self(501);
    /// 502: the command is not implemented.
    pub const NOT_IMPLEMENTED: Self = Self(502);
    /// 503: bad sequence of commands.
    pub const BAD_SEQUENCE: Self = Self(503);
    /// 504: the parameter is not implemented.
    pub const PARAMETER_NOT_IMPLEMENTED: Self = Self(504);
    /// 521: this host never accepts mail (RFC 7504).
    pub const NO_MAIL: Self = Self(521);
    /// 530: authentication or TLS is required (RFC 4954, RFC 3207).
    pub const AUTHENTICATION_REQUIRED: Self = Self(530);
    /// 534: the mechanism is too weak (RFC 4954).
    pub const MECHANISM_TOO_WEAK: Self = Self(534);
    /// 535: the credentials are invalid (RFC 4954).
    pub const CREDENTIALS_INVALID: Self = Self(535);
    /// 538: the mechanism needs encryption (RFC 4954).
    pub const ENCRYPTION_REQUIRED: Self = Self(538);
    /// 550: the mailbox is not available, or policy refuses.
    pub const MAILBOX_UNAVAILABLE: Self = Self(550);
    /// 551: the user is not local.
    pub const USER_NOT_LOCAL: Self = Self(551);
    /// 552: storage or size limit exceeded.
    pub const STORAGE_EXCEEDED: Self = Self(552);
    /// 553: the mailbox name is not allowed.
    pub const MAILBOX_NAME_NOT_ALLOWED: Self = Self(553);
    /// 554: the transaction failed; as a greeting, no SMTP service here.
    pub const TRANSACTION_FAILED: Self = Self(554);
    /// 555: the parameters of MAIL or RCPT were not recognised.
    pub const PARAMETERS_NOT_RECOGNIZED: Self = Self(555);
    /// 556: the recipient's domain does not accept mail (RFC 7504).
    pub const DOMAIN_ACCEPTS_NO_MAIL: Self = Self(556);

    /// The code as a number, 200 to 599.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// What the first digit says.
    pub const fn severity(self) -> Severity {
        match self.0 {
            ..300 => Severity::PositiveCompletion,
            300..400 => Severity::PositiveIntermediate,
            400..500 => Severity::TransientNegative,
            500.. => Severity::PermanentNegative,
        }
    }

    /// 2yz.
    pub const fn is_positive_completion(self) -> bool {
        matches!(self.severity(), Severity::PositiveCompletion)
    }

    /// 3yz.
    pub const fn is_positive_intermediate(self) -> bool {
        matches!(self.severity(), Severity::PositiveIntermediate)
    }

    /// 4yz.
    pub const fn is_transient_negative(self) -> bool {
        matches!(self.severity(), Severity::TransientNegative)
    }

    /// 5yz.
    pub const fn is_permanent_negative(self) -> bool {
        matches!(self.severity(), Severity::PermanentNegative)
    }

    /// 4yz or 5yz.
    pub const fn is_negative(self) -> bool {
        self.0 >= 400
    }

    /// The code spelled by three ASCII digits, if they are digits and in range.
    #[inline]
    pub(crate) const fn from_digits([a, b, c]: [u8; 3]) -> Option<Self> {
        Self::from_word(u32::from_le_bytes([a, b, c, 0]))
    }

    /// The same for digits that are the octets of a little-endian word, before a zero.
    #[inline]
    pub(crate) const fn from_word(word: u32) -> Option<Self> {
        let digits = word ^ 0x0030_3030;
        // Adding 0x76 sets the high bit of what is above 9; a carry comes only from such an octet.
        let above_nine = (digits.wrapping_add(0x0076_7676) | digits) & 0xff80_8080;
        let [hundreds, tens, units, _] = digits.to_le_bytes();
        if above_nine != 0 || !matches!(hundreds, 2..=5) {
            return None;
        }
        Some(Self(hundreds as u16 * 100 + tens as u16 * 10 + units as u16))
    }
}

impl TryFrom<u16> for ReplyCode {
    type Error = InvalidReplyCode;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        match value {
            200..600 => Ok(Self(value)),
            _ => Err(InvalidReplyCode(value)),
        }
    }
}

impl From<ReplyCode> for u16 {
    fn from(code: ReplyCode) -> Self {
        code.value()
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is not a [`ReplyCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReplyCode(u16);

impl fmt::Display for InvalidReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a reply code from 200 to 599, got {}", self.0)
    }
}

impl std::error::Error for InvalidReplyCode {}

#[cfg(test)]
mod tests {
    use super::*;

    /// REP-05, REP-06, REP-07: the first digit decides, the second one is free.
    #[test]
    fn severity_is_the_first_digit() {
        use Severity::*;
        for (value, severity) in [
            (200, PositiveCompletion),
            (299, PositiveCompletion),
            (354, PositiveIntermediate),
            (459, TransientNegative),
            (498, TransientNegative),
            (571, PermanentNegative),
            (599, PermanentNegative),
        ] {
            let code = ReplyCode::try_from(value).unwrap();
            assert_eq!(code.severity(), severity, "{value}");
            assert_eq!(code.value(), value);
            assert_eq!(code.is_negative(), value >= 400);
        }
    }

    /// RF-13: nothing outside 200 to 599 is a code, spelled or as a number.
    #[test]
    fn codes_are_200_to_599() {
        for value in 0..1000u16 {
            let digits = format!("{value:03}");
            let digits = *digits.as_bytes().first_chunk().unwrap();
            let expected = ReplyCode::try_from(value).ok();
            assert_eq!(expected.is_some(), (200..600).contains(&value));
            assert_eq!(ReplyCode::from_digits(digits), expected, "{value}");
        }
    }

    /// RF-11, RF-12: of all words only the 400 codes are codes.
    #[test]
    fn only_ascii_digits_spell_codes() {
        let codes = (0..=0x00ff_ffff).filter(|&word| ReplyCode::from_word(word).is_some());
        assert_eq!(codes.count(), 400);
        assert_eq!(ReplyCode::from_word(u32::from_le_bytes(*b"250 ")), None);
        for digits in [*b"2 0", *b"+25", *b"25 ", *b"2:0", *b"25/", *b"\xff50"] {
            assert_eq!(ReplyCode::from_digits(digits), None, "{}", digits.escape_ascii());
        }
    }
}
