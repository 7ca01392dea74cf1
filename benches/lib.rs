//! What several benches need.

#![forbid(unsafe_code)]

pub mod bare;
pub mod engine;
pub mod helper;
pub mod load;
