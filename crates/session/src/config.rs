//! What a session is told before it starts.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use posthaste_reply::Limits;

use crate::credentials::Credentials;
use crate::domain::ClientName;
use crate::stage::Stage;
use crate::xclient::Xclient;

/// Settings of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the client calls itself.
    pub client_name: ClientName,
    /// Whether STARTTLS is used.
    pub tls: TlsPolicy,
    /// Whom to log in as, if at all.
    pub credentials: Option<Credentials>,
    /// Randomness for the nonces of SCRAM, which is not used without.
    pub entropy: Option<Entropy>,
    /// The server as the user named it, for OAUTHBEARER, which may tell it (RFC 7628 section 3.1).
    pub server: Option<ServerName>,
    /// Whom the session is made for, if that is to be told to a server that trusts this client to say so.
    pub xclient: Option<Xclient>,
    /// How far ahead of the replies commands are sent.
    pub pipelining: Pipelining,
    /// How many mails may be ahead of the replies in [`Pipelining::Stream`].
    pub window: Window,
    /// How long each reply may take.
    pub timeouts: Timeouts,
    /// Bounds of the server's replies.
    pub limits: Limits,
    /// What may end a line of a reply.
    pub line_ends: LineEnds,
    /// Keywords of the EHLO reply that are treated as if they had not been offered.
    pub ignored_keywords: Vec<String>,
    /// What is spoken: SMTP or LMTP.
    pub protocol: Protocol,
    /// Which command carries content.
    pub chunking: Chunking,
    /// Whether a transcript is made of everything said, with secrets redacted.
    pub transcript: bool,
}

impl Config {
    /// Settings with the defaults of RFC 5321 and opportunistic TLS.
    pub fn new(client_name: ClientName) -> Self {
        Self {
            client_name,
            tls: TlsPolicy::default(),
            credentials: None,
            entropy: None,
            server: None,
            xclient: None,
            pipelining: Pipelining::default(),
            window: Window::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            line_ends: LineEnds::default(),
            ignored_keywords: Vec::new(),
            protocol: Protocol::default(),
            chunking: Chunking::default(),
            transcript: false,
        }
    }
}

/// Octets that nobody can guess, for one session.
#[derive(Clone, PartialEq)]
pub struct Entropy([u8; Self::LENGTH]);

impl Entropy {
    /// Octets of it: their base64 is a nonce (RFC 5802 section 5.1).
    pub const LENGTH: usize = 24;

    /// Takes what a cryptographically secure generator gave. Never use it for a second session.
    pub fn new(octets: [u8; Self::LENGTH]) -> Self {
        Self(octets)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

/// A server as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP (RFC 5321): one final reply for all recipients of a mail.
    #[default]
    Smtp,
    /// LMTP (RFC 2033): one final reply for each recipient that was accepted.
    Lmtp,
}

/// What may end a line of a reply. A lone CR never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LineEnds {
    /// CRLF, or the LF alone with which some servers make do.
    #[default]
    CrlfOrLf,
    /// CRLF only (RFC 5321 section 2.3.8): anything else ends the session. To test servers.
    Crlf,
}

/// Which command carries content where the server offers CHUNKING (RFC 3030). Without that it is always DATA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Chunking {
    /// BDAT for binary content, DATA for all other: some servers offer CHUNKING and then choke on it.
    #[default]
    Auto,
    /// DATA only. Binary content cannot be sent.
    Off,
    /// BDAT only.
    Always,
}

impl Chunking {
    const ALL: [Self; 3] = [Self::Auto, Self::Off, Self::Always];

    /// Its name, e.g. `always`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Always => "always",
        }
    }
}

impl fmt::Display for Chunking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Chunking {
    type Err = UnknownChunking;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownChunking)
    }
}

/// The text names no way of chunking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, off or always")]
pub struct UnknownChunking;

/// When a session asks for TLS by STARTTLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// Where the server offers it. Anybody in between can take the offer away.
    #[default]
    May,
    /// Always: without it no credentials and no mail are sent.
    Require,
}

/// How far ahead of the replies commands are sent (RFC 2920).
///
/// Every mode but `Off` needs a server that offers PIPELINING, and is `Off` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pipelining {
    /// One command at a time: 3 round trips a mail and one more for each recipient.
    Off,
    /// MAIL, RCPT and DATA in one flight: 2 round trips a mail.
    #[default]
    Envelope,
    /// The next mail's envelope behind the content of the one before: 1 round trip a mail.
    Cross,
    /// Mail after mail, each with its content in one BDAT, a [`Window`] of them ahead of the replies: less than 1 round
    /// trip a mail.
    ///
    /// For a server that is known to bear it: one that does not discard the octets of a refused BDAT runs them as
    /// commands. If the connection breaks, every mail of the window may be in doubt. It is `Cross` where the server does
    /// not offer CHUNKING, with [`Chunking::Off`] and in LMTP.
    ///
    /// A mail that is [for all or nobody](crate::PartialRefusal::AllOrNothing), has more than 1 MiB or more than 100
    /// recipients waits for the replies to its own envelope before its content goes out, and nothing goes behind
    /// that before it is answered.
    Stream,
}

