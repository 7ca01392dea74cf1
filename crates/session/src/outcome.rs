//! What became of a mail, recipient by recipient, and how sure that is.

use std::time::Instant;

use posthaste_reply::{ReplyBuf, Severity};

use crate::mail::Mail;
use crate::stage::Stage;

/// What became of one recipient of one submitted mail. Each recipient gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took responsibility (RFC 5321 section 4.2.5): never send this again.
    Delivered(ReplyBuf),
    /// The server said no.
    Refused(Refusal),
    /// No server can have accepted the mail: sending it again is safe.
    NotSent(NotSent),
    /// The end of content was written and no final reply came: sending again may deliver twice
    /// (RFC 5321 section 4.5.3.2.6).
    InDoubt,
}

impl Outcome {
    /// Whether the server took the mail for this recipient.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered(_))
    }

    /// The server's words, where it said any about this recipient.
    pub fn reply(&self) -> Option<&ReplyBuf> {
        match self {
            Self::Delivered(reply) | Self::Refused(Refusal { reply, .. }) => Some(reply),
            Self::NotSent(_) | Self::InDoubt => None,
        }
    }
}

/// A negative reply and where in the transaction it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the reply answered: [`Stage::Mail`], [`Stage::Rcpt`], [`Stage::Data`], [`Stage::Content`] or
    /// [`Stage::Final`].
    pub stage: Stage,
    /// The server's words.
    pub reply: ReplyBuf,
}

impl Refusal {
    /// Whether the same may succeed later (4yz).
    pub fn is_transient(&self) -> bool {
        self.reply.code().severity() == Severity::TransientNegative
    }
}

/// Why a recipient's mail was certainly not accepted, although nobody refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The server had not come to it: no command of its transaction was written, or only behind the content
    /// of another mail.
    NeverStarted,
    /// The connection was lost in its transaction, before the end of content.
    Interrupted(Stage),
    /// Another recipient was refused, and the mail was for all or nobody.
    AllOrNothing,
    /// The server did not bear the pipelining mode, or BDAT; that is not used any more, and the mail is as good as
    /// before.
    Pipelining,
    /// The server limits the recipients of one transaction or one session (RFC 9422); this one is for another.
    Limit,
}

/// Names a submitted mail within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub(crate) u64);

impl TransactionId {
    /// The number of the mail in its session, counted from 0.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// A mail that is done with, handed back with one outcome for each forward-path, in their order.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What [`Session::submit`](crate::Session::submit) returned.
    pub id: TransactionId,
    /// The mail itself.
    pub mail: Mail,
    /// One for each of the envelope's forward-paths.
    pub outcomes: Vec<Outcome>,
    /// When the transaction passed which point.
    pub timing: Timing,
}

/// When a transaction passed which point; `None` where it did not get there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// MAIL was handed to the writer.
    pub mail: Option<Instant>,
    /// The reply to DATA came.
    pub data: Option<Instant>,
    /// The last octet of the content was written.
    pub content: Option<Instant>,
    /// The final reply came.
    pub finished: Option<Instant>,
}

/// Why this server, with the extensions it offers, cannot be given this mail. Another server might.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsendable {
    /// The content is larger than the server's SIZE (RFC 1870).
    #[error("mail has {octets} octets, and the server takes at most {limit}")]
    TooLarge {
        /// The mail's size in octets.
        octets: u64,
        /// The server's limit in octets.
        limit: u64,
    },
    /// 8-bit content and no 8BITMIME (RFC 6152).
    #[error("content is 8-bit, and the server does not offer 8BITMIME")]
    EightBit,
    /// An internationalised address or header and no SMTPUTF8 (RFC 6531).
    #[error("address or header is internationalised, and the server does not offer SMTPUTF8")]
    SmtpUtf8,
    /// Binary content, and no BINARYMIME with CHUNKING (RFC 3030), or the setting not to use BDAT.
    #[error("content is binary, and the server does not offer BINARYMIME and CHUNKING")]
    Binary,
    /// Late mail is to be returned, and the server does not offer DELIVERBY, or not for so short a time (RFC 2852).
    #[error("mail must be delivered in time or returned, and the server does not promise that")]
    DeliverBy,
    /// It must not be delivered yet, and the server does not offer FUTURERELEASE, or not for so long (RFC 4865).
    #[error("mail is to be held, and the server does not offer that for so long")]
    Hold,
    /// It asks for REQUIRETLS, and this is no verified TLS with a server that offers it (RFC 8689).
    #[error(
        "mail requires TLS all the way, and the server does not promise that under verified TLS"
    )]
    RequireTls,
    /// It is for all recipients or nobody, and they are more than the server takes at once (RFC 9422).
    #[error(
        "mail is for all of its recipients or nobody, and the server takes fewer of them at once"
    )]
    TooManyRecipients,
    /// A command would be longer than the server has to read (RFC 5321 section 4.5.3.1.4).
    #[error("parameters make a command longer than the server has to read")]
    LongCommand,
}

impl Unsendable {
    /// The enhanced status code that a server would have given, e.g. `5.6.3`.
    pub fn enhanced(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "5.3.4",
            Self::EightBit => "5.6.3",
            Self::SmtpUtf8 => "5.6.7",
            Self::Binary => "5.6.1",
            Self::DeliverBy | Self::Hold => "5.3.3",
            Self::RequireTls => "5.7.30",
            Self::TooManyRecipients => "5.5.3",
            Self::LongCommand => "5.5.4",
        }
    }
}
