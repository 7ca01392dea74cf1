//! SCRAM (RFC 5802, 7677, 9266) as a server sees it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::Digest;

use super::{Exchange, Verdict};
use crate::config::User;
use crate::server::{Server, address_hash};

/// Iterations that are announced: as few as may be (RFC 7677 section 4), since this is a test.
const ITERATIONS: u32 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

/// What a server keeps of one user, by hash function, made when it is first needed.
#[derive(Debug)]
pub(crate) struct Keyring {
    salt: [u8; 16],
    sha1: OnceLock<Keys>,
    sha256: OnceLock<Keys>,
}

#[derive(Debug)]
struct Keys {
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keyring {
    pub(crate) fn new(user: &User, seed: u64) -> Self {
        let mut salt = [0; 16];
        fastrand::Rng::with_seed(seed ^ address_hash(user.name.as_bytes())).fill(&mut salt);
        Self { salt, sha1: OnceLock::new(), sha256: OnceLock::new() }
    }

    fn keys(&self, hash: Hash, user: &User) -> &Keys {
        let keys = match hash {
            Hash::Sha1 => &self.sha1,
            Hash::Sha256 => &self.sha256,
        };
        keys.get_or_init(|| {
            let salted = hash.salted(user.password.as_bytes(), &self.salt);
            let stored = hash.digest(&hash.hmac(&salted, b"Client Key"));
            Keys { stored, server: hash.hmac(&salted, b"Server Key") }
        })
    }
}

impl Hash {
    fn digest(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(octets).to_vec(),
            Self::Sha256 => Sha256::digest(octets).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => super::mac::<Hmac<Sha1>>(key, octets),
            Self::Sha256 => super::mac::<Hmac<Sha256>>(key, octets),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => {
                let mut key = vec![0; 20];
                pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, ITERATIONS, &mut key);
                key
            }
            Self::Sha256 => {
                let mut key = vec![0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ITERATIONS, &mut key);
                key
            }
        }
    }
}

/// One exchange.
#[derive(Debug)]
pub(in crate::session) struct Scram {
    hash: Hash,
    /// The data that a client with -PLUS must know.
    binding: Option<[u8; 32]>,
    is_plus: bool,
    /// Whether any -PLUS was offered, so that `y` cannot be true.
    offers_plus: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    Final {
        /// Which of the server's users it is, if any.
        user: Option<usize>,
        /// What `c=` has to say.
        binding: String,
        nonce: String,
        /// The messages so far, as they are signed.
        messages: String,
    },
    /// The server has proven itself, and the client is to take note.
    Acknowledgement,
}

impl Scram {
    pub(super) fn new(
        hash: Hash,
        binding: Option<[u8; 32]>,
        is_plus: bool,
        offers_plus: bool,
    ) -> Self {
        Self { hash, binding, is_plus, offers_plus, state: State::First }
    }

    /// Takes a response of the client.
    pub(super) fn take(
        mut self: Box<Self>,
        server: &Server,
        nonce: &str,
        response: &[u8],
    ) -> Verdict {
        let Ok(response) = str::from_utf8(response) else { return Verdict::Garbled };
        match std::mem::replace(&mut self.state, State::Acknowledgement) {
            State::First => self.take_first(server, nonce, response),
            State::Final { user, binding, nonce, messages } => {
                let Some((without_proof, proof)) = response.rsplit_once(",p=") else {
                    return Verdict::Garbled;
                };
                if without_proof != format!("c={binding},r={nonce}") {
                    return Verdict::Refused;
                }
                let message = format!("{messages},{without_proof}");
                let signature = user.and_then(|user| self.signature(server, user, &message, proof));
                match signature {
                    Some(signature) => {
                        let verifier = format!("v={}", STANDARD.encode(signature)).into_bytes();
                        Verdict::Challenge(Exchange::Scram(self), verifier)
                    }
                    None => Verdict::Refused,
                }
            }
            State::Acknowledgement if response.is_empty() => Verdict::Accepted,
            State::Acknowledgement => Verdict::Garbled,
        }
    }

    /// `client-first-message = gs2-header client-first-message-bare`
    fn take_first(mut self: Box<Self>, server: &Server, suffix: &str, message: &str) -> Verdict {
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Verdict::Garbled;
        };
        let Some((name, nonce)) = bare.strip_prefix("n=").and_then(|bare| bare.split_once(",r="))
        else {
            return Verdict::Garbled;
        };
        let Some(name) = unescaped(name).filter(|_| !nonce.is_empty()) else {
            return Verdict::Garbled;
        };
        let is_fitting = match flag {
            "p=tls-exporter" => self.is_plus && self.binding.is_some(),
            // Somebody between has taken -PLUS out of the list.
            "y" => !self.is_plus && !self.offers_plus,
            "n" => !self.is_plus,
            _ => false,
        };
        if !is_fitting {
            return Verdict::Refused;
        }
        let header = format!("{flag},{authzid},");
        let data = self.binding.filter(|_| self.is_plus);
        let binding = [header.as_bytes(), data.as_ref().map_or(&[], |data| &data[..])].concat();
        let binding = STANDARD.encode(binding);
        let users = &server.config.users;
        let user = users.iter().position(|user| user.name == name);
        // Nobody is told who exists.
        let salt =
            user.and_then(|user| server.keyrings.get(user)).map_or([0; 16], |ring| ring.salt);
        let nonce = format!("{nonce}{suffix}");
        let first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(salt));
        let messages = format!("{bare},{first}");
        self.state = State::Final { user, binding, nonce, messages };
        Verdict::Challenge(Exchange::Scram(self), first.into_bytes())
    }

    /// The server's signature, if the proof is right.
    fn signature(
        &self,
        server: &Server,
        user: usize,
        message: &str,
        proof: &str,
    ) -> Option<Vec<u8>> {
        let hash = self.hash;
        let keys = server.keyrings.get(user)?.keys(hash, server.config.users.get(user)?);
        let proof = STANDARD.decode(proof).ok()?;
        let signature = hash.hmac(&keys.stored, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let is_right = proof.len() == signature.len() && hash.digest(&client_key) == keys.stored;
        is_right.then(|| hash.hmac(&keys.server, message.as_bytes()))
    }
}

/// A name without the escapes of `saslname`.
pub(super) fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut unescaped = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        unescaped.push(character);
        unescaped.push_str(rest);
    }
    Some(unescaped)
}
