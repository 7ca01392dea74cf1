//! What a reply means, beyond its code: for scheduling and for statistics, never for reporting.
//!
//! The reply code says whether something was refused and for how long; that is what is reported.
//! Servers use few codes for many conditions, though, and some of them the wrong ones, so that
//! *why* stands in the enhanced status code and in the text. [`classify`] reads all three, in this
//! order: words that leave no doubt, then codes with one meaning, then the enhanced status code,
//! then whatever else the code says where it was said.

mod rules;
mod table;
mod wait;
mod words;

use std::fmt;
use std::time::Duration;

use crate::code::{ReplyCode, Severity};
use crate::enhanced::EnhancedStatusCode;
use crate::grammar::{is_blank, trim_blanks};
use crate::keyword::Keyword;
use crate::reply::Reply;

/// The meaning of a reply. Complete on purpose: it is a vocabulary for logs and statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The server's greeting.
    Greeting,
    /// A positive reply to EHLO or HELO.
    Ehlo,
    /// Any other positive completion.
    Ok,
    /// The content may be sent.
    Continue,
    /// The client is authenticated.
    AuthOk,
    /// A challenge of the AUTH exchange.
    AuthChallenge,
    /// The server says goodbye as it was asked to.
    ClosingOk,
    /// Too much, too fast or too many: less of it would be accepted.
    Throttled,
    /// Unknown senders have to come again.
    Greylisted,
    /// The recipient's mailbox is full.
    MailboxFull,
    /// The mailbox exists and takes no mail.
    MailboxDisabled,
    /// There is no such mailbox.
    NoSuchUser,
    /// A domain does not exist, or takes no mail.
    BadDomain,
    /// The server is not responsible for the recipient, and does not relay for this client.
    RelayDenied,
    /// This reverse-path is not accepted from this client.
    SenderRejected,
    /// SPF, DKIM, DMARC, or the client's name in the DNS.
    PolicyAuth,
    /// Reputation, block lists, or content that looks like spam.
    PolicySpam,
    /// Any other policy.
    PolicyOther,
    /// The content breaks a rule of form.
    ContentRejected,
    /// The content is infected.
    Virus,
    /// The mail is larger than the server takes.
    TooLarge,
    /// The server takes fewer recipients in one transaction.
    TooManyRecipients,
    /// The credentials or the mechanism are not accepted.
    AuthFailed,
    /// The client must authenticate first.
    AuthRequired,
    /// Authentication is not possible for now.
    AuthTemp,
    /// The client must use TLS, or a newer version.
    TlsRequired,
    /// TLS is not available, although it was offered or is needed.
    TlsFailed,
    /// A command at the wrong time.
    BadSequence,
    /// The server does not understand a command or its parameters.
    Syntax,
    /// The server does not have the command.
    NotImplemented,
    /// The server is out of space or memory.
    Storage,
    /// The server is at fault in some other way.
    LocalError,
    /// The server stops, or does not take part for now.
    ShuttingDown,
    /// The mail runs in a circle.
    Loop,
    /// The server waited for too long.
    Timeout,
    /// Octets that are no reply. Never a result of [`classify`], which has a reply already.
    Malformed,
}

impl Class {
    /// Its name in records, e.g. `no_such_user`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::Ok => "ok",
            Self::Continue => "continue",
            Self::AuthOk => "auth_ok",
            Self::AuthChallenge => "auth_challenge",
            Self::ClosingOk => "closing_ok",
            Self::Throttled => "throttled",
            Self::Greylisted => "greylisted",
            Self::MailboxFull => "mailbox_full",
            Self::MailboxDisabled => "mailbox_disabled",
            Self::NoSuchUser => "no_such_user",
            Self::BadDomain => "bad_domain",
            Self::RelayDenied => "relay_denied",
            Self::SenderRejected => "sender_rejected",
            Self::PolicyAuth => "policy_auth",
            Self::PolicySpam => "policy_spam",
            Self::PolicyOther => "policy_other",
            Self::ContentRejected => "content_rejected",
            Self::Virus => "virus",
            Self::TooLarge => "too_large",
            Self::TooManyRecipients => "too_many_recipients",
            Self::AuthFailed => "auth_failed",
            Self::AuthRequired => "auth_required",
            Self::AuthTemp => "auth_temp",
            Self::TlsRequired => "tls_required",
            Self::TlsFailed => "tls_failed",
            Self::BadSequence => "bad_sequence",
            Self::Syntax => "syntax",
            Self::NotImplemented => "not_implemented",
            Self::Storage => "storage",
            Self::LocalError => "local_error",
            Self::ShuttingDown => "shutting_down",
            Self::Loop => "loop",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reply is about: whoever shares it would hear the same. Complete on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This connection; another one may do at once.
    Connection,
    /// The number of mails over one connection; the next connection has its own.
    Session,
    /// The number of connections from here to this server.
    Connections,
    /// The server, whoever asks.
    Host,
    /// This client's address, name or network.
    Source,
    /// The authenticated user.
    Account,
    /// The reverse-path or its domain.
    Sender,
    /// One recipient.
    Recipient,
    /// What is together in one transaction.
    Transaction,
    /// This mail with its content.
    Mail,
}

