//! What replies mean: the labelled corpus, and a table of facts from other sources.

use std::time::Duration;

use SaidTo::{Auth, Connecting, Content, Data, Hello, Mail, Quit, Rcpt, Reset, StartTls};
use Scope::{
    Account, Connection, Connections, Host, Recipient, Sender, Session, Source, Transaction,
};
use posthaste_reply::{Class, Classification, Reply, SaidTo, Scope, classify};
use serde_json::Value;

#[test]
fn corpus_is_classified_as_labelled() {
    let mut misses = Vec::new();
    let mut total = 0;
    for line in include_str!("data/replies.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| entry[name].as_str().unwrap();
        let (raw, label) = (text("raw"), text("class"));
        let found = match Reply::parse(raw.as_bytes()) {
            Ok(reply) => {
                assert_eq!(u64::from(reply.code().value()), entry["code"], "{raw}");
                classify(reply, SaidTo::Rcpt).class
            }
            Err(_) => Class::Malformed,
        };
        total += 1;
        if found.as_str() != label {
            misses.push(format!("{found} instead of {label}: {}", raw.escape_debug()));
        }
    }
    for miss in &misses {
        println!("{miss}");
    }
    let right = total - misses.len();
    assert!(right * 100 >= total * 95, "{right} of {total}");
    println!("{right} of {total}");
}

#[track_caller]
fn classified(said_to: SaidTo, lines: &str) -> Classification {
    let raw = format!("{lines}\r\n");
    classify(Reply::parse(raw.as_bytes()).unwrap(), said_to)
}

#[track_caller]
fn check(said_to: SaidTo, lines: &str, class: Class, scope: Scope) {
    let found = classified(said_to, lines);
    assert_eq!((found.class, found.scope), (class, scope), "{said_to:?} {lines}");
}

/// REP-07, REP-08: a code nobody knows is its first digit; a good text makes no good code of a
/// bad one, nor the reverse (Q36).
#[test]
fn the_first_digit_is_what_was_said() {
    check(Rcpt, "299 ok", Class::Ok, Recipient);
    check(Rcpt, "250 failed!", Class::Ok, Recipient);
    check(Content, "250 error: rejected as spam", Class::Ok, Scope::Mail);
    check(Auth, "235 auth failure", Class::AuthOk, Account);
    check(Rcpt, "550 OK", Class::NoSuchUser, Recipient);
    check(Rcpt, "251 User not local; will forward", Class::Ok, Recipient);
    check(Data, "399 go", Class::Continue, Scope::Mail);
    check(Content, "461 hm", Class::LocalError, Scope::Mail);
    // Q41: codes that no standard has.
    check(Content, "599 hm", Class::PolicyOther, Scope::Mail);
    check(Rcpt, "571 hm", Class::PolicyOther, Recipient);
    check(Rcpt, "522 hm", Class::MailboxFull, Recipient);
    check(Rcpt, "403 hm", Class::LocalError, Recipient);
}

/// REP-26: greeting, EHLO and 3yz have no enhanced status code.
#[test]
fn positive_replies_are_what_they_answer() {
    check(Connecting, "220 mx.example.org ESMTP", Class::Greeting, Source);
    check(Hello, "250 mx.example.org", Class::Ehlo, Source);
    check(Rcpt, "250-mx.example.org\r\n250 SIZE", Class::Ehlo, Recipient);
    check(StartTls, "220 2.0.0 go ahead", Class::Ok, Host);
    check(Auth, "334 ", Class::AuthChallenge, Account);
    check(Data, "354 go ahead", Class::Continue, Scope::Mail);
    check(Quit, "221 2.0.0 bye", Class::ClosingOk, Connection);
    check(Quit, "250 bye", Class::ClosingOk, Connection);
    check(Reset, "250 2.0.0 ok", Class::Ok, Connection);
}

