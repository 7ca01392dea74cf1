//! Fault rules from a file.
//!
//! ```toml
//! [[fault]]
//! at = "rcpt"
//! rcpt = "*@slow.test"
//! first = 2
//! reply = "451 4.7.1 greylisted"
//! ```

use std::path::Path;
use std::{fs, io};

use posthaste_sink::{FaultError, FaultRule};
use serde::Deserialize;

/// Why a file has no fault rules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error("fault {number}: {source}")]
    Rule { number: usize, source: FaultError },
    #[error("fault {number}: {key}: expected a string, a number or true or false")]
    Kind { number: usize, key: String },
}

impl FileError {
    /// Whether the file could not be read at all.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    fault: Vec<toml::Table>,
}

/// The rules of a file, in their order.
pub(crate) fn read(path: &Path) -> Result<Vec<FaultRule>, FileError> {
    parse(&fs::read_to_string(path)?)
}

fn parse(text: &str) -> Result<Vec<FaultRule>, FileError> {
    let document: Document = toml::from_str(text)?;
    let numbered = document.fault.into_iter().zip(1..);
    numbered.map(|(table, number)| rule(table, number)).collect()
}

fn rule(table: toml::Table, number: usize) -> Result<FaultRule, FileError> {
    let mut pairs = Vec::with_capacity(table.len());
    for (key, value) in table {
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                return Err(FileError::Kind { number, key });
            }
        };
        pairs.push((key, value));
    }
    FaultRule::from_pairs(pairs).map_err(|source| FileError::Rule { number, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_a_rule() {
        let rules = parse(
            "[[fault]]\nat = 'rcpt'\nrcpt = '*@slow.test'\nfirst = 2\nreply = \"451 4.7.1 later\"\n\
             [[fault]]\nat = 'final'\nprob = 0.01\nstore = true\nclose = 'rst'\n",
        );
        let texts: Vec<_> = rules.unwrap().iter().map(|rule| rule.text().to_owned()).collect();
        assert_eq!(texts[1], "at=final close=rst prob=0.01 store=true");
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn errors_say_where() {
        for (text, expected) in [
            ("[[fault]]\nat = 'rcpt'", "fault 1: expected an action"),
            ("[[fault]]\nat = ['rcpt']", "fault 1: at: expected a string"),
            ("[[faults]]\nat = 'rcpt'", "unknown field `faults`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
