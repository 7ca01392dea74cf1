//! Where a reply ends and what it says: one pass over the octets, resumable at any of them.

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;
use crate::frame_error::{FrameError, Protocol};
use crate::reply::{Reply, Summary};
use crate::{grammar, scan};

/// Bounds of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one line with its line end.
    pub line: usize,
    /// Octets of all lines.
    pub reply: usize,
    /// Lines; a reply of one line always passes.
    pub lines: usize,
}

impl Default for Limits {
    /// 4096 octets a line, 64 KiB and 512 lines a reply.
    ///
    /// RFC 5321, 4.5.3.1.5 asks for 512 octets a line; real servers send some more, and the
    /// longest greetings known have 60 lines. The rest is arbitrary room that no attacker can
    /// turn into memory. The AUTH exchange needs [longer lines](Self::with_challenges).
    fn default() -> Self {
        Self { line: 4096, reply: 64 * 1024, lines: 512 }
    }
}

impl Limits {
    /// For octets that are in memory already.
    pub(crate) const NONE: Self = Self { line: usize::MAX, reply: usize::MAX, lines: usize::MAX };

    /// The same, but with room for a line that carries the longest challenge of the AUTH
    /// exchange: 12288 octets (RFC 4954, 4).
    #[must_use]
    pub fn with_challenges(self) -> Self {
        /// The challenge, the code and separator before it and the line end behind it.
        const CHALLENGE_LINE: usize = "334 ".len() + 12_288 + "\r\n".len();
        Self {
            line: self.line.max(CHALLENGE_LINE),
            reply: self.reply.max(CHALLENGE_LINE),
            lines: self.lines,
        }
    }
}

/// Reads replies from a buffer that grows.
///
/// Checks the shape of each line on the way: three digits, the first one from 2 to 5, then a
/// space, a hyphen or the end of the line, and the same code on all lines. LF ends a line, with
/// or without CR before it; a lone CR never does. The result does not depend on how the octets
/// were split into reads. An error is final: the stream behind it cannot be read any further.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    so_far: SoFar,
}

/// The whole lines before the one that is read next.
#[derive(Clone, Copy, Debug)]
struct SoFar {
    lines: usize,
    octets: usize,
    /// The code of all of them, if there are any.
    code: Option<ReplyCode>,
    /// The first enhanced status code that one of them starts with.
    enhanced: Option<EnhancedStatusCode>,
    has_bare_lf: bool,
    /// The next line does not end before this offset.
    scanned: usize,
}

