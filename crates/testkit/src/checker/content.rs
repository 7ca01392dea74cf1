//! Content on the wire, read by the letter of RFC 5321 section 4.5.2 and RFC 3030 section 2.

/// Reads content up to CRLF . CRLF and takes the transparency off.
#[derive(Debug, Default)]
pub(super) struct ContentReader {
    content: Vec<u8>,
    line: Vec<u8>,
}

/// A text line with its CRLF (RFC 5321 section 4.5.3.1.6); the dot of transparency is not counted.
const MAX_LINE: usize = 1000;

impl ContentReader {
    /// Takes octets, of which none but the last may be a line feed; the content, if it ends here.
    ///
    /// # Panics
    ///
    /// When a line is not what a strict server takes.
    pub(super) fn push(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        assert!(!octets.contains(&0), "NUL in content");
        let is_behind_cr = self.line.last() == Some(&b'\r');
        assert!(!is_behind_cr || octets.starts_with(b"\n"), "a bare CR in content");
        self.line.extend_from_slice(octets);
        let is_whole = octets.ends_with(b"\n");
        assert!(!is_whole || self.line.ends_with(b"\r\n"), "a bare LF in content");
        let behind = if is_whole { 2 } else { 1 };
        let inner = &octets[..octets.len().saturating_sub(behind)];
        assert!(!inner.contains(&b'\r'), "a bare CR in content");
        if !is_whole {
            return None;
        }
        if self.line == b".\r\n" {
            return Some(std::mem::take(&mut self.content));
        }
        let line = match self.line.strip_prefix(b".") {
            Some(line) => {
                assert!(line.starts_with(b"."), "a line begins with a dot that is not doubled");
                line
            }
            None => &self.line,
        };
        assert!(line.len() <= MAX_LINE, "a text line of {} octets", line.len());
        self.content.extend_from_slice(line);
        self.line.clear();
        None
    }
}

/// Takes the octets of chunks: no transparency, no terminator. Text is text all the same.
#[derive(Debug)]
pub(super) struct ChunkReader {
    content: Vec<u8>,
    is_text: bool,
    line: usize,
}

impl ChunkReader {
    pub(super) fn new(is_text: bool) -> Self {
        Self { content: Vec::new(), is_text, line: 0 }
    }

    /// Takes octets.
    ///
    /// # Panics
    ///
    /// When they are not what a strict server takes (CHUNK-09).
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.content.extend_from_slice(octets);
        if !self.is_text {
            return;
        }
        let start = self.content.len() - octets.len();
        let mut is_behind_cr = start > 0 && self.content[start - 1] == b'\r';
        for &octet in octets {
            assert!(octet != 0, "NUL in a text");
            assert!((octet == b'\n') == is_behind_cr, "a bare CR or LF in a text");
            is_behind_cr = octet == b'\r';
            self.line += 1;
            assert!(self.line <= MAX_LINE, "a text line of {} octets", self.line);
            if octet == b'\n' {
                self.line = 0;
            }
        }
    }

    /// The content, once all of it was said.
    ///
    /// # Panics
    ///
    /// When it is a text that does not end in CRLF.
    pub(super) fn end(self) -> Vec<u8> {
        let is_whole = self.content.is_empty() || self.content.ends_with(b"\r\n");
        assert!(is_whole || !self.is_text, "a text that ends within a line");
        self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_with_a_dot_alone() {
        let mut reader = ContentReader::default();
        let wire = b"a\r\n..b\r\n...\r\n\r\n.\r\n";
        let content = wire.iter().find_map(|&octet| reader.push(&[octet]));
        assert_eq!(content.as_deref(), Some(&b"a\r\n.b\r\n..\r\n\r\n"[..]));
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let wire: &[u8] = b"ab\r\n..\r\n.\r\n";
        for cut in 0..4 {
            let mut reader = ContentReader::default();
            let lines = wire.split_inclusive(|&octet| octet == b'\n');
            let parts =
                lines.flat_map(|line| [&line[..cut.min(line.len())], &line[cut.min(line.len())..]]);
            let mut parts = parts.filter(|part| !part.is_empty());
            assert_eq!(parts.find_map(|part| reader.push(part)).unwrap(), b"ab\r\n.\r\n");
        }
    }

    #[test]
    #[should_panic(expected = "a bare CR")]
    fn a_bare_cr_is_not_content() {
        ContentReader::default().push(b"a\rb");
    }

    #[test]
    #[should_panic(expected = "a bare LF")]
    fn a_bare_lf_is_not_content() {
        ContentReader::default().push(b"a\n");
    }

    #[test]
    #[should_panic(expected = "not doubled")]
    fn a_single_dot_is_not_transparent() {
        let mut reader = ContentReader::default();
        drop(reader.push(b".a\r\n"));
    }

    #[test]
    fn chunks_are_taken_as_they_are() {
        let take = |is_text, octets: &[u8]| {
            let mut reader = ChunkReader::new(is_text);
            octets.chunks(3).for_each(|octets| reader.push(octets));
            reader.end()
        };
        assert_eq!(take(true, b".\r\n\r\n.\r\n"), b".\r\n\r\n.\r\n");
        assert_eq!(take(false, b"\0\n.\r"), b"\0\n.\r");
    }

    #[test]
    #[should_panic(expected = "within a line")]
    fn a_text_has_whole_lines() {
        let mut reader = ChunkReader::new(true);
        reader.push(b"a");
        reader.end();
    }
}
