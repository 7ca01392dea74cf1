//! An AUTH exchange with a server that is honest, or lies.

use std::io::IoSlice;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_session::reply::{Mechanism, Reply};
use posthaste_session::{
    ChannelBinding, Config, Credentials, Entropy, Event, ImplicitTls, InitialResponse, Session,
    TlsState,
};
use posthaste_sink::{Config as SinkConfig, Server, Session as SinkSession, TlsUse, User};

use crate::keys;

/// Lets an honest server open the session and announce one mechanism; then the input decides what
/// the client hears: what the server says, the same with an octet changed, or something else.
///
/// An exchange that nobody touched succeeds; one by SCRAM that somebody did touch never does, unless
/// the server had proven itself before (SCRAM-01 to SCRAM-07). It ends after a bounded number of
/// lines (AU-10). Nothing that is shown holds the password, the token, or a response (LK-01 to
/// LK-08), and only the mechanisms that send a password send it.
pub fn run(input: &[u8]) {
    let Some((&[mechanism, response], operations)) = input.split_first_chunk() else { return };
    let mechanism = usize::from(mechanism) % Credentials::MECHANISMS.len();
    let mut run = Run::new(mechanism, response);
    run.open();
    let mut operations = operations.iter();
    while let Some(&operation) = operations.next() {
        if run.end.is_some() {
            break;
        }
        run.operate(operation, &mut operations);
        run.drain();
    }
    run.finish();
}

/// Whether two replies differ in nothing but their line ends.
fn says_the_same(before: &[u8], after: &[u8]) -> bool {
    match (Reply::parse(before), Reply::parse(after)) {
        (Ok(before), Ok(after)) => {
            before.code() == after.code() && before.lines().eq(after.lines())
        }
        _ => before == after,
    }
}

/// What must never be shown.
const SECRET: &str = "pencil-and-paper";

const USER: &str = "tim";

const BINDING: [u8; 32] = [7; 32];

/// Lines of the client in one exchange at most: a response to each of eight challenges, AUTH before
/// them and `*` behind them.
const MAX_LINES: usize = 10;

/// Why the exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ready,
    Closed,
}

struct Run {
    now: Instant,
    mechanism: Mechanism,
    session: Session,
    server: SinkSession,
    /// What the server has said and the client has not heard.
    held: Vec<u8>,
    /// What the client has said since AUTH, line by line.
    lines: Vec<Vec<u8>>,
    /// Whether anything happened but that the client heard the server.
    is_touched: bool,
    /// Whether it did before it could know who speaks.
    is_tampered: bool,
    end: Option<End>,
    /// All that a log, a report or a transcript could hold.
    shown: String,
}

impl Run {
    fn new(mechanism: usize, response: u8) -> Self {
        let now = Instant::now();
        let mut config = Config::new("client.example".parse().expect("a name"));
        let initial_response =
            [InitialResponse::WhereItFits, InitialResponse::Always, InitialResponse::Never]
                [usize::from(response) % 3];
        let credentials = CREDENTIALS[mechanism].clone();
        config.credentials = Some(credentials.with_initial_response(initial_response));
        config.entropy = Some(Entropy::new([0; Entropy::LENGTH]));
        config.transcript = true;
        let tls = TlsState {
            is_verified: true,
            channel_binding: Some(ChannelBinding::from_exporter(BINDING)),
        };
        let mechanism = Credentials::MECHANISMS[mechanism];
        let mut server = SinkSession::new(server(mechanism, now), now);
        server.set_channel_binding(BINDING);
        server.tls_established(now);
        Self {
            now,
            mechanism,
            session: Session::with_tls(now, config, ImplicitTls::Established(tls)),
            server,
            held: Vec::new(),
            lines: Vec::new(),
            is_touched: false,
            is_tampered: false,
            end: None,
            shown: String::new(),
        }
    }

    /// As far as AUTH, with nobody in between.
    fn open(&mut self) {
        for _ in 0..3 {
            self.relay();
            self.drain();
        }
        assert!(!self.lines.is_empty() || self.end.is_some(), "AUTH was offered");
    }

    fn operate(&mut self, operation: u8, rest: &mut std::slice::Iter<'_, u8>) {
        let number = usize::from(operation & 31);
        match operation >> 5 {
            0 | 1 => self.relay(),
            2 => self.relay_changed(number, rest.next().copied().unwrap_or(1)),
            3 => {
                let octets: Vec<u8> = rest.take(number).copied().collect();
                self.challenge(&octets);
            }
            4 => {
                let octets: Vec<u8> = rest.take(number).copied().collect();
                self.tamper(&[b"334 ", &octets[..], b"\r\n"].concat());
            }
            5 => self.tamper(WORDS[number % WORDS.len()]),
            6 => self.lie(number, rest),
            _ => self.interfere(number),
        }
    }

