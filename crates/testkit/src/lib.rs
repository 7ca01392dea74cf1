//! What the tests of posthaste share. Development only.
//!
//! * [`pair`]: a client's session and a server's, joined by a link in virtual time;
//! * [`checker`]: an independent witness of what the client says and reports;
//! * [`simulation`]: a planner among virtual servers.
//!
//! All of it is decided by [`Dice`], so that a seed tells a run, and a fuzzer can look for one.

#![forbid(unsafe_code)]

pub mod checker;
mod clock;
mod dice;
pub mod link;
pub mod pair;
pub mod simulation;

pub use clock::Clock;
pub use dice::Dice;
