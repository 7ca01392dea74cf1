//! Listens to sessions that send no mail.

use std::io::Write as _;
use std::task::{Context, Poll};

use posthaste::connection::{Command, Connector, Dispatch, Error, Info};
use posthaste::reply::{Extensions, Reply, ReplyCode};
use posthaste::session::{
    CloseReason, Config, Event, Session, Speaker, SubmitError, TransactionId, TranscriptLine,
};

use crate::watch::describe;

/// What was said and heard on the connections of one probe, the last one being what counts: those
/// before it ended with a handshake that failed.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The connection that is, or was last.
    pub(super) info: Option<Info>,
    /// What was said on the connections before.
    pub(super) before: Vec<Exchange>,
    /// What was said on the last one.
    pub(super) exchanges: Vec<Exchange>,
    /// The session came so far that it could have sent mail.
    pub(super) is_ready: bool,
    /// How the last session ended.
    pub(super) end: Option<CloseReason>,
    /// Why there is no connection, or no TLS on it.
    pub(super) error: Option<Error>,
}

/// A command and its reply; without a command it is the greeting.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    command: Option<String>,
    /// Lines of the reply, as far as they came; bounded by the limits of a session.
    lines: Vec<String>,
    pub(super) in_tls: bool,
}

impl Exchange {
    /// Whether the command has this verb.
    pub(super) fn is(&self, verb: &str) -> bool {
        self.command.as_deref().and_then(|line| line.split(' ').next()) == Some(verb)
    }

    /// Whether this is the greeting.
    pub(super) fn is_greeting(&self) -> bool {
        self.command.is_none()
    }

    /// Whether this side introduces itself.
    pub(super) fn is_hello(&self) -> bool {
        ["EHLO", "LHLO", "HELO"].iter().any(|verb| self.is(verb))
    }

    /// Whether the last line of the reply is here.
    pub(super) fn is_complete(&self) -> bool {
        self.lines.last().is_some_and(|line| line.get(CODE..=CODE) != Some("-"))
    }

    /// The whole reply on one line.
    pub(super) fn text(&self) -> Option<String> {
        let first = self.lines.first()?;
        let texts: Vec<_> = self.texts().filter(|text| !text.is_empty()).collect();
        Some(format!("{} {}", first.get(..CODE).unwrap_or(first), texts.join(" ")))
    }

    /// The text of each line.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.get(CODE + 1..).unwrap_or_default())
    }

    /// The mechanism of AUTH.
    pub(super) fn mechanism(&self) -> Option<String> {
        self.command.as_deref()?.split(' ').nth(1).map(str::to_owned)
    }

    pub(super) fn code(&self) -> Option<ReplyCode> {
        let code = self.lines.first()?.get(..CODE)?.parse::<u16>().ok()?;
        ReplyCode::try_from(code).ok()
    }

    /// What a positive reply to EHLO offers.
    pub(super) fn extensions(&self) -> Extensions {
        let octets = self.lines.join("\r\n") + "\r\n";
        let reply = Reply::parse(octets.as_bytes()).ok();
        reply.filter(|_| !self.is("HELO")).map(Extensions::parse).unwrap_or_default()
    }
}

/// Digits of a reply code.
const CODE: usize = 3;

/// Opens a connection, says what a session says before its first mail, and quits.
pub(super) async fn listen(
    connector: &Connector,
    verbosity: u8,
    adjust: impl Fn(&mut Config),
) -> Heard {
    let mut listener = Listener { verbosity, heard: Heard::default() };
    let adjust = |config: &mut Config| {
        config.transcript = true;
        adjust(config);
    };
    let result = connector.run(adjust, &mut listener).await;
    listener.heard.error = result.err();
    listener.heard
}

struct Listener {
    verbosity: u8,
    heard: Heard,
}

impl Listener {
    fn say(&self, text: impl FnOnce() -> String) {
        if self.verbosity > 0 {
            // Nobody listening to what is going on is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{}", text());
        }
    }

    fn hear(&mut self, line: TranscriptLine) {
        let in_tls = self.heard.info.as_ref().is_some_and(|info| info.tls.is_some());
        let exchanges = &mut self.heard.exchanges;
        match line.speaker {
            Speaker::Client => {
                exchanges.push(Exchange { command: Some(line.text), lines: Vec::new(), in_tls });
            }
            Speaker::Server => {
                if exchanges.is_empty() {
                    exchanges.push(Exchange { in_tls, ..Exchange::default() });
                }
                // What comes behind a reply belongs to nothing; the session objects to it.
                if let Some(exchange) = exchanges.last_mut().filter(|it| !it.is_complete()) {
                    exchange.lines.push(line.text);
                }
            }
        }
    }
}

impl Dispatch for Listener {
    fn poll_command(&mut self, _cx: &mut Context<'_>, _room: usize) -> Poll<Command> {
        if self.heard.is_ready { Poll::Ready(Command::Quit) } else { Poll::Pending }
    }

    fn handle_submitted(&mut self, _result: Result<TransactionId, SubmitError>) {}

    fn handle_event(&mut self, event: Event, _session: &Session) {
        match event {
            Event::Ready => self.heard.is_ready = true,
            Event::Transcript(line) => {
                let mark = match line.speaker {
                    Speaker::Client => "->",
                    Speaker::Server => "<-",
                };
                self.say(|| format!("{mark} {}", line.text));
                self.hear(*line);
            }
            Event::Closed(reason) => {
                self.say(|| describe(&reason));
                self.heard.end = Some(reason);
            }
            _ => {}
        }
    }

    fn handle_connected(&mut self, info: &Info) {
        let was_open = self.heard.info.replace(info.clone());
        let is_new = info.tls.is_none() || was_open.is_none_or(|before| before.tls.is_some());
        if is_new {
            self.heard.before.append(&mut self.heard.exchanges);
            (self.heard.is_ready, self.heard.end) = (false, None);
        }
    }
}