impl Framer {
    /// A framer at the start of a reply.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, so_far: SoFar::NOTHING }
    }

    /// Reads the reply that starts with the first octet of `buffer`.
    ///
    /// Between two calls the buffer may only grow; each octet is looked at once, but for the first
    /// line of a longer reply, which may be twice. `Ok(Some(reply))`: the framer is ready for the
    /// next reply, which starts behind the octets of this one. `Ok(None)`: more octets are needed.
    ///
    /// # Errors
    ///
    /// The octets are not a reply, or not one within the [`Limits`].
    // Measured: else the reply is copied on its way out.
    #[inline(always)]
    pub fn read<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<Reply<'a>>, FrameError> {
        if self.so_far.scanned == 0
            && let Some(reply) = self.single_line(buffer)
        {
            return Ok(Some(reply));
        }
        self.read_lines(buffer)
    }

    /// A reply of one line that is there already, as nearly all are: it needs no state.
    #[inline(always)]
    fn single_line<'a>(&self, buffer: &'a [u8]) -> Option<Reply<'a>> {
        let (bytes, _) = buffer.split_at_checked(scan::line_end(buffer, 0)?)?;
        let (_, (code, line)) = grammar::line(bytes).ok()?;
        if !line.is_last || bytes.len() > SoFar::NOTHING.bound(self.limits) {
            return None;
        }
        let enhanced = grammar::leading_status_code(line.text).ok().map(|(_, enhanced)| enhanced);
        let summary = Summary { code, enhanced, has_bare_lf: line.has_bare_lf };
        Some(Reply { bytes, summary })
    }

    fn read_lines<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<Reply<'a>>, FrameError> {
        // A copy, which stays in registers.
        let mut so_far = self.so_far;
        debug_assert!(buffer.len() >= so_far.scanned, "the buffer shrank within a reply");
        while let Some(end) = scan::line_end(buffer, so_far.scanned)
            && end <= so_far.bound(self.limits)
            && let Some(line) = buffer.get(so_far.octets..end)
        {
            if !so_far.is_plain(buffer, line) {
                let Ok((_, (code, line))) = grammar::line(line) else { break };
                if so_far.code.is_some_and(|first| first != code) {
                    break;
                }
                so_far.has_bare_lf |= line.has_bare_lf;
                // The last line's, or else the first there is.
                if (line.is_last || so_far.enhanced.is_none())
                    && let Ok((_, enhanced)) = grammar::leading_status_code(line.text)
                {
                    so_far.enhanced = Some(enhanced);
                }
                if line.is_last {
                    self.so_far = SoFar::NOTHING;
                    let SoFar { enhanced, has_bare_lf, .. } = so_far;
                    let summary = Summary { code, enhanced, has_bare_lf };
                    let bytes = buffer.get(..end).unwrap_or_default();
                    return Ok(Some(Reply { bytes, summary }));
                }
                so_far.code = Some(code);
            }
            so_far.lines += 1;
            if so_far.lines >= self.limits.lines {
                return Err(FrameError::TooManyLines { offset: end, limit: self.limits.lines });
            }
            (so_far.octets, so_far.scanned) = (end, end);
        }
        self.so_far = so_far;
        self.wait(buffer)
    }

    /// Sets other limits, for what the framer reads from here on.
    ///
    /// Lines longer than any reply needs are allowed only while they are expected: set
    /// [`Limits::with_challenges`] before AUTH and the former limits behind it.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets the reply in progress.
    pub const fn reset(&mut self) {
        self.so_far = SoFar::NOTHING;
    }

    /// Says what is wrong with the next line, or waits for the rest of it.
    #[cold]
    fn wait<'a>(&mut self, buffer: &[u8]) -> Result<Option<Reply<'a>>, FrameError> {
        let (limits, so_far) = (self.limits, &mut self.so_far);
        let bound = so_far.bound(limits);
        let readable = buffer.get(..bound).unwrap_or(buffer);
        so_far.check_start(readable.get(so_far.octets..).unwrap_or_default())?;
        if buffer.len() < bound {
            so_far.scanned = buffer.len();
            Ok(None)
        } else if bound == limits.reply {
            Err(FrameError::ReplyTooLong { offset: bound, limit: limits.reply })
        } else {
            Err(FrameError::LineTooLong { offset: bound, limit: limits.line })
        }
    }
}

impl SoFar {
    const NOTHING: Self =
        Self { lines: 0, octets: 0, code: None, enhanced: None, has_bare_lf: false, scanned: 0 };

    /// What the next line may not reach: at this octet a limit is hit, in whatever pieces it comes.
    #[inline]
    fn bound(&self, limits: Limits) -> usize {
        self.octets.saturating_add(limits.line).min(limits.reply)
    }

    /// Whether a whole line says no more than that there is another one, as most of a long reply do: it begins like the
    /// first one, which has one behind it, ends in CRLF, and has no status code that matters. Measured: looking no
    /// further takes a tenth of the time off a reply of twelve lines.
    #[inline]
    fn is_plain(&self, buffer: &[u8], line: &[u8]) -> bool {
        self.lines > 0
            && line.first_chunk::<START_LENGTH>() == buffer.first_chunk()
            && matches!(line.get(START_LENGTH..), Some([first, .., b'\r', b'\n'])
                if self.enhanced.is_some() || !grammar::may_start_status_code(*first))
    }

    /// Checks code and separator of the next line, as far as they are there.
    fn check_start(&self, line: &[u8]) -> Result<(), FrameError> {
        let offset = self.octets;
        if let Some(at) = line.iter().take(CODE_LENGTH).position(|octet| !octet.is_ascii_digit()) {
            return self.judge_foreign(line, at);
        }
        let Some((&digits, rest)) = line.split_first_chunk() else {
            return Ok(());
        };
        let Some(found) = ReplyCode::from_digits(digits) else {
            return Err(FrameError::CodeOutOfRange { offset, found: digits });
        };
        if let Some(first) = self.code
            && first != found
        {
            return Err(FrameError::CodeChanged { offset, first, found });
        }
        match *rest {
            [] | [b' ' | b'-', ..] => Ok(()),
            // A code alone is a whole last line. CR CR LF is one line end.
            [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r', b'\r', b'\n', ..] => Ok(()),
            [b'\r'] | [b'\r', b'\r'] => Ok(()),
            [found, ..] => Err(FrameError::BadSeparator { offset: offset + CODE_LENGTH, found }),
        }
    }

    /// Tells another protocol from plain garbage; waits while the octets may be either.
    fn judge_foreign(&self, line: &[u8], at: usize) -> Result<(), FrameError> {
        if self.lines == 0 {
            for &(signature, protocol) in SIGNATURES {
                if line.starts_with(signature) {
                    return Err(FrameError::NotSmtp { protocol });
                }
                if signature.starts_with(line) {
                    return Ok(());
                }
            }
        }
        let found = line.get(at).copied().unwrap_or_default();
        Err(FrameError::NotACode { offset: self.octets + at, found })
    }
}

/// Digits of a reply code.
const CODE_LENGTH: usize = 3;
/// A code and the octet behind it.
const START_LENGTH: usize = CODE_LENGTH + 1;

/// First octets of what answers on a wrong port. None is the start of another.
const SIGNATURES: &[(&[u8], Protocol)] = &[
    (b"\x15\x03", Protocol::Tls),
    (b"\x16\x03", Protocol::Tls),
    (b"HTTP/", Protocol::Http),
    (b"SSH-", Protocol::Ssh),
    (b"* ", Protocol::Imap),
    (b"+OK", Protocol::Pop3),
    (b"-ERR", Protocol::Pop3),
];

#[cfg(test)]
mod tests {
    use super::*;

