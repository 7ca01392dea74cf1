//! Tests that cannot run here say so, loudly.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Ends the calling test and says why it did not run.
///
/// `NOT RUN: <test>: <why>` goes to standard error, past the capture of the test harness, and is
/// appended to the file that the variable `POSTHASTE_LEFT_OUT` names, from which `tests/run` takes
/// its list. Works in any function that returns `()`.
#[macro_export]
macro_rules! skip {
    ($why:expr) => {{
        $crate::skip::left_out(std::any::type_name_of_val(&|| {}), $why);
        return;
    }};
}

/// The value of a `Result`, or [`skip!`] with its error.
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(missing) => $crate::skip!(missing),
        }
    };
}

/// What [`skip!`] does before it returns; `place` is the type name of a closure in the test.
pub fn left_out(place: &str, why: impl Display) {
    let test = place.trim_end_matches("::{{closure}}");
    let line = format!("NOT RUN: {test}: {why}\n");
    // Unlike `eprint!`, this is not captured. A closed standard error is nobody's loss.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let Some(list) = std::env::var_os("POSTHASTE_LEFT_OUT") else { return };
    // One short write in append mode: tests that run side by side do not mix their lines.
    let mut list = OpenOptions::new().append(true).create(true).open(list).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}
