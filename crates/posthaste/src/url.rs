//! Server addresses as users write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use posthaste_connection::{Security, Server};
use posthaste_session::{Credentials, CredentialsError, Domain};

/// SMTP between servers (RFC 5321 section 4.5.4.2).
const SMTP_PORT: u16 = 25;
/// Submission with TLS from the first octet (RFC 8314 section 3.3).
const SUBMISSIONS_PORT: u16 = 465;

/// A server and who wants to use it: `HOST[:PORT]`, `smtp://[USER[:PASSWORD]@]HOST[:PORT]` or
/// `smtps://[USER[:PASSWORD]@]HOST[:PORT]`.
///
/// IPv6 addresses stand in brackets; user and password are percent-decoded. The password shows in no output.
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
    /// Something other than `smtp` or `smtps` before `://`.
    #[error("scheme {0:?} is not supported; use smtp:// or smtps://")]
    Scheme(String),
    /// The host is neither a name nor an IP address.
    #[error("{0:?} is not a host name or an IP address (IPv6 addresses stand in brackets)")]
    Host(String),
    /// The port is not a number from 1 to 65535. It is not repeated: it may be a password without its host.
    #[error("what stands behind the colon is not a port number from 1 to 65535")]
    Port,
    /// Something stands behind the port.
    #[error("nothing may stand behind the port, but {0:?} does")]
    Rest(String),
    /// User or password are not UTF-8 once decoded.
    #[error("user name or password is not valid UTF-8")]
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
        let (scheme, rest) = text.split_once("://").unwrap_or(("smtp", text));
        let (security, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "smtp" => (Security::StartTls, SMTP_PORT),
            "smtps" => (Security::Implicit, SUBMISSIONS_PORT),
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (userinfo, authority) = match rest.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, rest),
        };
        let (user, credentials) = userinfo.map(read_userinfo).transpose()?.unwrap_or_default();
        let (host, port) = split_port(authority)?;
        let port = port.map(read_port).transpose()?.unwrap_or(default_port);
        Ok(Self { server: Server { host, port, security }, user, credentials })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.server.security {
            Security::StartTls => "smtp",
            Security::Implicit => "smtps",
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

fn read_userinfo(text: &str) -> Result<(Option<String>, Option<Credentials>), UrlError> {
    let decode = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(UrlError::Encoding),
    };
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (decode(user)?, Some(decode(password)?)),
        None => (decode(text)?, None),
    };
    let credentials =
        password.map(|password| Credentials::new(user.clone(), password)).transpose()?;
    Ok((Some(user), credentials))
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
        refuse("smtp://u:p%00@h", UrlError::Credentials(CredentialsError::Control)); // IN-11, IN-13
        refuse("smtp://%ff:p@h", UrlError::Encoding);
    }

    #[test]
    fn the_password_stays_hidden() {
        // LK-01
        let url: ServerUrl = "smtp://news:hunter2@mx.example".parse().unwrap();
        assert!(!format!("{url} {url:?} {:?}", url.credentials()).contains("hunter2"));
    }
}
