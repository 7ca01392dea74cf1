//! Files that go with a mail.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::{BodyPart, MimePart};

use super::ComposeError;

/// A file that goes with a mail: attached to it, or shown inside the HTML text.
///
/// The transfer encoding is done once, when the attachment is made; clones share it, so that one
/// attachment can go with any number of mails for the price of a copy into each.
///
/// ```
/// use posthaste::compose::Attachment;
///
/// let report = Attachment::new("report.pdf", b"%PDF-1.7 ...")?;
/// assert_eq!(report.media_type(), "application/pdf");
///
/// // Shown where the HTML text says <img src="cid:logo.png">.
/// let logo = Attachment::inline("logo.png", b"\x89PNG...")?;
/// # Ok::<(), posthaste::compose::ComposeError>(())
/// ```
#[derive(Clone)]
pub struct Attachment {
    name: Box<str>,
    media_type: Box<str>,
    has_utf8_text: bool,
    placement: Placement,
    /// The octets in base64, in lines of 76 characters.
    encoded: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    Attached,
    Inline,
}

impl Attachment {
    /// Attaches octets under a file name. The media type goes by the name's extension.
    ///
    /// # Errors
    ///
    /// When the name is empty or has a control character in it.
    pub fn new(name: impl Into<String>, octets: impl AsRef<[u8]>) -> Result<Self, ComposeError> {
        Self::placed(name.into(), octets.as_ref(), Placement::Attached)
    }

    /// Puts octets into the HTML text, which refers to them as `cid:NAME`.
    ///
    /// # Errors
    ///
    /// When the name cannot be a Content-ID: it must be visible ASCII without spaces and angle
    /// brackets.
    pub fn inline(name: impl Into<String>, octets: impl AsRef<[u8]>) -> Result<Self, ComposeError> {
        let name = name.into();
        if !name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>')) {
            return Err(ComposeError::ContentId(name));
        }
        Self::placed(name, octets.as_ref(), Placement::Inline)
    }

    /// Sets the media type, `type/subtype`.
    ///
    /// # Errors
    ///
    /// When it is not of that form, or is `multipart` or `message`, which may not be in base64
    /// (RFC 2045 section 6.4).
    pub fn with_media_type(mut self, media_type: impl Into<String>) -> Result<Self, ComposeError> {
        let media_type = media_type.into().to_ascii_lowercase();
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_octet);
        match media_type.split_once('/') {
            Some(("multipart" | "message", _)) => Err(ComposeError::MediaType(media_type)),
            Some((kind, subtype)) if is_token(kind) && is_token(subtype) => {
                self.media_type = media_type.into();
                Ok(self)
            }
            _ => Err(ComposeError::MediaType(media_type)),
        }
    }

    /// The file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Whether the HTML text shows it.
    pub fn is_inline(&self) -> bool {
        self.placement == Placement::Inline
    }

    pub(super) fn to_part(&self) -> MimePart<'_> {
        let mut media_type = ContentType::new(&*self.media_type);
        if self.has_utf8_text && self.media_type.starts_with("text/") {
            media_type = media_type.attribute("charset", "utf-8");
        }
        let octets = BodyPart::Binary(self.encoded.as_ref().into());
        let disposition = match self.placement {
            Placement::Attached => "attachment",
            Placement::Inline => "inline",
        };
        let part = MimePart::new(media_type, octets).transfer_encoding("base64").header(
            "Content-Disposition",
            ContentType::new(disposition).attribute("filename", &*self.name),
        );
        match self.placement {
            Placement::Attached => part,
            Placement::Inline => part.cid(&*self.name),
        }
    }

    fn placed(name: String, octets: &[u8], placement: Placement) -> Result<Self, ComposeError> {
        if let Some(c) = name.chars().find(|c| c.is_control()) {
            return Err(ComposeError::FileName { name, control: c });
        }
        if name.is_empty() {
            return Err(ComposeError::NoFileName);
        }
        Ok(Self {
            media_type: media_type_of(&name).into(),
            name: name.into(),
            has_utf8_text: std::str::from_utf8(octets).is_ok(),
            placement,
            encoded: encode(octets),
        })
    }
}

impl std::fmt::Debug for Attachment {
    /// Shows no octets: content belongs in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("name", &self.name)
            .field("media_type", &self.media_type)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

/// `token` of RFC 2045 section 5.1.
fn is_token_octet(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

/// Octets that make one line of 76 characters (RFC 2045 section 6.8).
const OCTETS_PER_LINE: usize = 57;

fn encode(octets: &[u8]) -> Bytes {
    let lines = octets.len().div_ceil(OCTETS_PER_LINE);
    let mut encoded = String::with_capacity(lines * 78);
    for line in octets.chunks(OCTETS_PER_LINE) {
        STANDARD.encode_string(line, &mut encoded);
        encoded.push_str("\r\n");
    }
    encoded.into()
}

/// The media type that goes with a file name's extension.
///
/// `eml` is not among them: message/rfc822 may not be in base64 (RFC 2046 section 5.2.1).
fn media_type_of(name: &str) -> &'static str {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        "txt" | "text" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "ics" => "text/calendar",
        "vcf" => "text/vcard",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "heic" => "image/heic",
        "svg" => "image/svg+xml",
        "tif" | "tiff" => "image/tiff",
        "bmp" => "image/bmp",
        "ico" => "image/vnd.microsoft.icon",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "xml" => "application/xml",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "7z" => "application/x-7z-compressed",
        "rtf" => "application/rtf",
        "epub" => "application/epub+zip",
        "doc" => "application/msword",
        "xls" => "application/vnd.ms-excel",
        "ppt" => "application/vnd.ms-powerpoint",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_go_by_the_extension() {
        for (name, expected) in [
            ("a.pdf", "application/pdf"),
            ("A.PDF", "application/pdf"),
            ("a.b.ics", "text/calendar"),
            ("a", "application/octet-stream"),
            ("a.eml", "application/octet-stream"),
            (".txt", "application/octet-stream"),
        ] {
            assert_eq!(Attachment::new(name, b"").unwrap().media_type(), expected, "{name}");
        }
    }

    #[test]
    fn media_types_that_could_break_the_header_are_refused() {
        let set = |media_type: &str| Attachment::new("a", b"").unwrap().with_media_type(media_type);
        assert_eq!(set("Image/X-Thing").unwrap().media_type(), "image/x-thing");
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "text/plain; x=y",
            "a/b\r\nx: y",
            "a/b/c",
            "message/rfc822",
        ] {
            assert_eq!(set(bad).unwrap_err(), ComposeError::MediaType(bad.to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn names_that_could_break_the_header_are_refused() {
        // IN-14
        let named = |name: &str| Attachment::new(name, b"").unwrap_err();
        assert_eq!(
            named("a\r\nb"),
            ComposeError::FileName { name: "a\r\nb".into(), control: '\r' }
        );
        assert_eq!(named(""), ComposeError::NoFileName);
        for bad in ["a b.png", "a>b", "ü.png", "a\n"] {
            let error = Attachment::inline(bad, b"").unwrap_err();
            assert_eq!(error, ComposeError::ContentId(bad.to_owned()));
        }
    }
}
