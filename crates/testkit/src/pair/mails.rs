//! Mails of every kind.

use std::collections::VecDeque;

use posthaste_session::{Content, Envelope, ForwardPath, Mail, PartialRefusal, ReversePath};

use crate::dice::Dice;

/// A few mails, each with a reverse-path of its own.
pub(super) fn random(dice: &mut Dice) -> VecDeque<Mail> {
    let count = dice.pick(&[0, 1, 1, 2, 3, 4, 8]);
    (0..count).map(|number| mail(dice, number)).collect()
}

fn mail(dice: &mut Dice, number: usize) -> Mail {
    let reverse_path: ReversePath = match (number, dice.below(20)) {
        // There can be only one.
        (0, 1) => ReversePath::Null,
        (_, 2) => parse_reverse(&format!("\"m > {number}\"@client.example")),
        (_, 3) => parse_reverse(&format!("refused{number}@client.example")),
        _ => parse_reverse(&format!("m{number}@client.example")),
    };
    let recipients = match dice.below(100) {
        // More than a group holds (PIPE-15).
        0 => dice.within(500..=800),
        1..20 => dice.within(4..=12),
        20..60 => dice.within(2..=3),
        _ => 1,
    };
    let forward_paths = (0..recipients).map(|index| forward_path(dice, index));
    let envelope = Envelope::new(reverse_path, forward_paths).expect("a few recipients");
    let mut mail = Mail::new(envelope, content(dice, number));
    if dice.percent(15) {
        mail.partial_refusal = PartialRefusal::AllOrNothing;
    }
    mail
}

/// Names that fault rules know, and others; no two of a mail are the same.
fn forward_path(dice: &mut Dice, index: usize) -> ForwardPath {
    let address = match dice.below(24) {
        0 if index == 0 => return ForwardPath::Postmaster,
        1 => format!("\"a b>{index}\"@sink.example"),
        2 => format!("\u{fc}{index}@sink.example"),
        3 | 4 => format!("refused{index}@sink.example"),
        5 | 6 => format!("later{index}@sink.example"),
        7 => format!("slow{index}@sink.example"),
        _ => format!("r{index}@sink.example"),
    };
    address.parse().expect("an address")
}

fn content(dice: &mut Dice, number: usize) -> Content {
    let mut octets = format!("Subject: {number}\r\n\r\n").into_bytes();
    let pieces: &[&[u8]] = &[
        b".",
        b"..",
        b"\r\n",
        b"\r\n",
        b"\r\n.\r\n",
        b"\r\n\r\n",
        b". ",
        b"a",
        b"some text",
        b"QUIT\r\n",
        b"RCPT TO:<evil@sink.example>\r\n",
        b"\r\nMAIL FROM:<evil@sink.example>\r\n",
    ];
    let lines = match dice.below(40) {
        // Nothing at all is content, too.
        0 => return Content::new("").expect("nothing is wrong with it"),
        1 => 500,
        2..6 => 50,
        _ => dice.within(0..=12),
    };
    for _ in 0..lines {
        octets.extend(dice.pick(pieces));
        if lines >= 50 {
            octets.extend(b"text of a longer mail, line after line\r\n");
        }
    }
    if dice.percent(10) {
        octets.extend_from_slice("\u{fc}\r\n\u{fc}".as_bytes());
    }
    Content::new(octets).expect("lines that end in CRLF")
}

fn parse_reverse(address: &str) -> ReversePath {
    address.parse().expect("an address")
}
