//! Values of parameters: what is accepted is one word on the wire, and decodes to what was given.

use posthaste_session::{EnvelopeId, ForwardPath, OriginalRecipient, Parameter, xtext};

/// Encodes the input, and takes it for the value of each parameter that carries foreign text.
///
/// The encoding is `xtext` by the letter of RFC 3461 and comes back (DSN-04). No value holds a
/// blank, a control character or a line end, nor more octets than its extension allows (CMD-08,
/// IN-12).
pub fn run(input: &[u8]) {
    let encoded = xtext(input);
    check_word(&encoded);
    assert!(!encoded.contains('='), "{encoded}");
    assert_eq!(decoded(&encoded), input, "{encoded}");
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(id) = EnvelopeId::new(text) {
        check_value(id.as_xtext(), 100);
        assert_eq!(decoded(id.as_xtext()), input);
    }
    if let Ok(original) = OriginalRecipient::with_type("x400", text) {
        check_value(original.as_xtext(), 500);
        assert_eq!(decoded(original.as_xtext()), [b"x400;", input].concat());
    }
    if let Ok(path) = text.parse::<ForwardPath>()
        && let Ok(original) = OriginalRecipient::new(&path)
    {
        check_value(original.as_xtext(), 500);
    }
    let (keyword, value) = text.split_once('=').unwrap_or(("X", text));
    if let Ok(parameter) = Parameter::new("X", keyword, Some(value)) {
        assert_eq!(parameter.to_string(), format!("{keyword}={value}"));
        assert_eq!(parameter.keyword(), keyword);
        check_word(&parameter.to_string());
        assert!(!value.contains('=') && !keyword.is_empty());
    }
}

fn check_value(value: &str, most: usize) {
    assert!(!value.is_empty() && value.len() <= most, "{} octets", value.len());
    check_word(value);
}

fn check_word(value: &str) {
    assert!(value.bytes().all(|octet| octet.is_ascii_graphic()), "{value:?}");
}

/// `xchar` stands for itself, `hexchar` is a plus sign and two digits, the letters of which are upper
/// case (RFC 3461 section 4).
fn decoded(text: &str) -> Vec<u8> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => octet - b'0',
        b'A'..=b'F' => octet - b'A' + 10,
        _ => panic!("no digit of xtext: {text:?}"),
    };
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => {
                let high = digit(rest.next().expect("two digits"));
                high << 4 | digit(rest.next().expect("two digits"))
            }
            octet => octet,
        });
    }
    octets
}
