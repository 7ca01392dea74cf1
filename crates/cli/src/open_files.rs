//! How many files, and so connections, this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files beside those of connections: the standard ones, the runtime's, inputs and outputs.
const OTHERS: u64 = 32;

/// Raises the limit as far as it may be raised: the usual one, 1 024, is meant for programs that use `select`.
pub(crate) fn raise() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is refused, the old one stays.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// What to say where so many connections, each of so many files, are more than may be open.
pub(crate) fn shortage(connections: u32, files: u64) -> Option<String> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let needed = u64::from(connections).saturating_mul(files).saturating_add(OTHERS);
    (needed > soft).then(|| {
        format!(
            "{connections} connections need {needed} open files, and {soft} are allowed; \
             `ulimit -n {needed}` before allows more"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_files_are_worth_a_word() {
        raise();
        assert_eq!(shortage(1, 1), None);
        assert!(shortage(u32::MAX, 2).is_some_and(|text| text.contains("ulimit -n 8589934622")));
    }
}
