//! Opens connections to one server and runs a session on each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use posthaste_session::{
    ClientName, Config, ImplicitTls, ServerName, Session, TlsPolicy, TlsState,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;

use crate::dial::{DialSettings, Ends, Stream, dial};
use crate::dispatch::Dispatch;
use crate::driver::{Driver, now};
use crate::error::{Error, ErrorKind};
use crate::info::Info;
use crate::server::{Security, Server, ServerAddress};
use crate::tls::{Hello, TlsClient, TlsSetupError};

/// Opens connections to one server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Connector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Server,
    /// The server as errors name it.
    name: String,
    config: Config,
    /// What the last session was told, as long as there is one that was. Most are told the same, and share it.
    told: Mutex<Weak<Config>>,
    /// What to call this side; `None`: the address literal of the connection.
    client_name: Option<ClientName>,
    dial: DialSettings,
    tls: TlsClient,
    /// The name that certificates must be valid for; `None`: there is none, and no TLS.
    tls_name: Option<rustls::pki_types::ServerName<'static>>,
}

impl Connector {
    /// A connector with what each session shall be told. Without `client_name` the session calls
    /// itself by the literal of its own address (RFC 5321 section 4.1.4). What is spoken is the
    /// server's to say, so `config.protocol` is not looked at.
    ///
    /// All its connections are made and secured by the same settings, so none can be taken for what
    /// it is not.
    ///
    /// # Errors
    ///
    /// When there may be TLS, and the host is nothing that a certificate could be for, as the
    /// `127.1` that some resolvers know.
    pub fn new(
        server: Server,
        mut config: Config,
        client_name: Option<ClientName>,
        dial: DialSettings,
        tls: TlsClient,
    ) -> Result<Self, TlsSetupError> {
        let is_clear = config.tls == TlsPolicy::Off && server.security() == Security::StartTls;
        let tls_name = match tls.name_of(server.host()) {
            Err(_) if is_clear => None,
            name => Some(name?),
        };
        let name = server.to_string();
        config.protocol = server.protocol();
        config.server = match server.address() {
            ServerAddress::Tcp { host, port } => {
                Some(ServerName { host: host.clone(), port: *port })
            }
            #[cfg(unix)]
            ServerAddress::Unix(_) => None,
        };
        let told = Mutex::default();
        let inner = Inner { server, name, config, told, client_name, dial, tls, tls_name };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// What each session is told, but for its own name.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Opens a connection and drives a session on it to its end.
    ///
    /// `adjust` may change what each session is told. Where TLS is only opportunistic and its
    /// handshake fails, a second connection without it is tried, and [`Info::tls_given_up`] says
    /// why. Not so with credentials or a certificate of this side's own: who shows these means one
    /// server.
    ///
    /// # Errors
    ///
    /// When there is no connection, or no TLS where it is demanded. What the session said of its
    /// end ([`Event::Closed`](posthaste_session::Event::Closed)) is then only a consequence of the
    /// error.
    ///
    /// # Cancel safety
    ///
    /// As [`drive`](crate::drive): dropping the future aborts the session.
    pub async fn run<D: Dispatch>(
        &self,
        adjust: impl Fn(&mut Config),
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let mut attempt = Attempt { hello: Hello::Full, tls_given_up: None };
        loop {
            let Err(error) = self.attempt(attempt, &adjust, dispatch).await else { return Ok(()) };
            match self.fallback(attempt, &adjust, &error) {
                Some(next) => attempt = next,
                None => return Err(error),
            }
        }
    }

    fn config_for(&self, attempt: Attempt, adjust: &impl Fn(&mut Config)) -> Config {
        let mut config = self.inner.config.clone();
        adjust(&mut config);
        if attempt.tls_given_up.is_some() {
            config.tls = TlsPolicy::Off;
        }
        config
    }

    /// What may be tried on a new connection after a failure. Each step leaves less to be tried,
    /// and there are two.
    fn fallback(
        &self,
        failed: Attempt,
        adjust: &impl Fn(&mut Config),
        error: &Error,
    ) -> Option<Attempt> {
        if error.may_be_choking() && failed.hello == Hello::Full && self.inner.tls.has_small_hello()
        {
            return Some(Attempt { hello: Hello::Small, ..failed });
        }
        let config = self.config_for(failed, adjust);
        let may_do_without = config.tls == TlsPolicy::May
            && config.credentials.is_none()
            && !self.inner.tls.has_identity()
            && self.inner.server.security() == Security::StartTls;
        let is_broken = matches!(
            error.kind(),
            ErrorKind::NotTls | ErrorKind::Handshake | ErrorKind::HandshakeTimeout
        );
        if may_do_without && is_broken {
            return Some(Attempt { tls_given_up: Some(error.kind()), ..failed });
        }
        None
    }

    /// What is large only for a while is in a box of its own: a connection that is open has no room
    /// for it.
    async fn attempt<D: Dispatch>(
        &self,
        attempt: Attempt,
        adjust: &impl Fn(&mut Config),
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let Inner { server, name, dial: settings, .. } = &*self.inner;
        let started = now();
        let (stream, Ends { local, peer }) = Box::pin(dial(settings, name, server)).await?;
        let connect_time = now() - started;
        let tls_given_up = attempt.tls_given_up;
        let info = Box::new(Info { peer, local, connect_time, tls: None, tls_given_up });
        match stream {
            Stream::Tcp(stream) => self.talk(attempt, adjust, stream, info, dispatch).await,
            #[cfg(unix)]
            Stream::Unix(stream) => self.talk(attempt, adjust, stream, info, dispatch).await,
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin, D: Dispatch>(
        &self,
        attempt: Attempt,
        adjust: &impl Fn(&mut Config),
        stream: S,
        info: Box<Info>,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        match self.inner.server.security() {
            Security::StartTls => self.talk_in_clear(attempt, adjust, stream, info, dispatch).await,
            Security::Implicit => {
                self.talk_within_tls(attempt, adjust, stream, info, dispatch).await
            }
        }
    }

    async fn talk_in_clear<S: AsyncRead + AsyncWrite + Unpin, D: Dispatch>(
        &self,
        attempt: Attempt,
        adjust: &impl Fn(&mut Config),
        stream: S,
        mut info: Box<Info>,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let session = Session::new(now(), self.introduced(attempt, adjust, &info)?);
        dispatch.handle_connected(&info);
        let mut driver = Driver::new(session, dispatch);
        let Some(stream) = driver.run(stream).await else { return Ok(()) };
        let deadline = driver.session.poll_deadline();
        let secure = Box::pin(self.secure(attempt.hello, stream, deadline, &mut info));
        let (mut stream, tls) = secure.await?;
        driver.dispatch.handle_connected(&info);
        drop(info);
        driver.session.tls_established(now(), tls);
        driver.hear(&mut stream).await;
        driver.run(stream).await;
        Ok(())
    }

    async fn talk_within_tls<S: AsyncRead + AsyncWrite + Unpin, D: Dispatch>(
        &self,
        attempt: Attempt,
        adjust: &impl Fn(&mut Config),
        stream: S,
        mut info: Box<Info>,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let deadline = now().checked_add(self.config_for(attempt, adjust).timeouts.tls);
        let secure = Box::pin(self.secure(attempt.hello, stream, deadline, &mut info));
        let (stream, tls) = secure.await?;
        let config = self.introduced(attempt, adjust, &info)?;
        dispatch.handle_connected(&info);
        drop(info);
        let session = Session::with_tls(now(), config, ImplicitTls::Established(tls));
        let mut driver = Driver::new(session, dispatch);
        driver.run(stream).await;
        Ok(())
    }

    /// What a session is told that speaks on this connection.
    fn introduced(
        &self,
        attempt: Attempt,
        adjust: &impl Fn(&mut Config),
        info: &Info,
    ) -> Result<Arc<Config>, Error> {
        let mut config = self.config_for(attempt, adjust);
        config.client_name = self.inner.client_name.clone().unwrap_or_else(|| {
            // Who comes by a Unix socket is on this machine.
            info.local.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip()).into()
        });
        if config.credentials.is_some() {
            config.entropy = Some(self.inner.tls.entropy().map_err(|error| {
                Error::new(ErrorKind::Local, &self.inner.name).with_source(error)
            })?);
        }
        Ok(self.inner.tell(config))
    }

    async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        hello: Hello,
        stream: S,
        deadline: Option<Instant>,
        info: &mut Info,
    ) -> Result<(Box<TlsStream<S>>, TlsState), Error> {
        let Inner { name, tls, tls_name, .. } = &*self.inner;
        // Only if TLS was demanded after the connector had been made without.
        let Some(tls_name) = tls_name else { return Err(Error::new(ErrorKind::Local, name)) };
        let started = now();
        let handshake = tls.handshake(hello, tls_name, stream);
        let result = match deadline {
            Some(deadline) => timeout_at(deadline.into(), handshake).await,
            None => Ok(handshake.await),
        };
        let peer = info.peer.socket_addr();
        let (stream, mut tls) = match result {
            Ok(Ok(secured)) => secured,
            Ok(Err(error)) => {
                let error = Error::handshake(name, peer, error);
                return Err(if tls.accepts_any() { error.without_distrust() } else { error });
            }
            Err(_) => return Err(Error::new(ErrorKind::HandshakeTimeout, name).with_peer(peer)),
        };
        tls.time = now() - started;
        let state = tls.state();
        info.tls = Some(tls);
        Ok((Box::new(stream), state))
    }
}

impl Inner {
    /// The same as the last session was told, where it is the same.
    fn tell(&self, config: Config) -> Arc<Config> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.upgrade() {
            Some(told) if *told == config => told,
            _ => {
                let config = Arc::new(config);
                *told = Arc::downgrade(&config);
                config
            }
        }
    }
}

