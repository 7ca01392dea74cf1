//! Server addresses as users write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
#[cfg(unix)]
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
#[cfg(unix)]
use posthaste_connection::ServerAddress;
use posthaste_connection::{LmtpPortError, Security, Server};
use posthaste_session::{Credentials, CredentialsError, Domain, Protocol};

/// SMTP between servers (RFC 5321 section 4.5.4.2).
const SMTP_PORT: u16 = 25;
/// Submission with TLS from the first octet (RFC 8314 section 3.3).
const SUBMISSIONS_PORT: u16 = 465;
/// What would end a path, or begin an escape.
#[cfg(unix)]
const PATH_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

/// A server and who wants to use it.
///
/// | form | meaning |
/// |---|---|
/// | `HOST[:PORT]`, `smtp://[USER[:PASSWORD]@]HOST[:PORT]` | SMTP, port 25 by default; TLS by STARTTLS |
/// | `smtps://[USER[:PASSWORD]@]HOST[:PORT]` | SMTP with TLS from the first octet, port 465 by default |
/// | `lmtp://[USER[:PASSWORD]@]HOST:PORT` | LMTP (RFC 2033), on any port but 25; TLS by STARTTLS |
/// | `lmtp+unix:///PATH` | LMTP behind a Unix socket |
///
/// IPv6 addresses stand in brackets; user, password and path are percent-decoded. The password
/// shows in no output.
///
/// ```
/// use posthaste::ServerUrl;
///
/// let url: ServerUrl = "smtps://news:p%40ss@mx.example".parse()?;
/// assert_eq!(url.to_string(), "smtps://news@mx.example:465");
/// # Ok::<(), posthaste::UrlError>(())
/// ```
#[derive(Clone)]
pub struct ServerUrl {
    server: Server,
    user: Option<String>,
    credentials: Option<Credentials>,
}

/// Why a text names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No scheme of those above before `://`.
    #[error("scheme {0:?} is not supported; use smtp://, smtps://, lmtp:// or lmtp+unix://")]
    Scheme(String),
    /// The host is neither a name nor an IP address.
    #[error("{0:?} is not a host name or an IP address (IPv6 addresses stand in brackets)")]
    Host(String),
    /// The port is not a number from 1 to 65535. It is not repeated: it may be a password without
    /// its host.
    #[error("what stands behind the colon is not a port number from 1 to 65535")]
    Port,
    /// LMTP has no port of its own.
    #[error("LMTP needs a port")]
    NoPort,
    /// LMTP on port 25.
    #[error(transparent)]
    LmtpPort(#[from] LmtpPortError),
    /// The path of a Unix socket is not absolute, or it is none.
    #[error("{0:?} is not the absolute path of a socket, as in lmtp+unix:///run/lmtp")]
    Path(String),
    /// Something stands behind the port.
    #[error("nothing may stand behind the port, but {0:?} does")]
    Rest(String),
    /// User, password or path are not UTF-8 once decoded.
    #[error("user name, password or path is not valid UTF-8")]
    Encoding,
    /// User or password cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl ServerUrl {
    /// Where the server is, and when TLS begins.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The user name, where there is one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// User name and password, where there are both.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = split_scheme(text).unwrap_or(("smtp", text));
        match scheme.to_ascii_lowercase().as_str() {
            "smtp" => {
                Self::at_host(rest, |host, port| Ok(Server::smtp(host, port.unwrap_or(SMTP_PORT))))
            }
            "smtps" => Self::at_host(rest, |host, port| {
                Ok(Server::smtps(host, port.unwrap_or(SUBMISSIONS_PORT)))
            }),
            "lmtp" => Self::at_host(rest, |host, port| {
                Ok(Server::lmtp(host, port.ok_or(UrlError::NoPort)?)?)
            }),
            #[cfg(unix)]
            "lmtp+unix" => {
                let server = Server::lmtp_unix(read_path(rest)?);
                Ok(Self { server, user: None, credentials: None })
            }
            _ => Err(UrlError::Scheme(scheme.to_owned())),
        }
    }
}

impl ServerUrl {
    /// What stands behind `://` where the server is on the network.
    fn at_host(
        rest: &str,
        server: impl FnOnce(String, Option<u16>) -> Result<Server, UrlError>,
    ) -> Result<Self, UrlError> {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (userinfo, authority) = match rest.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, rest),
        };
        let (user, credentials) = userinfo.map(read_userinfo).transpose()?.unwrap_or_default();
        let (host, port) = split_port(authority)?;
        let port = port.map(read_port).transpose()?;
        Ok(Self { server: server(host, port)?, user, credentials })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(unix)]
        if let ServerAddress::Unix(path) = self.server.address() {
            let path = utf8_percent_encode(path.to_str().unwrap_or_default(), PATH_ESCAPES);
            return write!(f, "lmtp+unix://{path}");
        }
        let scheme = match (self.server.protocol(), self.server.security()) {
            (Protocol::Smtp, Security::StartTls) => "smtp",
            (Protocol::Smtp, Security::Implicit) => "smtps",
            (Protocol::Lmtp, _) => "lmtp",
        };
        let user = self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        write!(f, "{scheme}://{user}{}", self.server)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// The scheme and what is behind it. A password may have `://` in it, too, and is no scheme to be told about.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
    scheme.bytes().all(is_scheme).then_some((scheme, rest))
}