/// REP-24, REP-25, REP-27, REP-28, Q42, Q43: which status code is looked at.
#[test]
fn status_codes_are_read_wherever_they_stand() {
    // One that contradicts says nothing, here and elsewhere in the text.
    check(Rcpt, "450 5.1.1 x", Class::Greylisted, Recipient);
    check(Content, "550 4.4.7 x", Class::PolicyOther, Scope::Mail);
    check(StartTls, "454 5.5.1 STARTTLS may not be repeated", Class::BadSequence, Connection);
    // The last line's.
    check(Rcpt, "550-5.1.1 x\r\n550 5.2.2 y", Class::MailboxFull, Recipient);
    check(Rcpt, "550-5.7.26 x\r\n550 y", Class::PolicyAuth, Sender);
    // Unknown ones mean no more than their subject.
    check(Rcpt, "550 5.7.99 x", Class::PolicyOther, Recipient);
    check(Content, "550 5.6.99 x", Class::ContentRejected, Scope::Mail);
    check(Content, "550 5.99.7 x", Class::PolicyOther, Scope::Mail);
    check(Rcpt, "451 4.3.99 x", Class::LocalError, Host);
    // In odd places.
    check(Content, "550 #5.2.2 x", Class::MailboxFull, Recipient);
    check(Content, "554 x (#5.3.4)", Class::TooLarge, Scope::Mail);
    check(Content, "550 [5.4.6] x", Class::Loop, Scope::Mail);
    check(Mail, "421 mx.example.org 4.7.0 x", Class::Throttled, Source);
}

/// NULLMX-01, RRVS-01.
#[test]
fn domains_without_mail_and_mailboxes_of_others() {
    check(Rcpt, "556 5.1.10 Recipient address has null MX", Class::BadDomain, Recipient);
    check(Rcpt, "556 5.1.10 x", Class::BadDomain, Recipient);
    check(Mail, "550 5.7.27 Sender address has null MX", Class::BadDomain, Sender);
    check(Mail, "550 5.7.27 x", Class::BadDomain, Sender);
    check(Connecting, "521 mx.example.org does not accept mail", Class::BadDomain, Source);
    check(Rcpt, "550 5.7.17 Mailbox owner has changed", Class::NoSuchUser, Recipient);
    check(Rcpt, "550 5.7.18 Domain owner has changed", Class::NoSuchUser, Recipient);
}

/// Q33: 552 at RCPT is about the transaction (RFC 5321, 4.5.3.1.10), or about the mailbox.
#[test]
fn too_many_recipients_or_a_full_mailbox() {
    check(Rcpt, "552 5.5.3 x", Class::TooManyRecipients, Transaction);
    check(Rcpt, "452 4.5.3 x", Class::TooManyRecipients, Transaction);
    check(Rcpt, "552 Too many recipients", Class::TooManyRecipients, Transaction);
    check(Rcpt, "451 Maximum number of recipients reached", Class::TooManyRecipients, Transaction);
    check(Rcpt, "552 5.2.2 x", Class::MailboxFull, Recipient);
    check(Rcpt, "552 Mailbox quota exceeded", Class::MailboxFull, Recipient);
    check(Rcpt, "552", Class::TooManyRecipients, Transaction);
    check(Rcpt, "452", Class::TooManyRecipients, Transaction);
    for lines in [
        "452 4.5.3 Your message has too many recipients. For more information regarding Google's\
         sending limits go to x",
        "450 4.5.3 Recipient limit of 100 per session reached",
        "452 4.5.3 Maximum number of recipients per session exceeded",
        "452 Maximum number of recipients per session exceeded",
    ] {
        check(Rcpt, lines, Class::TooManyRecipients, Transaction);
    }
    check(Mail, "452", Class::Storage, Host);
    check(Content, "552", Class::TooLarge, Scope::Mail);
    // Q34.
    let gmail =
        "451-4.3.0 Multiple destination domains per transaction is\r\n451 4.3.0 unsupported";
    check(Rcpt, gmail, Class::TooManyRecipients, Transaction);
}

/// Q38, Q39: said in words, or only by 450 and 451.
#[test]
fn greylisting_said_and_unsaid() {
    for words in [
        "450 4.2.0 <u@b.test>: Recipient address rejected: Greylisted for 300 seconds",
        "451 4.7.1 Graylisted, please retry",
        "451-GreyListing\r\n451 is at work",
    ] {
        check(Rcpt, words, Class::Greylisted, Recipient);
        assert!(classified(Rcpt, words).wait.is_some());
    }
    check(Content, "451 4.7.1 Greylisted", Class::Greylisted, Scope::Mail);
    for words in ["450 4.7.1 Try again later", "451 hm", "450", "450 4.2.0 please try again"] {
        check(Rcpt, words, Class::Greylisted, Recipient);
        assert_eq!(classified(Rcpt, words).wait, None);
    }
    check(Mail, "451 hm", Class::LocalError, Sender);
    // An address is not what the server says.
    check(Rcpt, "550 5.1.1 <greylist@spamhaus.test>: gone", Class::NoSuchUser, Recipient);
}

