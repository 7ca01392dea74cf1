//! The header section of a mail as it was read: finding its fields, and taking some out.

use std::ops::Range;

use posthaste::compose::{NamedMailbox, NamedMailboxError};

use super::Problem;

/// One header field (RFC 5322 section 2.2), continuation lines included.
pub(super) struct Field<'a> {
    name: &'a [u8],
    /// What stands behind the colon, as it is folded.
    value: &'a [u8],
    /// Where the field stands in the content, its last line end included.
    range: Range<usize>,
}

impl Field<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    pub(super) fn is_resent(&self) -> bool {
        self.name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"Resent-"))
    }

    /// The mailboxes in the value. Octets that are not UTF-8 may stand in names only.
    pub(super) fn mailboxes(&self, field: &'static str) -> Result<Vec<NamedMailbox>, Problem> {
        let unfolded = String::from_utf8_lossy(self.value).replace("\r\n", "").replace('\t', " ");
        let mailboxes = NamedMailbox::parse_list(unfolded.trim())
            .map_err(|source| Problem::HeaderAddress { field, source })?;
        if mailboxes.iter().any(|one| one.mailbox().as_str().contains(char::REPLACEMENT_CHARACTER))
        {
            let source = NamedMailboxError::Unexpected(char::REPLACEMENT_CHARACTER);
            return Err(Problem::HeaderAddress { field, source });
        }
        Ok(mailboxes)
    }
}

/// Reads the fields up to the empty line, or to the end. Lines end in CRLF.
///
/// Strict, because what one reader takes for a field another takes for the body: a blind copy
/// could be shown.
pub(super) fn fields(content: &[u8]) -> Result<Vec<Field<'_>>, Problem> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    for (index, line) in content.split_inclusive(|octet| *octet == b'\n').enumerate() {
        if line == b"\r\n" {
            break;
        }
        let range = start..start + line.len();
        start = range.end;
        if let (Some(b' ' | b'\t'), Some(field)) = (line.first(), fields.last_mut()) {
            let value_start = field.range.end - field.value.len();
            field.value = content.get(value_start..range.end).unwrap_or_default();
            field.range.end = range.end;
        } else {
            fields.push(field(line, range).ok_or(Problem::NotHeader { line: index + 1 })?);
        }
    }
    Ok(fields)
}

/// Whether octets with any line ends begin with a header field.
pub(super) fn begins(octets: &[u8]) -> bool {
    octets
        .split(|octet| *octet == b'\n')
        .next()
        .is_some_and(|line| field(line, 0..line.len()).is_some())
}

/// `field = field-name ":" unstructured CRLF`; old mails have white space before the colon
/// (section 4.5).
fn field(line: &[u8], range: Range<usize>) -> Option<Field<'_>> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| Field { name, value: line.get(colon + 1..).unwrap_or_default(), range })
}

/// The content without the fields of a name.
pub(super) fn without(content: &[u8], fields: &[Field<'_>], name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut start = 0;
    for field in fields.iter().filter(|field| field.is(name)) {
        out.extend_from_slice(content.get(start..field.range.start).unwrap_or_default());
        start = field.range.end;
    }
    out.extend_from_slice(content.get(start..).unwrap_or_default());
    out
}