fn read_userinfo(text: &str) -> Result<(Option<String>, Option<Credentials>), UrlError> {
    let decode = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(UrlError::Encoding),
    };
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (decode(user)?, Some(decode(password)?)),
        None => (decode(text)?, None),
    };
    // It is shown, and no credentials may ever be made of it.
    if user.chars().any(char::is_control) {
        return Err(CredentialsError::Control.into());
    }
    let credentials =
        password.map(|password| Credentials::new(user.clone(), password)).transpose()?;
    Ok((Some(user), credentials))
}

/// The path of a Unix socket: absolute, and no more than a path.
#[cfg(unix)]
fn read_path(text: &str) -> Result<String, UrlError> {
    let path = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Encoding)?;
    let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    if is_path { Ok(path.into_owned()) } else { Err(UrlError::Path(path.into_owned())) }
}

fn split_port(authority: &str) -> Result<(String, Option<&str>), UrlError> {
    let bad_host = || UrlError::Host(authority.to_owned());
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(bad_host)?;
        if !host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
            return Err(bad_host());
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host.to_owned(), Some(port))),
            None if rest.is_empty() => Ok((host.to_owned(), None)),
            None => Err(UrlError::Rest(rest.to_owned())),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let domain: Domain = host.parse().map_err(|_| UrlError::Host(host.to_owned()))?;
    Ok((domain.as_str().to_owned(), port))
}

fn read_port(text: &str) -> Result<u16, UrlError> {
    let port =
        text.parse().ok().filter(|&port| port > 0 && text.bytes().all(|b| b.is_ascii_digit()));
    port.ok_or(UrlError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), expected);
    }

    #[track_caller]
    fn refuse(text: &str, expected: UrlError) {
        assert_eq!(text.parse::<ServerUrl>().unwrap_err(), expected, "{text:?}");
    }

    #[test]
    fn forms() {
        check("mx.example", "smtp://mx.example:25");
        check("127.0.0.1:2525", "smtp://127.0.0.1:2525");
        check("smtp://mx.example:587", "smtp://mx.example:587");
        check("SMTPS://mx.example/", "smtps://mx.example:465");
        check("[::1]:2525", "smtp://[::1]:2525");
        check("smtp://a%40b:x@mx.example", "smtp://a@b@mx.example:25");
        check("bücher.example", "smtp://xn--bcher-kva.example:25");
        check("lmtp://127.0.0.1:24", "lmtp://127.0.0.1:24");
        check("lmtp://u:p@[::1]:24/", "lmtp://u@[::1]:24");
        check("LMTP+UNIX:///run/dovecot/lmtp", "lmtp+unix:///run/dovecot/lmtp");
        check("lmtp+unix:///a%20b%25", "lmtp+unix:///a%20b%25");
    }

    /// LMTP-02
    #[test]
    fn lmtp_has_a_port_of_your_choice_but_25() {
        refuse("lmtp://mx.example", UrlError::NoPort);
        refuse("lmtp://mx.example:25", UrlError::LmtpPort(LmtpPortError));
        refuse("lmtp+unix://run/lmtp", UrlError::Path("run/lmtp".into()));
        for path in ["", "/", "/a%00b", "/a/"] {
            let decoded = path.replace("%00", "\0");
            refuse(&format!("lmtp+unix://{path}"), UrlError::Path(decoded));
        }
    }

    #[test]
    fn not_servers() {
        refuse("http://x", UrlError::Scheme("http".into()));
        refuse("", UrlError::Host(String::new()));
        refuse("h\r\n", UrlError::Host("h\r\n".into())); // IN-16
        refuse("a b", UrlError::Host("a b".into())); // IN-16
        refuse("[::1%25x]", UrlError::Host("[::1%25x]".into())); // IN-16
        refuse("mx.example:0", UrlError::Port);
        refuse("mx.example:+25", UrlError::Port);
        refuse("mx.example:99999", UrlError::Port);
        refuse("[::1]x", UrlError::Rest("x".into()));
        refuse("smtp://u%0d%0a:p@h", UrlError::Credentials(CredentialsError::Control)); // IN-11
        refuse("smtp://u%0d%0a@h", UrlError::Credentials(CredentialsError::Control)); // IN-11
        refuse("smtp://u:p%00@h", UrlError::Credentials(CredentialsError::Control)); // IN-11, IN-13
        refuse("smtp://%ff:p@h", UrlError::Encoding);
    }

    #[test]
    fn the_password_stays_hidden() {
        // LK-01
        let url: ServerUrl = "news:hun://ter2@mx.example".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("ter2"));
        let url: ServerUrl = "smtp://news:hunter2@mx.example".parse().unwrap();
        assert!(!format!("{url} {url:?} {:?}", url.credentials()).contains("hunter2"));
    }
}
