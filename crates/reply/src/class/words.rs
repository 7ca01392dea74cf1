//! A reply's text, made easy to find phrases in.

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;
use crate::grammar::leading_status_code;
use crate::reply::Reply;

/// Octets that are read. The longest replies known say what they mean within 400; what an attacker
/// sends beyond is not looked at.
const MAX_OCTETS: usize = 1024;
/// Octets of a path (RFC 5321, 4.5.3.1.3): how far the `>` of a `<` is looked for.
const MAX_PATH: usize = 256;

/// The server's own words: the text of all lines in lower case, with one space wherever there were
/// blanks, controls or a line end. Without the status codes that lines start with, paths and
/// addresses, which others choose, and what another server said.
pub(super) struct Words {
    octets: [u8; MAX_OCTETS],
    length: usize,
}

impl Words {
    pub(super) fn of(reply: Reply<'_>) -> Self {
        let mut words = Self { octets: [b' '; MAX_OCTETS], length: 0 };
        for line in reply.lines() {
            let text = leading_status_code(line).map_or(line, |(text, _)| text);
            words.push(b' ');
            text.iter().for_each(|octet| words.push(*octet));
            if words.length == MAX_OCTETS {
                break;
            }
        }
        words.blank_out_paths();
        words.blank_out_addresses();
        words.cut_what_others_said();
        words
    }

    fn push(&mut self, octet: u8) {
        let octet = if octet <= b' ' { b' ' } else { octet.to_ascii_lowercase() };
        if octet == b' ' && self.as_slice().last().is_none_or(|last| *last == b' ') {
            return;
        }
        if let Some(place) = self.octets.get_mut(self.length) {
            *place = octet;
            self.length += 1;
        }
    }

    /// A recipient called `<greylist>` or `<"too many connections"@example.org>` is none of the
    /// server's reasons.
    fn blank_out_paths(&mut self) {
        let mut rest = self.octets.get_mut(..self.length).unwrap_or_default();
        while let Some(start) = rest.iter().position(|octet| *octet == b'<') {
            let (_, from) = rest.split_at_mut(start);
            let length = path_length(from).unwrap_or(1);
            let (path, behind) = from.split_at_mut(length);
            if !matches!(&*path, b"<" | b"<cr>" | b"<lf>" | b"<crlf>") {
                path.fill(b' ');
            }
            rest = behind;
        }
    }

    /// The same without `<` and `>`.
    fn blank_out_addresses(&mut self) {
        let mut rest = self.octets.get_mut(..self.length).unwrap_or_default();
        while let Some(at) = rest.iter().position(|octet| *octet == b'@') {
            let (before, behind) = rest.split_at_mut(at);
            let (sign, behind) = behind.split_at_mut(1);
            sign.fill(b' ');
            let local_part = match before.split_last() {
                Some((b'"', quoted)) => quoted_length(quoted) + 1,
                _ => before.iter().rev().take_while(|octet| is_atext(**octet)).count(),
            };
            before.iter_mut().rev().take(local_part).for_each(|octet| *octet = b' ');
            let domain = behind.iter().take_while(|octet| is_domain(**octet)).count();
            behind.iter_mut().take(domain).for_each(|octet| *octet = b' ');
            rest = behind;
        }
    }

    /// `host mx.example.org said: 421 Too many connections` is a reason of that host.
    fn cut_what_others_said(&mut self) {
        const SAID: &[u8] = b" said:";
        if let Some(at) = self.as_slice().windows(SAID.len()).position(|here| here == SAID) {
            self.length = at;
        }
    }

    /// The first token that reads like an enhanced status code and agrees with the reply code.
    pub(super) fn status_code(&self, code: ReplyCode) -> Option<EnhancedStatusCode> {
        let tokens = self
            .as_slice()
            .split(|octet| !matches!(octet, b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'));
        let mut codes = tokens.filter_map(|token| {
            // A full stop may end the sentence.
            let token = token.strip_suffix(b".").unwrap_or(token);
            leading_status_code(token).ok().map(|(_, code)| code)
        });
        codes.find(|found| found.agrees_with(code))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// The text from each start of a word on: where what stands before is no part of it.
    pub(super) fn at_each_word(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.as_slice();
        let before = std::iter::once(&b' ').chain(text);
        let starts = before.zip(text).enumerate().filter_map(|(at, (before, octet))| {
            let within = before.is_ascii_alphanumeric() && octet.is_ascii_alphanumeric();
            (!within && *octet != b' ').then_some(at)
        });
        starts.filter_map(move |start| text.get(start..))
    }
}

/// How long the path is that starts here, if one does: up to its `>`, or to the end of a text that
/// was cut within. No blank is part of one unless it is quoted.
fn path_length(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.iter().enumerate().take(MAX_PATH) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at + 1),
            b' ' if !quoted => return None,
            _ => {}
        }
    }
    (text.len() <= MAX_PATH).then_some(text.len())
}

