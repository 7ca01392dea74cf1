//! From a name to a connection: addresses, errors, source addresses, and what the client calls
//! itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use posthaste_connection::session::{ClientName, CloseReason, Stage};
use posthaste_connection::{
    Connector, DialSettings, Error, ErrorKind, Family, Server, TlsClient, TlsSettings,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{Notes, Peer, accept, listen, name, now, plain, recorder};

fn connector(
    host: &str,
    port: u16,
    client_name: Option<ClientName>,
    dial: DialSettings,
) -> Connector {
    let server = Server::smtp(host, port);
    let tls = TlsClient::new(&TlsSettings::default()).unwrap();
    Connector::new(server, plain(), client_name, dial, tls).unwrap()
}

/// Runs a session without mails, against a server that expects this EHLO.
async fn run(connector: &Connector, listener: &TcpListener, ehlo: &str) -> (Notes, SocketAddr) {
    let mut recorder = recorder([]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = accept(listener).await;
        let client = peer.stream.get_ref().peer_addr().unwrap();
        peer.say("220 mx.example").await;
        peer.hear(&[ehlo]).await;
        peer.offer(&[]).await;
        peer.part().await;
        client
    };
    let (result, client) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
    result.unwrap();
    assert_eq!(notes.closed(), CloseReason::Quit);
    (notes, client)
}

async fn fail(host: &str, port: u16, dial: DialSettings) -> Error {
    let mut recorder = recorder([]);
    let error = connector(host, port, None, dial).run(|_| {}, &mut recorder).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Connect);
    error
}

/// EHLO-05: without a name of its own the client is the address it connects from.
#[tokio::test]
async fn the_client_is_its_address() {
    let (listener, port) = listen().await;
    let connector = connector("127.0.0.1", port, None, DialSettings::default());
    let (notes, client) = run(&connector, &listener, "EHLO [127.0.0.1]").await;
    let [info] = &notes.infos()[..] else { panic!("{notes:?}") };
    assert_eq!(info.local, Some(client));
    assert_eq!(info.peer, posthaste_connection::Peer::Tcp(listener.local_addr().unwrap()));
    assert_eq!(info.tls, None);
}

/// EHLO-06: and an IPv6 address says that it is one.
#[tokio::test]
async fn the_client_is_its_ipv6_address() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return eprintln!("SKIPPED: this machine has no IPv6 loopback");
    };
    let port = listener.local_addr().unwrap().port();
    let connector = connector("::1", port, None, DialSettings::default());
    assert_eq!(connector.server().to_string(), format!("[::1]:{port}"));
    run(&connector, &listener, "EHLO [IPv6:::1]").await;
}

#[tokio::test]
async fn the_client_has_its_name() {
    let (listener, port) = listen().await;
    let connector = connector("127.0.0.1", port, Some(name()), DialSettings::default());
    run(&connector, &listener, "EHLO client.example").await;
}

/// CONN-12
#[tokio::test]
async fn the_source_address_is_honoured() {
    let (listener, port) = listen().await;
    // The first one is of the other family.
    let bind = vec!["::1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
    let dial = DialSettings { bind, ..DialSettings::default() };
    let connector = connector("127.0.0.1", port, None, dial);
    let (_, client) = run(&connector, &listener, "EHLO [127.0.0.2]").await;
    assert_eq!(client.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
}

#[tokio::test]
async fn a_source_address_of_another_machine_is_a_local_failure() {
    let (_listener, port) = listen().await;
    // RFC 5737: nobody has this address.
    let bind = vec!["192.0.2.1".parse().unwrap()];
    let error = fail("127.0.0.1", port, DialSettings { bind, ..DialSettings::default() }).await;
    assert_eq!(error.kind(), ErrorKind::Local);
}

/// A port where nobody listens: that of a socket that is bound and no more.
fn refusing_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// CONN-13
#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let (_socket, port) = refusing_port();
    let error = fail("127.0.0.1", port, DialSettings::default()).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.peer(), Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    assert_eq!(error.to_string(), format!("nobody listens at 127.0.0.1:{port}"));
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_name_without_an_address_is_not_resolved() {
    // RFC 6761: no such name exists.
    let error = fail("nonexistent.invalid", 25, DialSettings::default()).await;
    assert_eq!(error.kind(), ErrorKind::Resolve);
    assert_eq!(error.to_string(), "no address found for nonexistent.invalid:25");
    assert_eq!(error.peer(), None);
}

#[tokio::test]
async fn a_name_without_an_address_of_the_family_is_not_resolved() {
    let (_listener, port) = listen().await;
    let dial = DialSettings { family: Family::V6, ..DialSettings::default() };
    assert_eq!(fail("127.0.0.1", port, dial).await.kind(), ErrorKind::Resolve);
}

/// A listener that takes no more connections, and what fills it.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue never fills");
    }
    (listener, waiting)
}

/// FL-09, CONN-13
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_accept_is_given_up() {
    let (listener, _waiting) = full_listener().await;
    let port = listener.local_addr().unwrap().port();
    let since = now();
    let error = fail("127.0.0.1", port, DialSettings::default()).await;
    assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
    assert_eq!((now() - since).as_secs(), 30);
}

/// A dropped future leaves no connection behind.
#[tokio::test]
async fn a_dropped_connector_hangs_up() {
    let (listener, port) = listen().await;
    let connector = connector("127.0.0.1", port, None, DialSettings::default());
    let mut recorder = recorder([]);
    let notes = recorder.notes.clone();
    let mut peer: Peer<TcpStream> = tokio::select! {
        result = connector.run(|_| {}, &mut recorder) => panic!("{result:?}"),
        peer = accept(&listener) => peer,
    };
    peer.hear_end().await;
    assert!(notes.infos().is_empty() || notes.closed().stage() == Stage::Greeting);
}
