//! Content on the wire: the end of data, transparency (RFC 5321 4.5.2) and what a strict server
//! would object to.

use memchr::memchr2;

use crate::stats::{Tally, Violation};

/// Receives what [`Decoder`] un-stuffs; a count of octets, or a buffer.
pub(crate) trait Receive {
    /// Takes the next octets of the content.
    fn receive(&mut self, octets: &[u8]);
}

/// Reads DATA content across any cuts, removes the dots of transparency and finds `CRLF . CRLF`.
/// Only that ends the content: a line end with a bare CR or LF never does (5321 4.1.1.4).
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    place: Place,
    /// Octets of the current line so far, without the stuffing dot.
    line: usize,
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
        Self { place: Place::LineStart, line: 0 }
    }

    /// Reads `input` up to the end of data, passing the content on in as few slices as there are.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        tally: &mut Tally,
        receiver: &mut impl Receive,
    ) -> Decoded {
        // `input[start..at]` is content not passed on yet.
        let (mut start, mut at) = (0, 0);
        while let Some(&octet) = input.get(at) {
            match (self.place, octet) {
                (Place::LineStart, b'.') => {
                    receiver.receive(&input[start..at]);
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
                    receiver.receive(b"\r");
                    tally.violation(Violation::BareCr);
                    self.place = Place::Line;
                }
                (Place::Cr, b'\n') => {
                    at += 1;
                    self.end_line(1, tally);
                }
                (Place::Cr, _) => {
                    tally.violation(Violation::BareCr);
                    self.place = Place::Line;
                }
                (Place::LineStart | Place::Dot | Place::Line, _) => {
                    at = self.line(input, at, tally)
                }
            }
        }
        receiver.receive(&input[start..]);
        Decoded::More
    }

    /// Reads from `at` to the next line end, or to a place where the next octet decides. Returns
    /// where it got to.
    fn line(&mut self, input: &[u8], at: usize, tally: &mut Tally) -> usize {
        self.place = Place::Line;
        let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
            self.line += input.len() - at;
            return input.len();
        };
        let end = at + found;
        self.line += found + 1;
        if input[end] == b'\n' {
            tally.violation(Violation::BareLf);
            return end + 1;
        }
        match input.get(end + 1) {
            Some(b'\n') => {
                self.end_line(1, tally);
                end + 2
            }
            Some(_) => {
                tally.violation(Violation::BareCr);
                end + 1
            }
            None => {
                self.place = Place::Cr;
                end + 1
            }
        }
    }

    fn end_line(&mut self, more: usize, tally: &mut Tally) {
        if self.line + more > MAX_TEXT_LINE {
            tally.violation(Violation::LongLine);
        }
        self.line = 0;
        self.place = Place::LineStart;
    }
}

/// Looks at the octets of a chunk (BDAT) for what text must not have: the same checks as DATA,
/// without transparency.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkInspector {
    line: usize,
    behind_cr: bool,
}

impl ChunkInspector {
    pub(crate) fn inspect(&mut self, input: &[u8], tally: &mut Tally) {
        let mut at = 0;
        while at < input.len() {
            if std::mem::take(&mut self.behind_cr) {
                if input[at] == b'\n' {
                    at += 1;
                    self.end_line(tally);
                    continue;
                }
                tally.violation(Violation::BareCr);
            }
            let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
                self.line += input.len() - at;
                return;
            };
            at += found + 1;
            self.line += found + 1;
            if input[at - 1] == b'\r' {
                self.behind_cr = true;
            } else {
                tally.violation(Violation::BareLf);
            }
        }
    }

    /// The content ends here.
    pub(crate) fn finish(&mut self, tally: &mut Tally) {
        if std::mem::take(&mut self.behind_cr) {
            tally.violation(Violation::BareCr);
        }
    }

    fn end_line(&mut self, tally: &mut Tally) {
        if self.line + 1 > MAX_TEXT_LINE {
            tally.violation(Violation::LongLine);
        }
        self.line = 0;
    }
}

/// Counts what needs to be seen once in an input, not once a line.
pub(crate) fn inspect_octets(octets: &[u8], eight_bit: EightBit, tally: &mut Tally) {
    if eight_bit == EightBit::Forbidden && !octets.is_ascii() {
        tally.violation(Violation::EightBit);
    }
    if memchr::memchr(0, octets).is_some() {
        tally.violation(Violation::Nul);
    }
}

/// Whether content may have octets above 0x7f.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EightBit {
    Allowed,
    Forbidden,
}

/// Octets of a text line with its CRLF (RFC 5321 4.5.3.1.6).
const MAX_TEXT_LINE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    impl Receive for Vec<u8> {
        fn receive(&mut self, octets: &[u8]) {
            self.extend_from_slice(octets);
        }
    }

    /// The content, what is left behind its end, and the violations; by pieces cut at `cuts`.
    fn decode(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Vec<u8>>, Tally) {
        let (mut decoder, mut tally, mut content) = (Decoder::new(), Tally::default(), Vec::new());
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(input.len());
        for piece in bounds.windows(2) {
            let decoded = decoder.decode(&input[piece[0]..piece[1]], &mut tally, &mut content);
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
    fn chunks_are_inspected_across_cuts() {
        let text = b"a\r\nb\nc\rd\r\n\r";
        for cut in 0..=text.len() {
            let (mut inspector, mut tally) = (ChunkInspector::default(), Tally::default());
            inspector.inspect(&text[..cut], &mut tally);
            inspector.inspect(&text[cut..], &mut tally);
            inspector.finish(&mut tally);
            let counted: Vec<_> = tally.violations().collect();
            assert_eq!(counted, [(Violation::BareCr, 2), (Violation::BareLf, 1)], "{cut}");
        }
    }
}
