//! A bare client: it sends ready-made octets, counts the lines that come back, and knows nothing of
//! mail. What it reaches is what a server can take; what it costs is the least a client can cost.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What a bare client sends.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How the content goes.
    pub way: Way,
    /// Mails in all; each connection sends its share, in whole flights.
    pub mails: usize,
    /// Mails in one write. With [`Way::Data`] it is one, as the protocol has it.
    pub flight: usize,
    /// Connections, served in turn: while one's replies are under way, another writes.
    pub connections: usize,
    /// Octets of each content.
    pub size: usize,
}

/// How the content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `RSET MAIL RCPT BDAT` and the content, mail behind mail, as in `stream`.
    Bdat,
    /// The content, its end and `MAIL RCPT DATA` of the next mail, as in `cross`.
    Data,
}

impl Load {
    /// Sends it all from one thread. Returns how long that took, from before the first connection.
    ///
    /// # Errors
    ///
    /// Those of the sockets.
    pub fn send(self, server: SocketAddr) -> io::Result<Duration> {
        let start = Instant::now();
        let connect = |index| Connection::open(server, self, index);
        let mut connections = (0..self.connections).map(connect).collect::<io::Result<Vec<_>>>()?;
        greet(&mut connections)?;
        let flights = self.mails / self.connections / self.flight();
        connections.iter_mut().try_for_each(Connection::write)?;
        for flight in 1..=flights {
            for connection in &mut connections {
                connection.read_replies()?;
                if flight < flights {
                    connection.write()?;
                }
            }
        }
        Ok(start.elapsed())
    }

    /// Sends it from several threads, which share the connections and the mails.
    ///
    /// # Errors
    ///
    /// Those of the sockets.
    ///
    /// # Panics
    ///
    /// If there are fewer connections than threads.
    pub fn send_from(self, threads: usize, server: SocketAddr) -> io::Result<Duration> {
        let share =
            Self { mails: self.mails / threads, connections: self.connections / threads, ..self };
        assert!(share.connections > 0, "fewer connections than threads");
        let threads: Vec<_> =
            (0..threads).map(|_| thread::spawn(move || share.send(server))).collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        times
            .collect::<io::Result<Vec<_>>>()
            .map(|times| times.into_iter().max().unwrap_or_default())
    }

    fn flight(self) -> usize {
        match self.way {
            Way::Bdat => self.flight,
            Way::Data => 1,
        }
    }
}

/// Flights of mails as octets. The numbers in their Message-IDs go up, so that a server can tell
/// whether it got each of them once, and in order.
#[derive(Debug)]
pub struct Flights {
    way: Way,
    octets: Vec<u8>,
    /// Where the digits of each mail's number are.
    numbers: Vec<usize>,
    next: u64,
}

impl Flights {
    /// The flights of one connection; `run` tells those of several apart.
    pub fn new(load: Load, run: usize) -> Self {
        let mut flights =
            Self { way: load.way, octets: Vec::new(), numbers: Vec::new(), next: FIRST };
        for _ in 0..load.flight() {
            match load.way {
                Way::Bdat => {
                    let command = format!("BDAT {} LAST\r\n", load.size);
                    flights.push(&["RSET\r\n", ENVELOPE, &command]);
                    flights.push_content(load.size, run);
                }
                Way::Data => {
                    flights.push_content(load.size, run);
                    flights.push(&[".\r\n", ENVELOPE, "DATA\r\n"]);
                }
            }
        }
        flights
    }

    /// What is said before the first flight, one command at a time.
    pub fn opening(&self) -> &'static [&'static str] {
        match self.way {
            Way::Bdat => &OPENING[..1],
            Way::Data => &OPENING,
        }
    }

    /// The octets of the next flight.
    pub fn fill_next(&mut self) -> &[u8] {
        for &end in &self.numbers {
            let mut rest = self.next;
            for digit in self.octets[end - DIGITS..end].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            self.next += 1;
        }
        &self.octets
    }

    fn push(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.octets.extend_from_slice(text.as_bytes()));
    }

    fn push_content(&mut self, size: usize, run: usize) {
        let end = self.octets.len() + size - 2;
        let name = format!("Message-ID: <{}-{run}.{:0DIGITS$}", std::process::id(), 0);
        self.push(&[&name]);
        self.numbers.push(self.octets.len());
        self.push(&["@posthaste.example>\r\n"]);
        self.push(&[
            "From: <a@posthaste.example>\r\nTo: <b@posthaste.example>\r\nSubject: bare\r\n\r\n",
        ]);
        while self.octets.len() + LINE.len() < end {
            self.push(&[LINE]);
        }
        // Never half a line end: the last line is as short as it has to be.
        self.octets.resize(end, b'x');
        self.push(&["\r\n"]);
    }
}

/// Says what comes before the first flight, on all connections at once, for none may wait for the
/// round trips of another.
fn greet(connections: &mut [Connection]) -> io::Result<()> {
    connections.iter_mut().try_for_each(Connection::read_reply)?;
    let opening = connections.first().map_or(&[][..], |connection| connection.flights.opening());
    for command in opening {
        for connection in &mut *connections {
            connection.socket.write_all(command.as_bytes())?;
        }
        connections.iter_mut().try_for_each(Connection::read_reply)?;
    }
    Ok(())
}

struct Connection {
    socket: TcpStream,
    flights: Flights,
    /// Lines of reply to a flight.
    lines: usize,
}

impl Connection {
    fn open(server: SocketAddr, load: Load, index: usize) -> io::Result<Self> {
        let socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        let flights = Flights::new(load, index);
        let lines = 4 * load.flight();
        Ok(Self { socket, flights, lines })
    }

    fn read_reply(&mut self) -> io::Result<()> {
        while self.read_line()?.get(3) != Some(&b' ') {}
        Ok(())
    }

    /// A line, octet by octet: nothing behind it is read.
    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut octet = [0];
            self.socket.read_exact(&mut octet)?;
            line.push(octet[0]);
        }
        Ok(line)
    }

    fn write(&mut self) -> io::Result<()> {
        self.socket.write_all(self.flights.fill_next())
    }

    fn read_replies(&mut self) -> io::Result<()> {
        let mut buffer = [0; 32 << 10];
        let mut lines = 0;
        while lines < self.lines {
            let length = self.socket.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            lines += buffer[..length].iter().filter(|&&octet| octet == b'\n').count();
        }
        Ok(())
    }
}

const OPENING: [&str; 4] = [
    "EHLO posthaste.example\r\n",
    "MAIL FROM:<a@posthaste.example>\r\n",
    "RCPT TO:<b@posthaste.example>\r\n",
    "DATA\r\n",
];

const ENVELOPE: &str = "MAIL FROM:<a@posthaste.example>\r\nRCPT TO:<b@posthaste.example>\r\n";

const LINE: &str =
    "All work and no play makes Jack a dull boy, said the postman, and rang twice.\r\n";

/// Digits of a mail's number: always as many, so that they can be written in place.
const DIGITS: usize = 10;

/// The lowest number that needs so many: zeros in front are no part of a number.
const FIRST: u64 = 1_000_000_000;
