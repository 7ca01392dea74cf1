//! AUTH PLAIN and LOGIN (RFC 4954, 4616).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::About;
use super::{Phase, Session};
use crate::command::Auth;
use crate::reply::{self, Reply};
use crate::stage::Stage;
use crate::stats::{Refusal, Violation};

/// An AUTH exchange that waits for a line from the client.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    LoginName,
    LoginPassword { name: Vec<u8> },
}

impl Session {
    pub(super) fn auth(&mut self, auth: Auth<'_>) {
        if self.authenticated || self.transaction.is_open() {
            self.violation(Violation::Sequence);
            return self.write(if self.authenticated {
                reply::ALREADY_AUTHENTICATED
            } else {
                reply::AUTH_IN_TRANSACTION
            });
        }
        let offered = self.offer().mechanisms.split(' ');
        let mut offered = offered.map(|name| name.as_bytes().eq_ignore_ascii_case(auth.mechanism));
        if !offered.any(|matches| matches) {
            self.violation(Violation::UnofferedExtension);
            return self.write(reply::UNKNOWN_MECHANISM);
        }
        let exchange = if auth.mechanism.eq_ignore_ascii_case(b"PLAIN") {
            Exchange::Plain
        } else if auth.mechanism.eq_ignore_ascii_case(b"LOGIN") {
            Exchange::LoginName
        } else {
            return self.write(reply::UNKNOWN_MECHANISM);
        };
        match auth.initial_response {
            Some(b"=") => self.take_response(exchange, Vec::new()),
            Some(response) => self.decode_response(exchange, response),
            None => self.challenge(exchange),
        }
    }

    /// Handles a line of an exchange; `rest` came in the same flight.
    pub(super) fn auth_response(&mut self, line: &[u8], rest: &[u8]) {
        if !rest.is_empty() {
            self.violation(Violation::BehindAuth);
        }
        let Phase::Auth(exchange) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        if line == b"*" {
            self.answer(Stage::Auth, About::default(), reply::AUTH_CANCELLED);
        } else {
            self.decode_response(exchange, line);
        }
    }

    fn decode_response(&mut self, exchange: Exchange, response: &[u8]) {
        match STANDARD.decode(response) {
            Ok(response) => self.take_response(exchange, response),
            Err(_) => {
                self.violation(Violation::Syntax);
                self.answer(Stage::Auth, About::default(), reply::BAD_BASE64);
            }
        }
    }

    fn take_response(&mut self, exchange: Exchange, response: Vec<u8>) {
        match exchange {
            Exchange::Plain => {
                // message = [authzid] NUL authcid NUL passwd
                let mut fields = response.split(|&b| b == 0);
                match (fields.next(), fields.next(), fields.next(), fields.next()) {
                    (Some(_), Some(name), Some(password), None) => self.check(name, password),
                    _ => self.check(b"", b""),
                }
            }
            Exchange::LoginName => self.challenge(Exchange::LoginPassword { name: response }),
            Exchange::LoginPassword { name } => self.check(&name, &response),
        }
    }

    fn challenge(&mut self, exchange: Exchange) {
        // The base64 of "Username:" and "Password:".
        let text = match exchange {
            Exchange::Plain => "",
            Exchange::LoginName => "VXNlcm5hbWU6",
            Exchange::LoginPassword { .. } => "UGFzc3dvcmQ6",
        };
        self.phase = Phase::Auth(exchange);
        self.write(Reply::new(334, "", text));
    }

    /// Ends the exchange. Comparing takes no constant time: these are the passwords of a test.
    fn check(&mut self, name: &[u8], password: &[u8]) {
        let users = &self.server.config.users;
        let known = users
            .iter()
            .any(|user| user.name.as_bytes() == name && user.password.as_bytes() == password);
        let anyone = users.is_empty() && !name.is_empty();
        let usual = if known || anyone {
            reply::AUTHENTICATED
        } else {
            self.refusal(Refusal::Credentials);
            reply::BAD_CREDENTIALS
        };
        let given = self.answer(Stage::Auth, About::default(), usual);
        self.authenticated = given.code.is_positive_completion();
    }
}
