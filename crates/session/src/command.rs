//! Commands as octets. Nothing else in the workspace writes a command line of a client, and only
//! checked types reach it, so that no caller can break out of one (RFC 5321 section 4.1).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthaste_reply::Mechanism;

use crate::address::{ForwardPath, ReversePath};
use crate::domain::ClientName;

/// Parameters of MAIL, each only where the server offers its extension.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MailParameters {
    /// `SIZE=` (RFC 1870).
    pub(crate) size: Option<usize>,
    /// `BODY=8BITMIME` (RFC 6152).
    pub(crate) eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub(crate) smtputf8: bool,
}

pub(crate) const STARTTLS: &[u8] = b"STARTTLS\r\n";
pub(crate) const DATA: &[u8] = b"DATA\r\n";
pub(crate) const RSET: &[u8] = b"RSET\r\n";
pub(crate) const QUIT: &[u8] = b"QUIT\r\n";
/// Ends a transaction whose DATA was accepted although no recipient was (RFC 2920 section 3.1).
pub(crate) const LONE_DOT: &[u8] = b".\r\n";

pub(crate) fn ehlo(out: &mut Vec<u8>, name: &ClientName) {
    push(out, &["EHLO ", name.as_str()]);
}

pub(crate) fn helo(out: &mut Vec<u8>, name: &ClientName) {
    push(out, &["HELO ", name.as_str()]);
}

pub(crate) fn mail(out: &mut Vec<u8>, reverse_path: &ReversePath, parameters: MailParameters) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(reverse_path.as_str().as_bytes());
    out.push(b'>');
    if let Some(size) = parameters.size {
        // Writing to a Vec cannot fail.
        let _ = write!(out, " SIZE={size}");
    }
    if parameters.eight_bit {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if parameters.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn rcpt(out: &mut Vec<u8>, forward_path: &ForwardPath) {
    push(out, &["RCPT TO:<", forward_path.as_str(), ">"]);
}

/// `AUTH mechanism [initial-response]`; an empty initial response is `=` (RFC 4954 section 4).
pub(crate) fn auth(out: &mut Vec<u8>, mechanism: Mechanism, initial_response: Option<&[u8]>) {
    out.extend_from_slice(b"AUTH ");
    out.extend_from_slice(mechanism.name().as_bytes());
    match initial_response {
        None => {}
        Some([]) => out.extend_from_slice(b" ="),
        Some(response) => {
            out.push(b' ');
            push_base64(out, response);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// One response of a SASL exchange.
pub(crate) fn auth_response(out: &mut Vec<u8>, response: &[u8]) {
    push_base64(out, response);
    out.extend_from_slice(b"\r\n");
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Encodes in place, so that no second copy of a secret is made.
fn push_base64(out: &mut Vec<u8>, octets: &[u8]) {
    let start = out.len();
    let encoded_len = octets.len().div_ceil(3) * 4;
    // With room for the line end, or growing for that would leave a copy behind.
    out.reserve(encoded_len + 2);
    out.resize(start + encoded_len, 0);
    // The buffer is exactly as long as the encoding.
    let encoded = STANDARD.encode_slice(octets, &mut out[start..]);
    debug_assert_eq!(encoded.ok(), Some(out.len() - start));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn commands() {
        // CMD-01, CMD-02, CMD-03
        check(|out| ehlo(out, &"a.example".parse().unwrap()), "EHLO a.example\r\n");
        check(|out| helo(out, &"[127.0.0.1]".parse().unwrap()), "HELO [127.0.0.1]\r\n");
        check(|out| mail(out, &ReversePath::Null, MailParameters::default()), "MAIL FROM:<>\r\n"); // CMD-04
        let all = MailParameters { size: Some(1024), eight_bit: true, smtputf8: true };
        let line = "MAIL FROM:<a@b> SIZE=1024 BODY=8BITMIME SMTPUTF8\r\n";
        check(|out| mail(out, &"a@b".parse().unwrap(), all), line);
        check(|out| rcpt(out, &ForwardPath::Postmaster), "RCPT TO:<Postmaster>\r\n"); // CMD-13
        check(|out| rcpt(out, &"\"a b\"@c".parse().unwrap()), "RCPT TO:<\"a b\"@c>\r\n"); // CMD-09
    }

    #[test]
    fn auth_lines() {
        check(|out| auth(out, Mechanism::Login, None), "AUTH LOGIN\r\n");
        check(|out| auth(out, Mechanism::External, Some(b"")), "AUTH EXTERNAL =\r\n"); // AUTH-03
        check(|out| auth(out, Mechanism::Plain, Some(b"\0a\0b")), "AUTH PLAIN AGEAYg==\r\n");
        check(|out| auth_response(out, b""), "\r\n");
        check(|out| auth_response(out, b"user"), "dXNlcg==\r\n");
    }

    #[test]
    fn the_longest_line_fits() {
        // CMD-05: 512 octets for the bare commands; parameters extend that.
        let local = "l".repeat(64);
        let domain = format!("{}.{}.{}", "d".repeat(63), "d".repeat(63), "d".repeat(61));
        let mut out = Vec::new();
        rcpt(&mut out, &format!("{local}@{domain}").parse().unwrap());
        assert!(out.len() <= 512);
    }
}
