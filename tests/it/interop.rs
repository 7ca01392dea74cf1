//! What every real server has to see of the engine, whichever it is.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthaste::scheduler::{PipeliningPolicy, Record};
use posthaste::session::{Content, Envelope, ForwardPath, Mail, Mailbox, Pipelining};
use posthaste::{Cause, Mailer, MailerBuilder, RecipientState, Report, Transcript};
use posthaste_tests::{Server, skip, wait_until};

use crate::samples::{Sample, large_samples, samples};
use crate::watch::{Seen, Watch};

/// Longest time that a server may take to file the mails it has accepted.
const PATIENCE: Duration = Duration::from_secs(60);

/// The two ways to mode `cross`: told to, and found out.
pub(crate) const CROSS: PipeliningPolicy = PipeliningPolicy::Fixed(Pipelining::Cross);
pub(crate) const AUTO: PipeliningPolicy = PipeliningPolicy::Auto;

/// Whether somebody has the time for tests that take long.
pub(crate) fn is_slow_allowed() -> bool {
    std::env::var_os("POSTHASTE_SLOW").is_some_and(|value| value == "1")
}

/// How much of `what` to have in `test`: `full`, or `few` where nobody asked for tests that take
/// minutes.
pub(crate) fn count(test: &str, what: &str, few: usize, full: usize) -> usize {
    if is_slow_allowed() {
        return full;
    }
    skip::left_out(
        test,
        format!("with {full} {what}; with {few} it did. POSTHASTE_SLOW=1 has all"),
    );
    few
}

/// A mail to these users at `a.test`.
pub(crate) fn mail_to(users: &[&str], content: Content) -> Mail {
    let from: Mailbox = "sender@client.example".parse().unwrap();
    let to = users.iter().map(|name| format!("{name}@a.test").parse::<ForwardPath>().unwrap());
    Mail::new(Envelope::new(from, to).unwrap(), content)
}

/// Mail number `number`, to a user of its own, with one of the samples.
pub(crate) fn numbered(number: usize, samples: &[Sample]) -> Mail {
    mail_to(&[&format!("m{number}")], samples[number % samples.len()].content())
}

/// A mailer for a server; four connections.
pub(crate) fn mailer(server: &Server) -> MailerBuilder {
    Mailer::builder(&server.addr.to_string()).unwrap().max_connections(4)
}

/// Sends mails 0 to `count` and returns their reports.
pub(crate) async fn send(mailer: &Mailer, count: usize, samples: &[Sample]) -> Vec<Report> {
    let mails = stream::iter((0..count).map(|number| numbered(number, samples)));
    let reports: Vec<_> = mailer.send_all(mails).map(|(_, report)| report).collect().await;
    assert_eq!(reports.len(), count, "each mail has one report");
    reports
}

/// Sends mails over the connections of `mailer` and compares what is filed, byte for byte. `files`
/// says what the server makes of a content.
pub(crate) async fn whole_and_once(
    server: &Server,
    mailer: Mailer,
    count: usize,
    files: fn(&[u8]) -> Vec<u8>,
) {
    let samples = samples();
    let reports = send(&mailer, count, &samples).await;
    mailer.shutdown().await;
    let undelivered = reports.iter().find(|report| !report.is_delivered());
    assert_eq!(undelivered, None);
    are_filed(server, count, &samples, files).await;
}

/// The same for mails of 10 MiB.
pub(crate) async fn large_mails_whole_and_once(
    server: &Server,
    policy: PipeliningPolicy,
    files: fn(&[u8]) -> Vec<u8>,
) {
    let samples = large_samples();
    let mailer = mailer(server).max_connections(2).pipelining(policy).build().unwrap();
    let reports = send(&mailer, samples.len(), &samples).await;
    mailer.shutdown().await;
    assert!(reports.iter().all(Report::is_delivered), "{reports:?}");
    are_filed(server, samples.len(), &samples, files).await;
}

/// Waits until mails 0 to `count` are filed: each once, its content as it was sent but for what
/// the server makes of it.
async fn are_filed(server: &Server, count: usize, samples: &[Sample], files: fn(&[u8]) -> Vec<u8>) {
    let filed = || server.maildir.path().join("new").read_dir().map_or(0, Iterator::count);
    let what = format!("{count} mails to be filed");
    wait_until(PATIENCE, &what, || (filed() >= count).then_some(())).await;
    let mut copies: HashMap<String, u32> = HashMap::new();
    let mut damaged = BTreeMap::new();
    for delivered in server.maildir.mails() {
        assert_eq!(delivered.sender, "sender@client.example");
        let number =
            delivered.recipient.strip_prefix('m').and_then(|it| it.strip_suffix("@a.test"));
        let number: usize = number.and_then(|number| number.parse().ok()).unwrap();
        *copies.entry(delivered.recipient).or_default() += 1;
        let sample = &samples[number % samples.len()];
        let expected = files(&sample.expected());
        if delivered.content != expected {
            damaged.insert(sample.name, difference(&expected, &delivered.content));
        }
    }
    assert!(damaged.is_empty(), "{damaged:#?}");
    assert_eq!(copies.len(), count);
    assert!(copies.values().all(|&copies| copies == 1), "a mail came twice");
}

