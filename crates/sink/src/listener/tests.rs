//! Sinks over loopback.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{Config, Limits, TlsUse};
use crate::store::StoreKind;
use crate::tls::Identity;

/// The client's end of a connection.
struct Client<S> {
    stream: BufReader<S>,
}

impl Client<TcpStream> {
    async fn connect(sink: &Sink) -> Self {
        Self::over(TcpStream::connect(sink.addr()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends `text`, and reads as many replies as it has commands. Returns their codes.
    async fn exchange(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        let mut codes = Vec::new();
        for _ in text.lines() {
            codes.push(self.reply().await);
        }
        codes.join(" ")
    }

    /// The code of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.chars().take(3).collect();
            }
        }
    }

    async fn send_mail(&mut self) -> String {
        let envelope = self.exchange("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n").await;
        self.stream.write_all(b"text\r\n.\r\n").await.unwrap();
        format!("{envelope} {}", self.reply().await)
    }

    /// What is left until the connection ends, or how it broke.
    async fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.map(|_| rest)
    }
}

const ACCEPTED: &str = "250 250 354 250";

fn connector(sink: &Sink) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let ca = sink.ca_pem().unwrap().as_bytes();
    roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn mails_are_accepted_and_kept() {
    let sink = Sink::builder().store(StoreKind::Memory).start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    assert_eq!(client.reply().await, "220");
    assert_eq!(client.exchange("EHLO c\r\n").await, "250");
    assert_eq!(client.send_mail().await, ACCEPTED);
    assert_eq!(client.send_mail().await, ACCEPTED);
    sink.wait_for(2).await;
    assert_eq!(sink.mails()[1].content, "text\r\n");
    assert_eq!(client.exchange("QUIT\r\n").await, "221");
    assert_eq!(client.rest().await.unwrap(), "");
    drop(client);
    sink.wait_idle().await;
    let stats = sink.shutdown().await;
    assert_eq!((stats.mails, stats.connections.opened, stats.connections.open), (2, 1, 0));
}

#[tokio::test]
async fn waiting_ends_when_the_last_mail_is_there() {
    let sink = Arc::new(Sink::builder().start().await.unwrap());
    let waiting = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.wait_for(100).await }
    });
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.exchange("EHLO c\r\n").await;
    for _ in 0..99 {
        client.send_mail().await;
    }
    assert!(!waiting.is_finished());
    client.send_mail().await;
    waiting.await.unwrap();
}

#[tokio::test]
async fn start_tls_with_a_self_signed_name() {
    let identity = Identity::SelfSigned("mx.sink.example".to_owned());
    let sink = Sink::builder().tls(identity).start().await.unwrap();
    for name in ["mx.sink.example", "localhost", "127.0.0.1"] {
        let mut client = Client::connect(&sink).await;
        client.reply().await;
        assert_eq!(client.exchange("EHLO c\r\nSTARTTLS\r\n").await, "250 220");
        let name = ServerName::try_from(name).unwrap();
        let stream = connector(&sink).connect(name, client.stream.into_inner()).await.unwrap();
        let mut client = Client::over(stream);
        assert_eq!(client.exchange("EHLO c\r\n").await, "250");
        assert_eq!(client.send_mail().await, ACCEPTED);
        assert_eq!(client.exchange("QUIT\r\n").await, "221");
        // The end of the stream is in order only behind close_notify.
        assert_eq!(client.rest().await.unwrap(), "");
    }
    let name = ServerName::try_from("other.example").unwrap();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.exchange("EHLO c\r\nSTARTTLS\r\n").await;
    assert!(connector(&sink).connect(name, client.stream.into_inner()).await.is_err());
}

