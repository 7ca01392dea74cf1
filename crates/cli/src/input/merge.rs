//! `--rows` and `--template`: one mail for each row of a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste::compose::{Draft, NamedMailbox};
use posthaste::session::{Mail, ReversePath};

use super::composed::add_all;
use super::rows::{self, Row};
use super::template::Template;
use super::{How, InputError, InputMail, Mails, Place, Problem, Usage, raw, read};

/// The column with a recipient's address, unless `--to-column` names another.
pub(super) const TO_COLUMN: &str = "email";
/// The column with a recipient's name, if there is one.
const NAME_COLUMN: &str = "name";

/// A table and the template that is filled with each of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    rows: PathBuf,
    template: Arc<Template>,
    to_column: String,
    /// What all mails have in common.
    draft: Draft,
    is_one_shot: bool,
}

impl Merge {
    /// `from` is who the mails are from, or the reverse-path if the template says who they are
    /// from.
    pub(super) fn check(
        rows: &Path,
        template: &Path,
        to_column: &str,
        from: Option<&str>,
    ) -> Result<Self, InputError> {
        let is_one_shot = read::check(rows)? == read::Rereadable::No;
        let place = Place::file(template);
        let template = Template::load(template)?;
        let mut draft = template.attachments().iter().cloned().fold(Draft::new(), Draft::attach);
        match (from, template.has_header("From")) {
            (Some(from), true) => draft = draft.reverse_path(reverse_path(from)?),
            (Some(from), false) => draft = draft.from(author(from)?),
            (None, true) => {}
            (None, false) => return Err(Problem::NoFrom.at(place)),
        }
        let merge = Self {
            rows: rows.to_owned(),
            template: Arc::new(template),
            to_column: to_column.to_owned(),
            draft,
            is_one_shot,
        };
        if !is_one_shot {
            drop(rows::open(rows, to_column)?);
        }
        Ok(merge)
    }

    pub(super) fn open(&self) -> Result<Mails, InputError> {
        let merge = self.clone();
        let rows = rows::open(&self.rows, &self.to_column)?;
        Ok(Box::new(rows.map(move |row| {
            let row = row?;
            let mail = merge.mail(&row).map_err(|problem| problem.at(row.place.clone()))?;
            Ok(InputMail { id: row.place.to_string(), mail, how: How::default() })
        })))
    }

    pub(super) fn is_one_shot(&self) -> bool {
        self.is_one_shot
    }

    fn mail(&self, row: &Row) -> Result<Mail, Problem> {
        let recipient = self.recipient(row)?;
        let filled = self.template.fill(row)?;
        let mut draft = self.draft.clone();
        let mut to_header = None;
        for (name, value) in filled.headers {
            draft = match name.to_ascii_lowercase().as_str() {
                "from" => add_all(draft, "From", &[value], Draft::from)?,
                "cc" => add_all(draft, "Cc", &[value], Draft::cc)?,
                "bcc" => add_all(draft, "Bcc", &[value], Draft::bcc)?,
                "reply-to" => add_all(draft, "Reply-To", &[value], Draft::reply_to)?,
                "subject" => draft.subject(value),
                "message-id" => draft.message_id(value),
                "to" => {
                    to_header = Some(value);
                    draft
                }
                _ => draft.header(name, value),
            };
        }
        draft = match to_header {
            Some(to) => {
                check_to(&to, &recipient)?;
                add_all(draft, "To", &[to], Draft::to)?
            }
            None => draft.to(recipient),
        };
        draft = filled.text.into_iter().fold(draft, Draft::text);
        draft = filled.html.into_iter().fold(draft, Draft::html);
        draft.build().map_err(Problem::Compose)
    }

    fn recipient(&self, row: &Row) -> Result<NamedMailbox, Problem> {
        let Some(address) = row.cell(&self.to_column) else {
            return Err(Problem::NoRecipientColumn {
                name: self.to_column.clone(),
                columns: row.columns(),
            });
        };
        let bad = |column: &str, text: &str, source| Problem::Cell {
            column: column.to_owned(),
            text: text.to_owned(),
            source,
        };
        let recipient: NamedMailbox =
            address.trim().parse().map_err(|source| bad(&self.to_column, &address, source))?;
        let Some(name) = row.cell(NAME_COLUMN) else { return Ok(recipient) };
        NamedMailbox::new(&name, recipient.into_mailbox())
            .map_err(|source| bad(NAME_COLUMN, &name, source))
    }
}

/// A template's own To must name the row's recipient: a fixed one would get a mail for every row.
fn check_to(to: &str, recipient: &NamedMailbox) -> Result<(), Problem> {
    let mailboxes = NamedMailbox::parse_list(to).map_err(|source| Problem::Address {
        field: "To",
        text: to.to_owned(),
        source,
    })?;
    if mailboxes.iter().any(|one| one.mailbox() == recipient.mailbox()) {
        return Ok(());
    }
    Err(Problem::ToWithoutRecipient { recipient: recipient.mailbox().to_string() })
}

fn reverse_path(from: &str) -> Result<ReversePath, Usage> {
    raw::reverse_path(from).map_err(|source| Usage::Address {
        flag: "from".to_owned(),
        text: from.to_owned(),
        source,
    })
}

fn author(from: &str) -> Result<NamedMailbox, Usage> {
    from.parse().map_err(|source| Usage::Address {
        flag: "from".to_owned(),
        text: from.to_owned(),
        source,
    })
}