/// Q40: the digit is not the reason, and the reason is not the digit.
#[test]
fn throttles_are_told_by_their_words() {
    for (said_to, lines, scope) in [
        (Rcpt, "550 Domain frequency limited [x]", Source),
        (Mail, "550 Sender frequency limited", Sender),
        (Connecting, "550 Connection frequency limited", Source),
        (Connecting, "554 Service temporarily unavailable, please try again later", Host),
        (Connecting, "554 Server overloaded, try later", Host),
        (Connecting, "550 Access temporarily denied", Host),
        (Hello, "554 internal server error", Host),
        (
            Rcpt,
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
            Recipient,
        ),
        (Rcpt, "450 4.2.1 receiving mail at a rate that prevents additional messages", Recipient),
        (Rcpt, "450 4.2.1 x", Recipient),
        (Rcpt, "452 4.2.2 mailbox daily quota exceeded, limit reached", Recipient),
        (Rcpt, "452 4.2.2 Recipient has exceeded its daily receiving limit", Recipient),
        (Rcpt, "452 Recipient has exceeded its daily receiving limit", Recipient),
        (Mail, "450 4.7.1 More than 100 messages per hour", Account),
        (Rcpt, "550 5.4.5 Daily limit of recipients exceeded", Account),
        (Mail, "421 4.7.28 Our system has detected an unusual rate of mail from your IP", Source),
        (Mail, "421 4.7.28 x", Source),
        (Content, "421-4.7.28 an unusual rate of\r\n421 4.7.28 mail from your DKIM domain", Source),
        (Content, "421 4.7.32 Your mail has been rate limited: no DKIM", Source),
        (Mail, "421 4.4.5 Server busy", Host),
        (Content, "421 4.7.1 [CS01] Message deferred due to excessive volume", Source),
        (Content, "451 4.7.651 x", Connections),
        (Content, "451 4.7.500 Server busy. Please try again later", Host),
        (Content, "451 4.7.550 Access denied, please try again later", Source),
        (Connecting, "451 IP temporarily blacklisted", Source),
        (Connecting, "421 RP-001 (SNT004) Unfortunately, some messages weren't sent", Source),
        (Connecting, "421 Trop de connexions OFR005_104", Connections),
        (Connecting, "421 4.7.0 Too many concurrent SMTP connections; try later", Connections),
        (Rcpt, "452 Too many recipients received this hour", Source),
        (Mail, "452 4.3.2 Connection rate limit exceeded", Source),
        (Mail, "450 4.7.1 Error: too much mail from 192.0.2.7", Source),
        (Mail, "421 Too many messages from your address, closing connection", Source),
        (Rcpt, "451 4.5.3 Too many connections", Connections),
        (Rcpt, "452 4.5.3 Too many messages in this session", Session),
        (Rcpt, "450 4.7.1 Error: too many recipients from 192.0.2.7", Source),
        (Mail, "452 4.4.5 Messages per second limit", Account),
        (Content, "554 5.2.0 STOREDRV; RecipientRateLimit", Account),
        (Content, "550 5.4.5 Daily sending quota exceeded", Account),
        (Mail, "454 Throttling failure: Daily message quota exceeded", Account),
    ] {
        check(said_to, lines, Class::Throttled, scope);
    }
    check(Rcpt, "450 4.1.1 <u@b.test>: unverified address", Class::NoSuchUser, Recipient);
    check(Connecting, "421 4.7.0 [TSS04] Messages temporarily deferred", Class::Throttled, Source);
    let never = "553 5.7.2 [TSS11] All messages will be permanently deferred; do not retry";
    check(Connecting, never, Class::PolicySpam, Source);
}

