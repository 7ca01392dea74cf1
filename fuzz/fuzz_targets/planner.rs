//! See `posthaste_fuzz::planner`.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::planner::run(octets));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("run this with cargo fuzz");
}
