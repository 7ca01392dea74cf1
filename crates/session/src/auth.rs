//! AUTH (RFC 4954): which mechanism is tried, and what the replies mean.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthaste_reply::{Mechanism, Reply, Severity};

use crate::command;
use crate::credentials::{Credentials, InitialResponse, PlaintextAuth};
use crate::event::{CloseReason, Event, Requirement, Speaker, Violation};
use crate::sasl::{Cancelled, DerivedKey, Exchange, Secret, Step, Surroundings, token_diagnostic};
use crate::scrub::Scrubber;
use crate::session::{Phase, Session};
use crate::stage::Stage;

/// Octets of a command line with its line end (RFC 5321 section 4.5.3.1.4).
const MAX_COMMAND: usize = 512;

/// What stands in a transcript instead of a secret. It does not even say how long that was.
const REDACTED: &str = "[redacted]";

impl Session {
    /// Authenticates where credentials were given, with the mechanism behind `refused` in the order
    /// of preference.
    pub(crate) fn start_auth(&mut self, now: Instant, refused: Option<Mechanism>) {
        let Some(credentials) = self.config.credentials.clone() else {
            return self.become_ready(now);
        };
        if !self.is_tls() && credentials.plaintext() == PlaintextAuth::Forbidden {
            return self.close_politely(CloseReason::Unavailable(Requirement::TlsForAuth));
        }
        let Some(mechanism) = self.next_mechanism(refused) else {
            return self.close_politely(CloseReason::Unavailable(Requirement::AuthMechanism));
        };
        if refused.is_none() {
            self.scrubber = Scrubber::new(&credentials);
        }
        let surroundings = self.surroundings(mechanism);
        let mut exchange = Exchange::new(mechanism, &credentials, surroundings);
        let response =
            exchange.initial_response(|response| fits_command(&credentials, mechanism, response));
        if self.config.transcript {
            let line = match response {
                Some(_) => format!("AUTH {mechanism} {REDACTED}"),
                None => format!("AUTH {mechanism}"),
            };
            self.record(Speaker::Client, line);
        }
        let response = response.as_ref().map(|response| response.as_slice());
        self.scrubber.add_response(response.unwrap_or_default());
        self.transmit.push_secret(|out| command::auth(out, mechanism, response));
        self.framer.set_limits(self.config.limits.with_challenges());
        self.phase = Phase::Auth(exchange);
    }