/// Too much of something is no reason to open fewer connections.
#[test]
fn closing_the_connection_is_not_the_reason() {
    for (said_to, lines, class, scope) in [
        (
            Content,
            "550 5.7.1 Too many spam reports about this sender, closing connection",
            Class::PolicySpam,
            Scope::Mail,
        ),
        (Content, "554 too many Received headers; connection closed", Class::Loop, Scope::Mail),
        (Content, "550 too many URLs; session logged", Class::PolicyOther, Scope::Mail),
        (
            Mail,
            "552 5.3.4 Message size exceeds limit; maximum number of 10 MB per session",
            Class::TooLarge,
            Scope::Mail,
        ),
        (
            Rcpt,
            "450 4.1.1 undeliverable address: host x said: 421 Too many connections",
            Class::NoSuchUser,
            Recipient,
        ),
        (
            Rcpt,
            "450 undeliverable address: host x said: 421 Too many connections",
            Class::NoSuchUser,
            Recipient,
        ),
    ] {
        check(said_to, lines, class, scope);
    }
}

/// Q36, Q40: for good by the digit, for now by the words.
#[test]
fn for_now_may_be_said_for_good() {
    for (said_to, lines, class, scope) in [
        (
            Mail,
            "550 5.7.1 Your host has been temporarily blocked, try again in 30 minutes",
            Class::Throttled,
            Source,
        ),
        (
            Content,
            "554 5.7.1 Message temporarily rejected, try again later",
            Class::LocalError,
            Scope::Mail,
        ),
        (Rcpt, "550 Mailbox temporarily unavailable, try later", Class::LocalError, Recipient),
        (Rcpt, "550 5.2.1 Mailbox temporarily disabled", Class::LocalError, Recipient),
        (Mail, "554 5.3.2 shutting down", Class::ShuttingDown, Host),
        (Mail, "550 5.7.1 Service refused, please try later. OFR_999", Class::LocalError, Sender),
        (Rcpt, "554 5.2.122 x", Class::Throttled, Recipient),
        (Rcpt, "550 5.2.121 x", Class::Throttled, Recipient),
        (
            Rcpt,
            "550 Domain x.test has exceeded the max emails per hour (9/9) allowed. Message discarded",
            Class::Throttled,
            Sender,
        ),
        (
            Rcpt,
            "550 Mail quota exceeded for this domain: too many messages per hour",
            Class::Throttled,
            Sender,
        ),
        // What has a reason of its own does not pass.
        (Rcpt, "550 5.1.1 User unknown, do not try again later", Class::NoSuchUser, Recipient),
        (Rcpt, "552 Mailbox full, try again later", Class::MailboxFull, Recipient),
        (Content, "554 5.7.1 Looks like spam, try again later", Class::PolicySpam, Scope::Mail),
    ] {
        check(said_to, lines, class, scope);
    }
}

/// Whom a text is about besides the server that says it.
#[test]
fn others_trouble_is_not_the_servers() {
    let lines = "450 4.3.2 Recipient's mail server temporarily unavailable";
    check(Rcpt, lines, Class::LocalError, Recipient);
    check(Content, "451 timeout exceeded while scanning", Class::LocalError, Scope::Mail);
    check(Content, "550 5.7.708 Access denied, traffic not accepted", Class::PolicySpam, Source);
    check(Rcpt, "550 5.7.124 Sender not in allowed-senders list", Class::SenderRejected, Sender);
}

/// Q65: the next connection may go on.
#[test]
fn connections_have_their_share_of_mails() {
    for lines in [
        "421 too many messages in this connection",
        "421 Max message per connection reached, closing transmission channel",
        "452 4.5.0 exceeded maximum number of messages per connection",
        "451 4.7.0 Too many messages in this session",
    ] {
        check(Mail, lines, Class::Throttled, Session);
    }
    check(Mail, "421 4.7.0 mx.example.org Error: too many errors", Class::Throttled, Connection);
}

/// Q64.
#[test]
fn timeouts_are_about_the_connection() {
    for lines in [
        "421 4.4.2 mx.example.org Error: timeout exceeded",
        "451 4.4.2 Timeout - closing connection",
        "421 4.7.0 Connection expired, try reconnecting",
        "421 SMTP command timeout - closing connection",
    ] {
        check(Mail, lines, Class::Timeout, Connection);
    }
    // Another server's silence.
    check(Rcpt, "451 4.1.8 Domain lookup timed out", Class::BadDomain, Sender);
    let postfix = "450 4.1.8 <a@b.test>: Sender address rejected: Domain not found";
    check(Rcpt, postfix, Class::BadDomain, Sender);
}

