//! SASL exchanges (RFC 4422) from the client's side: one small machine a mechanism, which knows
//! neither AUTH nor replies.

mod key;
mod oauth;
mod scram;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use md5::Md5;
use posthaste_reply::Mechanism;
use zeroize::Zeroizing;

use crate::credentials::Credentials;
use crate::event::AuthFailure;
use crate::tls::ChannelBinding;

pub use key::{DerivedKey, KeyDerivation};
pub(crate) use key::{Hash, KeyCache};
pub(crate) use oauth::diagnostic as token_diagnostic;
use scram::Scram;

/// What a client says; wiped when dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// Most challenges in one exchange. LOGIN needs two, SCRAM three; the rest is room for a server
/// that asks for what it was given already.
pub(crate) const MAX_CHALLENGES: usize = 8;

/// What an exchange is told besides the credentials.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    /// Of the TLS connection, where there is one.
    pub(crate) channel_binding: Option<ChannelBinding>,
    /// Whether the server offers any mechanism with channel binding.
    pub(crate) offers_binding: bool,
    /// What nobody can guess; empty where SCRAM is out of the question.
    pub(crate) nonce: String,
    /// Host and port, as the user named them.
    pub(crate) server: Option<(&'a str, u16)>,
}

/// One exchange under way.
pub(crate) struct Exchange {
    mechanism: Mechanism,
    client: Client,
    /// Responses given.
    responses: usize,
    challenges: usize,
    /// The first response, which waits for the server to ask for it.
    deferred: Option<Secret>,
}

/// The mechanism's own state.
enum Client {
    /// Those with one response: PLAIN, EXTERNAL and CRAM-MD5.
    Single,
    Login,
    Scram(Box<Scram>),
    /// XOAUTH2 and OAUTHBEARER, before the server says more than yes or no.
    Bearer {
        /// What is said to an error before the server refuses for good.
        acknowledgement: &'static [u8],
    },
    /// The token was refused; all that is left is to hear it once more.
    BearerRefused,
}

/// What comes after a challenge. Without `Debug` but in tests, since responses are secrets.
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Step {
    Respond(Secret),
    /// A response, and what the server said about the token.
    Refused(Secret, Vec<u8>),
    /// First have this derived.
    Derive(KeyDerivation),
    /// End the exchange with `*`.
    Cancel(Cancelled),
    /// The exchange should have ended long ago.
    Endless,
}

/// Why this side ended an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The challenge was not one. Another mechanism may do.
    Undecodable,
    /// The server said within the exchange that it fails.
    Refused,
    /// The server is not to be trusted.
    Failed(AuthFailure),
}

impl Exchange {
    pub(crate) fn new(
        mechanism: Mechanism,
        credentials: &Credentials,
        surroundings: Surroundings<'_>,
    ) -> Self {
        let user = || Zeroizing::new(credentials.user().as_bytes().to_vec());
        let (binding, server) = (surroundings.channel_binding, surroundings.server);
        let scram = |hash, bound| {
            let (scram, first) = Scram::new(hash, bound, credentials, surroundings);
            (Client::Scram(Box::new(scram)), Some(first))
        };
        // RFC 7628 section 3.2.3 has an octet for OAUTHBEARER; XOAUTH2 wants an empty line.
        let bearer = |acknowledgement: &'static [u8], first| {
            (Client::Bearer { acknowledgement }, Some(first))
        };
        let (client, deferred) = match mechanism {
            Mechanism::Plain => (Client::Single, Some(plain(credentials))),
            Mechanism::Login => (Client::Login, credentials.login_starts_with_user().then(user)),
            Mechanism::CramMd5 => (Client::Single, None),
            Mechanism::ScramSha1 => scram(Hash::Sha1, None),
            Mechanism::ScramSha1Plus => scram(Hash::Sha1, binding),
            Mechanism::ScramSha256 => scram(Hash::Sha256, None),
            Mechanism::ScramSha256Plus => scram(Hash::Sha256, binding),
            Mechanism::XOAuth2 => bearer(b"", oauth::xoauth2(credentials)),
            Mechanism::OAuthBearer => bearer(b"\x01", oauth::oauthbearer(credentials, server)),
            Mechanism::External => (Client::Single, Some(user())),
        };
        Self { mechanism, client, responses: 0, challenges: 0, deferred }
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What goes on the AUTH line itself if it `fits`. Otherwise the server has to ask for it.
    pub(crate) fn initial_response(&mut self, fits: impl FnOnce(&[u8]) -> bool) -> Option<Secret> {
        let response = self.deferred.take_if(|response| fits(response))?;
        self.responses += 1;
        Some(response)
    }

