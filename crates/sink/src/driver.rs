//! The tokio shell around one session.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::progress::Progress;
use crate::session::{Close, Event, Session};

/// Whether, and how, a sink comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Not,
    /// Clients are told, connections close in order.
    InOrder,
    /// Connections are reset.
    AtOnce,
}

/// What the drivers of a sink share.
pub(crate) struct Surroundings {
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) progress: Progress,
}

/// Runs a session over a connection until it ends; the end is written but for what only a socket can
/// do about it.
pub(crate) async fn run<S>(
    mut stream: S,
    mut session: Session,
    surroundings: &Surroundings,
    mut stop: watch::Receiver<Stop>,
) -> Close
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match drive(&mut stream, &mut session, surroundings, &mut stop).await {
        Event::Close(how) => finish(&mut stream, how, &mut stop).await,
        // Apart, because a connection that never has TLS need not have the room for it.
        Event::StartTls => Box::pin(run_inside_tls(stream, session, surroundings, stop)).await,
    }
}

async fn run_inside_tls<S>(
    mut stream: S,
    mut session: Session,
    surroundings: &Surroundings,
    mut stop: watch::Receiver<Stop>,
) -> Close
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(acceptor) = &surroundings.acceptor else {
        return finish(&mut stream, Close::Fin, &mut stop).await;
    };
    let Ok(Ok(mut stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return Close::Fin;
    };
    let connection = stream.get_ref().1;
    if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        let binding = connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]));
        if let Ok(binding) = binding {
            session.set_channel_binding(binding);
        }
    }
    session.tls_established(Instant::now().into_std());
    match drive(&mut stream, &mut session, surroundings, &mut stop).await {
        Event::Close(how) => finish(&mut stream, how, &mut stop).await,
        // There is no TLS inside TLS.
        Event::StartTls => finish(&mut stream, Close::Fin, &mut stop).await,
    }
}

/// Serves the session until it wants something other than octets to be moved.
async fn drive<S>(
    stream: &mut S,
    session: &mut Session,
    surroundings: &Surroundings,
    stop: &mut watch::Receiver<Stop>,
) -> Event
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut is_stopped = false;
    loop {
        if write(stream, session).await.is_err() {
            return Event::Close(Close::Fin);
        }
        if let Some(event) = session.poll_event() {
            return event;
        }
        let (wants_input, deadline) = (session.wants_input(), session.poll_deadline());
        tokio::select! {
            biased;
            read = read(stream, session), if wants_input => {
                if read.is_err() {
                    return Event::Close(Close::Fin);
                }
            }
            () = until(deadline) => session.handle_timeout(Instant::now().into_std()),
            () = shut_down(stop), if !is_stopped => {
                is_stopped = true;
                session.handle_shutdown();
            }
            () = stall(), if !wants_input && deadline.is_none() => {
                return Event::Close(Close::Fin);
            }
        }
        surroundings.progress.reached(session.mails_of_sink());
    }
}

/// Writes all the session has to say.
async fn write<S>(stream: &mut S, session: &mut Session) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    if session.output().is_empty() {
        return Ok(());
    }
    while !session.output().is_empty() {
        let written = stream.write(session.output()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        session.transmitted(written);
    }
    stream.flush().await
}

/// Reads once, and hands what came to the session.
///
/// The buffer is the thread's, not the connection's: a session keeps what it needs, so that ten
/// thousand idle connections cost no buffers, and a busy one reads into a warm one.
async fn read<S>(stream: &mut S, session: &mut Session) -> io::Result<()>
where
    S: AsyncRead + Unpin,
{
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(READ, 0);
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            match buffer.filled() {
                [] => session.handle_eof(),
                octets => session.handle_input(Instant::now().into_std(), octets),
            }
            Ok(()).into()
        })
    })
    .await
}

/// Closes in order. What the client still sends is read for a while: with octets unread, closing
/// resets the connection, and the client may lose the last reply. A sink that stops does not wait.
async fn finish<S>(stream: &mut S, how: Close, stop: &mut watch::Receiver<Stop>) -> Close
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if how == Close::Rst {
        return how;
    }
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut octets = vec![0; 4096];
        for _ in 0..LINGER_READS {
            if !matches!(stream.read(&mut octets).await, Ok(1..)) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        _ = timeout(LINGER, drain) => {}
        _ = stop.wait_for(|stop| *stop != Stop::Not) => {}
    }
    how
}

/// Waits until the sink shuts down or is dropped. One that is killed drops its drivers.
async fn shut_down(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(|stop| *stop == Stop::InOrder).await;
}

/// Made when it is polled, which is seldom: a timer costs what a flight does.
async fn stall() {
    sleep(STALL).await;
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Octets of one read. Measured in a pipelined stream: half of it costs more processor time for a
/// mail, twice as much no less.
const READ: usize = 128 << 10;

/// A client that takes longer for a handshake has given up, or is a test of its own timeout.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// The label of the channel binding `tls-exporter` (RFC 9266 4.2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How long a stalled session is left open: longer than the longest timeout a client has, ten minutes
/// at the end of data (RFC 5321 4.5.3.2.6).
const STALL: Duration = Duration::from_secs(15 * 60);

/// How long, and how many reads, a closing connection is read from: a flight, and a round trip.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 64;
