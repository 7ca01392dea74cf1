//! A mail composed from parts that flags or a JSON line give.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use posthaste::Class;
use posthaste::compose::{Draft, NamedMailbox, NamedMailboxError};
use serde::{Deserialize, Deserializer, de};

use super::{InputError, read};
use crate::units;

/// The parts as they were given: texts are the texts themselves, files are paths.
///
/// An unknown key in a JSON line is an error, for a mistyped `bcc` must not go unnoticed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parts {
    /// What to call the mail. Only a JSON line has it, and the next four.
    pub(super) id: Option<Id>,
    /// How urgent it is.
    #[serde(deserialize_with = "class")]
    pub(super) class: Option<Class>,
    /// On whose behalf it is sent.
    pub(super) tenant: Option<Id>,
    /// A file in RFC 5322 form, for a mail that is made already.
    pub(super) eml: Option<PathBuf>,
    /// The same, not in a file.
    pub(super) raw: Option<String>,
    pub(super) from: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) to: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) cc: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) bcc: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) reply_to: Vec<String>,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) attach: Vec<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) inline: Vec<PathBuf>,
    #[serde(deserialize_with = "pairs")]
    pub(super) headers: Vec<(String, String)>,
}

/// A name or a number, such as a database key.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a number as id and tenant")]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// An address that is none, and where it was given.
pub(super) struct BadAddress {
    pub(super) field: &'static str,
    pub(super) text: String,
    pub(super) source: NamedMailboxError,
}

impl Parts {
    /// Puts the parts together, without the files.
    pub(super) fn draft(&self) -> Result<Draft, BadAddress> {
        let mut draft = Draft::new();
        if let Some(from) = &self.from {
            let parsed: Result<NamedMailbox, _> = from.parse();
            let from = parsed.map_err(|source| BadAddress {
                field: "from",
                text: from.clone(),
                source,
            })?;
            draft = draft.from(from);
        }
        draft = add_all(draft, "to", &self.to, Draft::to)?;
        draft = add_all(draft, "cc", &self.cc, Draft::cc)?;
        draft = add_all(draft, "bcc", &self.bcc, Draft::bcc)?;
        draft = add_all(draft, "reply_to", &self.reply_to, Draft::reply_to)?;
        if let Some(subject) = &self.subject {
            draft = draft.subject(subject);
        }
        if let Some(text) = &self.text {
            draft = draft.text(text);
        }
        if let Some(html) = &self.html {
            draft = draft.html(html);
        }
        Ok(self.headers.iter().fold(draft, |draft, (name, value)| draft.header(name, value)))
    }

    /// Reads the files and adds them. Their paths are relative to `directory`.
    pub(super) fn attach(&self, mut draft: Draft, directory: &Path) -> Result<Draft, InputError> {
        for path in &self.attach {
            draft = draft.attach(read::attachment(&directory.join(path))?);
        }
        for path in &self.inline {
            draft = draft.attach(read::inline(&directory.join(path))?);
        }
        Ok(draft)
    }

    /// Whether there is anything that only a composed mail has.
    pub(super) fn is_composed(&self) -> bool {
        let texts = [&self.subject, &self.text, &self.html].into_iter().any(Option::is_some);
        let lists = [&self.cc, &self.bcc, &self.reply_to].into_iter().any(|list| !list.is_empty());
        let files = !self.attach.is_empty() || !self.inline.is_empty();
        texts || lists || files || !self.headers.is_empty()
    }
}

/// Adds each mailbox of each list.
pub(super) fn add_all(
    draft: Draft,
    field: &'static str,
    lists: &[String],
    add: impl Fn(Draft, NamedMailbox) -> Draft,
) -> Result<Draft, BadAddress> {
    lists.iter().try_fold(draft, |draft, list| match NamedMailbox::parse_list(list) {
        Ok(mailboxes) => Ok(mailboxes.into_iter().fold(draft, &add)),
        Err(source) => Err(BadAddress { field, text: list.clone(), source }),
    })
}

/// A single value stands for a list of one.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

fn class<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Class>, D::Error> {
    let name = String::deserialize(deserializer)?;
    units::class(&name).map(Some).map_err(de::Error::custom)
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
}
