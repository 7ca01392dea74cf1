//! A mail: envelope and content.

use std::sync::Arc;

use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::content::Content;
use crate::options::{MailOptions, RecipientOptions};

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
    #[error("envelope has more than {MAX_RECIPIENTS} recipients")]
    TooManyRecipients,
}

/// One recipient: a forward-path, and what is asked for it beyond delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    forward_path: ForwardPath,
    options: Option<Arc<RecipientOptions>>,
}

impl Recipient {
    /// A recipient for whom nothing is asked but delivery.
    pub fn new(forward_path: impl Into<ForwardPath>) -> Self {
        Self { forward_path: forward_path.into(), options: None }
    }

    /// Asks for this, too. The same options may be shared by any number of recipients.
    #[must_use]
    pub fn with_options(mut self, options: impl Into<Arc<RecipientOptions>>) -> Self {
        self.options = Some(options.into()).filter(|options| !options.is_empty());
        self
    }
}

impl From<ForwardPath> for Recipient {
    fn from(forward_path: ForwardPath) -> Self {
        Self::new(forward_path)
    }
}

impl From<Mailbox> for Recipient {
    fn from(mailbox: Mailbox) -> Self {
        Self::new(mailbox)
    }
}

/// Where a mail comes from and goes to, and what is asked for it (RFC 5321 section 2.3.1); at least one
/// forward-path. Clones share everything: of an envelope with one recipient nothing is allocated but the
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    reverse_path: ReversePath,
    forward_paths: ForwardPaths,
    /// None where nothing is asked for but delivery, as with most mails.
    extras: Option<Arc<Extras>>,
}

/// Most mails have one recipient, and millions of them may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ForwardPaths {
    One(ForwardPath),
    Several(Arc<[ForwardPath]>),
}

/// What is asked for beyond delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extras {
    options: Option<Arc<MailOptions>>,
    /// One for each forward-path, or none at all.
    recipient_options: Vec<Option<Arc<RecipientOptions>>>,
}

impl Envelope {
    /// Makes an envelope. The order of the recipients is kept, and so are duplicates.
    ///
    /// # Errors
    ///
    /// When there is no recipient, or more than [`MAX_RECIPIENTS`].
    pub fn new(
        reverse_path: impl Into<ReversePath>,
        recipients: impl IntoIterator<Item = impl Into<Recipient>>,
    ) -> Result<Self, EnvelopeError> {
        let mut recipients = recipients.into_iter().take(MAX_RECIPIENTS + 1).map(Into::into);
        let first: Recipient = recipients.next().ok_or(EnvelopeError::NoRecipient)?;
        let mut recipient_options = Vec::from_iter(first.options.map(Some));
        let mut rest = Vec::new();
        for Recipient { forward_path, options } in recipients {
            if options.is_some() {
                recipient_options.resize(rest.len() + 1, None);
                recipient_options.push(options);
            }
            rest.push(forward_path);
        }
        let count = rest.len() + 1;
        if count > MAX_RECIPIENTS {
            return Err(EnvelopeError::TooManyRecipients);
        }
        if !recipient_options.is_empty() {
            recipient_options.resize(count, None);
        }
        let forward_paths = if rest.is_empty() {
            ForwardPaths::One(first.forward_path)
        } else {
            ForwardPaths::Several(std::iter::once(first.forward_path).chain(rest).collect())
        };
        let extras = (!recipient_options.is_empty())
            .then(|| Arc::new(Extras { options: None, recipient_options }));
        Ok(Self { reverse_path: reverse_path.into(), forward_paths, extras })
    }

    /// Makes an envelope for one recipient, of whom nothing is asked but delivery.
    pub fn to_one(
        reverse_path: impl Into<ReversePath>,
        forward_path: impl Into<ForwardPath>,
    ) -> Self {
        let forward_paths = ForwardPaths::One(forward_path.into());
        Self { reverse_path: reverse_path.into(), forward_paths, extras: None }
    }

    /// Asks for this beyond delivery.
    #[must_use]
    pub fn with_options(self, options: impl Into<Arc<MailOptions>>) -> Self {
        let options = Some(options.into()).filter(|options| !options.is_empty());
        self.with_extras(|extras| extras.options = options)
    }