/// What is tried on one connection.
#[derive(Clone, Copy)]
struct Attempt {
    hello: Hello,
    tls_given_up: Option<ErrorKind>,
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use posthaste_session::{Event, SubmitError, TransactionId};

    use super::*;
    use crate::dispatch::Command;
    use crate::tls::TlsSettings;

    struct Nothing;

    impl Dispatch for Nothing {
        fn poll_command(&mut self, _cx: &mut Context<'_>, _room: usize) -> Poll<Command> {
            Poll::Pending
        }

        fn handle_submitted(&mut self, _result: Result<TransactionId, SubmitError>) {}

        fn handle_event(&mut self, _event: Event, _session: &Session) {}
    }

    fn connector() -> Connector {
        let tls = TlsClient::new(&TlsSettings::default()).unwrap();
        let config = Config::new("client.example".parse().unwrap());
        let server = Server::smtp("mx.example", 25);
        Connector::new(server, config, None, DialSettings::default(), tls).unwrap()
    }

    #[test]
    fn sessions_that_are_told_the_same_share_it() {
        let connector = connector();
        let config = connector.config();
        let first = connector.inner.tell(config.clone());
        assert!(Arc::ptr_eq(&first, &connector.inner.tell(config.clone())));
        let other = connector.inner.tell(Config { transcript: true, ..config.clone() });
        assert!(other.transcript && !Arc::ptr_eq(&first, &other));
        assert!(!Arc::ptr_eq(&first, &connector.inner.tell(config.clone())), "only the last one");
    }

    /// What every connection costs as long as it is open, beside its stream and what the session
    /// keeps elsewhere.
    #[test]
    fn a_connection_is_small() {
        let connector = connector();
        let mut dispatch = Nothing;
        let size = size_of_val(&connector.run(|_| {}, &mut dispatch));
        assert!(size <= 2048, "{size} octets");
    }
}
