//! Content in chunks, as BDAT carries it: no transparency, no terminator (RFC 3030 section 2).

use std::io::IoSlice;

use super::Content;

/// How far one chunk of a content has been sent.
#[derive(Clone, Debug)]
pub(crate) struct ChunkCursor {
    content: Content,
    at: usize,
    end: usize,
}

impl ChunkCursor {
    /// The octets from `start` to `end` of a content that has [`Content::len`] of them.
    pub(crate) fn new(content: Content, start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= content.len());
        Self { content, at: start, end }
    }

    /// Fills `out` with what is still to send and says how many slices were used.
    pub(crate) fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let (mut used, mut begins) = (0, 0);
        for part in self.content.parts() {
            let from = self.at.saturating_sub(begins).min(part.len());
            let until = (self.end - begins).min(part.len());
            begins += part.len();
            if let Some(octets) = part.get(from..until).filter(|octets| !octets.is_empty()) {
                let Some(place) = out.get_mut(used) else { break };
                *place = IoSlice::new(octets);
                used += 1;
            }
            if begins >= self.end {
                break;
            }
        }
        used
    }

    /// Moves on by at most `octets` and returns how many of them belonged to something else behind.
    pub(crate) fn advance(&mut self, octets: usize) -> usize {
        let taken = octets.min(self.end - self.at);
        self.at += taken;
        octets - taken
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at == self.end
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The whole content in chunks of `size` octets, written `step` octets at a time.
    pub(in crate::content) fn sent(content: &Content, size: usize, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for start in (0..content.len()).step_by(size) {
            let end = (start + size).min(content.len());
            let mut cursor = ChunkCursor::new(content.clone(), start, end);
            while !cursor.is_done() {
                let mut slices = [IoSlice::new(&[]); 2];
                let used = cursor.slices(&mut slices);
                let octets: Vec<u8> =
                    slices[..used].iter().flat_map(|s| s.iter().copied()).take(step).collect();
                assert_eq!(cursor.advance(octets.len()), 0);
                out.extend(octets);
            }
            assert_eq!(cursor.advance(1), 1);
        }
        out
    }

    #[test]
    fn chunks_are_the_octets() {
        // CHUNK-02, SM-06: dots stay as they are.
        let dots = Content::new(".\r\n..\r\n\r\n.\r\n").unwrap();
        // As with DATA, a text ends in CRLF.
        let open = Content::new("a\r\nb").unwrap();
        let binary = Content::binary(&b"\0\n.\r"[..]);
        for size in 1..10 {
            for step in 1..5 {
                assert_eq!(sent(&dots, size, step), b".\r\n..\r\n\r\n.\r\n");
                assert_eq!(sent(&open, size, step), b"a\r\nb\r\n");
                assert_eq!(sent(&binary, size, step), b"\0\n.\r");
            }
        }
    }
}
