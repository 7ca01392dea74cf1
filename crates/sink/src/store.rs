//! Where accepted mails go.

mod files;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;

use crate::mail::Mail;
use crate::server::lock;
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
}
