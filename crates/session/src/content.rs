//! The content of a mail, checked once and made transparent without copying it.

mod check;
mod chunk;
mod transparency;

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use check::{Findings, check, check_fields};
pub(crate) use chunk::ChunkCursor;
use transparency::Transparency;

/// Longest text line without its CRLF (RFC 5321 section 4.5.3.1.6 allows 1000 octets with it).
pub const MAX_LINE: usize = 998;
/// What ends a line.
const CRLF: &[u8] = b"\r\n";
/// What ends content (RFC 5321 section 4.1.1.4), where the content has its own final CRLF.
pub(crate) const TERMINATOR: &[u8] = b".\r\n";
/// The same where the final CRLF is missing.
const TERMINATOR_WITH_CRLF: &[u8] = b"\r\n.\r\n";

/// Why octets cannot be the content of a mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A line feed without a carriage return before it: receivers disagree whether it ends a line.
    #[error("bare line feed at octet {at}; lines must end in CRLF")]
    BareLf {
        /// Offset of the line feed in octets.
        at: usize,
    },
    /// A carriage return without a line feed behind it.
    #[error("bare carriage return at octet {at}; lines must end in CRLF")]
    BareCr {
        /// Offset of the carriage return in octets.
        at: usize,
    },
    /// A NUL octet, which only BINARYMIME could carry.
    #[error("NUL at octet {at}")]
    Nul {
        /// Offset of the NUL in octets.
        at: usize,
    },
    /// Header fields that are not whole lines, or with an empty line among them.
    #[error("expected header fields, each a line that ends in CRLF and none of them empty")]
    NotFields,
    /// A line longer than [`MAX_LINE`].
    #[error("line {line} has {octets} octets, and at most {MAX_LINE} are allowed")]
    LongLine {
        /// Number of the line, from 1.
        line: usize,
        /// Its length in octets without the CRLF.
        octets: usize,
    },
}

/// The content of a mail: header section and body in RFC 5322 form, every line ended by CRLF.
///
/// It is checked and searched for line-initial dots once, when it is made. Clones share everything, so that
/// one content can go out under any number of envelopes.
///
/// The octets are given *before* transparency (RFC 5321 section 4.5.2): dots must not be doubled already.
///
/// ```
/// use posthaste_session::Content;
///
/// let content = Content::new("Subject: hi\r\n\r\n.hidden\r\n")?;
/// assert_eq!(content.len(), 24);
/// assert!(Content::new("Subject: hi\n").is_err());
/// assert_eq!(Content::normalized("Subject: hi\n")?.to_bytes(), &b"Subject: hi\r\n"[..]);
/// # Ok::<(), posthaste_session::ContentError>(())
/// ```
#[derive(Clone)]
pub struct Content(Arc<Checked>);

/// Octets, and what the check has found.
struct Checked {
    octets: Bytes,
    /// How those octets go out, without what is behind them.
    transparency: Transparency,
    /// The octets are header fields in front of this content, which has none of that kind.
    behind: Option<Content>,
    /// Octets as SIZE counts them, with what is behind and with the line end that is added.
    len: usize,
    /// The last line has no CRLF, so that one is added.
    is_open: bool,
    has_8bit: bool,
    header_needs_smtputf8: bool,
    is_binary: bool,
}

impl Content {
    /// Takes octets as they are.
    ///
    /// # Errors
    ///
    /// Refuses bare CR, bare LF, NUL and lines over [`MAX_LINE`]: servers disagree about them, and that
    /// disagreement is what lets a mail smuggle another one in (CVE-2023-51764).
    pub fn new(octets: impl Into<Bytes>) -> Result<Self, ContentError> {
        let octets = octets.into();
        let Findings { has_8bit, has_dots } = check(&octets)?;
        let (behind, is_binary) = (None, false);
        let is_open = !octets.is_empty() && !octets.ends_with(CRLF);
        Ok(Self::from_checked(Checked {
            transparency: transparency(&octets, has_dots),
            has_8bit,
            header_needs_smtputf8: has_8bit && header_needs_smtputf8(&octets),
            len: octets.len() + if is_open { CRLF.len() } else { 0 },
            octets,
            behind,
            is_open,
            is_binary,
        }))
    }

    fn from_checked(checked: Checked) -> Self {
        Self(Arc::new(checked))
    }

