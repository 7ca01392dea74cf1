//! From a draft to the octets of the content, through `mail-builder`.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{MimePart, make_boundary};

use super::{Attachment, Draft, NamedMailbox};

/// Writes the header section and the body. Every part of the draft has been checked.
pub(super) fn render(draft: &Draft, from: &NamedMailbox) -> Vec<u8> {
    let mut builder = MessageBuilder::new().from(address(from));
    for (name, mailboxes) in [("To", &draft.to), ("Cc", &draft.cc), ("Reply-To", &draft.reply_to)] {
        if !mailboxes.is_empty() {
            builder =
                builder.header(name, Address::new_list(mailboxes.iter().map(address).collect()));
        }
    }
    if let Some(subject) = &draft.subject {
        builder = builder.header("Subject", unstructured(subject));
    }
    let message_id =
        draft.message_id.as_deref().map_or_else(|| new_message_id(from), Cow::Borrowed);
    builder = builder
        .date(date(draft.date.unwrap_or_else(SystemTime::now)))
        .message_id(MessageId::new(message_id));
    for (name, value) in &draft.fields {
        builder = builder.header(name, unstructured(value));
    }
    let mut octets = Vec::new();
    builder.body(body(draft)).serialize(&mut octets);
    octets
}

/// The alternatives, within what they show, within what is attached; each level only where it is
/// needed.
fn body(draft: &Draft) -> MimePart<'_> {
    let text =
        draft.text.as_deref().map(|text| MimePart::new("text/plain", with_lf_line_ends(text)));
    let html =
        draft.html.as_deref().map(|html| MimePart::new("text/html", with_lf_line_ends(html)));
    let body = match (text, html) {
        (Some(text), Some(html)) => MimePart::new("multipart/alternative", vec![text, html]),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => MimePart::new("text/plain", ""),
    };
    let (inline, attached): (Vec<_>, Vec<_>) =
        draft.attachments.iter().partition(|file| file.is_inline());
    enclose("multipart/mixed", enclose("multipart/related", body, &inline), &attached)
}

fn enclose<'a>(media_type: &'a str, root: MimePart<'a>, files: &[&'a Attachment]) -> MimePart<'a> {
    if files.is_empty() {
        return root;
    }
    let parts: Vec<_> =
        std::iter::once(root).chain(files.iter().map(|file| file.to_part())).collect();
    MimePart::new(media_type, parts)
}

fn address(mailbox: &NamedMailbox) -> Address<'_> {
    Address::new_address(mailbox.name(), mailbox.mailbox().as_str())
}

/// An ASCII value is only folded, since an encoded word has no meaning in most structured fields.
/// Words that fit on no line can only be encoded.
fn unstructured(value: &str) -> HeaderType<'_> {
    /// Below the 998 octets of a line by the longest field name and its colon.
    const MAX_WORD: usize = 900;
    let value = value.trim();
    let is_foldable = value.is_ascii() && value.split(' ').all(|word| word.len() <= MAX_WORD);
    if is_foldable { Raw::new(value).into() } else { Text::new(value).into() }
}

/// Unique by the time, a counter and the process's own random seed.
fn new_message_id(from: &NamedMailbox) -> Cow<'static, str> {
    format!("{}@{}", make_boundary("."), from.mailbox().domain()).into()
}

fn date(time: SystemTime) -> Date {
    let seconds =
        |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Date::new(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    })
}

/// Makes any line end an LF, which `mail-builder` turns into CRLF; a bare CR would go out as it is.
fn with_lf_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}
