//! Whom to log in as, and how.

use std::fmt;
use std::sync::Arc;

use posthaste_reply::Mechanism;
use zeroize::Zeroizing;

use crate::sasl::KeyCache;

/// Longest user name or password in octets (RFC 4616 section 2).
const MAX_FIELD: usize = 255;

/// Longest token in octets: with the user name around it, its base64 still fits the 12 288 octets
/// that RFC 4954 section 4 lets a response have.
const MAX_TOKEN: usize = 8192;

/// A user, a secret, and the mechanisms they may be used with.
///
/// The secret is kept once for all clones, is wiped from memory when the last of them is dropped,
/// and shows in no `Debug` output.
///
/// # Examples
///
/// ```
/// use posthaste_session::Credentials;
/// use posthaste_session::reply::Mechanism;
///
/// let strongest = Credentials::new("news@a.example", "secret")?;
/// let token = Credentials::bearer("news@a.example", "ya29.vF9dft4")?;
/// let certificate = Credentials::external(None)?;
/// let oldest = Credentials::new("news", "secret")?.with_mechanisms(&[Mechanism::CramMd5])?;
/// # Ok::<(), posthaste_session::CredentialsError>(())
/// ```
#[derive(Clone)]
pub struct Credentials {
    identity: Arc<Identity>,
    mechanisms: Vec<Mechanism>,
    plaintext: PlaintextAuth,
    initial_response: InitialResponse,
    login_starts_with_user: bool,
}

/// Clones are equal; what somebody else has put together is not, since no secrets are compared.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let Self { identity, mechanisms, plaintext, initial_response, login_starts_with_user } =
            self;
        Arc::ptr_eq(identity, &other.identity)
            && *mechanisms == other.mechanisms
            && *plaintext == other.plaintext
            && *initial_response == other.initial_response
            && *login_starts_with_user == other.login_starts_with_user
    }
}

/// Who somebody is and how that is proven.
pub(crate) struct Identity {
    user: String,
    proof: Proof,
    /// What SCRAM has derived from the password.
    keys: KeyCache,
}

enum Proof {
    Password(Zeroizing<String>),
    Token(Zeroizing<String>),
    /// By something outside SASL: the client's certificate.
    External,
}

/// Whether credentials may be used on a connection without TLS.
///
/// This is meant for SCRAM and CRAM-MD5, too. They do not send the password, but whoever listens
/// can try passwords on what they do send, and whoever is in between has the session once it is
/// open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PlaintextAuth {
    /// Never: the session ends instead.
    #[default]
    Forbidden,
    /// Yes, also where everybody in between can read them. For loopback and tests.
    Allowed,
}

/// Whether the first response goes on the AUTH line itself, which saves a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InitialResponse {
    /// Where the line stays within the 512 octets of a command (RFC 4954 section 4).
    #[default]
    WhereItFits,
    /// Always: some servers answer 504 to an AUTH without it, however long their token is.
    Always,
    /// Never: the server has to ask for it.
    Never,
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// NUL separates the fields of PLAIN, 0x01 those of OAUTHBEARER, and CR and LF end lines.
    #[error("user name or password contains a control character")]
    Control,
    /// Empty, or longer than 255 octets.
    #[error("user name or password is empty or longer than {MAX_FIELD} octets")]
    Length,
    /// A token is visible ASCII (RFC 6750 section 2.1) and has 1 to 8192 octets.
    #[error("token is not 1 to {MAX_TOKEN} visible ASCII characters")]
    Token,
    /// No mechanism that these credentials can be used with.
    #[error("no mechanism is allowed that suits the credentials")]
    Mechanism,
}

impl Credentials {
    /// Mechanisms that are implemented, the preferred one first.
    pub const MECHANISMS: &[Mechanism] = &[
        Mechanism::External,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::OAuthBearer,
        Mechanism::XOAuth2,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
    ];

    /// A user name and a password, for SCRAM, PLAIN and LOGIN: the strongest that the server
    /// offers, and only under TLS.
    ///
    /// Both are prepared by SASLprep (RFC 4013) where its rules allow them; what they do not allow,
    /// such as characters younger than Unicode 3.2, is used as it is.
    ///
    /// CRAM-MD5 has to be [asked for](Self::with_mechanisms): it rests on MD5, and a false server
    /// that chooses the challenge is never found out.
    ///
    /// # Errors
    ///
    /// Refuses control characters and lengths outside 1 to 255 octets (RFC 4616 section 2).
    pub fn new(
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (user, password) = (user.into(), Zeroizing::new(password.into()));
        let (user, password) = (prepared(&user)?, prepared(&password)?);
        Ok(Self::with_proof((*user).clone(), Proof::Password(password)))
    }

