//! The steps of a session, shared by errors, timeouts, outcomes and records.

use std::fmt;

/// Where in a session something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Resolving the name and opening the TCP connection.
    Connect,
    /// TLS handshake, implicit or behind STARTTLS.
    Tls,
    /// Waiting for the server's greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// The STARTTLS command.
    StartTls,
    /// The XCLIENT command.
    Xclient,
    /// AUTH and its exchange.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// Content on its way.
    Content,
    /// Content is out, the server's final reply is awaited.
    Final,
    /// RSET.
    Reset,
    /// No mail transaction is open.
    Idle,
    /// QUIT.
    Quit,
}

impl Stage {
    /// Its name in records, e.g. `rcpt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Greeting => "greeting",
            Self::Hello => "ehlo",
            Self::StartTls => "starttls",
            Self::Xclient => "xclient",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Content => "content",
            Self::Final => "final",
            Self::Reset => "rset",
            Self::Idle => "idle",
            Self::Quit => "quit",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
