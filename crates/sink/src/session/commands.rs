//! The greeting and the commands outside mail transactions.

use std::sync::Arc;

use super::answer::{About, Step};
use super::{Close, Event, Greeted, Session};
use crate::command::{Command, CommandError, Verb};
use crate::config::{EarlyTalk, TlsUse};
use crate::fault::Answer;
use crate::hello::Hello;
use crate::parameters::decode_xtext;
use crate::reply::{self, Reply};
use crate::stage::Stage;
use crate::stats::{Refusal, Violation};

impl Session {
    /// The first thing a session does.
    pub(super) fn connect(&mut self) {
        if let Some(action) = self.fault(Stage::Connect, About::default()) {
            self.act(&action, None);
        }
        if self.server.config.tls == TlsUse::Implicit {
            self.start_handshake();
        } else {
            self.greet();
        }
    }

    pub(super) fn greet(&mut self) {
        if !self.admitted {
            self.refusal(Refusal::MaxConnections);
            self.answer(Stage::Greeting, About::default(), reply::TOO_MANY_CONNECTIONS);
            self.hello = Greeted::Never;
            self.end(Close::Fin);
            return;
        }
        let server = Arc::clone(&self.server);
        let name = if server.is_lmtp() { reply::LMTP_GREETING } else { reply::GREETING };
        let line = format!("220 {} {name}", server.config.hostname);
        let given = self.answer(Stage::Greeting, About::default(), Reply::bare(line.as_bytes()));
        if !given.code.is_positive_completion() {
            self.hello = Greeted::Never;
        }
    }

