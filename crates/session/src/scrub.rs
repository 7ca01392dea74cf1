//! Takes secrets out of what a server says, should it repeat them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use memchr::memmem;
use posthaste_reply::Reply;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

/// What stands where a secret was.
const MARK: &[u8] = b"[redacted]";

/// Shortest text that is looked for. A shorter one would be found where nobody meant it, and the
/// marks would tell more of it than the server did.
const MIN_NEEDLE: usize = 4;

/// Octets from which on a part of a secret is taken out, too: more than half of a usual password, and few
/// of a token.
const MAX_HEAD: usize = 16;

/// Most responses that are looked for: two exchanges of the longest mechanism. Those of exchanges
/// before are forgotten.
const MAX_RESPONSES: usize = 6;

/// Knows what must not be repeated; wiped when dropped.
#[derive(Default)]
pub(crate) struct Scrubber {
    /// The secret itself, and its base64.
    secrets: Vec<Needle>,
    /// What went over the wire, as it did.
    responses: Vec<Needle>,
}

type Needle = Zeroizing<Vec<u8>>;

impl Scrubber {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        let mut scrubber = Self::default();
        let secret = credentials.secret();
        if secret.len() >= MIN_NEEDLE {
            scrubber.secrets.push(Zeroizing::new(secret.as_bytes().to_vec()));
            scrubber.secrets.push(Zeroizing::new(STANDARD.encode(secret).into_bytes()));
            scrubber.secrets.extend((0..3).map(|before| base64_within(secret, before)));
            scrubber.secrets.retain(|needle| needle.len() >= MIN_NEEDLE);
            let percent = percent_encoded(secret);
            if percent.as_slice() != secret.as_bytes() {
                scrubber.secrets.push(percent);
            }
        }
        scrubber
    }

    /// Takes note of a response that goes out.
    pub(crate) fn add_response(&mut self, response: &[u8]) {
        if response.len() < MIN_NEEDLE {
            return;
        }
        if self.responses.len() == MAX_RESPONSES {
            self.responses.remove(0);
        }
        self.responses.push(Zeroizing::new(STANDARD.encode(response).into_bytes()));
    }

    /// Whether there is nothing to be taken out.
    pub(crate) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.responses.is_empty()
    }

    /// The octets of a reply without secrets; `None` if there are none in it.
    pub(crate) fn scrub_reply(&self, reply: Reply<'_>) -> Option<Vec<u8>> {
        if self.is_empty() || !reply.lines().any(|line| self.is_leaky(line)) {
            return None;
        }
        let code = reply.code().to_string();
        let mut octets = Vec::with_capacity(reply.as_bytes().len());
        let mut lines = reply.lines().peekable();
        while let Some(line) = lines.next() {
            octets.extend_from_slice(code.as_bytes());
            octets.push(if lines.peek().is_some() { b'-' } else { b' ' });
            octets.extend_from_slice(&self.scrub(line));
            octets.extend_from_slice(b"\r\n");
        }
        Some(octets)
    }

    /// Text without secrets.
    pub(crate) fn scrub(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for needle in self.needles() {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| memmem::find(rest, head(needle)))
            {
                let start = from + at;
                let there = text.get(start..).unwrap_or_default().iter().zip(needle);
                let length = there.take_while(|(octet, secret)| octet == secret).count();
                text.splice(start..start + length, MARK.iter().copied());
                from = start + MARK.len();
            }
        }
        text
    }

    fn is_leaky(&self, text: &[u8]) -> bool {
        // Most replies are shorter than most secrets.
        let mut heads = self.needles().map(head).filter(|head| head.len() <= text.len());
        heads.any(|head| memmem::find(text, head).is_some())
    }

    /// The longest come first, or a part of one would be taken out and the rest left.
    fn needles(&self) -> impl Iterator<Item = &[u8]> {
        self.responses.iter().chain(&self.secrets).map(|needle| needle.as_slice())
    }
}

/// What gives a secret away: a server may cut off a long line in the middle of one.
fn head(needle: &[u8]) -> &[u8] {
    needle.get(..MAX_HEAD).unwrap_or(needle)
}

