//! Tests of the planner as a whole, by what they are about.

mod any_calls;
mod connections;
mod explanations;
mod fairness;
mod limits;
mod recovery;
mod servers;
mod world;