    /// A user name and an OAuth 2.0 bearer token, for OAUTHBEARER (RFC 7628) and XOAUTH2.
    ///
    /// The token is used as given, until it is refused: fetching a new one is up to the caller.
    ///
    /// # Errors
    ///
    /// Refuses a user name as [`new`](Self::new) does, and what cannot be a token.
    pub fn bearer(
        user: impl Into<String>,
        token: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (user, token) = (user.into(), Zeroizing::new(token.into()));
        let is_token = token.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_token || token.is_empty() || token.len() > MAX_TOKEN {
            return Err(CredentialsError::Token);
        }
        let user = prepared(&user)?;
        Ok(Self::with_proof((*user).clone(), Proof::Token(token)))
    }

    /// What the server knows from elsewhere, mostly the TLS client certificate, for EXTERNAL (RFC
    /// 4422 appendix A). Without a user the server takes the one who goes with the certificate.
    ///
    /// # Errors
    ///
    /// Refuses a user name as [`new`](Self::new) does.
    pub fn external(user: Option<String>) -> Result<Self, CredentialsError> {
        let user = match user {
            Some(user) => (*prepared(&user)?).clone(),
            None => String::new(),
        };
        Ok(Self::with_proof(user, Proof::External))
    }

    fn with_proof(user: String, proof: Proof) -> Self {
        let identity = Identity { user, proof, keys: KeyCache::default() };
        let mechanisms = Self::MECHANISMS.iter().copied();
        let by_default = |mechanism: &Mechanism| *mechanism != Mechanism::CramMd5;
        Self {
            mechanisms: mechanisms.filter(by_default).filter(|m| identity.suits(*m)).collect(),
            identity: Arc::new(identity),
            plaintext: PlaintextAuth::default(),
            initial_response: InitialResponse::default(),
            login_starts_with_user: false,
        }
    }

    /// Takes the password for a bearer token, where a user interface knows of one secret only.
    ///
    /// # Errors
    ///
    /// When it cannot be one, as [`bearer`](Self::bearer), or is none of the two.
    pub fn into_bearer(self) -> Result<Self, CredentialsError> {
        let Identity { user, proof, .. } = &*self.identity;
        let (Proof::Password(secret) | Proof::Token(secret)) = proof else {
            return Err(CredentialsError::Token);
        };
        let Self { plaintext, initial_response, .. } = self;
        Ok(Self { plaintext, initial_response, ..Self::bearer(user.as_str(), secret.as_str())? })
    }

    /// Allows only these mechanisms, the preferred one first.
    ///
    /// # Errors
    ///
    /// When none of them suits the credentials.
    pub fn with_mechanisms(mut self, allowed: &[Mechanism]) -> Result<Self, CredentialsError> {
        self.mechanisms.clear();
        for &mechanism in allowed.iter().filter(|allowed| self.identity.suits(**allowed)) {
            if !self.mechanisms.contains(&mechanism) {
                self.mechanisms.push(mechanism);
            }
        }
        if self.mechanisms.is_empty() {
            return Err(CredentialsError::Mechanism);
        }
        Ok(self)
    }

    /// Says whether they may be used without TLS.
    pub fn with_plaintext(mut self, plaintext: PlaintextAuth) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// Says whether the first response goes on the AUTH line.
    pub fn with_initial_response(mut self, initial_response: InitialResponse) -> Self {
        self.initial_response = initial_response;
        self
    }

    /// Lets LOGIN send the user name on the AUTH line, which saves a round trip.
    ///
    /// Off by default: a server that ignores it prompts for the user name and would be told the
    /// password.
    pub fn with_login_initial_response(mut self) -> Self {
        self.login_starts_with_user = true;
        self
    }

    /// The user name, prepared; empty where there is none.
    pub fn user(&self) -> &str {
        &self.identity.user
    }

    /// The mechanisms that may be used, the preferred one first.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// The password or token; empty where there is none.
    pub(crate) fn secret(&self) -> &str {
        self.identity.secret()
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn login_starts_with_user(&self) -> bool {
        self.login_starts_with_user
    }

    pub(crate) fn initial_response(&self) -> InitialResponse {
        self.initial_response
    }

    pub(crate) fn plaintext(&self) -> PlaintextAuth {
        self.plaintext
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user())
            .field("mechanisms", &self.mechanisms)
            .finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn secret(&self) -> &str {
        match &self.proof {
            Proof::Password(secret) | Proof::Token(secret) => secret,
            Proof::External => "",
        }
    }

    pub(crate) fn keys(&self) -> &KeyCache {
        &self.keys
    }

    /// Whether a mechanism can do something with this.
    fn suits(&self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::Plain
            | Mechanism::Login
            | Mechanism::CramMd5
            | Mechanism::ScramSha1
            | Mechanism::ScramSha1Plus
            | Mechanism::ScramSha256
            | Mechanism::ScramSha256Plus => matches!(self.proof, Proof::Password(_)),
            Mechanism::XOAuth2 | Mechanism::OAuthBearer => matches!(self.proof, Proof::Token(_)),
            Mechanism::External => matches!(self.proof, Proof::External),
        }
    }
}

