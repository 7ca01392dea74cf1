//! Tests across the whole engine.

mod dialogue;
mod engine;
mod exim;
mod interop;
mod postfix;
mod samples;
mod servers;
mod tls;
mod watch;
