//! Replies, read octet by octet from the grammar alone; shares no code with what it checks.

/// What octets turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A whole reply.
    Reply(Reply),
    /// Not a reply; nothing behind it can be understood.
    Garbage,
}

/// A reply: its code, and the text of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) lines: Vec<Vec<u8>>,
}

impl Reply {
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub(super) fn is_negative(&self) -> bool {
        (400..600).contains(&self.code)
    }
}

/// Finds replies in a stream.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    reply: Reply,
    octets: usize,
}

// The bounds of a client with default settings.
const MAX_LINE: usize = 4096;
const MAX_REPLY: usize = 64 * 1024;
const MAX_LINES: usize = 512;

impl ReplyReader {
    /// Takes one octet.
    pub(super) fn push(&mut self, octet: u8) -> Option<Heard> {
        self.octets += 1;
        self.line.push(octet);
        if self.line.len() > MAX_LINE || self.octets > MAX_REPLY {
            return Some(Heard::Garbage);
        }
        if octet != b'\n' {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let Some((code, is_last, text)) = read_line(&line) else { return Some(Heard::Garbage) };
        if !self.reply.lines.is_empty() && code != self.reply.code {
            return Some(Heard::Garbage);
        }
        self.reply.code = code;
        self.reply.lines.push(text.to_vec());
        if is_last {
            self.octets = 0;
            return Some(Heard::Reply(std::mem::take(&mut self.reply)));
        }
        (self.reply.lines.len() >= MAX_LINES).then_some(Heard::Garbage)
    }

    /// Whether some of a reply has come, and not all of it.
    pub(super) fn is_within_reply(&self) -> bool {
        self.octets > 0
    }
}

/// Code, whether it is the last line, and text.
fn read_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let (digits, rest) = line.split_at_checked(3)?;
    let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return None };
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match rest {
        // CR CR LF is a line end that a mail reader's gateway made of CR LF.
        [] | [b'\r'] | [b'\r', b'\r'] => Some((code, true, &[])),
        [b' ', text @ ..] => Some((code, true, text.trim_ascii_end())),
        [b'-', text @ ..] => Some((code, false, text.trim_ascii_end())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Vec<Option<u16>> {
        let mut reader = ReplyReader::default();
        let heard = octets.iter().filter_map(|&octet| reader.push(octet));
        heard
            .map(|heard| match heard {
                Heard::Reply(reply) => Some(reply.code),
                Heard::Garbage => None,
            })
            .collect()
    }

    #[test]
    fn replies_and_what_is_none() {
        assert_eq!(
            read(b"250 ok\r\n550-no\r\n550 no\r\n354\r\n"),
            [Some(250), Some(550), Some(354)]
        );
        assert_eq!(read(b"250\n250 a\r250 b\n"), [Some(250), Some(250)]);
        for garbage in
            ["25\r\n", "2500\r\n", "150 x\r\n", "650 x\r\n", "250-a\r\n550 b\r\n", "\r\n"]
        {
            assert_eq!(read(garbage.as_bytes()), [None], "{garbage:?}");
        }
        assert_eq!(read(b"250-a\r\n250 b"), []);
    }
}
