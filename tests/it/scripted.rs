//! A server that does what a test says, line by line.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The server's side of a connection.
pub(crate) struct Scripted {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Scripted {
    /// Takes a connection, offers these extensions, and goes on to where mails are awaited.
    pub(crate) async fn accept(listener: &TcpListener, keywords: &[&str]) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = Self { stream: BufReader::new(stream) };
        server.say("220 mx").await;
        assert!(server.line().await.starts_with("EHLO "));
        let offer: String = keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
        server.say(&format!("250-mx\r\n{offer}250 HELP")).await;
        server
    }

    /// Says lines; the last line end is added.
    pub(crate) async fn say(&mut self, lines: &str) {
        self.stream.write_all(format!("{lines}\r\n").as_bytes()).await.unwrap();
    }

    /// The next line without its end; empty at the end of the stream.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Takes one mail whose commands come in one flight, and gives back the first line of its content.
    pub(crate) async fn take_mail(&mut self) -> String {
        while self.line().await != "DATA" {}
        self.say("250 ok\r\n250 ok\r\n354 go").await;
        self.take_content().await
    }

    /// Takes content, and gives back its first line.
    pub(crate) async fn take_content(&mut self) -> String {
        let first = self.line().await;
        while self.line().await != "." {}
        self.say("250 queued").await;
        first
    }

    /// Expects a command that nothing has followed yet, and answers it.
    pub(crate) async fn answer_alone(&mut self, command: &str, reply: &str) {
        let line = self.line().await;
        assert!(line.starts_with(command), "{line}");
        assert!(self.stream.buffer().is_empty(), "more than {line} came");
        self.say(reply).await;
    }

    /// Takes one mail whose commands come one by one, without a parameter.
    pub(crate) async fn take_mail_in_steps(&mut self) {
        self.answer_alone("MAIL FROM:<sender@client.example>", "250 ok").await;
        self.answer_alone("RCPT ", "250 ok").await;
        self.answer_alone("DATA", "354 go").await;
        self.take_content().await;
    }

    /// QUIT and its answer.
    pub(crate) async fn part(&mut self) {
        self.answer_alone("QUIT", "221 bye").await;
    }
}
