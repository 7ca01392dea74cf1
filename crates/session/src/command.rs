//! Commands as octets. Nothing else in the workspace writes a command line of a client, and only
//! checked types reach it, so that no caller can break out of one (RFC 5321 section 4.1).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthaste_reply::{Extensions, Mechanism};

use crate::address::{ForwardPath, ReversePath};
use crate::domain::ClientName;
use crate::options::{Authority, MailOptions, Parameter, RecipientOptions};
use crate::xtext::xtext;

/// How the content is announced with MAIL, each only where the server offers its extension.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MailParameters<'a> {
    /// `SIZE=` (RFC 1870), in decimal.
    pub(crate) size: Option<&'a str>,
    /// `BODY=` (RFC 6152, RFC 3030).
    pub(crate) body: Body,
    /// `SMTPUTF8` (RFC 6531).
    pub(crate) smtputf8: bool,
}

/// What the content is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing that has to be said.
    #[default]
    Plain,
    EightBit,
    Binary,
}

pub(crate) const STARTTLS: &[u8] = b"STARTTLS\r\n";
pub(crate) const DATA: &[u8] = b"DATA\r\n";
pub(crate) const RSET: &[u8] = b"RSET\r\n";
pub(crate) const QUIT: &[u8] = b"QUIT\r\n";
/// Ends a SASL exchange (RFC 4954 section 4).
pub(crate) const CANCEL_AUTH: &[u8] = b"*\r\n";
/// Ends a transaction whose DATA was accepted although no recipient was (RFC 2920 section 3.1).
pub(crate) const LONE_DOT: &[u8] = b".\r\n";

pub(crate) fn ehlo(out: &mut Vec<u8>, name: &ClientName) {
    push(out, &["EHLO ", name.as_str()]);
}

/// What EHLO is in LMTP (RFC 2033 section 4.1).
pub(crate) fn lhlo(out: &mut Vec<u8>, name: &ClientName) {
    push(out, &["LHLO ", name.as_str()]);
}

pub(crate) fn helo(out: &mut Vec<u8>, name: &ClientName) {
    push(out, &["HELO ", name.as_str()]);
}

pub(crate) fn mail(
    out: &mut Vec<u8>,
    reverse_path: &ReversePath,
    parameters: MailParameters<'_>,
    options: Option<&MailOptions>,
    extensions: &Extensions,
) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(reverse_path.as_bytes());
    out.push(b'>');
    if let Some(size) = parameters.size {
        out.extend_from_slice(b" SIZE=");
        out.extend_from_slice(size.as_bytes());
    }
    match parameters.body {
        Body::Plain => {}
        Body::EightBit => out.extend_from_slice(b" BODY=8BITMIME"),
        Body::Binary => out.extend_from_slice(b" BODY=BINARYMIME"),
    }
    if parameters.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if let Some(options) = options {
        push_options(out, options, extensions);
    }
    out.extend_from_slice(b"\r\n");
}

/// What is asked for the mail, as far as the server offers it.
fn push_options(out: &mut Vec<u8>, options: &MailOptions, extensions: &Extensions) {
    // Writing to a Vec cannot fail.
    if extensions.dsn() {
        if let Some(content) = options.return_content {
            let _ = write!(out, " RET={}", content.as_str());
        }
        if let Some(id) = &options.envelope_id {
            let _ = write!(out, " ENVID={}", id.as_xtext());
        }
    }
    if let (Some(deliver_by), Some(_)) = (options.deliver_by, extensions.deliver_by()) {
        let _ = write!(out, " BY={deliver_by}");
    }
    if let (Some(priority), true) = (options.priority, extensions.mt_priority()) {
        let _ = write!(out, " MT-PRIORITY={}", priority.as_i8());
    }
    if let (Some(hold), Some(_)) = (&options.hold, extensions.future_release()) {
        let _ = write!(out, " {hold}");
    }
    if options.require_tls && extensions.requiretls() {
        out.extend_from_slice(b" REQUIRETLS");
    }
    match &options.authority {
        Some(_) if extensions.auth().is_empty() => {}
        None => {}
        Some(Authority::Unknown) => out.extend_from_slice(b" AUTH=<>"),
        Some(Authority::Mailbox(mailbox)) => {
            let _ = write!(out, " AUTH={}", xtext(mailbox.as_str().as_bytes()));
        }
    }
    push_others(out, &options.others, extensions);
}

fn push_others(out: &mut Vec<u8>, parameters: &[Parameter], extensions: &Extensions) {
    for parameter in parameters.iter().filter(|known| extensions.offers(known.extension())) {
        let _ = write!(out, " {parameter}");
    }
}

#[inline]
pub(crate) fn rcpt(
    out: &mut Vec<u8>,
    forward_path: &ForwardPath,
    options: Option<&RecipientOptions>,
    extensions: &Extensions,
) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(forward_path.as_bytes());
    out.push(b'>');
    if let Some(options) = options {
        if let (Some(notify), true) = (options.notify, extensions.dsn()) {
            let _ = write!(out, " NOTIFY={notify}");
        }
        if let (Some(original), true) = (&options.original, extensions.dsn()) {
            let _ = write!(out, " ORCPT={}", original.as_xtext());
        }
        push_others(out, &options.others, extensions);
    }
    out.extend_from_slice(b"\r\n");
}

