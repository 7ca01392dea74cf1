//! Mechanisms beyond PLAIN and LOGIN. That they take who is right is shown with the client's side of
//! them; here is what they do not take.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Scene, codes, plain};
use crate::config::{Config, User};

/// Codes for lines in which `<TEXT>` stands for the base64 of a text, from a server that offers
/// these mechanisms and knows one user.
#[track_caller]
fn check(offer: &str, lines: &[&str], expected: &str) {
    let user = User { name: "news".to_owned(), password: "secret".to_owned() };
    let offer = format!("AUTH={offer}").parse().unwrap();
    let config = Config { users: vec![user], offer, ..plain() };
    let encoded = |line: &&str| match line.split_once('<') {
        Some((before, text)) => before.to_owned() + &STANDARD.encode(text.trim_end_matches('>')),
        None => (*line).to_owned(),
    };
    let lines: Vec<String> = lines.iter().map(encoded).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(codes(&mut Scene::new(&config), &lines), expected, "{lines:?}");
}

#[test]
fn cram_md5_is_a_digest_of_the_challenge() {
    check("CRAM-MD5", &["AUTH CRAM-MD5", "<news 00112233>"], "334 535");
    check("CRAM-MD5", &["AUTH CRAM-MD5", "<news>"], "334 501");
    // The server speaks first.
    check("CRAM-MD5", &["AUTH CRAM-MD5 <news 00112233>"], "501");
}

#[test]
fn tokens_are_refused_in_two_steps() {
    let right = "AUTH XOAUTH2 <user=news\u{1}auth=Bearer secret\u{1}\u{1}>";
    let wrong = "AUTH XOAUTH2 <user=news\u{1}auth=Bearer guess\u{1}\u{1}>";
    check("XOAUTH2", &[right], "235");
    check("XOAUTH2", &[wrong, "", right], "334 535 235");
    check("XOAUTH2", &[wrong, "<\u{1}>"], "334 501");
    check("XOAUTH2", &["AUTH XOAUTH2 <user=news>"], "501");
    let right = "AUTH OAUTHBEARER <n,a=news,\u{1}host=h\u{1}auth=Bearer secret\u{1}\u{1}>";
    let wrong = right.replace("secret", "guess");
    check("OAUTHBEARER", &[right], "235");
    check("OAUTHBEARER", &[&wrong, "<\u{1}>"], "334 535");
    check("OAUTHBEARER", &[&wrong, ""], "334 501");
    check("OAUTHBEARER", &[&right.replace("news", "ne=77s")], "501");
}

#[test]
fn scram_looks_at_the_binding_and_the_proof() {
    let first = |flag: &str| format!("<{flag},,n=news,r=nonce>");
    let auth = |mechanism: &str, flag: &str| format!("AUTH {mechanism} {}", first(flag));
    check("SCRAM-SHA-1", &[&auth("SCRAM-SHA-1", "n"), "<c=biws,r=nonce,p=AAAA>"], "334 535");
    check("SCRAM-SHA-1", &[&auth("SCRAM-SHA-1", "n"), "<c=biws,r=nonce>"], "334 501");
    check("SCRAM-SHA-256", &["AUTH SCRAM-SHA-256", &first("y")], "334 334");
    // AU-12: the client was not told of -PLUS.
    let both = "SCRAM-SHA-256 SCRAM-SHA-1-PLUS";
    check(both, &[&auth("SCRAM-SHA-256", "y")], "535");
    check(both, &[&auth("SCRAM-SHA-256", "n")], "334");
    // There is no TLS here to be bound to.
    check(both, &[&auth("SCRAM-SHA-1-PLUS", "p=tls-exporter")], "535");
    check(both, &[&auth("SCRAM-SHA-256", "p=tls-exporter")], "535");
    check(both, &[&auth("SCRAM-SHA-256", "p=tls-unique")], "535");
    for garbled in ["AUTH SCRAM-SHA-1 <n,,n=news>", "AUTH SCRAM-SHA-1 <n,,n=ne=77s,r=a>"] {
        check("SCRAM-SHA-1", &[garbled], "501");
    }
}

#[test]
fn external_needs_tls() {
    check("EXTERNAL", &["AUTH EXTERNAL =", "AUTH EXTERNAL <news>"], "535 535");
}
