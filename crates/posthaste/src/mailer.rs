//! One handle that sends mails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::{
    Connector, DialSettings, Roots, Security, Server, ServerAddress, TlsClient, TlsSettings,
    TlsSetupError, Verification,
};
use posthaste_scheduler::{
    DestinationId, DestinationLimits, Observer, PipeliningPolicy, Report, Scheduler,
    SchedulerConfig, SendAll, ServerStatus,
};
use posthaste_session::{
    Chunking, ClientName, Config, Credentials, Mail, Timeouts, TlsPolicy, Xclient,
};

use crate::events::{self, EventSender, Events};
use crate::observers::Observers;
use crate::url::{ServerUrl, UrlError};

/// Submission (RFC 6409), where TLS is a must.
const SUBMISSION_PORT: u16 = 587;
/// How long [`Mailer::shutdown`] lets mails that are being sent take.
const SHUTDOWN_TIME: Duration = Duration::from_secs(30);

/// Sends mails to one server over connections that are opened as needed and used again and again.
///
/// Cheap to clone; all clones share the connections.
///
/// # Examples
///
/// ```no_run
/// use posthaste::{Mailer, compose::Draft};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mailer = Mailer::connect("smtps://news:secret@smtp.example.com")?;
/// let mail = Draft::new()
///     .from("News <news@example.com>")
///     .to("Jörg <joerg@example.org>")
///     .subject("Hello")
///     .text("How are you?")
///     .build()?;
/// let report = mailer.send(mail).await;
/// for recipient in &report.recipients {
///     println!("{}: {}", recipient.forward_path, recipient.state.as_str());
/// }
/// mailer.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Mailer {
    scheduler: Scheduler,
    destination: DestinationId,
    name: Arc<str>,
}

/// Why a mailer cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The server's address.
    #[error("server address cannot be used")]
    Url(#[from] UrlError),
    /// Certificates, keys, names.
    #[error("TLS settings cannot be used")]
    Tls(#[from] TlsSetupError),
    /// A user name without a password.
    #[error("user {0:?} has no password")]
    NoPassword(String),
}

impl Mailer {
    /// A mailer for a server given as a URL, see [`ServerUrl`], with the default settings.
    ///
    /// Nothing is connected before the first mail.
    ///
    /// # Errors
    ///
    /// When the URL names no server.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect(url: &str) -> Result<Self, SetupError> {
        Self::builder(url)?.build()
    }

    /// Settings for a server given as a URL.
    ///
    /// # Errors
    ///
    /// When the URL names no server.
    pub fn builder(url: &str) -> Result<MailerBuilder, SetupError> {
        Ok(MailerBuilder::new(url.parse()?))
    }

    /// Sends a mail, and says for each recipient what became of it.
    ///
    /// What a server defers is tried again; the report comes when every recipient has its outcome.
    /// Waits while too much is queued already.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens; after that the mail goes its way and
    /// only its report is lost.
    pub async fn send(&self, mail: Mail) -> Report {
        self.scheduler.send(self.destination, mail).await
    }

    /// Sends every mail of a stream, and gives a stream of `(place in the input, report)`, in the
    /// order in which the mails are done. No more mails are taken than can be queued.
    pub fn send_all<S>(&self, mails: S) -> SendAll<S> {
        self.scheduler.send_all(self.destination, mails)
    }

    /// What the server is called: `mx.example:25`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known about the server at the moment.
    pub fn status(&self) -> ServerStatus {
        let servers = self.scheduler.servers_of(self.destination);
        let server = *servers.first().expect("a mailer has a server");
        self.scheduler.status(server)
    }

    /// Takes no more mails, finishes those that are being sent, reports the others as not sent, and
    /// closes every connection. Takes half a minute at the most.
    pub async fn shutdown(&self) {
        self.shutdown_within(SHUTDOWN_TIME).await;
    }

    /// The same within a time of your choice; what is under way then is cut off.
    pub async fn shutdown_within(&self, time: Duration) {
        self.scheduler.shutdown(time).await;
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("server", &self.name).finish_non_exhaustive()
    }
}

