//! Tests across the whole engine.
