//! The options of a sink, by the names that flags and `sink:` URLs share.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{
    Config, EarlyTalk, Offer, OfferError, PipeliningAfterContent, Protocol, RefusedChunk, TlsUse,
    User,
};
use crate::fault::{FaultError, FaultRule};
use crate::listener::Sink;
use crate::store::{StoreKind, StoreKindError};
use crate::tls::Identity;
use crate::units::{Rate, UnitError, parse_count, parse_duration, parse_size};

/// Where a sink listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    /// `127.0.0.1:2525`, or `unix:/run/sink`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to start a [`Sink`].
#[derive(Debug, Clone)]
pub struct SinkOptions {
    pub(crate) endpoint: Endpoint,
    pub(crate) config: Config,
    pub(crate) rtt: Option<Duration>,
    identity: Option<Identity>,
    key: Option<PathBuf>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            config: Config::default(),
            rtt: None,
            identity: None,
            key: None,
        }
    }
}

impl SinkOptions {
    /// Reads the query of a `sink:?...` URL: `rtt=50ms&max-conns=5&fault=at%3Dquit%20close%3Drst`.
    ///
    /// # Errors
    ///
    /// As [`SinkOptions::set`], and where percent-encoding is broken.
    pub fn from_query(query: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for item in query.split('&').filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let decode = |text| percent_decode(text).ok_or(OptionError::Encoding);
            options.set(&decode(name)?, &decode(value)?)?;
        }
        Ok(options)
    }

    /// Sets one option by the name of its flag, without the hyphens. Flags that take no value take
    /// none here, or `true`.
    ///
    /// # Errors
    ///
    /// If there is no such option, or the value is not one of its kind.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let wrong = |source: ValueError| OptionError::Value { name: name.to_owned(), source };
        self.set_value(name, value).map_err(|error| match error {
            SetError::Unknown => OptionError::Unknown { name: name.to_owned() },
            SetError::Value(source) => wrong(source),
        })
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        let limits = &mut self.config.limits;
        match name {
            "store" => {
                self.config.store = value.parse()?;
                self.config.count_duplicates |= value == "count";
            }
            "max-size" => limits.max_size = parse_size(value)?,
            "tls-self-signed" => self.use_identity(Identity::SelfSigned(value.to_owned())),
            "cert" => {
                let key = self.key.clone().unwrap_or_else(|| value.into());
                self.use_identity(Identity::Files { chain: value.into(), key });
            }
            "key" => {
                self.key = Some(value.into());
                if let Some(Identity::Files { key, .. }) = &mut self.identity {
                    *key = value.into();
                }
            }
            "implicit-tls" => self.set_tls_use(value, TlsUse::Implicit)?,
            "require-tls" => self.set_tls_use(value, TlsUse::Required)?,
            "ehlo" => self.config.offer = value.parse()?,
            "hostname" => self.config.hostname = hostname(value)?,
            "lmtp" => {
                let lmtp = flag(value)?;
                self.config.protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
            }
            "user" => {
                let (name, password) =
                    value.split_once(':').ok_or(ValueError::Expected("NAME:PASSWORD"))?;
                let user = User { name: name.to_owned(), password: password.to_owned() };
                self.config.users.push(user);
            }
            "rtt" => self.rtt = Some(parse_duration(value)?).filter(|rtt| !rtt.is_zero()),
            "capacity" => limits.capacity = Some(value.parse::<Rate>()?),
            "max-conns" => limits.max_conns = Some(parse_count(value)?),
            "max-per-conn" => limits.max_per_conn = Some(parse_count(value)?),
            "max-rcpts" => {
                let count = parse_count(value)?;
                limits.max_rcpts = Some(usize::try_from(count).unwrap_or(usize::MAX));
            }
            "greylist" => limits.greylist = Some(parse_duration(value)?),
            "fault" => self.config.faults.push(value.parse()?),
            "seed" => {
                let seed = value.parse().map_err(|_| ValueError::Expected("a whole number"))?;
                self.config.seed = seed;
            }
            "duplicates" => self.config.count_duplicates = flag(value)?,
            "inspect" => self.config.inspect_content = flag(value)?,
            "pipelining-after-content" => {
                self.config.pipelining_after_content = match value {
                    "answer" => PipeliningAfterContent::Answer,
                    "reject503" => PipeliningAfterContent::Reject503,
                    _ => return Err(ValueError::Expected("answer or reject503").into()),
                }
            }
            "early-talk" => {
                self.config.early_talk = match value {
                    "ignore" => EarlyTalk::Ignore,
                    "reject554" => EarlyTalk::Reject554,
                    _ => return Err(ValueError::Expected("ignore or reject554").into()),
                }
            }
            "proxy-protocol" => self.config.proxy_protocol = flag(value)?,
            "refused-chunk" => {
                self.config.refused_chunk = match value {
                    "reset" => RefusedChunk::Reset,
                    "keep" => RefusedChunk::Keep,
                    _ => return Err(ValueError::Expected("reset or keep").into()),
                }
            }
            _ => return Err(SetError::Unknown),
        }
        Ok(())
    }

    /// The address to bind; by default a free port of the loopback address.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.endpoint = Endpoint::Tcp(address);
        self
    }

    /// A Unix socket to bind instead, as LMTP servers do. It is removed when the sink stops.
    #[must_use]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.endpoint = Endpoint::Unix(path.into());
        self
    }

    /// Everything about the sessions at once.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where mails go.
    #[must_use]
    pub fn store(mut self, store: StoreKind) -> Self {
        self.config.store = store;
        self
    }

    /// Changes what is offered in reply to EHLO.
    #[must_use]
    pub fn offer(mut self, offer: Offer) -> Self {
        self.config.offer = offer;
        self
    }

    /// Adds something that goes wrong.
    #[must_use]
    pub fn fault(mut self, rule: FaultRule) -> Self {
        self.config.faults.push(rule);
        self
    }

    /// Adds a round trip of latency.
    #[must_use]
    pub fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = Some(rtt).filter(|rtt| !rtt.is_zero());
        self
    }

    /// Has TLS with this certificate: by STARTTLS, unless the configuration says otherwise.
    #[must_use]
    pub fn tls(mut self, identity: Identity) -> Self {
        self.use_identity(identity);
        self
    }

    /// Has TLS before the greeting. Without [`SinkOptions::tls`], the certificate is self-signed.
    #[must_use]
    pub fn implicit_tls(mut self) -> Self {
        self.config.tls = TlsUse::Implicit;
        self
    }

    /// Binds and starts to serve.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, a certificate or the store cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves nothing behind.
    pub async fn start(self) -> io::Result<Sink> {
        Sink::start(self).await
    }

    /// Changes the configuration of the sessions.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The certificate to use: a self-signed one where TLS is wanted and none is given.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let wanted = self.config.tls != TlsUse::Absent;
        let made = || wanted.then(|| Identity::SelfSigned(self.config.hostname.clone()));
        self.identity.clone().or_else(made)
    }

    fn use_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
        if self.config.tls == TlsUse::Absent {
            self.config.tls = TlsUse::Offered;
        }
    }

    fn set_tls_use(&mut self, value: &str, tls: TlsUse) -> Result<(), ValueError> {
        if flag(value)? {
            self.config.tls = tls;
        }
        Ok(())
    }
}