    /// Answers the text of a challenge.
    pub(crate) fn handle_challenge(&mut self, credentials: &Credentials, text: &[u8]) -> Step {
        self.challenges += 1;
        if self.challenges > MAX_CHALLENGES {
            return Step::Endless;
        }
        if self.mechanism == Mechanism::Login {
            // Prompts vary so much, even in their encoding, that only their order counts.
            return self.handle_prompt(credentials);
        }
        let Ok(challenge) = STANDARD.decode(text) else {
            return Step::Cancel(Cancelled::Undecodable);
        };
        let step = match (self.deferred.take(), &mut self.client) {
            (Some(response), _) => Step::Respond(response),
            (None, Client::Scram(scram)) => scram.handle_challenge(credentials, &challenge),
            (None, Client::Single) if self.responses > 0 => Step::Endless,
            (None, Client::Single) => Step::Respond(cram_md5(credentials, &challenge)),
            (None, &mut Client::Bearer { acknowledgement }) => {
                self.client = Client::BearerRefused;
                Step::Refused(Zeroizing::new(acknowledgement.to_vec()), challenge)
            }
            (None, Client::Login | Client::BearerRefused) => Step::Endless,
        };
        if matches!(step, Step::Respond(_)) {
            self.responses += 1;
        }
        step
    }

    fn handle_prompt(&mut self, credentials: &Credentials) -> Step {
        let response = match (self.deferred.take(), self.responses) {
            (Some(user), _) => user,
            (None, 0) => Zeroizing::new(credentials.user().as_bytes().to_vec()),
            (None, 1) => Zeroizing::new(credentials.secret().as_bytes().to_vec()),
            (None, _) => return Step::Endless,
        };
        self.responses += 1;
        Step::Respond(response)
    }

    /// Goes on with the key that was asked for; `None` if none was.
    pub(crate) fn handle_key(&mut self, key: &DerivedKey) -> Option<Secret> {
        let Client::Scram(scram) = &mut self.client else { return None };
        scram.handle_key(key)
    }

    /// Whether it is not the server's turn but that of a [`KeyDerivation`].
    pub(crate) fn awaits_key(&self) -> bool {
        matches!(&self.client, Client::Scram(scram) if scram.awaits_key())
    }

    /// Whether everything has been said and heard that the mechanism has to say, so that success is
    /// believable.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.client {
            Client::Single | Client::Bearer { .. } => self.responses == 1,
            Client::Login => self.responses == 2,
            Client::Scram(scram) => scram.is_verified(),
            Client::BearerRefused => false,
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, responses, challenges, .. } = self;
        f.debug_struct("Exchange")
            .field("mechanism", mechanism)
            .field("responses", responses)
            .field("challenges", challenges)
            .finish_non_exhaustive()
    }
}

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd` (RFC 4616 section 2)
fn plain(credentials: &Credentials) -> Secret {
    concat(&[b"\0", credentials.user().as_bytes(), b"\0", credentials.secret().as_bytes()])
}

/// The user, a space, and the keyed digest of the challenge in lower-case hexadecimal (RFC 2195
/// section 2).
fn cram_md5(credentials: &Credentials, challenge: &[u8]) -> Secret {
    let digest = key::mac::<Hmac<Md5>>(credentials.secret().as_bytes(), challenge);
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    concat(&[credentials.user().as_bytes(), b" ", digest.as_bytes()])
}

/// Joins the parts in a buffer that never grows, or that would leave copies behind.
fn concat(parts: &[&[u8]]) -> Secret {
    let mut octets = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| octets.extend_from_slice(part));
    octets
}

#[cfg(test)]
mod tests;
