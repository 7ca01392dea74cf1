//! The `posthaste` command.
#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports, reason = "the commands that use the inputs are not there yet")]

mod exit;
mod input;
mod sink;

fn main() {}
