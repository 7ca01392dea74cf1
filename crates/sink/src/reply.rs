//! The replies a session gives.

use std::fmt;
use std::time::Duration;

/// A reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) code: Code,
    /// The line without its end, whole as it goes out most of the time.
    line: &'a [u8],
    /// The octets of the enhanced status code (RFC 3463) and the blank behind it.
    enhanced: usize,
    /// What the text ends with, where it says when to come again.
    seconds: Option<u64>,
}

/// Whether replies carry enhanced status codes (RFC 2034).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enhanced {
    Shown,
    Hidden,
}

/// A reply code, as far as the server's own state depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u16);

impl Code {
    /// The code at the start of a reply's text, if there is one.
    pub(crate) const fn of(reply: &[u8]) -> Option<Self> {
        match *reply {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
                let [a, b, c] = [(a - b'0') as u16, (b - b'0') as u16, (c - b'0') as u16];
                Some(Self(100 * a + 10 * b + c))
            }
            _ => None,
        }
    }

    pub(crate) fn is_positive_completion(self) -> bool {
        self.0 / 100 == 2
    }

    pub(crate) fn is_positive_intermediate(self) -> bool {
        self.0 / 100 == 3
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

impl<'a> Reply<'a> {
    /// A line with an enhanced status code.
    pub(crate) const fn new(line: &'a [u8]) -> Self {
        assert!(matches!(line, [_, _, _, b' ', _, b'.', _, b'.', _, b' ', ..]));
        Self { enhanced: "2.0.0 ".len(), ..Self::bare(line) }
    }

    /// A line without an enhanced status code.
    pub(crate) const fn bare(line: &'a [u8]) -> Self {
        let Some(code) = Code::of(line) else { panic!("a reply begins with its code") };
        Self { code, line, enhanced: 0, seconds: None }
    }

    /// The same with a time behind its text, rounded up: who comes then is not too early.
    pub(crate) fn within(self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        Self { seconds: Some(seconds), ..self }
    }

    /// Appends the reply, CRLF included.
    pub(crate) fn write(self, enhanced: Enhanced, out: &mut Vec<u8>) {
        match enhanced {
            Enhanced::Shown => out.extend_from_slice(self.line),
            Enhanced::Hidden => {
                let (code, rest) = self.line.split_at("250 ".len());
                out.extend_from_slice(code);
                out.extend_from_slice(&rest[self.enhanced..]);
            }
        }
        if let Some(seconds) = self.seconds {
            out.extend_from_slice(format!(" {seconds} seconds").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A name for an accepted mail, unique within one sink: `3F-2A`, the connection and the mail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueId {
    /// The line of the final reply, which the name ends.
    line: [u8; Self::CAPACITY],
    length: usize,
}

impl QueueId {
    /// Two 64-bit numbers in hexadecimal, and the hyphen between them.
    const CAPACITY: usize = Self::PREFIX.len() + 16 + 1 + 16;
    const PREFIX: &'static [u8] = b"250 2.0.0 Ok: queued as ";

    pub(crate) fn new(connection: u64, mail: u64) -> Self {
        let mut id = Self { line: [0; Self::CAPACITY], length: Self::PREFIX.len() };
        id.line[..Self::PREFIX.len()].copy_from_slice(Self::PREFIX);
        id.push_hex(connection);
        id.push(b'-');
        id.push_hex(mail);
        id
    }

    /// The final reply: `250 2.0.0 Ok: queued as 3F-2A`.
    pub(crate) fn reply(&self) -> Reply<'_> {
        Reply::new(&self.line[..self.length])
    }

    /// The name itself.
    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII was pushed.
        std::str::from_utf8(&self.line[Self::PREFIX.len()..self.length]).unwrap_or_default()
    }

    fn push(&mut self, b: u8) {
        self.line[self.length] = b;
        self.length += 1;
    }

    fn push_hex(&mut self, number: u64) {
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            self.push(b"0123456789ABCDEF"[(number >> (4 * digit)) as usize & 0xf]);
        }
    }
}

pub(crate) const GREETING: &str = "ESMTP posthaste sink";
pub(crate) const LMTP_GREETING: &str = "LMTP posthaste sink";

pub(crate) const CLOSING: Reply<'_> = Reply::new(b"221 2.0.0 Bye");
pub(crate) const START_TLS: Reply<'_> = Reply::new(b"220 2.0.0 Ready to start TLS");
pub(crate) const XCLIENT: Reply<'_> = Reply::new(b"220 2.0.0 Ready for another client");
pub(crate) const AUTHENTICATED: Reply<'_> = Reply::new(b"235 2.7.0 Authentication successful");
pub(crate) const OK: Reply<'_> = Reply::new(b"250 2.0.0 Ok");
pub(crate) const SENDER_OK: Reply<'_> = Reply::new(b"250 2.1.0 Ok");
pub(crate) const RECIPIENT_OK: Reply<'_> = Reply::new(b"250 2.1.5 Ok");
pub(crate) const CHUNK_OK: Reply<'_> = Reply::new(b"250 2.0.0 Ok: chunk received");
pub(crate) const CANNOT_VERIFY: Reply<'_> = Reply::new(b"252 2.0.0 Send some mail, I'll try");
pub(crate) const HELP: Reply<'_> = Reply::new(b"214 2.0.0 See RFC 5321");
pub(crate) const SEND_CONTENT: Reply<'_> = Reply::bare(b"354 End data with <CR><LF>.<CR><LF>");

pub(crate) const SHUTTING_DOWN: Reply<'_> =
    Reply::new(b"421 4.3.2 Service shutting down, closing transmission channel");
pub(crate) const TOO_MANY_CONNECTIONS: Reply<'_> =
    Reply::new(b"421 4.7.0 Error: too many connections");
pub(crate) const TOO_MANY_MAILS: Reply<'_> =
    Reply::new(b"421 4.7.0 Too many messages in this connection");
pub(crate) const GREYLISTED: Reply<'_> =
    Reply::new(b"450 4.7.1 Recipient address rejected: Greylisted, please try again in");
pub(crate) const TOO_FAST: Reply<'_> =
    Reply::new(b"450 4.7.1 Error: rate limit exceeded, slow down");
pub(crate) const NO_STORAGE: Reply<'_> = Reply::new(b"452 4.3.1 Insufficient system storage");
pub(crate) const TOO_MANY_RECIPIENTS: Reply<'_> =
    Reply::new(b"452 4.5.3 Error: too many recipients");

pub(crate) const LINE_TOO_LONG: Reply<'_> = Reply::new(b"500 5.5.2 Error: line too long");
pub(crate) const UNKNOWN_COMMAND: Reply<'_> =
    Reply::new(b"500 5.5.2 Error: command not recognized");
pub(crate) const SYNTAX: Reply<'_> = Reply::new(b"501 5.5.4 Syntax error in arguments");
pub(crate) const BAD_BASE64: Reply<'_> =
    Reply::new(b"501 5.5.2 Authentication response is not valid base64");
pub(crate) const AUTH_CANCELLED: Reply<'_> = Reply::new(b"501 5.7.0 Authentication cancelled");
pub(crate) const NOT_IMPLEMENTED: Reply<'_> =
    Reply::new(b"502 5.5.1 Error: command not implemented");
pub(crate) const HELLO_FIRST: Reply<'_> = Reply::new(b"503 5.5.1 Error: send EHLO first");
pub(crate) const MAIL_FIRST: Reply<'_> = Reply::new(b"503 5.5.1 Error: need MAIL command");
pub(crate) const NESTED_MAIL: Reply<'_> = Reply::new(b"503 5.5.1 Error: sender already given");
pub(crate) const RCPT_FIRST: Reply<'_> =
    Reply::new(b"503 5.5.1 Valid RCPT command must precede BDAT");
pub(crate) const CHUNKS_BEGUN: Reply<'_> =
    Reply::new(b"503 5.5.1 Error: only BDAT may follow BDAT");
pub(crate) const TLS_ACTIVE: Reply<'_> = Reply::new(b"503 5.5.1 Error: TLS already active");
pub(crate) const ALREADY_AUTHENTICATED: Reply<'_> =
    Reply::new(b"503 5.5.1 Error: already authenticated");
pub(crate) const AUTH_IN_TRANSACTION: Reply<'_> =
    Reply::new(b"503 5.5.1 Error: AUTH not permitted during a mail transaction");
pub(crate) const AFTER_CONTENT: Reply<'_> =
    Reply::new(b"503 5.5.1 Bad sequence of commands - pipelined after end of DATA");
pub(crate) const UNKNOWN_MECHANISM: Reply<'_> =
    Reply::new(b"504 5.5.4 Unrecognized authentication type");
pub(crate) const TLS_REQUIRED: Reply<'_> =
    Reply::new(b"530 5.7.0 Must issue a STARTTLS command first");
pub(crate) const AUTH_REQUIRED: Reply<'_> = Reply::new(b"530 5.7.0 Authentication required");
pub(crate) const BAD_CREDENTIALS: Reply<'_> =
    Reply::new(b"535 5.7.8 Authentication credentials invalid");
pub(crate) const TOO_BIG: Reply<'_> =
    Reply::new(b"552 5.3.4 Message size exceeds fixed maximum message size");
pub(crate) const SYNCHRONIZATION: Reply<'_> =
    Reply::new(b"554 5.5.0 Error: SMTP protocol synchronization");
pub(crate) const NO_RECIPIENTS: Reply<'_> = Reply::new(b"554 5.5.1 Error: no valid recipients");
pub(crate) const UNKNOWN_PARAMETER: Reply<'_> = Reply::new(b"555 5.5.4 Unsupported parameter");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_can_be_left_out() {
        let mut out = Vec::new();
        OK.write(Enhanced::Shown, &mut out);
        OK.write(Enhanced::Hidden, &mut out);
        SEND_CONTENT.write(Enhanced::Shown, &mut out);
        let expected = "250 2.0.0 Ok\r\n250 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_time_is_rounded_up() {
        for (millis, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            let mut out = Vec::new();
            GREYLISTED.within(Duration::from_millis(millis)).write(Enhanced::Hidden, &mut out);
            let end = format!("please try again in {expected} seconds\r\n");
            assert!(out.ends_with(end.as_bytes()), "{}", out.escape_ascii());
        }
    }

    #[test]
    fn queue_ids_are_hexadecimal() {
        assert_eq!(QueueId::new(0, 0x2a).as_str(), "0-2A");
        let id = QueueId::new(u64::MAX, 16);
        assert_eq!(id.reply().line, b"250 2.0.0 Ok: queued as FFFFFFFFFFFFFFFF-10");
    }

    #[test]
    fn a_code_is_three_digits() {
        assert_eq!(Code::of(b"451 4.7.1 later"), Some(Code(451)));
        assert_eq!(Code::of(b"25"), None);
        assert_eq!(Code::of(b"x50 ok"), None);
    }
}
