//! What became of a mail, for whoever submitted it.

use std::sync::Arc;
use std::time::Duration;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{ForwardPath, Stage, Unsendable};

use crate::failure::ConnectFailure;
use crate::planner::GiveUp;
use crate::time::Time;

/// What became of a mail: one report for each recipient, in the order of the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each forward-path.
    pub recipients: Vec<RecipientReport>,
    /// What kept connections from coming about, where the mail was given up while that was so.
    pub trouble: Option<Trouble>,
    /// How long it took.
    pub timing: ReportTiming,
}

/// Why there was no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What failed, for decisions.
    pub failure: ConnectFailure,
    /// The same for people, with what the system said.
    pub text: Arc<str>,
}

impl Report {
    /// Whether every recipient has the mail.
    pub fn is_delivered(&self) -> bool {
        self.recipients.iter().all(|recipient| recipient.state == RecipientState::Delivered)
    }

    /// This, and what became of the next batch of recipients of the same mail.
    pub(crate) fn with_batch(mut self, next: Self) -> Self {
        self.recipients.extend(next.recipients);
        self.trouble = self.trouble.or(next.trouble);
        let starts = self.timing.started.into_iter().chain(next.timing.started);
        self.timing = ReportTiming {
            submitted: self.timing.submitted.min(next.timing.submitted),
            started: starts.min(),
            ended: self.timing.ended.max(next.timing.ended),
        };
        self
    }
}

/// What became of a mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientReport {
    /// Who.
    pub forward_path: ForwardPath,
    /// What became of it.
    pub state: RecipientState,
    /// Why, unless it was delivered.
    pub cause: Option<Cause>,
    /// Where in the session the last reply came, or where the connection ended.
    pub stage: Option<Stage>,
    /// What the server said last about this recipient, or about the session.
    pub reply: Option<ReplyBuf>,
    /// How many attempts counted, the last one included. Trouble of the server uses none up.
    pub attempts: u32,
    /// How many attempts had no final reply and were not the last word, as
    /// [`InDoubtPolicy::Retry`](crate::InDoubtPolicy::Retry) wants it: each may have delivered the mail.
    pub possible_duplicates: u32,
}

/// What became of a mail for one recipient. Complete on purpose: there is nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipientState {
    /// The server took responsibility.
    Delivered,
    /// It will not be delivered: a permanent refusal, or nothing left to try.
    Failed,
    /// It was not delivered, and sending it again is safe.
    Deferred,
    /// The content was handed over and no final reply came: sending again may deliver twice.
    InDoubt,
}

impl RecipientState {
    /// Its name in records, e.g. `in_doubt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// Why a recipient does not have the mail for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The server refused for good.
    Refused,
    /// Another recipient was refused for good, and the mail was for all or nobody.
    AllOrNothing,
    /// The server cannot take this mail.
    Unsendable(Unsendable),
    /// The connection ended between the end of the content and the final reply.
    NoFinalReply,
    /// The scheduler gave the mail up.
    GivenUp(GiveUp),
}

impl Cause {
    /// Its name in records, e.g. `attempts_used_up`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::AllOrNothing => "all_or_nothing",
            Self::Unsendable(_) => "unsendable",
            Self::NoFinalReply => "no_final_reply",
            Self::GivenUp(cause) => cause.as_str(),
        }
    }
}

impl GiveUp {
    /// Its name in records, e.g. `attempts_used_up`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::Expired => "expired",
            Self::ServerExhausted => "server_exhausted",
            Self::Authentication => "authentication",
            Self::Requirement => "requirement",
            Self::Unwelcome => "unwelcome",
            Self::Drained => "drained",
            Self::Cancelled => "cancelled",
            Self::Unreported => "unreported",
        }
    }

    /// Whether the server is the reason, rather than the mail or the caller.
    pub(crate) fn is_about_server(self) -> bool {
        match self {
            Self::ServerExhausted | Self::Authentication | Self::Requirement | Self::Unwelcome => {
                true
            }
            Self::AttemptsUsedUp
            | Self::Expired
            | Self::Drained
            | Self::Cancelled
            | Self::Unreported => false,
        }
    }

    /// What it means for a recipient that has no final outcome.
    pub fn state(self) -> RecipientState {
        match self {
            Self::AttemptsUsedUp | Self::Authentication | Self::Requirement | Self::Unwelcome => {
                RecipientState::Failed
            }
            // Nothing was held against the mail.
            Self::ServerExhausted | Self::Expired | Self::Drained | Self::Cancelled => {
                RecipientState::Deferred
            }
            Self::Unreported => RecipientState::InDoubt,
        }
    }
}

/// When what happened to a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportTiming {
    /// It was submitted.
    pub submitted: Time,
    /// A connection took it for the first time.
    pub started: Option<Time>,
    /// Its last recipient had an outcome.
    pub ended: Time,
}

impl ReportTiming {
    /// How long it waited for its first attempt.
    pub fn queued(&self) -> Duration {
        self.started.unwrap_or(self.ended) - self.submitted
    }

    /// How long it took in all.
    pub fn total(&self) -> Duration {
        self.ended - self.submitted
    }
}
