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
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// Content is arriving.
    Content,
    /// The final reply: to the end of data, or to a BDAT chunk.
    Final,
    /// The reply to RSET.
    Rset,
    /// The reply to QUIT.
    Quit,
}

impl Stage {
    /// Every stage, in the order of a session.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::Greeting,
        Self::Ehlo,
        Self::StartTls,
        Self::Tls,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
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
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
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
    "expected a stage: connect, greeting, ehlo, starttls, tls, auth, mail, rcpt, data, content, \
     final, rset or quit"
)]
pub struct UnknownStage;