    type Framed = Result<Option<usize>, FrameError>;

    impl Framer {
        /// The length of the reply.
        fn frame(&mut self, buffer: &[u8]) -> Framed {
            Ok(self.read(buffer)?.map(|reply| reply.as_bytes().len()))
        }
    }

    /// Frames the octets whole, cut in two at every index, and one by one.
    #[track_caller]
    fn check_with(limits: Limits, octets: &[u8], expected: Framed) {
        let shown = octets.escape_ascii();
        assert_eq!(Framer::new(limits).frame(octets), expected, "whole: {shown}");
        for cut in 0..=octets.len() {
            let mut framer = Framer::new(limits);
            let framed = match framer.frame(&octets[..cut]) {
                Ok(None) => framer.frame(octets),
                decided => decided,
            };
            assert_eq!(framed, expected, "cut at {cut}: {shown}");
        }
        let mut framer = Framer::new(limits);
        let mut prefixes = (0..=octets.len()).map(|length| framer.frame(&octets[..length]));
        let framed = prefixes.find(|framed| *framed != Ok(None)).unwrap_or(Ok(None));
        assert_eq!(framed, expected, "octet by octet: {shown}");
    }

    #[track_caller]
    fn check(octets: &[u8], expected: Framed) {
        check_with(Limits::default(), octets, expected);
    }

    fn code(value: u16) -> ReplyCode {
        ReplyCode::try_from(value).unwrap()
    }

    #[test]
    fn replies_end_with_their_last_line() {
        for reply in [
            // REP-02, RF-06: a code alone, with space and without.
            &b"250\r\n"[..],
            b"250 \r\n",
            b"334\r\n",
            // REP-04: the last line is the one without hyphen.
            b"250-a\r\n250-b\r\n250\r\n",
            b"250-\r\n250-\r\n250 \r\n",
            // REP-06: the second digit is free.
            b"571 x\r\n",
            b"299 x\r\n",
            // REP-12, RF-08: LF ends a line, CR does not, CR CR LF is one line end.
            b"250\n",
            b"250 ok\n",
            b"250-a\n250 b\r\n",
            b"250 a\r250 b\r\n",
            b"250-a\r\r\n250\r\r\n",
            b"250 a\r\r\r\n",
            // REP-13, RF-09, RF-10: any octet is text.
            b"250 a\0b\x1b[2J\xff\xfe\r\n",
            // RF-18, RF-19.
            b"250 %n%s{}\xc2\x85\xe2\x80\xa8\r\n",
        ] {
            check(reply, Ok(Some(reply.len())));
            check(&[reply, b"250 next\r\n"].concat(), Ok(Some(reply.len())));
            // RF-07, REP-15: nothing less is a reply.
            check(&reply[..reply.len() - 1], Ok(None));
        }
        // The CR behind a bare LF belongs to what comes next.
        check(b"250 ok\n\r", Ok(Some(7)));
        check(b"", Ok(None));
        check(b"250-\r\n", Ok(None));
    }

    /// RF-20: a greeting of many lines.
    #[test]
    fn greetings_may_be_long() {
        let greeting = [b"220-text\r\n".repeat(64), b"220 ready\r\n".to_vec()].concat();
        check(&greeting, Ok(Some(greeting.len())));
    }

    #[test]
    fn a_framer_goes_on_with_the_next_reply() {
        let mut framer = Framer::new(Limits::default());
        let mut input = &b"250-a\r\n250 b\r\n550 c\r\n334\r\n"[..];
        let mut lengths = Vec::new();
        while let Some(length) = framer.frame(input).unwrap() {
            lengths.push(length);
            input = &input[length..];
        }
        assert_eq!(lengths, [14, 7, 5]);
    }

