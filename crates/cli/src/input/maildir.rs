//! Maildirs: a directory with a file for each mail, in `new/` and `cur/`.

use std::path::{Path, PathBuf};

use super::{InputError, Place, Problem, read};

/// The files of its mails: the new ones, then those seen, in the order of their names, which is
/// that of arrival.
pub(super) fn files(maildir: &Path) -> Result<Vec<PathBuf>, InputError> {
    let mut files = Vec::new();
    let mut is_maildir = false;
    for name in ["new", "cur"] {
        let directory = maildir.join(name);
        if directory.is_dir() {
            is_maildir = true;
            files.extend(read::files(&directory)?);
        }
    }
    if !is_maildir {
        return Err(Problem::NotMaildir.at(Place::file(maildir)));
    }
    Ok(files)
}
