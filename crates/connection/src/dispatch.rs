//! What a driver and whoever uses it say to each other.

use std::task::{Context, Poll};

use posthaste_session::{Event, Mail, Pipelining, Session, SubmitError, TransactionId};

use crate::info::Info;

/// What a driver is told to do.
#[derive(Debug)]
pub enum Command {
    /// Send this mail; only while there is room.
    Submit(Mail),
    /// Change the pipelining mode.
    SetPipelining(Pipelining),
    /// Finish what is under way, say QUIT and end.
    Quit,
    /// End at once.
    Abort,
}

/// Gives a driver its mails and hears what becomes of them.
///
/// A driver *pulls*: it asks for the next mail in the moment in which there is room for it, so that
/// no time passes between two mails and nothing waits in a queue that belongs to one connection.
///
/// All methods are called from the driver's task and must not block.
pub trait Dispatch {
    /// The next command. [`Command::Submit`] may only be given while `room` is above 0.
    ///
    /// `Pending` means that there is nothing to do now; the task must be woken when that changes,
    /// or when there may be something to do with room above 0.
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command>;

    /// What came of a [`Command::Submit`].
    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>);

    /// Something happened in the session. [`Event::Closed`] is its last event; behind it a
    /// [`Connector`](crate::Connector) may begin another session, where TLS failed and is not
    /// demanded.
    ///
    /// It is called for every event, also when the driver's future is dropped in the middle.
    fn handle_event(&mut self, event: Event, session: &Session);

    /// The connection is open, or has got TLS.
    fn handle_connected(&mut self, info: &Info) {
        let _ = info;
    }
}

impl<D: Dispatch + ?Sized> Dispatch for &mut D {
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        (**self).poll_command(cx, room)
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        (**self).handle_submitted(result);
    }

    fn handle_event(&mut self, event: Event, session: &Session) {
        (**self).handle_event(event, session);
    }

    fn handle_connected(&mut self, info: &Info) {
        (**self).handle_connected(info);
    }
}
