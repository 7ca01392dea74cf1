//! xtext: any octets as a value without blanks, `+` and `=` (RFC 3461 section 4).

use std::fmt::Write as _;

/// Encodes octets for the value of an ESMTP parameter.
///
/// ```
/// use posthaste_session::xtext;
///
/// assert_eq!(xtext(b"a+b=c d"), "a+2Bb+3Dc+20d");
/// ```
#[must_use]
pub fn xtext(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'+' | b'=' | ..=b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "+{octet:02X}");
            }
            _ => out.push(char::from(octet)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder that knows nothing of the encoder.
    fn decode(text: &str) -> Vec<u8> {
        let mut parts = text.split('+');
        let mut octets = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            octets.push(u8::from_str_radix(&part[..2], 16).unwrap());
            octets.extend_from_slice(&part.as_bytes()[2..]);
        }
        octets
    }

    #[test]
    fn every_octet_comes_back() {
        // DSN-04
        for octet in 0..=255 {
            let text = xtext(&[b'a', octet, b'b']);
            assert!(text.bytes().all(|o| matches!(o, 33..=126) && o != b'='), "{text}");
            assert_eq!(decode(&text), [b'a', octet, b'b']);
        }
        assert_eq!(xtext(b"!~"), "!~");
        assert_eq!(xtext(b"\x7f"), "+7F");
    }
}