    /// The client hears what the server says.
    fn relay(&mut self) {
        let octets = std::mem::take(&mut self.held);
        self.session.handle_input(self.now, &octets);
    }

    fn relay_changed(&mut self, at: usize, mask: u8) {
        let mut octets = std::mem::take(&mut self.held);
        if octets.is_empty() {
            return;
        }
        let before = octets.clone();
        let at = at * octets.len() / 32;
        octets[at] ^= mask;
        // The text behind 235 is nobody's proof.
        if !says_the_same(&before, &octets) && !octets.starts_with(b"235 ") {
            self.tamper(&octets);
        } else {
            self.session.handle_input(self.now, &octets);
        }
    }

    fn challenge(&mut self, octets: &[u8]) {
        self.tamper(format!("334 {}\r\n", STANDARD.encode(octets)).as_bytes());
    }

    /// The client hears something else.
    fn tamper(&mut self, octets: &[u8]) {
        // A client that has answered the server's proof is right to believe it.
        self.is_tampered |= !self.has_verified();
        self.is_touched = true;
        self.session.handle_input(self.now, octets);
    }

    /// Whether the client has heard the honest server's proof: its third message says so.
    fn has_verified(&self) -> bool {
        let messages = self.lines.iter().filter(|line| !is_bare_auth(line)).count();
        messages >= 3 && !self.is_tampered
    }

    /// What a server says that knows SCRAM and not the password.
    fn lie(&mut self, kind: usize, rest: &mut std::slice::Iter<'_, u8>) {
        const ITERATIONS: [&str; 8] =
            ["4096", "4095", "1", "0", "1000001", "04096", "4096,x=y", "99999999999"];
        let next: Vec<u8> = rest.take(4).copied().collect();
        let iterations = ITERATIONS[kind / 4];
        let first = format!(
            "r={}{},s={},i={iterations}",
            self.nonce(),
            "x".repeat(kind % 3),
            STANDARD.encode(&next)
        );
        let message = match kind % 4 {
            0 => first,
            1 => format!("v={}", STANDARD.encode(next.repeat(if kind & 4 == 0 { 8 } else { 5 }))),
            2 => "e=other-error".to_owned(),
            _ => format!("m=ext,{first}"),
        };
        self.challenge(message.as_bytes());
    }

    /// The nonce that the client has told.
    fn nonce(&self) -> String {
        let messages = self.lines.iter().filter_map(|line| message(line));
        let texts = messages.filter_map(|message| String::from_utf8(message).ok());
        let mut nonces = texts.filter_map(|text| Some(text.split_once(",r=")?.1.to_owned()));
        nonces.next_back().unwrap_or_default()
    }

    fn interfere(&mut self, number: usize) {
        self.is_touched = true;
        match number {
            0 => self.session.handle_eof(self.now),
            1..=4 => {
                self.now += Duration::from_secs(100 * number as u64);
                self.session.handle_timeout(self.now);
            }
            5 => self.session.quit(self.now),
            // Says again what the client has said.
            _ => {
                let line = self.lines.last().cloned().unwrap_or_default();
                let code: &[u8] = if number & 1 == 0 { b"334 " } else { b"535 " };
                let text = if number < 16 { line } else { message(&line).unwrap_or_default() };
                let text: Vec<u8> = text.into_iter().filter(|octet| *octet != b'\n').collect();
                self.tamper(&[code, &text[..], b"\r\n"].concat());
            }
        }
    }

