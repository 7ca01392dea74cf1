//! What a client says.

use posthaste_session::{Pipelining, TlsPolicy};

use super::{Rules, check_objection, play, rules, speak};

#[track_caller]
fn check(keywords: &str, lines: &[&str], expected: Option<&str>) {
    check_with(&rules(), keywords, lines, expected);
}

#[track_caller]
fn check_with(rules: &Rules, keywords: &str, lines: &[&str], expected: Option<&str>) {
    check_objection(&lines, expected, || drop(play(rules, keywords, lines)));
}

/// SIZE-01, SIZE-02, SIZE-03
#[test]
fn size_is_said_and_within_the_limit() {
    check("SIZE 10", &["MAIL FROM:<a@x> SIZE=10"], None);
    check("SIZE 10", &["MAIL FROM:<a@x> SIZE=11"], Some("SIZE-02"));
    check("SIZE 10", &["MAIL FROM:<a@x>"], Some("SIZE-01"));
    for none in ["SIZE", "SIZE 0", "SIZE +5", "SIZE abc", "SIZE 99999999999999999999"] {
        check(none, &["MAIL FROM:<a@x> SIZE=1000"], None);
    }
    let until_data = ["MAIL FROM:<a@x> SIZE=4", "250", "RCPT TO:<b@y>", "250", "DATA", "354"];
    check("SIZE 10", &[&until_data[..], &["ab", "."]].concat(), None);
    check("SIZE 10", &[&until_data[..], &["abc", "."]].concat(), Some("SIZE is not"));
}

/// TX-13, 8BIT-02: also where 8BITMIME is not to be had.
#[test]
fn eight_bit_content_is_declared() {
    let content = ["RCPT TO:<b@y>", "250", "DATA", "354", "\u{fc}", "."];
    let check = |keywords, mail, expected| {
        check(keywords, &[&[mail, "250"], &content[..]].concat(), expected);
    };
    check("8BITMIME", "MAIL FROM:<a@x> BODY=8BITMIME", None);
    check("SMTPUTF8", "MAIL FROM:<a@x> BODY=8BITMIME", None);
    check("8BITMIME", "MAIL FROM:<a@x>", Some("TX-13"));
    check("HELP", "MAIL FROM:<a@x>", Some("TX-13"));
    check("SMTPUTF8", "MAIL FROM:<a@x> SMTPUTF8", Some("TX-13"));
    check("HELP", "MAIL FROM:<a@x> BODY=8BITMIME", Some("not offered"));
}

/// UTF8-01
#[test]
fn a_path_beyond_ascii_needs_smtputf8() {
    let mails = ["MAIL FROM:<\u{fc}@x>", "MAIL FROM:<\u{fc}@x> SMTPUTF8"];
    check("SMTPUTF8", &mails[..1], Some("UTF8-01"));
    check("HELP", &mails[..1], Some("UTF8-01"));
    check("SMTPUTF8", &mails[1..], None);
    let rcpt = |mail| [mail, "250", "RCPT TO:<\u{fc}@y>"];
    check("SMTPUTF8", &rcpt("MAIL FROM:<a@x>"), Some("UTF8-01"));
    check("SMTPUTF8", &rcpt("MAIL FROM:<a@x> SMTPUTF8"), None);
}

/// TX-24
#[test]
fn rset_is_said_once_and_where_it_is_needed() {
    let refused = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "550", "RSET", "250"];
    check("HELP", &refused, None);
    check("HELP", &[&refused[..], &["RSET"]].concat(), Some("RSET again"));
    check("HELP", &["MAIL FROM:<a@x>", "550", "RSET"], Some("although MAIL was refused"));
    check("HELP", &["RSET"], Some("before any transaction"));
    // The recipient is in somebody's transaction.
    let stray = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "550", "250", "RSET"];
    check("PIPELINING", &stray, None);
}

/// ST-01
#[test]
fn tls_is_tried_where_it_is_offered() {
    let mail = "MAIL FROM:<a@x>";
    check("STARTTLS", &[mail], Some("not tried"));
    check("STARTTLS,AUTH PLAIN", &["AUTH PLAIN AA=="], Some("not tried"));
    check("STARTTLS,XCLIENT NAME", &["XCLIENT NAME=a"], Some("not tried"));
    check("STARTTLS", &["STARTTLS", "454", mail], None);
    // What comes behind XCLIENT is the same connection.
    let again = ["XCLIENT NAME=a", "220", "EHLO c", "250-mx\r\n250 STARTTLS", mail];
    check("XCLIENT NAME", &again, None);
    check_with(&Rules { tls: TlsPolicy::Off, ..rules() }, "STARTTLS", &[mail], None);
}

/// A session that is told to use a lower mode may say what it has queued by then, and no more.
#[test]
fn a_lower_mode_is_kept_to() {
    let content = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "250", "DATA", "354", "."];
    let next = ["MAIL FROM:<c@x>", "RCPT TO:<b@y>"];
    let check = |told: &[(Pipelining, usize)], replies: &[&str], expected| {
        check_objection(&told, expected, || {
            let mut checker = play(&rules(), "PIPELINING", &content);
            told.iter().for_each(|&(mode, queued)| checker.allow(mode, queued));
            replies.iter().for_each(|reply| speak(&mut checker, reply));
            next.iter().for_each(|command| speak(&mut checker, command));
        });
    };
    let (mail, both) = (next[0].len() + 2, next[0].len() + next[1].len() + 4);
    check(&[], &[], None);
    check(&[(Pipelining::Envelope, 0)], &[], Some("a group of cross"));
    check(&[(Pipelining::Envelope, both)], &[], None);
    check(&[(Pipelining::Envelope, mail)], &[], Some("a group of cross"));
    check(&[(Pipelining::Envelope, 0)], &["250"], None);
    check(&[(Pipelining::Off, 0)], &["250"], Some("a group of envelope"));
    check(&[(Pipelining::Off, 0), (Pipelining::Cross, 0)], &[], None);
}