    /// Takes octets as they are, whatever they are, to be sent as they are: with `BODY=BINARYMIME`, by BDAT, and
    /// only to servers that offer BINARYMIME and CHUNKING (RFC 3030).
    ///
    /// Nothing else than BDAT can carry such a mail, so use it only for what is not text in lines.
    ///
    /// ```
    /// use posthaste_session::Content;
    ///
    /// let content = Content::binary(&b"Content-Transfer-Encoding: binary\r\n\r\n\0\n\r"[..]);
    /// assert!(content.is_binary());
    /// ```
    pub fn binary(octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        let header_needs_smtputf8 = !octets.is_ascii() && header_needs_smtputf8(&octets);
        let (transparency, behind) = (Transparency::Clean, None);
        let (has_8bit, is_binary) = (true, true);
        Self::from_checked(Checked {
            len: octets.len(),
            octets,
            transparency,
            behind,
            is_open: false,
            has_8bit,
            header_needs_smtputf8,
            is_binary,
        })
    }

    /// This content with more header fields in front of it. For mails to many that differ in some fields: what they
    /// have in common is checked once, in memory once, and never copied. The fields are lines; what is in them is
    /// not looked at.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when the fields are not whole lines, or have an empty line among them.
    ///
    /// ```
    /// use posthaste_session::Content;
    ///
    /// let news = Content::new("Subject: News\r\n\r\nThere is none.\r\n")?;
    /// let one = news.with_fields("Message-ID: <1@news.example>\r\n")?;
    /// assert!(one.to_bytes().starts_with(b"Message-ID: <1@news.example>\r\nSubject: News\r\n\r\n"));
    /// # Ok::<(), posthaste_session::ContentError>(())
    /// ```
    pub fn with_fields(&self, fields: impl Into<Bytes>) -> Result<Self, ContentError> {
        let mut fields = fields.into();
        if fields.is_empty() {
            return Ok(self.clone());
        }
        let mut behind = self;
        if let Some(content) = &self.0.behind {
            // One step is enough for everybody.
            fields = [&*fields, &*self.0.octets].concat().into();
            behind = content;
        }
        let Findings { has_8bit, has_dots } = check_fields(&fields)?;
        Ok(Self::from_checked(Checked {
            transparency: transparency(&fields, has_dots),
            has_8bit: has_8bit || behind.has_8bit(),
            header_needs_smtputf8: has_8bit && header_needs_smtputf8(&fields)
                || behind.header_needs_smtputf8(),
            is_binary: behind.is_binary(),
            len: fields.len() + behind.len(),
            is_open: behind.0.is_open,
            octets: fields,
            behind: Some(behind.clone()),
        }))
    }

    /// Takes octets with any line ends (CRLF, LF or CR) and turns each into CRLF.
    ///
    /// # Errors
    ///
    /// Refuses NUL and lines over [`MAX_LINE`].
    pub fn normalized(octets: impl Into<Bytes>) -> Result<Self, ContentError> {
        let octets = octets.into();
        match Self::new(octets.clone()) {
            // A long line may be several that end in CR.
            Err(
                ContentError::BareLf { .. }
                | ContentError::BareCr { .. }
                | ContentError::LongLine { .. },
            ) => Self::new(with_crlf_line_ends(&octets)),
            result => result,
        }
    }

    /// The octets that were given, copied only where there are [fields](Self::with_fields) in front of others.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0.behind {
            None => self.0.octets.clone(),
            Some(behind) => [&*self.0.octets, &*behind.0.octets].concat().into(),
        }
    }

    /// The octets as they go out without transparency, in order.
    fn parts(&self) -> [&[u8]; 3] {
        let behind = self.0.behind.as_ref().map_or(&[][..], |behind| &*behind.0.octets);
        [&self.0.octets, behind, if self.0.is_open { CRLF } else { b"" }]
    }

    /// Length in octets as SIZE counts it (RFC 1870 section 5): CRLFs count, transparency does not.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it is not text in lines, so that the server must offer BINARYMIME (RFC 3030).
    pub fn is_binary(&self) -> bool {
        self.0.is_binary
    }

    /// Whether nothing was given. An empty content is still a mail.
    pub fn is_empty(&self) -> bool {
        self.0.octets.is_empty()
    }

    /// Whether any octet is above 127, so that the server must offer 8BITMIME (RFC 6152).
    pub fn has_8bit(&self) -> bool {
        self.0.has_8bit
    }

    /// Whether the header section has UTF-8 in it, so that the server must offer SMTPUTF8 (RFC 6531).
    pub fn header_needs_smtputf8(&self) -> bool {
        self.0.header_needs_smtputf8
    }

    /// Whether its octets are what goes out before the terminator: no dot has to be doubled.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.0.transparency, Transparency::Clean)
            && self.0.behind.as_ref().is_none_or(Self::is_clean)
    }

    /// Number of slices that the wire form consists of, the terminator included.
    fn slice_count(&self) -> usize {
        let behind = self.0.behind.as_ref().map_or(1, Self::slice_count);
        self.0.slice_count() + behind
    }

    /// Slice `index` of the wire form.
    fn slice(&self, index: usize) -> &[u8] {
        let own = self.0.slice_count();
        match (&self.0.behind, index.checked_sub(own)) {
            (_, None) => self.0.slice(index),
            (Some(behind), Some(index)) => behind.slice(index),
            (None, Some(_)) if self.0.is_open => TERMINATOR_WITH_CRLF,
            (None, Some(_)) => TERMINATOR,
        }
    }
}

