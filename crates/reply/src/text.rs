//! Reply text made safe to print.

use std::fmt::{self, Write};

use crate::grammar::{self, trim_blanks};
use crate::reply::Lines;

/// The text of a reply on one line, to display.
///
/// Each line without its enhanced status code and outer blanks; the lines that have text left,
/// joined by one space. Control characters, line separators and characters that turn the writing
/// direction come out as `\u{1b}`, octets that are not UTF-8 as `\xff`, so that a server can
/// neither command a terminal nor forge a line of a log. Not meant to be read back: for that there
/// are [`Reply::lines`](crate::Reply::lines) and [`Reply::as_bytes`](crate::Reply::as_bytes).
#[derive(Clone, Debug)]
pub struct Text<'a> {
    lines: Lines<'a>,
}

impl<'a> Text<'a> {
    pub(crate) const fn new(lines: Lines<'a>) -> Self {
        Self { lines }
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.pieces().next().is_none()
    }

    fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let without_code = |line| match grammar::leading_status_code(line) {
            Ok((text, _)) => text,
            Err(_) => line,
        };
        let lines = self.lines.clone();
        lines.map(without_code).map(trim_blanks).filter(|text| !text.is_empty())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, piece) in self.pieces().enumerate() {
            if at > 0 {
                f.write_char(' ')?;
            }
            Escaped(piece).fmt(f)?;
        }
        Ok(())
    }
}

/// Octets of the peer, displayed so that nothing but printable text comes out, as [`Text`] does.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(
    /// The octets as they came.
    pub &'a [u8],
);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, harmful)) = rest.char_indices().find(|&(_, c)| is_harmful(c)) {
                let (harmless, tail) = rest.split_at(at);
                write!(f, "{harmless}{}", harmful.escape_unicode())?;
                rest = tail.strip_prefix(harmful).unwrap_or_default();
            }
            write!(f, "{rest}{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

/// Whether a terminal, a log or a reader may take the character for something else than text.
fn is_harmful(character: char) -> bool {
    match character {
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => true,
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2066}'..='\u{2069}' => true,
        // Byte order mark.
        '\u{feff}' => true,
        _ => character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use crate::Reply;

    #[track_caller]
    fn check(reply: &[u8], expected: &str) {
        let text = Reply::parse(reply).unwrap().text();
        assert_eq!(text.to_string(), expected);
        assert_eq!(text.is_empty(), expected.is_empty());
    }

    /// REP-25, Q44.
    #[test]
    fn lines_are_joined_without_their_status_codes() {
        check(b"250 2.1.0 Ok\r\n", "Ok");
        check(b"550-5.7.26 a\r\n550 5.7.26  b - gsmtp\r\n", "a b - gsmtp");
        check(b"550-a\r\n550-\r\n550-  \r\n550 5.1.1 b \t\r\n", "a b");
        check(b"550 #5.1.0 a\r\n", "#5.1.0 a");
        check(b"250 5.7.1\r\n", "");
        check(b"250-\r\n250\r\n", "");
    }

    /// REP-13, RF-09, RF-19, Q45.
    #[test]
    fn only_printable_text_comes_out() {
        check(b"250 a\0b\x1b[2Jc\x7f\r\n", "a\\u{0}b\\u{1b}[2Jc\\u{7f}");
        check(b"250 a\r250 b\tc\r\n", "a\\u{d}250 b\\u{9}c");
        check(
            "250 a\u{85}b\u{2028}c\u{202e}d\u{feff}\r\n".as_bytes(),
            "a\\u{85}b\\u{2028}c\\u{202e}d\\u{feff}",
        );
        check(b"250 \xff\xfea\xc3\r\n", "\\xff\\xfea\\xc3");
        check("250 対象の mañana\r\n".as_bytes(), "対象の mañana");
    }

    /// RF-18.
    #[test]
    fn format_tokens_are_text() {
        check(b"250 %n%s{} {0} C:\\x\r\n", "%n%s{} {0} C:\\x");
    }
}
