//! What the tests of posthaste share. Development only.

#![forbid(unsafe_code)]

pub mod simulation;
