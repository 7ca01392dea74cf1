//! Opens connections to one server and runs a session on each.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use posthaste_session::{ClientName, Config, ImplicitTls, Session, TlsPolicy, TlsState};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;

use crate::dial::{DialSettings, dial};
use crate::dispatch::Dispatch;
use crate::driver::{Driver, now};
use crate::error::{Error, ErrorKind};
use crate::info::Info;
use crate::tls::TlsClient;

/// A server: where it is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// When TLS begins.
    pub security: Security,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// By STARTTLS, as the session's [`TlsPolicy`] says.
    #[default]
    StartTls,
    /// With the first octet (RFC 8314).
    Implicit,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

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
}

impl Connector {
    /// A connector with what each session shall be told. Without `client_name` the session calls itself
    /// by the literal of its own address (RFC 5321 section 4.1.4).
    pub fn new(
        server: Server,
        config: Config,
        client_name: Option<ClientName>,
        dial: DialSettings,
        tls: TlsClient,
    ) -> Self {
        let name = server.to_string();
        Self { inner: Arc::new(Inner { server, name, config, client_name, dial, tls }) }
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
    /// `adjust` may change what the session is told. Where TLS is only opportunistic and its handshake fails,
    /// a second connection without it is tried.
    ///
    /// # Errors
    ///
    /// When there is no connection, or no TLS where it is demanded. What the session said of its end
    /// ([`Event::Closed`](posthaste_session::Event::Closed)) is then only a consequence of the error.
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
        let may_do_without = config.tls == TlsPolicy::May
            && config.credentials.is_none()
            && self.inner.server.security == Security::StartTls;
        match self.attempt(config.clone(), dispatch).await {
            Err(error) if may_do_without && error.kind() == ErrorKind::Handshake => {
                config.tls = TlsPolicy::Off;
                self.attempt(config, dispatch).await
            }
            result => result,
        }
    }

    async fn attempt<D: Dispatch>(
        &self,
        mut config: Config,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let Inner { server, name, dial: settings, .. } = &*self.inner;
        let started = now();
        let (stream, peer) = dial(settings, name, &server.host, server.port).await?;
        let local = stream.local_addr().map_err(|error| Error::connect(name, peer, error))?;
        config.client_name = self.inner.client_name.clone().unwrap_or_else(|| local.ip().into());
        let mut info = Info { peer, local, connect_time: now() - started, tls: None };
        match server.security {
            Security::StartTls => {
                dispatch.handle_connected(&info);
                let session = Session::new(now(), config);
                self.drive(session, stream, &mut info, dispatch).await
            }
            Security::Implicit => {
                let deadline = now().checked_add(config.timeouts.tls);
                let (stream, tls) = self.secure(stream, deadline, &mut info).await?;
                dispatch.handle_connected(&info);
                let session = Session::with_tls(now(), config, ImplicitTls::Established(tls));
                Driver::new(session, dispatch).run(stream).await;
                Ok(())
            }
        }
    }

    async fn drive<D: Dispatch>(
        &self,
        session: Session,
        stream: TcpStream,
        info: &mut Info,
        dispatch: &mut D,
    ) -> Result<(), Error> {
        let mut driver = Driver::new(session, dispatch);
        let Some(stream) = driver.run(stream).await else { return Ok(()) };
        let deadline = driver.session.poll_deadline();
        let (stream, tls) = self.secure(stream, deadline, info).await?;
        driver.dispatch.handle_connected(info);
        driver.session.tls_established(now(), tls);
        driver.run(stream).await;
        Ok(())
    }

    async fn secure(
        &self,
        stream: TcpStream,
        deadline: Option<Instant>,
        info: &mut Info,
    ) -> Result<(TlsStream<TcpStream>, TlsState), Error> {
        let Inner { server, name, tls, .. } = &*self.inner;
        let started = now();
        let handshake = tls.handshake(name, &server.host, Some(info.peer), stream);
        let result = match deadline {
            Some(deadline) => timeout_at(deadline.into(), handshake).await,
            None => Ok(handshake.await),
        };
        let (stream, mut tls) = result.map_err(|_| {
            Error::new(ErrorKind::HandshakeTimeout, name).with_peer(Some(info.peer))
        })??;
        tls.time = now() - started;
        let state = tls.state();
        info.tls = Some(tls);
        Ok((stream, state))
    }
}
