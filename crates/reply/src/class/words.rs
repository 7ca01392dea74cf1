//! A reply's text, made easy to find phrases in.

use crate::grammar::leading_status_code;
use crate::reply::Reply;

/// Octets that are read. The longest replies known say what they mean within 400; what an attacker
/// sends beyond is not looked at.
const MAX_OCTETS: usize = 1024;

/// The text of all lines in lower case, with one space wherever there were blanks, controls or a
/// line end, and without status codes and mail addresses: those are not the server's words.
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
        words.blank_out_addresses();
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

    /// A recipient called `greylist@example.org` is none of the server's reasons.
    fn blank_out_addresses(&mut self) {
        let text = self.octets.get_mut(..self.length).unwrap_or_default();
        let mut rest = text;
        while let Some(at) = rest.iter().position(|octet| *octet == b'@') {
            let (before, behind) = rest.split_at_mut(at);
            let (sign, behind) = behind.split_at_mut(1);
            sign.fill(b' ');
            let local_part = before.iter().rev().take_while(|octet| is_atext(**octet)).count();
            before.iter_mut().rev().take(local_part).for_each(|octet| *octet = b' ');
            let domain = behind.iter().take_while(|octet| is_domain(**octet)).count();
            behind.iter_mut().take(domain).for_each(|octet| *octet = b' ');
            rest = behind;
        }
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
        check("550 <Greylist@Example.org>: no\r\n", "< >: no");
        check("550 no (spam.box+x@example.org:blocked)\r\n", "no ( :blocked)");
        check("550 a@b@c @ @@ d@\r\n", "");
        check("550 @\r\n", "");
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
