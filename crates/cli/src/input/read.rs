//! Opening and reading files, with bounds.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use posthaste::compose::Attachment;

use super::{InputError, MAX_MAIL, Place, Problem};

/// What stands for standard input on the command line.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

/// Opens a file or standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, InputError> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(InputError::read(path, source)),
    }
}

/// Makes sure that a file can be opened, and says whether it can be read only once.
pub(super) fn check(path: &Path) -> Result<Rereadable, InputError> {
    if is_stdin(path) {
        return Ok(Rereadable::No);
    }
    let metadata = fs::metadata(path).map_err(|source| InputError::read(path, source))?;
    if !metadata.is_file() && !metadata.is_dir() {
        // Opening a pipe would wait for its writer, and take away what it has written.
        return Ok(Rereadable::No);
    }
    File::open(path).map_err(|source| InputError::read(path, source))?;
    Ok(if metadata.is_dir() { Rereadable::Directory } else { Rereadable::File })
}

/// What a path turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rereadable {
    /// A pipe, or standard input.
    No,
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
}

/// Reads to the end, but no more than a mail may have.
pub(super) fn to_end(path: &Path, reader: impl Read) -> Result<Vec<u8>, InputError> {
    let mut octets = Vec::new();
    let limit = MAX_MAIL as u64 + 1;
    reader.take(limit).read_to_end(&mut octets).map_err(|source| InputError::read(path, source))?;
    if octets.len() > MAX_MAIL {
        return Err(Problem::TooLarge { limit: MAX_MAIL }.at(Place::file(path)));
    }
    Ok(octets)
}

/// Reads a whole file, or standard input.
pub(super) fn octets(path: &Path) -> Result<Vec<u8>, InputError> {
    to_end(path, open(path)?)
}

/// Reads a whole file of UTF-8 text; a byte order mark is left out.
pub(super) fn text(path: &Path) -> Result<String, InputError> {
    let mut text = String::from_utf8(octets(path)?).map_err(|error| {
        Problem::NotUtf8 { octet: error.utf8_error().valid_up_to(), column: None }
            .at(Place::file(path))
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// Reads a file to attach under its own name.
pub(super) fn attachment(path: &Path) -> Result<Attachment, InputError> {
    let octets = octets(path)?;
    Attachment::new(file_name(path), octets)
        .map_err(|error| Problem::Compose(error).at(Place::file(path)))
}

/// Reads a file to show inside the HTML text, which calls it `cid:` and its own name.
pub(super) fn inline(path: &Path) -> Result<Attachment, InputError> {
    let octets = octets(path)?;
    Attachment::inline(file_name(path), octets)
        .map_err(|error| Problem::Compose(error).at(Place::file(path)))
}

/// The files in a directory in the order of their names; hidden ones and directories are left out.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, InputError> {
    /// Names are kept to be sorted, some 100 octets each.
    const MAX_FILES: usize = 1_000_000;
    let failed = |source| InputError::read(directory, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden || entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(Problem::TooManyFiles { limit: MAX_FILES }.at(Place::file(directory)));
        }
        files.push(entry.path());
    }
    files.sort_unstable();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
