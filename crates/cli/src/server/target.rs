//! The server that the user names.

use posthaste::ServerUrl;
use posthaste::connection::ServerAddress;
use posthaste_sink::{Protocol, Sink, SinkOptions, TlsUse};

use super::error::ServerError;

/// What a URL of a server may begin with.
const SCHEMES: [&str; 4] = ["smtp", "smtps", "lmtp", "lmtp+unix"];

/// A server that is there to be used.
pub(crate) struct Target {
    pub(crate) url: ServerUrl,
    /// The one inside this process, if that is the server.
    pub(crate) sink: Option<Sink>,
}

impl Target {
    /// Understands what the user wrote, and starts the sink if that is it.
    pub(crate) async fn open(server: &str) -> Result<Self, ServerError> {
        let Some(mut options) = sink_options(server)? else {
            return Ok(Self { url: read_url(server)?, sink: None });
        };
        let config = options.config_mut();
        let scheme = match (config.protocol, config.tls) {
            (Protocol::Lmtp, _) => "lmtp",
            (Protocol::Smtp, TlsUse::Implicit) => "smtps",
            (Protocol::Smtp, _) => "smtp",
        };
        let sink = options.start().await.map_err(ServerError::Sink)?;
        let url = read_url(&format!("{scheme}://{}", sink.addr()))?;
        Ok(Self { url, sink: Some(sink) })
    }

    /// Another server beside it, which cannot be a sink inside this process.
    pub(crate) fn other(server: &str) -> Result<ServerUrl, ServerError> {
        read_url(server)
    }

    /// Checks the form without starting anything.
    pub(crate) fn check(server: &str) -> Result<(), ServerError> {
        if sink_options(server)?.is_none() {
            read_url(server)?;
        }
        Ok(())
    }
}

/// The options of `sink:`; `None` if it is another server.
fn sink_options(server: &str) -> Result<Option<SinkOptions>, ServerError> {
    let Some(options) = server.strip_prefix("sink:") else { return Ok(None) };
    let query = options.strip_prefix('?').unwrap_or(options);
    SinkOptions::from_query(query).map(Some).map_err(ServerError::SinkOptions)
}

fn read_url(server: &str) -> Result<ServerUrl, ServerError> {
    let url: ServerUrl = server.parse().map_err(|error| ServerError::Url(quoted(server), error))?;
    if let ServerAddress::Unix(path) = url.server().address() {
        std::os::unix::net::SocketAddr::from_pathname(path)
            .map_err(|error| ServerError::SocketPath(quoted(server), error))?;
    }
    Ok(url)
}

/// A server or proxy as the user wrote it, right or wrong, but for what may be a password: all before
/// an `@`, and all behind a colon that is no port.
pub(super) fn quoted(server: &str) -> String {
    let (scheme, rest) = match server.split_once("://") {
        Some((scheme, rest)) if SCHEMES.iter().any(|it| it.eq_ignore_ascii_case(scheme)) => {
            (format!("{scheme}://"), rest)
        }
        _ => (String::new(), server),
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((_, host)) => ("…@", host),
        None => ("", rest),
    };
    // The colons of an IPv6 address are its own.
    let name = host.find(']').filter(|_| host.starts_with('[')).unwrap_or(0);
    let colon = host.char_indices().find(|&(at, c)| at >= name && c == ':').map(|(at, _)| at);
    let host = match colon.and_then(|at| host.split_at_checked(at)) {
        Some((name, port)) if !port.bytes().skip(1).all(|octet| octet.is_ascii_digit()) => {
            format!("{name}:…")
        }
        _ => host.to_owned(),
    };
    format!("{:?}", format!("{scheme}{user}{host}"))
}

/// A server as it may be shown: without the passwords of its URL, or of the sink's users.
pub(crate) fn without_password(server: &str) -> String {
    if let Some(options) = server.strip_prefix("sink:") {
        let options = options.split('&').map(|option| match option.split_once('=') {
            Some((name, _)) if name.trim_start_matches('?') == "user" => format!("{name}=…"),
            _ => option.to_owned(),
        });
        return format!("sink:{}", options.collect::<Vec<_>>().join("&"));
    }
    server.parse::<ServerUrl>().map_or_else(|_| quoted(server), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LK-01: a URL whose host was forgotten is a password with a user.
    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        for (server, expected) in [
            ("smtp://news:hunter2", "smtp://news:…"),
            ("news:hunter2", "news:…"),
            ("smtp://news:hunter2@mx.test:no", "smtp://…@mx.test:…"),
            ("smtp://news@corp.test:hunter2", "smtp://…@corp.test:…"),
            ("news:hun://ter2@mx.test", "…@mx.test"),
            ("news:hun://ter2", "news:…"),
            ("hunter2@", "…@"),
            ("SMTPS://mx.test:99999", "SMTPS://mx.test:99999"),
            ("[::1]:0", "[::1]:0"),
            ("[::1]:smtp", "[::1]:…"),
            ("mx.test", "mx.test"),
        ] {
            assert_eq!(quoted(server), format!("{expected:?}"), "{server}");
        }
    }

    /// LK-01
    #[test]
    fn what_is_shown_of_a_server() {
        for (server, expected) in [
            ("smtp://news:hunter2@mx.test", "smtp://news@mx.test:25"),
            ("sink:?user=news:hunter2&rtt=5ms", "sink:?user=…&rtt=5ms"),
            ("sink:rtt=5ms&user=news:hunter2", "sink:rtt=5ms&user=…"),
            ("sink:", "sink:"),
        ] {
            assert_eq!(without_password(server), expected, "{server}");
        }
    }
}
