//! What can be wrong with a draft.

use std::fmt;

use posthaste_session::{ContentError, EnvelopeError};

use super::NamedMailboxError;

/// Why a draft is not a mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// Nobody is the author.
    #[error("there is no From")]
    NoFrom,
    /// A name or an address that is none.
    #[error("cannot use {field}")]
    Mailbox {
        /// The header field it was meant for.
        field: Field,
        /// What is wrong with it.
        source: NamedMailboxError,
    },
    /// A header value that would end its line early, or hide something in it.
    #[error("control character {control:?} is not allowed in header field {name}")]
    HeaderValue {
        /// Name of the header field.
        name: String,
        /// The first such character.
        control: char,
    },
    /// A header field name that is empty, too long, or not visible ASCII without a colon.
    #[error("{0:?} is not the name of a header field")]
    HeaderName(String),
    /// A header field that has a method of its own, or that follows from the parts.
    #[error("header field {0} cannot be set by name")]
    OwnHeader(String),
    /// A Message-ID that is not `left@right`.
    #[error("{0:?} is not a Message-ID")]
    MessageId(String),
    /// A file without a name.
    #[error("an attachment has no file name")]
    NoFileName,
    /// A file name that would end its header line early, or hide something in it.
    #[error("control character {control:?} is not allowed in file name {name:?}")]
    FileName {
        /// The file name.
        name: String,
        /// The first such character.
        control: char,
    },
    /// The name of an inline file that a URL could not refer to.
    #[error("inline file name {0:?} must be visible ASCII without spaces and angle brackets")]
    ContentId(String),
    /// A media type that is not `type/subtype`, or one that may not be in base64.
    #[error("{0:?} is not a media type for an attachment")]
    MediaType(String),
    /// Nobody to send to, or too many.
    #[error("cannot make the envelope")]
    Envelope(#[from] EnvelopeError),
    /// A NUL in a text, or a word in a header field that is too long for a line.
    #[error("cannot make the content")]
    Content(#[from] ContentError),
}

/// A header field that holds mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The author.
    From,
    /// Recipients.
    To,
    /// Recipients of a copy.
    Cc,
    /// Recipients of a blind copy.
    Bcc,
    /// Where answers are to go.
    ReplyTo,
}

impl Field {
    /// The field's name as it stands in the header section.
    pub fn name(self) -> &'static str {
        match self {
            Self::From => "From",
            Self::To => "To",
            Self::Cc => "Cc",
            Self::Bcc => "Bcc",
            Self::ReplyTo => "Reply-To",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
