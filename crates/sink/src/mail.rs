//! A mail as a session receives it.

use std::time::Duration;

use bytes::Bytes;

use crate::proxy_protocol::ProxyHeader;

/// A mail that a sink kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The name that the final reply gave it.
    pub queue_id: String,
    /// The reverse-path; empty for the null one.
    pub reverse_path: String,
    /// The parameters of MAIL as they were sent: `SIZE=10 RET=HDRS`.
    pub parameters: String,
    /// The accepted forward-paths, in order.
    pub recipients: Vec<String>,
    /// The parameters of RCPT for each recipient.
    pub recipient_parameters: Vec<String>,
    /// Whom the client speaks for.
    pub on_behalf_of: OnBehalfOf,
    /// When the input came that ended the content, from the start of the sink on.
    pub received: Duration,
    /// The content, without transparency.
    pub content: Bytes,
}

/// Whom a proxy says that it speaks for; empty if it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnBehalfOf {
    /// The attributes of XCLIENT, in the order they came: `ADDR=192.0.2.1 NAME=spike.example`.
    pub xclient: String,
    /// The header of the PROXY protocol.
    pub proxy: Option<ProxyHeader>,
}

/// The most mails that came within any time of this length: at a rate of 100/s, one within 10 ms.
///
/// ```
/// # fn check(sink: &posthaste_sink::Sink) {
/// use std::time::Duration;
///
/// assert!(posthaste_sink::most_within(&sink.mails(), Duration::from_millis(10)) <= 2);
/// # }
/// ```
pub fn most_within(mails: &[Mail], time: Duration) -> usize {
    let mut times: Vec<_> = mails.iter().map(|mail| mail.received).collect();
    times.sort_unstable();
    let mut first = 0;
    let counts = times.iter().enumerate().map(|(last, received)| {
        while first < last && *received - times[first] >= time {
            first += 1;
        }
        last - first + 1
    });
    counts.max().unwrap_or(0)
}

/// The envelope of the mail transaction at hand: its buffers are used again for each, so that a mail
/// costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    /// The reverse-path and the forward-paths.
    paths: Texts,
    /// The parameters of each.
    parameters: Texts,
}

/// Texts behind one another, as the octets they came in: they are UTF-8, as whoever wants text is
/// told, but few want it.
#[derive(Debug, Default)]
struct Texts {
    text: Vec<u8>,
    /// Where each ends in `text`.
    ends: Vec<usize>,
}

impl Texts {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len());
    }

    fn behind_first(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.array_windows().map(|&[start, end]| &self.text[start..end])
    }

    /// The first one; empty if there is none.
    fn first(&self) -> &[u8] {
        &self.text[..self.ends.first().copied().unwrap_or(0)]
    }
}

impl Envelope {
    pub(crate) fn clear(&mut self) {
        self.paths.clear();
        self.parameters.clear();
    }

    pub(crate) fn begin(&mut self, reverse_path: &[u8], parameters: &[u8]) {
        self.clear();
        self.paths.push(reverse_path);
        self.parameters.push(parameters);
    }

    pub(crate) fn push(&mut self, forward_path: &[u8], parameters: &[u8]) {
        self.paths.push(forward_path);
        self.parameters.push(parameters);
    }

    pub(crate) fn reverse_path(&self) -> &[u8] {
        self.paths.first()
    }

    pub(crate) fn parameters(&self) -> &[u8] {
        self.parameters.first()
    }

    pub(crate) fn recipients(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.behind_first()
    }

    pub(crate) fn recipient_parameters(&self) -> impl Iterator<Item = &[u8]> {
        self.parameters.behind_first()
    }

    /// The number of recipients.
    pub(crate) fn len(&self) -> usize {
        self.paths.ends.len().saturating_sub(1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_shows_in_any_stretch_of_time() {
        let mails = |times: &[u64]| -> Vec<Mail> {
            let mail = |&micros| Mail {
                queue_id: String::new(),
                reverse_path: String::new(),
                parameters: String::new(),
                recipients: Vec::new(),
                recipient_parameters: Vec::new(),
                on_behalf_of: OnBehalfOf::default(),
                received: Duration::from_micros(micros),
                content: Bytes::new(),
            };
            times.iter().map(mail).collect()
        };
        let within = |times, micros| most_within(&mails(times), Duration::from_micros(micros));
        assert_eq!(within(&[], 10), 0);
        assert_eq!(within(&[5], 10), 1);
        // Sessions on several cores may be kept out of order.
        assert_eq!(within(&[0, 30, 21, 12, 9, 10], 10), 3);
        assert_eq!(within(&[0, 10, 20, 30], 10), 1);
        assert_eq!(within(&[0, 10, 20, 30], 11), 2);
        assert_eq!(within(&[7, 7, 7], 0), 1);
    }

    #[test]
    fn an_envelope_is_used_again() {
        let mut envelope = Envelope::default();
        for _ in 0..2 {
            envelope.begin(b"a@b", b"SIZE=1");
            assert!(envelope.is_empty());
            envelope.push(b"c@d", b"");
            envelope.push(b"e@f", b"NOTIFY=NEVER");
            assert_eq!(envelope.reverse_path(), b"a@b");
            assert_eq!(envelope.parameters(), b"SIZE=1");
            let parameters: Vec<_> = envelope.recipient_parameters().collect();
            assert_eq!(parameters, [&b""[..], b"NOTIFY=NEVER"]);
            assert_eq!(envelope.recipients().collect::<Vec<_>>(), [b"c@d", b"e@f"]);
            assert_eq!(envelope.len(), 2);
        }
    }
}
