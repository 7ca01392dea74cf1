//! The flags that `send`, `bench` and `probe` share: which server, and how it is spoken to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use posthaste::connection::{
    Connector, DialSettings, Family, PemError, ProxyAddresses, ProxyHeader, ProxyVersion,
    Socks5Error, TlsSettings, Verification,
};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::reply::Mechanism;
use posthaste::session::{
    Chunking, ClientName, Credentials, CredentialsError, Pipelining, PlaintextAuth, Timeouts,
    TlsPolicy,
};
use posthaste::{MailerBuilder, ServerUrl, UrlError};
use posthaste_sink::{OptionError, Protocol, Sink, SinkOptions, TlsUse};

mod xclient;

use crate::exit::Exit;
use crate::summary::Proof;
use crate::units::{duration, positive};

/// The longest password file or output of --password-cmd: a token has 8192 octets at most, and a
/// line end may follow.
const MAX_PASSWORD: usize = 8194;

/// The forms of a server.
pub(crate) const HELP: &str = "HOST[:PORT], smtp://[USER[:PASSWORD]@]HOST[:PORT], smtps://…, lmtp://HOST:PORT, \
                               lmtp+unix:///PATH, or sink: for a server inside this process";

/// How to reach the server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// STARTTLS: off, may (use it where offered; verifies nothing it cannot) or require [default:
    /// may; require on port 587 and with credentials]
    #[arg(long, value_name = "POLICY", value_parser = tls_policy)]
    tls: Option<TlsPolicy>,
    /// Accept any certificate
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Dangerous: accept a certificate for any name, if it is valid otherwise
    #[arg(long, group = "danger", conflicts_with = "insecure")]
    dangerous_any_name: bool,
    /// Dangerous: accept a certificate made by anybody, or expired, if it is for the right name
    #[arg(long, group = "danger", conflicts_with = "insecure")]
    dangerous_any_certificate: bool,
    /// Trust the certification authorities in this PEM file, too
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Show this certificate chain (PEM) to a server that asks
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of --cert (PEM), if it is not in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name the server's certificate must be valid for [default: the host]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,

    /// Log in as this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The environment variable that holds the password
    #[arg(long, value_name = "VAR", group = "password")]
    password_env: Option<String>,
    /// The file that holds the password
    #[arg(long, value_name = "FILE", group = "password")]
    password_file: Option<PathBuf>,
    /// The command that prints the password
    #[arg(long, value_name = "CMD", group = "password")]
    password_cmd: Option<String>,
    /// The SASL mechanisms that may be used, the preferred one first: SCRAM-SHA-256 and SCRAM-SHA-1
    /// (and -PLUS), PLAIN, LOGIN, CRAM-MD5, EXTERNAL; or XOAUTH2, OAUTHBEARER: then the password is
    /// a token [default: the strongest that the server offers, but for CRAM-MD5]
    #[arg(long, value_name = "MECH", value_delimiter = ',', value_parser = mechanism)]
    auth: Vec<Mechanism>,
    /// Send credentials also where everybody on the way can read them
    #[arg(long)]
    auth_plaintext: bool,

    /// What to say in EHLO [default: this host's name, or else the address literal]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<ClientName>)]
    ehlo: Option<ClientName>,
    /// Tell the server whom the sessions are made for: NAME=…, ADDR=…, PORT=…, PROTO=SMTP|ESMTP,
    /// HELO=…, LOGIN=…, DESTADDR=…, DESTPORT=…
    #[arg(
        long,
        value_name = "ATTRIBUTE=VALUE",
        value_delimiter = ',',
        value_parser = xclient::attribute
    )]
    xclient: Vec<xclient::Attribute>,
    /// How far ahead of the replies to send: auto, off, envelope or cross
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = pipelining)]
    pipeline: PipeliningPolicy,
    /// Which command carries content: auto (DATA, or BDAT for binary content), off (DATA) or always
    /// (BDAT)
    #[arg(long, value_name = "MODE", default_value = "auto")]
    chunking: Chunking,
    /// Take this EHLO keyword as not offered, e.g. CHUNKING (repeatable)
    #[arg(long, value_name = "KEYWORD", value_parser = keyword)]
    ignore: Vec<String>,

    /// The most connections open at once
    #[arg(short = 'c', long, value_name = "N", value_parser = positive)]
    connections: Option<u32>,
    /// Mails before a connection is replaced [default: as many as the server takes]
    #[arg(long, value_name = "N", value_parser = positive)]
    per_conn: Option<u32>,
    /// Source address (repeatable, one for each address family)
    #[arg(long, value_name = "ADDR")]
    bind: Vec<IpAddr>,
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Connect by way of this SOCKS5 proxy, [USER:PASSWORD@]HOST:PORT, which resolves the server's
    /// name
    #[arg(long, value_name = "PROXY")]
    socks5: Option<String>,
    /// Begin with a header of the PROXY protocol, v1 or v2, that tells the connection's addresses;
    /// with ,IP:PORT,IP:PORT behind it those of another client and server, with ,unknown none
    #[arg(long, value_name = "VERSION", value_parser = proxy_header)]
    proxy_protocol: Option<ProxyHeader>,

    /// How long connecting may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    connect_timeout: Option<Duration>,
    /// How long the reply to a command may take [default: as RFC 5321 says; bench and probe: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    command_timeout: Option<Duration>,
    /// How long content may make no progress
    #[arg(long, value_name = "TIME", value_parser = duration)]
    data_timeout: Option<Duration>,
    /// How long the reply to content may take
    #[arg(long, value_name = "TIME", value_parser = duration)]
    final_timeout: Option<Duration>,
}

