//! Mode `stream` across the engine: whole mails ahead of the replies, refusals among them, against
//! this project's server and real ones (STREAM, CHUNK-14b).

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use posthaste::scheduler::{PipeliningPolicy, Record};
use posthaste::session::{Envelope, ForwardPath, Mail, Mailbox, Pipelining};
use posthaste::{Mailer, MailerBuilder, Report, Transcript};
use posthaste_sink::{Sink, SinkOptions};
use posthaste_tests::{Exim, Postfix, or_skip};

use crate::interop;
use crate::samples::samples;
use crate::watch::{Seen, Watch};

const STREAM: PipeliningPolicy = PipeliningPolicy::Fixed(Pipelining::Stream);
/// Enough to open the window, and for several windows with refusals among them.
const MAILS: usize = 400;
/// One mail in so many is refused: few enough for the window to stay open.
const REFUSED: usize = 10;

fn is_refused(number: usize) -> bool {
    number % REFUSED == REFUSED - 1
}

/// Mail number `number`, with a reverse-path of its own; one in ten is for `gone`.
fn mail(number: usize) -> Mail {
    let from: Mailbox = format!("s{number}@client.example").parse().unwrap();
    let user = if is_refused(number) { "gone".to_owned() } else { format!("m{number}") };
    let to: ForwardPath = format!("{user}@a.test").parse().unwrap();
    let samples = samples();
    let content = samples[number % samples.len()].content();
    Mail::new(Envelope::new(from, [to]).unwrap(), content)
}

/// Sends them all over one connection. Says what was seen of it.
async fn send(builder: MailerBuilder) -> Seen {
    let watch = Watch::new();
    let builder = builder.max_connections(1).pipelining(STREAM);
    let mailer = builder.observer(watch.clone(), Transcript::On).build().unwrap();
    let mut reports: Vec<(_, Report)> =
        mailer.send_all(stream::iter((0..MAILS).map(mail))).collect().await;
    assert_eq!(mailer.status().pipelining, Pipelining::Stream, "the server bears it");
    mailer.shutdown().await;
    reports.sort_by_key(|(place, _)| *place);
    assert_eq!(reports.len(), MAILS);
    for (number, (_, report)) in reports.iter().enumerate() {
        assert_eq!(report.is_delivered(), !is_refused(number), "{number}: {report:?}");
        assert!(!report.recipients.iter().any(|it| it.attempts > 1), "{number}: {report:?}");
    }
    watch.seen()
}

/// RSET before each MAIL but the first of a connection, and content ahead of the replies.
fn assert_streamed(seen: &Seen) {
    let starts = |verb: &str| seen.said.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(starts("DATA"), 0);
    assert!(starts("MAIL") >= MAILS);
    assert!(starts("RSET") >= starts("MAIL") - seen.ready.len(), "{}", starts("RSET"));
}

/// Each mail that was not refused, by its recipient: under its own reverse-path, and once.
fn assert_own_paths(stored: impl Iterator<Item = (String, String)>) {
    let mut paths = BTreeMap::new();
    for (recipient, sender) in stored {
        let twice = paths.insert(recipient.clone(), sender);
        assert_eq!(twice, None, "<{recipient}> has it twice");
    }
    let expected = (0..MAILS).filter(|&number| !is_refused(number));
    let expected: BTreeMap<_, _> = expected
        .map(|number| (format!("m{number}@a.test"), format!("s{number}@client.example")))
        .collect();
    assert!(paths == expected, "{} of {} are right", paths.len(), expected.len());
}

async fn sink(query: &str) -> Sink {
    let fault = "fault=at%3Drcpt%20rcpt%3Dgone*%20reply%3D%22550%205.1.1%20gone%22";
    let query = format!("store=memory&{fault}&{query}");
    SinkOptions::from_query(&query).unwrap().start().await.unwrap()
}

/// CHUNK-14b, Q25b: servers that let go of a refused transaction, and servers that do not.
#[tokio::test(flavor = "multi_thread")]
async fn every_mail_goes_out_under_its_own_reverse_path() {
    for query in ["refused-chunk=reset", "refused-chunk=keep"] {
        let sink = sink(query).await;
        let seen = send(Mailer::builder(&sink.addr().to_string()).unwrap()).await;
        assert_streamed(&seen);
        let stored = sink.mails().into_iter();
        assert_own_paths(stored.map(|mail| (mail.recipients[0].clone(), mail.reverse_path)));
    }
}

/// STREAM: what the server does not offer, or nobody wants, is not used, and mails go in `cross`.
#[tokio::test(flavor = "multi_thread")]
async fn without_chunking_it_is_cross() {
    let sink = sink("ehlo=-CHUNKING").await;
    let seen = send(Mailer::builder(&sink.addr().to_string()).unwrap()).await;
    assert!(!seen.said.iter().any(|line| line.starts_with("BDAT")), "{:?}", seen.said.first());
    let stored = sink.mails().into_iter();
    assert_own_paths(stored.map(|mail| (mail.recipients[0].clone(), mail.reverse_path)));
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_files_every_mail_under_its_own_reverse_path() {
    let refuse = "check_recipient_access inline:{{gone@a.test = 550 5.1.1 gone}}";
    let main_cf = format!("smtpd_recipient_restrictions = {refuse}\nsmtpd_error_sleep_time = 0\n");
    let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
    assert_streamed(&send(interop::mailer(&server)).await);
    let filed = server.maildir.wait_for(MAILS - MAILS / REFUSED).await;
    assert_own_paths(filed.into_iter().map(|mail| (mail.recipient, mail.sender)));
}

#[tokio::test(flavor = "multi_thread")]
async fn exim_files_every_mail_under_its_own_reverse_path() {
    let acl_rcpt = "deny local_parts = gone\n message = gone".to_owned();
    let server = or_skip!(Exim { acl_rcpt, ..Exim::default() }.start().await);
    assert_streamed(&send(interop::mailer(&server)).await);
    let filed = server.maildir.wait_for(MAILS - MAILS / REFUSED).await;
    assert_own_paths(filed.into_iter().map(|mail| (mail.recipient, mail.sender)));
}

/// Q20b: a server that objects to what is behind content comes down a mode at a time. What was
/// behind is in doubt at most, the rest arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_objects_comes_down_to_what_it_bears() {
    let sink = sink("pipelining-after-content=reject503").await;
    let watch = Watch::new();
    let builder = Mailer::builder(&sink.addr().to_string()).unwrap().max_connections(1);
    let builder = builder.pipelining(STREAM).observer(watch.clone(), Transcript::Off);
    let mailer = builder.build().unwrap();
    let mails = (0..MAILS).filter(|&number| !is_refused(number)).map(mail);
    let reports: Vec<_> = mailer.send_all(stream::iter(mails)).collect().await;
    assert_eq!(mailer.status().pipelining, Pipelining::Envelope);
    mailer.shutdown().await;
    let undelivered = reports.iter().filter(|(_, report)| !report.is_delivered()).count();
    assert!(undelivered <= 2, "{undelivered} of the flight that met the objection");
    let learned = watch.seen().records.into_iter().filter_map(|record| match record {
        Record::PipeliningLearned { mode, .. } => Some(mode),
        _ => None,
    });
    let learned: Vec<_> = learned.collect();
    assert_eq!(learned, [Pipelining::Cross, Pipelining::Envelope]);
    let mut stored: Vec<_> = sink.mails().into_iter().map(|mail| mail.reverse_path).collect();
    stored.sort_unstable();
    assert!(stored.windows(2).all(|pair| pair[0] != pair[1]), "a mail came twice");
}
