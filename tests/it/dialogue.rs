//! SMTP by hand, for what the engine itself must not be trusted with.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection on which each line is sent and its reply read.
pub(crate) struct Dialogue {
    stream: BufReader<TcpStream>,
}

impl Dialogue {
    /// Connects and reads the greeting.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(addr).await.unwrap());
        let mut dialogue = Self { stream };
        let greeting = dialogue.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        dialogue
    }

    /// Connects, reads the greeting and says EHLO.
    pub(crate) async fn hello(addr: SocketAddr) -> Self {
        let mut dialogue = Self::connect(addr).await;
        dialogue.expect("EHLO client.example.test", "250").await;
        dialogue
    }

    /// Sends `line`, whose reply must begin with `code`; returns the whole reply.
    pub(crate) async fn expect(&mut self, line: &str, code: &str) -> String {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        let reply = self.reply().await;
        assert!(reply.starts_with(code), "{line:?} was answered {reply:?}, not {code}");
        reply
    }

    /// One mail transaction, in which all is accepted. `content` ends in CRLF, without the dot.
    pub(crate) async fn send(&mut self, from: &str, to: &[&str], content: &str) {
        self.expect(&format!("MAIL FROM:<{from}>"), "250").await;
        for to in to {
            self.expect(&format!("RCPT TO:<{to}>"), "250").await;
        }
        self.expect("DATA", "354").await;
        self.expect(&format!("{content}."), "250").await;
    }

    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let read = self.stream.read_line(&mut reply).await.unwrap();
            assert!(read > 0, "the connection ended after {reply:?}");
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }
}
