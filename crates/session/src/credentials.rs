//! Whom to log in as.

use std::fmt;

use posthaste_reply::Mechanism;
use zeroize::Zeroizing;

/// Longest user name or password in octets (RFC 4616 section 2).
const MAX_CREDENTIAL: usize = 255;

/// A user name, a password, and the mechanisms they may be used with.
///
/// The password is wiped from memory when dropped and shows in no `Debug` output.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: Zeroizing<String>,
    mechanisms: Vec<Mechanism>,
    plaintext: PlaintextAuth,
    login_starts_with_user: bool,
}

/// Whether credentials may be sent on a connection without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PlaintextAuth {
    /// Never: the session ends instead.
    #[default]
    Forbidden,
    /// Yes, also where everybody in between can read them. For loopback and tests.
    Allowed,
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// NUL separates the fields of PLAIN, and CR and LF end lines.
    #[error("user name or password contains a control character")]
    Control,
    /// Empty, or longer than 255 octets.
    #[error("user name or password is empty or longer than {MAX_CREDENTIAL} octets")]
    Length,
    /// No mechanism that this crate can use.
    #[error("no usable mechanism is allowed")]
    Mechanism,
}

impl Credentials {
    /// Mechanisms that are implemented, the preferred one first.
    pub const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];

    /// Credentials for any implemented mechanism, only under TLS.
    ///
    /// # Errors
    ///
    /// Refuses control characters and lengths outside 1 to 255 octets (RFC 4616 section 2).
    pub fn new(
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (user, password) = (user.into(), Zeroizing::new(password.into()));
        for field in [user.as_str(), password.as_str()] {
            if field.chars().any(|c| matches!(c, '\0' | '\r' | '\n')) {
                return Err(CredentialsError::Control);
            }
            if field.is_empty() || field.len() > MAX_CREDENTIAL {
                return Err(CredentialsError::Length);
            }
        }
        let mechanisms = Self::MECHANISMS.to_vec();
        let plaintext = PlaintextAuth::default();
        Ok(Self { user, password, mechanisms, plaintext, login_starts_with_user: false })
    }

    /// Allows only these mechanisms, the preferred one first.
    ///
    /// # Errors
    ///
    /// When none of them is implemented.
    pub fn with_mechanisms(mut self, allowed: &[Mechanism]) -> Result<Self, CredentialsError> {
        self.mechanisms.clear();
        for &mechanism in allowed.iter().filter(|allowed| Self::MECHANISMS.contains(allowed)) {
            if !self.mechanisms.contains(&mechanism) {
                self.mechanisms.push(mechanism);
            }
        }
        if self.mechanisms.is_empty() {
            return Err(CredentialsError::Mechanism);
        }
        Ok(self)
    }

    /// Says whether they may be sent without TLS.
    pub fn with_plaintext(mut self, plaintext: PlaintextAuth) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// Lets LOGIN send the user name on the AUTH line, which saves a round trip.
    ///
    /// Off by default: a server that ignores it prompts for the user name and would be told the password.
    pub fn with_login_initial_response(mut self) -> Self {
        self.login_starts_with_user = true;
        self
    }

    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// The mechanisms that may be used, the preferred one first.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    pub(crate) fn login_starts_with_user(&self) -> bool {
        self.login_starts_with_user
    }

    pub(crate) fn plaintext(&self) -> PlaintextAuth {
        self.plaintext
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, mechanisms, .. } = self;
        f.debug_struct("Credentials")
            .field("user", user)
            .field("mechanisms", mechanisms)
            .finish_non_exhaustive()
    }
}
