//! Extensions that change how mails are sent, through the whole engine.

use futures_util::{StreamExt, stream};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::{Chunking, Content, Envelope, ForwardPath, Mail, Mailbox};
use posthaste::{Mailer, MailerBuilder, RecipientState, Report};
use posthaste_sink::Stats;

use crate::engine::{mail, sink};

/// Sends mails to a sink with these options, all of which must be delivered, and gives what it counted.
async fn deliver(
    query: &str,
    mails: Vec<Mail>,
    setup: impl FnOnce(MailerBuilder) -> MailerBuilder,
) -> Stats {
    let sink = sink(query).await;
    let scheme = if query.contains("lmtp") { "lmtp://" } else { "smtp://" };
    let mailer = Mailer::builder(&format!("{scheme}{}", sink.addr())).unwrap();
    let mailer = setup(mailer.max_connections(2)).build().unwrap();
    let count = mails.len();
    let reports: Vec<(u64, Report)> = mailer.send_all(stream::iter(mails)).collect().await;
    mailer.shutdown().await;
    let stats = sink.shutdown().await;
    assert_eq!(reports.len(), count);
    for (place, report) in &reports {
        assert!(report.is_delivered(), "{query}, mail {place}: {report:?}");
        let attempts = report.recipients.iter().map(|recipient| recipient.attempts);
        assert_eq!(attempts.max(), Some(1), "{query}, mail {place}: nothing was refused");
    }
    assert!(stats.violations.is_empty(), "{query}: {:?}", stats.violations);
    assert_eq!(stats.duplicates, 0, "{query}");
    stats
}

fn mails(count: usize, recipients: usize) -> Vec<Mail> {
    (0..count).map(|number| mail(number, recipients)).collect()
}

fn one_connection(mailer: MailerBuilder) -> MailerBuilder {
    mailer.max_connections(1)
}

#[tokio::test]
async fn no_more_mails_on_a_connection_than_the_server_says() {
    // LIM-01
    let stats = deliver("ehlo=LIMITS%3DMAILMAX%3D2", mails(5, 1), one_connection).await;
    assert_eq!((stats.mails, stats.connections.opened), (5, 3));
}

#[tokio::test]
async fn no_more_recipients_in_a_transaction_than_the_server_says() {
    // LIM-02, TX-26
    let stats = deliver("ehlo=LIMITS%3DRCPTMAX%3D3", mails(1, 10), one_connection).await;
    assert_eq!((stats.mails, stats.recipients, stats.connections.opened), (4, 10, 1));
    let stats = deliver("ehlo=LIMITS%3DRCPTMAX%3D100", mails(1, 250), one_connection).await;
    assert_eq!((stats.mails, stats.recipients), (3, 250));
}

#[tokio::test]
async fn no_more_domains_on_a_connection_than_the_server_says() {
    // LIM-03
    let from: Mailbox = "a@client.example".parse().unwrap();
    let to = ["b@x.example", "c@y.example", "d@X.example"];
    let to = to.map(|path| path.parse::<ForwardPath>().unwrap());
    let content = Content::new("Message-ID: <1@a>\r\n\r\nhi\r\n").unwrap();
    let mails = vec![Mail::new(Envelope::new(from, to).unwrap(), content)];
    let stats = deliver("ehlo=LIMITS%3DRCPTDOMAINMAX%3D1", mails, one_connection).await;
    assert_eq!((stats.mails, stats.recipients, stats.connections.opened), (2, 3, 2));
}

#[tokio::test]
async fn content_by_bdat_arrives() {
    // CHUNK-02, CHUNK-03
    for query in ["", "ehlo=-PIPELINING", "lmtp=true"] {
        let stats = deliver(query, mails(200, 3), |mailer| mailer.chunking(Chunking::Always)).await;
        assert_eq!((stats.mails, stats.recipients), (200, 600), "{query}");
    }
    // CHUNK-01
    let by_data = |mailer: MailerBuilder| mailer.chunking(Chunking::Always);
    deliver("ehlo=-CHUNKING", mails(20, 1), by_data).await;
}

/// LIM-02: one recipient who is deferred for ever takes no other down with it.
#[tokio::test]
async fn a_deferred_recipient_costs_the_others_nothing() {
    let query = "ehlo=LIMITS%3DRCPTMAX%3D3&fault=at%3Drcpt rcpt%3Dr1@* reply%3D\"450 4.2.1 busy\"";
    let sink = sink(query).await;
    let mailer = Mailer::connect(&sink.addr().to_string()).unwrap();
    let report = mailer.send(mail(0, 31));
    tokio::pin!(report);
    // The one that is left waits for its next attempt.
    let waits = async {
        while sink.stats().recipients < 30 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = waits => {}
        report = &mut report => panic!("{report:?}"),
    }
    mailer.shutdown().await;
    let delivered =
        report.await.recipients.iter().filter(|it| it.state == RecipientState::Delivered).count();
    assert_eq!(delivered, 30);
    sink.shutdown().await;
}

/// CHUNK-17: a server that offers CHUNKING and does not know BDAT gets the mail by DATA, once.
#[tokio::test]
async fn content_goes_by_data_where_bdat_is_not_known() {
    let query = "fault=at%3Dfinal first%3D1 reply%3D\"502 5.5.1 not implemented\"";
    let by_bdat = |mailer: MailerBuilder| mailer.max_connections(1).chunking(Chunking::Always);
    let stats = deliver(query, mails(50, 2), by_bdat).await;
    assert_eq!((stats.mails, stats.recipients, stats.connections.opened), (50, 100, 2));
}

#[tokio::test]
async fn lmtp_delivers_in_every_mode() {
    // LMTP-01, LMTP-03
    for mode in ["off", "envelope", "cross"] {
        let mode = PipeliningPolicy::Fixed(mode.parse().unwrap());
        let stats = deliver("lmtp=true", mails(200, 3), |mailer| mailer.pipelining(mode)).await;
        assert_eq!((stats.mails, stats.recipients), (200, 600));
    }
}
