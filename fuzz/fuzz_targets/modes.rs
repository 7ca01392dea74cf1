//! See `posthaste_fuzz::modes`.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::modes::run(octets));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("run this with cargo fuzz");
}
