//! `--rows`: a table of people, as CSV, TSV or JSON lines, read a row at a time.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::{ErrorKind, StringRecord, Trim};
use minijinja::Value;

use super::lines::Lines;
use super::{InputError, Place, Problem, read};

/// Most octets of one row. Rows hold names and numbers; an unclosed quote makes one of all the
/// rest of the file.
const MAX_ROW: usize = 1 << 20;

/// A row, with its cells under the names of their columns.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) cells: Value,
}

impl Row {
    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<String> {
        let names = self.cells.try_iter().into_iter().flatten();
        names.map(|name| name.to_string()).collect()
    }

    /// What a cell says, if there is one and it says anything.
    pub(super) fn cell(&self, column: &str) -> Option<String> {
        let cell = self.cells.get_attr(column).ok()?;
        (!cell.is_undefined() && !cell.is_none()).then(|| cell.to_string())
    }
}

/// Rows one by one. After an error the next row follows, as far as the table can be read on.
pub(super) type Rows = Box<dyn Iterator<Item = Result<Row, InputError>> + Send>;

/// Opens a table: what the file's name ends in says which kind, and anything else is CSV.
///
/// A table with columns must have that of the recipient; in JSON lines each row must.
pub(super) fn open(path: &Path, recipient: &str) -> Result<Rows, InputError> {
    let reader = read::open(path)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => {
            Ok(Box::new(JsonRows { lines: Lines::new(path, reader), is_done: false }))
        }
        "tsv" | "tab" => Ok(Box::new(CsvRows::new(path, reader, b'\t', recipient)?)),
        _ => Ok(Box::new(CsvRows::new(path, reader, b',', recipient)?)),
    }
}

struct CsvRows {
    path: PathBuf,
    reader: csv::Reader<Bounded<Box<dyn Read + Send>>>,
    columns: Vec<String>,
    record: StringRecord,
    /// Where the row that is read begins.
    line: u64,
    is_done: bool,
}

impl CsvRows {
    fn new(
        path: &Path,
        reader: Box<dyn Read + Send>,
        delimiter: u8,
        recipient: &str,
    ) -> Result<Self, InputError> {
        let reader = Bounded { inner: reader, left: MAX_ROW };
        let reader =
            csv::ReaderBuilder::new().delimiter(delimiter).trim(Trim::Headers).from_reader(reader);
        let mut rows = Self {
            path: path.to_owned(),
            reader,
            columns: Vec::new(),
            record: StringRecord::new(),
            line: 1,
            is_done: false,
        };
        let columns = match rows.reader.headers() {
            Ok(columns) => columns.iter().map(str::to_owned).collect(),
            Err(error) => return Err(rows.error(error)),
        };
        rows.columns = columns;
        rows.check_columns(recipient).map_err(|problem| problem.at(Place::line(path, 1)))?;
        Ok(rows)
    }

    fn check_columns(&self, recipient: &str) -> Result<(), Problem> {
        if self.columns.is_empty() {
            return Err(Problem::Empty);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.columns.iter().find(|column| !seen.insert(column.as_str())) {
            return Err(Problem::TwiceColumn(twice.clone()));
        }
        if !seen.contains(recipient) {
            return Err(Problem::NoRecipientColumn {
                name: recipient.to_owned(),
                columns: self.columns.clone(),
            });
        }
        Ok(())
    }

    /// Says where and what, and whether the table can be read on.
    fn error(&mut self, error: csv::Error) -> InputError {
        let line = error.position().map_or(self.line, csv::Position::line);
        let place = Place::line(&self.path, line);
        if self.reader.get_ref().left == 0 {
            self.is_done = true;
            return Problem::TooLarge { limit: MAX_ROW }.at(place);
        }
        match error.kind() {
            ErrorKind::Utf8 { err, .. } => {
                let column = self.columns.get(err.field()).cloned();
                Problem::NotUtf8 { octet: err.valid_up_to(), column }.at(place)
            }
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                Problem::RowLength { expected: *expected_len, got: *len }.at(place)
            }
            _ => {
                self.is_done = true;
                Problem::Csv(error).at(place)
            }
        }
    }
}

impl Iterator for CsvRows {
    type Item = Result<Row, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        self.reader.get_mut().left = MAX_ROW;
        self.line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(self.error(error))),
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let cells = self.columns.iter().map(String::as_str).zip(self.record.iter());
        Some(Ok(Row { place: Place::line(&self.path, line), cells: Value::from_pairs(cells) }))
    }
}

struct JsonRows {
    lines: Lines,
    is_done: bool,
}

impl Iterator for JsonRows {
    type Item = Result<Row, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        while !self.is_done {
            line.clear();
            match self.lines.read(&mut line, MAX_ROW) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let place = self.lines.place();
                    let cells: Result<BTreeMap<String, Value>, _> = serde_json::from_slice(&line);
                    return Some(match cells {
                        Ok(cells) => Ok(Row { place, cells: Value::from_pairs(cells) }),
                        Err(error) => Err(Problem::Json(error).at(place)),
                    });
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Stops reading when a row becomes too long, for `csv` itself has no bound.
struct Bounded<R> {
    inner: R,
    /// Octets that may still be read for this row, 0 once it was too long.
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        if most == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let octets = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left -= octets;
        Ok(octets)
    }
}
