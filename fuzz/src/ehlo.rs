//! What a server offers, against a look at each line by itself.

use posthaste_reply::{Extensions, Reply};

/// A keyword, and whether extensions have it.
type Known = (&'static str, fn(&Extensions) -> bool);

const KEYWORDS: [Known; 8] = [
    ("PIPELINING", Extensions::pipelining),
    ("CHUNKING", Extensions::chunking),
    ("BINARYMIME", Extensions::binarymime),
    ("8BITMIME", Extensions::eight_bit_mime),
    ("SMTPUTF8", Extensions::smtputf8),
    ("STARTTLS", Extensions::starttls),
    ("DSN", Extensions::dsn),
    ("REQUIRETLS", Extensions::requiretls),
];

/// Takes the input's lines for the lines of a reply to EHLO.
///
/// A keyword is offered if it begins a line behind the first; numbers saturate or count as missing;
/// a keyword that is ignored is gone, and nothing else is.
pub fn run(input: &[u8]) {
    let mut lines: Vec<&[u8]> = input.split(|&octet| octet == b'\n').take(100).collect();
    let last = lines.pop().unwrap_or_default();
    let mut octets = Vec::new();
    for line in &lines {
        octets.extend_from_slice(b"250-");
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b"250 ");
    octets.extend_from_slice(last);
    octets.extend_from_slice(b"\r\n");
    let reply = Reply::parse(&octets).expect("made as one");
    let extensions = Extensions::parse(reply);
    let words: Vec<String> = reply.lines().skip(1).map(first_word).collect();
    for (keyword, is_offered) in KEYWORDS {
        let expected = words.iter().any(|word| word == keyword);
        assert_eq!(is_offered(&extensions), expected, "{keyword} in {}", octets.escape_ascii());
        let mut without = extensions.clone();
        without.ignore(&keyword.to_lowercase());
        assert!(!is_offered(&without), "{keyword} is ignored");
        for (other, is_offered) in KEYWORDS.iter().filter(|(other, _)| *other != keyword) {
            assert_eq!(is_offered(&without), is_offered(&extensions), "{other} stays");
        }
    }
    assert_eq!(extensions.size().is_some(), words.iter().any(|word| word == "SIZE"));
    assert!(extensions.size().is_none_or(|size| size.limit != Some(0)), "0 is no limit");
    let shown = format!("{extensions}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(extensions.unknown().all(|line| !line.is_empty() && !line.contains(&b'\n')));
}

/// The keyword that a line begins with, in upper case.
fn first_word(line: &[u8]) -> String {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let start = line.iter().position(|octet| !is_blank(octet)).unwrap_or(line.len());
    let line = &line[start..];
    let end = line.iter().position(|octet| is_blank(octet) || *octet == b'=');
    // One octet, one character: nothing else may become a letter.
    let word = line[..end.unwrap_or(line.len())].iter().map(|&octet| char::from(octet));
    word.collect::<String>().to_ascii_uppercase()
}
