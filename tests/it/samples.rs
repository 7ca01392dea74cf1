//! Contents that are chosen to hurt: whatever a client may do to one of them, a receiver sees it.

use posthaste::session::Content;

/// A content, as a user would hand it over.
pub(crate) struct Sample {
    /// What it hurts with.
    pub(crate) name: &'static str,
    /// Its octets, before transparency.
    pub(crate) octets: Vec<u8>,
}

impl Sample {
    fn new(name: &'static str, octets: impl Into<Vec<u8>>) -> Self {
        Self { name, octets: octets.into() }
    }

    /// A header and this body.
    fn body(name: &'static str, body: impl AsRef<[u8]>) -> Self {
        let header = format!("From: a@client.example\r\nSubject: {name}\r\n\r\n");
        Self::new(name, [header.as_bytes(), body.as_ref()].concat())
    }

    pub(crate) fn content(&self) -> Content {
        Content::new(self.octets.clone()).unwrap()
    }

    /// What a receiver has to see: the octets, and a final CRLF if it was missing (TX-07).
    pub(crate) fn expected(&self) -> Vec<u8> {
        let mut expected = self.octets.clone();
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend(b"\r\n");
        }
        expected
    }
}

/// Contents of up to 10 KiB (TX-07, TX-08, TX-09, TX-12, TX-27). Those without a header are empty
/// or begin with a dot.
pub(crate) fn samples() -> Vec<Sample> {
    let line = |start: &str| format!("{start}{}\r\n", "x".repeat(998 - start.len()));
    let controls: Vec<u8> = (1..32).chain([127]).filter(|b| !b"\r\n".contains(b)).collect();
    vec![
        Sample::body("leading dots", ".\r\n..\r\n...\r\n.a\r\n..b\r\n. c\r\n"),
        Sample::body("a lone dot on the last line", "a\r\n.\r\n"),
        Sample::body("a lone dot without a line end", "a\r\n."),
        Sample::body("no final line end", "a"),
        Sample::body("no body", ""),
        Sample::new("no blank line", "From: a@client.example\r\nSubject: no blank line\r\n"),
        Sample::new("a header without line end", "Subject: a header without line end"),
        Sample::new("only dots", ".\r\n..\r\n...\r\n"),
        Sample::new("one dot", "."),
        Sample::new("nothing", ""),
        Sample::body("lines as long as can be", [line(""), line("."), line("..")].concat()),
        Sample::body("octets above 127 that are no UTF-8", b"Gr\xfc\xdfe\r\n.\xff\r\n\x80"),
        Sample::new("UTF-8 in the header", "Subject: Grüße 🎈\r\n\r\n.Grüße\r\n"),
        Sample::body("trailing blanks", "a \r\n \r\n\t\r\nb\t \t\r\n  \r\n"),
        Sample::body("blank lines at both ends", "\r\n\r\n\r\na\r\n\r\n\r\n"),
        Sample::body("an end among blank lines", "\r\n\r\n.\r\n".repeat(50)),
        Sample::body("commands behind an end", "a\r\n.\r\nQUIT\r\n.\r\n\r\nRSET\r\nDATA\r\n.\r\n"),
        Sample::body("lines of mailboxes", "From a@b\r\n>From a@b\r\n\r\nFrom a@b\r\n"),
        Sample::body("control characters", &controls),
        Sample::body("a long run of dots", ".\r\n".repeat(3_000)),
        Sample::body("dots in every line", ".\r\n..\r\n.x\r\n".repeat(700)),
        Sample::body("dots few and far between", [line(""), line(".")].concat().repeat(5)),
    ]
}

/// Contents of 10 MiB: dots nowhere, here and there, and everywhere.
pub(crate) fn large_samples() -> Vec<Sample> {
    let fill = |pattern: &str| pattern.repeat((10 << 20) / pattern.len());
    let text = format!("{}\r\n", "0123456789abcdef".repeat(4));
    vec![
        Sample::body("10 MiB", fill(&text)),
        Sample::body("10 MiB with dots here and there", fill(&format!("{}.\r\n", text.repeat(99)))),
        Sample::body("10 MiB of dots", fill(".\r\n")),
    ]
}
