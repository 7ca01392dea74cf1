//! The loop around one session: it reads, writes, watches the clock, and decides nothing.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use posthaste_session::{CloseReason, DerivedKey, Event, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep_until, timeout};

use crate::dispatch::{Command, Dispatch};

/// Octets read at once: the replies to a flight of a few hundred commands. The buffer lives on the
/// stack of one poll, so an idle connection holds none.
const READ_SIZE: usize = 16 * 1024;
/// Slices written at once where many mails are in flight: 128 streamed mails, each with its commands and its
/// content. One mail a write costs the kernel 5 µs a mail, 16 cost 0.5, 40 cost 0.36, 128 cost 0.28, and
/// more than that do not cost less.
const MANY_SLICES: usize = 384;
/// The same within TLS, which looks at all slices for each record of 16 KiB: two records, which the server reads while
/// the next ones are encrypted.
const TLS_SLICES: usize = 64;
/// Slices written at once where there are at most [`FEW_MAILS`]: more would be laid out for nothing.
const FEW_SLICES: usize = 32;
const FEW_MAILS: usize = 8;
/// The same for a content, and the envelope of the mail behind it.
const CROSS_SLICES: usize = 8;
const CROSS_MAILS: usize = 2;
/// Octets that are copied together rather than written from where they are: the kernel takes a quarter of a
/// microsecond more for several slices than for one, in which it could copy them twice.
const FLAT_SIZE: usize = 4 * 1024;
/// Commands obeyed in one round: the mails of one write. A mail takes room away, but one that the
/// server cannot be given does not.
const MAX_COMMANDS: usize = 128;
/// Rounds of reading and writing before other tasks get their turn.
const MAX_ROUNDS: usize = 32;
/// How long there may be nothing to be read behind a failed write. The runtime learns of the two
/// one after the other, and what the server said last may explain it.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);
/// How long a close may take that is only polite. It waits for the server's end of the connection
/// too, so that the server does not count one too many when the next one is opened.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);

/// The runtime's clock, which stands still in tests that ask for it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Why the driver stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The session wants TLS.
    StartTls,
    /// The session is over.
    Closed,
}

/// Runs a session on a stream that needs no STARTTLS (because it is not wanted, or TLS is there
/// already).
///
/// Returns when the session is closed; the reason is in the last event, [`Event::Closed`].
///
/// # Cancel safety
///
/// When the future is dropped the session is aborted, and `dispatch` hears the outcome of every
/// mail before that drop returns.
pub async fn drive<S, D>(session: Session, stream: S, dispatch: D)
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: Dispatch,
{
    let mut driver = Driver::new(session, dispatch);
    driver.run(stream).await;
}

/// A session and whoever gives it its mails.
pub(crate) struct Driver<D: Dispatch> {
    pub(crate) session: Session,
    pub(crate) dispatch: D,
    wants_tls: bool,
    /// A key that the session waits for. When the driver is dropped, it is finished for nobody.
    derivation: Option<JoinHandle<DerivedKey>>,
    ended_politely: bool,
    needs_flush: bool,
    /// A write has failed, so nothing more is written, and read only until then.
    reads_until: Option<Instant>,
}

impl<D: Dispatch> Driver<D> {
    pub(crate) fn new(session: Session, dispatch: D) -> Self {
        Self {
            session,
            dispatch,
            wants_tls: false,
            derivation: None,
            ended_politely: false,
            needs_flush: false,
            reads_until: None,
        }
    }