/// `BDAT chunk-size [LAST]`, behind which so many octets, in decimal, follow at once (RFC 3030 section 2).
#[inline]
pub(crate) fn bdat(out: &mut Vec<u8>, octets: &str, is_last: bool) {
    out.extend_from_slice(b"BDAT ");
    out.extend_from_slice(octets.as_bytes());
    if is_last {
        out.extend_from_slice(b" LAST");
    }
    out.extend_from_slice(b"\r\n");
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
    use std::time::Duration;

    use posthaste_reply::Reply;

    use super::*;
    use crate::options::{
        DeliverBy, EnvelopeId, Hold, LateDelivery, Notify, OriginalRecipient, Priority,
        ReturnContent,
    };

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
        check(|out| lhlo(out, &"a.example".parse().unwrap()), "LHLO a.example\r\n"); // LMTP-01
        check(|out| bdat(out, "1000", false), "BDAT 1000\r\n"); // CHUNK-02
        check(|out| bdat(out, "0", true), "BDAT 0 LAST\r\n"); // CHUNK-04
        let none = Extensions::default();
        let plain = MailParameters::default();
        let null = ReversePath::Null;
        check(|out| mail(out, &null, plain, None, &none), "MAIL FROM:<>\r\n"); // CMD-04
        let all = MailParameters { size: Some("1024"), body: Body::EightBit, smtputf8: true };
        let from = "a@b".parse().unwrap();
        let line = "MAIL FROM:<a@b> SIZE=1024 BODY=8BITMIME SMTPUTF8\r\n";
        check(|out| mail(out, &from, all, None, &none), line);
        let to = |path: &ForwardPath| {
            let mut out = Vec::new();
            rcpt(&mut out, path, None, &none);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(to(&ForwardPath::Postmaster), "RCPT TO:<Postmaster>\r\n"); // CMD-13
        assert_eq!(to(&"\"a b\"@c".parse().unwrap()), "RCPT TO:<\"a b\"@c>\r\n"); // CMD-09
    }

    fn everything() -> (MailOptions, RecipientOptions) {
        let other = Parameter::new("X-A", "X-B", Some("c")).unwrap();
        let mail = MailOptions {
            return_content: Some(ReturnContent::Headers),
            envelope_id: Some(EnvelopeId::new("a b").unwrap()),
            deliver_by: Some(DeliverBy::new(60, LateDelivery::Notify).unwrap()),
            priority: Some(Priority::new(-3).unwrap()),
            hold: Some(Hold::for_time(Duration::from_secs(9)).unwrap()),
            require_tls: true,
            authority: Some(Authority::Mailbox("e+f@g".parse().unwrap())),
            others: vec![other.clone()],
        };
        let original = OriginalRecipient::new(&"h@i".parse().unwrap()).unwrap();
        let notify = Some(Notify::FAILURE | Notify::DELAY);
        (mail, RecipientOptions { notify, original: Some(original), others: vec![other] })
    }

    fn offered(keywords: &str) -> Extensions {
        let mut reply = String::from("250-mx\r\n");
        for keyword in keywords.split(',') {
            reply += &format!("250-{keyword}\r\n");
        }
        reply += "250 X\r\n";
        Extensions::parse(Reply::parse(reply.as_bytes()).unwrap())
    }

    /// EHLO-13, DSN-05: a parameter goes only to a server that offers its extension.
    #[test]
    fn parameters_are_those_that_are_offered() {
        let (options, recipient) = everything();
        let null = ReversePath::Null;
        let path = ForwardPath::Postmaster;
        let check = |keywords, mail_line: &str, rcpt_line: &str| {
            let offered = offered(keywords);
            let mut out = Vec::new();
            mail(&mut out, &null, MailParameters::default(), Some(&options), &offered);
            rcpt(&mut out, &path, Some(&recipient), &offered);
            let expected =
                format!("MAIL FROM:<>{mail_line}\r\nRCPT TO:<Postmaster>{rcpt_line}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check("HELP", "", "");
        check("dsn", " RET=HDRS ENVID=a+20b", " NOTIFY=FAILURE,DELAY ORCPT=rfc822;h@i");
        check("DELIVERBY", " BY=60;N", "");
        check("MT-PRIORITY", " MT-PRIORITY=-3", ""); // MTPRI-01
        check("FUTURERELEASE 60 2030-01-01T00:00:00Z", " HOLDFOR=9", "");
        check("REQUIRETLS", " REQUIRETLS", "");
        check("AUTH PLAIN", " AUTH=e+2Bf@g", ""); // AUTH-16
        check("x-a", " X-B=c", " X-B=c");
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
        let path = format!("{local}@{domain}").parse().unwrap();
        rcpt(&mut out, &path, None, &Extensions::default());
        assert!(out.len() <= 512);
    }
}
