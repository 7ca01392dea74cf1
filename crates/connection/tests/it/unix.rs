//! LMTP, and servers behind Unix sockets.

use std::path::PathBuf;

use posthaste_connection::session::{CloseReason, Config, Outcome, Stage, TlsPolicy};
use posthaste_connection::{
    Connector, DialSettings, Error, ErrorKind, LmtpPortError, Peer as OtherEnd, Server, TlsClient,
    TlsSettings,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{Notes, Peer, accept, listen, mail, name, now, recorder};
use crate::tls::Authority;

/// A path where nothing is yet.
fn path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sock"));
    let _ = std::fs::remove_file(&path);
    path
}

fn connector(server: Server, tls: TlsPolicy, settings: &TlsSettings) -> Connector {
    let config = Config { tls, ..Config::new(name()) };
    let tls = TlsClient::new(settings).unwrap();
    Connector::new(server, config, None, DialSettings::default(), tls).unwrap()
}

async fn run(connector: &Connector, serve: impl Future<Output = ()>) -> Notes {
    let mut recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
    assert_eq!(notes.closed(), CloseReason::Quit);
    notes
}

/// LHLO and one mail.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, keywords: &[&str]) {
    peer.hear(&["LHLO [127.0.0.1]"]).await;
    peer.offer(keywords).await;
    peer.take_mail(0).await;
    peer.part().await;
}

/// LMTP-01, LMTP-02: LHLO behind a Unix socket, whose ends have no addresses.
#[tokio::test]
async fn lmtp_behind_a_unix_socket() {
    let path = path("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let connector = connector(Server::lmtp_unix(&path), TlsPolicy::Off, &TlsSettings::default());
    let serve = async {
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.say("220 mx.example LMTP").await;
        take(&mut peer, &["PIPELINING"]).await;
    };
    let notes = run(&connector, serve).await;
    assert!(matches!(notes.outcomes()[..], [Outcome::Delivered(_)]));
    let info = &notes.infos()[0];
    assert_eq!((&info.peer, info.local), (&OtherEnd::Unix(path.clone()), None));
    assert_eq!(connector.server().to_string(), path.display().to_string());
}

/// STARTTLS works there as elsewhere: the host is this one.
#[tokio::test]
async fn starttls_behind_a_unix_socket() {
    let (path, authority) = (path("starttls"), Authority::new());
    let listener = UnixListener::bind(&path).unwrap();
    let server = Server::lmtp_unix(&path);
    let connector = connector(server, TlsPolicy::Require, &authority.settings());
    let acceptor: TlsAcceptor = authority.acceptor(&["localhost"]);
    let serve = async {
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.say("220 mx.example LMTP").await;
        peer.hear(&["LHLO [127.0.0.1]"]).await;
        peer.offer(&["STARTTLS"]).await;
        peer.hear(&["STARTTLS"]).await;
        peer.say("220 go").await;
        let mut peer = Peer::new(acceptor.accept(peer.stream.into_inner()).await.unwrap());
        take(&mut peer, &["PIPELINING"]).await;
    };
    let notes = run(&connector, serve).await;
    let tls = notes.infos()[1].tls.clone().unwrap();
    assert!(tls.is_verified());
    assert_eq!(tls.server_name.as_deref(), Some("localhost"));
}

/// LMTP-01 over TCP, and LMTP-02: on any port but 25.
#[tokio::test]
async fn lmtp_over_tcp() {
    assert_eq!(Server::lmtp("127.0.0.1", 25), Err(LmtpPortError));
    let (listener, port) = listen().await;
    let server = Server::lmtp("127.0.0.1", port).unwrap();
    let connector = connector(server, TlsPolicy::Off, &TlsSettings::default());
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.say("220 mx.example LMTP").await;
        take(&mut peer, &["PIPELINING"]).await;
    };
    run(&connector, serve).await;
}

async fn fail(path: PathBuf) -> Error {
    let server = Server::lmtp_unix(path);
    let connector = connector(server, TlsPolicy::Off, &TlsSettings::default());
    let error = connector.run(|_| {}, &mut recorder([])).await.unwrap_err();
    assert_eq!((error.stage(), error.peer()), (Stage::Connect, None));
    error
}

/// A listener whose queue is full, and how many connections are in it.
async fn full_listener(path: &PathBuf) -> (UnixListener, Vec<UnixStream>) {
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(path).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                return (listener, waiting);
            }
        }
        assert!(waiting.len() < 100, "the queue never fills");
    }
}

/// CONN-13: a server that is busy for a moment is waited for.
#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let path = path("full");
    let (listener, waiting) = full_listener(&path).await;
    let connector = connector(Server::lmtp_unix(&path), TlsPolicy::Off, &TlsSettings::default());
    let serve = async {
        for _ in &waiting {
            listener.accept().await.unwrap();
        }
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.say("220 mx.example LMTP").await;
        take(&mut peer, &["PIPELINING"]).await;
    };
    let notes = run(&connector, serve).await;
    assert!(matches!(notes.outcomes()[..], [Outcome::Delivered(_)]));
}

/// FL-09: but not for ever.
#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_full_is_given_up() {
    let path = path("stuck");
    let (_listener, _waiting) = full_listener(&path).await;
    let since = now();
    assert_eq!(fail(path).await.kind(), ErrorKind::ConnectTimeout);
    assert_eq!((now() - since).as_secs(), 30);
}

/// CONN-13
#[tokio::test]
async fn sockets_where_nobody_listens_refuse() {
    let missing = path("missing");
    let error = fail(missing.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), format!("nobody listens at {}", missing.display()));

    let stale = path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert_eq!(fail(stale).await.kind(), ErrorKind::Refused);

    let long = path(&"x".repeat(200));
    assert_eq!(fail(long).await.kind(), ErrorKind::Local);
}
