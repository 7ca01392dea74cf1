//! The whole engine against the project's own server.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::{Content, Envelope, ForwardPath, Mail, Mailbox, Pipelining};
use posthaste::{Mailer, RecipientState, Report};
use posthaste_sink::{Sink, SinkOptions};

/// A sink that counts, with further options as in a `sink:` URL.
pub(crate) async fn sink(query: &str) -> Sink {
    let options = SinkOptions::from_query(&format!("store=count&{query}")).unwrap();
    options.start().await.unwrap()
}

/// Mail number `number`, with a Message-ID of its own.
pub(crate) fn mail(number: usize, recipients: usize) -> Mail {
    let from: Mailbox = "sender@client.example".parse().unwrap();
    let to = (0..recipients).map(|n| format!("r{n}@mx.example").parse::<ForwardPath>().unwrap());
    let content = format!(
        "Message-ID: <{number}@client.example>\r\nSubject: {number}\r\n\r\n.dot\r\n{}\r\n",
        "x".repeat(900)
    );
    Mail::new(Envelope::new(from, to).unwrap(), Content::new(content).unwrap())
}

/// Sends so many mails and gives their reports in the order of the mails.
pub(crate) async fn send_all(mailer: &Mailer, mails: usize) -> Vec<Report> {
    let source = stream::iter((0..mails).map(|number| mail(number, 1)));
    let mut reports: Vec<_> = mailer.send_all(source).collect().await;
    reports.sort_by_key(|(place, _)| *place);
    let places: Vec<_> =
        reports.iter().map(|(place, _)| usize::try_from(*place).unwrap()).collect();
    assert_eq!(places, (0..mails).collect::<Vec<_>>(), "each mail has one report");
    reports.into_iter().map(|(_, report)| report).collect()
}

async fn delivers(query: &str, policy: PipeliningPolicy) {
    let sink = sink(query).await;
    let mailer = Mailer::builder(&sink.addr().to_string()).unwrap();
    let mailer = mailer.max_connections(3).pipelining(policy).build().unwrap();
    let reports = send_all(&mailer, 500).await;
    assert!(
        reports.iter().all(Report::is_delivered),
        "{:?}",
        reports.iter().find(|r| !r.is_delivered())
    );
    mailer.shutdown().await;
    let stats = sink.shutdown().await;
    assert_eq!((stats.mails, stats.recipients, stats.duplicates), (500, 500, 0));
    assert!(stats.connections.open_max <= 3, "{:?}", stats.connections);
    assert!(stats.violations.is_empty(), "{:?}", stats.violations);
}

#[tokio::test]
async fn every_mode_delivers() {
    delivers("", PipeliningPolicy::Auto).await;
    delivers("", PipeliningPolicy::Fixed(Pipelining::Off)).await;
    delivers("", PipeliningPolicy::Fixed(Pipelining::Envelope)).await;
    delivers("", PipeliningPolicy::Fixed(Pipelining::Cross)).await;
    delivers("ehlo=-PIPELINING", PipeliningPolicy::Auto).await;
}

#[tokio::test]
async fn servers_that_object_to_cross_lose_nothing() {
    // Q20b
    delivers("pipelining-after-content=reject503", PipeliningPolicy::Auto).await;
    delivers("pipelining-after-content=reject503", PipeliningPolicy::Fixed(Pipelining::Cross))
        .await;
    // Q02
    delivers("early-talk=reject554", PipeliningPolicy::Auto).await;
}

#[tokio::test]
async fn one_refused_recipient_does_not_stop_the_others() {
    let sink = sink("fault=at%3Drcpt rcpt%3Dr1@* reply%3D\"550 5.1.1 no such user\"").await;
    let mailer = Mailer::connect(&sink.addr().to_string()).unwrap();
    let report = mailer.send(mail(0, 3)).await;
    let states: Vec<_> = report.recipients.iter().map(|recipient| recipient.state).collect();
    assert_eq!(
        states,
        [RecipientState::Delivered, RecipientState::Failed, RecipientState::Delivered]
    );
    let refused = report.recipients[1].reply.as_ref().unwrap();
    assert_eq!(refused.text().to_string(), "no such user");
    mailer.shutdown().await;
    let stats = sink.shutdown().await;
    assert_eq!((stats.mails, stats.recipients), (1, 2), "one transaction");
}

#[tokio::test]
async fn nobody_listening_is_reported_when_time_is_up() {
    let sink = sink("").await;
    let address = sink.addr().to_string();
    sink.shutdown().await;
    let mailer = Mailer::connect(&address).unwrap();
    let sending = mailer.send(mail(0, 1));
    tokio::pin!(sending);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut sending).await.is_err());
    mailer.shutdown_within(Duration::from_millis(10)).await;
    assert_eq!(sending.await.recipients[0].state, RecipientState::Deferred);
}
