//! Clients that say what they should not, and sessions that report what did not happen: each is
//! caught, and its neighbour that does right is not.

mod outcomes;
mod speech;

use std::panic::{AssertUnwindSafe, catch_unwind};

use posthaste_session::{Chunking, Pipelining, Protocol, TlsPolicy};

use super::{Checker, Rules};

/// A client that may do everything, without TLS.
fn rules() -> Rules {
    Rules {
        protocol: Protocol::Smtp,
        chunking: Chunking::Always,
        pipelining: Pipelining::Cross,
        tls: TlsPolicy::May,
        authenticates: false,
        allows_plaintext: true,
        ignored_keywords: Vec::new(),
    }
}

/// A session that was offered these keywords, in which then these lines were said: those of the
/// server begin with a digit.
fn play(rules: &Rules, keywords: &str, lines: &[&str]) -> Checker {
    let mut checker = Checker::new(rules.clone());
    checker.heard(b"220 mx\r\n", 0);
    checker.said(if rules.protocol == Protocol::Lmtp { b"LHLO c\r\n" } else { b"EHLO c\r\n" });
    let mut offer = String::from("250-mx\r\n");
    for keyword in keywords.split(',') {
        offer += &format!("250-{keyword}\r\n");
    }
    checker.heard((offer + "250 X\r\n").as_bytes(), 0);
    lines.iter().for_each(|line| speak(&mut checker, line));
    checker
}

fn speak(checker: &mut Checker, line: &str) {
    let octets = format!("{line}\r\n");
    match line.starts_with(|c: char| c.is_ascii_digit()) {
        true => checker.heard(octets.as_bytes(), 0),
        false => checker.said(octets.as_bytes()),
    }
}

/// Compares what was objected to with the text that it should hold, or with no objection at all.
#[track_caller]
fn check_objection(context: &dyn std::fmt::Debug, expected: Option<&str>, run: impl FnOnce()) {
    let objection = catch_unwind(AssertUnwindSafe(run)).err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_default()
    });
    match (&objection, expected) {
        (None, None) => {}
        (Some(text), Some(expected)) if text.contains(expected) => {}
        _ => panic!("{context:?}: expected {expected:?}, got {objection:?}"),
    }
}
