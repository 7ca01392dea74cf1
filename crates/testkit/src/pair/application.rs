//! Who hands in the mails.

use std::collections::VecDeque;
use std::time::Duration;

use posthaste_session::{Mail, Pipelining};

/// What an application does with a session.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Mails to hand in, as soon as there is room. Each has a reverse-path of its own.
    pub mails: VecDeque<Mail>,
    /// When it quits.
    pub quits: Quits,
    /// When it aborts.
    pub aborts_at: Option<Duration>,
    /// When it asks for another mode.
    pub changes_mode: Option<(Duration, Pipelining)>,
}

/// When an application quits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quits {
    /// When every mail is done with.
    #[default]
    WhenDone,
    /// As soon as every mail is handed in.
    WhenSubmitted,
    /// At this time, whatever is under way.
    At(Duration),
}
