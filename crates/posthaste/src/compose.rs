//! Composing a mail from its parts: people, subject, text, HTML, files.
//!
//! [`Draft`] collects the parts and makes a [`Mail`] of them. Names, subjects and texts are plain
//! UTF-8; encoding them for the wire (RFC 2045, 2047, 2231) is done by the `mail-builder` crate.
//! Whatever could end a header line early (CR, LF, any other control character) is an error and
//! never reaches a mail.
//!
//! ```
//! use posthaste::compose::{Attachment, Draft};
//!
//! let mail = Draft::new()
//!     .from("Reading Club <club@example.com>")
//!     .to("Jörg Müller <joerg@example.org>")
//!     .bcc("archive@example.com")
//!     .subject("Grüße – the books of May")
//!     .text("Dear Jörg,\n\nthe list is attached.\n")
//!     .html("<p>Dear Jörg,</p><p>the list is attached.</p>")
//!     .attach(Attachment::new("books.csv", "title,author\nEmma,Austen\n")?)
//!     .build()?;
//!
//! // The blind copy is in the envelope and nowhere else.
//! assert_eq!(mail.envelope.forward_paths().len(), 2);
//! # Ok::<(), posthaste::compose::ComposeError>(())
//! ```

mod attachment;
mod error;
mod named_mailbox;
mod render;

use std::time::SystemTime;

use posthaste_session::{Content, Envelope, ForwardPath, Mail, ReversePath};

pub use attachment::Attachment;
pub use error::{ComposeError, Field};
pub use named_mailbox::{NamedMailbox, NamedMailboxError};

/// A mail in the making.
///
/// Each method adds or sets one part. The first error is kept and returned by
/// [`build`](Self::build), so that one `?` at the end is enough. Clones share the attachments:
/// for many similar mails, fill one draft with what they have in common and clone it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Draft {
    from: Option<NamedMailbox>,
    reverse_path: Option<ReversePath>,
    to: Vec<NamedMailbox>,
    cc: Vec<NamedMailbox>,
    bcc: Vec<NamedMailbox>,
    reply_to: Vec<NamedMailbox>,
    subject: Option<String>,
    message_id: Option<String>,
    date: Option<SystemTime>,
    /// Checked names and values of further header fields.
    fields: Vec<(String, String)>,
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<Attachment>,
    error: Option<ComposeError>,
}

impl Draft {
    /// Begins with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets who the mail is from, as a [`Mailbox`](posthaste_session::Mailbox) or as text, `Name
    /// <a@b>`.
    ///
    /// It is the reverse-path too, unless [`reverse_path`](Self::reverse_path) says otherwise.
    pub fn from(
        mut self,
        from: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>,
    ) -> Self {
        self.from = self.mailbox(Field::From, from);
        self
    }

    /// Sets where failures are reported to, if not to the author.
    pub fn reverse_path(mut self, reverse_path: impl Into<ReversePath>) -> Self {
        self.reverse_path = Some(reverse_path.into());
        self
    }

    /// Adds a recipient.
    pub fn to(mut self, to: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>) -> Self {
        let to = self.mailbox(Field::To, to);
        self.to.extend(to);
        self
    }

    /// Adds a recipient of a copy.
    pub fn cc(mut self, cc: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>) -> Self {
        let cc = self.mailbox(Field::Cc, cc);
        self.cc.extend(cc);
        self
    }

    /// Adds a recipient of a blind copy, who is in the envelope and not in the content.
    pub fn bcc(mut self, bcc: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>) -> Self {
        let bcc = self.mailbox(Field::Bcc, bcc);
        self.bcc.extend(bcc);
        self
    }

    /// Adds a mailbox that answers are to go to instead of the author's.
    pub fn reply_to(
        mut self,
        to: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>,
    ) -> Self {
        let reply_to = self.mailbox(Field::ReplyTo, to);
        self.reply_to.extend(reply_to);
        self
    }

