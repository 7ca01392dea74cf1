//! Opens connections to one server and runs a session on each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
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
        let inner = Inner { server, name, config, client_name, dial, tls, tls_name };
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
    /// `adjust` may change what the session is told. Where TLS is only opportunistic and its
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
        adjust: impl FnOnce(&mut Config),
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let mut config = self.inner.config.clone();
        adjust(&mut config);
        let mut attempt = Attempt { config, hello: Hello::Full, tls_given_up: None };
        loop {
            let Err(error) = self.attempt(&attempt, dispatch).await else { return Ok(()) };
            match self.fallback(attempt, &error) {
                Some(next) => attempt = next,
                None => return Err(error),
            }
        }
    }

    /// What may be tried on a new connection after a failure. Each step leaves less to be tried,
    /// and there are two.
    fn fallback(&self, mut failed: Attempt, error: &Error) -> Option<Attempt> {
        if error.may_be_choking() && failed.hello == Hello::Full && self.inner.tls.has_small_hello()
        {
            failed.hello = Hello::Small;
            return Some(failed);
        }
        let may_do_without = failed.config.tls == TlsPolicy::May
            && failed.config.credentials.is_none()
            && !self.inner.tls.has_identity()
            && self.inner.server.security() == Security::StartTls;
        let is_broken = matches!(
            error.kind(),
            ErrorKind::NotTls | ErrorKind::Handshake | ErrorKind::HandshakeTimeout
        );
        if may_do_without && is_broken {
            failed.config.tls = TlsPolicy::Off;
            failed.tls_given_up = Some(error.kind());
            return Some(failed);
        }
        None
    }

    async fn attempt<D: Dispatch>(&self, attempt: &Attempt, dispatch: &mut D) -> Result<(), Error> {
        let Inner { server, name, dial: settings, .. } = &*self.inner;
        let started = now();
        let (stream, Ends { local, peer }) = dial(settings, name, server).await?;
        let connect_time = now() - started;
        let tls_given_up = attempt.tls_given_up;
        let info = Info { peer, local, connect_time, tls: None, tls_given_up };
        match stream {
            Stream::Tcp(stream) => self.talk(attempt, stream, info, dispatch).await,
            #[cfg(unix)]
            Stream::Unix(stream) => self.talk(attempt, stream, info, dispatch).await,
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin, D: Dispatch>(
        &self,
        attempt: &Attempt,
        stream: S,
        mut info: Info,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let mut config = attempt.config.clone();
        config.client_name = self.inner.client_name.clone().unwrap_or_else(|| {
            // Who comes by a Unix socket is on this machine.
            info.local.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip()).into()
        });
        if config.credentials.is_some() {
            config.entropy = Some(self.inner.tls.entropy().map_err(|error| {
                Error::new(ErrorKind::Local, &self.inner.name).with_source(error)
            })?);
        }
        if self.inner.server.security() == Security::Implicit {
            let deadline = now().checked_add(config.timeouts.tls);
            let (stream, tls) = self.secure(attempt.hello, stream, deadline, &mut info).await?;
            dispatch.handle_connected(&info);
            let session = Session::with_tls(now(), config, ImplicitTls::Established(tls));
            Driver::new(session, dispatch).run(stream).await;
            return Ok(());
        }
        dispatch.handle_connected(&info);
        let mut driver = Driver::new(Session::new(now(), config), dispatch);
        let Some(stream) = driver.run(stream).await else { return Ok(()) };
        let deadline = driver.session.poll_deadline();
        let (mut stream, tls) = self.secure(attempt.hello, stream, deadline, &mut info).await?;
        driver.dispatch.handle_connected(&info);
        driver.session.tls_established(now(), tls);
        driver.hear(&mut stream).await;
        driver.run(stream).await;
        Ok(())
    }

    async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        hello: Hello,
        stream: S,
        deadline: Option<Instant>,
        info: &mut Info,
    ) -> Result<(TlsStream<S>, TlsState), Error> {
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
        Ok((stream, state))
    }
}

/// What is tried on one connection.
struct Attempt {
    config: Config,
    hello: Hello,
    tls_given_up: Option<ErrorKind>,
}