impl Pipelining {
    /// The next mode down.
    pub fn lower(self) -> Self {
        match self {
            Self::Off | Self::Envelope => Self::Off,
            Self::Cross => Self::Envelope,
            Self::Stream => Self::Cross,
        }
    }

    /// Its name, e.g. `cross`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Envelope => "envelope",
            Self::Cross => "cross",
            Self::Stream => "stream",
        }
    }
}

impl fmt::Display for Pipelining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much may be ahead of the replies in [`Pipelining::Stream`]: it is what may be in doubt if the connection breaks.
///
/// A session begins with one mail, and comes to as many as are allowed while few of them are refused; see
/// [`Session::window`](crate::Session::window).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    mails: u32,
    octets: usize,
}

impl Window {
    /// Most mails of any window. Thousands of replies may be due for them, and more than that keeps no link busier.
    pub const MAX_MAILS: u32 = 1024;
    /// Most octets of any window: a second of a link of 500 Mbit/s.
    pub const MAX_OCTETS: usize = 64 * 1024 * 1024;

    /// A window of so many mails with so many octets of content.
    ///
    /// The octets are exceeded by a part of one mail, so that there is room for one of any size.
    ///
    /// # Errors
    ///
    /// When either is 0, or more than [`Self::MAX_MAILS`] or [`Self::MAX_OCTETS`].
    pub fn new(mails: u32, octets: usize) -> Result<Self, WindowError> {
        if !(1..=Self::MAX_MAILS).contains(&mails) {
            return Err(WindowError::Mails);
        }
        if !(1..=Self::MAX_OCTETS).contains(&octets) {
            return Err(WindowError::Octets);
        }
        Ok(Self { mails, octets })
    }

    /// Most mails without an outcome.
    pub fn mails(&self) -> u32 {
        self.mails
    }

    /// Octets of their content up to which another mail is taken.
    pub fn octets(&self) -> usize {
        self.octets
    }
}

impl Default for Window {
    /// 64 mails with 1 MiB: from 16 mails a write on the rate does not grow on a fast link, and 4 times that covers the
    /// replies that are on their way.
    fn default() -> Self {
        Self { mails: 64, octets: 1024 * 1024 }
    }
}

/// Why there is no such window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The number of mails.
    #[error("expected 1 to {} mails", Window::MAX_MAILS)]
    Mails,
    /// The octets of their content.
    #[error("expected 1 to {} octets", Window::MAX_OCTETS)]
    Octets,
}

/// How long each reply may take, from the moment it is the next one due (RFC 5321 section 4.5.3.2).
///
/// These are deadlines for whole replies: a server that sends an octet now and then does not extend them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting. RFC: 5 minutes.
    pub greeting: Duration,
    /// EHLO, HELO, STARTTLS, each step of AUTH, RSET. RFC names none; as for MAIL.
    pub command: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// MAIL. RFC: 5 minutes.
    pub mail: Duration,
    /// RCPT. RFC: 5 minutes.
    pub rcpt: Duration,
    /// DATA. RFC: 2 minutes.
    pub data: Duration,
    /// Content that makes no progress. RFC: 3 minutes.
    pub content: Duration,
    /// The fewest octets a second at which content may go out on the whole: after `content` and the time that its size
    /// takes at this rate it must be out. `None`: any progress will do.
    pub min_rate: Option<NonZeroU32>,
    /// The final reply. RFC: 10 minutes, because giving up early delivers twice.
    pub finish: Duration,
    /// QUIT. Short: nothing depends on it.
    pub quit: Duration,
}

/// A server that reads more slowly than this is not reading: 10 MiB would take three hours.
const MIN_RATE: Option<NonZeroU32> = NonZeroU32::new(1024);

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            greeting: minutes(5),
            command: minutes(5),
            tls: minutes(1),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            content: minutes(3),
            min_rate: MIN_RATE,
            finish: minutes(10),
            quit: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    /// The same short time for everything, as measuring a server wants it.
    pub fn uniform(timeout: Duration) -> Self {
        Self {
            greeting: timeout,
            command: timeout,
            tls: timeout,
            mail: timeout,
            rcpt: timeout,
            data: timeout,
            content: timeout,
            min_rate: MIN_RATE,
            finish: timeout,
            quit: timeout.min(Self::default().quit),
        }
    }

    pub(crate) fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Greeting => self.greeting,
            Stage::Connect | Stage::Tls => self.tls,
            Stage::Hello
            | Stage::StartTls
            | Stage::Xclient
            | Stage::Auth
            | Stage::Reset
            | Stage::Idle => self.command,
            Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::Data => self.data,
            Stage::Content => self.content,
            Stage::Final => self.finish,
            Stage::Quit => self.quit,
        }
    }
}

impl FromStr for Pipelining {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Envelope, Self::Cross, Self::Stream]
            .into_iter()
            .find(|m| m.as_str() == text)
            .ok_or(UnknownMode)
    }
}

/// The text names no pipelining mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected off, envelope, cross or stream")]
pub struct UnknownMode;