    /// What the mechanism may want to know.
    fn surroundings(&self, mechanism: Mechanism) -> Surroundings<'_> {
        let offered = self.extensions.auth();
        let nonce = self.config.entropy.as_ref().map_or_else(String::new, |entropy| {
            // Each mechanism has a nonce of its own, should a session try several.
            format!("{}{}", STANDARD.encode(entropy.as_bytes()), mechanism as u8)
        });
        Surroundings {
            channel_binding: self.tls.and_then(|tls| tls.channel_binding),
            offers_binding: offered.contains(Mechanism::ScramSha1Plus)
                || offered.contains(Mechanism::ScramSha256Plus),
            nonce,
            server: self.config.server.as_ref().map(|server| (server.host.as_str(), server.port)),
        }
    }

    fn next_mechanism(&self, refused: Option<Mechanism>) -> Option<Mechanism> {
        let allowed = self.config.credentials.as_ref()?.mechanisms();
        let tried =
            refused.and_then(|refused| allowed.iter().position(|&mechanism| mechanism == refused));
        let untried = allowed.get(tried.map_or(0, |index| index + 1)..)?;
        untried.iter().copied().find(|&mechanism| {
            self.extensions.auth().contains(mechanism) && self.is_capable_of(mechanism)
        })
    }

    /// Whether there is what the mechanism takes beside credentials.
    fn is_capable_of(&self, mechanism: Mechanism) -> bool {
        let has_nonce = self.config.entropy.is_some();
        match mechanism {
            Mechanism::ScramSha1Plus | Mechanism::ScramSha256Plus => {
                has_nonce && self.tls.is_some_and(|tls| tls.channel_binding.is_some())
            }
            Mechanism::ScramSha1 | Mechanism::ScramSha256 => has_nonce,
            Mechanism::Plain
            | Mechanism::Login
            | Mechanism::CramMd5
            | Mechanism::XOAuth2
            | Mechanism::OAuthBearer
            | Mechanism::External => true,
        }
    }

    /// RFC 4954 section 4.
    pub(crate) fn handle_auth(&mut self, now: Instant, reply: Reply<'_>) {
        let Phase::Auth(exchange) = &mut self.phase else { return };
        if exchange.awaits_key() {
            return self.violate(now, Violation::Surplus);
        }
        match (reply.code().value(), reply.code().severity()) {
            (235, _) if exchange.is_complete() => {
                self.framer.set_limits(self.config.limits);
                self.become_ready(now);
            }
            (334, _) => {
                let Some(credentials) = &self.config.credentials else { return };
                let mut lines = reply.lines();
                let step = match (lines.next(), lines.next()) {
                    (text, None) => {
                        exchange.handle_challenge(credentials, text.unwrap_or_default())
                    }
                    (_, Some(_)) => Step::Cancel(Cancelled::Undecodable),
                };
                self.take_step(now, step);
            }
            // The mechanism was refused, not the credentials: another one may do.
            (504 | 534, _) => {
                let refused = exchange.mechanism();
                self.try_next(now, refused, reply);
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Auth, reply)
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Auth, reply)
            }
        }
    }

    /// The reply to `*`, which is 501 (RFC 4954 section 4), or what a server says instead.
    pub(crate) fn handle_cancelled(&mut self, now: Instant, reply: Reply<'_>) {
        let Phase::AuthCancelled { mechanism, cancelled } = self.phase else { return };
        match reply.code().severity() {
            Severity::PositiveCompletion | Severity::PositiveIntermediate => {
                self.unexpected(now, Stage::Auth, reply)
            }
            Severity::TransientNegative | Severity::PermanentNegative => match cancelled {
                // Whatever else it says, it does not ask for a weaker mechanism.
                Cancelled::Undecodable if matches!(reply.code().value(), 500 | 501 | 504 | 534) => {
                    self.try_next(now, mechanism, reply)
                }
                Cancelled::Undecodable => self.refuse(Stage::Auth, reply),
                Cancelled::Refused => self.refuse(Stage::Auth, reply),
                Cancelled::Failed(failure) => {
                    let (stage, violation) = (Stage::Auth, Violation::Auth(failure));
                    self.close_politely(CloseReason::Violation { stage, violation });
                }
            },
        }
    }

    fn try_next(&mut self, now: Instant, refused: Mechanism, reply: Reply<'_>) {
        match self.next_mechanism(Some(refused)) {
            Some(_) => self.start_auth(now, Some(refused)),
            None => self.refuse(Stage::Auth, reply),
        }
    }

    fn take_step(&mut self, now: Instant, step: Step) {
        match step {
            Step::Respond(response) => self.respond(&response),
            Step::Refused(response, diagnostic) => {
                let diagnostic = self.scrubber.scrub(&diagnostic);
                self.emit(Event::TokenRefused(token_diagnostic(&diagnostic)));
                self.respond(&response);
            }
            Step::Derive(derivation) => self.emit(Event::DeriveKey(derivation)),
            Step::Cancel(cancelled) => {
                let Phase::Auth(exchange) = &self.phase else { return };
                let mechanism = exchange.mechanism();
                self.phase = Phase::AuthCancelled { mechanism, cancelled };
                self.command(|out| out.extend_from_slice(command::CANCEL_AUTH));
            }
            Step::Endless => self.violate(now, Violation::EndlessAuth),
        }
    }

    fn respond(&mut self, response: &Secret) {
        if self.config.transcript {
            self.record(Speaker::Client, REDACTED.to_owned());
        }
        self.scrubber.add_response(response);
        self.transmit.push_secret(|out| command::auth_response(out, response));
    }

    /// Takes the key that [`Event::DeriveKey`] asked for. One that nobody waits for any more is
    /// dropped.
    pub fn key_derived(&mut self, now: Instant, key: DerivedKey) {
        let Phase::Auth(exchange) = &mut self.phase else { return };
        let Some(response) = exchange.handle_key(&key) else { return };
        self.respond(&response);
        self.rearm = true;
        self.settle(now);
    }
}

fn fits_command(credentials: &Credentials, mechanism: Mechanism, response: &[u8]) -> bool {
    match credentials.initial_response() {
        InitialResponse::Always => true,
        InitialResponse::Never => false,
        InitialResponse::WhereItFits => {
            let encoded = response.len().div_ceil(3) * 4;
            "AUTH ".len() + mechanism.name().len() + " ".len() + encoded + "\r\n".len()
                <= MAX_COMMAND
        }
    }
}