#[tokio::test]
async fn implicit_tls() {
    let sink = Sink::builder().implicit_tls().start().await.unwrap();
    let socket = TcpStream::connect(sink.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Client::over(connector(&sink).connect(name, socket).await.unwrap());
    assert_eq!(client.reply().await, "220");
    assert_eq!(client.exchange("EHLO c\r\n").await, "250");
    assert_eq!(client.send_mail().await, ACCEPTED);
}

#[tokio::test]
async fn a_killed_sink_resets_its_connections_and_frees_its_port() {
    let sink = Sink::builder().start().await.unwrap();
    let address = sink.addr();
    for _ in 0..3 {
        let sink = Sink::builder().address(address).start().await;
        assert_eq!(sink.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    sink.kill().await;
    assert_eq!(client.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let sink = Sink::builder().address(address).start().await.unwrap();
    assert_eq!(sink.addr(), address);
    let mut client = Client::connect(&sink).await;
    assert_eq!(client.reply().await, "220");
}

#[tokio::test]
async fn a_sink_comes_back_from_an_outage() {
    let sink = Sink::builder().store(StoreKind::Memory).start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.exchange("EHLO c\r\n").await;
    assert_eq!(client.send_mail().await, ACCEPTED);
    for _ in 0..2 {
        tokio::join!(sink.suspend(), sink.wait_idle());
        assert_eq!(client.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(sink.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        sink.resume().await.unwrap();
        client = Client::connect(&sink).await;
        assert_eq!(client.reply().await, "220");
        client.exchange("EHLO c\r\n").await;
        assert_eq!(client.send_mail().await, ACCEPTED);
        // It is up already.
        sink.resume().await.unwrap();
    }
    assert_eq!(sink.mails().len(), 3);
    sink.suspend().await;
    sink.suspend().await;
    assert_eq!(sink.shutdown().await.connections.opened, 3);
}

#[tokio::test]
async fn a_sink_that_shuts_down_tells_its_clients() {
    let sink = Sink::builder().start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    let (stats, rest) = tokio::join!(sink.shutdown(), client.rest());
    assert!(rest.unwrap().starts_with("421 4.3.2 "));
    assert_eq!(stats.connections.open, 0);
}

/// A client in the middle of a handshake cannot hold up the end.
#[tokio::test(start_paused = true)]
async fn a_sink_that_shuts_down_waits_for_no_one_long() {
    let sink = Sink::builder().implicit_tls().start().await.unwrap();
    let client = TcpStream::connect(sink.addr()).await.unwrap();
    while sink.stats().connections.open == 0 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    sink.shutdown().await;
    assert!(start.elapsed() <= GRACE + Duration::from_millis(1));
    drop(client);
}

#[tokio::test]
async fn connections_close_as_rules_say() {
    let rst = Sink::builder().fault("at=rset close=rst".parse().unwrap());
    let sink = rst.start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.stream.write_all(b"RSET\r\n").await.unwrap();
    assert_eq!(client.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    // CL-03: the reply arrives although the client had sent more.
    let fin = r#"at=rset reply="421 bye" close=fin"#.parse().unwrap();
    let sink = Sink::builder().fault(fin).start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    let flight = format!("RSET\r\n{}", "NOOP\r\n".repeat(100_000));
    client.stream.write_all(flight.as_bytes()).await.unwrap();
    assert_eq!(client.rest().await.unwrap(), "421 bye\r\n");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let limits = Limits { max_conns: Some(2), ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let sink = Sink::builder().config(config).start().await.unwrap();
    let (mut first, mut second) = (Client::connect(&sink).await, Client::connect(&sink).await);
    assert_eq!(first.reply().await, "220");
    assert_eq!(second.reply().await, "220");
    let mut third = Client::connect(&sink).await;
    assert!(third.rest().await.unwrap().starts_with("421 4.7.0 "));
    assert_eq!(first.exchange("QUIT\r\n").await, "221");
    drop(first);
    // The place is free once the sink has seen the end of the first.
    let admitted = async {
        while Client::connect(&sink).await.reply().await != "220" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), admitted).await.unwrap();
    assert_eq!(sink.stats().connections.open_max, 2);
}

/// For a ceiling that moves: sessions that are open stay so.
#[tokio::test]
async fn limits_change_while_sessions_are_open() {
    let sink = Sink::builder().start().await.unwrap();
    let mut first = Client::connect(&sink).await;
    first.reply().await;
    first.exchange("EHLO c\r\n").await;
    let mut second = Client::connect(&sink).await;
    second.reply().await;

    let max_conns = |limit| Limits { max_conns: Some(limit), ..Limits::default() };
    sink.set_limits(max_conns(1));
    assert_eq!(Client::connect(&sink).await.reply().await, "421");
    assert_eq!(first.send_mail().await, ACCEPTED);
    sink.set_limits(max_conns(3));
    let mut third = Client::connect(&sink).await;
    assert_eq!(third.reply().await, "220");
    assert_eq!(Client::connect(&sink).await.reply().await, "421");

    sink.set_limits(Limits { max_per_conn: Some(1), max_rcpts: Some(0), ..max_conns(3) });
    assert_eq!(first.exchange("MAIL FROM:<a@x>\r\n").await, "421");
    second.exchange("EHLO c\r\n").await;
    assert_eq!(second.exchange("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n").await, "250 452");
    let stats = sink.shutdown().await;
    assert_eq!((stats.connections.opened, stats.connections.refused), (3, 2));
    let refusals: Vec<_> = stats.refusals.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(refusals, [("max-conns", 2), ("max-per-conn", 1), ("max-rcpts", 1)]);
}

/// What a rate limit is checked with: when each mail came.
#[tokio::test]
async fn mails_bear_the_time_they_came() {
    let sink = Sink::builder().store(StoreKind::Memory).start().await.unwrap();
    let before = std::time::Instant::now();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.exchange("EHLO c\r\n").await;
    for _ in 0..3 {
        assert_eq!(client.send_mail().await, ACCEPTED);
    }
    let elapsed = before.elapsed();
    let times: Vec<_> = sink.mails().iter().map(|mail| mail.received).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier < later), "{times:?}");
    assert!(times[2] - times[0] < elapsed, "{times:?} in {elapsed:?}");
}

/// The link delays the handshake of TLS, too: greeting, EHLO, STARTTLS, handshake, EHLO, a flight
/// for the mail, its content.
#[tokio::test]
async fn a_long_link_costs_a_round_trip_each_time() {
    let rtt = Duration::from_millis(20);
    let config = Config { tls: TlsUse::Offered, ..Config::default() };
    let sink = Sink::builder().config(config).rtt(rtt).start().await.unwrap();
    let start = std::time::Instant::now();
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.exchange("EHLO c\r\n").await;
    client.exchange("STARTTLS\r\n").await;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector(&sink).connect(name, client.stream.into_inner()).await.unwrap();
    let mut client = Client::over(stream);
    client.exchange("EHLO c\r\n").await;
    assert_eq!(client.send_mail().await, ACCEPTED);
    assert!(start.elapsed() >= 7 * rtt, "{:?}", start.elapsed());
}

/// LMTP-02: LMTP over a Unix socket, which is gone with its sink; one that was left behind by a sink
/// that was killed is taken over.
#[tokio::test]
async fn a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut options = Sink::builder().unix_socket(&path).store(StoreKind::Memory);
    options.set("lmtp", "true").unwrap();
    let sink = options.start().await.unwrap();
    assert_eq!(sink.endpoint().to_string(), format!("unix:{}", path.display()));
    assert!(Sink::builder().unix_socket(&path).start().await.is_err(), "it is in use");

    let mut client = Client::over(tokio::net::UnixStream::connect(&path).await.unwrap());
    assert_eq!(client.reply().await, "220");
    assert_eq!(client.exchange("LHLO c\r\n").await, "250");
    assert_eq!(client.send_mail().await, ACCEPTED);
    assert_eq!(client.exchange("QUIT\r\n").await, "221");
    assert_eq!(client.rest().await.unwrap(), "");
    assert_eq!(sink.shutdown().await.mails, 1);
    assert!(!path.exists());
}

/// PROXY-01, PROXY-02: the header comes before anything else, also before a handshake that is in the
/// same flight.
#[tokio::test]
async fn a_proxy_says_whom_it_speaks_for() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 5 25\r\n";
    for implicit_tls in [false, true] {
        let mut options = Sink::builder().store(StoreKind::Memory);
        options.set("proxy-protocol", "true").unwrap();
        let options = if implicit_tls { options.implicit_tls() } else { options };
        let sink = options.start().await.unwrap();
        let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
        stream.write_all(HEADER).await.unwrap();
        if implicit_tls {
            let name = ServerName::try_from("sink.localhost").unwrap();
            let stream = connector(&sink).connect(name, stream).await.unwrap();
            speak_through_proxy(Client::over(stream)).await;
        } else {
            speak_through_proxy(Client::over(stream)).await;
        }
        let expected = ProxyHeader::Proxied {
            source: "192.0.2.1:5".parse().unwrap(),
            destination: "198.51.100.2:25".parse().unwrap(),
        };
        assert_eq!(sink.mails()[0].on_behalf_of.proxy, Some(expected));
        assert!(sink.shutdown().await.violations.is_empty());
    }
}

async fn speak_through_proxy<S: AsyncRead + AsyncWrite + Unpin>(mut client: Client<S>) {
    assert_eq!(client.reply().await, "220");
    assert_eq!(client.exchange("EHLO c\r\n").await, "250");
    assert_eq!(client.send_mail().await, ACCEPTED);
}

#[tokio::test]
async fn who_is_no_proxy_is_turned_away() {
    let mut options = Sink::builder();
    options.set("proxy-protocol", "true").unwrap();
    let sink = options.start().await.unwrap();
    let mut client = Client::connect(&sink).await;
    client.stream.write_all(b"EHLO client.example\r\n").await.unwrap();
    assert_eq!(client.rest().await.unwrap(), "");
    let stats = sink.shutdown().await;
    assert_eq!((stats.violations["proxy_header"], stats.connections.opened), (1, 0));
}

#[tokio::test]
async fn mails_go_into_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    for store in [
        StoreKind::Maildir(path("maildir")),
        StoreKind::Mbox(path("mbox")),
        StoreKind::JsonLines(path("mails.jsonl")),
    ] {
        let sink = Sink::builder().store(store).start().await.unwrap();
        let mut client = Client::connect(&sink).await;
        client.reply().await;
        client.exchange("EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n").await;
        client.stream.write_all(b"From me\r\n..\r\n.\r\n").await.unwrap();
        assert_eq!(client.reply().await, "250");
        sink.kill().await;
    }
    let mut maildir = std::fs::read_dir(path("maildir").join("new")).unwrap();
    let mail = std::fs::read_to_string(maildir.next().unwrap().unwrap().path()).unwrap();
    let header = "Return-Path: <a@x>\r\nDelivered-To: b@y\r\n";
    assert_eq!(mail, format!("{header}From me\r\n.\r\n"));
    let mbox = std::fs::read_to_string(path("mbox")).unwrap();
    assert_eq!(mbox, "From a@x Thu Jan  1 00:00:00 1970\r\n>From me\r\n.\r\n\r\n");
    let jsonl = std::fs::read_to_string(path("mails.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&jsonl).unwrap();
    assert_eq!(line["to"][0], "b@y");
    assert!(line["received_us"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(line["content"], "From me\r\n.\r\n");
}
