//! SCRAM (RFC 5802, 7677), with and without channel binding (RFC 9266).
//!
//! ```text
//! C: client-first    n,,n=user,r=NONCE
//! S: server-first    r=NONCE+,s=SALT,i=ITERATIONS
//! C: client-final    c=BINDING,r=NONCE+,p=PROOF
//! S: server-final    v=SIGNATURE
//! C:                                             (an empty line, since 235 carries no data)
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::credentials::Credentials;
use crate::event::AuthFailure;
use crate::tls::ChannelBinding;

use super::key::Salting;
use super::{Cancelled, DerivedKey, Hash, KeyDerivation, Secret, Step, Surroundings};

/// Fewest iterations that are accepted: the least that RFC 7677 section 4 has servers announce.
const MIN_ITERATIONS: u32 = 4096;

/// Most iterations that are accepted: about a second of computing. Servers announce up to 600 000.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The client's side of one exchange.
pub(super) struct Scram {
    hash: Hash,
    /// What `c=` says: the GS2 header and the channel binding's data, in base64.
    binding: String,
    nonce: String,
    state: State,
}

enum State {
    /// The client's first message is out, or about to be.
    First {
        bare: String,
    },
    /// The key is being derived.
    Key {
        auth_message: String,
        without_proof: String,
    },
    /// The proof is out.
    Proof {
        signature: Secret,
    },
    /// The server has proven that it knows the password, too.
    Verified,
    Failed,
}

impl Scram {
    /// An exchange, bound to the TLS connection or not, and its first message.
    pub(super) fn new(
        hash: Hash,
        bound: Option<ChannelBinding>,
        credentials: &Credentials,
        surroundings: Surroundings<'_>,
    ) -> (Self, Secret) {
        let gs2_header = match (bound, surroundings.channel_binding) {
            (Some(_), _) => "p=tls-exporter,,",
            // RFC 5802 section 6: this lets a server that does offer channel binding see that
            // somebody took it out of the list.
            (None, Some(_)) if !surroundings.offers_binding => "y,,",
            (None, _) => "n,,",
        };
        let mut binding = gs2_header.as_bytes().to_vec();
        binding.extend_from_slice(bound.as_ref().map_or(&[], ChannelBinding::as_bytes));
        let nonce = surroundings.nonce;
        let bare = format!("n={},r={nonce}", escaped(credentials.user()));
        let first = Zeroizing::new(format!("{gs2_header}{bare}").into_bytes());
        let binding = STANDARD.encode(binding);
        (Self { hash, binding, nonce, state: State::First { bare } }, first)
    }

    pub(super) fn handle_challenge(&mut self, credentials: &Credentials, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::First { bare } => self.handle_server_first(credentials, &bare, message),
            State::Proof { signature } => self.handle_server_final(&signature, message),
            State::Key { .. } | State::Verified | State::Failed => Step::Endless,
        }
    }

    /// `server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count
    /// ["," extensions]`
    fn handle_server_first(
        &mut self,
        credentials: &Credentials,
        bare: &str,
        message: &[u8],
    ) -> Step {
        let (message, first) = match ServerFirst::parse(message) {
            Ok(parsed) => parsed,
            Err(failure) => return Step::Cancel(Cancelled::Failed(failure)),
        };
        let fresh = first.nonce.strip_prefix(self.nonce.as_str());
        if fresh.is_none_or(str::is_empty) {
            return Step::Cancel(Cancelled::Failed(AuthFailure::Nonce));
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&first.iterations) {
            let failure = AuthFailure::Iterations(first.iterations);
            return Step::Cancel(Cancelled::Failed(failure));
        }
        let without_proof = format!("c={},r={}", self.binding, first.nonce);
        let auth_message = format!("{bare},{message},{without_proof}");
        self.state = State::Key { auth_message, without_proof };
        let ServerFirst { salt, iterations, .. } = first;
        let salting = Salting { hash: self.hash, salt: salt.into(), iterations };
        let identity = credentials.identity();
        match identity.keys().find(&salting).and_then(|key| self.handle_key(&key)) {
            Some(response) => Step::Respond(response),
            None => Step::Derive(KeyDerivation { identity: identity.clone(), salting }),
        }
    }

    /// The client's final message (RFC 5802 section 3).
    pub(super) fn handle_key(&mut self, key: &DerivedKey) -> Option<Secret> {
        let State::Key { auth_message, without_proof } = &self.state else { return None };
        let hash = self.hash;
        let mut proof = hash.hmac(key.as_bytes(), b"Client Key");
        let stored_key = hash.digest(&proof);
        let client_signature = hash.hmac(&stored_key, auth_message.as_bytes());
        proof.iter_mut().zip(client_signature.iter()).for_each(|(key, octet)| *key ^= octet);
        let server_key = hash.hmac(key.as_bytes(), b"Server Key");
        let signature = hash.hmac(&server_key, auth_message.as_bytes());
        let proof = Zeroizing::new(STANDARD.encode(&*proof));
        let response = super::concat(&[without_proof.as_bytes(), b",p=", proof.as_bytes()]);
        self.state = State::Proof { signature };
        Some(response)
    }

    /// `server-final-message = (server-error / verifier) ["," extensions]`
    fn handle_server_final(&mut self, expected: &Secret, message: &[u8]) -> Step {
        let first = message.split(|&octet| octet == b',').next().unwrap_or_default();
        if first.starts_with(b"e=") {
            return Step::Cancel(Cancelled::Refused);
        }
        let signature = first.strip_prefix(b"v=").and_then(|text| STANDARD.decode(text).ok());
        let is_right =
            signature.is_some_and(|signature| bool::from(signature.ct_eq(expected.as_slice())));
        if !is_right {
            return Step::Cancel(Cancelled::Failed(AuthFailure::ServerSignature));
        }
        self.state = State::Verified;
        Step::Respond(Secret::default())
    }

    pub(super) fn awaits_key(&self) -> bool {
        matches!(self.state, State::Key { .. })
    }

    pub(super) fn is_verified(&self) -> bool {
        matches!(self.state, State::Verified)
    }
}

/// What the server's first message says.
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Reads a message, and gives it back as text.
    fn parse(message: &'a [u8]) -> Result<(&'a str, Self), AuthFailure> {
        let message = str::from_utf8(message).map_err(|_| AuthFailure::Syntax)?;
        let mut attributes = message.split(',');
        let mut value = |name: &str| {
            let attribute = attributes.next()?;
            attribute.strip_prefix(name)?.strip_prefix('=').filter(|value| !value.is_empty())
        };
        if message.starts_with("m=") {
            // An extension that must not be ignored (RFC 5802 section 5.1).
            return Err(AuthFailure::Extension);
        }
        let nonce = value("r").filter(|nonce| nonce.bytes().all(|b| b.is_ascii_graphic()));
        let salt = value("s").and_then(|salt| STANDARD.decode(salt).ok());
        let iterations = value("i").filter(|count| count.bytes().all(|b| b.is_ascii_digit()));
        let (Some(nonce), Some(salt), Some(iterations)) = (nonce, salt, iterations) else {
            return Err(AuthFailure::Syntax);
        };
        // What is too large for a number is too large anyway.
        let iterations = iterations.parse().unwrap_or(u32::MAX);
        Ok((message, Self { nonce, salt, iterations }))
    }
}

/// `saslname`: `,` and `=` would end the attribute or begin another (RFC 5802 section 5.1).
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}
