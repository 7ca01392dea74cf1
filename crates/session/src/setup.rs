//! From the greeting to readiness: EHLO, STARTTLS; AUTH is in `auth.rs`.

use std::time::Instant;

use posthaste_reply::{Extensions, Reply, ReplyCode, Severity};

use crate::command;
use crate::config::{Protocol, TlsPolicy};
use crate::event::{CloseReason, Event, Requirement, Violation};
use crate::session::{Phase, Session, stored};
use crate::stage::Stage;

impl Session {
    /// One reply before the session is ready, or after QUIT.
    pub(crate) fn handle_setup_reply(&mut self, now: Instant, reply: Reply<'_>) {
        if self.transmit.written() < self.transmit.queued() {
            // An answer before the question was written is an answer to something else.
            return self.violate(now, Violation::Surplus);
        }
        let is_shutdown = reply.code() == ReplyCode::NOT_AVAILABLE;
        if is_shutdown && !matches!(self.phase, Phase::Quitting(_)) {
            let (stage, reply) = (self.stage(), stored(reply));
            return self.close(now, CloseReason::Shutdown { stage, reply });
        }
        match &self.phase {
            Phase::Greeting => self.handle_greeting(now, reply),
            Phase::Ehlo => self.handle_ehlo(now, reply),
            Phase::Helo => self.handle_helo(now, reply),
            Phase::StartTls => self.handle_starttls(now, reply),
            Phase::Xclient => self.handle_xclient(now, reply),
            Phase::Auth(_) => self.handle_auth(now, reply),
            Phase::AuthCancelled { .. } => self.handle_cancelled(now, reply),
            // Whatever comes back for QUIT ends the session.
            Phase::Quitting(_) => self.close(now, CloseReason::Quit),
            Phase::Handshake | Phase::Ready | Phase::Closed => {
                self.unexpected(now, self.stage(), reply)
            }
        }
    }

    /// RFC 5321 section 4.3.1: only 220 opens a session.
    fn handle_greeting(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code(), reply.code().severity()) {
            (ReplyCode::READY, _) => {
                self.setup_timing.greeted = Some(now);
                self.start_hello(now);
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Greeting, reply);
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Greeting, reply)
            }
        }
    }

    pub(crate) fn start_hello(&mut self, now: Instant) {
        self.setup_timing.hello = Some(now);
        let name = self.config.client_name.clone();
        match self.config.protocol {
            Protocol::Smtp => self.command(|out| command::ehlo(out, &name)),
            Protocol::Lmtp => self.command(|out| command::lhlo(out, &name)),
        };
        self.phase = Phase::Ehlo;
        self.rearm = true;
    }

    fn handle_ehlo(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code().value(), reply.code().severity()) {
            (250, _) => {
                self.extensions = Extensions::parse(reply);
                for keyword in &self.config.ignored_keywords {
                    self.extensions.ignore(keyword);
                }
                self.after_hello(now);
            }
            // RFC 5321 section 3.2; but HELO can neither encrypt nor authenticate.
            (500 | 501 | 502 | 504 | 550, _) if !self.needs_extensions() => {
                let name = self.config.client_name.clone();
                self.command(|out| command::helo(out, &name));
                self.phase = Phase::Helo;
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Hello, reply)
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Hello, reply)
            }
        }
    }

    fn needs_extensions(&self) -> bool {
        let needs_tls = self.config.tls == TlsPolicy::Require && !self.is_tls();
        // LMTP has no HELO (RFC 2033 section 4.1).
        needs_tls
            || self.config.credentials.is_some()
            || self.config.xclient.is_some()
            || self.config.protocol == Protocol::Lmtp
    }

    fn handle_helo(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code(), reply.code().severity()) {
            (ReplyCode::OK, _) => {
                self.setup_timing.introduced = Some(now);
                self.become_ready(now);
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Hello, reply)
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Hello, reply)
            }
        }
    }

    fn after_hello(&mut self, now: Instant) {
        self.setup_timing.introduced = Some(now);
        // Behind XCLIENT it has been decided whether there is TLS.
        if self.is_tls() || self.config.tls == TlsPolicy::Off || self.untold.has_begun() {
            self.start_xclient(now);
        } else if self.extensions.starttls() {
            self.command(|out| out.extend_from_slice(command::STARTTLS));
            self.phase = Phase::StartTls;
        } else if self.config.tls == TlsPolicy::Require {
            self.close_politely(CloseReason::Unavailable(Requirement::Tls));
        } else {
            self.start_xclient(now);
        }
    }

    /// RFC 3207 section 4: only 220 starts TLS.
    fn handle_starttls(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code(), reply.code().severity()) {
            (ReplyCode::READY, _) => {
                self.phase = Phase::Handshake;
                self.emit(Event::StartTls);
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                if self.config.tls == TlsPolicy::Require {
                    self.refuse(Stage::StartTls, reply);
                } else {
                    self.start_xclient(now);
                }
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::StartTls, reply)
            }
        }
    }

    pub(crate) fn become_ready(&mut self, now: Instant) {
        self.setup_timing.ready = Some(now);
        self.phase = Phase::Ready;
        self.emit(Event::Ready);
    }

    /// The server does not want to begin.
    pub(crate) fn refuse(&mut self, stage: Stage, reply: Reply<'_>) {
        let reply = stored(reply);
        self.close_politely(CloseReason::Refused { stage, reply });
    }
}
