//! A mail in RFC 5322 form: its content stays as it is, its envelope comes from the header
//! section or from elsewhere.

use std::collections::HashSet;

use posthaste::compose::{NamedMailbox, NamedMailboxError};
use posthaste::session::{Content, Envelope, ForwardPath, Mail, Mailbox, ReversePath};

use super::Problem;
use super::header::{self, Field};

/// What is said about the envelope outside of the mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    pub(super) reverse_path: Option<ReversePath>,
    /// If there are any, the header section's recipients are not looked at.
    pub(super) forward_paths: Vec<ForwardPath>,
}

/// Makes a mail of octets with any line ends.
///
/// Without recipients from outside, those in To, Cc and Bcc get the mail, and Bcc is taken out of
/// the content. Nothing else is changed but line ends.
pub(super) fn mail(octets: Vec<u8>, outside: &Outside) -> Result<Mail, Problem> {
    if octets.is_empty() {
        return Err(Problem::Empty);
    }
    let content = Content::normalized(octets).map_err(Problem::Content)?;
    if let (Some(reverse_path), false) = (&outside.reverse_path, outside.forward_paths.is_empty()) {
        return assemble(reverse_path.clone(), outside.forward_paths.clone(), content);
    }
    let octets = content.to_bytes();
    let fields = header::fields(&octets)?;
    let reverse_path = match &outside.reverse_path {
        Some(reverse_path) => reverse_path.clone(),
        None => sender(&fields)?.into(),
    };
    if !outside.forward_paths.is_empty() {
        return assemble(reverse_path, outside.forward_paths.clone(), content);
    }
    let forward_paths = recipients(&fields)?;
    if !fields.iter().any(|field| field.is("Bcc")) {
        return assemble(reverse_path, forward_paths, content);
    }
    let visible = header::without(&octets, &fields, "Bcc");
    assemble(reverse_path, forward_paths, Content::new(visible).map_err(Problem::Content)?)
}

/// Reads a reverse-path as people write it: an address, `Name <address>`, or nothing or `<>` for
/// the null one.
pub(super) fn reverse_path(text: &str) -> Result<ReversePath, NamedMailboxError> {
    match text.trim() {
        "" | "<>" => Ok(ReversePath::Null),
        text => Ok(text.parse::<NamedMailbox>()?.into_mailbox().into()),
    }
}

/// Reads forward-paths as people write them: addresses, with or without names, and `Postmaster`.
pub(super) fn forward_paths(text: &str) -> Result<Vec<ForwardPath>, NamedMailboxError> {
    if text.trim().eq_ignore_ascii_case("postmaster") {
        return Ok(vec![ForwardPath::Postmaster]);
    }
    let mailboxes = NamedMailbox::parse_list(text)?;
    if mailboxes.is_empty() {
        return Err(NamedMailboxError::NotOne(0));
    }
    Ok(mailboxes.into_iter().map(|mailbox| mailbox.into_mailbox().into()).collect())
}

fn assemble(from: ReversePath, to: Vec<ForwardPath>, content: Content) -> Result<Mail, Problem> {
    Ok(Mail::new(Envelope::new(from, to).map_err(Problem::Envelope)?, content))
}

/// Sender, or else From, which must then be one (RFC 5322 section 3.6.2).
fn sender(fields: &[Field<'_>]) -> Result<Mailbox, Problem> {
    for name in ["Sender", "From"] {
        let mut mailboxes = mailboxes(fields, name)?;
        match (mailboxes.pop(), mailboxes.len()) {
            (None, _) => {}
            (Some(sender), 0) => return Ok(sender.into_mailbox()),
            (Some(_), others) => {
                return Err(Problem::SeveralSenders { field: name, count: others + 1 });
            }
        }
    }
    Err(Problem::NoSender)
}

/// Everybody in To, Cc and Bcc, each once.
fn recipients(fields: &[Field<'_>]) -> Result<Vec<ForwardPath>, Problem> {
    if fields.iter().any(Field::is_resent) {
        return Err(Problem::Resent);
    }
    let mut seen = HashSet::new();
    let mut recipients = Vec::new();
    for name in ["To", "Cc", "Bcc"] {
        for mailbox in mailboxes(fields, name)? {
            if seen.insert(mailbox.mailbox().clone()) {
                recipients.push(mailbox.into_mailbox().into());
            }
        }
    }
    if recipients.is_empty() {
        return Err(Problem::NoRecipient);
    }
    Ok(recipients)
}

fn mailboxes(fields: &[Field<'_>], name: &'static str) -> Result<Vec<NamedMailbox>, Problem> {
    let lists = fields.iter().filter(|field| field.is(name)).map(|field| field.mailboxes(name));
    Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
}