    /// Asks for this for every recipient.
    #[must_use]
    pub fn with_recipient_options(self, options: impl Into<Arc<RecipientOptions>>) -> Self {
        let options = Some(options.into()).filter(|options| !options.is_empty());
        let count = if options.is_some() { self.forward_paths().len() } else { 0 };
        self.with_extras(|extras| extras.recipient_options = vec![options; count])
    }

    fn with_extras(mut self, change: impl FnOnce(&mut Extras)) -> Self {
        let mut extras = self.extras.take().unwrap_or_default();
        change(Arc::make_mut(&mut extras));
        self.extras = Some(extras).filter(|extras| **extras != Extras::default());
        self
    }

    /// The same envelope for some of its recipients, named by their place; `None` if that leaves none.
    pub fn subset(&self, places: &[u32]) -> Option<Self> {
        let recipients = places.iter().filter_map(|&place| self.recipient(place as usize));
        let envelope = Self::new(self.reverse_path.clone(), recipients).ok()?;
        let Some(options) = self.extras.as_ref().and_then(|extras| extras.options.clone()) else {
            return Some(envelope);
        };
        Some(envelope.with_options(options))
    }

    fn recipient(&self, place: usize) -> Option<Recipient> {
        let forward_path = self.forward_paths().get(place)?.clone();
        let extras = self.extras.as_ref();
        let options = extras.and_then(|extras| extras.recipient_options.get(place)?.clone());
        Some(Recipient { forward_path, options })
    }

    /// Who hears of failures.
    pub fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    /// The recipients, never empty.
    pub fn forward_paths(&self) -> &[ForwardPath] {
        match &self.forward_paths {
            ForwardPaths::One(path) => std::slice::from_ref(path),
            ForwardPaths::Several(paths) => paths,
        }
    }

    /// What is asked for the mail as a whole.
    pub fn options(&self) -> &MailOptions {
        self.some_options().unwrap_or(MailOptions::NONE)
    }

    /// The same, where anything is.
    pub(crate) fn some_options(&self) -> Option<&MailOptions> {
        self.extras.as_ref()?.options.as_deref()
    }

    /// What is asked for the recipient at this place, if anything is.
    pub fn recipient_options(&self, place: usize) -> Option<&RecipientOptions> {
        self.extras.as_ref()?.recipient_options.get(place)?.as_deref()
    }

    /// Whether anything is asked for beyond delivery.
    pub fn has_options(&self) -> bool {
        self.extras.is_some()
    }

    /// Whether any address can only be sent to a server that offers SMTPUTF8.
    pub fn needs_smtputf8(&self) -> bool {
        self.reverse_path.needs_smtputf8()
            || self.forward_paths().iter().any(ForwardPath::needs_smtputf8)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Notify, Priority};

    fn notify(notify: Notify) -> RecipientOptions {
        RecipientOptions { notify: Some(notify), ..RecipientOptions::default() }
    }

    #[test]
    fn options_stay_with_their_recipients() {
        let path = |text: &str| Recipient::new(text.parse::<ForwardPath>().unwrap());
        let recipients = [
            path("a@x.example"),
            path("b@x.example").with_options(notify(Notify::NEVER)),
            path("c@x.example").with_options(RecipientOptions::default()),
        ];
        let priority = Some(Priority::new(3).unwrap());
        let envelope = Envelope::new(ReversePath::Null, recipients)
            .unwrap()
            .with_options(MailOptions { priority, ..MailOptions::default() });
        let notifies = |envelope: &Envelope| -> Vec<_> {
            (0..3).map(|place| envelope.recipient_options(place).and_then(|o| o.notify)).collect()
        };
        assert_eq!(notifies(&envelope), [None, Some(Notify::NEVER), None]);

        let rest = envelope.subset(&[1, 2]).unwrap();
        assert_eq!(notifies(&rest), [Some(Notify::NEVER), None, None]);
        assert_eq!(rest.options().priority, priority);
        let last = envelope.subset(&[2]).unwrap();
        assert_eq!(last.forward_paths()[0].as_str(), "c@x.example");
        assert!(last.has_options() && last.recipient_options(0).is_none());
        assert!(envelope.subset(&[]).is_none());
        assert!(envelope.subset(&[3]).is_none());
    }
}
