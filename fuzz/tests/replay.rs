//! The corpus as an ordinary test: what the fuzzers found worth keeping, and every crash there was.

use std::fs;
use std::path::{Path, PathBuf};

use posthaste_fuzz::TARGETS;

fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?} is empty");
    files
}

fn replay(target: &str) {
    struct Named(PathBuf);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("with {}", self.0.display());
            }
        }
    }
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    for file in files(target) {
        let octets = fs::read(&file).unwrap();
        let _named = Named(file);
        run(&octets);
    }
}

macro_rules! replay {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            assert!(TARGETS.iter().map(|(name, _)| *name).eq(replayed));
        }
    };
}

replay!(reply, enhanced, ehlo, address, xtext, content, sasl, session, modes, pair, planner);

/// The corpus is part of the repository and has to stay small.
#[test]
fn the_corpus_is_small() {
    let octets: u64 = TARGETS
        .iter()
        .flat_map(|(target, _)| files(target))
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(octets < 300 * 1024, "{octets} octets");
}