/// What is always the same of the base64 of a longer text with `before` octets, modulo 3, before the
/// secret: the digits that are made of its bits alone.
fn base64_within(secret: &str, before: usize) -> Needle {
    let text = Zeroizing::new([&[0; 2][..before.min(2)], secret.as_bytes()].concat());
    let mut digits = Zeroizing::new(STANDARD_NO_PAD.encode(&*text).into_bytes());
    if text.len() % 3 != 0 {
        digits.pop();
    }
    // 8 or 16 bits are before it, and a digit has 6.
    let foreign = (before * 8).div_ceil(6).min(digits.len());
    digits.drain(..foreign);
    digits
}

/// The form that secrets have in URLs (RFC 3986 section 2.1).
fn percent_encoded(secret: &str) -> Needle {
    let mut octets = Zeroizing::new(Vec::with_capacity(secret.len() * 3));
    for octet in secret.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            octets.push(octet);
        } else {
            octets.extend_from_slice(format!("%{octet:02X}").as_bytes());
        }
    }
    octets
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubber(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scrubber: &Scrubber, reply: &str, expected: Option<&str>) {
        let scrubbed = scrubber.scrub_reply(Reply::parse(reply.as_bytes()).unwrap());
        assert_eq!(
            scrubbed.as_deref().map(|o| String::from_utf8_lossy(o)),
            expected.map(Into::into)
        );
    }

    #[test]
    fn secrets_are_taken_out_of_replies() {
        // LK-03
        let credentials = Credentials::new("tim", "p%ss=w0rd").unwrap();
        let mut scrubber = Scrubber::new(&credentials);
        scrubber.add_response(b"\0tim\0p%ss=w0rd");
        check(&scrubber, "535 5.7.8 bad password\r\n", None);
        check(
            &scrubber,
            "535-user tim password p%ss=w0rd, p%ss=w0rd!\r\n535 end\r\n",
            Some("535-user tim password [redacted], [redacted]!\r\n535 end\r\n"),
        );
        for echo in ["p%25ss%3Dw0rd", "cCVzcz13MHJk", "AHRpbQBwJXNzPXcwcmQ="] {
            check(&scrubber, &format!("535 x {echo}\r\n"), Some("535 x [redacted]\r\n"));
        }
    }

    #[test]
    fn secrets_are_found_within_base64() {
        // LK-03: as in the JSON that refuses a token
        for secret in ["tok3n", "tok3n6", "tok3n67"] {
            let scrubber = Scrubber::new(&Credentials::bearer("tim", secret).unwrap());
            for before in ["", "a", "ab", "abc", "abcd"] {
                let whole = STANDARD.encode(format!("{before}{secret}more"));
                let scrubbed = scrubber.scrub(whole.as_bytes());
                let scrubbed = String::from_utf8(scrubbed).unwrap();
                let (left, right) = scrubbed.split_once("[redacted]").expect("a mark");
                let kept = left.len() + right.len();
                let around = STANDARD.encode(format!("{before}more")).len();
                assert!(kept <= around + 4, "{secret} behind {before:?}: {scrubbed}");
            }
        }
    }

    #[test]
    fn secrets_that_are_cut_off_are_found() {
        // LK-03
        let token = "0123456789abcdef".repeat(4);
        let scrubber = Scrubber::new(&Credentials::bearer("tim", token.clone()).unwrap());
        for length in 16..token.len() {
            let line = format!("500 too long: {}\r\n", &token[..length]);
            check(&scrubber, &line, Some("500 too long: [redacted]\r\n"));
        }
        check(&scrubber, &format!("500 {}\r\n", &token[..15]), None);
    }

    #[test]
    fn without_secrets_everything_stays() {
        let too_short = Credentials::new("tim", "no").unwrap();
        for scrubber in [Scrubber::default(), Scrubber::new(&too_short)] {
            check(&scrubber, "535 no no bm8\r\n", None);
        }
    }

    #[test]
    fn responses_are_forgotten_one_by_one() {
        let mut scrubber = Scrubber::default();
        for number in 10..30 {
            scrubber.add_response(format!("response {number}").as_bytes());
        }
        assert_eq!(scrubber.responses.len(), MAX_RESPONSES);
        let latest = STANDARD.encode("response 29");
        check(&scrubber, &format!("535 {latest}\r\n"), Some("535 [redacted]\r\n"));
    }
}
