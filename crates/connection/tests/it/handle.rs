//! The handle on one connection, over loopback.

use std::time::Duration;

use posthaste_connection::session::{
    CloseReason, Config, Finished, Mail, Outcome, Pipelining, Unsendable,
};
use posthaste_connection::{
    Connection, Connector, DialSettings, ErrorKind, SendError, Server, TlsClient, TlsSettings,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Peer, accept, delivered, listen, mail, mail_with, name, octets, plain};

fn connector(port: u16, config: Config) -> Connector {
    let server = Server::smtp("127.0.0.1", port);
    let tls = TlsClient::new(&TlsSettings::default()).unwrap();
    Connector::new(server, config, Some(name()), DialSettings::default(), tls).unwrap()
}

#[tokio::test]
async fn a_mail_is_sent_and_its_outcome_told() {
    let (listener, port) = listen().await;
    let (connection, end) = Connection::open_with(&connector(port, plain()));
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        assert_eq!(peer.take_mail(0).await, b"Subject: 0\r\n");
        peer
    };
    let (finished, mut peer) = tokio::join!(connection.send(mail(0)), serve);
    let finished = finished.unwrap();
    assert_eq!(finished.mail, mail(0));
    assert_eq!(delivered(&finished.outcomes[0]), "250 queued 0");
    // The last handle is dropped: QUIT (QUIT-01).
    drop(connection);
    let (reason, ()) = tokio::join!(end, peer.part());
    assert_eq!(reason.unwrap(), CloseReason::Quit);
}

