//! What a session reports.

use posthaste_reply::{FrameError, ReplyBuf, ReplyError};

use crate::config::Pipelining;
use crate::outcome::Finished;
use crate::sasl::KeyDerivation;
use crate::stage::Stage;

/// Something that happened in a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The session takes mails now. [`Session::extensions`](crate::Session::extensions) says what the server offers.
    Ready,
    /// Start the TLS handshake now, then call [`Session::tls_established`](crate::Session::tls_established).
    StartTls,
    /// Have this key derived, where it holds up nobody, then call
    /// [`Session::key_derived`](crate::Session::key_derived).
    DeriveKey(KeyDerivation),
    /// What the server says about the bearer token that it is about to refuse: mostly a JSON object
    /// (RFC 7628 section 3.2.2). At most 1024 octets, without control characters and secrets.
    TokenRefused(Box<str>),
    /// A mail is done with.
    Finished(Finished),
    /// The server answered a mail that was sent in this mode as usual, for the first time on this connection.
    PipeliningProven(Pipelining),
    /// The server did not bear a pipelining mode.
    PipeliningLowered(PipeliningLowered),
    /// The server offers CHUNKING and answered the first BDAT as if it did not know it. The session ends, since the
    /// server may have taken content for commands; on the next connection [`Chunking::Off`](crate::Chunking::Off) is in
    /// place.
    ChunkingRefused(ReplyBuf),
    /// A reply to nothing that was asked; [`Event::Closed`] follows.
    Unsolicited(ReplyBuf),
    /// A line of the transcript, where one was asked for.
    Transcript(Box<TranscriptLine>),
    /// The session is over; always the last event, and every mail has been reported before.
    Closed(CloseReason),
}

/// A server that objected to a pipelining mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeliningLowered {
    /// The mode it did not bear.
    pub from: Pipelining,
    /// The mode used from now on.
    pub to: Pipelining,
    /// What it did.
    pub objection: Objection,
}

/// How a server shows that it does not bear a pipelining mode, or BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objection {
    /// 503 to a command that had come in the same flight as others.
    BadSequence,
    /// A reply that speaks of synchronisation or pipelining.
    Synchronization,
    /// It closed the connection on the first flight of the kind.
    Close,
    /// It fell silent with a flight unanswered.
    Stall,
    /// It sent more replies than it was asked for.
    Surplus,
    /// It answered BDAT as if it did not know it, although it offers CHUNKING.
    Chunking,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was asked to quit, and did.
    Quit,
    /// The server refused to begin, or to go on: greeting, EHLO, STARTTLS, AUTH or RSET was answered
    /// negatively, or a content before its end.
    Refused {
        /// What was refused.
        stage: Stage,
        /// The server's words.
        reply: ReplyBuf,
    },
    /// The server said 421 (RFC 5321 section 3.8).
    Shutdown {
        /// What the reply answered.
        stage: Stage,
        /// The server's words.
        reply: ReplyBuf,
    },
    /// The connection ended without a word.
    Lost {
        /// What was awaited.
        stage: Stage,
    },
    /// A reply did not come in time.
    Timeout {
        /// What was awaited.
        stage: Stage,
    },
    /// The server broke the protocol.
    Violation {
        /// What was awaited.
        stage: Stage,
        /// How.
        violation: Violation,
    },
    /// The server did not bear the pipelining mode, or BDAT, and cannot be talked to any further on this connection.
    Objected {
        /// What was awaited.
        stage: Stage,
        /// What the server did.
        objection: Objection,
    },
    /// What the policy demands, the server does not offer.
    Unavailable(Requirement),
    /// [`Session::abort`](crate::Session::abort) was called.
    Aborted {
        /// What was awaited.
        stage: Stage,
    },
}

impl CloseReason {
    /// What was awaited when the session ended.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Quit => Stage::Quit,
            Self::Unavailable(Requirement::Tls) => Stage::StartTls,
            Self::Unavailable(Requirement::Xclient) => Stage::Xclient,
            Self::Unavailable(Requirement::AuthMechanism | Requirement::TlsForAuth) => Stage::Auth,
            Self::Refused { stage, .. }
            | Self::Shutdown { stage, .. }
            | Self::Lost { stage }
            | Self::Timeout { stage }
            | Self::Violation { stage, .. }
            | Self::Objected { stage, .. }
            | Self::Aborted { stage } => *stage,
        }
    }

    /// The server's words, where it said any.
    pub fn reply(&self) -> Option<&ReplyBuf> {
        match self {
            Self::Refused { reply, .. }
            | Self::Shutdown { reply, .. }
            | Self::Violation { violation: Violation::UnexpectedReply(reply), .. } => Some(reply),
            Self::Quit
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Violation { .. }
            | Self::Objected { .. }
            | Self::Unavailable(_)
            | Self::Aborted { .. } => None,
        }
    }
}

/// How a server broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Octets that are no reply.
    Malformed(FrameError),
    /// A framed reply that does not follow the grammar.
    Grammar(ReplyError),
    /// A line that ends in LF alone, where [`LineEnds::Crlf`](crate::LineEnds::Crlf) was asked for.
    BareLf,
    /// A reply that this command cannot have.
    UnexpectedReply(ReplyBuf),
    /// Octets that answer nothing.
    Surplus,
    /// Octets in the clear between the reply to STARTTLS and the handshake (RFC 3207 section 6).
    BeforeTls,
    /// A SASL exchange without end.
    EndlessAuth,
    /// A SASL exchange in which the server could not be trusted.
    Auth(AuthFailure),
}

/// How a server lost trust in a SCRAM exchange (RFC 5802).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// A message that is none of this mechanism.
    #[error("expected a SCRAM message, got something else")]
    Syntax,
    /// The nonce does not begin with that of the client, or adds nothing to it.
    #[error("expected a nonce that extends the client's, got another")]
    Nonce,
    /// So few iterations that the password could be guessed, or so many that deriving the key takes
    /// too long.
    #[error("expected 4096 to 1000000 iterations, got {0}")]
    Iterations(u32),
    /// An extension that must not be ignored.
    #[error("the server demands an extension of SCRAM that is not known")]
    Extension,
    /// The server did not prove that it knows the password.
    #[error("expected the server's proof that it knows the password, got another")]
    ServerSignature,
}

/// What a policy can demand of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// TLS, where the server does not offer STARTTLS.
    Tls,
    /// A SASL mechanism in common.
    AuthMechanism,
    /// TLS before credentials.
    TlsForAuth,
    /// XCLIENT, with one attribute at least that is to be told.
    Xclient,
}

/// One line of a transcript, without line end and with secrets redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptLine {
    /// Who said it.
    pub speaker: Speaker,
    /// What was said, control characters escaped.
    pub text: String,
}

/// The two sides of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// This side.
    Client,
    /// The other side.
    Server,
}
