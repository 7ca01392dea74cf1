//! Where in a session something happens.

use std::fmt;
use std::str::FromStr;

/// A stage of a session, as fault rules name it in `at=STAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The connection was accepted; nothing is sent yet.
    Connect,
    /// The greeting.
    Greeting,
    /// The reply to EHLO, HELO or LHLO.
    Ehlo,
    /// The reply to STARTTLS.
    StartTls,
    /// The TLS handshake is about to begin.
    Tls,
    /// The reply that ends an AUTH exchange.
    Auth,
    /// The reply to XCLIENT.
    Xclient,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// The reply to a BDAT chunk that is not the last.
    Chunk,
    /// Content is arriving.
    Content,
    /// The final reply: to the end of data, or to the last BDAT chunk.
    Final,
    /// The reply to RSET.
    Rset,
    /// The reply to QUIT.
    Quit,
}

impl Stage {
    /// Every stage, in the order of a session.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Greeting,
        Self::Ehlo,
        Self::StartTls,
        Self::Tls,
        Self::Auth,
        Self::Xclient,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Chunk,
        Self::Content,
        Self::Final,
        Self::Rset,
        Self::Quit,
    ];

    /// The name in fault rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Xclient => "xclient",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Chunk => "chunk",
            Self::Content => "content",
            Self::Final => "final",
            Self::Rset => "rset",
            Self::Quit => "quit",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or(UnknownStage)
    }
}

/// A text that is not the name of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a stage: connect, greeting, ehlo, starttls, tls, auth, xclient, mail, rcpt, data, \
     chunk, content, final, rset or quit"
)]
pub struct UnknownStage;
