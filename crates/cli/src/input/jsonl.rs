//! `--jsonl`: a line a mail, either an envelope and a file or text in RFC 5322 form, or the parts
//! of a mail.

use std::path::{Path, PathBuf};

use posthaste::session::Mail;

use super::composed::{BadAddress, Id, Parts};
use super::lines::Lines;
use super::raw::{self, Outside};
use super::{How, InputError, InputMail, MAX_MAIL, Mails, Problem, read};

/// JSON lines.
#[derive(Clone, Debug)]
pub(crate) struct Jsonl {
    path: PathBuf,
    /// Who a line without `from` is from.
    from: Option<String>,
    is_one_shot: bool,
}

impl Jsonl {
    pub(super) fn check(path: &Path, from: Option<String>) -> Result<Self, InputError> {
        let is_one_shot = read::check(path)? == read::Rereadable::No;
        Ok(Self { path: path.to_owned(), from, is_one_shot })
    }

    pub(super) fn open(&self) -> Result<Mails, InputError> {
        let mut lines = Lines::new(&self.path, read::open(&self.path)?);
        let jsonl = self.clone();
        let mut line = Vec::new();
        let mut is_done = false;
        Ok(Box::new(std::iter::from_fn(move || {
            while !is_done {
                line.clear();
                match lines.read(&mut line, MAX_MAIL) {
                    Ok(0) => return None,
                    Ok(_) if line.trim_ascii().is_empty() => {}
                    Ok(_) => return Some(jsonl.mail(&line, &lines)),
                    Err(error) => {
                        is_done = true;
                        return Some(Err(error));
                    }
                }
            }
            None
        })))
    }

    pub(super) fn is_one_shot(&self) -> bool {
        self.is_one_shot
    }

    fn mail(&self, line: &[u8], lines: &Lines) -> Result<InputMail, InputError> {
        let at = |problem: Problem| problem.at(lines.place());
        let mut parts: Parts =
            serde_json::from_slice(line).map_err(|error| at(Problem::Json(error)))?;
        if parts.from.is_none() {
            parts.from.clone_from(&self.from);
        }
        let id = parts.id.take().map_or_else(|| lines.place().to_string(), Id::into_text);
        let how = How {
            class: parts.class.take(),
            tenant: parts.tenant.take().map(|tenant| tenant.into_text().into_boxed_str()),
        };
        let mail = match (parts.eml.take(), parts.raw.take(), parts.is_composed()) {
            (Some(eml), None, false) => {
                let octets = read::octets(&self.directory().join(eml))?;
                raw_mail(octets, &parts).map_err(at)?
            }
            (None, Some(raw), false) => raw_mail(raw.into_bytes(), &parts).map_err(at)?,
            (None, None, true) => self.composed(&parts, at)?,
            (eml, raw, composed) => {
                let kinds =
                    usize::from(eml.is_some()) + usize::from(raw.is_some()) + usize::from(composed);
                return Err(at(Problem::JsonKinds(kinds)));
            }
        };
        Ok(InputMail { id, mail, how })
    }

    fn composed(
        &self,
        parts: &Parts,
        at: impl Fn(Problem) -> InputError,
    ) -> Result<Mail, InputError> {
        let draft = parts.draft().map_err(|bad| at(bad.into()))?;
        let draft = parts.attach(draft, self.directory())?;
        draft.build().map_err(|error| at(Problem::Compose(error)))
    }

    /// What paths in the lines are relative to: the place of the file, or the working directory.
    fn directory(&self) -> &Path {
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        directory.unwrap_or(Path::new("."))
    }
}

fn raw_mail(octets: Vec<u8>, parts: &Parts) -> Result<Mail, Problem> {
    let mut outside = Outside::default();
    if let Some(from) = &parts.from {
        let bad = |source| Problem::Address { field: "from", text: from.clone(), source };
        outside.reverse_path = Some(raw::reverse_path(from).map_err(bad)?);
    }
    for to in &parts.to {
        let bad = |source| Problem::Address { field: "to", text: to.clone(), source };
        outside.forward_paths.extend(raw::forward_paths(to).map_err(bad)?);
    }
    raw::mail(octets, &outside)
}

impl From<BadAddress> for Problem {
    fn from(BadAddress { field, text, source }: BadAddress) -> Self {
        Self::Address { field, text, source }
    }
}
