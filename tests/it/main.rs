//! Tests across the whole engine.

mod dialogue;
mod engine;
mod servers;
