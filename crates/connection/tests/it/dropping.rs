//! A driver that is dropped, or whose dispatch panics.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::session::{
    Config, Event, Mail, Outcome, Pipelining, Session, SubmitError, TransactionId,
};
use posthaste_connection::{Command, Dispatch, drive};
use tokio::io::duplex;

use crate::support::{Note, Notes, Peer, mail, mail_with, now, octets, plain, recorder};

/// Lets a future run for so many polls. True when it is done by then.
async fn poll_times(times: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(false);
        }
        polls += 1;
        let result = future.as_mut().poll(cx).map(|()| true);
        if polls == times && result.is_pending() {
            return Poll::Ready(false);
        }
        result
    })
    .await
}

const MAILS: usize = 4;

/// Drives a session through small buffers, drops it after so many polls, and says whether it was done by then.
async fn run_and_drop(polls: usize, pipelining: Pipelining) -> (bool, Notes) {
    let (near, far) = duplex(64);
    let mails = (0..MAILS).map(|n| if n == 1 { mail_with(n, octets(500)) } else { mail(n) });
    let recorder = recorder(mails);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        for number in 0..MAILS {
            peer.say("250 ok\r\n250 ok\r\n354 go").await;
            peer.hear_content().await;
            if number + 1 == MAILS {
                break;
            }
            if pipelining == Pipelining::Cross {
                peer.hear_envelope(number + 1).await;
                peer.say("250 queued").await;
            } else {
                peer.say("250 queued").await;
                peer.hear_envelope(number + 1).await;
            }
        }
        peer.say("250 queued").await;
        peer.part().await;
        std::future::pending::<()>().await;
    };
    let session = Session::new(now(), Config { pipelining, ..plain() });
    tokio::select! {
        biased;
        done = poll_times(polls, drive(session, near, recorder)) => (done, notes),
        () = serve => unreachable!(),
    }
}

/// TX-30: wherever the future is dropped, each submitted mail has one outcome, and the end is heard last.
#[tokio::test(start_paused = true)]
async fn dropped_at_every_await_point() {
    for pipelining in [Pipelining::Envelope, Pipelining::Cross] {
        let mut polls = 1;
        let mut in_doubt = 0;
        loop {
            let (done, notes) = run_and_drop(polls, pipelining).await;
            notes.closed();
            let submitted: Vec<TransactionId> =
                notes.submitted().into_iter().map(Result::unwrap).collect();
            let finished: Vec<_> = notes.finished().iter().map(|finished| finished.id).collect();
            assert_eq!(submitted, finished, "dropped after {polls} polls");
            in_doubt += notes.outcomes().iter().filter(|o| **o == Outcome::InDoubt).count();
            if done {
                assert!(notes.outcomes().iter().all(Outcome::is_delivered));
                assert_eq!(finished.len(), MAILS);
                break;
            }
            polls += 1;
        }
        // The small buffers make for many await points, also between end of content and reply.
        assert!(polls > 20, "{polls}");
        assert!(in_doubt > 0);
    }
}

/// Hears everything and panics at the first outcome.
struct Panics(Notes, Option<Mail>);

impl Dispatch for Panics {
    fn poll_command(&mut self, _cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        match self.1.take_if(|_| room > 0) {
            Some(mail) => Poll::Ready(Command::Submit(Box::new(mail))),
            None => Poll::Pending,
        }
    }

    fn handle_submitted(&mut self, _result: Result<TransactionId, SubmitError>) {}

    fn handle_event(&mut self, event: Event, _session: &Session) {
        let panics = matches!(event, Event::Finished(_));
        self.0.push(Note::Event(event));
        assert!(!panics, "this panic is part of the test");
    }
}

/// A panic of the dispatch ends its connection and nothing else.
#[tokio::test(start_paused = true)]
async fn a_panic_does_not_hang() {
    let (near, far) = duplex(4096);
    let notes = Notes::default();
    let dispatch = Panics(notes.clone(), Some(mail(0)));
    let driver = tokio::spawn(drive(Session::new(now(), plain()), near, dispatch));
    let mut peer = Peer::new(far);
    peer.introduce(&["PIPELINING"]).await;
    peer.take_mail(0).await;
    let since = now();
    peer.hear_end().await;
    assert!(driver.await.unwrap_err().is_panic());
    assert!(now() - since < Duration::from_secs(1));
    notes.closed();
}