/// Settings of a [`Mailer`].
#[derive(Clone)]
#[must_use]
pub struct MailerBuilder {
    url: ServerUrl,
    tls: Option<TlsPolicy>,
    tls_settings: TlsSettings,
    tls_client: Option<TlsClient>,
    credentials: Option<Credentials>,
    client_name: Option<ClientName>,
    xclient: Option<Xclient>,
    timeouts: Timeouts,
    chunking: Chunking,
    ignored_keywords: Vec<String>,
    transcript: bool,
    dial: DialSettings,
    limits: DestinationLimits,
    scheduler: SchedulerConfig,
    observers: Observers,
    events: Option<Arc<EventSender>>,
}

impl MailerBuilder {
    /// The default settings for a server.
    pub fn new(url: ServerUrl) -> Self {
        Self {
            url,
            tls: None,
            tls_settings: TlsSettings::default(),
            tls_client: None,
            credentials: None,
            client_name: None,
            xclient: None,
            timeouts: Timeouts::default(),
            chunking: Chunking::default(),
            ignored_keywords: Vec::new(),
            transcript: false,
            dial: DialSettings::default(),
            limits: DestinationLimits { max_connections: 8, ..DestinationLimits::default() },
            scheduler: SchedulerConfig::default(),
            observers: Observers::default(),
            events: None,
        }
    }

    /// Whether STARTTLS is used. Default: required on port 587, with credentials, and where
    /// [`tls_settings`](Self::tls_settings) say whom to trust, what to show or which name to expect
    /// (all of which would be in vain with somebody else), or a [`tls_client`](Self::tls_client)
    /// does; not used on Unix sockets; otherwise used where it is offered.
    pub fn tls(mut self, policy: TlsPolicy) -> Self {
        self.tls = Some(policy);
        self
    }

    /// Whom to trust and what to show. Where TLS is only opportunistic any certificate does,
    /// whatever [`Verification`] says, unless there are credentials.
    pub fn tls_settings(mut self, settings: TlsSettings) -> Self {
        self.tls_settings = settings;
        self
    }

    /// TLS with a configuration of your own; [`tls_settings`](Self::tls_settings) is not looked at
    /// then.
    pub fn tls_client(mut self, client: TlsClient) -> Self {
        self.tls_client = Some(client);
        self
    }

    /// Whom to log in as. Default: what the URL says.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// What to say in EHLO. Default: the address literal of each connection.
    pub fn client_name(mut self, name: ClientName) -> Self {
        self.client_name = Some(name);
        self
    }

    /// Whom each session is made for, told to a server that trusts this client to say so. A server
    /// that does not gets no mail. Default: nobody else.
    pub fn xclient(mut self, client: Xclient) -> Self {
        self.xclient = Some(client);
        self
    }

    /// How long replies may take. Default: RFC 5321 section 4.5.3.2.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Which command carries content. Default: DATA, and BDAT for binary content.
    pub fn chunking(mut self, chunking: Chunking) -> Self {
        self.chunking = chunking;
        self
    }

    /// EHLO keywords that are taken as not offered, for servers that offer what they cannot do.
    /// Default: none.
    pub fn ignored_keywords(mut self, keywords: impl IntoIterator<Item = String>) -> Self {
        self.ignored_keywords = keywords.into_iter().collect();
        self
    }

    /// How connections are opened: timeouts, source addresses, proxies.
    pub fn dial(mut self, settings: DialSettings) -> Self {
        self.dial = settings;
        self
    }