impl Scope {
    /// Its name in records, e.g. `recipient`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Session => "session",
            Self::Connections => "connections",
            Self::Host => "host",
            Self::Source => "source",
            Self::Account => "account",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Transaction => "transaction",
            Self::Mail => "mail",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reply answers. Complete on purpose: there is nothing else to say to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaidTo {
    /// The connection itself: the greeting, or words out of nothing.
    Connecting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH, or a response within its exchange.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The content, as DATA or BDAT.
    Content,
    /// RSET or NOOP.
    Reset,
    /// QUIT.
    Quit,
}

impl SaidTo {
    /// What a reply is about if it does not say so.
    const fn scope(self) -> Scope {
        match self {
            Self::Connecting | Self::Hello => Scope::Source,
            Self::StartTls => Scope::Host,
            Self::Auth => Scope::Account,
            Self::Mail => Scope::Sender,
            Self::Rcpt => Scope::Recipient,
            Self::Data | Self::Content => Scope::Mail,
            Self::Reset | Self::Quit => Scope::Connection,
        }
    }
}

/// What [`classify`] makes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// The meaning.
    pub class: Class,
    /// What it is about.
    pub scope: Scope,
    /// How long to wait before the same is tried again: what the reply states in words (`try again
    /// in 5 minutes`), from a second to four hours; else what its server is known to want.
    pub wait: Option<Duration>,
}

/// What a reply means that was said to this.
///
/// A guess at the server's reason that may contradict the first digit: `550 Ip frequency limited`
/// is [`Class::Throttled`]. Takes time in proportion to the text, of which a bounded part is read,
/// and allocates nothing. The text is the peer's: whatever it says, the worst that follows is a
/// wrong class.
///
/// # Examples
///
/// ```
/// use posthaste_reply::{Class, Reply, SaidTo, Scope, classify};
///
/// let reply = Reply::parse(b"452 4.5.3 Error: too many recipients\r\n")?;
/// let found = classify(reply, SaidTo::Rcpt);
/// assert_eq!((found.class, found.scope), (Class::TooManyRecipients, Scope::Transaction));
/// # Ok::<(), posthaste_reply::ReplyError>(())
/// ```
pub fn classify(reply: Reply<'_>, said_to: SaidTo) -> Classification {
    match reply.code().severity() {
        Severity::PositiveCompletion => positive(completed(reply, said_to), said_to),
        Severity::PositiveIntermediate => positive(intermediate(reply, said_to), said_to),
        Severity::TransientNegative | Severity::PermanentNegative => {
            rules::negative(reply, said_to)
        }
    }
}

/// The enhanced status code that stands in the text, if not at the start of a line.
pub(crate) fn status_code_in_text(reply: Reply<'_>) -> Option<EnhancedStatusCode> {
    words::Words::of(reply).status_code(reply.code())
}

fn positive(class: Class, said_to: SaidTo) -> Classification {
    Classification { class, scope: said_to.scope(), wait: None }
}

/// A code of one step stands for that step wherever it is said; any other for the step it is said
/// at.
fn completed(reply: Reply<'_>, said_to: SaidTo) -> Class {
    match (reply.code(), said_to) {
        (ReplyCode::READY, SaidTo::StartTls) => Class::Ok,
        (ReplyCode::READY, _) | (_, SaidTo::Connecting) => Class::Greeting,
        (ReplyCode::AUTHENTICATED, _) | (_, SaidTo::Auth) => Class::AuthOk,
        // Postfix to clients that speak out of turn.
        (ReplyCode::CLOSING, _) if words::Words::of(reply).as_slice().starts_with(b"error") => {
            Class::BadSequence
        }
        (ReplyCode::CLOSING, _) | (_, SaidTo::Quit) => Class::ClosingOk,
        (_, SaidTo::Hello) => Class::Ehlo,
        (ReplyCode::OK, _) if offers_extensions(reply) => Class::Ehlo,
        _ => Class::Ok,
    }
}

fn intermediate(reply: Reply<'_>, said_to: SaidTo) -> Class {
    match (reply.code(), said_to) {
        (ReplyCode::CONTINUE_AUTH, _) | (_, SaidTo::Auth) => Class::AuthChallenge,
        _ => Class::Continue,
    }
}

/// Whether a reply has the shape of one to EHLO: a line behind the first one with a keyword.
fn offers_extensions(reply: Reply<'_>) -> bool {
    let keyword = |line| trim_blanks(line).split(|&octet| is_blank(&octet) || octet == b'=').next();
    reply.lines().skip(1).filter_map(keyword).any(|keyword| Keyword::named(keyword).is_some())
}
