//! What a mailer tells of a server that is there, and of one that follows too slowly.

use futures_util::StreamExt;
use posthaste_scheduler::RetryPolicy;
use posthaste_sink::SinkOptions;

use super::{EventKind, Events, ServerState};
use crate::{Mail, Mailer};

async fn events(options: &str, capacity: usize, mails: usize) -> Vec<EventKind> {
    let sink = SinkOptions::from_query(options).unwrap().start().await.unwrap();
    let mailer = Mailer::builder(&format!("smtp://{}", sink.addr())).unwrap();
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let (mailer, events) = mailer.max_connections(1).retry(retry).events(capacity);
    let mailer = mailer.build().unwrap();
    let mail = |_| mail();
    let reports = mailer.send_all(futures_util::stream::iter((0..mails).map(mail)));
    reports.collect::<Vec<_>>().await;
    mailer.shutdown().await;
    all(events).await
}

fn mail() -> Mail {
    let ann: crate::ReversePath = "ann@a.test".parse().unwrap();
    let bob: crate::ForwardPath = "bob@b.test".parse().unwrap();
    let envelope = crate::Envelope::new(ann, vec![bob]);
    Mail::new(envelope.unwrap(), crate::Content::new("Subject: s\r\n\r\nhi\r\n").unwrap())
}

async fn all(mut events: Events) -> Vec<EventKind> {
    events.close();
    events.map(|event| event.kind).collect().await
}

#[tokio::test]
async fn a_mail_is_followed_from_connect_to_quit() {
    let events = events("", 100, 1).await;
    let [opened, attempt, delivered, closed] = &events[..] else { panic!("{events:#?}") };
    assert!(matches!(opened, EventKind::ConnectionOpened { connection: 0, .. }), "{opened:?}");
    let EventKind::Attempt(attempt) = attempt else { panic!("{attempt:?}") };
    assert_eq!((attempt.mail, attempt.accepted, attempt.refused), (1, 1, 0));
    let EventKind::Delivered(outcome) = delivered else { panic!("{delivered:?}") };
    assert_eq!((outcome.mail, outcome.rcpt.as_str()), (1, "bob@b.test"));
    assert!(matches!(closed, EventKind::ConnectionClosed { how: "quit", .. }), "{closed:?}");
}

#[tokio::test]
async fn a_throttle_slows_the_server() {
    let events = events("fault=at%3Drcpt%20reply%3D%22450 4.7.1 rate limit%22", 100, 1).await;
    let slowed = events.iter().find_map(|event| match event {
        EventKind::ServerStateChanged { state, why, until, .. } => Some((*state, *why, until)),
        _ => None,
    });
    let (state, why, until) = slowed.unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!((state, why), (ServerState::Slowed, Some("throttled")));
    assert!(until.is_some());
}

#[tokio::test]
async fn what_nobody_takes_is_counted() {
    let events = events("", 3, 20).await;
    assert_eq!(events.len(), 4, "{events:#?}");
    let EventKind::EventsLost { count } = events[0] else { panic!("{events:#?}") };
    // An attempt and an outcome of each mail, two or more of the connection, less what was kept.
    assert!(count >= 20 * 2 + 2 - 3, "{count}");
}

#[cfg(feature = "serde")]
#[test]
fn they_are_flat_objects() {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Event, Limit, Timestamp};

    let at = Timestamp::from(UNIX_EPOCH + Duration::from_millis(1_780_315_231_250));
    let server = std::sync::Arc::from("mx.example:25");
    let limit = Limit::Greylisting(Duration::from_secs(5));
    let kind = EventKind::LimitLearned { server, limit, until: None };
    let json = serde_json::to_string(&Event { at, kind }).unwrap();
    let expected = r#"{"at":"2026-06-01T12:00:31.250Z","event":"limit_learned","server":"mx.example:25","limit":"greylisting","value":5000}"#;
    assert_eq!(json, expected);
}
