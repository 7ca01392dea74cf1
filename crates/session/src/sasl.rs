//! SASL exchanges (RFC 4422) as far as a session needs them: one response for each challenge.

use posthaste_reply::Mechanism;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

/// What a client says; wiped when dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// Most challenges in one exchange. LOGIN needs two, SCRAM three.
pub(crate) const MAX_CHALLENGES: usize = 8;

/// One exchange under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    mechanism: Mechanism,
    /// Responses given, the initial one included.
    responses: usize,
    challenges: usize,
}

impl Exchange {
    pub(crate) fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, responses: 0, challenges: 0 }
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What goes on the AUTH line itself.
    pub(crate) fn initial_response(&mut self, credentials: &Credentials) -> Option<Secret> {
        match self.mechanism {
            Mechanism::Plain => self.respond(credentials),
            Mechanism::Login if credentials.login_starts_with_user() => self.respond(credentials),
            _ => None,
        }
    }

    /// Answers a challenge. `None`: the exchange should have ended by now.
    ///
    /// Neither mechanism reads the challenge: PLAIN has none, and the prompts of LOGIN vary so much that
    /// only their order can be relied upon.
    pub(crate) fn handle_challenge(&mut self, credentials: &Credentials) -> Option<Secret> {
        self.challenges += 1;
        if self.challenges > MAX_CHALLENGES {
            return None;
        }
        self.respond(credentials)
    }

    /// Whether everything has been said that the mechanism has to say, so that success is believable.
    pub(crate) fn is_complete(&self) -> bool {
        self.responses == self.expected_responses()
    }

    fn expected_responses(&self) -> usize {
        if self.mechanism == Mechanism::Login { 2 } else { 1 }
    }

    fn respond(&mut self, credentials: &Credentials) -> Option<Secret> {
        if self.is_complete() {
            return None;
        }
        self.responses += 1;
        let (user, password) = (credentials.user().as_bytes(), credentials.password().as_bytes());
        match self.mechanism {
            // message = [authzid] NUL authcid NUL passwd (RFC 4616 section 2)
            Mechanism::Plain => {
                let mut response =
                    Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
                response.push(0);
                response.extend_from_slice(user);
                response.push(0);
                response.extend_from_slice(password);
                Some(response)
            }
            Mechanism::Login if self.responses == 1 => Some(Zeroizing::new(user.to_vec())),
            Mechanism::Login => Some(Zeroizing::new(password.to_vec())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_says_all_at_once() {
        // PLAIN-01
        let credentials = Credentials::new("tim", "tanstaaftanstaaf").unwrap();
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert!(!exchange.is_complete());
        assert_eq!(
            **exchange.initial_response(&credentials).unwrap(),
            b"\0tim\0tanstaaftanstaaf"[..]
        );
        assert!(exchange.is_complete());
        assert!(exchange.handle_challenge(&credentials).is_none());
    }

    #[test]
    fn login_answers_two_prompts_in_order() {
        // LOGIN-01
        let credentials = Credentials::new("tim", "secret").unwrap();
        let mut exchange = Exchange::new(Mechanism::Login);
        assert!(exchange.initial_response(&credentials).is_none());
        assert_eq!(**exchange.handle_challenge(&credentials).unwrap(), b"tim"[..]);
        assert!(!exchange.is_complete());
        assert_eq!(**exchange.handle_challenge(&credentials).unwrap(), b"secret"[..]);
        assert!(exchange.is_complete());
        assert!(exchange.handle_challenge(&credentials).is_none()); // AUTH-18
    }

    #[test]
    fn login_can_begin_with_the_user() {
        // LOGIN-02
        let credentials = Credentials::new("tim", "secret").unwrap().with_login_initial_response();
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(**exchange.initial_response(&credentials).unwrap(), b"tim"[..]);
        assert_eq!(**exchange.handle_challenge(&credentials).unwrap(), b"secret"[..]);
    }
}
