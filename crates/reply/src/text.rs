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

/// Octets of the peer, displayed so that nothing but printable text comes out.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

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
