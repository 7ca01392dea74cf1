//! The flags that `send`, `bench` and `probe` share: which server, and how it is spoken to.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use posthaste::connection::{
    Connector, DialSettings, Family, ProxyHeader, Security, ServerAddress, TlsSettings,
    Verification,
};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::reply::Mechanism;
use posthaste::session::{
    Chunking, ClientName, Credentials, Pipelining, PlaintextAuth, Timeouts, TlsPolicy,
};
use posthaste::{MailerBuilder, ServerUrl};

mod error;
mod password;
mod target;
mod values;
mod window;
mod xclient;

pub(crate) use error::ServerError;
pub(crate) use target::{Target, without_password};
use values::{keyword, mechanism, pipelining, proxy_header, tls_name, tls_policy};
use window::WindowArgs;

use crate::summary::Proof;
use crate::units::{duration, positive};

/// The forms of a server.
pub(crate) const HELP: &str = "HOST[:PORT], smtp://[USER[:PASSWORD]@]HOST[:PORT], smtps://…, lmtp://HOST:PORT, \
                               lmtp+unix:///PATH, or sink: for a server inside this process";

/// How to reach the server. It cannot be printed, for it holds passwords.
#[derive(clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// STARTTLS: off, may (use it where offered; verifies nothing it cannot) or require [default:
    /// may; require with --cacert, --cert or --tls-name, and, without --auth-plaintext, on port 587
    /// and with credentials]
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
    #[arg(long, value_name = "NAME", value_parser = tls_name)]
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
    /// Send credentials also where everybody on the way can read them: to a server without TLS
    #[arg(long)]
    auth_plaintext: bool,

    /// What to say in EHLO [default: this host's name, or else the address literal]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<ClientName>)]
    ehlo: Option<ClientName>,
    /// Tell the server whom the sessions are made for (repeatable): NAME=…, ADDR=…, PORT=…,
    /// PROTO=SMTP|ESMTP, HELO=…, LOGIN=…, DESTADDR=… or DESTPORT=…
    #[arg(long, value_name = "ATTRIBUTE=VALUE", value_parser = xclient::attribute)]
    xclient: Vec<xclient::Attribute>,
    /// How far ahead of the replies to send: auto (as far as the server bears, up to cross), off,
    /// envelope, cross or stream (many mails, by BDAT: for a server that is known to bear it; should
    /// the connection break, all of them may be in doubt)
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = pipelining)]
    pipeline: PipeliningPolicy,
    #[command(flatten)]
    window: WindowArgs,
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

/// Two ways to connect to the same server.
pub(crate) struct Connectors {
    /// As the user says.
    pub(crate) user: Connector,
    /// For connections on which nothing secret is said: any certificate does, and what is wrong
    /// with it is told.
    pub(crate) anybody: Connector,
    /// What the user asks of certificates.
    pub(crate) verification: Verification,
}

impl ServerArgs {
    /// The most connections open at once.
    pub(crate) fn connections(&self, default: u32) -> u32 {
        self.connections.unwrap_or(default)
    }

    /// How many mails one connection may have in its session at once.
    pub(crate) fn depth(&self) -> usize {
        match self.pipeline {
            PipeliningPolicy::Fixed(Pipelining::Off | Pipelining::Envelope) => 1,
            PipeliningPolicy::Auto | PipeliningPolicy::Fixed(Pipelining::Cross) => 2,
            PipeliningPolicy::Fixed(Pipelining::Stream) => self.window.mails() as usize,
        }
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
        self.builder(target, connections, timeouts, self.tls_settings(target)?)
    }

