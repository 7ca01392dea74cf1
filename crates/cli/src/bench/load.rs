//! The mails of a measurement, made as they are needed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures_util::Stream;
use posthaste::session::{AddressError, Content, Envelope, ForwardPath, Mail, ReversePath};

/// Length of a line of content without its CRLF, as usual in mail.
const LINE: usize = 72;

/// The end of a Message-ID.
const ID_END: &[u8] = b"@posthaste.example>\r\n";

/// A stream of mails, each with a Message-ID of its own.
pub(super) struct Load {
    from: Pattern<ReversePath>,
    to: Pattern<ForwardPath>,
    recipients: u32,
    size: usize,
    /// What all mails have in common, but for a digit or so of their Message-ID; and how many digits it is for.
    body: (usize, Content),
    /// The Message-ID up to the number of the mail.
    id: String,
    next: u64,
    messages: Option<u64>,
    end: End,
}

/// Ends a load.
#[derive(Clone, Debug, Default)]
pub(super) struct End(Arc<AtomicBool>);

/// An address, made anew for each mail only if it has a placeholder in it.
enum Pattern<T> {
    Fixed(T),
    Varying(String),
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{0:?} is not an address")]
    Address(String, #[source] AddressError),
}

impl End {
    pub(super) fn set(&self) {
        self.0.store(true, Relaxed);
    }
}

impl Load {
    pub(super) fn new(
        from: &str,
        to: &str,
        recipients: u32,
        size: usize,
        messages: Option<u64>,
    ) -> Result<Self, LoadError> {
        let id = format!("Message-ID: <{}.", std::process::id());
        Ok(Self {
            from: Pattern::new(from, 1)?,
            to: Pattern::new(to, recipients)?,
            recipients,
            size,
            body: (1, body(size, id.len() + 1 + ID_END.len())),
            id,
            next: 0,
            messages,
            end: End::default(),
        })
    }

    pub(super) fn end(&self) -> End {
        self.end.clone()
    }

    fn mail(&mut self) -> Option<Mail> {
        let number = self.next;
        let from = self.from.make(number, 0)?;
        let envelope = if self.recipients == 1 {
            Envelope::to_one(from, self.to.make(number, 0)?)
        } else {
            let to = (0..self.recipients).map_while(|recipient| self.to.make(number, recipient));
            Envelope::new(from, to).ok()?
        };
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        if self.body.0 != digits.len() {
            let taken = self.id.len() + digits.len() + ID_END.len();
            self.body = (digits.len(), body(self.size, taken));
        }
        let id = [self.id.as_bytes(), digits.as_bytes(), ID_END].concat();
        let content = self.body.1.with_fields(id).ok()?;
        let mail = Mail::new(envelope, content);
        self.next += 1;
        Some(mail)
    }
}

/// A content that has so many octets with those that are `taken`: what follows the header, in whole lines.
fn body(octets: usize, taken: usize) -> Content {
    let line = (b'a'..=b'z').cycle().take(LINE).chain(*b"\r\n");
    let rest = octets.saturating_sub(taken + 4);
    let mut text: Vec<u8> = b"\r\n".iter().copied().chain(line.cycle().take(rest)).collect();
    // Never half a line end: the last line is cut two octets early and gets its own.
    text.truncate(text.trim_ascii_end().len().max(2));
    text.extend_from_slice(b"\r\n");
    // Lines of letters, each of 72 octets.
    Content::new(text).unwrap_or_else(|_| unreachable!())
}

impl Stream for Load {
    type Item = Mail;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Mail>> {
        let this = self.get_mut();
        let is_over =
            this.end.0.load(Relaxed) || this.messages.is_some_and(|messages| this.next >= messages);
        Poll::Ready(if is_over { None } else { this.mail() })
    }
}

impl<T: std::str::FromStr<Err = AddressError> + Clone> Pattern<T> {
    /// `recipients` is how many addresses a mail has of this pattern.
    fn new(text: &str, recipients: u32) -> Result<Self, LoadError> {
        let bad = |error| LoadError::Address(text.to_owned(), error);
        let first = fill(text, 0, 0).parse::<T>().map_err(bad)?;
        // The longest number must fit, too, so that no mail fails in the middle.
        fill(text, u64::MAX, u32::MAX).parse::<T>().map_err(bad)?;
        let varies = text.contains("{seq}") || recipients > 1 && text.contains("{rcpt}");
        Ok(if varies { Self::Varying(text.to_owned()) } else { Self::Fixed(first) })
    }

    fn make(&self, mail: u64, recipient: u32) -> Option<T> {
        match self {
            Self::Fixed(address) => Some(address.clone()),
            Self::Varying(text) => fill(text, mail, recipient).parse().ok(),
        }
    }
}

fn fill(pattern: &str, mail: u64, recipient: u32) -> String {
    pattern.replace("{seq}", &mail.to_string()).replace("{rcpt}", &recipient.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_have_the_size_that_was_asked_for() {
        for size in [200, 1024, 1025, 1026, 1098, 1099, 1100, 10_000] {
            let mut load = Load::new("a@b", "r{rcpt}-{seq}@c", 2, size, None).unwrap();
            load.mail().unwrap();
            let mail = load.mail().unwrap();
            assert!(mail.content.len().abs_diff(size) <= 2, "{size}: {}", mail.content.len());
            let paths: Vec<_> =
                mail.envelope.forward_paths().iter().map(ForwardPath::as_str).collect();
            assert_eq!(paths, ["r0-1@c", "r1-1@c"]);
        }
    }

    #[test]
    fn bad_patterns_are_refused_at_once() {
        assert!(Load::new("a b", "c@d", 1, 100, None).is_err());
        assert!(Load::new("a@b", &format!("{}{{seq}}@d", "x".repeat(60)), 1, 100, None).is_err());
    }
}
