//! What several benches need.

#![forbid(unsafe_code)]

pub mod bare;