fn flag(value: &str) -> Result<bool, ValueError> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ValueError::Expected("true or false")),
    }
}

fn hostname(value: &str) -> Result<String, ValueError> {
    let valid = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
    if valid { Ok(value.to_owned()) } else { Err(ValueError::Expected("a host name")) }
}

/// The text with `%XX` resolved; `None` if that is no UTF-8, or a `%` stands alone.
fn percent_decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        octets.push((high * 16 + low) as u8);
        rest = behind;
    }
    String::from_utf8(octets).ok()
}

/// Why an option cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// There is no option of this name.
    #[error("unknown sink option {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is not one of the option's kind.
    #[error("{name}: {source}")]
    Value {
        /// The option.
        name: String,
        /// What its value may be.
        source: ValueError,
    },
    /// Percent-encoding that is broken, or does not give UTF-8.
    #[error("expected percent-encoded UTF-8")]
    Encoding,
}

/// Why a value is not one of its option's kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not one of few values.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Not a number with a unit.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Not a fault rule.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Not a change to the offer.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// Not a store.
    #[error(transparent)]
    Store(#[from] StoreKindError),
}

enum SetError {
    Unknown,
    Value(ValueError),
}

impl<E: Into<ValueError>> From<E> for SetError {
    fn from(error: E) -> Self {
        Self::Value(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sets_what_flags_set() {
        let query = "rtt=50ms&max-conns=5&lmtp&max-rcpts=1k&capacity=3000/s&seed=7&\
                     ehlo=-CHUNKING&user=a:b%3Ac&fault=at%3Dquit%20close%3Drst&greylist=1m";
        let options = SinkOptions::from_query(query).unwrap();
        assert_eq!(options.rtt, Some(Duration::from_millis(50)));
        let config = options.config;
        assert_eq!(config.limits.max_conns, Some(5));
        assert_eq!(config.limits.max_rcpts, Some(1000));
        assert_eq!(config.limits.greylist, Some(Duration::from_secs(60)));
        assert_eq!(config.protocol, Protocol::Lmtp);
        assert_eq!(config.seed, 7);
        assert_eq!(config.users[0].password, "b:c");
        assert_eq!(config.faults[0].text(), "at=quit close=rst");
        assert!(SinkOptions::from_query("").is_ok());
    }

    #[test]
    fn errors_name_the_option() {
        for (query, expected) in [
            ("colour=red", "unknown sink option \"colour\""),
            ("rtt=x", "rtt: expected a duration such as 250ms, 30s, 5m or 2h, got \"x\""),
            ("user=x", "user: expected NAME:PASSWORD"),
            ("lmtp=maybe", "lmtp: expected true or false"),
            ("rtt=%5", "expected percent-encoded UTF-8"),
            (
                "fault=at%3Drcpt",
                "fault: expected an action: reply, raw, garbage, surplus, delay, \
                                 trickle, close, stall or store",
            ),
        ] {
            let error = SinkOptions::from_query(query).unwrap_err();
            assert_eq!(error.to_string(), expected, "{query}");
        }
    }
}
