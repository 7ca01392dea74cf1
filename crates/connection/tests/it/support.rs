//! What the tests share: mails, a dispatch that takes notes, and a server that follows a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use posthaste_connection::session::{
    ClientName, CloseReason, Config, Content, Envelope, Event, Finished, ForwardPath, Mail,
    Mailbox, Outcome, Session, SubmitError, SubmitErrorReason, TlsPolicy, TransactionId,
};
use posthaste_connection::{Command, Dispatch, Info};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
    duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::audited::converse;

/// The clock that the driver goes by.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn name() -> ClientName {
    "client.example".parse().unwrap()
}

/// Settings without TLS.
pub(crate) fn plain() -> Config {
    Config { tls: TlsPolicy::Off, ..Config::new(name()) }
}

/// A mail with a number that shows in its envelope and content.
pub(crate) fn mail(number: usize) -> Mail {
    mail_with(number, format!("Subject: {number}\r\n"))
}

pub(crate) fn mail_with(number: usize, content: impl Into<Vec<u8>>) -> Mail {
    let from: Mailbox = format!("from{number}@client.example").parse().unwrap();
    let to: ForwardPath = format!("to{number}@mx.example").parse().unwrap();
    Mail::new(Envelope::new(from, [to]).unwrap(), Content::new(content.into()).unwrap())
}

/// Content of at least so many octets, in lines.
pub(crate) fn octets(count: usize) -> Vec<u8> {
    let line = [[b'x'; 76].as_slice(), b"\r\n"].concat();
    line.repeat(count.div_ceil(line.len()))
}

/// What a dispatch is told.
#[derive(Debug)]
pub(crate) enum Note {
    Submitted(Result<TransactionId, SubmitErrorReason>),
    Event(Event),
    Connected(Box<Info>),
}

/// Everything a dispatch was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    pub(crate) fn push(&self, note: Note) {
        self.0.lock().unwrap().push(note);
    }

    fn collect<T>(&self, pick: impl FnMut(&Note) -> Option<T>) -> Vec<T> {
        self.0.lock().unwrap().iter().filter_map(pick).collect()
    }

    pub(crate) fn finished(&self) -> Vec<Finished> {
        self.collect(|note| match note {
            Note::Event(Event::Finished(finished)) => Some(finished.clone()),
            _ => None,
        })
    }

    /// The outcomes of the mails with one recipient, in order.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.finished().into_iter().flat_map(|finished| finished.outcomes).collect()
    }

    pub(crate) fn submitted(&self) -> Vec<Result<TransactionId, SubmitErrorReason>> {
        self.collect(|note| match note {
            Note::Submitted(result) => Some(*result),
            _ => None,
        })
    }

    pub(crate) fn infos(&self) -> Vec<Info> {
        self.collect(|note| match note {
            Note::Connected(info) => Some((**info).clone()),
            _ => None,
        })
    }

    pub(crate) fn closings(&self) -> Vec<CloseReason> {
        self.collect(|note| match note {
            Note::Event(Event::Closed(reason)) => Some(reason.clone()),
            _ => None,
        })
    }

    /// Why the session ended; it must have been said once, and last.
    #[track_caller]
    pub(crate) fn closed(&self) -> CloseReason {
        let notes = self.0.lock().unwrap();
        let Some(Note::Event(Event::Closed(reason))) = notes.last() else {
            panic!("not closed at last: {notes:?}")
        };
        let reason = reason.clone();
        drop(notes);
        assert_eq!(self.closings().len(), 1);
        reason
    }
}

/// Gives its mails and then says QUIT, obeys orders, and writes down what it hears.
pub(crate) struct Recorder {
    pub(crate) mails: VecDeque<Mail>,
    pub(crate) notes: Notes,
    /// Commands that may come at any time.
    pub(crate) orders: mpsc::UnboundedReceiver<Command>,
    /// Whether to say QUIT when there are no mails left.
    pub(crate) quits: bool,
}

/// One that says QUIT behind its mails.
pub(crate) fn recorder(mails: impl IntoIterator<Item = Mail>) -> Recorder {
    Recorder { quits: true, ..ordered(mails).0 }
}

/// One that waits for orders.
pub(crate) fn ordered(
    mails: impl IntoIterator<Item = Mail>,
) -> (Recorder, mpsc::UnboundedSender<Command>) {
    let (sender, orders) = mpsc::unbounded_channel();
    let mails = mails.into_iter().collect();
    (Recorder { mails, notes: Notes::default(), orders, quits: false }, sender)
}