    /// Takes what the session has to say, and hands it to the server.
    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.show(&format!("{event:?}"));
            match event {
                Event::Ready => self.become_ready(),
                Event::Closed(_) => self.end = Some(End::Closed),
                Event::DeriveKey(derivation) => {
                    if let Some(key) = keys::derive(derivation) {
                        self.session.key_derived(self.now, key);
                    }
                }
                _ => {}
            }
        }
        let octets = self.said();
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            if line.starts_with(b"AUTH ") || !self.lines.is_empty() {
                self.lines.push(line.to_vec());
            }
        }
        assert!(self.lines.len() <= MAX_LINES, "an exchange without end: {:?}", self.lines);
        self.server.handle_input(self.now, &octets);
        let answer = self.server.output().to_vec();
        self.server.transmitted(answer.len());
        self.held.extend(answer);
    }

    fn become_ready(&mut self) {
        let is_scram = self.mechanism.name().starts_with("SCRAM-");
        assert!(!is_scram || !self.is_tampered, "believed a false server");
        self.end = Some(End::Ready);
    }

    fn said(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        while self.session.has_transmit() {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = self.session.poll_transmit(&mut slices);
            let before = octets.len();
            slices[..used].iter().for_each(|slice| octets.extend_from_slice(slice));
            self.session.transmitted(self.now, octets.len() - before);
        }
        octets
    }

    fn show(&mut self, text: &str) {
        self.shown.push_str(text);
        self.shown.push('\n');
    }

    fn finish(mut self) {
        if !self.is_touched && self.end.is_none() && self.session.poll_deadline().is_some() {
            for _ in 0..MAX_LINES {
                self.relay();
                self.drain();
            }
            assert_eq!(self.end, Some(End::Ready), "an honest server was not believed");
        }
        self.show(&format!("{:?}", self.session));
        self.session.handle_eof(self.now);
        self.drain();
        self.check_leaks();
    }

    fn check_leaks(&self) {
        let check =
            |needle: &str| assert!(!self.shown.contains(needle), "{needle}: {}", self.shown);
        if self.mechanism != Mechanism::External {
            check(SECRET);
            check(&STANDARD.encode(SECRET));
        }
        for line in &self.lines {
            let response = line.trim_ascii_end().rsplit(|&octet| octet == b' ').next();
            let message = message(line);
            if let (Some(response), Some(message)) = (response, message)
                && message.len() >= 4
            {
                check(str::from_utf8(response).expect("base64"));
                let holds_secret =
                    message.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!holds_secret || self.sends_secret(), "{} in the clear", self.mechanism);
            }
        }
    }

    fn sends_secret(&self) -> bool {
        use Mechanism::{Login, OAuthBearer, Plain, XOAuth2};
        matches!(self.mechanism, Login | OAuthBearer | Plain | XOAuth2)
    }
}

/// What a server may say at the wrong moment.
const WORDS: [&[u8]; 16] = [
    b"235 ok\r\n",
    b"235-ok\r\n235 ok\r\n",
    b"334\r\n",
    b"334-\r\n334 \r\n",
    b"334 !\r\n",
    b"501 cancelled\r\n",
    b"504 not that one\r\n",
    b"534 too weak\r\n",
    b"535 no\r\n",
    b"454 later\r\n",
    b"421 bye\r\n",
    b"250 ok\r\n",
    b"220 mx\r\n",
    b"354 go\r\n",
    b"535 pencil-and-paper\r\n",
    b"535 cGVuY2lsLWFuZC1wYXBlcg==\r\n",
];

/// AUTH without a message behind the mechanism.
fn is_bare_auth(line: &[u8]) -> bool {
    line.starts_with(b"AUTH ") && line.split(|&octet| octet == b' ').count() == 2
}

/// The message that a line of the client carries.
fn message(line: &[u8]) -> Option<Vec<u8>> {
    if is_bare_auth(line) {
        return None;
    }
    let encoded = line.trim_ascii_end().rsplit(|&octet| octet == b' ').next()?;
    STANDARD.decode(encoded).ok()
}

/// One of each mechanism, in their order. Clones of one share the keys that were derived.
static CREDENTIALS: LazyLock<Vec<Credentials>> = LazyLock::new(|| {
    let credentials = Credentials::MECHANISMS.iter().map(|&mechanism| {
        let credentials = match mechanism {
            Mechanism::External => Credentials::external(Some(USER.to_owned())),
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => Credentials::bearer(USER, SECRET),
            Mechanism::CramMd5
            | Mechanism::Login
            | Mechanism::Plain
            | Mechanism::ScramSha1
            | Mechanism::ScramSha1Plus
            | Mechanism::ScramSha256
            | Mechanism::ScramSha256Plus => Credentials::new(USER, SECRET),
        };
        credentials.and_then(|any| any.with_mechanisms(&[mechanism])).expect("it suits")
    });
    credentials.collect()
});

/// A server that offers one mechanism. Always the same, nonces and all.
fn server(mechanism: Mechanism, now: Instant) -> Arc<Server> {
    let config = SinkConfig {
        offer: format!("AUTH={mechanism}").parse().expect("an offer"),
        tls: TlsUse::Implicit,
        users: vec![User { name: USER.to_owned(), password: SECRET.to_owned() }],
        ..SinkConfig::default()
    };
    Server::new(config, now).expect("nothing is stored")
}
