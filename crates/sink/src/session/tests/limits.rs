//! What is refused as too much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_reply::{Class, Reply, SaidTo, Scope, classify};

use super::{Scene, check, codes, plain};
use crate::config::{Config, Limits};

#[test]
fn limits_refuse_as_servers_do() {
    let limits = Limits {
        max_per_conn: Some(2),
        max_rcpts: Some(1),
        max_size: 10,
        greylist: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    let offer = "-8BITMIME,-SMTPUTF8,-BINARYMIME,-DSN".parse().unwrap();
    let stats = check(
        &Config { limits, offer, ..plain() },
        "
        S: 220 sink ESMTP posthaste sink
        C: EHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250-SIZE 10
        S: 250-ENHANCEDSTATUSCODES
        S: 250 CHUNKING
        C: MAIL FROM:<a@x> SIZE=11
        S: 552 5.3.4 Message size exceeds fixed maximum message size
        C: MAIL FROM:<a@x> SIZE=10
        S: 250 2.1.0 Ok
        C: RCPT TO:<b@y>
        S: 450 4.7.1 Recipient address rejected: Greylisted, please try again in 60 seconds
        * wait 60s
        C: RCPT TO:<b@y>
        S: 250 2.1.5 Ok
        C: RCPT TO:<c@y>
        S: 452 4.5.3 Error: too many recipients
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: 123456789
        C: .
        S: 552 5.3.4 Message size exceeds fixed maximum message size
        C: MAIL FROM:<a@x>
        S: 421 4.7.0 Too many messages in this connection
        * close fin",
    );
    let refusals: Vec<_> = stats.refusals.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let expected = [("greylist", 1), ("max-per-conn", 1), ("max-rcpts", 1), ("max-size", 2)];
    assert_eq!(refusals, expected);
    assert_eq!((stats.mails, stats.violations["size_exceeded"]), (0, 1));
}

#[test]
fn one_connection_too_many_is_turned_away() {
    let limits = Limits { max_conns: Some(1), ..Limits::default() };
    let first = Scene::new(&Config { limits, ..plain() });
    let second = Scene::of(Arc::clone(&first.server), first.now);
    assert_eq!(
        second.seen,
        "S: 421 4.7.0 Error: too many connections\n* close fin\n".replace("4.7.0 ", "")
    );
    drop(second);
    let connections = first.server.stats().connections;
    assert_eq!((connections.opened, connections.refused, connections.open_max), (1, 1, 1));
    let server = Arc::clone(&first.server);
    drop(first);
    assert!(Scene::of(server, Instant::now()).seen.starts_with("S: 220"));
}

/// What a client makes of each limit is what it is.
#[test]
fn limits_are_understood() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let none = Limits::default();
    let greylist = Limits { greylist: Some(Duration::from_millis(4500)), ..none };
    let capacity = Limits { capacity: "1/s".parse().ok(), ..none };
    let two_mails = &["MAIL FROM:<a@x>", "RSET", "MAIL FROM:<a@x>"][..];
    let recipient = &["MAIL FROM:<a@x>", "RCPT TO:<b@y>"][..];
    for (limits, commands, said_to, class, scope, wait) in [
        (
            Limits { max_conns: Some(0), ..none },
            &[][..],
            SaidTo::Connecting,
            Class::Throttled,
            Scope::Connections,
            None,
        ),
        (
            Limits { max_per_conn: Some(1), ..none },
            two_mails,
            SaidTo::Mail,
            Class::Throttled,
            Scope::Session,
            None,
        ),
        (
            Limits { max_rcpts: Some(0), ..none },
            recipient,
            SaidTo::Rcpt,
            Class::TooManyRecipients,
            Scope::Transaction,
            None,
        ),
        (greylist, recipient, SaidTo::Rcpt, Class::Greylisted, Scope::Recipient, seconds(5)),
        (capacity, two_mails, SaidTo::Mail, Class::Throttled, Scope::Source, None),
    ] {
        // With enhanced status codes, and without.
        for config in [Config::default(), plain()] {
            let mut scene = Scene::new(&Config { limits, ..config });
            if !commands.is_empty() {
                codes(&mut scene, commands);
            }
            let reply = scene.seen.lines().rfind(|line| line.starts_with("S: ")).unwrap();
            let reply = format!("{}\r\n", reply.trim_start_matches("S: "));
            let found = classify(Reply::parse(reply.as_bytes()).unwrap(), said_to);
            assert_eq!((found.class, found.scope, found.wait), (class, scope, wait), "{reply}");
        }
    }
}
