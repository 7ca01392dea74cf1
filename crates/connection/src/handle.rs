//! A handle on one connection, for those who want no scheduler.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use posthaste_session::{
    CloseReason, Event, Finished, Mail, Session, Stage, SubmitError, TransactionId, Unsendable,
};
use tokio::sync::{mpsc, oneshot};

use crate::connector::Connector;
use crate::dispatch::{Command, Dispatch};
use crate::error::Error;

/// Mails that may wait for the session; two are what `cross` has in hand, so a third is never late.
const QUEUE: usize = 3;

/// A connection to one server, with a session that is driven in a task of its own.
///
/// Clones share the session. When the last one is dropped, the session finishes its mails and says
/// QUIT.
///
/// # Examples
///
/// ```no_run
/// use posthaste_connection::session::{Config, Content, Envelope, ForwardPath, Mail, Mailbox};
/// use posthaste_connection::{Connection, Connector, DialSettings, Server, TlsClient, TlsSettings};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::smtp("mx.example", 25);
/// let name: posthaste_connection::session::ClientName = "client.example".parse()?;
/// let tls = TlsClient::new(&TlsSettings::default())?;
/// let config = Config::new(name.clone());
/// let connector = Connector::new(server, config, Some(name), DialSettings::default(), tls)?;
///
/// let connection = Connection::open(&connector);
/// let from: Mailbox = "a@client.example".parse()?;
/// let to: ForwardPath = "b@mx.example".parse()?;
/// let content = Content::new("Subject: hi\r\n\r\nhi\r\n")?;
/// let finished = connection.send(Mail::new(Envelope::new(from, [to])?, content)).await?;
/// println!("{:?}", finished.outcomes);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    queue: mpsc::Sender<Request>,
}

/// A mail, and who wants to know what became of it.
#[derive(Debug)]
struct Request {
    mail: Mail,
    reply: oneshot::Sender<Result<Finished, SendError>>,
}

/// Why a mail was not even tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session has ended; the mail was not sent.
    #[error("connection has ended")]
    Ended {
        /// The mail, unchanged, unless the runtime was shut down with it.
        mail: Option<Box<Mail>>,
    },
    /// This server cannot be given this mail.
    #[error(transparent)]
    Unsendable(Unsendable),
}

impl Connection {
    /// Opens a connection in a task of its own, on the current runtime.
    pub fn open(connector: &Connector) -> Self {
        Self::open_with(connector).0
    }

    /// The same, and a future that says how the session ended, or why there was none.
    pub fn open_with(
        connector: &Connector,
    ) -> (Self, impl Future<Output = Result<CloseReason, Error>> + Send + use<>) {
        let (queue, requests) = mpsc::channel(QUEUE);
        let connector = connector.clone();
        let task = tokio::spawn(async move {
            let mut dispatch = Requests::new(requests);
            let result = connector.run(|_| {}, &mut dispatch).await;
            dispatch.give_back().await;
            result.map(|()| dispatch.closed.unwrap_or(CloseReason::Quit))
        });
        let end = async move {
            match task.await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime was shut down.
                    Err(_) => Ok(CloseReason::Aborted { stage: Stage::Idle }),
                },
            }
        };
        (Self { queue }, end)
    }

    /// Sends one mail and waits for what becomes of it.
    ///
    /// # Errors
    ///
    /// When the session has ended before the mail was taken, or the server cannot be given this
    /// mail. A refusal is no error but an [`Outcome`](posthaste_session::Outcome).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the session took the mail leaves nothing behind; after that it
    /// goes on its way and only its outcome is lost. The connection stays usable.
    pub async fn send(&self, mail: Mail) -> Result<Finished, SendError> {
        let (reply, outcome) = oneshot::channel();
        let request = Request { mail, reply };
        if let Err(mpsc::error::SendError(request)) = self.queue.send(request).await {
            return Err(SendError::Ended { mail: Some(Box::new(request.mail)) });
        }
        outcome.await.unwrap_or(Err(SendError::Ended { mail: None }))
    }
}

/// The driver's end of the queue.
struct Requests {
    queue: mpsc::Receiver<Request>,
    /// Who waits for the mails in the session, the oldest first.
    waiting: VecDeque<oneshot::Sender<Result<Finished, SendError>>>,
    submitting: Option<oneshot::Sender<Result<Finished, SendError>>>,
    quits: bool,
    closed: Option<CloseReason>,
}

impl Requests {
    fn new(queue: mpsc::Receiver<Request>) -> Self {
        Self { queue, waiting: VecDeque::new(), submitting: None, quits: false, closed: None }
    }

    /// Gives the mails back that the session has not taken.
    async fn give_back(&mut self) {
        self.queue.close();
        while let Some(Request { mail, reply }) = self.queue.recv().await {
            let _ = reply.send(Err(SendError::Ended { mail: Some(Box::new(mail)) }));
        }
    }
}

impl Dispatch for Requests {
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        if self.quits || room == 0 {
            return Poll::Pending;
        }
        loop {
            match ready!(self.queue.poll_recv(cx)) {
                // Nobody waits for it any more.
                Some(Request { reply, .. }) if reply.is_closed() => {}
                Some(Request { mail, reply }) => {
                    self.submitting = Some(reply);
                    return Poll::Ready(Command::Submit(mail));
                }
                None => {
                    self.quits = true;
                    return Poll::Ready(Command::Quit);
                }
            }
        }
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        use posthaste_session::SubmitErrorReason::{NoRoom, Unsendable};
        let Some(reply) = self.submitting.take() else { return };
        // A receiver that is gone does not want to know.
        match result {
            Ok(_) => self.waiting.push_back(reply),
            Err(SubmitError { mail, reason: NoRoom }) => {
                let _ = reply.send(Err(SendError::Ended { mail: Some(mail) }));
            }
            Err(SubmitError { reason: Unsendable(reason), .. }) => {
                let _ = reply.send(Err(SendError::Unsendable(reason)));
            }
        }
    }

    fn handle_event(&mut self, event: Event, _session: &Session) {
        match event {
            Event::Finished(finished) => {
                if let Some(reply) = self.waiting.pop_front() {
                    let _ = reply.send(Ok(finished));
                }
            }
            Event::Closed(reason) => self.closed = Some(reason),
            _ => {}
        }
    }
}