impl Dispatch for Recorder {
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        if let Poll::Ready(Some(order)) = self.orders.poll_recv(cx) {
            return Poll::Ready(order);
        }
        if room > 0
            && let Some(mail) = self.mails.pop_front()
        {
            return Poll::Ready(Command::Submit(mail));
        }
        if self.mails.is_empty() && std::mem::take(&mut self.quits) {
            return Poll::Ready(Command::Quit);
        }
        Poll::Pending
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        self.notes.push(Note::Submitted(result.map_err(|error| error.reason)));
    }

    fn handle_event(&mut self, event: Event, _session: &Session) {
        self.notes.push(Note::Event(event));
    }

    fn handle_connected(&mut self, info: &Info) {
        self.notes.push(Note::Connected(Box::new(info.clone())));
    }
}

/// A server that does what a test says.
pub(crate) struct Peer<S> {
    pub(crate) stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Says lines; the last line end may be left out.
    pub(crate) async fn say(&mut self, lines: &str) {
        self.say_exactly(&format!("{lines}\r\n")).await;
    }

    pub(crate) async fn say_exactly(&mut self, octets: &str) {
        self.stream.write_all(octets.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line, without its end; empty at the end of the stream.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    /// Expects these lines.
    pub(crate) async fn hear(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().await, *expected);
        }
    }

    /// Expects the envelope of a mail.
    pub(crate) async fn hear_envelope(&mut self, number: usize) {
        assert_eq!(self.line().await, format!("MAIL FROM:<from{number}@client.example>"));
        assert_eq!(self.line().await, format!("RCPT TO:<to{number}@mx.example>"));
        assert_eq!(self.line().await, "DATA");
    }

    /// Expects content, and gives it back without its end.
    pub(crate) async fn hear_content(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        while !content.ends_with(b"\r\n.\r\n") {
            let read = self.stream.read_until(b'\n', &mut content).await.unwrap();
            assert!(read > 0, "content was cut off");
        }
        content.truncate(content.len() - 3);
        content
    }

    /// Expects the client to hang up.
    pub(crate) async fn hear_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.stream.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Greeting and EHLO, with these keywords.
    pub(crate) async fn introduce(&mut self, keywords: &[&str]) {
        self.say("220 mx.example").await;
        assert!(self.line().await.starts_with("EHLO "));
        self.offer(keywords).await;
    }

    /// The reply to EHLO.
    pub(crate) async fn offer(&mut self, keywords: &[&str]) {
        let mut reply = "250-mx.example\r\n".to_owned();
        keywords.iter().for_each(|keyword| reply += &format!("250-{keyword}\r\n"));
        self.say(&format!("{reply}250 HELP")).await;
    }

    /// Takes one mail whose commands come in one flight.
    pub(crate) async fn take_mail(&mut self, number: usize) -> Vec<u8> {
        self.hear_envelope(number).await;
        self.say("250 ok\r\n250 ok\r\n354 go").await;
        let content = self.hear_content().await;
        self.say(&format!("250 queued {number}")).await;
        content
    }

    /// QUIT and its answer.
    pub(crate) async fn part(&mut self) {
        self.hear(&["QUIT"]).await;
        self.say("221 bye").await;
        self.hear_end().await;
    }
}

/// Drives a session with these mails, and QUIT behind them, on a stream with buffers of `capacity`
/// octets.
pub(crate) async fn run(
    config: Config,
    capacity: usize,
    mails: impl IntoIterator<Item = Mail>,
    script: impl AsyncFnOnce(Peer<DuplexStream>),
) -> Notes {
    let (near, far) = duplex(capacity);
    let recorder = recorder(mails);
    let notes = recorder.notes.clone();
    tokio::join!(converse(config, near, recorder), script(Peer::new(far)));
    notes
}

/// The same with a server that does nothing any more when its script has ended, but stays.
pub(crate) async fn run_to_the_end(
    config: Config,
    mails: impl IntoIterator<Item = Mail>,
    script: impl AsyncFnOnce(Peer<DuplexStream>) -> Peer<DuplexStream>,
) -> Notes {
    let (near, far) = duplex(4096);
    let recorder = recorder(mails);
    let notes = recorder.notes.clone();
    let serve = async {
        let _peer = script(Peer::new(far)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = converse(config, near, recorder) => notes,
        () = serve => unreachable!(),
    }
}

/// A listener on loopback.
pub(crate) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The next connection to a listener.
pub(crate) async fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    // It answers each command on its own.
    stream.set_nodelay(true).unwrap();
    Peer::new(stream)
}

/// The text of a delivered mail's final reply.
#[track_caller]
pub(crate) fn delivered(outcome: &Outcome) -> String {
    let Outcome::Delivered(reply) = outcome else { panic!("not delivered: {outcome:?}") };
    reply.to_string()
}
