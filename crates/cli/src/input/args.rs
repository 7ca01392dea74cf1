//! The flags of `posthaste send` that say what to send.

use std::path::{Path, PathBuf};

use posthaste::compose::ComposeError;

use super::composed::{BadAddress, Parts};
use super::jsonl::Jsonl;
use super::merge::{self, Merge};
use super::messages::Messages;
use super::raw::{self, Outside};
use super::{InputError, Inputs, Place, Problem, Usage, read};

/// What to send: exactly one of MESSAGE, a composed mail, --jsonl, or --rows with --template.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Input (exactly one kind)")]
pub(crate) struct InputArgs {
    /// Mails in RFC 5322 form: files, mbox files, Maildirs, or - for standard input. Recipients
    /// are those in To, Cc and Bcc (which is taken out), unless -t names others
    #[arg(value_name = "MESSAGE")]
    messages: Vec<PathBuf>,

    /// Who it is from: the reverse-path, and the From of a mail that has none. '' is the null
    /// reverse-path
    #[arg(short, long, value_name = "ADDR")]
    from: Option<String>,

    /// Who gets it (repeatable). With MESSAGE, these instead of the recipients in its header
    /// section
    #[arg(short, long, value_name = "ADDR")]
    to: Vec<String>,

    /// Compose a mail: its subject
    #[arg(long)]
    subject: Option<String>,

    /// Compose a mail: a file with its text, - for standard input
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Compose a mail: a file with its HTML text, - for standard input
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Compose a mail: a file to attach (repeatable)
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,

    /// Compose a mail: a file that the HTML text shows as cid:NAME (repeatable)
    #[arg(long, value_name = "FILE")]
    inline: Vec<PathBuf>,

    /// Compose a mail: who gets a copy (repeatable)
    #[arg(long, value_name = "ADDR")]
    cc: Vec<String>,

    /// Compose a mail: who gets a blind copy (repeatable)
    #[arg(long, value_name = "ADDR")]
    bcc: Vec<String>,

    /// Compose a mail: where answers go (repeatable)
    #[arg(long, value_name = "ADDR")]
    reply_to: Vec<String>,

    /// Compose a mail: a further header field (repeatable)
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// A mail for each line of JSON: {"id", "from", "to", "eml": PATH} or "raw", or "subject",
    /// "text", "html", "attach", "inline", "cc", "bcc", "reply_to", "headers"; and, where it is not
    /// like all others, its "class" and "tenant". Paths are relative to the file; - for standard
    /// input
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,

    /// A mail for each row of a CSV, TSV or JSON lines file (- for CSV on standard input); its
    /// columns are the variables of --template
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,

    /// The MiniJinja template: a file (header fields, empty line, text) or a directory
    /// (headers.txt, text.txt, html.html, attachments/, inline/)
    #[arg(long, value_name = "FILE|DIR")]
    template: Option<PathBuf>,

    /// The column of --rows with the recipient's address. A column "name" is the recipient's name
    /// [default: email]
    #[arg(long, value_name = "COLUMN")]
    to_column: Option<String>,
}

/// The kinds of input.
enum Kind<'a> {
    Messages,
    Composed,
    Jsonl(&'a Path),
    Merge { rows: &'a Path, template: &'a Path },
}

impl InputArgs {
    /// Finds out which kind of input is meant, and opens all that it names.
    pub(crate) fn check(&self) -> Result<Inputs, InputError> {
        match self.kind()? {
            Kind::Messages => {
                Ok(Inputs::Messages(Messages::check(&self.messages, self.outside()?)?))
            }
            Kind::Composed => self.composed(),
            Kind::Jsonl(path) => Ok(Inputs::Jsonl(Jsonl::check(path, self.from.clone())?)),
            Kind::Merge { rows, template } => {
                let to_column = self.to_column.as_deref().unwrap_or(merge::TO_COLUMN);
                let merge = Merge::check(rows, template, to_column, self.from.as_deref())?;
                Ok(Inputs::Merge(Box::new(merge)))
            }
        }
    }

