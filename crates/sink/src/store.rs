//! Where accepted mails go.

mod files;

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::mail::{Envelope, Mail, message_id};
use crate::server::address_hash;
use files::{JsonLines, Maildir, Mbox};

/// Where accepted mails go, as `--store` names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// Nowhere: they are counted. (`count` says the same, and asks for duplicates to be counted.)
    #[default]
    None,
    /// Into memory, for tests.
    Memory,
    /// Into a Maildir.
    Maildir(PathBuf),
    /// Behind one another into a file (mboxrd).
    Mbox(PathBuf),
    /// Into a file with a JSON object in each line: `queue_id`, `from`, `to`, `content`, `bytes`, and
    /// `received_us`, the microseconds from the start of the sink to the end of the content; where
    /// the client gave them, `parameters` (of MAIL), `to_parameters` (of each RCPT), `xclient`,
    /// `proxy`.
    JsonLines(PathBuf),
}

impl FromStr for StoreKind {
    type Err = StoreKindError;

    fn from_str(text: &str) -> Result<Self, StoreKindError> {
        let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        let kind = match text.split_once(':') {
            None if text == "none" || text == "count" => Some(Self::None),
            None if text == "memory" => Some(Self::Memory),
            Some(("maildir", dir)) => path(dir).map(Self::Maildir),
            Some(("mbox", file)) => path(file).map(Self::Mbox),
            Some(("jsonl", file)) => path(file).map(Self::JsonLines),
            None | Some(_) => None,
        };
        kind.ok_or_else(|| StoreKindError { got: text.to_owned() })
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Memory => f.write_str("memory"),
            Self::Maildir(dir) => write!(f, "maildir:{}", dir.display()),
            Self::Mbox(file) => write!(f, "mbox:{}", file.display()),
            Self::JsonLines(file) => write!(f, "jsonl:{}", file.display()),
        }
    }
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected none, count, memory, maildir:DIR, mbox:FILE or jsonl:FILE, got {got:?}")]
pub struct StoreKindError {
    got: String,
}

/// An open store.
#[derive(Debug)]
pub(crate) enum Store {
    None,
    Memory(Mutex<Vec<Mail>>),
    Maildir(Maildir),
    Mbox(Mbox),
    JsonLines(JsonLines),
}

impl Store {
    pub(crate) fn open(kind: &StoreKind) -> io::Result<Self> {
        Ok(match kind {
            StoreKind::None => Self::None,
            StoreKind::Memory => Self::Memory(Mutex::default()),
            StoreKind::Maildir(dir) => Self::Maildir(Maildir::open(dir)?),
            StoreKind::Mbox(file) => Self::Mbox(Mbox::open(file)?),
            StoreKind::JsonLines(file) => Self::JsonLines(JsonLines::open(file)?),
        })
    }

    /// Whether content needs to be kept until [`Store::keep`].
    pub(crate) fn wants_content(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Keeps a mail. What is kept is on its way to the disk and not necessarily there. Files are
    /// written in the session's own time, so that no mail is acknowledged that could not be kept.
    pub(crate) fn keep(&self, mail: Mail) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Memory(mails) => {
                let mut mails = lock(mails);
                if mails.len() >= MAX_MAILS_IN_MEMORY {
                    return Err(io::Error::from(io::ErrorKind::StorageFull));
                }
                mails.push(mail);
                Ok(())
            }
            Self::Maildir(maildir) => maildir.keep(&mail),
            Self::Mbox(mbox) => mbox.keep(&mail),
            Self::JsonLines(lines) => lines.keep(&mail),
        }
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        match self {
            Self::Memory(mails) => lock(mails).clone(),
            Self::None | Self::Maildir(_) | Self::Mbox(_) | Self::JsonLines(_) => Vec::new(),
        }
    }
}

/// The pairs of Message-ID and recipient that were accepted, as hashes.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    /// Split by hash, so that sessions on several cores seldom wait for one another.
    shards: [Mutex<HashSet<u64>>; SHARDS],
}

impl Duplicates {
    /// Counts the recipients who got this mail before. A mail without Message-ID has no duplicates.
    pub(crate) fn count(&self, envelope: &Envelope, content: &[u8]) -> u32 {
        let Some(id) = message_id(content) else { return 0 };
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let mut duplicates = 0;
        for recipient in envelope.recipients() {
            let mut hasher = hasher.clone();
            address_hash(recipient).hash(&mut hasher);
            // With 64 bits, a hundred million mails have a false duplicate once in 4 000 runs.
            let hash = hasher.finish();
            if !lock(&self.shards[hash as usize % SHARDS]).insert(hash) {
                duplicates += 1;
            }
        }
        duplicates
    }

    /// How much of a mail's content has to be kept to find its Message-ID.
    pub(crate) const HEADER: usize = 64 << 10;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking session left is whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Several times the cores a sink runs on.
const SHARDS: usize = 16;

/// A test that keeps more than this in memory wants a file.
const MAX_MAILS_IN_MEMORY: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_and_shown() {
        for text in ["none", "memory", "maildir:/a/b", "mbox:x", "jsonl:x:y"] {
            assert_eq!(text.parse::<StoreKind>().unwrap().to_string(), text);
        }
        assert_eq!("count".parse(), Ok(StoreKind::None));
        for text in ["", "nowhere", "maildir", "mbox:", "count:x"] {
            assert!(text.parse::<StoreKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn duplicates_are_by_message_id_and_recipient() {
        let duplicates = Duplicates::default();
        let count = |id: &str, recipients: &[&str]| {
            let mut envelope = Envelope::default();
            envelope.begin("a@x", "");
            recipients.iter().for_each(|recipient| envelope.push(recipient, ""));
            duplicates.count(&envelope, format!("Message-ID: {id}\r\n\r\n").as_bytes())
        };
        assert_eq!(count("<1>", &["b@y", "c@y"]), 0);
        assert_eq!(count("<2>", &["b@y", "c@y"]), 0);
        assert_eq!(count("<1>", &["c@y", "d@y"]), 1);
        assert_eq!(count("<1>", &["B@y", "b@y"]), 2);
        assert_eq!(count("", &["b@y"]), 0);
        assert_eq!(count("", &["b@y"]), 0);
    }
}
