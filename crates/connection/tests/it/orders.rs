//! What a driver is told while it is idle, and what it hears then.

use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::session::{
    CloseReason, Config, Event, Mail, Pipelining, Session, Stage, SubmitError, SubmitErrorReason,
    TransactionId, Violation,
};
use posthaste_connection::{Command, Dispatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

use crate::audited::converse;
use crate::support::{Note, Notes, Peer, mail, mail_with, octets, ordered, plain};

/// A session that has become idle, and the script for it from there.
async fn run_idle(
    mails: impl IntoIterator<Item = Mail>,
    script: impl AsyncFnOnce(Peer<DuplexStream>, UnboundedSender<Command>),
) -> Notes {
    let (near, far) = duplex(4096);
    let (recorder, orders) = ordered(mails);
    let notes = recorder.notes.clone();
    let config = plain();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        sleep(Duration::from_secs(60)).await;
        script(peer, orders).await;
    };
    tokio::join!(converse(config, near, recorder), serve);
    notes
}

#[tokio::test(start_paused = true)]
async fn an_order_to_quit_wakes_an_idle_driver() {
    let notes = run_idle([], async |mut peer, orders| {
        orders.send(Command::Quit).unwrap();
        timeout(Duration::from_secs(1), peer.part()).await.unwrap();
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Quit);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_abort_wakes_an_idle_driver() {
    let notes = run_idle([], async |mut peer, orders| {
        orders.send(Command::Abort).unwrap();
        timeout(Duration::from_secs(1), peer.hear_end()).await.unwrap();
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Aborted { stage: Stage::Idle });
}

#[tokio::test(start_paused = true)]
async fn orders_are_obeyed_in_order() {
    let notes = run_idle([], async |mut peer, orders| {
        orders.send(Command::SetPipelining(Pipelining::Off)).unwrap();
        orders.send(Command::Submit(mail(0))).unwrap();
        orders.send(Command::Quit).unwrap();
        // One at a time now.
        for reply in ["250 ok", "250 ok", "354 go"] {
            peer.line().await;
            let more = timeout(Duration::from_secs(1), peer.line()).await;
            assert!(more.is_err(), "{more:?}");
            peer.say(reply).await;
        }
        peer.hear_content().await;
        peer.say("250 queued").await;
        peer.part().await;
    })
    .await;
    assert!(notes.outcomes()[0].is_delivered());
    assert_eq!(notes.closed(), CloseReason::Quit);
}

/// TX-18, SM-09: content that is broken off is never completed with a terminator.
#[tokio::test(start_paused = true)]
async fn an_abort_leaves_content_unfinished() {
    const SIZE: usize = 1 << 16;
    let notes = run_idle([], async |mut peer, orders| {
        let mail = mail_with(0, octets(SIZE));
        orders.send(Command::Submit(mail)).unwrap();
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer.line().await;
        orders.send(Command::Abort).unwrap();
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < SIZE && !rest.ends_with(b".\r\n"));
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Aborted { stage: Stage::Content });
}

/// REP-16
#[tokio::test(start_paused = true)]
async fn an_idle_driver_notices_421() {
    let notes = run_idle([], async |mut peer, _orders| {
        peer.say("421 closing").await;
        timeout(Duration::from_secs(1), peer.hear_end()).await.unwrap();
    })
    .await;
    let CloseReason::Shutdown { stage: Stage::Idle, reply } = notes.closed() else {
        panic!("{notes:?}")
    };
    assert_eq!(reply.to_string(), "421 closing");
}

/// QUIT-05
#[tokio::test(start_paused = true)]
async fn an_idle_driver_notices_the_end() {
    let notes = run_idle([], async |mut peer, _orders| {
        peer.stream.shutdown().await.unwrap();
        timeout(Duration::from_secs(1), peer.hear_end()).await.unwrap();
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Lost { stage: Stage::Idle });
}

/// REP-16: what answers nothing ends the connection before the next mail can be confused with it.
#[tokio::test(start_paused = true)]
async fn an_idle_driver_notices_surplus() {
    let notes = run_idle([], async |mut peer, _orders| {
        peer.say("250 what else").await;
        timeout(Duration::from_secs(1), peer.hear_end()).await.unwrap();
    })
    .await;
    assert_eq!(
        notes.closed(),
        CloseReason::Violation { stage: Stage::Idle, violation: Violation::Surplus }
    );
}

/// Submits without looking at the room.
struct Pushy {
    mails: Vec<Mail>,
    /// The room it was told of each time.
    rooms: Vec<usize>,
    notes: Notes,
    returned: Vec<Mail>,
}

impl Dispatch for Pushy {
    fn poll_command(&mut self, _cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        self.rooms.push(room);
        match self.mails.pop() {
            Some(mail) => Poll::Ready(Command::Submit(mail)),
            None => Poll::Pending,
        }
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        let error = result.unwrap_err();
        self.notes.push(Note::Submitted(Err(error.reason)));
        self.returned.push(*error.mail);
    }

    fn handle_event(&mut self, event: Event, _session: &Session) {
        self.notes.push(Note::Event(event));
    }
}

/// A mail for which there is no room comes back unchanged.
#[tokio::test(start_paused = true)]
async fn a_mail_without_room_comes_back() {
    let (near, far) = duplex(4096);
    let mut pushy = Pushy {
        mails: vec![mail(1), mail(0)],
        rooms: Vec::new(),
        notes: Notes::default(),
        returned: Vec::new(),
    };
    // The greeting is still to come.
    tokio::join!(converse(plain(), near, &mut pushy), async { drop(far) });
    assert_eq!(pushy.returned, [mail(0), mail(1)]);
    assert_eq!(pushy.notes.submitted(), [Err(SubmitErrorReason::NoRoom); 2]);
    assert!(pushy.rooms.iter().all(|&room| room == 0));
}

/// There is room for as many mails as the mode needs, and never for more.
#[tokio::test(start_paused = true)]
async fn room_follows_the_mode() {
    for (pipelining, most) in [(Pipelining::Envelope, 1), (Pipelining::Cross, 2)] {
        let (near, far) = duplex(4096);
        let (mut recorder, _orders) = ordered((0..10).map(mail));
        recorder.quits = true;
        let notes = recorder.notes.clone();
        let config = Config { pipelining, ..plain() };
        let serve = async {
            let mut peer = Peer::new(far);
            peer.introduce(&["PIPELINING"]).await;
            peer.hear_envelope(0).await;
            // The driver has taken what it has room for, and now waits.
            sleep(Duration::from_secs(1)).await;
            assert_eq!(notes.submitted().len(), most);
        };
        tokio::join!(converse(config, near, recorder), serve);
        assert!(notes.submitted().iter().all(Result::is_ok));
    }
}