    #[test]
    fn reset_forgets_the_reply_in_progress() {
        let mut framer = Framer::new(Limits::default());
        assert_eq!(framer.frame(b"250-a\r\n250-"), Ok(None));
        framer.reset();
        assert_eq!(framer.frame(b"550 b\r\n"), Ok(Some(7)));
    }

    /// REP-01, RF-11, RF-12.
    #[test]
    fn a_line_starts_with_three_ascii_digits() {
        for (octets, offset) in [
            (&b" 250 x\r\n"[..], 0),
            (b"+25 x\r\n", 0),
            (b"abc\r\n", 0),
            (b"\r\n", 0),
            (b"\n", 0),
            (b"25 OK\r\n", 2),
            (b"25\r\n", 2),
            (b"2\r\n", 1),
            (b"\xef\xbc\x92\xef\xbc\x95\xef\xbc\x90 full-width\r\n", 0),
            (b"\xef\xbb\xbf250 ok\r\n", 0),
            (b"2\x005\x000\x00 \x00\r\n", 1),
            (b"250-a\r\nhello\r\n", 7),
            (b"250-a\r\n\r\n", 7),
            (b"\0\0\0\0\r\n", 0),
            (b"250-a\r\n\0\0\0\0\r\n", 7),
            // Another protocol's start is nothing special inside a reply.
            (b"250-a\r\nHTTP/1.1\r\n", 7),
        ] {
            let found = octets[offset];
            check(octets, Err(FrameError::NotACode { offset, found }));
        }
    }

    /// REP-05, RF-13.
    #[test]
    fn codes_are_in_range() {
        for digits in [*b"000", *b"100", *b"199", *b"600", *b"999"] {
            let error = |offset| Err(FrameError::CodeOutOfRange { offset, found: digits });
            check(&[&digits[..], b" x\r\n"].concat(), error(0));
            check(&[b"250-a\r\n", &digits[..], b" x\r\n"].concat(), error(7));
        }
    }

    /// REP-01, RF-05.
    #[test]
    fn a_separator_follows_the_code() {
        for (octets, offset) in [
            (&b"250x\r\n"[..], 3),
            (b"2500\r\n", 3),
            (b"250OK\r\n", 3),
            (b"250\tOK\r\n", 3),
            (b"250\rOK\r\n", 3),
            (b"250\r\r\r\n", 3),
            (b"250\0\r\n", 3),
            (b"250-a\r\n250_b\r\n", 10),
        ] {
            let found = octets[offset];
            check(octets, Err(FrameError::BadSeparator { offset, found }));
        }
    }

    /// REP-03, RF-04.
    #[test]
    fn all_lines_have_one_code() {
        let changed = |offset, first, found| {
            Err(FrameError::CodeChanged { offset, first: code(first), found: code(found) })
        };
        check(b"250-a\r\n550 b\r\n", changed(7, 250, 550));
        check(b"550-a\r\n250 b\r\n", changed(7, 550, 250));
        check(b"250-a\r\n250-b\r\n251\r\n", changed(14, 250, 251));
    }

