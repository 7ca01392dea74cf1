//! Content on the wire: the end of data, transparency (RFC 5321 4.5.2) and what a strict server
//! would object to.

use std::sync::LazyLock;

use memchr::{memchr2, memmem, memrchr};

use crate::stats::{Tally, Violation};

/// Reads DATA content across any cuts, removes the dots of transparency and finds `CRLF . CRLF`.
/// Only that ends the content: a line end with a bare CR or LF never does (5321 4.1.1.4).
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Behind a dot at the start of a line; the dot is transparency and was not passed on.
    Dot,
    /// Behind that dot and a CR; the CR is not passed on yet.
    DotCr,
    /// Inside a line.
    Line,
    /// Inside a line behind a CR that was passed on.
    Cr,
}

/// How a call of [`Decoder::decode`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All input was content; more is to come.
    More,
    /// The end of data is behind this many octets of the input.
    End(usize),
}

impl Decoder {
    /// At the start of content.
    pub(crate) fn new() -> Self {
        Self { place: Place::LineStart }
    }

    /// Reads `input` up to the end of data, and hands the content to `receive` in as few slices as
    /// there are.
    pub(crate) fn decode(&mut self, input: &[u8], mut receive: impl FnMut(&[u8])) -> Decoded {
        // `input[start..at]` is content not passed on yet.
        let (mut start, mut at) = (0, 0);
        while let Some(&octet) = input.get(at) {
            match (self.place, octet) {
                (Place::LineStart, b'.') => {
                    receive(&input[start..at]);
                    at += 1;
                    start = at;
                    self.place = Place::Dot;
                }
                (Place::Dot, b'\r') => {
                    at += 1;
                    start = at;
                    self.place = Place::DotCr;
                }
                (Place::DotCr, b'\n') => return Decoded::End(at + 1),
                (Place::DotCr, _) => {
                    receive(b"\r");
                    self.place = Place::Line;
                }
                (Place::Cr, b'\n') => {
                    at += 1;
                    self.place = Place::LineStart;
                }
                (Place::LineStart | Place::Dot | Place::Line | Place::Cr, _) => {
                    at = self.lines(input, at);
                }
            }
        }
        receive(&input[start..]);
        Decoded::More
    }

    /// Reads lines from `at` to the next that starts with a dot, or to the end of the input. Returns
    /// where it got to.
    fn lines(&mut self, input: &[u8], at: usize) -> usize {
        let rest = &input[at..];
        if let Some(found) = DOT_LINE.find(rest) {
            self.place = Place::LineStart;
            return at + found + b"\r\n".len();
        }
        self.place = match rest {
            [.., b'\r', b'\n'] => Place::LineStart,
            [.., b'\r'] => Place::Cr,
            _ => Place::Line,
        };
        input.len()
    }
}

/// What comes before the dot of transparency and before the end of data, and that dot: clean content
/// is passed over at the speed of memory.
static DOT_LINE: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));

/// Looks at the lines of content, without transparency, for what text must not have.
#[derive(Debug, Clone)]
pub(crate) struct Inspector {
    eight_bit: EightBit,
    /// Octets of the current line so far.
    line: usize,
    behind_cr: bool,
    /// Whether octets above 0x7f, and NUL octets, are in the input at hand.
    has_eight_bit: bool,
    has_nul: bool,
}

/// Whether content may have octets above 0x7f.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EightBit {
    Allowed,
    Forbidden,
}

impl Inspector {
    pub(crate) fn new(eight_bit: EightBit) -> Self {
        Self { eight_bit, line: 0, behind_cr: false, has_eight_bit: false, has_nul: false }
    }

    pub(crate) fn inspect(&mut self, octets: &[u8], tally: &mut Tally) {
        let (Some(first), Some(last)) = (octets.first(), octets.last()) else { return };
        let findings = Findings::of(octets);
        self.has_eight_bit |= findings.has_eight_bit;
        self.has_nul |= findings.has_nul;
        let is_clean = (*first == b'\n') == self.behind_cr && findings.has_whole_line_ends;
        match self.skip_short_lines(octets).filter(|_| is_clean) {
            Some(line) => (self.line, self.behind_cr) = (line, *last == b'\r'),
            None => self.inspect_lines(octets, tally),
        }
    }

    /// The input ends here: counts what needs to be seen once in an input, not once a line.
    pub(crate) fn end_input(&mut self, tally: &mut Tally) {
        if std::mem::take(&mut self.has_eight_bit) && self.eight_bit == EightBit::Forbidden {
            tally.violation(Violation::EightBit);
        }
        if std::mem::take(&mut self.has_nul) {
            tally.violation(Violation::Nul);
        }
    }

    /// The length of the line behind all these, if each is short enough and they have whole line
    /// ends. As many lines are passed at once as a single one may have octets.
    fn skip_short_lines(&self, octets: &[u8]) -> Option<usize> {
        let (mut line, mut rest) = (self.line, octets);
        while line + rest.len() > MAX_TEXT_LINE {
            let fitting = rest.get(..MAX_TEXT_LINE.checked_sub(line)?)?;
            rest = &rest[memrchr(b'\n', fitting)? + 1..];
            line = 0;
        }
        let end = memrchr(b'\n', rest);
        Some(end.map_or(line + rest.len(), |end| rest.len() - (end + 1)))
    }