#[tokio::test]
async fn clones_share_the_session() {
    const TASKS: usize = 20;
    let (listener, port) = listen().await;
    let connection = Connection::open(&connector(port, plain()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let connection = connection.clone();
        tasks.spawn(async move {
            let finished = connection.send(mail(number)).await.unwrap();
            assert_eq!(delivered(&finished.outcomes[0]), format!("250 queued {number}"));
        });
    }
    drop(connection);
    let mut peer = accept(&listener).await;
    peer.introduce(&["PIPELINING"]).await;
    let mut taken = take_all(&mut peer).await;
    taken.sort_unstable();
    assert_eq!(taken, Vec::from_iter(0..TASKS));
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

/// Answers whatever comes, until QUIT, and tells which mails it took.
async fn take_all(peer: &mut Peer<TcpStream>) -> Vec<usize> {
    let mut taken = Vec::new();
    loop {
        match peer.line().await.as_str() {
            "QUIT" => break,
            "DATA" => {
                peer.say("354 go").await;
                let content = String::from_utf8(peer.hear_content().await).unwrap();
                let number = content.trim().strip_prefix("Subject: ").unwrap();
                peer.say(&format!("250 queued {number}")).await;
                taken.push(number.parse().unwrap());
            }
            _ => peer.say("250 ok").await,
        }
    }
    peer.say("221 bye").await;
    taken
}

/// TX-30: whoever gives up, and whenever, the next outcome belongs to the next mail.
#[tokio::test]
async fn dropped_sends_leave_the_connection_in_step() {
    for pipelining in [Pipelining::Off, Pipelining::Envelope, Pipelining::Cross] {
        let (listener, port) = listen().await;
        let connection = Connection::open(&connector(port, Config { pipelining, ..plain() }));
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        let send = async {
            for number in (0..100).step_by(2) {
                // Enough for some to have been answered.
                let patience = async {
                    for _ in 0..number / 2 {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    _ = connection.send(mail(number)) => {}
                    () = patience => {}
                }
                let next = connection.send(mail(number + 1)).await.unwrap();
                assert_eq!(next.mail, mail(number + 1));
                assert_eq!(delivered(&next.outcomes[0]), format!("250 queued {}", number + 1));
            }
            drop(connection);
        };
        let (taken, ()) = tokio::join!(take_all(&mut peer), send);
        // Nothing was sent twice, and nothing got lost that was waited for.
        assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
        assert!((1..100).step_by(2).all(|number| taken.contains(&number)));
        // Both kinds were there: dropped before the session took the mail, and behind.
        assert!((51..100).contains(&taken.len()), "{taken:?}");
    }
}

/// A mail whose sender has given up before the session took it is not sent.
#[tokio::test]
async fn a_mail_nobody_waits_for_any_more_is_not_sent() {
    let (listener, port) = listen().await;
    let connection = Connection::open(&connector(port, plain()));
    // The greeting is still to come, so it waits in the queue.
    let abandoned = timeout(Duration::from_millis(1), connection.send(mail(0))).await;
    assert!(abandoned.is_err());
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(1).await;
    };
    let (finished, ()) = tokio::join!(connection.send(mail(1)), serve);
    assert!(finished.unwrap().outcomes[0].is_delivered());
}

/// The mail in an error that says that the session has ended.
#[track_caller]
fn given_back(result: Result<Finished, SendError>) -> Mail {
    match result {
        Err(SendError::Ended { mail: Some(mail) }) => *mail,
        other => panic!("not given back: {other:?}"),
    }
}

/// QUIT-03: a mail under way has an outcome; those behind it come back.
#[tokio::test]
async fn a_lost_connection_gives_back_what_it_has_not_taken() {
    let (listener, port) = listen().await;
    let (connection, end) = Connection::open_with(&connector(port, plain()));
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
    };
    let sends = async {
        tokio::join!(
            biased;
            connection.send(mail(0)),
            connection.send(mail(1)),
            connection.send(mail(2)),
            connection.send(mail(3)),
            connection.send(mail(4)),
            connection.send(mail(5)),
        )
    };
    let ((first, second, third, fourth, fifth, sixth), ()) = tokio::join!(sends, serve);
    assert!(matches!(first.unwrap().outcomes[..], [Outcome::NotSent(_)]));
    let others = [second, third, fourth, fifth, sixth].map(given_back);
    assert_eq!(others, [mail(1), mail(2), mail(3), mail(4), mail(5)]);
    assert!(matches!(end.await.unwrap(), CloseReason::Lost { .. }));
    assert_eq!(given_back(connection.send(mail(6)).await), mail(6));
}

#[tokio::test]
async fn without_a_connection_mails_come_back_and_the_end_says_why() {
    let (listener, port) = listen().await;
    drop(listener);
    let (connection, end) = Connection::open_with(&connector(port, plain()));
    assert_eq!(given_back(connection.send(mail(0)).await), mail(0));
    let error = end.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), format!("nobody listens at 127.0.0.1:{port}"));
}

#[tokio::test]
async fn a_refused_session_gives_mails_back() {
    let (listener, port) = listen().await;
    let (connection, end) = Connection::open_with(&connector(port, plain()));
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.say("554 no service").await; // CONN-03
        peer.part().await;
    };
    let (result, ()) = tokio::join!(connection.send(mail(0)), serve);
    assert_eq!(given_back(result), mail(0));
    assert_eq!(end.await.unwrap().reply().unwrap().to_string(), "554 no service");
}

#[tokio::test]
async fn an_unsendable_mail_does_not_disturb_the_next() {
    let (listener, port) = listen().await;
    let connection = Connection::open(&connector(port, plain()));
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING", "SIZE 100"]).await;
        let line = peer.line().await;
        assert!(line.starts_with("MAIL FROM:<from1@client.example>"), "{line}");
        peer.line().await;
        peer.line().await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer.hear_content().await;
        peer.say("250 queued").await;
    };
    let send = async {
        let big = mail_with(0, octets(1000));
        let error = connection.send(big).await.unwrap_err();
        let SendError::Unsendable(Unsendable::TooLarge { limit: 100, .. }) = error else {
            panic!("{error:?}")
        };
        assert!(connection.send(mail(1)).await.unwrap().outcomes[0].is_delivered());
    };
    tokio::join!(send, serve);
}
