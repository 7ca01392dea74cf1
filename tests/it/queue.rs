//! What a mail meets before it is on a connection: the bound of the queue, and connections that have
//! ended in the meantime.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthaste::Mailer;
use posthaste::scheduler::{Record, SchedulerConfig, ServerStatus};
use posthaste_tests::wait_until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::engine::mail;
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