/// No mail was charged an attempt, and the server was not left alone.
#[track_caller]
pub(crate) fn nothing_was_held_against_anybody(seen: &Seen) {
    let costs =
        |record: &&Record| matches!(record, Record::Deferred { .. } | Record::BackOff { .. });
    assert_eq!(seen.records.iter().find(costs), None);
}

/// Where two contents begin to differ, in few words.
fn difference(expected: &[u8], got: &[u8]) -> String {
    let at = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let part = |octets: &[u8]| octets[at..octets.len().min(at + 40)].escape_ascii().to_string();
    format!(
        "{} octets expected, {} came; at {at} \"{}\" expected, \"{}\" came",
        expected.len(),
        got.len(),
        part(expected),
        part(got)
    )
}

/// The second of three recipients, `gone`, is refused with the text `gone`: the others get the
/// mail, in the same transaction (TX-21). `delivery` finds the queue id in a line of the server's
/// log that tells of a delivery.
pub(crate) async fn refused_recipient_has_the_servers_words(
    server: &Server,
    delivery: fn(&str) -> Option<&str>,
) {
    let mailer = mailer(server).build().unwrap();
    let content = samples()[0].content();
    let report = mailer.send(mail_to(&["one", "gone", "three"], content)).await;
    mailer.shutdown().await;
    let states: Vec<_> = report.recipients.iter().map(|recipient| recipient.state).collect();
    use RecipientState::{Delivered, Failed};
    assert_eq!(states, [Delivered, Failed, Delivered]);
    let refused = &report.recipients[1];
    assert_eq!((refused.cause, refused.attempts), (Some(Cause::Refused), 1));
    let reply = refused.reply.as_ref().unwrap();
    assert_eq!(reply.code().value(), 550);
    assert!(reply.text().to_string().ends_with("gone"), "{reply:?}");

    let filed = server.maildir.wait_for(2).await;
    let mut recipients: Vec<_> = filed.iter().map(|mail| mail.recipient.as_str()).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["one@a.test", "three@a.test"]);
    let what = "both deliveries in the log";
    let ids = wait_until(PATIENCE, what, || {
        let ids: Vec<_> = server.log().lines().filter_map(delivery).map(str::to_owned).collect();
        (ids.len() == 2).then_some(ids)
    });
    let ids = ids.await;
    assert_eq!(ids[0], ids[1], "one mail, not two");
}

/// A third of the mails has no recipient but `gone`, another has `gone` beside somebody: servers
/// that count errors and close at some point do not confuse the books.
pub(crate) async fn refusals_without_end_are_told_apart(server: &Server) {
    const MAILS: usize = 300;
    let samples = samples();
    for policy in [CROSS, AUTO] {
        let before = server.maildir.mails().len();
        let watch = Watch::new();
        let mailer = mailer(server).pipelining(policy).observer(watch.clone(), Transcript::Off);
        let mailer = mailer.build().unwrap();
        let mails = (0..MAILS).map(|number| {
            let user = format!("m{number}");
            let users: &[&str] = match number * 3 / MAILS {
                0 => &["gone"],
                1 => &[&user, "gone"],
                _ => &[&user],
            };
            mail_to(users, samples[0].content())
        });
        let reports: Vec<_> = mailer.send_all(stream::iter(mails)).collect().await;
        mailer.shutdown().await;
        assert_eq!(reports.len(), MAILS);
        for recipient in reports.iter().flat_map(|(_, report)| &report.recipients) {
            if recipient.forward_path.to_string() == "gone@a.test" {
                assert_eq!(recipient.state, RecipientState::Failed, "{recipient:?}");
                let reply = recipient.reply.as_ref().unwrap();
                assert!(reply.text().to_string().ends_with("gone"), "{recipient:?}");
            } else {
                assert_eq!(recipient.state, RecipientState::Delivered, "{recipient:?}");
            }
            assert_eq!(recipient.attempts, 1, "{recipient:?}");
        }
        nothing_was_held_against_anybody(&watch.seen());
        let filed = server.maildir.wait_for(before + MAILS / 3 * 2).await;
        assert_eq!(filed.len(), before + MAILS / 3 * 2);
    }
}
