//! What `posthaste send` reads: files, Maildirs, mboxes, JSON lines, composed mails and merges.
//!
//! [`InputArgs`] are the flags. [`InputArgs::check`] makes [`Inputs`] of them, which opens every
//! file once, so that one that cannot be read is an error before anything is sent.
//! [`Inputs::open`] then gives the mails one by one and can be called again, unless the input [is
//! a stream](Inputs::is_one_shot).

mod args;
mod composed;
mod error;
mod header;
mod jsonl;
mod lines;
mod maildir;
mod mbox;
mod merge;
mod messages;
mod raw;
mod read;
mod rows;
mod template;

use posthaste::Class;
use posthaste::session::Mail;

pub(crate) use args::InputArgs;
pub(crate) use error::{InputError, Place, Problem, Usage};

/// Largest mail that is read, in octets. Twice the 150 MB that the largest providers take; it
/// keeps a wrong file (a disk image, an mbox of another kind) from filling the memory.
const MAX_MAIL: usize = 300 << 20;

/// One mail and what to call it.
#[derive(Debug)]
pub(crate) struct InputMail {
    /// Where it came from, or the name that the input gives it: `news.eml`, `people.csv:17`,
    /// `inbox.mbox#3`.
    pub(crate) id: String,
    /// The mail.
    pub(crate) mail: Mail,
    /// How it is to be sent.
    pub(crate) how: How,
}

/// How a mail is to be sent, as far as the input says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct How {
    /// How urgent it is.
    pub(crate) class: Option<Class>,
    /// On whose behalf it is sent.
    pub(crate) tenant: Option<Box<str>>,
}

/// Mails one by one. After an error the next mail follows, as far as the source can be read on.
pub(crate) type Mails = Box<dyn Iterator<Item = Result<InputMail, InputError>> + Send>;

/// A checked input: everything it names can be opened.
#[derive(Debug)]
pub(crate) enum Inputs {
    /// RFC 5322 files, mboxes, Maildirs, standard input.
    Messages(messages::Messages),
    /// One mail, composed from flags.
    Composed(Box<Mail>),
    /// JSON lines.
    Jsonl(jsonl::Jsonl),
    /// A template and a table.
    Merge(Box<merge::Merge>),
}

impl Inputs {
    /// Begins to read. Nothing is held in memory but the mail at hand.
    pub(crate) fn open(&self) -> Result<Mails, InputError> {
        match self {
            Self::Messages(messages) => Ok(messages.open()),
            Self::Composed(mail) => {
                let (id, mail) = ("composed".to_owned(), Mail::clone(mail));
                let mail = InputMail { id, mail, how: How::default() };
                Ok(Box::new(std::iter::once(Ok(mail))))
            }
            Self::Jsonl(jsonl) => jsonl.open(),
            Self::Merge(merge) => merge.open(),
        }
    }

    /// Whether it can be read only once: standard input, or a pipe.
    pub(crate) fn is_one_shot(&self) -> bool {
        match self {
            Self::Messages(messages) => messages.is_one_shot(),
            Self::Composed(_) => false,
            Self::Jsonl(jsonl) => jsonl.is_one_shot(),
            Self::Merge(merge) => merge.is_one_shot(),
        }
    }
}

#[cfg(test)]
mod tests;