    /// Looks at line for line, where something may be wrong.
    fn inspect_lines(&mut self, octets: &[u8], tally: &mut Tally) {
        let mut at = 0;
        while at < octets.len() {
            if std::mem::take(&mut self.behind_cr) {
                if octets[at] == b'\n' {
                    at += 1;
                    self.end_line(tally);
                    continue;
                }
                tally.violation(Violation::BareCr);
            }
            let Some(found) = memchr2(b'\r', b'\n', &octets[at..]) else {
                self.line += octets.len() - at;
                return;
            };
            at += found + 1;
            self.line += found + 1;
            if octets[at - 1] == b'\r' {
                self.behind_cr = true;
            } else {
                tally.violation(Violation::BareLf);
            }
        }
    }

    fn end_line(&mut self, tally: &mut Tally) {
        if self.line + 1 > MAX_TEXT_LINE {
            tally.violation(Violation::LongLine);
        }
        self.line = 0;
    }

    /// The content ends here.
    pub(crate) fn finish(&mut self, tally: &mut Tally) {
        if std::mem::take(&mut self.behind_cr) {
            tally.violation(Violation::BareCr);
        }
    }
}

/// What one look at each octet finds.
#[derive(Debug, Clone, Copy)]
struct Findings {
    has_eight_bit: bool,
    has_nul: bool,
    /// A CR is before each LF, and an LF behind each CR, but for both ends.
    has_whole_line_ends: bool,
}

impl Findings {
    fn of(octets: &[u8]) -> Self {
        let Some((last, others)) = octets.split_last().filter(|(_, others)| others.len() >= WIDTH)
        else {
            // What is put behind makes a CR at the end look broken, and does nothing else.
            let mut padded = [b'x'; WIDTH + 1];
            padded[..octets.len()].copy_from_slice(octets);
            return Self::of(&padded);
        };
        let followers = &octets[1..];
        let mut pairs = Pairs { union: [*last; WIDTH], least: [*last; WIDTH], broken: [0; WIDTH] };
        let (blocks, next) = (others.as_chunks().0, followers.as_chunks().0);
        blocks.iter().zip(next).for_each(|(block, next)| pairs.see(block, next));
        // Octets that are seen again change nothing.
        if let (Some(block), Some(next)) = (others.last_chunk(), followers.last_chunk()) {
            pairs.see(block, next);
        }
        Self {
            has_eight_bit: !pairs.union.is_ascii(),
            has_nul: pairs.least.iter().min() == Some(&0),
            has_whole_line_ends: pairs.broken == [0; WIDTH],
        }
    }
}

/// What octets and the ones behind them have, many at once: all content goes through here, and the
/// compiler makes vector instructions of it.
struct Pairs {
    /// All bits that were seen.
    union: [u8; WIDTH],
    least: [u8; WIDTH],
    /// Not 0 where an LF is behind no CR, or a CR before no LF.
    broken: [u8; WIDTH],
}

impl Pairs {
    fn see(&mut self, octets: &[u8; WIDTH], followers: &[u8; WIDTH]) {
        for at in 0..WIDTH {
            let (octet, next) = (octets[at], followers[at]);
            self.union[at] |= octet;
            self.least[at] = self.least[at].min(octet);
            self.broken[at] |= u8::from((octet == b'\r') != (next == b'\n'));
        }
    }
}

/// Octets looked at together: two vectors of the least that the processor has.
const WIDTH: usize = 32;

