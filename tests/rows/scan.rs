//! Which tests name which rows.
//!
//! A row is shown when its id (`REP-03`, `Q20b`) stands
//!
//! * in a comment above a function with a `test` attribute, or anywhere within the function,
//! * in the title (`# REP-03: …`) of a transcript,
//! * in a comment of a fuzz target, or of the code under it (`fuzz/src`).
//!
//! An id in any other code names the row, and has to exist, but shows nothing. So does one in a test of
//! the sink, which is the other side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// The kinds of rows, by what their ids begin with.
const KINDS: &[&str] = &[
    "CONN", "EHLO", "CMD", "REP", "TX", "PIPE", "CHUNK", "TLS", "AUTH", "PLAIN", "LOGIN", "CRAM",
    "SCRAM", "CB", "OAUTH", "XAUTH", "SIZE", "8BIT", "UTF8", "DSN", "DLVBY", "FUTREL", "MTPRI",
    "RTLS", "LIM", "ESC", "NULLMX", "RRVS", "XCLIENT", "XFWD", "PROXY", "LMTP", "TIME", "QUIT",
    "DNS", "DANE", "STS", "RPT", "SCHED", "RF", "DS", "ST", "AU", "FL", "CL", "IN", "SM", "RT",
    "RX", "LK",
];

/// The server that the client is tested against.
const OTHER_SIDE: &str = "crates/sink/";

/// The one id without a number.
const EXTERNAL: &str = "EXT-SASL";

/// A test that names a row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// From the root of the repository.
    file: String,
    /// A function, or the title of a transcript without its ids.
    test: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.file)?;
        if self.test.is_empty() { Ok(()) } else { write!(f, ": {}", self.test) }
    }
}

/// What tests and other code name.
#[derive(Default)]
pub(crate) struct Scan {
    /// The tests that show a row.
    pub(crate) shown: BTreeMap<String, BTreeSet<Place>>,
    /// Everything that names a row, each once for a place.
    pub(crate) named: BTreeSet<(String, Place)>,
}

impl Scan {
    pub(crate) fn of(repository: &Path) -> Self {
        let mut scan = Self::default();
        for folder in ["crates", "tests", "fuzz/src", "fuzz/fuzz_targets", "fuzz/tests"] {
            scan.read_folder(repository, Path::new(folder));
        }
        scan
    }

    fn read_folder(&mut self, repository: &Path, folder: &Path) {
        let entries = std::fs::read_dir(repository.join(folder)).expect("the folder is there");
        for entry in entries {
            let entry = entry.expect("the folder can be read");
            let path = folder.join(entry.file_name());
            if entry.file_type().expect("an entry has a type").is_dir() {
                self.read_folder(repository, &path);
                continue;
            }
            let name = path.to_str().expect("names of files are UTF-8");
            let is_transcript = name.contains("/transcripts/") && name.ends_with(".txt");
            if !is_transcript && !name.ends_with(".rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).expect("a source is UTF-8");
            if name.starts_with(OTHER_SIDE) {
                text.lines().for_each(|line| self.name(line, name));
            } else if is_transcript {
                self.read_transcripts(name, &text);
            } else if name.starts_with("fuzz/") {
                self.read_fuzz_target(name, &text);
            } else {
                self.read_source(name, &text);
            }
        }
    }

    fn read_transcripts(&mut self, file: &str, text: &str) {
        for title in text.lines().filter_map(|line| line.strip_prefix("# ")) {
            let says = title.split_once(": ").map_or(title, |(_, says)| says);
            self.show(title, file, says);
        }
    }

    fn read_fuzz_target(&mut self, file: &str, text: &str) {
        for line in text.lines().filter(|line| line.contains("//")) {
            self.show(line, file, "");
        }
    }

    /// Takes a source line by line, as `rustfmt` leaves it: a function is over at the closing brace
    /// that is indented as the function is.
    fn read_source(&mut self, file: &str, text: &str) {
        let mut above: Vec<&str> = Vec::new();
        let mut is_test = false;
        let mut within: Option<(String, String)> = None;
        for line in text.lines() {
            if let Some((test, end)) = &within {
                let test = test.clone();
                if line == end {
                    within = None;
                }
                self.show(line, file, &test);
                continue;
            }
            let code = line.trim_start();
            if code.starts_with("#[") || code.starts_with("//") {
                is_test |= is_test_attribute(code);
                above.push(line);
                continue;
            }
            if let Some(name) = function_name(code).filter(|_| is_test) {
                for line in above.iter().copied().chain([line]) {
                    self.show(line, file, name);
                }
                let indentation = &line[..line.len() - code.len()];
                within =
                    (!line.ends_with('}')).then(|| (name.to_owned(), format!("{indentation}}}")));
            } else {
                for line in above.iter().copied().chain([line]) {
                    self.name(line, file);
                }
            }
            above.clear();
            is_test = false;
        }
    }

    fn show(&mut self, line: &str, file: &str, test: &str) {
        for id in ids(line) {
            let place = Place { file: file.to_owned(), test: test.to_owned() };
            self.named.insert((id.clone(), place.clone()));
            self.shown.entry(id).or_default().insert(place);
        }
    }

    fn name(&mut self, line: &str, file: &str) {
        for id in ids(line) {
            let place = Place { file: file.to_owned(), test: String::new() };
            self.named.insert((id, place));
        }
    }
}

fn is_test_attribute(code: &str) -> bool {
    let path = code.trim_start_matches("#[").split(['(', ']']).next().unwrap_or_default();
    path == "test" || path.ends_with("::test")
}

fn function_name(code: &str) -> Option<&str> {
    let (_, name) = code.split_once("fn ")?;
    name.split(['(', '<']).next()
}

/// The ids in a line: a kind, a hyphen, two digits and perhaps a letter; or `Q`, two digits and
/// perhaps a letter.
fn ids(line: &str) -> Vec<String> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| is_id(word))
        .map(str::to_owned)
        .collect()
}

fn is_id(word: &str) -> bool {
    let number = match word.split_once('-') {
        Some((kind, number)) if KINDS.contains(&kind) => number,
        Some(_) => return word == EXTERNAL,
        None => match word.strip_prefix('Q') {
            Some(number) => number,
            None => return false,
        },
    };
    let digits = number.trim_end_matches(['a', 'b', 'c']);
    digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn ids_are_told_from_other_words() {
    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        assert_eq!(ids(line), expected, "{line}");
    }
    check("// REP and a number: see the list", &[]);
    check("RFC-53 SHA-25 ISO-88 Q1 Q123 REP-1 REP-123", &[]);
    let known =
        ["REP", "Q", "8BIT"].map(|kind| format!("{kind}{}03", if kind == "Q" { "" } else { "-" }));
    check(&known.join(", "), &known.each_ref().map(String::as_str));
}

#[test]
fn only_tests_show_rows() {
    let id = ["QUIT", "01"].join("-");
    let source = format!(
        "// {id} above nothing\nfn helper() {{\n    // {id}\n}}\n\n\
         // {id}\n#[test]\nfn above() {{}}\n\n\
         mod inner {{\n    #[tokio::test]\n    async fn within() {{\n        // {id}\n    }}\n}}\n\n\
         fn behind() {{ /* {id} */ }}\n"
    );
    let mut scan = Scan::default();
    scan.read_source("a.rs", &source);
    let tests: Vec<&str> = scan.shown[&id].iter().map(|place| place.test.as_str()).collect();
    assert_eq!(tests, ["above", "within"]);
}
