//! What a mail meets before it is on a connection: the bound of the queue, and connections that have
//! ended in the meantime.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthaste::Mailer;
use posthaste::scheduler::{PipeliningPolicy, Record, SchedulerConfig, ServerStatus};
use posthaste::session::Pipelining;
use posthaste_tests::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::engine::{mail, sink};
use crate::scripted::Scripted;

/// How long a test looks whether something happens that must not.
const A_WHILE: Duration = Duration::from_millis(200);

/// SCHED-09, RX-10: mails are taken from their source only as fast as there is room for them, and
/// reports that nobody takes leave no room.
#[tokio::test]
async fn a_fast_source_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = SchedulerConfig { intake: 64 * 1024, ..SchedulerConfig::default() };
    let mailer = Mailer::builder(&address).unwrap().scheduler(config).build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let source = stream::iter(0..).map(|number| {
        taken.fetch_add(1, Ordering::Relaxed);
        mail(number, 1)
    });
    let mut reports = pin!(mailer.send_all(source));
    assert!(tokio::time::timeout(A_WHILE, reports.next()).await.is_err(), "nobody has greeted");
    // A mail of up to 1 KiB counts for 1 KiB, and one more is ready to be handed in.
    let taken = taken.load(Ordering::Relaxed);
    assert!((64..=65).contains(&taken), "{taken} mails were taken from the source");
    mailer.shutdown_within(Duration::ZERO).await;
}

/// How a server ends a connection that has nothing to do.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It closes it.
    Close,
    /// It says nothing more, but would listen.
    HalfClose,
    /// It closes it just when the next mail comes.
    CloseAtMail,
    /// It says so first.
    SayGoodbye,
}

/// QUIT-04, QUIT-05, CL-05, FL-08, Q66: a connection that ends while it is idle, or in the moment in which
/// it is used again, costs the next mail nothing, and that mail is delivered once.
#[tokio::test]
async fn connections_that_end_while_idle_cost_nothing() {
    for end in [End::Close, End::HalfClose, End::CloseAtMail, End::SayGoodbye] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mailer = Mailer::builder(&address).unwrap().max_connections(1).build().unwrap();
        let serve = async {
            let mut first = Scripted::accept(&listener, &["PIPELINING"]).await;
            let mut ids = vec![first.take_mail().await];
            match end {
                End::Close => drop(first),
                End::HalfClose => first.stream.shutdown().await.unwrap(),
                End::CloseAtMail => {
                    assert!(first.line().await.starts_with("MAIL "));
                    drop(first);
                }
                End::SayGoodbye => {
                    first.say("421 4.4.2 idle for too long").await;
                    drop(first);
                }
            }
            let mut second = Scripted::accept(&listener, &["PIPELINING"]).await;
            ids.push(second.take_mail().await);
            assert_eq!(second.line().await, "QUIT");
            second.say("221 bye").await;
            ids
        };
        let send = async {
            let first = mailer.send(mail(1, 1)).await;
            if !matches!(end, End::CloseAtMail) {
                let is_gone = || (mailer.status().open == 0).then_some(());
                wait_until(Duration::from_secs(10), "the end", is_gone).await;
            }
            let second = mailer.send(mail(2, 1)).await;
            mailer.shutdown().await;
            [first, second]
        };
        let (ids, reports) = tokio::join!(serve, send);
        assert_eq!(ids, ["Message-ID: <1@client.example>", "Message-ID: <2@client.example>"]);
        for report in &reports {
            assert!(report.is_delivered(), "{end:?}: {report:?}");
            assert_eq!(report.recipients[0].attempts, 1, "{end:?}: {report:?}");
        }
    }
}

/// LK-06, RX-09: what is there to be counted is plain data, in which no address and no word of a server
/// has a place.
#[test]
fn what_is_counted_holds_no_text() {
    fn holds_no_text<T: Copy + 'static>() {}
    holds_no_text::<Record>();
    holds_no_text::<ServerStatus>();
    holds_no_text::<posthaste::RecipientState>();
    holds_no_text::<posthaste::scheduler::Cause>();
    holds_no_text::<posthaste::connection::ErrorKind>();
}

/// What is taken gives room at once where there is little, also to whoever takes it: a stream whose next mail
/// waits for room does not come first.
#[tokio::test]
async fn a_report_can_be_followed_by_another_mail() {
    const MAILS: usize = 81;
    for room in [1, 8, 80] {
        let sink = sink("").await;
        let config = SchedulerConfig { intake: room * 1024, ..SchedulerConfig::default() };
        let mailer = Mailer::builder(&sink.addr().to_string()).unwrap().scheduler(config);
        let mailer = mailer.build().unwrap();
        let mails = stream::iter((0..MAILS).map(|number| mail(number, 1)));
        let mut reports = pin!(mailer.send_all(mails));
        // All that there is room for is reported, and nothing of it is taken.
        let first = reports.next().await;
        let is_full = || (sink.stats().mails >= room as u64).then_some(());
        wait_until(Duration::from_secs(10), "a full queue", is_full).await;
        assert!(first.is_some());
        let mut followed = 0;
        while reports.next().await.is_some() {
            let sent = mailer.send(mail(100 + followed, 1));
            let report = tokio::time::timeout(Duration::from_secs(10), sent).await;
            assert!(report.expect("room for one mail").is_delivered());
            followed += 1;
        }
        assert_eq!(followed, MAILS - 1, "{room} KiB");
        mailer.shutdown().await;
    }
}

/// A connection that has had its share ends with the last mail, whose report does not wait for that: a server
/// may take its time for its end.
#[tokio::test]
async fn the_last_report_does_not_wait_for_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mailer = Mailer::builder(&address).unwrap().max_connections(1).max_mails_per_connection(2);
    let mailer = mailer.pipelining(PipeliningPolicy::Fixed(Pipelining::Cross)).build().unwrap();
    let (answer, until) = tokio::sync::oneshot::channel::<()>();
    let serve = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let mut octets = [0; 64 * 1024];
        let mut say = async |words: &str| writer.write_all(words.as_bytes()).await.unwrap();
        let mut hear = async || assert!(reader.read(&mut octets).await.unwrap() > 0);
        say("220 x ESMTP\r\n").await;
        hear().await;
        say("250-x\r\n250 PIPELINING\r\n").await;
        hear().await;
        say("250 ok\r\n250 ok\r\n354 go\r\n").await;
        hear().await;
        say("250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n").await;
        hear().await;
        say("250 taken\r\n221 bye\r\n").await;
        // It does not close.
        let _ = until.await;
    };
    let served = tokio::spawn(serve);
    let reports: Vec<_> =
        mailer.send_all(stream::iter((0..2).map(|number| mail(number, 1)))).collect().await;
    for (_, report) in &reports {
        let total = report.timing.total();
        assert!(report.is_delivered() && total < Duration::from_millis(900), "{total:?}");
    }
    assert_eq!(reports.len(), 2);
    answer.send(()).unwrap();
    served.await.unwrap();
}
