//! Tests across the whole engine.

mod audit;
mod auth;
mod dialogue;
mod dovecot;
mod engine;
mod exim;
mod extensions;
mod faults;
mod interop;
mod mixes;
mod offered;
mod postfix;
mod proxied;
mod queue;
mod remembered;
mod samples;
mod scripted;
mod servers;
mod tls;
mod watch;
mod witness;