impl Checked {
    /// Number of slices that its own octets are on the wire.
    fn slice_count(&self) -> usize {
        match &self.transparency {
            Transparency::Clean | Transparency::Dense(_) => 1,
            Transparency::Sparse(dots) => dots.len() + 1,
        }
    }

    /// A dot is doubled by ending one slice with it and beginning the next with it.
    fn slice(&self, index: usize) -> &[u8] {
        match &self.transparency {
            Transparency::Clean => &self.octets,
            Transparency::Dense(stuffed) => stuffed,
            Transparency::Sparse(dots) => {
                let start = index.checked_sub(1).and_then(|before| dots.get(before)).copied();
                let end = dots.get(index).map_or(self.octets.len(), |dot| dot + 1);
                &self.octets[start.unwrap_or(0)..end]
            }
        }
    }
}

impl fmt::Debug for Content {
    /// Shows sizes only: content belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("octets", &self.len())
            .field("has_8bit", &self.0.has_8bit)
            .finish()
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        (self.is_binary(), self.to_bytes()) == (other.is_binary(), other.to_bytes())
    }
}

impl Eq for Content {}

impl TryFrom<Bytes> for Content {
    type Error = ContentError;

    fn try_from(octets: Bytes) -> Result<Self, Self::Error> {
        Self::new(octets)
    }
}

/// How far the wire form of a content (transparency applied, terminator behind it) has been sent.
#[derive(Clone, Debug)]
pub(crate) struct ContentCursor {
    content: Content,
    slice: usize,
    offset: usize,
}

impl ContentCursor {
    pub(crate) fn new(content: Content) -> Self {
        Self { content, slice: 0, offset: 0 }
    }

    /// Octets of the whole wire form.
    pub(crate) fn wire_len(content: &Content) -> usize {
        (0..content.slice_count()).map(|index| content.slice(index).len()).sum()
    }

    /// Fills `out` with what is still to send and says how many slices were used.
    pub(crate) fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut offset = self.offset;
        for index in self.slice..self.content.slice_count() {
            let Some(place) = out.get_mut(used) else { break };
            let slice = &self.content.slice(index)[offset..];
            offset = 0;
            if !slice.is_empty() {
                *place = IoSlice::new(slice);
                used += 1;
            }
        }
        used
    }

    /// Moves on by at most `octets` and returns how many of them belonged to something else behind.
    pub(crate) fn advance(&mut self, mut octets: usize) -> usize {
        while self.slice < self.content.slice_count() {
            let rest = self.content.slice(self.slice).len() - self.offset;
            if octets < rest {
                self.offset += octets;
                return 0;
            }
            octets -= rest;
            self.slice += 1;
            self.offset = 0;
        }
        octets
    }

    pub(crate) fn is_done(&self) -> bool {
        self.slice == self.content.slice_count()
    }
}

fn transparency(octets: &[u8], has_dots: bool) -> Transparency {
    if has_dots { Transparency::of_dotted(octets) } else { Transparency::Clean }
}

fn header_needs_smtputf8(octets: &[u8]) -> bool {
    if octets.starts_with(b"\r\n") {
        return false;
    }
    let header = match memmem::find(octets, b"\r\n\r\n") {
        Some(end) => octets.get(..end).unwrap_or(octets),
        None => octets,
    };
    // Other 8-bit octets in a header are no SMTPUTF8 either; they travel as 8BITMIME does.
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}