    /// The most connections open at once, at least 1. Default: 8.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.limits.max_connections = connections.max(1);
        self
    }

    /// The most mails over one connection. Default: no limit but what the server says.
    pub fn max_mails_per_connection(mut self, mails: u32) -> Self {
        self.limits.max_mails_per_connection = Some(mails.max(1));
        self
    }

    /// How long a connection is kept with nothing to do. Default: 30 s.
    pub fn idle(mut self, time: Duration) -> Self {
        self.limits.idle = time;
        self
    }

    /// How far ahead of the replies commands are sent. Default: as far as the server bears.
    pub fn pipelining(mut self, policy: PipeliningPolicy) -> Self {
        self.limits.pipelining = policy;
        self
    }

    /// When mails are tried again, when servers are left alone, how much may be queued.
    pub fn scheduler(mut self, config: SchedulerConfig) -> Self {
        self.scheduler = config;
        self
    }

    /// Lets somebody watch, with a transcript of every session if wanted; one more with each call.
    pub fn observer(mut self, observer: Arc<dyn Observer>, transcript: Transcript) -> Self {
        self.observers.add(observer);
        self.transcript |= transcript == Transcript::On;
        self
    }

    /// What happens, as a stream of values. `capacity` is how many are kept for whoever is slow to
    /// take them; what is more is left out, and the stream says so.
    ///
    /// The settings are then for one mailer: of several, all would tell the same stream.
    pub fn events(mut self, capacity: usize) -> (Self, Events) {
        let (sender, events) = events::channel(capacity);
        let sender = Arc::new(sender);
        self.observers.add(Arc::clone(&sender) as Arc<dyn Observer>);
        self.events = Some(sender);
        (self, events)
    }

    /// Makes the mailer, on the current runtime. Nothing is connected before the first mail.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other or cannot be used.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Mailer, SetupError> {
        let name: Arc<str> = self.url.server().to_string().into();
        if let Some(events) = &self.events {
            events.name(vec![Arc::clone(&name)]);
        }
        let (limits, scheduler) = (self.limits, self.scheduler.clone());
        let observer = self.observers.clone().into_observer();
        let connector = self.connector()?;
        let scheduler = Scheduler::new(scheduler, observer);
        let destination = scheduler.add_server(connector, limits);
        Ok(Mailer { scheduler, destination, name })
    }

    /// What [`build`](Self::build) would open connections with, for those who want only that.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other or cannot be used.
    pub fn connector(self) -> Result<Connector, SetupError> {
        let server = self.url.server().clone();
        let credentials = match (self.credentials, self.url.credentials(), self.url.user()) {
            (Some(credentials), _, _) => Some(credentials),
            (None, Some(credentials), _) => Some(credentials.clone()),
            (None, None, Some(user)) => return Err(SetupError::NoPassword(user.to_owned())),
            (None, None, None) => None,
        };
        let mut tls_settings = self.tls_settings;
        let is_meant = self.tls_client.is_some() || is_about_one_server(&tls_settings);
        let policy = match self.tls {
            Some(policy) => policy,
            None if is_meant => TlsPolicy::Require,
            None => default_policy(&server, credentials.as_ref()),
        };
        tls_settings.verification = verification(
            tls_settings.verification,
            policy,
            server.security(),
            credentials.as_ref(),
        );
        let tls = match self.tls_client {
            Some(client) => client,
            None => TlsClient::new(&tls_settings)?,
        };
        // Each connection says its own literal where there is no name.
        let placeholder = ClientName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let mut config = Config::new(self.client_name.clone().unwrap_or(placeholder));
        config.tls = policy;
        config.credentials = credentials;
        config.timeouts = self.timeouts;
        config.chunking = self.chunking;
        config.xclient = self.xclient;
        config.ignored_keywords = self.ignored_keywords;
        config.transcript = self.transcript;
        Ok(Connector::new(server, config, self.client_name, self.dial, tls)?)
    }
}

/// Whether somebody has said whom to trust, what to show or which name to expect: who does so means
/// one server, and nobody in its place.
fn is_about_one_server(settings: &TlsSettings) -> bool {
    let TlsSettings { roots, extra_roots, identity, server_name, .. } = settings;
    *roots != Roots::default()
        || !extra_roots.is_empty()
        || identity.is_some()
        || server_name.is_some()
}

/// What is asked of certificates. Where TLS is only opportunistic anybody may be at the other end, so
/// refusing some would only fail mail that any server without TLS gets; but nobody gets credentials
/// that way.
fn verification(
    asked: Verification,
    policy: TlsPolicy,
    security: Security,
    credentials: Option<&Credentials>,
) -> Verification {
    let is_demanded = policy == TlsPolicy::Require || security == Security::Implicit;
    if is_demanded || credentials.is_some() { asked } else { Verification::Optional }
}

/// Nobody is in between on a Unix socket, and somebody may be everywhere else.
fn default_policy(server: &Server, credentials: Option<&Credentials>) -> TlsPolicy {
    match server.address() {
        ServerAddress::Tcp { port: SUBMISSION_PORT, .. } => TlsPolicy::Require,
        ServerAddress::Tcp { .. } if credentials.is_some() => TlsPolicy::Require,
        ServerAddress::Tcp { .. } => TlsPolicy::May,
        _ => TlsPolicy::Off,
    }
}

