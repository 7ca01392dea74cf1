//! A mail: envelope and content.

use crate::address::{ForwardPath, ReversePath};
use crate::content::Content;

/// Most recipients of one mail. RFC 5321 section 4.5.3.1.8 asks servers for 100; this bound only keeps the
/// state of one transaction small (about 100 octets a recipient).
pub const MAX_RECIPIENTS: usize = 100_000;

/// Why an envelope cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Nobody to send to.
    #[error("envelope has no recipient")]
    NoRecipient,
    /// More than [`MAX_RECIPIENTS`].
    #[error("envelope has {0} recipients, and at most {MAX_RECIPIENTS} are allowed")]
    TooManyRecipients(usize),
}

/// Where a mail comes from and goes to (RFC 5321 section 2.3.1); at least one forward-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    reverse_path: ReversePath,
    forward_paths: Vec<ForwardPath>,
}

impl Envelope {
    /// Makes an envelope. The order of the forward-paths is kept, and so are duplicates.
    ///
    /// # Errors
    ///
    /// When there is no recipient, or more than [`MAX_RECIPIENTS`].
    pub fn new(
        reverse_path: impl Into<ReversePath>,
        forward_paths: impl IntoIterator<Item = impl Into<ForwardPath>>,
    ) -> Result<Self, EnvelopeError> {
        let forward_paths: Vec<_> = forward_paths.into_iter().map(Into::into).collect();
        match forward_paths.len() {
            0 => Err(EnvelopeError::NoRecipient),
            1..=MAX_RECIPIENTS => Ok(Self { reverse_path: reverse_path.into(), forward_paths }),
            count => Err(EnvelopeError::TooManyRecipients(count)),
        }
    }

    /// Who hears of failures.
    pub fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    /// The recipients, never empty.
    pub fn forward_paths(&self) -> &[ForwardPath] {
        &self.forward_paths
    }

    /// Whether any address can only be sent to a server that offers SMTPUTF8.
    pub fn needs_smtputf8(&self) -> bool {
        let reverse_path = std::iter::once(self.reverse_path.as_str());
        !reverse_path.chain(self.forward_paths.iter().map(ForwardPath::as_str)).all(str::is_ascii)
    }
}

/// What to do with a mail of which the server takes some recipients and refuses others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartialRefusal {
    /// Deliver to those that were accepted.
    #[default]
    DeliverToRest,
    /// Deliver to nobody. Costs a round trip, since DATA must wait for every recipient's reply.
    AllOrNothing,
}

/// A mail: an envelope and the content that goes under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Where it comes from and goes to.
    pub envelope: Envelope,
    /// What is sent.
    pub content: Content,
    /// What a refused recipient means for the others.
    pub partial_refusal: PartialRefusal,
}

impl Mail {
    /// Makes a mail that is delivered to whomever the server accepts.
    pub fn new(envelope: Envelope, content: Content) -> Self {
        Self { envelope, content, partial_refusal: PartialRefusal::default() }
    }
}
