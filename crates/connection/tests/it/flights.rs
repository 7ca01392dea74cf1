//! Flights of many mails: what leaves together, and in how many writes and records.

use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::drive;
use posthaste_connection::session::{
    CloseReason, Config, ImplicitTls, Mail, Pipelining, Session, TlsState,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, duplex};
use tokio::time::timeout;

use crate::driver::{Log, Writes};
use crate::support::{Notes, Peer, mail_with, now, octets, plain, recorder};
use crate::tls::Authority;

/// Enough to open the window as far as it goes.
const MAILS: usize = 400;
/// Mails of the widest window.
const WINDOW: usize = 64;
/// Octets of each content: so many lines.
const SIZE: usize = 14 * 78;
/// Room for the largest flight, so that a write is never cut short.
const CAPACITY: usize = 256 * 1024;

fn session(tls: ImplicitTls) -> Session {
    let config = Config { pipelining: Pipelining::Stream, ..plain() };
    Session::with_tls(now(), config, tls)
}

fn mails() -> impl Iterator<Item = Mail> {
    (0..MAILS).map(|number| mail_with(number, octets(SIZE)))
}

/// Answers each flight when it is there as a whole. Says how many mails each has.
async fn take_flights<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Vec<usize> {
    let mut peer = Peer::new(stream);
    peer.introduce(&["PIPELINING", "CHUNKING"]).await;
    let mut flights = vec![0];
    let mut replies = String::new();
    loop {
        // When nothing more comes for a second, the client waits.
        let Ok(line) = timeout(Duration::from_secs(1), peer.line()).await else {
            assert!(!replies.is_empty(), "the client waits for nothing, after {flights:?}");
            peer.say_exactly(&std::mem::take(&mut replies)).await;
            flights.push(0);
            continue;
        };
        if line == "QUIT" {
            peer.say_exactly(&(replies + "221 bye\r\n")).await;
            peer.hear_end().await;
            return flights;
        }
        assert!(!line.is_empty(), "the client has gone, after {flights:?}");
        replies += "250 ok\r\n";
        if line.starts_with("BDAT") {
            peer.stream.read_exact(&mut [0; SIZE]).await.unwrap();
            *flights.last_mut().unwrap() += 1;
        }
    }
}

fn assert_all_delivered(notes: &Notes) {
    assert_eq!(notes.closed(), CloseReason::Quit);
    assert_eq!(notes.outcomes().len(), MAILS);
    assert!(notes.outcomes().iter().all(|outcome| outcome.is_delivered()));
}

/// A stream, the other end of it, and what is written to it.
fn observed() -> (Writes<DuplexStream>, DuplexStream, Log) {
    let (near, far) = duplex(CAPACITY);
    let writes = Log::default();
    (Writes { stream: near, writes: Arc::clone(&writes) }, far, writes)
}

/// CONN-11: all mails that there is room for leave together.
#[tokio::test(start_paused = true)]
async fn a_flight_leaves_in_one_write() {
    let (stream, far, writes) = observed();
    let recorder = recorder(mails());
    let notes = recorder.notes.clone();
    let ((), flights) =
        tokio::join!(drive(session(ImplicitTls::No), stream, recorder), take_flights(far));
    assert_all_delivered(&notes);
    assert!(flights.contains(&WINDOW), "{flights:?}");
    // EHLO, and the flights: QUIT leaves with the last.
    assert_eq!(writes.lock().unwrap().len(), 1 + flights.len());
}

/// CONN-11: with TLS the records are as large as they can be, but for the last of a write.
#[tokio::test(start_paused = true)]
async fn a_flight_leaves_in_full_records() {
    const LARGEST: usize = 16 * 1024;
    /// What rustls takes at once.
    const LARGEST_WRITE: usize = 64 * 1024;

    let (stream, far, writes) = observed();
    let authority = Authority::new();
    let (stream, far) = tokio::join!(
        authority.client().connect("mx.example".try_into().unwrap(), stream),
        authority.acceptor(&["mx.example"]).accept(far)
    );
    writes.lock().unwrap().clear();
    let recorder = recorder(mails());
    let notes = recorder.notes.clone();
    let tls = ImplicitTls::Established(TlsState::default());
    let ((), flights) =
        tokio::join!(drive(session(tls), stream.unwrap(), recorder), take_flights(far.unwrap()));
    assert_all_delivered(&notes);

    let writes = writes.lock().unwrap();
    for write in writes.iter() {
        let records = records(write);
        let (last, others) = records.split_last().unwrap();
        assert!(others.iter().all(|octets| *octets > LARGEST), "{records:?}");
        assert!(*last < LARGEST + 256);
    }
    // A mail is more than its content, and less than twice that.
    let most: usize = flights.iter().map(|mails| (mails * 2 * SIZE).div_ceil(LARGEST_WRITE)).sum();
    // EHLO, QUIT where it leaves alone, and the alert that ends TLS.
    assert!(writes.len() <= most + 3, "{} writes for {flights:?}", writes.len());
}

/// How long the records of a write are, headers included.
fn records(write: &[u8]) -> Vec<usize> {
    const HEADER: usize = 5;
    let mut lengths = Vec::new();
    let mut rest = write;
    while let [_, _, _, high, low, ..] = rest {
        let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        rest = &rest[length..];
    }
    lengths
}
