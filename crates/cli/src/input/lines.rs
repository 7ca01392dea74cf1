//! Lines with a bound on their length.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{InputError, Place, Problem};

/// Reads lines and counts them.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
    /// Number of the line that was read last, from 1.
    number: u64,
}

impl Lines {
    pub(super) fn new(path: &Path, reader: Box<dyn Read + Send>) -> Self {
        Self { path: path.to_owned(), reader: BufReader::new(reader), number: 0 }
    }

    /// Where the line that was read last stands.
    pub(super) fn place(&self) -> Place {
        Place::line(&self.path, self.number)
    }

    /// Appends the next line with its line end to `buffer`, which may become `limit` octets long.
    ///
    /// Returns the length of the line, 0 at the end of the input. After an error the input cannot
    /// be read on.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, limit: usize) -> Result<usize, InputError> {
        let room = limit.saturating_sub(buffer.len()) as u64;
        let mut reader = self.reader.by_ref().take(room + 1);
        let octets = reader.read_until(b'\n', buffer).map_err(|error| self.failed(error))?;
        if octets > 0 {
            self.number += 1;
        }
        if buffer.len() > limit {
            return Err(Problem::TooLarge { limit }.at(self.place()));
        }
        Ok(octets)
    }

    fn failed(&self, source: io::Error) -> InputError {
        InputError::read(&self.path, source)
    }
}
