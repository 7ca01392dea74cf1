//! AUTH (RFC 4954), from the server's side.

mod scram;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;

use super::answer::About;
use super::{Phase, Session};
use crate::command::Auth;
use crate::config::User;
use crate::reply::{self, Reply};
use crate::stage::Stage;
use crate::stats::{Refusal, Violation};

pub(crate) use scram::Keyring;
use scram::{Hash, Scram};

/// An AUTH exchange that waits for a line from the client.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    LoginName,
    LoginPassword {
        name: Vec<u8>,
    },
    CramMd5 {
        challenge: String,
    },
    Scram(Box<Scram>),
    /// XOAUTH2 or OAUTHBEARER, which differ in what they send around user and token.
    Bearer(Bearer),
    /// The token is wrong; the client is to say that it has heard why.
    BearerRefused(Bearer),
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    XOAuth2,
    OAuthBearer,
}

/// What becomes of an exchange after a response.
#[derive(Debug)]
enum Verdict {
    /// It goes on, with this challenge.
    Challenge(Exchange, Vec<u8>),
    Accepted,
    Refused,
    /// The response is none of this mechanism.
    Garbled,
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
        let Some(exchange) = self.begin(&auth.mechanism.to_ascii_uppercase()) else {
            return self.write(reply::UNKNOWN_MECHANISM);
        };
        match (auth.initial_response, exchange) {
            // The server speaks first.
            (Some(_), Exchange::CramMd5 { .. }) => self.garbled(),
            (Some(b"="), exchange) => self.take_response(exchange, Vec::new()),
            (Some(response), exchange) => self.decode_response(exchange, response),
            (None, exchange) => {
                let challenge = match &exchange {
                    Exchange::LoginName => b"Username:".to_vec(),
                    Exchange::CramMd5 { challenge } => challenge.clone().into_bytes(),
                    _ => Vec::new(),
                };
                self.challenge(exchange, &challenge);
            }
        }
    }

    /// An exchange by the mechanism of this name.
    fn begin(&self, mechanism: &[u8]) -> Option<Exchange> {
        let scram = |hash, is_plus| {
            let offers_plus = self.offer().mechanisms.to_ascii_uppercase().contains("-PLUS");
            let binding = self.channel_binding.filter(|_| is_plus);
            Exchange::Scram(Box::new(Scram::new(hash, binding, is_plus, offers_plus)))
        };
        Some(match mechanism {
            b"PLAIN" => Exchange::Plain,
            b"LOGIN" => Exchange::LoginName,
            b"CRAM-MD5" => {
                let hostname = &self.server.config.hostname;
                Exchange::CramMd5 { challenge: format!("<{}@{hostname}>", self.nonce()) }
            }
            b"SCRAM-SHA-1" => scram(Hash::Sha1, false),
            b"SCRAM-SHA-1-PLUS" => scram(Hash::Sha1, true),
            b"SCRAM-SHA-256" => scram(Hash::Sha256, false),
            b"SCRAM-SHA-256-PLUS" => scram(Hash::Sha256, true),
            b"XOAUTH2" => Exchange::Bearer(Bearer::XOAuth2),
            b"OAUTHBEARER" => Exchange::Bearer(Bearer::OAuthBearer),
            b"EXTERNAL" => Exchange::External,
            _ => return None,
        })
    }

    /// What no other connection has: the same each time for one seed, as all that is random here.
    fn nonce(&self) -> String {
        let seed = self.server.config.seed ^ self.connection.wrapping_mul(super::SEED_STEP);
        let mut dice = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| dice.alphanumeric()).take(NONCE).collect()
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
            Err(_) => self.garbled(),
        }
    }

    fn take_response(&mut self, exchange: Exchange, response: Vec<u8>) {
        match self.judge(exchange, response) {
            Verdict::Challenge(exchange, challenge) => self.challenge(exchange, &challenge),
            Verdict::Accepted => self.end_exchange(reply::AUTHENTICATED),
            Verdict::Refused => {
                self.refusal(Refusal::Credentials);
                self.end_exchange(reply::BAD_CREDENTIALS);
            }
            Verdict::Garbled => self.garbled(),
        }
    }

    fn judge(&self, exchange: Exchange, response: Vec<u8>) -> Verdict {
        match exchange {
            Exchange::Plain => {
                // message = [authzid] NUL authcid NUL passwd
                let mut fields = response.split(|&b| b == 0);
                match (fields.next(), fields.next(), fields.next(), fields.next()) {
                    (Some(_), Some(name), Some(password), None) => self.check(name, password),
                    _ => Verdict::Refused,
                }
            }
            Exchange::LoginName => Verdict::Challenge(
                Exchange::LoginPassword { name: response },
                b"Password:".to_vec(),
            ),
            Exchange::LoginPassword { name } => self.check(&name, &response),
            Exchange::CramMd5 { challenge } => self.check_digest(&challenge, &response),
            Exchange::Scram(scram) => scram.take(&self.server, &self.nonce(), &response),
            Exchange::Bearer(kind) => match kind.parse(&response) {
                Some((user, token)) => match self.check(&user, token) {
                    Verdict::Accepted => Verdict::Accepted,
                    _ => {
                        let error = br#"{"status":"invalid_token","schemes":"bearer"}"#;
                        Verdict::Challenge(Exchange::BearerRefused(kind), error.to_vec())
                    }
                },
                None => Verdict::Garbled,
            },
            Exchange::BearerRefused(kind) if response == kind.acknowledgement() => Verdict::Refused,
            Exchange::BearerRefused(_) => Verdict::Garbled,
            // Whoever comes by TLS is believed: the sink asks for no certificate.
            Exchange::External if !self.tls_active => Verdict::Refused,
            Exchange::External => {
                let users = &self.server.config.users;
                let is_known = users.iter().any(|user| user.name.as_bytes() == response);
                let accepted = response.is_empty() || users.is_empty() || is_known;
                if accepted { Verdict::Accepted } else { Verdict::Refused }
            }
        }
    }

    fn challenge(&mut self, exchange: Exchange, challenge: &[u8]) {
        self.phase = Phase::Auth(exchange);
        self.write(Reply::bare(format!("334 {}", STANDARD.encode(challenge)).as_bytes()));
    }

    fn garbled(&mut self) {
        self.violation(Violation::Syntax);
        self.answer(Stage::Auth, About::default(), reply::BAD_BASE64);
    }

    /// Comparing takes no constant time: these are the passwords of a test.
    fn check(&self, name: &[u8], password: &[u8]) -> Verdict {
        let users = &self.server.config.users;
        let known = users
            .iter()
            .any(|user| user.name.as_bytes() == name && user.password.as_bytes() == password);
        let anyone = users.is_empty() && !name.is_empty();
        if known || anyone { Verdict::Accepted } else { Verdict::Refused }
    }

    /// `user SP digest` (RFC 2195 section 2)
    fn check_digest(&self, challenge: &str, response: &[u8]) -> Verdict {
        let Some(space) = memchr::memrchr(b' ', response) else { return Verdict::Garbled };
        let (name, digest) = (&response[..space], &response[space + 1..]);
        let is_right = |user: &&User| {
            let expected = mac::<Hmac<Md5>>(user.password.as_bytes(), challenge.as_bytes());
            let expected: String = expected.iter().map(|octet| format!("{octet:02x}")).collect();
            user.name.as_bytes() == name && expected.as_bytes() == digest
        };
        let is_known = self.server.config.users.iter().find(is_right).is_some();
        if is_known { Verdict::Accepted } else { Verdict::Refused }
    }

    fn end_exchange(&mut self, usual: Reply<'_>) {
        let given = self.answer(Stage::Auth, About::default(), usual);
        self.authenticated = given.code.is_positive_completion();
    }
}

impl Bearer {
    /// The user and the token in a client's response.
    fn parse(self, response: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let mut pairs = response.strip_suffix(b"\x01\x01")?.split(|&b| b == 0x01);
        let first = pairs.next()?;
        let user = match self {
            Self::XOAuth2 => first.strip_prefix(b"user=")?.to_vec(),
            Self::OAuthBearer => {
                let user = first.strip_prefix(b"n,a=")?.strip_suffix(b",")?;
                scram::unescaped(str::from_utf8(user).ok()?)?.into_bytes()
            }
        };
        Some((user, pairs.find_map(|pair| pair.strip_prefix(b"auth=Bearer "))?))
    }

    /// What a client says to an error (RFC 7628 section 3.2.3).
    fn acknowledgement(self) -> &'static [u8] {
        match self {
            Self::XOAuth2 => b"",
            Self::OAuthBearer => b"\x01",
        }
    }
}

/// The code that authenticates octets, by any kind of HMAC.
fn mac<M: Mac + KeyInit>(key: &[u8], octets: &[u8]) -> Vec<u8> {
    let mac = M::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(octets).finalize().into_bytes().to_vec()
}

/// Characters of a nonce: more than 128 bits.
const NONCE: usize = 24;
