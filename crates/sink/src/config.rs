//! How a sink's sessions behave.

use std::time::Duration;

use crate::fault::FaultRule;
use crate::store::StoreKind;
use crate::units::Rate;

/// How the sessions of a sink behave. Start from the default and change what matters:
///
/// ```
/// use posthaste_sink::{Config, Limits};
///
/// let config = Config {
///     limits: Limits { max_per_conn: Some(20), ..Limits::default() },
///     ..Config::default()
/// };
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting and in the reply to EHLO.
    pub hostname: String,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// What is offered in reply to EHLO, as changes to what the rest of the configuration implies.
    pub offer: Offer,
    /// When TLS begins.
    pub tls: TlsUse,
    /// Who may authenticate. With anyone here, AUTH is offered (PLAIN and LOGIN, unless
    /// [`Config::offer`] names other mechanisms), and required before MAIL. Without, AUTH that is
    /// offered through [`Config::offer`] takes any user whose password or token it is shown.
    pub users: Vec<User>,
    /// What is refused as too much.
    pub limits: Limits,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// The seed of everything random: the same seed and the same sessions give the same faults.
    pub seed: u64,
    /// Where mails go.
    pub store: StoreKind,
    /// Whether to count mails that a recipient got before, by Message-ID, and
    /// [what else](crate::MessageIds) Message-IDs tell. Takes no more than 570 MB; ten million mails
    /// that are numbered in their Message-IDs take 5 MB.
    pub count_duplicates: bool,
    /// Whether to look into content for what strict servers object to. Off, the octets of a chunk
    /// are counted and not looked at.
    pub inspect_content: bool,
    /// What happens to commands that came in one flight behind the end of content.
    pub pipelining_after_content: PipeliningAfterContent,
    /// What happens to a client that speaks out of turn.
    pub early_talk: EarlyTalk,
    /// What becomes of the mail transaction when a chunk is refused.
    pub refused_chunk: RefusedChunk,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: "sink.localhost".to_owned(),
            protocol: Protocol::default(),
            offer: Offer::default(),
            tls: TlsUse::default(),
            users: Vec::new(),
            limits: Limits::default(),
            faults: Vec::new(),
            seed: 0,
            store: StoreKind::default(),
            count_duplicates: false,
            inspect_content: true,
            pipelining_after_content: PipeliningAfterContent::default(),
            early_talk: EarlyTalk::default(),
            refused_chunk: RefusedChunk::default(),
            proxy_protocol: false,
        }
    }
}

/// The protocol a sink speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP (RFC 5321): one final reply for a mail.
    #[default]
    Smtp,
    /// LMTP (RFC 2033): LHLO, and one final reply for each accepted recipient.
    Lmtp,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsUse {
    /// Never.
    #[default]
    Absent,
    /// With STARTTLS, if the client asks for it.
    Offered,
    /// With STARTTLS, and nothing but EHLO, NOOP and QUIT goes before it.
    Required,
    /// Before the greeting (RFC 8314).
    Implicit,
}

/// Someone who may authenticate.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The authentication identity.
    pub name: String,
    /// The password; for XOAUTH2 and OAUTHBEARER, the token.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is refused as too much; the replies are those of well-known servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions open at once; one more gets `421 4.7.0` for a greeting.
    pub max_conns: Option<u64>,
    /// MAIL commands on one connection; one more gets `421 4.7.0` and the connection closes.
    pub max_per_conn: Option<u64>,
    /// Recipients of one mail; one more gets `452 4.5.3`.
    pub max_rcpts: Option<usize>,
    /// Octets of one mail's content, offered as SIZE; more get `552 5.3.4`.
    pub max_size: u64,
    /// How long a pair of reverse-path and recipient gets `450 4.7.1` from when it first came. The
    /// text says how many seconds are left.
    pub greylist: Option<Duration>,
    /// Mails over time; MAIL beyond it gets `450 4.7.1`. A fifth of a second's worth may come at
    /// once.
    pub capacity: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_conns: None,
            max_per_conn: None,
            max_rcpts: None,
            max_size: DEFAULT_MAX_SIZE,
            greylist: None,
            capacity: None,
        }
    }
}

/// What happens to commands that came in one flight behind the end of content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PipeliningAfterContent {
    /// They are answered like others (RFC 2920 3.1 allows them).
    #[default]
    Answer,
    /// Each complete command that was there when the final reply went out is answered 503 and
    /// dropped, as Haraka does against smuggling.
    Reject503,
}

/// What happens to a client that speaks before the greeting, or that sends on behind a command
/// which ends a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EarlyTalk {
    /// It is counted as a violation and answered.
    #[default]
    Ignore,
    /// It gets `554 5.5.0` and the connection closes, as with Postfix.
    Reject554,
}

/// What becomes of the mail transaction when a chunk comes without an accepted recipient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusedChunk {
    /// It ends, as with Postfix.
    #[default]
    Reset,
    /// It stays open, and the next MAIL is refused as nested, as with Exim.
    Keep,
}

/// Changes to the keywords in the reply to EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Add(Keyword),
    Remove(String),
}

/// A keyword line of the reply to EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keyword {
    pub(crate) name: String,
    pub(crate) parameters: String,
}

impl Keyword {
    fn new(name: &str, parameters: &str) -> Self {
        Self { name: name.to_ascii_uppercase(), parameters: parameters.to_owned() }
    }
}

impl Offer {
    /// These changes, and others behind them.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.changes.extend(other.changes);
        self
    }

    /// Whether a keyword is among the changes, and is added.
    pub fn adds(&self, name: &str) -> bool {
        self.changes.iter().rev().find_map(|change| change.decides(name)).unwrap_or(false)
    }
}