    /// Sets the subject.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = self.checked_value("Subject", subject.into());
        self
    }

    /// Sets the plain text, with any line ends. With [`html`](Self::html), readers choose which
    /// one to show.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the HTML text, which refers to inline files as `cid:NAME`.
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.html = Some(html.into());
        self
    }

    /// Adds a file.
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Adds a header field that has no method of its own, such as `List-Unsubscribe`.
    ///
    /// A value in ASCII is only folded, so that structured fields keep their meaning; any other
    /// becomes encoded words.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        match check_field_name(&name) {
            Err(error) => self.fail(error),
            Ok(()) => {
                let value = self.checked_value(&name, value.into());
                self.fields.extend(value.map(|value| (name, value)));
            }
        }
        self
    }

    /// Sets the Message-ID, with or without its angle brackets. Otherwise one is made at the
    /// sender's domain.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        let mut id = id.into();
        if let Some(bare) = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')) {
            id = bare.to_owned();
        }
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
        let has_both_sides =
            id.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
        if has_both_sides && !id.contains(is_odd) {
            self.message_id = Some(id);
        } else {
            self.fail(ComposeError::MessageId(id));
        }
        self
    }

    /// Sets the Date. Otherwise it is the time at which the mail is built.
    pub fn date(mut self, date: SystemTime) -> Self {
        self.date = Some(date);
        self
    }

    /// Makes the mail: header section and body, and the envelope from its people, each recipient
    /// once.
    ///
    /// # Errors
    ///
    /// The first thing that was wrong with any part; no author, no recipient; a text with a NUL
    /// in it.
    pub fn build(mut self) -> Result<Mail, ComposeError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let from = self.from.as_ref().ok_or(ComposeError::NoFrom)?;
        let reverse_path =
            self.reverse_path.take().unwrap_or_else(|| from.mailbox().clone().into());
        let envelope = Envelope::new(reverse_path, self.forward_paths())?;
        let content = Content::new(render::render(&self, from))?;
        Ok(Mail::new(envelope, content))
    }

    fn forward_paths(&self) -> Vec<ForwardPath> {
        let mut seen = std::collections::HashSet::new();
        let recipients = self.to.iter().chain(&self.cc).chain(&self.bcc).map(NamedMailbox::mailbox);
        recipients.filter(|mailbox| seen.insert(*mailbox)).cloned().map(ForwardPath::from).collect()
    }

    fn mailbox(
        &mut self,
        field: Field,
        mailbox: impl TryInto<NamedMailbox, Error: Into<NamedMailboxError>>,
    ) -> Option<NamedMailbox> {
        let result = mailbox
            .try_into()
            .map_err(|error| ComposeError::Mailbox { field, source: error.into() });
        result.map_err(|error| self.fail(error)).ok()
    }

    fn checked_value(&mut self, name: &str, value: String) -> Option<String> {
        let Some(control) = value.chars().find(|c| c.is_control()) else { return Some(value) };
        self.fail(ComposeError::HeaderValue { name: name.to_owned(), control });
        None
    }

    /// Keeps the first error, which is the one nearest to its cause.
    fn fail(&mut self, error: ComposeError) {
        self.error.get_or_insert(error);
    }
}

/// Fields that have a method of their own, or that follow from the parts.
const OWN_FIELDS: [&str; 13] = [
    "From",
    "Sender",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
];

/// `field-name = 1*ftext` (RFC 5322 section 2.2), of a length that leaves room for the value.
fn check_field_name(name: &str) -> Result<(), ComposeError> {
    /// As long as a line should be (RFC 5322 section 2.1.1); real names have a third of that.
    const MAX_FIELD_NAME: usize = 76;
    let is_ftext = |b: u8| b.is_ascii_graphic() && b != b':';
    if name.is_empty() || name.len() > MAX_FIELD_NAME || !name.bytes().all(is_ftext) {
        return Err(ComposeError::HeaderName(name.to_owned()));
    }
    if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(ComposeError::OwnHeader(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
