//! `MESSAGE…`: files in RFC 5322 form, mbox files, Maildirs, standard input.

use std::io::{Cursor, Read as _};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lines::Lines;
use super::mbox::{Mbox, SEPARATOR};
use super::raw::{self, Outside};
use super::read::{self, Rereadable};
use super::{How, InputError, InputMail, Mails, Place, Usage, maildir};

/// Mails that exist already, and what was said about their envelopes.
#[derive(Debug)]
pub(crate) struct Messages {
    paths: Vec<PathBuf>,
    outside: Arc<Outside>,
    is_one_shot: bool,
}

impl Messages {
    pub(super) fn check(paths: &[PathBuf], outside: Outside) -> Result<Self, InputError> {
        if paths.iter().filter(|path| read::is_stdin(path)).count() > 1 {
            return Err(Usage::StdinTwice.into());
        }
        let mut is_one_shot = false;
        for path in paths {
            match read::check(path)? {
                Rereadable::No => is_one_shot = true,
                Rereadable::File => {}
                Rereadable::Directory => drop(maildir::files(path)?),
            }
        }
        Ok(Self { paths: paths.to_vec(), outside: Arc::new(outside), is_one_shot })
    }

    pub(super) fn open(&self) -> Mails {
        let outside = self.outside.clone();
        Box::new(self.paths.clone().into_iter().flat_map(move |path| mails(&path, &outside)))
    }

    pub(super) fn is_one_shot(&self) -> bool {
        self.is_one_shot
    }
}

fn mails(path: &Path, outside: &Arc<Outside>) -> Mails {
    if !path.is_dir() || read::is_stdin(path) {
        return file(path, outside).unwrap_or_else(failed);
    }
    let outside = outside.clone();
    match maildir::files(path) {
        // A mail in a Maildir is a mail, even if it begins as an mbox does.
        Ok(files) => {
            Box::new(files.into_iter().map(move |file| one(&file, read::octets(&file)?, &outside)))
        }
        Err(error) => failed(error),
    }
}

/// One mail, or an mbox, which begins with `From ` where a mail has `From:`.
fn file(path: &Path, outside: &Arc<Outside>) -> Result<Mails, InputError> {
    let mut reader = read::open(path)?;
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(SEPARATOR.len() as u64)
        .read_to_end(&mut start)
        .map_err(|source| InputError::read(path, source))?;
    let is_mbox = start == SEPARATOR;
    let reader = Box::new(Cursor::new(start).chain(reader));
    if is_mbox {
        let name = path.display().to_string();
        return Ok(Box::new(Mbox::new(name, Lines::new(path, reader), outside.clone())));
    }
    Ok(Box::new(iter::once(one(path, read::to_end(path, reader)?, outside))))
}

fn one(path: &Path, octets: Vec<u8>, outside: &Outside) -> Result<InputMail, InputError> {
    let mail = raw::mail(octets, outside).map_err(|problem| problem.at(Place::file(path)))?;
    Ok(InputMail { id: path.display().to_string(), mail, how: How::default() })
}

fn failed(error: InputError) -> Mails {
    Box::new(iter::once(Err(error)))
}
