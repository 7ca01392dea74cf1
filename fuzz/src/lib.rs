//! What the fuzz targets do with their octets. Each target is a function that panics when something
//! is wrong, so that the corpus runs as an ordinary test, too.

#![forbid(unsafe_code)]

pub mod address;
pub mod content;
mod cuts;
pub mod ehlo;
pub mod enhanced;
mod keys;
pub mod modes;
pub mod pair;
pub mod planner;
pub mod reply;
pub mod sasl;
pub mod session;
pub mod xtext;

/// A target: its name, and what it does with octets.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("reply", reply::run),
    ("enhanced", enhanced::run),
    ("ehlo", ehlo::run),
    ("address", address::run),
    ("xtext", xtext::run),
    ("content", content::run),
    ("sasl", sasl::run),
    ("session", session::run),
    ("modes", modes::run),
    ("pair", pair::run),
    ("planner", planner::run),
];