    /// Handles a command line without its end; `rest` came in the same flight.
    pub(super) fn command(&mut self, line: &[u8], rest: &[u8]) {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => {
                self.violation(Violation::Syntax);
                return self.write(match error {
                    CommandError::UnknownVerb => reply::UNKNOWN_COMMAND,
                    CommandError::Arguments => reply::SYNTAX,
                });
            }
        };
        let verb = command.verb();
        self.tally.command(verb);
        let length = line.len() + 2;
        if length > 512 && length > longest_line(verb, self.offer()) {
            self.violation(Violation::LongCommand);
        }
        self.turn = self.turn_after(&command);
        if !rest.is_empty() && self.is_cut_off(verb) {
            self.write(reply::SYNCHRONIZATION);
            return self.end(Close::Fin);
        }
        if let Some(refusal) = self.gate(verb) {
            if refusal == reply::HELLO_FIRST {
                self.violation(Violation::Sequence);
            }
            return match command {
                Command::Bdat(chunk) => self.refuse_chunk(chunk, refusal),
                _ => self.write(refusal),
            };
        }
        match command {
            Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) => self.greeted(verb),
            Command::Mail(path) => self.mail(path),
            Command::Rcpt(path) => self.rcpt(path),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk),
            Command::Rset => {
                let given = self.answer(Stage::Rset, About::default(), reply::OK);
                if given.code.is_positive_completion() {
                    self.transaction.reset();
                }
            }
            Command::Noop => self.write(reply::OK),
            Command::Help => self.write(reply::HELP),
            Command::Vrfy => self.write(reply::CANNOT_VERIFY),
            Command::StartTls => self.start_tls(),
            Command::Auth(auth) => self.auth(auth),
            Command::Xclient(attributes) => self.xclient(attributes),
            Command::Quit => {
                self.answer(Stage::Quit, About::default(), reply::CLOSING);
                self.end(Close::Fin);
            }
        }
    }

    /// What a client breaches that sends on behind this command without its reply.
    fn turn_after(&self, command: &Command<'_>) -> Option<Violation> {
        match command {
            Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) => Some(Violation::BehindHello),
            Command::Data => Some(Violation::BehindData),
            Command::Noop | Command::Vrfy | Command::Help => Some(Violation::BehindNoop),
            Command::Quit => Some(Violation::BehindQuit),
            Command::StartTls => Some(Violation::BehindStartTls),
            // With an initial response of a mechanism of one round trip, AUTH may be pipelined
            // (RFC 4954 4).
            Command::Auth(auth) => auth.initial_response.is_none().then_some(Violation::BehindAuth),
            Command::Xclient(_) => Some(Violation::BehindXclient),
            // What is behind BDAT is its chunk.
            Command::Bdat(_) => None,
            Command::Mail(_) | Command::Rcpt(_) | Command::Rset => {
                let offered = self.offer().pipelining;
                (!offered).then_some(Violation::UnofferedPipelining)
            }
        }
    }

    /// Counts what came in one flight behind a command; true if the client is cut off for it, as
    /// Postfix does behind these commands and behind any after HELO.
    fn is_cut_off(&mut self, verb: Verb) -> bool {
        if let Some(violation) = self.turn {
            self.violation(violation);
        }
        let waits_for_reply = match verb {
            Verb::Ehlo | Verb::Helo | Verb::Lhlo | Verb::Data => true,
            Verb::Noop | Verb::Vrfy | Verb::Help => true,
            Verb::Mail | Verb::Rcpt | Verb::Rset => self.hello == Greeted::Helo,
            Verb::Bdat | Verb::Quit | Verb::StartTls | Verb::Auth | Verb::Xclient => false,
        };
        waits_for_reply && self.server.config.early_talk == EarlyTalk::Reject554
    }

    /// The reply to a command that is not to be had in this state, whatever its arguments.
    fn gate(&self, verb: Verb) -> Option<Reply<'static>> {
        let lmtp = self.server.is_lmtp();
        let always = match verb {
            Verb::Quit => return None,
            Verb::Ehlo | Verb::Helo if lmtp => return Some(reply::UNKNOWN_COMMAND),
            Verb::Lhlo if !lmtp => return Some(reply::UNKNOWN_COMMAND),
            Verb::Ehlo | Verb::Helo | Verb::Lhlo | Verb::Noop | Verb::Help | Verb::Rset => true,
            Verb::StartTls | Verb::Auth | Verb::Xclient | Verb::Vrfy => false,
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat => false,
        };
        if self.hello == Greeted::Never {
            return Some(reply::HELLO_FIRST);
        }
        if always {
            return None;
        }
        if self.hello == Greeted::Not {
            return Some(reply::HELLO_FIRST);
        }
        let needs_tls = self.server.config.tls == TlsUse::Required && !self.tls_active;
        (needs_tls && verb != Verb::StartTls).then_some(reply::TLS_REQUIRED)
    }

    fn greeted(&mut self, verb: Verb) {
        let server = Arc::clone(&self.server);
        let greeted = if verb == Verb::Helo { Greeted::Helo } else { Greeted::Ehlo };
        let code = match self.fault(Stage::Ehlo, About::default()) {
            None => {
                match greeted {
                    Greeted::Ehlo => self.write_octets(&server.hello(self.tls_active).reply),
                    _ => self
                        .write(Reply::bare(format!("250 {}", server.config.hostname).as_bytes())),
                }
                reply::OK.code
            }
            Some(action) => {
                // The usual reply has many lines: the rule gets it as octets.
                let mut action = action;
                if *action.answer() == Answer::Usual {
                    let usual = server.hello(self.tls_active).reply.clone();
                    action.answer = Some(Answer::Octets(usual));
                }
                self.act(&action, None);
                action.code().unwrap_or(reply::OK.code)
            }
        };
        if code.is_positive_completion() {
            self.hello = greeted;
            self.transaction.reset();
        }
    }

    fn start_tls(&mut self) {
        if self.tls_active {
            self.violation(Violation::Sequence);
            return self.write(reply::TLS_ACTIVE);
        }
        let usual = if self.offer().start_tls {
            reply::START_TLS
        } else {
            self.violation(Violation::UnofferedExtension);
            reply::NOT_IMPLEMENTED
        };
        let given = self.answer(Stage::StartTls, About::default(), usual);
        if given.code == reply::START_TLS.code {
            self.start_handshake();
        }
    }

    /// Takes another client for the one on the connection, and begins anew as behind the greeting
    /// (Postfix's XCLIENT).
    fn xclient(&mut self, attributes: &[u8]) {
        let usual = self.check_xclient(attributes).err().unwrap_or(reply::XCLIENT);
        let given = self.answer(Stage::Xclient, About::default(), usual);
        if given.code == reply::XCLIENT.code {
            let known = &mut self.on_behalf_of.xclient;
            known.extend((!known.is_empty()).then_some(' '));
            known.push_str(&String::from_utf8_lossy(attributes));
            self.forget_client();
        }
    }

    fn check_xclient(&mut self, attributes: &[u8]) -> Result<(), Reply<'static>> {
        let offered = &self.offer().xclient;
        if !self.offer().offers(b"XCLIENT") {
            self.violation(Violation::UnofferedExtension);
            return Err(reply::NOT_IMPLEMENTED);
        }
        if self.transaction.is_open() {
            self.violation(Violation::Sequence);
            return Err(reply::NESTED_MAIL);
        }
        let mut pairs = attributes.split(|&b| b == b' ').map(|pair| {
            let place = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
            (&pair[..place], pair.get(place + 1..).unwrap_or_default())
        });
        let is_offered = |name: &[u8]| {
            offered.split(' ').any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        };
        if !pairs.clone().all(|(name, _)| is_offered(name)) {
            self.violation(Violation::UnofferedExtension);
            return Err(reply::SYNTAX);
        }
        if !pairs.all(|(_, value)| decode_xtext(value).is_some()) {
            self.violation(Violation::Syntax);
            return Err(reply::SYNTAX);
        }
        Ok(())
    }

    fn start_handshake(&mut self) {
        if let Some(action) = self.fault(Stage::Tls, About::default()) {
            self.act(&action, None);
        }
        self.step(Step::End(Event::StartTls));
    }
}

/// The octets a command line may have, CRLF included: RFC 5321 4.5.3.1.4, and what the offered
/// extensions add to it. CMD-05
fn longest_line(verb: Verb, offer: &Hello) -> usize {
    let increments: &[(&[u8], usize)] = match verb {
        Verb::Mail => &[
            (b"SIZE", 26),
            (b"8BITMIME", 17),
            (b"SMTPUTF8", 10),
            (b"AUTH", 500),
            (b"DSN", 100),
            (b"DELIVERBY", 17),
            (b"FUTURERELEASE", 34),
            (b"MT-PRIORITY", 15),
            (b"REQUIRETLS", 11),
        ],
        Verb::Rcpt => &[(b"DSN", 500)],
        Verb::Auth => return super::MAX_LINE,
        Verb::Ehlo
        | Verb::Helo
        | Verb::Lhlo
        | Verb::Data
        | Verb::Bdat
        | Verb::Rset
        | Verb::Noop
        | Verb::Quit
        | Verb::StartTls
        | Verb::Xclient
        | Verb::Vrfy
        | Verb::Help => &[],
    };
    let offered = increments.iter().filter(|(keyword, _)| offer.offers(keyword));
    512 + offered.map(|(_, octets)| octets).sum::<usize>()
}