/// AUTH-09, AUTH-10, Q60, Q61, Q62, Q63.
#[test]
fn authentication_fails_for_many_reasons() {
    for (lines, class) in [
        ("535 5.7.8 x", Class::AuthFailed),
        ("535 login frequency limited", Class::AuthFailed),
        ("534 5.7.9 x", Class::AuthFailed),
        ("504 5.5.4 x", Class::AuthFailed),
        ("500 5.5.6 x", Class::AuthFailed),
        ("501 5.5.2 x", Class::AuthFailed),
        ("432 4.7.12 A password transition is needed", Class::AuthFailed),
        ("454 4.7.0 Temporary authentication failure", Class::AuthTemp),
        ("454", Class::AuthTemp),
        ("454 4.7.0 Too many login attempts, please try again later", Class::Throttled),
        ("454 4.7.8 Error: authentication failed: temporary backend failure", Class::AuthTemp),
        ("454 4.7.8 x", Class::AuthTemp),
        ("550 5.7.1 Too many failed login attempts, try again in 10 minutes", Class::Throttled),
        ("535 5.7.8 too many failed login attempts, try again later", Class::Throttled),
        ("535 5.7.0 (#AUTH005) Too many bad auth attempts.", Class::Throttled),
        ("535 5.7.8 Connection lost to authentication server", Class::AuthTemp),
        ("535 5.7.8 The authentication server knows no such user", Class::AuthFailed),
        ("550 internal error", Class::AuthTemp),
        ("554 internal server error", Class::AuthTemp),
        ("535 5.7.8 Error: authentication failed, please try again", Class::AuthFailed),
        ("432 4.3.2 x", Class::Throttled),
    ] {
        check(Auth, lines, class, Account);
    }
    check(Auth, "538 5.7.11 x", Class::TlsRequired, Connection);
    check(Auth, "503 5.5.1 already authenticated", Class::BadSequence, Connection);
    check(Auth, "432 4.3.2 Concurrent connections limit exceeded", Class::Throttled, Connections);
    check(Mail, "432 4.3.2 x", Class::Throttled, Account);
    check(Mail, "530 5.7.0 Authentication required", Class::AuthRequired, Account);
    check(Mail, "530 5.7.0 Must issue a STARTTLS command first", Class::TlsRequired, Connection);
    check(Mail, "503 Error: need EHLO and AUTH first !", Class::AuthRequired, Account);
    check(Mail, "553 Mail from must equal authorized user", Class::SenderRejected, Sender);
}

/// Q28, Q44, Q45, Q46: many lines, other languages, no words at all.
#[test]
fn replies_in_any_language_and_shape() {
    let gmail = "550-5.1.1 The email account that you tried to reach does not exist.\r\n\
                 550 5.1.1  https://support.example/mail/?p=NoSuchUser x.1 - gsmtp";
    check(Rcpt, gmail, Class::NoSuchUser, Recipient);
    check(Content, "550 <u@b.test>: User unknown", Class::NoSuchUser, Recipient);
    check(Rcpt, "552 5.1.1 Boite du destinataire pleine OFR_417", Class::MailboxFull, Recipient);
    check(Rcpt, "421 Service refuse. Veuillez essayer plus tard. LPN105_4", Class::Throttled, Host);
    check(Rcpt, "550 \u{90ae}\u{7bb1}\u{5df2}\u{6ee1}", Class::MailboxFull, Recipient);
    check(
        Content,
        "451 See http://pobox.com/~djb/docs/smtplf.html.",
        Class::ContentRejected,
        Scope::Mail,
    );
    check(
        Content,
        "550 5.6.9 improper use of 8-bit data in message header",
        Class::ContentRejected,
        Scope::Mail,
    );
    // Q21.
    let exim = "503-All RCPT commands were rejected with this error:\r\n\
                503 Valid RCPT command must precede DATA";
    check(Data, exim, Class::BadSequence, Transaction);
}