    /// Drives the session until it is over, or wants TLS and hands the stream back for it.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        mut stream: S,
    ) -> Option<S> {
        let deadline = self.session.poll_deadline().unwrap_or_else(now);
        let mut alarm = Alarm { timer: pin!(sleep_until(deadline.into())), registered: None };
        let stopped = poll_fn(|cx| self.poll(cx, &mut stream, &mut alarm)).await;
        match stopped {
            Stopped::StartTls => Some(stream),
            Stopped::Closed => {
                if self.ended_politely {
                    // The server has said its goodbye, or has been given the time for it.
                    let _ = Box::pin(timeout(SHUTDOWN_TIME, shut_down(&mut stream))).await;
                }
                None
            }
        }
    }

    /// Takes what has come already, before a word is said: with a handshake can come what nobody
    /// asked for.
    pub(crate) async fn hear<S: AsyncRead + Unpin>(&mut self, stream: &mut S) {
        poll_fn(|cx| Poll::Ready(self.read(cx, stream))).await;
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        alarm: &mut Alarm<'_>,
    ) -> Poll<Stopped> {
        let mut has_more = true;
        for _ in 0..MAX_ROUNDS {
            let heard = self.read(cx, stream);
            if heard.is_none() && !has_more && alarm.poll(cx, self.deadline()).is_pending() {
                if self.session.in_flight() == 0 {
                    self.session.shrink();
                }
                return Poll::Pending;
            }
            // A round takes microseconds, so one look at the clock does for all of it.
            let now = heard.unwrap_or_else(|| self.expire());
            self.handle_events();
            if let Some(stopped) = self.stopped() {
                return Poll::Ready(stopped);
            }
            self.fetch_key(cx, now);
            has_more = self.obey(cx, now);
            has_more |= self.write(cx, stream, now);
            // Whoever hears of them may have another command.
            has_more |= self.handle_events();
            if let Some(stopped) = self.stopped() {
                return Poll::Ready(stopped);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn stopped(&mut self) -> Option<Stopped> {
        if self.session.is_closed() {
            return Some(Stopped::Closed);
        }
        std::mem::take(&mut self.wants_tls).then_some(Stopped::StartTls)
    }

    /// Whether there were any.
    fn handle_events(&mut self) -> bool {
        let mut were_some = false;
        while let Some(event) = self.session.poll_event() {
            were_some = true;
            match &event {
                Event::StartTls => self.wants_tls = true,
                Event::DeriveKey(derivation) if !self.session.is_closed() => {
                    let derivation = derivation.clone();
                    self.derivation = Some(spawn_blocking(|| derivation.derive()));
                }
                Event::Closed(reason) => self.ended_politely = *reason == CloseReason::Quit,
                _ => {}
            }
            self.dispatch.handle_event(event, &self.session);
        }
        were_some
    }

    /// Gives the session the key that it waits for.
    fn fetch_key(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(derivation) = &mut self.derivation else { return };
        let Poll::Ready(result) = Pin::new(derivation).poll(cx) else { return };
        self.derivation = None;
        match result {
            Ok(key) => self.session.key_derived(now, key),
            // The runtime shuts down.
            Err(_) => self.session.abort(now),
        }
    }

    /// Takes mails while there is room for them. Whether there may be more.
    fn obey(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for _ in 0..MAX_COMMANDS {
            let Poll::Ready(command) = self.dispatch.poll_command(cx, self.session.room()) else {
                return false;
            };
            match command {
                Command::Submit(mail) => {
                    let result = self.session.submit(now, mail);
                    self.dispatch.handle_submitted(result);
                }
                Command::SetPipelining(mode) => self.session.set_pipelining(now, mode),
                Command::Quit => self.session.quit(now),
                Command::Abort => self.session.abort(now),
            }
            if self.session.is_closed() {
                break;
            }
        }
        true
    }

    /// Whether that failed, so that nothing more is written.
    fn write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        now: Instant,
    ) -> bool {
        let could_write = self.reads_until.is_none();
        while self.session.has_transmit() && self.reads_until.is_none() {
            let mails = self.session.in_flight();
            let result = if mails <= CROSS_MAILS {
                self.poll_write_few::<_, CROSS_SLICES>(cx, stream)
            } else if mails <= FEW_MAILS {
                self.poll_write_few::<_, FEW_SLICES>(cx, stream)
            } else if self.session.is_tls() {
                self.poll_write::<_, TLS_SLICES>(cx, stream)
            } else {
                self.poll_write::<_, MANY_SLICES>(cx, stream)
            };
            match result {
                Poll::Pending => return false,
                Poll::Ready(Ok(octets)) if octets > 0 => {
                    self.session.transmitted(now, octets);
                    self.needs_flush = true;
                }
                Poll::Ready(_) => self.reads_until = Some(now + LAST_WORDS_TIME),
            }
        }
        if self.needs_flush && self.reads_until.is_none() {
            // TLS holds back what it could not write at once.
            match Pin::new(stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(_)) => self.reads_until = Some(now + LAST_WORDS_TIME),
            }
        }
        could_write && self.reads_until.is_some()
    }

    fn poll_write<S: AsyncWrite + Unpin, const SLICES: usize>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = self.session.poll_transmit(&mut slices);
        Pin::new(stream).poll_write_vectored(cx, &slices[..used])
    }

    /// The same for what few mails have to say, as one slice if it is short.
    fn poll_write_few<S: AsyncWrite + Unpin, const SLICES: usize>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = self.session.poll_transmit(&mut slices);
        let slices = &slices[..used];
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > FLAT_SIZE {
            return Pin::new(stream).poll_write_vectored(cx, slices);
        }
        let mut memory = [const { MaybeUninit::uninit() }; FLAT_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory);
        slices.iter().for_each(|slice| buffer.put_slice(slice));
        Pin::new(stream).poll_write(cx, buffer.filled())
    }

    /// When something was heard, be it the end.
    fn read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Option<Instant> {
        let mut memory = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory);
        let result = match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return None,
            Poll::Ready(result) => result,
        };
        let now = now();
        match (result, buffer.filled()) {
            (Ok(()), octets @ [_, ..]) => self.session.handle_input(now, octets),
            (Ok(()) | Err(_), _) => self.session.handle_eof(now),
        }
        Some(now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.session.poll_deadline().into_iter().chain(self.reads_until).min()
    }

    /// Ends what has a deadline that has passed, and says when it looked. Only where nothing was heard: what has come in
    /// time counts, however late it is read.
    fn expire(&mut self) -> Instant {
        let now = now();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.session.handle_timeout(now);
            if self.reads_until.is_some() {
                self.session.handle_eof(now);
            }
        }
        now
    }
}