/// Octets of a text line with its CRLF (RFC 5321 4.5.3.1.6).
const MAX_TEXT_LINE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, what is left behind its end, and the violations; by pieces cut at `cuts`.
    fn decode(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Vec<u8>>, Tally) {
        let (mut decoder, mut content) = (Decoder::new(), Vec::new());
        let (mut inspector, mut tally) = (Inspector::new(EightBit::Allowed), Tally::default());
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(input.len());
        for piece in bounds.windows(2) {
            let decoded = decoder.decode(&input[piece[0]..piece[1]], |octets| {
                content.extend_from_slice(octets);
                inspector.inspect(octets, &mut tally);
            });
            if let Decoded::End(consumed) = decoded {
                return (content, Some(input[piece[0] + consumed..].to_vec()), tally);
            }
        }
        (content, None, tally)
    }

    #[track_caller]
    fn check(input: &str, content: &str, rest: Option<&str>, violations: &[(Violation, u32)]) {
        let input = input.as_bytes();
        let every: Vec<usize> = (1..input.len()).collect();
        let mut cuts: Vec<Vec<usize>> = vec![vec![], every];
        for a in 0..=input.len() {
            cuts.extend((a..=input.len()).map(|b| vec![a, b]));
        }
        for cuts in cuts {
            let (decoded, left, tally) = decode(input, &cuts);
            assert_eq!(String::from_utf8_lossy(&decoded), content, "{cuts:?}");
            assert_eq!(left.as_deref(), rest.map(str::as_bytes), "{cuts:?}");
            let counted: Vec<_> = tally.violations().collect();
            assert_eq!(counted, violations, "{cuts:?}");
        }
    }

    #[test]
    fn the_end_is_crlf_dot_crlf() {
        check(".\r\n", "", Some(""), &[]);
        check("a\r\n.\r\nQUIT\r\n", "a\r\n", Some("QUIT\r\n"), &[]);
        check("a\r\n\r\n.\r\n", "a\r\n\r\n", Some(""), &[]);
        check("a\r\nb", "a\r\nb", None, &[]);
    }

    #[test]
    fn dots_of_transparency_are_removed() {
        check("..\r\n.\r\n", ".\r\n", Some(""), &[]);
        check("..a\r\n...\r\nb.\r\n.\r\n", ".a\r\n..\r\nb.\r\n", Some(""), &[]);
        check(".a\r\n.\r\n", "a\r\n", Some(""), &[]);
        check("\r\n\r\n..\r\n.\r\n", "\r\n\r\n.\r\n", Some(""), &[]);
    }

    /// SM-01: nothing of the smuggling family ends the content.
    #[test]
    fn smuggled_ends_are_content() {
        use Violation::{BareCr, BareLf};
        check("a\n.\n\r\n.\r\n", "a\n.\n\r\n", Some(""), &[(BareLf, 2)]);
        check("a\n.\r\n\r\n.\r\n", "a\n.\r\n\r\n", Some(""), &[(BareLf, 1)]);
        check("a\r.\r\r\n.\r\n", "a\r.\r\r\n", Some(""), &[(BareCr, 2)]);
        check("a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", Some(""), &[(BareCr, 1)]);
        check("a\r\n.\n.\r\n.\r\n", "a\r\n\n.\r\n", Some(""), &[(BareLf, 1)]);
        check("a\r\n.\rx\r\n.\r\n", "a\r\n\rx\r\n", Some(""), &[(BareCr, 1)]);
    }

    #[test]
    fn lines_over_1000_octets_are_counted() {
        let line = |octets: usize| format!("{}\r\n.\r\n", "x".repeat(octets - 2));
        let violations = |octets| {
            let (_, _, tally) = decode(line(octets).as_bytes(), &[]);
            tally.violations().collect::<Vec<_>>()
        };
        assert_eq!(violations(1000), []);
        assert_eq!(violations(1001), [(Violation::LongLine, 1)]);
        // A stuffing dot does not count.
        let (_, _, tally) = decode(format!("..{}", line(999)).as_bytes(), &[500]);
        assert_eq!(tally.violations().count(), 0);
    }

    #[test]
    fn octets_are_found_wherever_they_are() {
        for length in 1..100 {
            for at in 0..length {
                for (octet, expected) in
                    [(0, (false, true)), (0x80, (true, false)), (b'a', (false, false))]
                {
                    let mut text = vec![b'x'; length];
                    text[at] = octet;
                    let found = Findings::of(&text);
                    assert_eq!((found.has_eight_bit, found.has_nul), expected, "{length} {at}");
                }
            }
        }
    }

    /// What is passed over as clean has nothing that a look at each octet would find.
    #[test]
    fn many_lines_at_once_are_inspected_like_each_octet() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..5_000 {
            let mut text = Vec::new();
            for _ in 0..rng.usize(1..6) {
                let length = if rng.u8(..8) == 0 { rng.usize(990..1010) } else { rng.usize(..80) };
                text.resize(text.len() + length, b'x');
                let end = if rng.u8(..16) == 0 { *rng.choice(ODD_ENDS).unwrap() } else { "\r\n" };
                text.extend_from_slice(end.as_bytes());
            }
            let inspect = |pieces: usize| {
                let (mut inspector, mut tally) =
                    (Inspector::new(EightBit::Allowed), Tally::default());
                text.chunks(pieces).for_each(|piece| inspector.inspect(piece, &mut tally));
                inspector.finish(&mut tally);
                tally.violations().collect::<Vec<_>>()
            };
            let expected = inspect(1);
            for pieces in [text.len().max(1), rng.usize(2..2000)] {
                assert_eq!(inspect(pieces), expected, "{pieces} {}", text.escape_ascii());
            }
        }
    }

    const ODD_ENDS: &[&str] = &["\n", "\r", "\n\r", "\r\r\n", "\n\n", ""];

    #[test]
    fn chunks_are_inspected_across_cuts() {
        let text = b"a\r\nb\nc\rd\r\n\r";
        for cut in 0..=text.len() {
            let (mut inspector, mut tally) = (Inspector::new(EightBit::Allowed), Tally::default());
            inspector.inspect(&text[..cut], &mut tally);
            inspector.inspect(&text[cut..], &mut tally);
            inspector.finish(&mut tally);
            let counted: Vec<_> = tally.violations().collect();
            assert_eq!(counted, [(Violation::BareCr, 2), (Violation::BareLf, 1)], "{cut}");
        }
    }
}