/// RX-07: who writes the mail chooses the addresses in it, and with them no word of the server's.
#[test]
fn addresses_are_not_the_servers_words() {
    for lines in [
        "550 5.1.1 <\"daily limit exceeded\"@x>: User unknown",
        "550 5.1.1 <\"too many connections\"@x>: User unknown",
        "550 <\"too many connections\"@x>: User unknown",
        "550 \"too many connections\"@x: User unknown",
        "550 5.1.1 <greylist> is not here",
        "550 5.1.1 greylist is not here",
        "550 <5.4.5@x>: rejected",
    ] {
        check(Rcpt, lines, Class::NoSuchUser, Recipient);
    }
    check(Rcpt, "550 5.1.2 greylist.example.org: host unknown", Class::BadDomain, Recipient);
    check(Rcpt, "450 <4.4.5@x>: rejected", Class::Greylisted, Recipient);
    check(Rcpt, "450 <4.3.2@x>: rejected", Class::Greylisted, Recipient);
    check(Rcpt, "550 5.1.1 <u@b.test>: inactive", Class::MailboxDisabled, Recipient);
    check(Rcpt, "550 5.1.1 mailbox full", Class::MailboxFull, Recipient);
}

/// Row 17: a wait that is said wins over the one that such servers are known to want, wherever there
/// is something to wait for.
#[test]
fn waits_said_in_words() {
    for (said_to, lines, class, seconds) in [
        (Rcpt, "450 4.2.0 <u@b.test>: Greylisted for 90 seconds", Class::Greylisted, Some(90)),
        (Rcpt, "450 4.2.0 <u@b.test>: Greylisted", Class::Greylisted, Some(300)),
        (Rcpt, "451 4.7.1 please come back in 00:04:59", Class::Greylisted, Some(299)),
        (Rcpt, "450 4.7.1 Try again in 9 hours", Class::Greylisted, None),
        (Rcpt, "450 4.2.0 Greylisted, try again in 9 hours", Class::Greylisted, Some(300)),
        (Mail, "450 4.7.1 Rate limit exceeded, retry in 2 seconds", Class::Throttled, Some(2)),
        (
            Mail,
            "421-4.7.28 unusual rate of\r\n421 4.7.28 mail, retry in 5 m",
            Class::Throttled,
            Some(300),
        ),
        (Connecting, "421 Too many connections, please wait 30s", Class::Throttled, Some(30)),
        (Mail, "451 4.3.0 Local error, try again after 1 hour", Class::LocalError, Some(3600)),
        // For good by the digit, for now by the words.
        (Mail, "550 temporarily blocked, try again in 45 minutes", Class::Throttled, Some(2700)),
        (Auth, "535 5.7.8 internal error, try again in 2 minutes", Class::AuthTemp, Some(120)),
        (Content, "554 Temporary failure, try again in 2 minutes", Class::LocalError, Some(120)),
        // There is nothing to wait for.
        (Rcpt, "550 5.1.1 User unknown, try again in 5 minutes", Class::NoSuchUser, None),
        // RX-07: nor is there in an address, or in another server's words.
        (Rcpt, "450 <\"try again in 5 minutes\"@b.test>: no", Class::Greylisted, None),
        (Rcpt, "450 4.3.0 mx said: try again in 5 minutes", Class::LocalError, None),
        (Rcpt, "250 try again in 5 minutes", Class::Ok, None),
    ] {
        let found = classified(said_to, lines);
        let expected = (class, seconds.map(Duration::from_secs));
        assert_eq!((found.class, found.wait), expected, "{lines}");
    }
}

/// Servers write as they like.
#[test]
fn case_makes_no_difference() {
    for line in include_str!("data/replies.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let raw = entry["raw"].as_str().unwrap();
        let Ok(reply) = Reply::parse(raw.as_bytes()) else { continue };
        for raw in [raw.to_ascii_uppercase(), raw.to_ascii_lowercase()] {
            let other = Reply::parse(raw.as_bytes()).unwrap();
            assert_eq!(classify(other, Rcpt), classify(reply, Rcpt), "{raw}");
        }
    }
}

/// RX-07, RX-09: what a hostile server says takes no long time and breaks nothing.
#[test]
fn any_octets_have_a_class() {
    let stages = [Connecting, Hello, StartTls, Auth, Mail, Rcpt, Data, Content, Reset, Quit];
    let hostile = [
        b"too many ".repeat(7000),
        vec![b'@'; 60_000],
        (0..=u8::MAX).filter(|octet| *octet != b'\n').cycle().take(5000).collect(),
        Vec::new(),
    ];
    for text in hostile {
        for code in ["250", "354", "421", "450", "550", "599"] {
            let raw = [code.as_bytes(), b" ", &text, b"\r\n"].concat();
            let reply = Reply::parse(&raw).unwrap();
            for said_to in stages {
                assert_ne!(classify(reply, said_to).class, Class::Malformed);
            }
        }
    }
}