impl std::str::FromStr for Offer {
    type Err = OfferError;

    /// Reads changes like `+CHUNKING,-PIPELINING,SIZE=10m,AUTH=PLAIN LOGIN`: a keyword with or
    /// without `+` is offered, one with `-` is not. `SIZE` takes a size in any unit. `REQUIRETLS` is
    /// offered inside TLS only (RFC 8689 section 2).
    fn from_str(text: &str) -> Result<Self, OfferError> {
        let changes = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Self { changes: changes.map(Change::parse).collect::<Result<_, _>>()? })
    }
}

impl Change {
    /// Whether it adds or removes this keyword, if it is about it at all.
    fn decides(&self, keyword: &str) -> Option<bool> {
        let (name, is_added) = match self {
            Self::Add(keyword) => (&keyword.name, true),
            Self::Remove(name) => (name, false),
        };
        name.eq_ignore_ascii_case(keyword).then_some(is_added)
    }

    fn parse(item: &str) -> Result<Self, OfferError> {
        let error = || OfferError { item: item.to_owned() };
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if let Some(name) = item.strip_prefix('-') {
            return if is_name(name) { Ok(Self::Remove(name.to_owned())) } else { Err(error()) };
        }
        let item = item.strip_prefix('+').unwrap_or(item);
        let (name, parameters) = item.split_once('=').unwrap_or((item, ""));
        let printable = parameters.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if !is_name(name) || !printable {
            return Err(error());
        }
        if name.eq_ignore_ascii_case("SIZE") && !parameters.is_empty() {
            let size = crate::units::parse_size(parameters).map_err(|_| error())?;
            return Ok(Self::Add(Keyword::new(name, &size.to_string())));
        }
        Ok(Self::Add(Keyword::new(name, parameters)))
    }
}

/// A text that does not change an offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a keyword as in +CHUNKING, -PIPELINING or SIZE=10m, got {item:?}")]
pub struct OfferError {
    item: String,
}

impl Config {
    /// The keywords to offer, given whether TLS is active.
    pub(crate) fn keywords(&self, tls_active: bool) -> Vec<Keyword> {
        let mut keywords = vec![
            Keyword::new("PIPELINING", ""),
            Keyword::new("SIZE", &self.limits.max_size.to_string()),
            Keyword::new("8BITMIME", ""),
            Keyword::new("SMTPUTF8", ""),
            Keyword::new("ENHANCEDSTATUSCODES", ""),
            Keyword::new("CHUNKING", ""),
            Keyword::new("BINARYMIME", ""),
            Keyword::new("DSN", ""),
        ];
        if !tls_active && matches!(self.tls, TlsUse::Offered | TlsUse::Required) {
            keywords.push(Keyword::new("STARTTLS", ""));
        }
        if !self.users.is_empty() && (tls_active || self.tls != TlsUse::Required) {
            keywords.push(Keyword::new("AUTH", "PLAIN LOGIN"));
        }
        for change in &self.offer.changes {
            match change {
                Change::Add(keyword) if keyword.name == "REQUIRETLS" && !tls_active => {}
                Change::Add(keyword) => {
                    match keywords.iter_mut().find(|known| known.name == keyword.name) {
                        Some(known) => *known = keyword.clone(),
                        None => keywords.push(keyword.clone()),
                    }
                }
                Change::Remove(name) => {
                    keywords.retain(|known| !known.name.eq_ignore_ascii_case(name));
                }
            }
        }
        keywords
    }
}

/// Larger than any mail a public provider takes; it bounds what one connection keeps in memory.
const DEFAULT_MAX_SIZE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offer: &str, expected: &str) {
        let config = Config { offer: offer.parse().unwrap(), ..Config::default() };
        let lines: Vec<_> = config
            .keywords(false)
            .into_iter()
            .map(|k| format!("{} {}", k.name, k.parameters).trim().to_owned())
            .collect();
        assert_eq!(lines.join("; "), expected);
    }

    #[test]
    fn an_offer_is_changes_to_the_default() {
        let base = "8BITMIME; SMTPUTF8; ENHANCEDSTATUSCODES";
        check("", &format!("PIPELINING; SIZE 268435456; {base}; CHUNKING; BINARYMIME; DSN"));
        check(
            "-pipelining, SIZE=10m,+auth=PLAIN LOGIN,-CHUNKING,-BINARYMIME,-DSN",
            &format!("SIZE 10485760; {base}; AUTH PLAIN LOGIN"),
        );
    }

    /// RTLS-01.
    #[test]
    fn requiretls_is_offered_inside_tls() {
        let config = Config { offer: "REQUIRETLS".parse().unwrap(), ..Config::default() };
        let offered = |tls| config.keywords(tls).iter().any(|k| k.name == "REQUIRETLS");
        assert_eq!((offered(false), offered(true)), (false, true));
    }

    #[test]
    fn later_changes_win() {
        let [first, second]: [Offer; 2] = ["X,-DSN", "DSN,-X"].map(|it| it.parse().unwrap());
        let config = Config { offer: first.and(second), ..Config::default() };
        let names: Vec<_> = config.keywords(false).into_iter().map(|it| it.name).collect();
        assert!(names.contains(&"DSN".to_owned()) && !names.contains(&"X".to_owned()));
    }

    #[test]
    fn what_is_no_keyword_is_refused() {
        for offer in ["+", "-", "A B", "SIZE=much", "X=\r\n250 Y"] {
            assert!(offer.parse::<Offer>().is_err(), "{offer:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let user = User { name: "news".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{user:?}").contains("secret"));
    }
}