    fn kind(&self) -> Result<Kind<'_>, Usage> {
        let merge_flag = match (&self.rows, &self.template, &self.to_column) {
            (Some(_), _, _) => Some("--rows"),
            (None, Some(_), _) => Some("--template"),
            (None, None, Some(_)) => Some("--to-column"),
            (None, None, None) => None,
        };
        let message_flag = (!self.messages.is_empty()).then_some("MESSAGE");
        let jsonl_flag = self.jsonl.is_some().then_some("--jsonl");
        let flags = [message_flag, self.composing_flag(), jsonl_flag, merge_flag];
        let mut kinds = flags.into_iter().flatten();
        let kind = kinds.next().ok_or(Usage::Nothing)?;
        if let Some(other) = kinds.next() {
            return Err(Usage::TwoKinds(kind, other));
        }
        if let (false, Some(flag)) = (self.to.is_empty(), jsonl_flag.or(merge_flag)) {
            return Err(Usage::NotWith("--to", flag));
        }
        match (&self.jsonl, &self.rows, &self.template) {
            (Some(jsonl), _, _) => Ok(Kind::Jsonl(jsonl)),
            (_, Some(rows), Some(template)) => Ok(Kind::Merge { rows, template }),
            (_, Some(_), None) => Err(Usage::Needs("--rows", "--template")),
            (_, None, Some(_)) => Err(Usage::Needs("--template", "--rows")),
            (_, None, None) if merge_flag.is_some() => Err(Usage::Needs("--to-column", "--rows")),
            (None, None, None) if message_flag.is_some() => Ok(Kind::Messages),
            (None, None, None) => Ok(Kind::Composed),
        }
    }

    /// The first flag there is that only a composed mail has.
    fn composing_flag(&self) -> Option<&'static str> {
        [
            (self.subject.is_some(), "--subject"),
            (self.text.is_some(), "--text"),
            (self.html.is_some(), "--html"),
            (!self.attach.is_empty(), "--attach"),
            (!self.inline.is_empty(), "--inline"),
            (!self.cc.is_empty(), "--cc"),
            (!self.bcc.is_empty(), "--bcc"),
            (!self.reply_to.is_empty(), "--reply-to"),
            (!self.header.is_empty(), "--header"),
        ]
        .into_iter()
        .find_map(|(is_there, flag)| is_there.then_some(flag))
    }

    fn outside(&self) -> Result<Outside, Usage> {
        let bad = |flag: &str, text: &str, source| Usage::Address {
            flag: flag.to_owned(),
            text: text.to_owned(),
            source,
        };
        let mut outside = Outside::default();
        if let Some(from) = &self.from {
            outside.reverse_path =
                Some(raw::reverse_path(from).map_err(|source| bad("from", from, source))?);
        }
        for to in &self.to {
            let forward_paths = raw::forward_paths(to).map_err(|source| bad("to", to, source))?;
            outside.forward_paths.extend(forward_paths);
        }
        Ok(outside)
    }

    fn composed(&self) -> Result<Inputs, InputError> {
        if self.from.is_none() {
            return Err(Usage::Needs("a composed mail", "--from").into());
        }
        if [&self.to, &self.cc, &self.bcc].into_iter().all(Vec::is_empty) {
            return Err(Usage::Needs("a composed mail", "--to").into());
        }
        let texts = [&self.text, &self.html].into_iter().flatten();
        let files = texts.chain(&self.attach).chain(&self.inline);
        if files.filter(|path| read::is_stdin(path)).count() > 1 {
            return Err(Usage::StdinTwice.into());
        }
        let parts = Parts {
            from: self.from.clone(),
            to: self.to.clone(),
            cc: self.cc.clone(),
            bcc: self.bcc.clone(),
            reply_to: self.reply_to.clone(),
            subject: self.subject.clone(),
            text: self.text.as_deref().map(read::text).transpose()?,
            html: self.html.as_deref().map(read::text).transpose()?,
            attach: self.attach.clone(),
            inline: self.inline.clone(),
            headers: self
                .header
                .iter()
                .map(|header| split_header(header))
                .collect::<Result<_, _>>()?,
            ..Parts::default()
        };
        let draft = parts.draft().map_err(Usage::from)?;
        let draft = parts.attach(draft, Path::new(""))?;
        match (draft.build(), self.text.as_deref().or(self.html.as_deref())) {
            (Ok(mail), _) => Ok(Inputs::Composed(Box::new(mail))),
            // Only a text can be content that cannot be sent.
            (Err(error @ ComposeError::Content(_)), Some(path)) => {
                Err(Problem::Compose(error).at(Place::file(path)))
            }
            (Err(error), _) => Err(Usage::Compose(error).into()),
        }
    }
}

fn split_header(header: &str) -> Result<(String, String), Usage> {
    match header.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), value.trim_start_matches(' ').to_owned())),
        None => Err(Usage::Header(header.to_owned())),
    }
}

impl From<BadAddress> for Usage {
    fn from(BadAddress { field, text, source }: BadAddress) -> Self {
        Self::Address { flag: field.replace('_', "-"), text, source }
    }
}
