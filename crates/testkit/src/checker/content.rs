//! Content on the wire, read by the letter of RFC 5321 section 4.5.2.

/// Reads content up to CRLF . CRLF and takes the transparency off.
#[derive(Debug, Default)]
pub(super) struct ContentReader {
    content: Vec<u8>,
    line: Vec<u8>,
}

/// A text line with its CRLF (RFC 5321 section 4.5.3.1.6); the dot of transparency is not counted.
const MAX_LINE: usize = 1000;

impl ContentReader {
    /// Takes one octet; the content, if it ends here.
    ///
    /// # Panics
    ///
    /// When a line is not what a strict server takes.
    pub(super) fn push(&mut self, octet: u8) -> Option<Vec<u8>> {
        assert!(octet != 0, "NUL in content");
        assert!(octet == b'\n' || self.line.last() != Some(&b'\r'), "a bare CR in content");
        assert!(octet != b'\n' || self.line.last() == Some(&b'\r'), "a bare LF in content");
        self.line.push(octet);
        if octet != b'\n' {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_with_a_dot_alone() {
        let mut reader = ContentReader::default();
        let wire = b"a\r\n..b\r\n...\r\n\r\n.\r\n";
        let content = wire.iter().find_map(|&octet| reader.push(octet));
        assert_eq!(content.as_deref(), Some(&b"a\r\n.b\r\n..\r\n\r\n"[..]));
    }

    #[test]
    #[should_panic(expected = "not doubled")]
    fn a_single_dot_is_not_transparent() {
        let mut reader = ContentReader::default();
        b".a\r\n".iter().for_each(|&octet| drop(reader.push(octet)));
    }
}
