//! LMTP against Dovecot: over TCP, TLS and a Unix socket, by DATA and by BDAT.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use posthaste::RecipientState::{Delivered, Failed};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::{Chunking, Content, Stage, TlsPolicy};
use posthaste::{Mailer, MailerBuilder, Report, Transcript};
use posthaste_tests::{Dovecot, Missing, Server, Tls, or_skip};

use crate::faults::quick;
use crate::interop::{AUTO, CROSS, mail_to};
use crate::samples::{Sample, large_samples, samples};
use crate::tls::trusting;
use crate::watch::Watch;

const USERS: [&str; 3] = ["one@a.test", "two@a.test", "three@a.test"];

async fn dovecot(tls: Tls) -> Result<Server, Missing> {
    let users = USERS.map(str::to_owned).to_vec();
    Dovecot { tls, users, broken: vec!["broken@a.test".to_owned()] }.start().await
}

fn over_tcp(server: &Server) -> MailerBuilder {
    Mailer::builder(&format!("lmtp://{}", server.addr)).unwrap().max_connections(2)
}

fn over_socket(server: &Server) -> MailerBuilder {
    let path = Dovecot::socket(server);
    Mailer::builder(&format!("lmtp+unix://{}", path.display())).unwrap().max_connections(2)
}

/// Each way content can go, with each mode of pipelining.
const WAYS: [(Chunking, PipeliningPolicy); 4] = [
    (Chunking::Off, AUTO),
    (Chunking::Off, CROSS),
    (Chunking::Always, AUTO),
    (Chunking::Always, CROSS),
];

/// LMTP-01, LMTP-03, LMTP-05: a recipient that does not exist, and one whose mail cannot be filed,
/// have their own outcomes.
#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_has_an_outcome() {
    let server = or_skip!(dovecot(Tls::Off).await);
    let content = || samples()[0].content();
    for (number, (chunking, policy)) in (1..).zip(WAYS) {
        for (place, builder) in [over_tcp(&server), over_socket(&server)].into_iter().enumerate() {
            let watch = Watch::new();
            let mailer = builder.chunking(chunking).pipelining(policy).scheduler(quick());
            let mailer = mailer.observer(Arc::clone(&watch) as _, Transcript::On).build().unwrap();
            let report = send_to_five(&mailer, content()).await;
            mailer.shutdown().await;
            let states: Vec<_> = report.recipients.iter().map(|it| it.state).collect();
            let expected = [Delivered, Failed, Delivered, Failed, Delivered];
            assert_eq!(states, expected, "{chunking} {policy:?}: {report:#?}");
            let refused = |place: usize| {
                let recipient = &report.recipients[place];
                (recipient.stage, recipient.reply.as_ref().unwrap().code().value())
            };
            assert_eq!(refused(1), (Some(Stage::Rcpt), 550));
            // Tried again, for nobody but this one, until its attempts were used up.
            assert_eq!(refused(3), (Some(Stage::Final), 451));
            let said = watch.seen().said;
            assert!(said[0].starts_with("LHLO "), "{said:?}");
            let uses_bdat = said.iter().any(|line| line.starts_with("BDAT"));
            assert_eq!(uses_bdat, chunking == Chunking::Always, "{said:?}");
            for user in USERS {
                let filed = Dovecot::maildir(&server, user).wait_for(2 * number - 1 + place).await;
                let last = filed.last().unwrap();
                assert_eq!(last.sender, "sender@client.example");
                assert_eq!(last.content, samples()[0].expected(), "{user}");
            }
        }
    }
}

/// To the users, one who is not there, and one whose mail cannot be filed.
async fn send_to_five(mailer: &Mailer, content: Content) -> Report {
    mailer.send(mail_to(&["one", "gone", "two", "broken", "three"], content)).await
}

/// CHUNK-02, CHUNK-09, TX-08: contents of every kind arrive as they are.
#[tokio::test(flavor = "multi_thread")]
async fn many_mails_arrive_whole_and_once() {
    const MAILS: usize = 60;
    for (chunking, policy) in WAYS {
        let server = or_skip!(dovecot(Tls::Off).await);
        // Dovecot 2.3 does not offer SMTPUTF8.
        let is_sendable = |sample: &Sample| !sample.content().header_needs_smtputf8();
        let samples: Vec<_> = samples().into_iter().filter(is_sendable).collect();
        let mailer = over_socket(&server).chunking(chunking).pipelining(policy).build().unwrap();
        let mails = (0..MAILS)
            .map(|number| mail_to(&["one", "two"], samples[number % samples.len()].content()));
        let reports: Vec<_> = mailer.send_all(stream::iter(mails)).collect().await;
        mailer.shutdown().await;
        let undelivered = reports.iter().find(|(_, report)| !report.is_delivered());
        assert_eq!(undelivered, None);
        let mut expected: Vec<_> =
            (0..MAILS).map(|number| samples[number % samples.len()].expected()).collect();
        expected.sort();
        for user in ["one@a.test", "two@a.test"] {
            let filed = Dovecot::maildir(&server, user).wait_for(MAILS).await;
            let mut contents: Vec<_> = filed.into_iter().map(|mail| mail.content).collect();
            contents.sort();
            assert!(contents == expected, "{chunking} {policy:?} {user}: contents differ");
        }
    }
}

/// 10 MiB, in chunks too, under TLS too.
#[tokio::test(flavor = "multi_thread")]
async fn large_mails_arrive_whole() {
    let server = or_skip!(dovecot(Tls::Starttls).await);
    let sample = &large_samples()[0];
    let secure = trusting(&server.ca_pem, None);
    for (number, chunking) in [(1, Chunking::Off), (2, Chunking::Always)] {
        let watch = Watch::new();
        let mailer = over_tcp(&server).tls(TlsPolicy::Require).tls_settings(secure.clone());
        let mailer = mailer.chunking(chunking).observer(Arc::clone(&watch) as _, Transcript::On);
        let mailer = mailer.build().unwrap();
        let report = mailer.send(mail_to(&["one", "two"], sample.content())).await;
        mailer.shutdown().await;
        assert!(report.is_delivered(), "{report:?}");
        let chunks = watch.seen().said.iter().filter(|line| line.starts_with("BDAT")).count();
        assert_eq!(chunks > 5, chunking == Chunking::Always, "{chunks} chunks");
        for user in ["one@a.test", "two@a.test"] {
            let filed = Dovecot::maildir(&server, user).wait_for(number).await;
            assert!(filed.iter().all(|mail| mail.content == sample.expected()), "{user}");
        }
    }
}