/// The timer of a driver. It is only ever moved when it fires or must fire earlier: a deadline that is put off with
/// each reply costs nothing.
struct Alarm<'a> {
    timer: Pin<&'a mut Sleep>,
    /// Whom the timer wakes.
    registered: Option<Waker>,
}

impl Alarm<'_> {
    /// Ready when a deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let is_early = self.timer.deadline() <= deadline.into() && !self.timer.is_elapsed();
        if is_early && self.registered.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.registered = None;
        if self.timer.deadline() > deadline.into() {
            self.timer.as_mut().reset(deadline.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.timer.as_mut().reset(deadline.into());
            ready!(self.timer.as_mut().poll(cx));
        }
        self.registered = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Ends this side of a connection and waits for the end of the other.
async fn shut_down<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await?;
    let mut memory = [0; 64];
    loop {
        let mut buffer = ReadBuf::new(&mut memory);
        poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await?;
        if buffer.filled().is_empty() {
            return Ok(());
        }
    }
}

impl<D: Dispatch> Drop for Driver<D> {
    /// Whatever ends the driver, every mail gets its outcome.
    fn drop(&mut self) {
        self.session.abort(now());
        if !std::thread::panicking() {
            self.handle_events();
            return;
        }
        // A dispatch that has panicked may do so again, which would end the process and all other
        // connections.
        while let Some(event) = self.session.poll_event() {
            let Self { session, dispatch, .. } = &mut *self;
            let _ = catch_unwind(AssertUnwindSafe(|| dispatch.handle_event(event, session)));
        }
    }
}
