//! Enhanced status codes against the letter of RFC 3463.

use posthaste_reply::{EnhancedStatusCode, Reply};

/// Takes the input for a code, and for the text of a reply.
///
/// What is read is what the letter allows and nothing else (REP-23), and writes itself. A reply has
/// the code that its text starts with; one that is guessed agrees with the reply code (REP-24,
/// REP-28).
pub fn run(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        check_code(text);
    }
    let text: Vec<u8> = input.iter().copied().filter(|&octet| octet != b'\n').collect();
    for code in ["250", "450", "550"] {
        check_reply(code, &text);
    }
}

fn check_code(text: &str) {
    let expected = by_the_letter(text.as_bytes());
    let found = text.parse::<EnhancedStatusCode>().ok();
    let numbers = found.map(|code| (code.class(), code.subject(), code.detail()));
    assert_eq!(numbers, expected, "{text:?}");
    if let Some(code) = found {
        let numbers = (code.class(), code.subject(), code.detail());
        assert_eq!(EnhancedStatusCode::try_from(numbers), Ok(code));
        assert_eq!(code.to_string().parse(), Ok(code));
    }
}

fn check_reply(code: &str, text: &[u8]) {
    let octets = [code.as_bytes(), b" ", text, b"\r\n"].concat();
    let reply = Reply::parse(&octets).expect("one line of text");
    // The line end takes one more CR.
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let start = text.iter().position(|octet| !is_blank(octet)).unwrap_or(text.len());
    let token = text[start..].split(is_blank).next().unwrap_or_default();
    let numbers = reply.enhanced().map(|code| (code.class(), code.subject(), code.detail()));
    assert_eq!(numbers, by_the_letter(token), "{reply:?}");
    let guess = reply.enhanced_anywhere();
    if reply.enhanced().is_some() {
        assert_eq!(guess, reply.enhanced());
    } else if let Some(guess) = guess {
        assert!(guess.agrees_with(reply.code()), "{guess} in {reply:?}");
    }
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// `class "." subject "." detail`, of one, one to three and one to three digits.
fn by_the_letter(text: &[u8]) -> Option<(u8, u16, u16)> {
    let parts: Vec<&[u8]> = text.split(|&octet| octet == b'.').collect();
    let [[class @ (b'2' | b'4' | b'5')], subject, detail] = parts[..] else { return None };
    let number = |digits: &[u8]| {
        let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_number
            .then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
    };
    Some((class - b'0', number(subject)?, number(detail)?))
}
