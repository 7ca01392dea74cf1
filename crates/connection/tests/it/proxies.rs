//! What comes before the session: the header of the PROXY protocol, and SOCKS5 proxies.

use posthaste_connection::session::Stage;
use posthaste_connection::{
    Connector, DialSettings, ProxyAddresses, ProxyHeader, ProxyVersion, Security, Server,
    TlsClient, TlsSettings,
};
use tokio::io::AsyncReadExt;

use crate::support::{accept, listen, mail, name, plain, recorder};
use crate::tls::{Authority, require};

fn header(version: ProxyVersion, addresses: ProxyAddresses) -> DialSettings {
    let proxy_header = Some(ProxyHeader { version, addresses });
    DialSettings { proxy_header, ..DialSettings::default() }
}

fn connector(server: Server, dial: DialSettings) -> Connector {
    let tls = TlsClient::new(&TlsSettings::default()).unwrap();
    Connector::new(server, plain(), Some(name()), dial, tls).unwrap()
}

/// PROXY-01, PROXY-02, DS-21: the header comes before the greeting, and nothing comes with it.
#[tokio::test]
async fn the_header_is_said_before_the_greeting() {
    let given = ProxyAddresses::new("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for addresses in [ProxyAddresses::Connection, ProxyAddresses::Unknown, given.unwrap()] {
            let (listener, port) = listen().await;
            let dial = header(version, addresses);
            let connector = connector(Server::smtp("127.0.0.1", port), dial.clone());
            let mut recorder = recorder([mail(0)]);
            let notes = recorder.notes.clone();
            let serve = async {
                let mut peer = accept(&listener).await;
                let stream = peer.stream.get_ref();
                let ends = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
                let expected = dial.proxy_header.unwrap().to_octets(Some(ends));
                let mut octets = vec![0; 256];
                let read = peer.stream.read(&mut octets).await.unwrap();
                assert_eq!(octets[..read], expected);
                peer.introduce(&["PIPELINING"]).await;
                peer.take_mail(0).await;
                peer.part().await;
            };
            tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
            assert!(notes.outcomes()[0].is_delivered());
        }
    }
}

/// PROXY-01: and before TLS, whose first octet follows.
#[tokio::test]
async fn the_header_is_said_before_tls() {
    let authority = Authority::new();
    let (listener, port) = listen().await;
    let server = Server::smtps("127.0.0.1", port);
    let tls = TlsClient::new(&authority.settings()).unwrap();
    let dial = header(ProxyVersion::V1, ProxyAddresses::Unknown);
    let connector = Connector::new(server, require(), Some(name()), dial, tls).unwrap();
    assert_eq!(connector.server().security(), Security::Implicit);
    let mut recorder = recorder([]);
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.hear(&["PROXY UNKNOWN"]).await;
        assert_eq!(peer.stream.read_u8().await.unwrap(), 22);
    };
    let error = tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap_err();
    assert_eq!(error.stage(), Stage::Tls);
}

#[cfg(feature = "socks5")]
mod socks5 {
    use std::error::Error as _;
    use std::net::SocketAddr;
    use std::time::Duration;

    use posthaste_connection::{Error, ErrorKind, Peer, Socks5};
    use tokio::io::{AsyncWriteExt, copy_bidirectional};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::support::now;

    /// What a proxy is asked for, by name and port.
    async fn requested(stream: &mut TcpStream) -> (String, u16) {
        assert_eq!(stream.read_u8().await.unwrap(), 5);
        assert_eq!((stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap()), (1, 0));
        let host = match stream.read_u8().await.unwrap() {
            1 => std::net::Ipv4Addr::from(stream.read_u32().await.unwrap()).to_string(),
            3 => {
                let mut name = vec![0; stream.read_u8().await.unwrap().into()];
                stream.read_exact(&mut name).await.unwrap();
                String::from_utf8(name).unwrap()
            }
            other => panic!("no such kind of address: {other}"),
        };
        (host, stream.read_u16().await.unwrap())
    }

    /// The methods that a client offers.
    async fn greeted(stream: &mut TcpStream) -> Vec<u8> {
        assert_eq!(stream.read_u8().await.unwrap(), 5);
        let mut methods = vec![0; stream.read_u8().await.unwrap().into()];
        stream.read_exact(&mut methods).await.unwrap();
        methods
    }

    /// A reply with this code, and the address 0.0.0.0:0.
    fn reply(code: u8) -> Vec<u8> {
        [&[5, code, 0, 1][..], &[0; 6]].concat()
    }

    fn by(proxy: Socks5) -> DialSettings {
        DialSettings { socks5: Some(proxy), ..DialSettings::default() }
    }

    async fn fail(dial: DialSettings) -> Error {
        let connector = connector(Server::smtp("mx.invalid", 25), dial);
        let error = connector.run(|_| {}, &mut recorder([])).await.unwrap_err();
        assert_eq!(error.stage(), Stage::Connect);
        error
    }

    async fn accept_client(listener: &TcpListener) -> TcpStream {
        listener.accept().await.unwrap().0
    }

