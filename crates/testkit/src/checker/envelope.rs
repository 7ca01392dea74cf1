//! What of an envelope has to be on the wire, parameters and all.

use std::collections::BTreeSet;

use posthaste_session::{Authority, Mail, MailOptions, NotSent, Outcome, Parameter, ReturnContent};

use super::command::{self, decode_xtext};
use super::offer::Offer;
use super::transaction::Transaction;
use super::verdict::sent_form;

/// How what was said compares with an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// All of it was said.
    Whole,
    /// Recipients at its end were not said.
    Part,
    /// Something else was said.
    Foreign,
}

impl Transaction {
    /// Compares with the envelope of this mail, but for the recipients that were left out. Every
    /// parameter that is asked for and offered has to be there, and no other (DSN-05).
    pub(super) fn likeness(&self, mail: &Mail, outcomes: &[Outcome], offer: &Offer) -> Likeness {
        if texts(&self.mail.parameters) != of_mail(mail, offer) {
            return Likeness::Foreign;
        }
        let mut places = (0..).zip(outcomes).filter(|(_, outcome)| !is_left_out(outcome));
        for recipient in &self.recipients {
            let Some((place, _)) = places.next() else { return Likeness::Foreign };
            let said = texts(&recipient.command.parameters);
            let path = mail.envelope.forward_paths()[place].as_str();
            if recipient.command.forward_path != path || said != of_recipient(mail, place, offer) {
                return Likeness::Foreign;
            }
        }
        if places.next().is_none() { Likeness::Whole } else { Likeness::Part }
    }
}

/// Whether this recipient is over the server's limits, and said nothing of.
pub(super) fn is_left_out(outcome: &Outcome) -> bool {
    *outcome == Outcome::NotSent(NotSent::Limit)
}

/// The domain of a path in lower case; empty for `<Postmaster>`.
pub(super) fn domain_of(path: &str) -> String {
    path.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase()
}

/// Parameters as they were said, whatever their order.
fn texts(parameters: &[command::Parameter]) -> BTreeSet<String> {
    let text = |command::Parameter { keyword, value }: &command::Parameter| match (
        keyword.as_str(),
        value.as_str(),
    ) {
        (_, "") => keyword.clone(),
        ("AUTH", value) => {
            let decoded = decode_xtext(value).unwrap_or_default();
            format!("AUTH={}", String::from_utf8_lossy(&decoded))
        }
        (keyword, value) => format!("{keyword}={value}"),
    };
    parameters.iter().map(text).collect()
}

/// What MAIL has to say.
fn of_mail(mail: &Mail, offer: &Offer) -> BTreeSet<String> {
    let octets = mail.content.to_bytes();
    let mut wanted = of_options(mail.envelope.options(), offer);
    if offer.has("SIZE") {
        wanted.insert(format!("SIZE={}", sent_form(mail).len()));
    }
    if mail.content.is_binary() {
        wanted.insert("BODY=BINARYMIME".to_owned());
    } else if !octets.is_ascii() && offer.has_8bit() {
        // 8BIT-01
        wanted.insert("BODY=8BITMIME".to_owned());
    }
    if offer.has("SMTPUTF8") && is_internationalised(mail) {
        wanted.insert("SMTPUTF8".to_owned());
    }
    wanted
}

/// UTF8-01: an address or the header section is UTF-8 beyond ASCII.
fn is_internationalised(mail: &Mail) -> bool {
    let mut paths = mail.envelope.forward_paths().iter().map(|path| path.as_str());
    let octets = mail.content.to_bytes();
    let mut lines = octets.split_inclusive(|&octet| octet == b'\n');
    let header: Vec<u8> =
        lines.by_ref().take_while(|line| *line != b"\r\n").flatten().copied().collect();
    let has_utf8 = !header.is_ascii() && std::str::from_utf8(&header).is_ok();
    has_utf8
        || !mail.envelope.reverse_path().as_str().is_ascii()
        || paths.any(|path| !path.is_ascii())
}

fn of_options(options: &MailOptions, offer: &Offer) -> BTreeSet<String> {
    let MailOptions { return_content, envelope_id, deliver_by, .. } = options;
    // A server that names no mechanism offers nothing.
    let has_auth = !offer.parameters("AUTH").is_empty();
    let authority =
        options.authority.as_ref().filter(|_| has_auth).map(|authority| match authority {
            Authority::Unknown => "AUTH=<>".to_owned(),
            Authority::Mailbox(mailbox) => format!("AUTH={}", mailbox.as_str()),
        });
    let asked_for = [
        ("DSN", return_content.map(|it| returned(it).to_owned())),
        ("DSN", envelope_id.as_ref().map(|it| format!("ENVID={}", it.as_xtext()))),
        ("DELIVERBY", deliver_by.map(|it| format!("BY={it}"))),
        ("MT-PRIORITY", options.priority.map(|it| format!("MT-PRIORITY={}", it.as_i8()))),
        ("FUTURERELEASE", options.hold.as_ref().map(ToString::to_string)),
        ("REQUIRETLS", options.require_tls.then(|| "REQUIRETLS".to_owned())),
        ("AUTH", authority),
    ];
    let known = asked_for.into_iter().filter(|(extension, _)| offer.has(extension));
    known.filter_map(|(_, text)| text).chain(offered(&options.others, offer)).collect()
}

fn returned(content: ReturnContent) -> &'static str {
    match content {
        ReturnContent::Full => "RET=FULL",
        ReturnContent::Headers => "RET=HDRS",
    }
}

/// What RCPT has to say.
fn of_recipient(mail: &Mail, place: usize, offer: &Offer) -> BTreeSet<String> {
    let Some(options) = mail.envelope.recipient_options(place) else { return BTreeSet::new() };
    let notify = options.notify.map(|it| format!("NOTIFY={it}"));
    let original = options.original.as_ref().map(|it| format!("ORCPT={}", it.as_xtext()));
    let known = [notify, original].into_iter().flatten().filter(|_| offer.has("DSN"));
    known.chain(offered(&options.others, offer)).collect()
}

fn offered(parameters: &[Parameter], offer: &Offer) -> impl Iterator<Item = String> {
    let has = |it: &&Parameter| offer.has(&it.extension().to_ascii_uppercase());
    parameters.iter().filter(has).map(ToString::to_string)
}
