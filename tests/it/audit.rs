//! The books of a run: what was reported against what was stored.

use std::collections::BTreeMap;
use std::path::Path;

use posthaste::session::{Content, Envelope, ForwardPath, Mail, Mailbox};
use posthaste::{RecipientState, Report};
use posthaste_sink::{Sink, Stats};
use posthaste_tests::wait_until;

/// Longest wait for a sink to be done with what the kernel still holds for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Mail number `number`: its reverse-path, forward-paths and content are its own, so that nothing
/// of it can be taken for another mail's.
pub(crate) fn mail(number: usize, recipients: usize) -> Mail {
    let from: Mailbox = format!("s{number}@client.example").parse().unwrap();
    let to = (0..recipients).map(|place| address(number, place).parse::<ForwardPath>().unwrap());
    Mail::new(Envelope::new(from, to).unwrap(), Content::new(content(number)).unwrap())
}

fn address(number: usize, place: usize) -> String {
    format!("r{number}.{place}@mx.example")
}

/// About 1 KiB, with dots at line starts.
fn content(number: usize) -> String {
    let lines = format!(".{number}\r\n{}\r\n", "x".repeat(160)).repeat(6);
    format!("Message-ID: <{number}@client.example>\r\n\r\n{lines}")
}

/// A mail as a sink stored it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    from: String,
    to: Vec<String>,
    content: String,
}

/// All that a sink stored in memory, once no client's octets are left on their way to it, and what
/// it counted.
pub(crate) async fn close(sink: Sink) -> (Vec<Stored>, Stats) {
    let is_done = || {
        let stats = sink.stats();
        // A stalled session reads nothing any more, and so never hears that its client is gone.
        let rules = stats.refusals.iter();
        let stalled: u64 =
            rules.filter(|(rule, _)| rule.contains("stall")).map(|(_, count)| count).sum();
        (stats.connections.open <= stalled).then_some(())
    };
    wait_until(PATIENCE, "connections to be closed", is_done).await;
    let mails = sink.mails().into_iter().map(|mail| Stored {
        from: mail.reverse_path,
        to: mail.recipients,
        content: String::from_utf8(mail.content.to_vec()).unwrap(),
    });
    (mails.collect(), sink.kill().await)
}

/// The mails in a file of a sink with `store=jsonl:FILE`.
pub(crate) fn read_json_lines(path: &Path) -> Vec<Stored> {
    let text = std::fs::read_to_string(path).unwrap();
    let mails = text.lines().map(|line| {
        let mail: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let to = mail["to"].as_array().unwrap().iter().map(text).collect();
        Stored { from: text(&mail["from"]), to, content: text(&mail["content"]) }
    });
    mails.collect()
}

/// How many recipients had which outcome, and how many a mail was stored for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) delivered: usize,
    pub(crate) failed: usize,
    pub(crate) deferred: usize,
    pub(crate) in_doubt: usize,
    pub(crate) stored: usize,
}

/// Compares reports of [`mail`]s with what an honest server stored, that is one which stores what
/// it says that it does.
///
/// Each recipient is reported once. Those who are delivered have the mail once, those who are in
/// doubt have it once or not at all, the others do not have it. Each mail is stored whole, under
/// its own envelope. The client broke no rule.
///
/// # Panics
///
/// When any of that is not so.
#[track_caller]
pub(crate) fn audit(reports: &[Report], stats: &Stats, stored: &[Stored]) -> Tally {
    audit_with_unreported(reports, &[], stats, stored)
}

/// The same where nobody waited for the reports of some mails: they are in doubt.
#[track_caller]
pub(crate) fn audit_with_unreported(
    reports: &[Report],
    unreported: &[Mail],
    stats: &Stats,
    stored: &[Stored],
) -> Tally {
    assert!(stats.violations.is_empty(), "{:?}", stats.violations);
    let copies = count_copies(stored);
    let mut outcomes = BTreeMap::new();
    let all = reports.iter().flat_map(|report| &report.recipients);
    let known = all.map(|recipient| (recipient.forward_path.to_string(), recipient.state));
    let dropped = unreported.iter().flat_map(|mail| mail.envelope.forward_paths());
    let unknown = dropped.map(|path| (path.to_string(), RecipientState::InDoubt));
    for (recipient, state) in known.chain(unknown) {
        let earlier = outcomes.insert(recipient.clone(), state);
        assert_eq!(earlier, None, "{recipient} has two outcomes");
    }

    let mut tally = Tally { stored: copies.values().sum(), ..Tally::default() };
    for (recipient, state) in &outcomes {
        let copies = copies.get(recipient).copied().unwrap_or(0);
        let (count, allowed) = match state {
            RecipientState::Delivered => (&mut tally.delivered, 1..=1),
            RecipientState::Failed => (&mut tally.failed, 0..=0),
            RecipientState::Deferred => (&mut tally.deferred, 0..=0),
            RecipientState::InDoubt => (&mut tally.in_doubt, 0..=1),
        };
        *count += 1;
        assert!(allowed.contains(&copies), "{recipient} is {state:?} and has it {copies} times");
    }
    for recipient in copies.keys() {
        assert!(outcomes.contains_key(recipient), "{recipient} has a mail that nobody sent");
    }
    tally
}

/// How often each recipient has their mail, which is whole.
#[track_caller]
fn count_copies(stored: &[Stored]) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for Stored { from, to, content: octets } in stored {
        let number = from.strip_prefix('s').and_then(|rest| rest.strip_suffix("@client.example"));
        let number: usize = number.and_then(|number| number.parse().ok()).unwrap();
        assert_eq!(*octets, content(number), "content of mail {number}");
        for recipient in to {
            let own = recipient.starts_with(&format!("r{number}."));
            assert!(own, "mail {number} has come to {recipient}");
            *copies.entry(recipient.clone()).or_default() += 1;
        }
    }
    copies
}