/// How many octets there are from the opening quote to the end, where the closing one follows.
fn quoted_length(text: &[u8]) -> usize {
    let opening = (0..text.len()).rev().find(|&at| {
        let escaped = at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\');
        text.get(at) == Some(&b'"') && !escaped
    });
    opening.map_or(0, |at| text.len() - at)
}

/// Of a local-part without quotes (RFC 5321, 4.1.2).
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || b".!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn is_domain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || matches!(octet, b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reply: &str, words: &str) {
        let reply = Reply::parse(reply.as_bytes()).unwrap();
        let found = Words::of(reply);
        let found = String::from_utf8_lossy(found.as_slice());
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), words);
    }

    #[test]
    fn text_is_one_line_in_lower_case() {
        check("550\r\n", "");
        check("550 5.1.1 No  Such\tUser\r\n", "no such user");
        check("421-4.7.0 An unusual\r\n421-4.7.0  rate \r\n421 4.7.0\r\n", "an unusual rate");
        check("550 a\0\x1b[2Jb\r\n", "a [2jb");
        check("550 Größe \u{4e00}\r\n", "größe \u{4e00}");
    }

    #[test]
    fn addresses_are_no_words() {
        check("550 <Greylist@Example.org>: no\r\n", ": no");
        check("550 <greylist> [<@a,@b:c@d>] no\r\n", "[ ] no");
        check("550 <\"daily limit\"@x>: <\"a\\\">\\\\ b\"@x> no\r\n", ": no");
        check("550 no \"too many\"@x \"a\\\" b\"@x b\"@x\r\n", "no b");
        check("550 a < b > c \"too many\"\r\n", "a < b > c \"too many\"");
        check("550 no <\"too many connec\r\n", "no");
        check("550 bare <LF>\r\n", "bare <lf>");
        check("550 no (spam.box+x@example.org:blocked)\r\n", "no ( :blocked)");
        check("550 a@b@c @ @@ d@\r\n", "");
        check("550 @\r\n", "");
    }

    #[test]
    fn others_words_are_not_the_servers() {
        check("450 host x said: 421 Too many\r\n", "host x");
        check("450 no \"a said:\"@x they-said: y\r\n", "no they-said: y");
    }

    #[test]
    fn status_codes_in_addresses_are_not_the_servers() {
        for (reply, expected) in [
            ("450 <4.4.5@x>: no\r\n", None),
            ("450 4.4.5@x no\r\n", None),
            ("450 <\"4.4.5 \"@x>: no (#4.2.1)\r\n", Some("4.2.1")),
            ("450 host x said: 4.2.1\r\n", None),
            ("450 5.1.1 x 4.2.1.\r\n", Some("4.2.1")),
        ] {
            let reply = Reply::parse(reply.as_bytes()).unwrap();
            let found = Words::of(reply).status_code(reply.code()).map(|code| code.to_string());
            assert_eq!(found.as_deref(), expected, "{reply:?}");
        }
    }

    #[test]
    fn words_start_behind_what_is_no_part_of_them() {
        let reply = Reply::parse(b"550 No-one (#x1) reads_this\r\n").unwrap();
        let words = Words::of(reply);
        let starts: Vec<_> =
            words.at_each_word().map(|text| String::from_utf8_lossy(text)).collect();
        let starts: Vec<_> = starts.iter().map(|text| text.split(' ').next().unwrap()).collect();
        assert_eq!(
            starts,
            ["no-one", "-one", "one", "(#x1)", "#x1)", "x1)", ")", "reads_this", "_this", "this"]
        );
    }

    /// RX-02: what is read of a text has a bound.
    #[test]
    fn endless_texts_are_cut() {
        let reply = [&b"550 "[..], &[b'@'; 4000], b"\r\n"].concat();
        assert_eq!(Words::of(Reply::parse(&reply).unwrap()).as_slice().len(), MAX_OCTETS);
        let reply = [b"550-x\r\n".repeat(5000), b"550 y\r\n".to_vec()].concat();
        assert_eq!(Words::of(Reply::parse(&reply).unwrap()).as_slice().len(), MAX_OCTETS);
    }
}