/// A user name or password as it is sent.
fn prepared(field: &str) -> Result<Zeroizing<String>, CredentialsError> {
    let prepared = stringprep::saslprep(field);
    let prepared = Zeroizing::new(prepared.map_or_else(|_| field.to_owned(), |p| p.into_owned()));
    if prepared.chars().any(char::is_control) {
        return Err(CredentialsError::Control);
    }
    if prepared.is_empty() || prepared.len() > MAX_FIELD {
        return Err(CredentialsError::Length);
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_no_controls_and_255_octets_at_most() {
        // PLAIN-01, IN-13
        use CredentialsError::{Control, Length};
        let check = |user: &str, password: &str| Credentials::new(user, password).map(|_| ());
        let longest = "x".repeat(255);
        assert_eq!(check("tim", "tan staaf, \u{1f600}=%"), Ok(()));
        assert_eq!(check(&longest, &longest), Ok(()));
        for bad in ["a\0b", "a\rb", "a\nb", "a\r\nMAIL FROM:<a@b>", "a\u{1}b", "a\u{85}b"] {
            assert_eq!(check("tim", bad), Err(Control), "{bad:?}");
            assert_eq!(check(bad, "secret"), Err(Control), "{bad:?}");
            assert_eq!(Credentials::external(Some(bad.to_owned())).err(), Some(Control));
        }
        for bad in ["", &format!("{longest}x")] {
            assert_eq!(check("tim", bad), Err(Length));
            assert_eq!(check(bad, "secret"), Err(Length));
        }
    }

    #[test]
    fn tokens_are_visible_ascii() {
        // IN-13
        let longest = "x".repeat(MAX_TOKEN);
        for token in ["ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==", longest.as_str()] {
            assert!(Credentials::bearer("u", token).is_ok());
        }
        let too_long = "x".repeat(MAX_TOKEN + 1);
        for token in ["", "a b", "a\u{1}auth=Bearer b", "a\r\n", "\u{e4}", &too_long] {
            let refused = Credentials::bearer("u", token).err();
            assert_eq!(refused, Some(CredentialsError::Token), "{token:?}");
        }
    }

    #[test]
    fn what_saslprep_maps_is_mapped() {
        // PLAIN-02: the examples of RFC 4013 section 3 that are allowed
        let check = |given: &str, expected: &str| {
            let credentials = Credentials::new(given, given).unwrap();
            assert_eq!((credentials.user(), credentials.secret()), (expected, expected));
        };
        check("I\u{ad}X", "IX");
        check("user", "user");
        check("USER", "USER");
        check("\u{aa}", "a");
        check("\u{2168}", "IX");
        check("a\u{a0}b", "a b");
        // Not allowed, or younger than the rules: as given.
        check("\u{627}1", "\u{627}1");
        check("\u{1f600}", "\u{1f600}");
        // Nothing is left of it.
        assert_eq!(Credentials::new("\u{ad}", "x").err(), Some(CredentialsError::Length));
    }

    #[test]
    fn mechanisms_suit_the_secret() {
        // AUTH-14, CRAM-02, AU-08: CRAM-MD5 only by name
        use Mechanism::{CramMd5, External, Login, OAuthBearer, Plain, XOAuth2};
        use Mechanism::{ScramSha1, ScramSha1Plus, ScramSha256, ScramSha256Plus};
        let password = Credentials::new("u", "secret").unwrap();
        assert_eq!(
            password.mechanisms(),
            [ScramSha256Plus, ScramSha1Plus, ScramSha256, ScramSha1, Plain, Login]
        );
        let token = Credentials::bearer("u", "token").unwrap();
        assert_eq!(token.mechanisms(), [OAuthBearer, XOAuth2]);
        assert_eq!(Credentials::external(None).unwrap().mechanisms(), [External]);
        let by_name = password.clone().with_mechanisms(&[Plain, XOAuth2, CramMd5, Plain]).unwrap();
        assert_eq!(by_name.mechanisms(), [Plain, CramMd5]);
        let unsuitable = password.clone().with_mechanisms(&[XOAuth2, External]).err();
        assert_eq!(unsuitable, Some(CredentialsError::Mechanism));
        let token = password.into_bearer().unwrap();
        assert_eq!((token.mechanisms(), token.secret()), (&[OAuthBearer, XOAuth2][..], "secret"));
        assert!(Credentials::external(None).unwrap().into_bearer().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        // LK-01, LK-08: there is no Display and no Serialize either
        let shown = format!("{:?}", Credentials::new("tim", "hunter2").unwrap());
        assert!(shown.contains("tim") && !shown.contains("hunter2"), "{shown}");
        let shown = format!("{:?}", Credentials::bearer("tim", "hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
