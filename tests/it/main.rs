//! Tests across the whole engine.

mod dialogue;
mod servers;
