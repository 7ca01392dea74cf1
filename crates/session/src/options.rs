//! What an envelope asks for beyond delivery: parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11).
//!
//! Each is sent only to a server that offers its extension. Where that is missing, a wish is dropped and a condition
//! keeps the mail from being sent; which is which is said at each.

mod dsn;
mod parameter;
mod service;

pub use dsn::{EnvelopeId, Notify, OriginalRecipient, ReturnContent};
pub use parameter::Parameter;
pub use service::{Authority, DeliverBy, Hold, LateDelivery, Priority};

use crate::address::ReversePath;

/// Why a parameter cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// A character that must not stand there.
    #[error("{0:?} is not allowed in the value of a parameter")]
    Character(char),
    /// Longer than the extension allows.
    #[error("value has {octets} octets encoded, and at most {most} are allowed")]
    Length {
        /// Its length in octets.
        octets: usize,
        /// The most that are allowed.
        most: usize,
    },
    /// Empty where something is needed.
    #[error("value is empty")]
    Empty,
    /// A number outside of its range.
    #[error("number is out of range; expected {0}")]
    Range(&'static str),
    /// Not of the form that is asked for.
    #[error("expected {0}")]
    Form(&'static str),
}

/// What a mail asks of the server as a whole. The default asks for nothing.
///
/// ```
/// use posthaste_session::{Envelope, EnvelopeId, ForwardPath, MailOptions, Mailbox, ReturnContent};
///
/// let from: Mailbox = "a@client.example".parse()?;
/// let to: ForwardPath = "b@mx.example".parse()?;
/// let envelope = Envelope::new(from, [to])?.with_options(MailOptions {
///     return_content: Some(ReturnContent::Headers),
///     envelope_id: Some(EnvelopeId::new("order 66")?),
///     ..MailOptions::default()
/// });
/// assert_eq!(envelope.options().envelope_id.as_ref().unwrap().as_xtext(), "order+2066");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailOptions {
    /// How much of the mail a notification of failure returns (DSN `RET`). A wish.
    pub return_content: Option<ReturnContent>,
    /// What notifications call this mail (DSN `ENVID`). A wish.
    pub envelope_id: Option<EnvelopeId>,
    /// When it must have been delivered (DELIVERBY). A condition where late mail is to be returned, else a wish.
    pub deliver_by: Option<DeliverBy>,
    /// Its place among others (MT-PRIORITY). A wish.
    pub priority: Option<Priority>,
    /// When it may be delivered at the earliest (FUTURERELEASE). A condition.
    pub hold: Option<Hold>,
    /// Whether it may travel only under verified TLS, and only through servers that keep to that (REQUIRETLS). A
    /// condition.
    pub require_tls: bool,
    /// On whose authority it is sent (`AUTH=`, RFC 4954 section 5). A wish; off unless asked for, since some
    /// servers refuse it.
    pub authority: Option<Authority>,
    /// Parameters of other extensions. Wishes.
    pub others: Vec<Parameter>,
}

/// What is asked for one recipient. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecipientOptions {
    /// When the reverse-path is to be notified (DSN `NOTIFY`). A wish.
    pub notify: Option<Notify>,
    /// Whom the mail was first sent to (DSN `ORCPT`). A wish.
    pub original: Option<OriginalRecipient>,
    /// Parameters of other extensions. Wishes.
    pub others: Vec<Parameter>,
}

impl RecipientOptions {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl MailOptions {
    /// None of them, for envelopes that have none.
    pub(crate) const NONE: &Self = &Self {
        return_content: None,
        envelope_id: None,
        deliver_by: None,
        priority: None,
        hold: None,
        require_tls: false,
        authority: None,
        others: Vec::new(),
    };

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self == Self::NONE
    }
}

impl From<ReversePath> for Authority {
    /// The mail is sent on behalf of whom it comes from.
    fn from(path: ReversePath) -> Self {
        match path {
            ReversePath::Null => Self::Unknown,
            ReversePath::Mailbox(mailbox) => Self::Mailbox(mailbox),
        }
    }
}
