//! The slow part of SCRAM.

use posthaste_session::{DerivedKey, KeyDerivation};

/// Derives a key, unless that takes too long for a fuzzer. Nobody has to wait for a key: a session
/// without it runs into its deadline.
pub(crate) fn derive(derivation: KeyDerivation) -> Option<DerivedKey> {
    let is_quick = format!("{derivation:?}").contains("iterations: 4096,");
    is_quick.then(|| derivation.derive())
}
