//! What a connection teaches about a server, and what it does not.

use std::time::Duration;

use posthaste::session::{MailOptions, Pipelining, Timeouts, Unsendable};
use posthaste::{Cause, Mailer, RecipientState};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::engine::mail;
use crate::faults::quick;
use crate::scripted::Scripted;

/// EHLO-15: what was offered on one connection is not used on the next, which offers nothing.
#[tokio::test]
async fn offers_are_for_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mailer = Mailer::builder(&address).unwrap().max_connections(1).max_mails_per_connection(1);
    let mailer = mailer.build().unwrap();
    let serve = async {
        let mut first = Scripted::accept(&listener, &["PIPELINING", "SIZE 1000000"]).await;
        assert!(first.line().await.starts_with("MAIL FROM:<sender@client.example> SIZE="));
        first.take_mail().await;
        first.part().await;
        let mut second = Scripted::accept(&listener, &[]).await;
        second.take_mail_in_steps().await;
        second.part().await;
    };
    let send = async {
        for number in 0..2 {
            let report = mailer.send(mail(number, 1)).await;
            assert!(report.is_delivered(), "{report:?}");
        }
    };
    tokio::join!(serve, send);
}

/// PIPE-16, Q20: a server that offers PIPELINING and falls silent at a group is spoken to one command at a
/// time from then on, and the mail does not pay for it.
#[tokio::test]
async fn a_server_that_stalls_on_a_group_gets_one_command_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mailer = Mailer::builder(&address).unwrap().max_connections(1);
    let timeouts = Timeouts::uniform(Duration::from_millis(300));
    let mailer = mailer.timeouts(timeouts).build().unwrap();
    let serve = async {
        let mut stalled = Scripted::accept(&listener, &["PIPELINING"]).await;
        while stalled.line().await != "DATA" {}
        stalled.say("250 ok").await;
        let mut next = Scripted::accept(&listener, &["PIPELINING"]).await;
        for _ in 0..2 {
            next.take_mail_in_steps().await;
        }
        next.part().await;
    };
    let send = async {
        for number in 0..2 {
            let report = mailer.send(mail(number, 1)).await;
            assert!(report.is_delivered(), "{report:?}");
            assert_eq!(report.recipients[0].attempts, 1, "{report:?}");
        }
        assert_eq!(mailer.status().pipelining, Pipelining::Off);
        mailer.shutdown().await;
    };
    tokio::join!(serve, send);
}

/// RTLS-02, ST-21: mail that requires TLS waits for it where a handshake broke, and is not failed for
/// a connection that happens to be without.
#[tokio::test]
async fn mail_that_requires_tls_outlives_a_broken_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mailer = Mailer::builder(&address).unwrap().max_connections(1).scheduler(quick());
    let mailer = mailer.idle(Duration::from_millis(1)).build().unwrap();
    let mut strict = mail(0, 1);
    let options = MailOptions { require_tls: true, ..MailOptions::default() };
    strict.envelope = strict.envelope.with_options(options);
    let serve = async {
        let mut broken = Scripted::accept(&listener, &["STARTTLS"]).await;
        broken.answer_alone("STARTTLS", "220 go").await;
        // ClientHello.
        assert_eq!(broken.stream.read_u8().await.unwrap(), 22);
        broken.say("501 what is this").await;
        Scripted::accept(&listener, &["STARTTLS"]).await.part().await;
        // No handshake breaks here: the server has no TLS.
        Scripted::accept(&listener, &[]).await.part().await;
    };
    let both = async { tokio::join!(mailer.send(strict), serve).0 };
    let report = timeout(Duration::from_secs(10), both).await.expect("another connection");
    let recipient = &report.recipients[0];
    assert_eq!(recipient.state, RecipientState::Failed, "{report:?}");
    assert_eq!(recipient.cause, Some(Cause::Unsendable(Unsendable::RequireTls)));
}