/// Whether sessions keep a transcript for the observer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transcript {
    /// No.
    #[default]
    Off,
    /// Yes, with secrets redacted.
    On,
}

#[cfg(test)]
mod tests {
    use posthaste_connection::Identity;
    use posthaste_session::Protocol;

    use super::*;

    #[track_caller]
    fn check(url: &str, policy: TlsPolicy, protocol: Protocol) {
        let connector = Mailer::builder(url).unwrap().connector().unwrap();
        let config = connector.config();
        assert_eq!((config.tls, config.protocol), (policy, protocol), "{url}");
    }

    /// TLS-14: TLS is a must for submission and where there is something to be hidden, and wanted
    /// elsewhere.
    #[test]
    fn tls_is_demanded_where_it_matters() {
        check("mx.example", TlsPolicy::May, Protocol::Smtp);
        check("mx.example:587", TlsPolicy::Require, Protocol::Smtp);
        check("smtp://news:secret@mx.example", TlsPolicy::Require, Protocol::Smtp);
        check("lmtp://mx.example:24", TlsPolicy::May, Protocol::Lmtp);
        check("lmtp://news:secret@mx.example:24", TlsPolicy::Require, Protocol::Lmtp);
        check("lmtp+unix:///run/lmtp", TlsPolicy::Off, Protocol::Lmtp);
    }

    /// TLS-14, ST-21: who says whom to trust, what to show or which name to expect means TLS with
    /// that server, unless another policy was chosen.
    #[test]
    fn tls_that_is_meant_is_demanded() {
        #[track_caller]
        fn check(mailer: MailerBuilder, expected: TlsPolicy) {
            assert_eq!(mailer.connector().unwrap().config().tls, expected);
        }
        let mailer = || Mailer::builder("mx.example").unwrap();
        let none = TlsSettings::default;
        let named = || TlsSettings { server_name: Some("mx.secure.example".into()), ..none() };
        check(mailer().tls_settings(named()), TlsPolicy::Require);
        check(mailer().tls_settings(named()).tls(TlsPolicy::May), TlsPolicy::May);
        check(mailer().tls_settings(none()), TlsPolicy::May);
        check(mailer().tls_client(TlsClient::new(&none()).unwrap()), TlsPolicy::Require);

        let key = b"\x30\x05\x02\x01\x01\x04\x00".to_vec().try_into().unwrap();
        let identity = Some(Arc::new(Identity::new(Vec::new(), key)));
        for settings in [
            TlsSettings { identity, ..none() },
            TlsSettings { extra_roots: vec![b"root".to_vec().into()], ..none() },
            TlsSettings { roots: Roots::Extra, ..none() },
        ] {
            assert!(is_about_one_server(&settings), "{settings:?}");
        }
        // Any certificate is no certain one.
        let verification = Verification::Optional;
        assert!(!is_about_one_server(&TlsSettings { verification, ..none() }));
    }

    /// TLS-27: whatever is asked of certificates, opportunistic TLS takes any.
    #[test]
    fn opportunistic_tls_takes_any_certificate() {
        use Verification::{DangerousAnyCertificate, DangerousAnyName, Optional, Required};
        let known = Credentials::new("news", "secret").unwrap();
        for asked in [Required, DangerousAnyName, DangerousAnyCertificate, Optional] {
            let of = |policy, security, known| verification(asked, policy, security, known);
            assert_eq!(of(TlsPolicy::May, Security::StartTls, None), Optional);
            assert_eq!(of(TlsPolicy::May, Security::StartTls, Some(&known)), asked);
            assert_eq!(of(TlsPolicy::Require, Security::StartTls, None), asked);
            assert_eq!(of(TlsPolicy::May, Security::Implicit, None), asked);
        }
    }

    #[test]
    fn settings_reach_the_session() {
        let xclient = Xclient { port: Some(7), ..Xclient::default() };
        let mailer = Mailer::builder("mx.example").unwrap();
        let mailer = mailer.chunking(Chunking::Always).xclient(xclient.clone());
        let connector = mailer.ignored_keywords(["SIZE".to_owned()]).connector().unwrap();
        let config = connector.config();
        assert_eq!(config.chunking, Chunking::Always);
        assert_eq!(config.xclient, Some(xclient));
        assert_eq!(config.ignored_keywords, ["SIZE"]);
    }
}
