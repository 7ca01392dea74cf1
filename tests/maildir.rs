//! What a server delivered.

use std::path::{Path, PathBuf};

use crate::wait::{PATIENCE, wait_until};

/// The folder in which a server files each copy of a mail as a file of its own.
#[derive(Clone, Debug)]
pub struct Maildir {
    path: PathBuf,
}

/// One copy of a mail, as a server filed it for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivered {
    /// The forward-path's mailbox, as the client gave it. Empty where the server does not tell.
    pub recipient: String,
    /// The reverse-path's mailbox; empty for the null reverse-path.
    pub sender: String,
    /// The content without the header fields that the server put before it. Servers file lines
    /// with a bare LF; here they end in CRLF again.
    pub content: Vec<u8>,
}

impl Maildir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Waits until at least `count` copies are there, and returns all of them, oldest first.
    ///
    /// # Panics
    ///
    /// When they do not come within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the copies stay in the folder.
    pub async fn wait_for(&self, count: usize) -> Vec<Delivered> {
        let what = format!("{count} copies of mails in {}", self.path.display());
        wait_until(PATIENCE, &what, || (self.files().len() >= count).then_some(())).await;
        self.mails()
    }

    /// The copies that are there now, oldest first.
    pub fn mails(&self) -> Vec<Delivered> {
        let mut files: Vec<_> = self
            .files()
            .into_iter()
            .map(|file| (file.metadata().and_then(|data| data.modified()).unwrap(), file))
            .collect();
        files.sort();
        files.iter().map(|(_, file)| Delivered::parse(&std::fs::read(file).unwrap())).collect()
    }

    /// The folder itself, with its `new`, `cur` and `tmp`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> Vec<PathBuf> {
        // The server makes the folder with its first mail.
        let Ok(entries) = self.path.join("new").read_dir() else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Delivered {
    /// Takes off the fields that the servers add: those about the envelope, up to and including
    /// their own `Received`, which is the last of them.
    fn parse(file: &[u8]) -> Self {
        let mut mail = Self { recipient: String::new(), sender: String::new(), content: vec![] };
        let mut rest = file;
        loop {
            let (field, after) = split_field(rest);
            let Some((name, value)) = field.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "return-path" => mail.sender = address(value),
                "x-original-to" | "envelope-to" => mail.recipient = address(value),
                "delivered-to" if mail.recipient.is_empty() => mail.recipient = address(value),
                "delivered-to" | "delivery-date" => {}
                "received" => {
                    rest = after;
                    break;
                }
                _ => break,
            }
            rest = after;
        }
        for line in rest.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => mail.content.extend([text, b"\r\n"].concat()),
                None => mail.content.extend(line),
            }
        }
        mail
    }
}

/// The first header field with its folded lines, and what comes behind it.
fn split_field(content: &[u8]) -> (String, &[u8]) {
    let folded = |at: usize| matches!(content.get(at + 1), Some(b' ' | b'\t'));
    let end = (0..content.len())
        .find(|&at| content[at] == b'\n' && !folded(at))
        .map_or(content.len(), |at| at + 1);
    let (field, rest) = content.split_at(end);
    (String::from_utf8_lossy(field).into_owned(), rest)
}

fn address(value: &str) -> String {
    value.trim().trim_start_matches('<').trim_end_matches('>').to_owned()
}
