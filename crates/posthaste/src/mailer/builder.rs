//! The settings of a mailer.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::{
    Connector, DialSettings, Roots, Security, Server, ServerAddress, TlsClient, TlsSettings,
    Verification,
};
use posthaste_scheduler::{
    BackOff, DestinationLimits, Exhausted, LimitScope, Observer, PipeliningPolicy, Place, Rate,
    RetryPolicy, Scheduler, SchedulerConfig,
};
use posthaste_session::{
    Chunking, ClientName, Config, Credentials, Timeouts, TlsPolicy, Window, Xclient,
};

use super::{Mailer, SetupError};
use crate::events::{self, EventSender, Events};
use crate::observers::Observers;
use crate::url::ServerUrl;

/// Submission (RFC 6409), where TLS is a must.
const SUBMISSION_PORT: u16 = 587;

/// Settings of a [`Mailer`].
#[derive(Clone)]
#[must_use]
pub struct MailerBuilder {
    url: ServerUrl,
    place: Place,
    /// Other servers of the same destination.
    others: Vec<(ServerUrl, Place)>,
    rates: Vec<Rate>,
    tls: Option<TlsPolicy>,
    tls_settings: TlsSettings,
    tls_client: Option<TlsClient>,
    credentials: Option<Credentials>,
    client_name: Option<ClientName>,
    xclient: Option<Xclient>,
    timeouts: Timeouts,
    chunking: Chunking,
    window: Window,
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
            place: Place::default(),
            others: Vec::new(),
            rates: Vec::new(),
            tls: None,
            tls_settings: TlsSettings::default(),
            tls_client: None,
            credentials: None,
            client_name: None,
            xclient: None,
            timeouts: Timeouts::default(),
            chunking: Chunking::default(),
            window: Window::default(),
            ignored_keywords: Vec::new(),
            transcript: false,
            dial: DialSettings::default(),
            limits: DestinationLimits { max_connections: 8, ..DestinationLimits::default() },
            scheduler: SchedulerConfig::default(),
            observers: Observers::default(),
            events: None,
        }
    }

    /// Where the server stands among those of [`also`](Self::also). Default: preference 0, weight 1.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Another server that takes the same mails. Those of the lowest preference are used as long as
    /// one of them works, each as its weight says; all other settings hold for all, but for
    /// credentials in the URL, which are for its server.
    pub fn also(mut self, url: ServerUrl, place: Place) -> Self {
        self.others.push((url, place));
        self
    }

    /// Sends no faster than this, over all connections to all servers together. Several hold at
    /// once.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rates.push(rate);
        self
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

    /// How much may be ahead of the replies on each connection in
    /// [`Pipelining::Stream`](posthaste_session::Pipelining::Stream), which is what may be in doubt
    /// if it breaks. Default: 64 mails with 1 MiB.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
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

    /// Sends as many mails at a time as ever where a server gets slow: for those who measure it.
    /// Default: fewer, until it recovers.
    pub fn unyielding(mut self) -> Self {
        self.limits.yields = false;
        self
    }

    /// When a mail that was deferred is tried again, and when no more.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.scheduler.planner.retry = policy;
        self
    }

    /// How long a server that fails is left alone.
    pub fn back_off(mut self, back_off: BackOff) -> Self {
        self.scheduler.planner.back_off = back_off;
        self
    }

    /// What becomes of the mails where all servers failed too often in a row.
    pub fn exhausted(mut self, exhausted: Exhausted) -> Self {
        self.scheduler.planner.exhausted = exhausted;
        self
    }

    /// All settings of the scheduler at once: when mails are tried again, when servers are left
    /// alone, how much may be queued.
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
        let others = self.others.iter().map(|(url, place)| (url.clone(), *place));
        let servers: Vec<_> = iter::once((self.url.clone(), self.place)).chain(others).collect();
        let names: Arc<[Arc<str>]> =
            servers.iter().map(|(url, _)| url.server().to_string().into()).collect();
        if let Some(events) = &self.events {
            events.name(Arc::clone(&names));
        }
        let of = |(url, place)| Ok((Self { url, ..self.clone() }.connector()?, place));
        let connectors: Vec<_> = servers.into_iter().map(of).collect::<Result<_, SetupError>>()?;
        let scheduler = Scheduler::new(self.scheduler, self.observers.into_observer());
        let destination = scheduler.add_destination(self.limits, connectors);
        for rate in self.rates {
            scheduler.add_limit(LimitScope::Destination(destination), rate);
        }
        Ok(Mailer { scheduler, destination, names })
    }

    /// What [`build`](Self::build) would open connections to the first server with, for those who
    /// want only that.
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
        config.window = self.window;
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
