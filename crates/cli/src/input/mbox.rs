//! mbox files: mails one after another, each behind a `From ` line (RFC 4155 and the mboxrd
//! quoting).

use std::mem;
use std::sync::Arc;

use super::lines::Lines;
use super::raw::{self, Outside};
use super::{How, InputError, InputMail, MAX_MAIL, Place, Problem, header};

/// What begins the line before each mail.
pub(super) const SEPARATOR: &[u8] = b"From ";

/// Reads one mail at a time.
pub(super) struct Mbox {
    lines: Lines,
    name: String,
    outside: Arc<Outside>,
    /// Number of the mail that is read, from 1.
    number: u64,
    /// Where its `From ` line stands.
    place: Place,
    is_done: bool,
}

impl Mbox {
    /// Begins with a mbox of which the first line is a `From ` line.
    pub(super) fn new(name: String, lines: Lines, outside: Arc<Outside>) -> Self {
        let place = lines.place();
        Self { lines, name, outside, number: 0, place, is_done: false }
    }

    /// Reads up to the next `From ` line and returns the mail before it.
    ///
    /// Every line that begins so is taken for the start of a mail, empty line before it or not:
    /// an unquoted line of text shows as an error then, whereas a separator taken for text would
    /// hide a mail in another.
    fn read(&mut self) -> Result<Vec<u8>, InputError> {
        let mut mail = Vec::new();
        loop {
            let start = mail.len();
            if self.lines.read(&mut mail, MAX_MAIL)? == 0 {
                self.is_done = true;
                break;
            }
            let line = mail.get(start..).unwrap_or_default();
            let quotes = line.iter().take_while(|octet| **octet == b'>').count();
            if !line.get(quotes..).is_some_and(|rest| rest.starts_with(SEPARATOR)) {
                continue;
            }
            if quotes == 0 {
                mail.truncate(start);
                break;
            }
            mail.remove(start);
        }
        // The empty line before a separator belongs to the mbox.
        let before =
            mail.strip_suffix(b"\r\n").or_else(|| mail.strip_suffix(b"\n")).unwrap_or(&mail);
        if before.is_empty() || before.ends_with(b"\n") {
            mail.truncate(before.len());
        }
        Ok(mail)
    }
}

impl Iterator for Mbox {
    type Item = Result<InputMail, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        if self.number == 0 {
            // The first `From ` line, with nothing before it.
            if let Err(error) = self.read() {
                self.is_done = true;
                return Some(Err(error));
            }
            self.place = self.lines.place();
        }
        self.number += 1;
        let octets = match self.read() {
            Ok(octets) => octets,
            Err(error) => {
                self.is_done = true;
                return Some(Err(error));
            }
        };
        let place = mem::replace(&mut self.place, self.lines.place());
        if !header::begins(&octets) {
            return Some(Err(Problem::NotMbox.at(place)));
        }
        let mail = match raw::mail(octets, &self.outside) {
            Ok(mail) => mail,
            Err(problem) => return Some(Err(problem.at(place))),
        };
        let id = format!("{}#{}", self.name, self.number);
        Some(Ok(InputMail { id, mail, how: How::default() }))
    }
}
