//! What can be wrong with an input: what, where, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use posthaste::compose::{ComposeError, NamedMailboxError};
use posthaste::session::{ContentError, EnvelopeError};

use super::read::is_stdin;
use crate::exit::Exit;

/// Why there is no mail.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The flags do not go together.
    Usage(Usage),
    /// A file cannot be opened or read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something that was read is not what it should be.
    Data {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
}

impl InputError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// The exit code that stands for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Read { .. } => Exit::NoInput,
            Self::Data { .. } => Exit::BadInput,
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(usage) => usage.fmt(f),
            Self::Read { path, .. } => write!(f, "cannot read {}", Place::file(path)),
            Self::Data { place, problem } => write!(f, "{place}: {problem}"),
        }
    }
}

impl Error for InputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Usage(usage) => usage.source(),
            Self::Read { source, .. } => Some(source),
            Self::Data { problem, .. } => problem.source(),
        }
    }
}

impl From<Usage> for InputError {
    fn from(usage: Usage) -> Self {
        Self::Usage(usage)
    }
}

/// Where something was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    line: Option<u64>,
}

impl Place {
    pub(super) fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), line: None }
    }

    pub(super) fn line(path: &Path, line: u64) -> Self {
        Self { path: path.to_owned(), line: Some(line) }
    }
}

impl fmt::Display for Place {
    /// `people.csv:17`, as compilers and editors know it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_stdin(&self.path) {
            f.write_str("standard input")?;
        } else {
            self.path.display().fmt(f)?;
        }
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Flags that make no sense, alone or together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Usage {
    /// No kind of input.
    #[error(
        "nothing to send: name a MESSAGE file (- for standard input), or use --text, --jsonl or --rows"
    )]
    Nothing,
    /// More than one kind of input.
    #[error("{0} and {1} are two kinds of input; only one can be sent at a time")]
    TwoKinds(&'static str, &'static str),
    /// A flag that is nothing without another.
    #[error("{0} needs {1}")]
    Needs(&'static str, &'static str),
    /// A flag that this kind of input has no use for.
    #[error("{0} does not go with {1}")]
    NotWith(&'static str, &'static str),
    /// `-` in two places.
    #[error("standard input can be read only once")]
    StdinTwice,
    /// An address on the command line that is none.
    #[error("cannot use --{flag} {text:?}")]
    Address {
        /// The flag.
        flag: String,
        /// Its value.
        text: String,
        /// What is wrong with it.
        source: NamedMailboxError,
    },
    /// A header field on the command line that is none.
    #[error("--header {0:?} is not of the form 'Name: value'")]
    Header(String),
    /// Parts on the command line that do not make a mail.
    #[error("cannot compose the mail")]
    Compose(#[source] ComposeError),
}

/// What is wrong with data. Each says what to do where that does not follow from it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("is empty")]
    Empty,
    #[error("is larger than {limit} octets, the most that is read at once")]
    TooLarge { limit: usize },
    #[error("has more than {limit} files in it")]
    TooManyFiles { limit: usize },
    #[error(
        "is a directory, but no Maildir: it has neither new/ nor cur/ (name the files in it instead)"
    )]
    NotMaildir,
    #[error("is not UTF-8{}, from octet {octet} on", in_column(.column.as_deref()))]
    NotUtf8 { octet: usize, column: Option<String> },

    #[error("line {line} of the mail is not a header field (`Name: value`)")]
    NotHeader { line: usize },
    #[error(
        "a line begins with `From `, but no mail follows (in an mbox such a line of text must be `>From `)"
    )]
    NotMbox,
    #[error(
        "cannot read the addresses in {field} (-f and -t give the envelope without the header section)"
    )]
    HeaderAddress { field: &'static str, source: NamedMailboxError },
    #[error("has no From or Sender (say with -f who it is from)")]
    NoSender,
    #[error("has {count} mailboxes in {field} (say with -f who it is from)")]
    SeveralSenders { field: &'static str, count: usize },
    #[error("has no recipient in To, Cc and Bcc (say with -t who gets it)")]
    NoRecipient,
    #[error("was resent (say with -t who gets it, since To and Cc are those of the first time)")]
    Resent,
    #[error("cannot be sent as it is")]
    Content(#[source] ContentError),
    #[error("cannot make the envelope")]
    Envelope(#[source] EnvelopeError),
    #[error("cannot compose the mail")]
    Compose(#[source] ComposeError),

    #[error("is not a line of the expected form")]
    Json(#[source] serde_json::Error),
    #[error("has {0} of eml, raw and the parts of a composed mail, but must have exactly one")]
    JsonKinds(usize),
    #[error("cannot use {field} {text:?}")]
    Address { field: &'static str, text: String, source: NamedMailboxError },

    #[error("cannot read the row")]
    Csv(#[source] csv::Error),
    #[error("row has {got} cells, but the first row names {expected} columns")]
    RowLength { expected: u64, got: u64 },
    #[error("column {0:?} is there twice")]
    TwiceColumn(String),
    #[error(
        "there is no column {name:?} with the recipient, only {} (--to-column picks another)",
        .columns.join(", ")
    )]
    NoRecipientColumn { name: String, columns: Vec<String> },
    #[error("column {column}: cannot use {text:?}")]
    Cell { column: String, text: String, source: NamedMailboxError },

    #[error("template has no {0}")]
    TemplatePart(&'static str),
    #[error("line {line} is not a header field of a template (`Name: value`)")]
    TemplateHeader { line: usize },
    #[error("header field {field} is there twice")]
    TwiceHeader { field: String },
    #[error("cannot compile the template")]
    Compile(#[source] minijinja::Error),
    #[error("cannot fill the template")]
    Fill(#[source] minijinja::Error),
    #[error(
        "control character {control:?}{} would end header field {field} early",
        in_column(.column.as_deref())
    )]
    HeaderCell { field: String, column: Option<String>, control: char },
    #[error("To has no {recipient}, the row's recipient (leave To out: it is made from the row)")]
    ToWithoutRecipient { recipient: String },
    #[error("there is no From, neither in the template nor with --from")]
    NoFrom,
}

impl Problem {
    /// Says where it is.
    pub(super) fn at(self, place: Place) -> InputError {
        InputError::Data { place, problem: Box::new(self) }
    }
}

fn in_column(column: Option<&str>) -> String {
    column.map(|column| format!(" in column {column}")).unwrap_or_default()
}