    /// A session by way of a proxy, which resolves the name, with the PROXY protocol inside of the
    /// tunnel.
    #[tokio::test]
    async fn a_session_by_way_of_a_proxy() {
        let (listener, port) = listen().await;
        let (proxy, proxy_port) = listen().await;
        let dial = DialSettings {
            proxy_header: Some(ProxyHeader {
                version: ProxyVersion::V1,
                addresses: ProxyAddresses::Connection,
            }),
            ..by(Socks5::new("127.0.0.1", proxy_port))
        };
        let connector = connector(Server::smtp("mx.invalid", port), dial);
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let relay = async {
            let mut near = accept_client(&proxy).await;
            assert_eq!(greeted(&mut near).await, [0]);
            near.write_all(&[5, 0]).await.unwrap();
            assert_eq!(requested(&mut near).await, ("mx.invalid".to_owned(), port));
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            near.write_all(&reply(0)).await.unwrap();
            copy_bidirectional(&mut near, &mut far).await.unwrap();
        };
        let serve = async {
            let mut peer = accept(&listener).await;
            // The proxy alone knows who is at the ends.
            peer.hear(&["PROXY UNKNOWN"]).await;
            peer.introduce(&["PIPELINING"]).await;
            peer.take_mail(0).await;
            peer.part().await;
        };
        tokio::join!(connector.run(|_| {}, &mut recorder), relay, serve).0.unwrap();
        assert!(notes.outcomes()[0].is_delivered());
        let address = SocketAddr::from(([127, 0, 0, 1], proxy_port));
        assert_eq!(notes.infos()[0].peer, Peer::Proxy(address));
    }

    /// A greeting that comes together with the proxy's reply is not lost; nor is an address taken
    /// for a name.
    #[tokio::test]
    async fn the_greeting_may_come_with_the_reply() {
        let (proxy, proxy_port) = listen().await;
        let dial = by(Socks5::new("127.0.0.1", proxy_port).with_login("tim", "secret").unwrap());
        let connector = connector(Server::smtp("192.0.2.7", 2525), dial);
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let serve = async {
            let mut near = accept_client(&proxy).await;
            assert!(greeted(&mut near).await.contains(&2));
            near.write_all(&[5, 2]).await.unwrap();
            let mut login = [0; 12];
            near.read_exact(&mut login).await.unwrap();
            assert_eq!(&login, b"\x01\x03tim\x06secret");
            near.write_all(&[1, 0]).await.unwrap();
            assert_eq!(requested(&mut near).await, ("192.0.2.7".to_owned(), 2525));
            near.write_all(&[&reply(0)[..], b"220 mx.example\r\n"].concat()).await.unwrap();
            let mut peer = crate::support::Peer::new(near);
            peer.hear(&["EHLO client.example"]).await;
            peer.offer(&["PIPELINING"]).await;
            peer.take_mail(0).await;
            peer.part().await;
        };
        tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
        assert!(notes.outcomes()[0].is_delivered());
    }

    /// What the proxy says of the server is sorted as if it had been seen from here, all else is
    /// its own fault.
    #[tokio::test]
    async fn refusals_are_sorted() {
        for (code, expected) in [
            (1, ErrorKind::Proxy),
            (2, ErrorKind::Proxy),
            (3, ErrorKind::Unreachable),
            (4, ErrorKind::Unreachable),
            (5, ErrorKind::Refused),
            (6, ErrorKind::ConnectTimeout),
            (7, ErrorKind::Proxy),
            (99, ErrorKind::Proxy),
        ] {
            let (proxy, port) = listen().await;
            let serve = async {
                let mut near = accept_client(&proxy).await;
                greeted(&mut near).await;
                near.write_all(&[5, 0]).await.unwrap();
                requested(&mut near).await;
                near.write_all(&reply(code)).await.unwrap();
            };
            let (error, ()) = tokio::join!(fail(by(Socks5::new("127.0.0.1", port))), serve);
            assert_eq!(error.kind(), expected, "{code}");
            assert_eq!(error.peer().unwrap().port(), port);
            assert!(error.to_string().contains("mx.invalid:25"), "{error}");
        }
    }

    /// LK-01: a refused login says nothing of the password.
    #[tokio::test]
    async fn refused_logins_are_the_proxys_fault() {
        for answers in [&b"\x05\xff"[..], b"\x05\x02\x01\x01", b"\x04\x00", b"HTTP/1.1 400"] {
            let (proxy, port) = listen().await;
            let serve = async {
                let mut near = accept_client(&proxy).await;
                greeted(&mut near).await;
                near.write_all(answers).await.unwrap();
                let _ = near.read(&mut [0; 64]).await;
            };
            let login = Socks5::new("127.0.0.1", port).with_login("tim", "hunter2").unwrap();
            let (error, ()) = tokio::join!(fail(by(login)), serve);
            assert_eq!(error.kind(), ErrorKind::Proxy);
            assert!(!format!("{error} {error:?} {:?}", error.source()).contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_there() {
        let (listener, port) = listen().await;
        drop(listener);
        let error = fail(by(Socks5::new("127.0.0.1", port))).await;
        assert_eq!(error.kind(), ErrorKind::Proxy);
        assert_eq!(
            error.to_string(),
            format!("no way by the proxy to mx.invalid:25 (127.0.0.1:{port})")
        );
        let error = fail(by(Socks5::new("nonexistent.invalid", 1080))).await;
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Proxy, None));
    }

    /// FL-09 at a proxy: its own silence is its fault, and what comes once it was asked for the
    /// server is the server's.
    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_is_given_up() {
        for (speaks, expected) in [(true, ErrorKind::ConnectTimeout), (false, ErrorKind::Proxy)] {
            let (proxy, port) = listen().await;
            let since = now();
            let serve = async {
                let mut near = accept_client(&proxy).await;
                greeted(&mut near).await;
                if speaks {
                    near.write_all(&[5, 0]).await.unwrap();
                    requested(&mut near).await;
                }
                near
            };
            let (error, near) = tokio::join!(fail(by(Socks5::new("127.0.0.1", port))), serve);
            assert_eq!(error.kind(), expected);
            assert_eq!(error.peer(), near.local_addr().ok());
            assert_eq!(now() - since, Duration::from_secs(30));
        }
    }
}