fn with_crlf_line_ends(octets: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut rest = octets;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        let (line, behind) = rest.split_at(end);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        let line_end = if behind.starts_with(b"\r\n") { 2 } else { 1 };
        rest = &behind[line_end..];
    }
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(content: &Content) -> Vec<u8> {
        let mut cursor = ContentCursor::new(content.clone());
        let mut out = Vec::new();
        while !cursor.is_done() {
            let mut slices = [IoSlice::new(&[]); 3];
            let used = cursor.slices(&mut slices);
            let before = out.len();
            slices[..used].iter().for_each(|slice| out.extend_from_slice(slice));
            let octets = out.len() - before;
            assert_eq!(cursor.advance(octets), 0);
        }
        assert_eq!(out.len(), ContentCursor::wire_len(content));
        out
    }

    #[track_caller]
    fn check_wire(octets: &str, expected: &str) {
        let content = Content::new(octets.to_owned()).unwrap();
        assert_eq!(String::from_utf8(wire(&content)).unwrap(), expected);
        // The sparse and the dense form must not differ: pad until slices pay, then take the padding off again.
        let pad = "x".repeat(900) + "\r\n";
        let padded = Content::new(pad.repeat(9) + octets).unwrap();
        let sent = String::from_utf8(wire(&padded)).unwrap();
        assert_eq!(sent.strip_prefix(&pad.repeat(9)).unwrap(), expected);
    }

    #[test]
    fn transparency() {
        check_wire("", ".\r\n"); // TX-07
        check_wire("x", "x\r\n.\r\n"); // TX-07
        check_wire("x\r\n", "x\r\n.\r\n"); // TX-07
        check_wire("x\r\n\r\n", "x\r\n\r\n.\r\n"); // TX-07
        check_wire(".", "..\r\n.\r\n"); // SM-04
        check_wire(".x\r\n", "..x\r\n.\r\n"); // SM-04
        check_wire("\r\n\r\n.\r\n", "\r\n\r\n..\r\n.\r\n"); // TX-09, SM-02
        check_wire("x\r\n.", "x\r\n..\r\n.\r\n"); // SM-05
        check_wire(".\r\n..\r\n...\r\n", "..\r\n...\r\n....\r\n.\r\n"); // TX-08
        check_wire("a\r\n. \r\n", "a\r\n.. \r\n.\r\n"); // SM-11
        check_wire("a.b\r\nc.", "a.b\r\nc.\r\n.\r\n");
    }

    #[test]
    fn smuggling_sequences_are_refused() {
        // SM-01, TX-10
        for octets in [
            "a\n.\n",
            "a\n.\r",
            "a\r.\n",
            "a\r.\r",
            "a\n.\r\n",
            "a\r.\r\n",
            "a\r\n.\r\r\n",
            "a\r\r\n.\r\r\n",
            "a\r\n\0.\r\n",
            "\n",
            "\r",
            "a\n\r",
        ] {
            assert!(Content::new(octets).is_err(), "{octets:?}");
        }
        assert_eq!(Content::new("ab\ncd\r\n").unwrap_err(), ContentError::BareLf { at: 2 });
        assert_eq!(Content::new("ab\rcd\r\n").unwrap_err(), ContentError::BareCr { at: 2 });
        assert_eq!(Content::new("ab\0").unwrap_err(), ContentError::Nul { at: 2 }); // TX-14
    }

    #[test]
    fn line_lengths() {
        // TX-12
        let line = |octets: usize| Content::new(format!("a\r\n{}\r\n", "x".repeat(octets)));
        assert!(line(MAX_LINE).is_ok());
        assert_eq!(line(999).unwrap_err(), ContentError::LongLine { line: 2, octets: 999 });
        assert!(Content::new("x".repeat(999)).is_err());
        assert!(
            Content::new(format!(".{}\r\n", "x".repeat(997))).is_ok(),
            "the doubled dot does not count"
        );
    }

    #[test]
    fn line_ends_are_normalized() {
        for (octets, expected) in [
            ("a\nb", "a\r\nb"),
            ("a\r\nb\n", "a\r\nb\r\n"),
            ("a\rb", "a\r\nb"),
            ("a\r\r\n.\r\r\n", "a\r\n\r\n.\r\n\r\n"),
            ("\n\n", "\r\n\r\n"),
        ] {
            assert_eq!(
                Content::normalized(octets).unwrap().to_bytes(),
                expected.as_bytes(),
                "{octets:?}"
            );
        }
    }

    #[test]
    fn lines_are_measured_as_they_are_sent() {
        let lines = Content::normalized("a line\r".repeat(200)).unwrap();
        assert_eq!(lines.to_bytes(), "a line\r\n".repeat(200).as_bytes());
        assert!(Content::normalized("x".repeat(999) + "\r").is_err());
    }

    #[test]
    fn what_a_server_must_offer() {
        let flags = |octets: &'static [u8]| {
            let content = Content::new(Bytes::from_static(octets)).unwrap();
            (content.has_8bit(), content.header_needs_smtputf8())
        };
        assert_eq!(flags(b"Subject: a\r\n\r\nb"), (false, false));
        assert_eq!(flags("Subject: a\r\n\r\nü".as_bytes()), (true, false)); // 8BIT-01
        assert_eq!(flags("Subject: ü\r\n\r\nb".as_bytes()), (true, true)); // UTF8-01
        assert_eq!(flags(b"Subject: \xfc\r\n\r\nb"), (true, false));
        assert_eq!(flags("\r\nü\r\n\r\nb".as_bytes()), (true, false), "no header section");
    }

    #[test]
    fn size_counts_line_ends_but_not_transparency() {
        // SIZE-01
        assert_eq!(Content::new(".a\r\n").unwrap().len(), 4);
        assert_eq!(Content::new(".a").unwrap().len(), 4);
        assert_eq!(Content::new("").unwrap().len(), 0);
    }

    #[test]
    fn fields_are_whole_lines() {
        let content = Content::new("Subject: a\r\n\r\nb").unwrap();
        for fields in ["A: b", "A: b\r\n\r\n", "\r\n", "A: b\r\n\r\nC: d\r\n"] {
            assert_eq!(content.with_fields(fields), Err(ContentError::NotFields), "{fields:?}");
        }
        assert_eq!(content.with_fields("A: b\n").unwrap_err(), ContentError::BareLf { at: 4 });
        assert!(Arc::ptr_eq(&content.with_fields("").unwrap().0, &content.0), "shared");
        let named = content.with_fields("To: ü\r\n").unwrap();
        assert!(named.header_needs_smtputf8() && named.has_8bit());
    }

    proptest::proptest! {
        /// With fields in front a content is what it would be had it been made of both, on the wire as well.
        #[test]
        fn fields_and_content_are_one(
            fields in "(\\.?[a.]{1,4}\r\n){0,3}",
            more in "(\\.?[a.]{1,4}\r\n){0,2}",
            octets in "(\\.?[a.]{0,4}\r\n){0,4}\\.?[a.]{0,3}",
            step in 1_usize..9,
        ) {
            let content = Content::new(octets.clone()).unwrap();
            let joined = content.with_fields(more.clone()).unwrap().with_fields(fields.clone()).unwrap();
            let whole = Content::new(fields + &more + &octets).unwrap();
            proptest::prop_assert_eq!(&joined, &whole);
            proptest::prop_assert_eq!((joined.len(), joined.is_empty()), (whole.len(), whole.is_empty()));
            proptest::prop_assert_eq!(wire(&joined), wire(&whole));
            proptest::prop_assert_eq!(chunk::tests::sent(&joined, step, 3), chunk::tests::sent(&whole, step, 3));
        }

        /// A lenient receiver that takes any of the usual forms of "dot alone on a line" as the end of content.
        #[test]
        fn no_receiver_sees_an_early_end(octets in "[.\r\na]{0,40}") {
            let content = Content::normalized(octets).unwrap();
            let sent = wire(&content);
            let body = sent.strip_suffix(b"\r\n.\r\n").or(sent.strip_suffix(b".\r\n")).unwrap();
            for end in ["\n.\n", "\n.\r", "\r.\n", "\r.\r"] {
                proptest::prop_assert!(memmem::find(body, end.as_bytes()).is_none());
            }
            proptest::prop_assert!(!body.starts_with(b".\r") && !body.starts_with(b".\n"));
            let mut expected = content.to_bytes().to_vec();
            if content.0.is_open { expected.extend_from_slice(b"\r\n"); }
            let unstuffed: Vec<u8> = {
                let text = String::from_utf8(sent[..sent.len() - 3].to_vec()).unwrap();
                text.split_inclusive("\r\n").flat_map(|line| line.strip_prefix('.').unwrap_or(line).bytes()).collect()
            };
            proptest::prop_assert_eq!(unstuffed, expected);
        }
    }
}
