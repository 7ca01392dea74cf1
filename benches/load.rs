//! What a client is given to send, and how it is told to a process of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

/// So many mails, of which each is for one recipient, to one server.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Where they go.
    pub server: SocketAddr,
    /// How many they are: at least one a connection.
    pub mails: usize,
    /// Over how many connections.
    pub connections: usize,
    /// Octets of each content.
    pub size: usize,
    /// Tells the Message-IDs of one run from those of another.
    pub run: u32,
}

impl Load {
    /// What [`parse`](Self::parse) reads: `HOST PORT MAILS CONNECTIONS SIZE RUN`.
    pub fn arguments(&self) -> [String; 6] {
        [
            self.server.ip().to_string(),
            self.server.port().to_string(),
            self.mails.to_string(),
            self.connections.to_string(),
            self.size.to_string(),
            self.run.to_string(),
        ]
    }

    /// Reads the arguments of a process.
    ///
    /// # Panics
    ///
    /// When they are none: they come from [`arguments`](Self::arguments).
    pub fn parse(arguments: &[&str]) -> Self {
        let [ip, port, mails, connections, size, run] = arguments else {
            panic!("expected HOST PORT MAILS CONNECTIONS SIZE RUN, got {arguments:?}");
        };
        let number = |text: &str| text.parse().unwrap();
        Self {
            server: SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap()),
            mails: number(mails),
            connections: number(connections),
            size: number(size),
            run: run.parse().unwrap(),
        }
    }

    /// A command with the load as its arguments.
    pub fn given_to(&self, mut command: Command) -> Command {
        command.args(self.arguments());
        command
    }

    /// The numbers of the mails of one connection: in order, and together those of all.
    pub fn numbers(self, connection: usize) -> impl Iterator<Item = usize> {
        (connection..self.mails).step_by(self.connections)
    }

    /// The Message-IDs of all mails, with their angle brackets.
    pub fn message_ids(self) -> impl Iterator<Item = String> {
        let Self { run, mails, .. } = self;
        (FIRST..).take(mails).map(move |number| format!("<{run}.{number}@posthaste.example>"))
    }

    /// The contents of the mails.
    pub fn contents(&self) -> Contents {
        Contents::new(self)
    }
}

/// Contents that differ in their Message-ID, `<RUN.NUMBER@posthaste.example>`, and in nothing else.
#[derive(Debug, Clone)]
pub struct Contents {
    octets: Arc<[u8]>,
    /// Where the digits of the number end.
    end: usize,
    /// Where the line of the Message-ID ends.
    rest: usize,
}

impl Contents {
    fn new(load: &Load) -> Self {
        let mut octets = format!("Message-ID: <{}.{FIRST}", load.run).into_bytes();
        let end = octets.len();
        octets.extend(b"@posthaste.example>\r\n");
        let rest = octets.len();
        octets.extend(format!("From: <{FROM}>\r\nTo: <{TO}>\r\nSubject: rivals\r\n\r\n").bytes());
        while octets.len() + LINE.len() + 2 <= load.size {
            octets.extend(LINE);
        }
        octets.resize(load.size - 2, b'x');
        octets.extend(b"\r\n");
        Self { octets: octets.into(), end, rest }
    }

    /// The content of the mail of that number.
    pub fn content(&self, number: usize) -> Vec<u8> {
        self.numbered(number, self.octets.len())
    }

    /// The field at its beginning, which is the Message-ID.
    pub fn field(&self, number: usize) -> Vec<u8> {
        self.numbered(number, self.rest)
    }

    /// What is behind that field, the same for all numbers.
    pub fn rest(&self) -> &[u8] {
        &self.octets[self.rest..]
    }

    /// So many octets of it.
    fn numbered(&self, number: usize, octets: usize) -> Vec<u8> {
        let mut octets = self.octets[..octets].to_vec();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(FIRST + number);
        octets[self.end - DIGITS..self.end].copy_from_slice(digits.as_bytes());
        octets
    }
}

/// The reverse-path.
pub const FROM: &str = "a@posthaste.example";

/// The one recipient.
pub const TO: &str = "b@posthaste.example";

const LINE: &[u8] =
    b"All work and no play makes Jack a dull boy, said the postman, and rang twice.\r\n";

/// Digits of a mail's number: always as many, so that they can be written in place.
const DIGITS: usize = 10;

/// That of the first mail: without a zero at the head, which the sink would not take for a number.
const FIRST: usize = 1_000_000_000;
