//! AUTH (RFC 4954): which mechanism is tried, and what its replies mean.

use std::time::Instant;

use posthaste_reply::{Mechanism, Reply, Severity};

use crate::command;
use crate::credentials::PlaintextAuth;
use crate::event::{CloseReason, Requirement, Speaker, Violation};
use crate::sasl::{Exchange, Secret};
use crate::session::{Phase, Session};
use crate::stage::Stage;

impl Session {
    /// Authenticates where credentials were given, with the mechanism behind `refused` in the order of preference.
    pub(crate) fn start_auth(&mut self, now: Instant, refused: Option<Mechanism>) {
        let Some(credentials) = &self.config.credentials else {
            return self.become_ready(now);
        };
        if !self.is_tls() && credentials.plaintext() == PlaintextAuth::Forbidden {
            return self.close_politely(CloseReason::Unavailable(Requirement::TlsForAuth));
        }
        let Some(mechanism) = self.next_mechanism(refused) else {
            return self.close_politely(CloseReason::Unavailable(Requirement::AuthMechanism));
        };
        let mut exchange = Exchange::new(mechanism);
        let response = exchange.initial_response(credentials);
        if self.config.transcript {
            let initial = if response.is_some() { " [redacted]" } else { "" };
            self.record(Speaker::Client, format!("AUTH {}{initial}", mechanism.name()));
        }
        let response = response.as_ref().map(|response| response.as_slice());
        self.transmit.push_secret(|out| command::auth(out, mechanism, response));
        self.phase = Phase::Auth(exchange);
    }

    fn next_mechanism(&self, refused: Option<Mechanism>) -> Option<Mechanism> {
        let allowed = self.config.credentials.as_ref()?.mechanisms();
        let tried =
            refused.and_then(|refused| allowed.iter().position(|&mechanism| mechanism == refused));
        let untried = allowed.get(tried.map_or(0, |index| index + 1)..)?;
        untried.iter().copied().find(|&mechanism| self.extensions.auth().contains(mechanism))
    }

    /// RFC 4954 section 4.
    pub(crate) fn handle_auth(&mut self, now: Instant, reply: Reply<'_>) {
        let Phase::Auth(exchange) = &mut self.phase else { return };
        match (reply.code().value(), reply.code().severity()) {
            (235, _) if exchange.is_complete() => self.become_ready(now),
            (334, _) => {
                let Some(credentials) = &self.config.credentials else { return };
                let response = exchange.handle_challenge(credentials);
                self.respond_to_challenge(now, response);
            }
            // The mechanism was refused, not the credentials: another one may do.
            (504 | 534, _) => {
                let refused = exchange.mechanism();
                match self.next_mechanism(Some(refused)) {
                    Some(_) => self.start_auth(now, Some(refused)),
                    None => self.refuse(Stage::Auth, reply),
                }
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Auth, reply)
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Auth, reply)
            }
        }
    }

    fn respond_to_challenge(&mut self, now: Instant, response: Option<Secret>) {
        let Some(response) = response else {
            return self.violate(now, Violation::EndlessAuth);
        };
        if self.config.transcript {
            self.record(Speaker::Client, "[redacted]".to_owned());
        }
        self.transmit.push_secret(|out| command::auth_response(out, &response));
    }
}
