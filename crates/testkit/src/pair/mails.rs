//! Mails of every kind.

use std::collections::VecDeque;

use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{
    Authority, Content, DeliverBy, Envelope, EnvelopeId, ForwardPath, Hold, LateDelivery, Mail,
    MailOptions, Notify, OriginalRecipient, Parameter, PartialRefusal, Priority, Recipient,
    RecipientOptions, ReturnContent, ReversePath,
};

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
    let asks = dice.percent(30);
    let recipients = (0..recipients).map(|index| {
        let path = forward_path(dice, index);
        let options = recipient_options(dice, &path);
        let recipient = Recipient::new(path);
        if asks { recipient.with_options(options) } else { recipient }
    });
    let recipients: Vec<_> = recipients.collect();
    let mut envelope = Envelope::new(reverse_path, recipients).expect("a few recipients");
    if asks {
        envelope = envelope.with_options(options(dice));
    }
    let mut mail = Mail::new(envelope, content(dice, number));
    if dice.percent(15) {
        mail.partial_refusal = PartialRefusal::AllOrNothing;
    }
    mail
}

/// What a mail asks for: often something that the server does not offer.
fn options(dice: &mut Dice) -> MailOptions {
    let parameter = Parameter::new("X-OWN", "X-OWN", Some("1")).expect("a parameter");
    let late = dice.pick(&[LateDelivery::Notify, LateDelivery::Notify, LateDelivery::Return]);
    let by = DeliverBy::new(dice.within(1..=1000) as i64, late).expect("a time");
    let hold = Hold::for_time(Duration::from_secs(dice.within(1..=1000) as u64)).expect("a time");
    let id = "+=~ ".repeat(dice.within(1..=10));
    let authority: ReversePath = dice.pick(&["", "a+b@client.example"]).parse().expect("a path");
    MailOptions {
        return_content: dice.percent(50).then_some(ReturnContent::Headers),
        envelope_id: dice.percent(50).then(|| EnvelopeId::new(&id).expect("short enough")),
        deliver_by: dice.percent(20).then_some(by),
        priority: dice.percent(20).then(|| Priority::new(-3).expect("in range")),
        hold: dice.percent(5).then_some(hold),
        require_tls: dice.percent(3),
        authority: dice.percent(20).then(|| Authority::from(authority)),
        others: dice.percent(20).then_some(parameter).into_iter().collect(),
    }
}

fn recipient_options(dice: &mut Dice, path: &ForwardPath) -> Arc<RecipientOptions> {
    let notify = [Notify::NEVER, Notify::SUCCESS | Notify::DELAY, Notify::FAILURE];
    let original = OriginalRecipient::new(path).expect("short enough");
    Arc::new(RecipientOptions {
        notify: dice.percent(50).then(|| dice.pick(&notify)),
        original: dice.percent(50).then_some(original),
        others: Vec::new(),
    })
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
        8 => format!("full{index}@sink.example"),
        9 => format!("r{index}@other.example"),
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
        // What DATA cannot carry.
        39 => return Content::binary(format!("{number}\n.\n\0\r.\r\n.\r\n\r").into_bytes()),
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