    /// RF-17.
    #[test]
    fn other_protocols_are_recognised() {
        for (octets, protocol) in [
            (&b"\x15\x03\x01\x00\x02\x02\x46"[..], Protocol::Tls),
            (b"\x16\x03\x03", Protocol::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n", Protocol::Http),
            (b"SSH-2.0-OpenSSH\r\n", Protocol::Ssh),
            (b"* OK IMAP4rev1 ready\r\n", Protocol::Imap),
            (b"+OK POP3 ready\r\n", Protocol::Pop3),
            (b"-ERR\r\n", Protocol::Pop3),
        ] {
            check(octets, Err(FrameError::NotSmtp { protocol }));
        }
        check(b"HTT", Ok(None));
        check(b"HTTX", Err(FrameError::NotACode { offset: 0, found: b'H' }));
        check(b"HT\n", Err(FrameError::NotACode { offset: 0, found: b'H' }));
    }

    /// REP-10, RF-01: an octet less, as many, one more; ended or not.
    #[test]
    fn lines_are_bounded() {
        let limits = Limits { line: 20, reply: 1000, lines: 10 };
        for length in [19, 20, 21, 500] {
            let line = format!("250 {}\r\n", "x".repeat(length - 6));
            let error = FrameError::LineTooLong { offset: 20, limit: 20 };
            let fits = length <= 20;
            check_with(limits, line.as_bytes(), if fits { Ok(Some(length)) } else { Err(error) });

            let second = format!("250-ok\r\n{line}");
            let error = FrameError::LineTooLong { offset: 28, limit: 20 };
            let framed = if fits { Ok(Some(8 + length)) } else { Err(error) };
            check_with(limits, second.as_bytes(), framed);
        }
        let endless = |length: usize| [b"250 ".to_vec(), vec![b'A'; length - 4]].concat();
        check_with(limits, &endless(19), Ok(None));
        let error = FrameError::LineTooLong { offset: 20, limit: 20 };
        check_with(limits, &endless(20), Err(error));
    }

    /// AUTH-08: the longest challenge of RFC 4954 passes while it is allowed, and not one octet
    /// more.
    #[test]
    fn challenges_may_be_longer() {
        let challenge = |octets| [b"334 ", &b"A".repeat(octets)[..], b"\r\n"].concat();
        let limits = Limits::default();
        let octets = challenge(12_288);
        check(&octets, Err(FrameError::LineTooLong { offset: 4096, limit: 4096 }));

        let mut framer = Framer::new(limits);
        framer.set_limits(limits.with_challenges());
        assert_eq!(framer.frame(&octets), Ok(Some(octets.len())));
        let error = FrameError::LineTooLong { offset: 12_294, limit: 12_294 };
        assert_eq!(framer.frame(&challenge(12_289)), Err(error));
        framer.reset();
        framer.set_limits(limits);
        assert_eq!(framer.frame(&challenge(4090)), Ok(Some(4096)));
        let error = FrameError::LineTooLong { offset: 4096, limit: 4096 };
        assert_eq!(framer.frame(&challenge(4091)), Err(error));

        let tiny = Limits { line: 10, reply: 20, lines: 3 }.with_challenges();
        assert_eq!(tiny, Limits { line: 12_294, reply: 12_294, lines: 3 });
        let wide = Limits { line: 20_000, reply: 30_000, lines: 3 };
        assert_eq!(wide.with_challenges(), wide);
    }

    /// REP-10, RF-02.
    #[test]
    fn replies_are_bounded() {
        let limits = |reply| Limits { line: 20, reply, lines: 10 };
        let reply = b"250-a\r\n250-b\r\n250 c\r\n";
        check_with(limits(22), reply, Ok(Some(21)));
        check_with(limits(21), reply, Ok(Some(21)));
        for limit in 14..=20 {
            let error = FrameError::ReplyTooLong { offset: limit, limit };
            check_with(limits(limit), reply, Err(error));
        }
    }

    /// REP-10, RF-02.
    #[test]
    fn the_number_of_lines_is_bounded() {
        let limits = |lines| Limits { line: 20, reply: 1000, lines };
        let reply = b"250-a\r\n250-b\r\n250 c\r\n";
        check_with(limits(4), reply, Ok(Some(21)));
        check_with(limits(3), reply, Ok(Some(21)));
        check_with(limits(2), reply, Err(FrameError::TooManyLines { offset: 14, limit: 2 }));
        check_with(limits(1), reply, Err(FrameError::TooManyLines { offset: 7, limit: 1 }));
        check_with(limits(1), b"250 c\r\n", Ok(Some(7)));
    }

    /// Limits that no sensible caller sets still give one result for any split.
    #[test]
    fn tiny_limits_do_no_harm() {
        for limit in 0..8 {
            for octets in [&b"250-a\r\n250 b\r\n"[..], b"250\r\n", b"2500\r\n", b"x", b"HTTP/"] {
                let by_line = Limits { line: limit, reply: 100, lines: 10 };
                check_with(by_line, octets, Framer::new(by_line).frame(octets));
                let by_reply = Limits { line: 100, reply: limit, lines: 10 };
                check_with(by_reply, octets, Framer::new(by_reply).frame(octets));
            }
        }
    }

    /// REP-30, RF-03: an endless reply that comes octet by octet is an error once and for all,
    /// and takes time in proportion to its length. Were each octet looked at again for each
    /// read, this test would take hours.
    #[test]
    fn each_octet_is_looked_at_once() {
        const LINES: usize = 100_000;
        let limits = Limits { line: 4096, reply: usize::MAX, lines: LINES };
        let mut framer = Framer::new(limits);
        let octets = b"250-\r\n".repeat(LINES);
        for length in 0..octets.len() {
            assert_eq!(framer.frame(&octets[..length]), Ok(None));
        }
        let error = FrameError::TooManyLines { offset: octets.len(), limit: LINES };
        assert_eq!(framer.frame(&octets), Err(error));
        assert_eq!(framer.frame(&octets), Err(error));
    }
}
