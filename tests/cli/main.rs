//! The command `posthaste` as its users meet it: flags, files, output, exit codes, signals.

mod bad_input;
mod bench;
mod credentials;
mod endings;
mod events;
mod help;
mod limits;
mod meanings;
mod metrics;
mod outcomes;
mod probe;
mod rates;
mod reply;
mod requests;
mod send;
mod servers;
mod sink;
mod support;
mod verbose;
