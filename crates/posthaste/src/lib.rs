#![forbid(unsafe_code)]

#[cfg(feature = "compose")]
pub mod compose;
