//! A driver that is dropped, or whose dispatch panics.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::session::{
    Config, Event, Mail, Outcome, Pipelining, Session, SubmitError, TransactionId,
};
use posthaste_connection::{Command, Dispatch, Security};
use tokio::io::{AsyncReadExt, duplex};

use crate::audited::converse;
use crate::support::{Note, Notes, Peer, listen, mail, mail_with, now, octets, plain, recorder};
use crate::tls::{Authority, accept_tls, connector, require};

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

/// Drives a session through small buffers, drops it after so many polls, and says whether it was
/// done by then.
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
    let config = Config { pipelining, ..plain() };
    tokio::select! {
        biased;
        done = poll_times(polls, converse(config, near, recorder)) => (done, notes),
        () = serve => unreachable!(),
    }
}

/// TX-30: wherever the future is dropped, each submitted mail has one outcome, and the end is heard
/// last.
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

/// Hears everything and panics where it is told to.
struct Panics {
    notes: Notes,
    mails: VecDeque<Mail>,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Command,
    Submitted,
    Ready,
    Finished,
    Closed,
}

impl Panics {
    fn here(&self, at: At) {
        assert!(self.at != at, "this panic is part of the test");
    }
}

impl Dispatch for Panics {
    fn poll_command(&mut self, _cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        if room == 0 {
            return Poll::Pending;
        }
        self.here(At::Command);
        match self.mails.pop_front() {
            Some(mail) => Poll::Ready(Command::Submit(mail)),
            None => Poll::Pending,
        }
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        self.notes.push(Note::Submitted(result.map_err(|error| error.reason)));
        self.here(At::Submitted);
    }

    fn handle_event(&mut self, event: Event, _session: &Session) {
        let at = match event {
            Event::Ready => At::Ready,
            Event::Finished(_) => At::Finished,
            Event::Closed(_) => At::Closed,
            _ => return,
        };
        self.notes.push(Note::Event(event));
        self.here(at);
    }
}

/// A panic of the dispatch ends its connection and nothing else, and no outcome is lost by it, not
/// even when it panics again at the next one.
#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_connection_only() {
    for at in [At::Command, At::Submitted, At::Ready, At::Finished, At::Closed] {
        let (near, far) = duplex(4096);
        let notes = Notes::default();
        let mails = (0..2).map(mail).collect();
        let dispatch = Panics { notes: notes.clone(), mails, at };
        let config = Config { pipelining: Pipelining::Cross, ..plain() };
        let driver = tokio::spawn(converse(config, near, dispatch));
        let (other_near, other_far) = duplex(4096);
        let other = recorder([mail(7)]);
        let other_notes = other.notes.clone();
        let other = tokio::spawn(converse(plain(), other_near, other));

        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        let since = now();
        if matches!(at, At::Finished | At::Closed) {
            peer.hear_envelope(0).await;
            peer.say("250 ok\r\n250 ok\r\n354 go").await;
            peer.hear_content().await;
            peer.hear_envelope(1).await;
            peer.say("250 queued 0").await;
            if at == At::Closed {
                drop(peer);
            }
        } else {
            let _ = peer.stream.read_to_end(&mut Vec::new()).await;
        }
        assert!(driver.await.unwrap_err().is_panic(), "{at:?}");
        assert!(now() - since < Duration::from_secs(1));
        notes.closed();
        let submitted = notes.submitted().into_iter().map(Result::unwrap);
        let finished = notes.finished().into_iter().map(|finished| finished.id);
        assert_eq!(Vec::from_iter(submitted), Vec::from_iter(finished), "{at:?}");

        let mut peer = Peer::new(other_far);
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(7).await;
        peer.part().await;
        other.await.unwrap();
        assert!(other_notes.outcomes()[0].is_delivered());
    }
}

/// One session by STARTTLS, dropped after so many polls; what was heard of it, and whether it was
/// done by then.
async fn connect_and_drop(polls: usize) -> (bool, Notes) {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let (listener, port) = listen().await;
    let connector = connector(port, Security::StartTls, &authority.settings(), require());
    let mut recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        if let Ok(mut peer) = accept_tls(&listener, Security::StartTls, &acceptor).await {
            peer.take_mail(0).await;
            peer.part().await;
        }
        std::future::pending::<()>().await;
    };
    let run = async { connector.run(|_| {}, &mut recorder).await.unwrap() };
    tokio::select! {
        biased;
        done = poll_times(polls, run) => (done, notes),
        () = serve => unreachable!(),
    }
}

/// TX-30: the same from the first octet of a connection to the last, with a handshake in between.
#[tokio::test]
async fn a_connection_is_dropped_at_every_await_point() {
    let mut polls = 1;
    loop {
        let (done, notes) = connect_and_drop(polls).await;
        if !notes.infos().is_empty() {
            notes.closed();
        }
        let submitted = notes.submitted().into_iter().map(Result::unwrap);
        let finished = notes.finished().into_iter().map(|finished| finished.id);
        assert_eq!(Vec::from_iter(submitted), Vec::from_iter(finished), "after {polls} polls");
        if done {
            assert!(notes.outcomes()[0].is_delivered());
            break;
        }
        polls += 1;
    }
    assert!(polls > 10, "{polls}");
}