/// A server that is there to be used.
pub(crate) struct Target {
    pub(crate) url: ServerUrl,
    /// The one inside this process, if that is the server.
    pub(crate) sink: Option<Sink>,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("server {} cannot be used", quoted(.0))]
    Url(String, #[source] UrlError),
    #[error("proxy {0} cannot be used")]
    Socks5(String, #[source] Socks5Error),
    #[error("the options of {0:?} cannot be used")]
    SinkOptions(String, #[source] OptionError),
    #[error("the sink cannot be started")]
    Sink(#[source] io::Error),
    #[error("TLS cannot be set up as asked")]
    Pem(#[from] PemError),
    #[error("credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    #[error("a password is given, but no user; name one with --user")]
    NoUser,
    #[error("user {0:?} has no password; use --password-env, --password-file or --password-cmd")]
    NoPassword(String),
    #[error("environment variable {0} does not hold a password")]
    PasswordEnv(String),
    #[error("cannot read the password from {}", .0.display())]
    PasswordFile(PathBuf, #[source] io::Error),
    #[error("cannot get the password from {0:?}")]
    PasswordCommand(String, #[source] io::Error),
    #[error("{0:?} failed instead of printing a password")]
    PasswordCommandFailed(String),
    #[error("server and TLS settings do not fit")]
    Setup(#[from] posthaste::SetupError),
}

impl ServerError {
    /// How a command that met it ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Url(..)
            | Self::Socks5(..)
            | Self::SinkOptions(..)
            | Self::NoUser
            | Self::NoPassword(_) => Exit::Usage,
            Self::Credentials(_) => Exit::BadConfig,
            Self::Sink(_) => Exit::Internal,
            Self::Pem(_) | Self::PasswordFile(..) => Exit::NoInput,
            Self::PasswordEnv(_) | Self::PasswordCommand(..) | Self::PasswordCommandFailed(_) => {
                Exit::BadConfig
            }
            Self::Setup(_) => Exit::BadConfig,
        }
    }
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
    let options = SinkOptions::from_query(query)
        .map_err(|error| ServerError::SinkOptions(server.to_owned(), error))?;
    Ok(Some(options))
}

fn read_url(server: &str) -> Result<ServerUrl, ServerError> {
    server.parse().map_err(|error| ServerError::Url(server.to_owned(), error))
}

/// A server as the user wrote it, right or wrong, but for what may be a password.
fn quoted(server: &str) -> String {
    let Some((before, host)) = server.rsplit_once('@') else { return format!("{server:?}") };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    let mark = if scheme.is_empty() { "" } else { "://" };
    format!("{:?}", format!("{scheme}{mark}…@{host}"))
}

impl ServerArgs {
    /// The most connections open at once.
    pub(crate) fn connections(&self, default: u32) -> u32 {
        self.connections.unwrap_or(default)
    }

    /// Whether the server is reached by way of a proxy.
    pub(crate) fn is_proxied(&self) -> bool {
        self.socks5.is_some()
    }

    /// Whether the user would want to know that a server did not prove who it is.
    pub(crate) fn proof(&self, target: &Target) -> Proof {
        let is_lax = self.insecure || self.dangerous_any_name || self.dangerous_any_certificate;
        if is_lax || target.sink.is_some() { Proof::Needless } else { Proof::Welcome }
    }

    /// A mailer's settings as far as the flags say.
    pub(crate) fn mailer(
        &self,
        target: &Target,
        connections: u32,
        timeouts: Timeouts,
    ) -> Result<MailerBuilder, ServerError> {
        let mut mailer = MailerBuilder::new(target.url.clone())
            .tls_settings(self.tls_settings(target)?)
            .timeouts(self.timeouts(timeouts))
            .dial(self.dial()?)
            .pipelining(self.pipeline)
            .chunking(self.chunking)
            .ignored_keywords(self.ignore.iter().cloned())
            .max_connections(self.connections(connections));
        if let Some(policy) = self.tls {
            mailer = mailer.tls(policy);
        }
        if let Some(mails) = self.per_conn {
            mailer = mailer.max_mails_per_connection(mails);
        }
        if let Some(credentials) = self.credentials(&target.url)? {
            mailer = mailer.credentials(credentials);
        }
        if let Some(name) = self.ehlo.clone().or_else(host_name) {
            mailer = mailer.client_name(name);
        }
        if !self.xclient.is_empty() {
            mailer = mailer.xclient(xclient::client(&self.xclient));
        }
        Ok(mailer)
    }

    /// Opens connections on which nothing secret is said: any certificate does, and what is wrong
    /// with it is told.
    pub(crate) fn prober(
        &self,
        target: &Target,
        timeouts: Timeouts,
    ) -> Result<Connector, ServerError> {
        let mut settings = self.tls_settings(target)?;
        settings.verification = Verification::Optional;
        Ok(self.mailer(target, 1, timeouts)?.tls_settings(settings).connector()?)
    }

    fn tls_settings(&self, target: &Target) -> Result<TlsSettings, ServerError> {
        let mut settings =
            TlsSettings { server_name: self.tls_name.clone(), ..TlsSettings::default() };
        if let Some(path) = &self.cacert {
            settings.add_roots_from_pem(path)?;
        }
        if let Some(chain) = &self.cert {
            settings.set_identity_from_pem(chain, self.key.as_deref().unwrap_or(chain))?;
        }
        // The sink inside this process made its own certificate.
        if self.insecure || target.sink.is_some() {
            settings.verification = Verification::Optional;
        } else if self.dangerous_any_name {
            settings.verification = Verification::DangerousAnyName;
        } else if self.dangerous_any_certificate {
            settings.verification = Verification::DangerousAnyCertificate;
        }
        Ok(settings)
    }

    fn credentials(&self, url: &ServerUrl) -> Result<Option<Credentials>, ServerError> {
        let allows_only = |mechanisms: &[Mechanism]| {
            !self.auth.is_empty() && self.auth.iter().all(|known| mechanisms.contains(known))
        };
        let has_token = allows_only(&[Mechanism::XOAuth2, Mechanism::OAuthBearer]);
        let credentials = match (self.password()?, self.user.as_deref().or(url.user())) {
            (None, user) if allows_only(&[Mechanism::External]) => {
                Credentials::external(user.map(str::to_owned))?
            }
            (Some(token), Some(user)) if has_token => Credentials::bearer(user, token)?,
            (Some(password), Some(user)) => Credentials::new(user, password)?,
            (Some(_), None) => return Err(ServerError::NoUser),
            (None, user) => match (url.credentials(), user) {
                (Some(credentials), _) if self.user.is_none() && has_token => {
                    credentials.clone().into_bearer()?
                }
                (Some(credentials), _) if self.user.is_none() => credentials.clone(),
                (_, Some(user)) => return Err(ServerError::NoPassword(user.to_owned())),
                (_, None) => return Ok(None),
            },
        };
        let plaintext =
            if self.auth_plaintext { PlaintextAuth::Allowed } else { PlaintextAuth::Forbidden };
        let credentials = credentials.with_plaintext(plaintext);
        if self.auth.is_empty() {
            return Ok(Some(credentials));
        }
        Ok(Some(credentials.with_mechanisms(&self.auth)?))
    }

    fn password(&self) -> Result<Option<String>, ServerError> {
        if let Some(variable) = &self.password_env {
            let password = std::env::var(variable);
            return password.map(Some).map_err(|_| ServerError::PasswordEnv(variable.clone()));
        }
        if let Some(path) = &self.password_file {
            let password = read_password(path);
            return password
                .map(Some)
                .map_err(|error| ServerError::PasswordFile(path.clone(), error));
        }
        self.password_cmd.as_deref().map(password_from_command).transpose()
    }

    fn timeouts(&self, mut timeouts: Timeouts) -> Timeouts {
        if let Some(timeout) = self.command_timeout {
            let (content, finish) = (timeouts.content, timeouts.finish);
            timeouts = Timeouts { content, finish, ..Timeouts::uniform(timeout) };
        }
        timeouts.content = self.data_timeout.unwrap_or(timeouts.content);
        timeouts.finish = self.final_timeout.unwrap_or(timeouts.finish);
        timeouts
    }

    fn dial(&self) -> Result<DialSettings, ServerError> {
        let default = DialSettings::default();
        // Not clap's to parse: it would repeat a value that cannot be used, with the password in
        // it.
        let socks5 = self
            .socks5
            .as_deref()
            .map(|proxy| proxy.parse().map_err(|error| ServerError::Socks5(quoted(proxy), error)));
        Ok(DialSettings {
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            bind: self.bind.clone(),
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                (false, false) => Family::Any,
            },
            socks5: socks5.transpose()?,
            proxy_header: self.proxy_protocol,
        })
    }
}

/// This host's name, where it is one that a server accepts: fully qualified.
fn host_name() -> Option<ClientName> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    if name.contains('.') { name.parse().ok() } else { None }
}

fn read_password(path: &Path) -> io::Result<String> {
    let octets = std::fs::read(path)?;
    if octets.len() > MAX_PASSWORD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a password"));
    }
    let password = String::from_utf8(octets)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(first_line(&password))
}

fn password_from_command(command: &str) -> Result<String, ServerError> {
    let output = Command::new("sh").arg("-c").arg(command).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| ServerError::PasswordCommand(command.to_owned(), error))?;
    let password = String::from_utf8(output.stdout).ok().filter(|text| text.len() <= MAX_PASSWORD);
    match password {
        Some(password) if output.status.success() && !password.trim_end().is_empty() => {
            Ok(first_line(&password))
        }
        _ => Err(ServerError::PasswordCommandFailed(command.to_owned())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn tls_policy(text: &str) -> Result<TlsPolicy, &'static str> {
    match text {
        "off" => Ok(TlsPolicy::Off),
        "may" => Ok(TlsPolicy::May),
        "require" => Ok(TlsPolicy::Require),
        _ => Err("expected off, may or require"),
    }
}

fn pipelining(text: &str) -> Result<PipeliningPolicy, &'static str> {
    match text {
        "auto" => Ok(PipeliningPolicy::Auto),
        mode => match mode.parse::<Pipelining>() {
            Ok(mode) => Ok(PipeliningPolicy::Fixed(mode)),
            Err(_) => Err("expected auto, off, envelope or cross"),
        },
    }
}

fn keyword(text: &str) -> Result<String, &'static str> {
    // RFC 5321 section 4.1.1.1.
    let is_keyword = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if is_keyword { Ok(text.to_owned()) } else { Err("expected a keyword, e.g. CHUNKING") }
}

fn proxy_header(text: &str) -> Result<ProxyHeader, &'static str> {
    const EXPECTED: &str = "expected v1 or v2, and perhaps ,unknown or ,IP:PORT,IP:PORT behind it";
    let mut parts = text.split(',');
    let version = match parts.next() {
        Some("v1") => ProxyVersion::V1,
        Some("v2") => ProxyVersion::V2,
        _ => return Err(EXPECTED),
    };
    let addresses = match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => ProxyAddresses::Connection,
        (Some("unknown"), None, _) => ProxyAddresses::Unknown,
        (Some(source), Some(destination), None) => {
            let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| EXPECTED);
            ProxyAddresses::new(address(source)?, address(destination)?)
                .map_err(|_| "expected two addresses of the same family")?
        }
        _ => return Err(EXPECTED),
    };
    Ok(ProxyHeader { version, addresses })
}

fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let mechanism =
        text.parse().ok().filter(|mechanism| Credentials::MECHANISMS.contains(mechanism));
    mechanism.ok_or(
        "expected PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256 (or one of these two with -PLUS), XOAUTH2, \
         OAUTHBEARER or EXTERNAL",
    )
}