    fn builder(
        &self,
        target: &Target,
        connections: u32,
        timeouts: Timeouts,
        tls_settings: TlsSettings,
    ) -> Result<MailerBuilder, ServerError> {
        let url = &target.url;
        let mut mailer = MailerBuilder::new(url.clone())
            .tls_settings(tls_settings)
            .timeouts(self.timeouts(timeouts))
            .dial(self.dial(url)?)
            .pipelining(self.pipeline)
            .window(self.window.window(self.pipeline)?)
            .chunking(self.chunking)
            .ignored_keywords(self.ignore.iter().cloned())
            .max_connections(self.connections(connections));
        if let Some(policy) = self.policy(url) {
            mailer = mailer.tls(policy);
        }
        if let Some(mails) = self.per_conn {
            mailer = mailer.max_mails_per_connection(mails);
        }
        if let Some(credentials) = self.credentials(url)? {
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

    /// What a look at a server takes. Files and passwords are read once: there may be no second
    /// time.
    pub(crate) fn connectors(
        &self,
        target: &Target,
        timeouts: Timeouts,
    ) -> Result<Connectors, ServerError> {
        let settings = self.tls_settings(target)?;
        let lax = TlsSettings { verification: Verification::Optional, ..settings.clone() };
        let mailer = self.builder(target, 1, timeouts, settings)?;
        let anybody = mailer.clone().tls_settings(lax).connector()?;
        let user = mailer.connector()?;
        let config = user.config();
        let is_demanded = config.tls == TlsPolicy::Require
            || user.server().security() == Security::Implicit
            || config.credentials.is_some();
        let verification =
            if is_demanded { self.verification(target) } else { Verification::Optional };
        Ok(Connectors { user, anybody, verification })
    }

    /// Whether to demand TLS; `None`: as the mailer does by itself. Who lets everybody read the
    /// credentials demands none for their sake.
    fn policy(&self, url: &ServerUrl) -> Option<TlsPolicy> {
        let names_server = self.cacert.is_some() || self.cert.is_some() || self.tls_name.is_some();
        let is_remote = matches!(url.server().address(), ServerAddress::Tcp { .. });
        let is_may = self.auth_plaintext && !names_server && is_remote;
        self.tls.or(is_may.then_some(TlsPolicy::May))
    }

    fn tls_settings(&self, target: &Target) -> Result<TlsSettings, ServerError> {
        let mut settings = TlsSettings {
            server_name: self.tls_name.clone(),
            verification: self.verification(target),
            ..TlsSettings::default()
        };
        if let Some(path) = &self.cacert {
            settings.add_roots_from_pem(path).map_err(ServerError::Roots)?;
        }
        match (&self.cert, &self.key) {
            (Some(chain), Some(key)) => {
                settings.set_identity_from_pem(chain, key).map_err(ServerError::Identity)?;
            }
            (Some(both), None) => {
                settings.set_identity_from_pem(both, both).map_err(ServerError::WholeIdentity)?;
            }
            (None, _) => {}
        }
        Ok(settings)
    }

    fn verification(&self, target: &Target) -> Verification {
        // The sink inside this process made its own certificate.
        if self.insecure || target.sink.is_some() {
            Verification::Optional
        } else if self.dangerous_any_name {
            Verification::DangerousAnyName
        } else if self.dangerous_any_certificate {
            Verification::DangerousAnyCertificate
        } else {
            Verification::Required
        }
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
        match (&self.password_env, &self.password_file, &self.password_cmd) {
            (Some(variable), _, _) => password::from_variable(variable).map(Some),
            (_, Some(path), _) => password::from_file(path).map(Some),
            (_, _, Some(command)) => password::from_command(command).map(Some),
            (None, None, None) => Ok(None),
        }
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

    fn dial(&self, url: &ServerUrl) -> Result<DialSettings, ServerError> {
        let default = DialSettings::default();
        // Not clap's to parse: it would repeat a value that cannot be used, with the password in
        // it.
        let socks5 = self.socks5.as_deref().map(|proxy| {
            proxy.parse().map_err(|error| ServerError::Socks5(proxy.to_owned(), error))
        });
        let socks5 = socks5.transpose()?;
        for &address in &self.bind {
            UdpSocket::bind((address, 0)).map_err(|error| ServerError::Bind(address, error))?;
        }
        let (family, flag) = match (self.ipv4, self.ipv6) {
            (true, _) => (Family::V4, "-4"),
            (_, true) => (Family::V6, "-6"),
            (false, false) => (Family::Any, ""),
        };
        let host = url.server().host().parse::<IpAddr>().ok().filter(|_| socks5.is_none());
        match (family, host) {
            (Family::V4, Some(host @ IpAddr::V6(_))) | (Family::V6, Some(host @ IpAddr::V4(_))) => {
                return Err(ServerError::Family { flag, host });
            }
            _ => {}
        }
        Ok(DialSettings {
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            bind: self.bind.clone(),
            family,
            socks5,
            proxy_header: self.proxy_protocol,
        })
    }
}

/// This host's name, where it is one that a server accepts: fully qualified.
fn host_name() -> Option<ClientName> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    if name.contains('.') { name.parse().ok() } else { None }
}
