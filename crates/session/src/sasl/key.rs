//! The salted password of SCRAM: slow on purpose, so that it is derived elsewhere and kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::Digest;
use zeroize::Zeroizing;

use crate::credentials::Identity;

use super::Secret;

/// Keys kept of one password. A server has one salt a user and hash; a few more are for several
/// servers behind one name that do not agree, and a server that makes salts up gets no further.
const MAX_KEYS: usize = 4;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    /// `H(str)`
    pub(super) fn digest(self, octets: &[u8]) -> Secret {
        Zeroizing::new(match self {
            Self::Sha1 => Sha1::digest(octets).to_vec(),
            Self::Sha256 => Sha256::digest(octets).to_vec(),
        })
    }

    /// `HMAC(key, str)`
    pub(super) fn hmac(self, key: &[u8], octets: &[u8]) -> Secret {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, octets),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, octets),
        }
    }

    /// `Hi(str, salt, i)`, which is PBKDF2 with HMAC.
    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Secret {
        match self {
            Self::Sha1 => {
                let mut key = Zeroizing::new(vec![0; 20]);
                pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut key);
                key
            }
            Self::Sha256 => {
                let mut key = Zeroizing::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key);
                key
            }
        }
    }
}

/// The code that authenticates octets, by any kind of HMAC.
pub(super) fn mac<M: Mac + KeyInit>(key: &[u8], octets: &[u8]) -> Secret {
    let mac = M::new_from_slice(key).expect("HMAC takes keys of any length");
    Zeroizing::new(mac.chain_update(octets).finalize().into_bytes().to_vec())
}

/// What a key depends on besides the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Salting {
    pub(super) hash: Hash,
    pub(super) salt: Box<[u8]>,
    pub(super) iterations: u32,
}

/// A computation that takes up to about a second: not for a thread that has a network to serve.
///
/// It can be dropped at any time. A result is kept with the credentials, so that the connections of
/// one pool share it.
#[derive(Clone)]
pub struct KeyDerivation {
    pub(super) identity: Arc<Identity>,
    pub(super) salting: Salting,
}

impl KeyDerivation {
    /// Computes the key, or waits for another connection that is just doing so.
    pub fn derive(self) -> DerivedKey {
        let Self { identity, salting } = self;
        // Whoever holds the lock computes; a panic there leaves nothing half done.
        let mut keys = identity.keys().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&keys, &salting) {
            return known;
        }
        let Salting { hash, salt, iterations } = &salting;
        let key = hash.salted(identity.secret().as_bytes(), salt, *iterations);
        let key = DerivedKey(Arc::new(key));
        if keys.len() == MAX_KEYS {
            keys.pop_front();
        }
        keys.push_back((salting, key.clone()));
        key
    }
}

impl fmt::Debug for KeyDerivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Salting { hash, iterations, .. } = &self.salting;
        f.debug_struct("KeyDerivation")
            .field("hash", hash)
            .field("iterations", iterations)
            .finish_non_exhaustive()
    }
}

/// What a [`KeyDerivation`] has computed; wiped when dropped.
#[derive(Clone)]
pub struct DerivedKey(Arc<Secret>);

impl DerivedKey {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}

/// The keys derived from one password, the oldest first.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<VecDeque<(Salting, DerivedKey)>>);

impl KeyCache {
    /// A key that is there already. Never waits.
    pub(super) fn find(&self, salting: &Salting) -> Option<DerivedKey> {
        match self.0.try_lock() {
            Ok(keys) => find(&keys, salting),
            Err(TryLockError::Poisoned(keys)) => find(&keys.into_inner(), salting),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn find(keys: &VecDeque<(Salting, DerivedKey)>, salting: &Salting) -> Option<DerivedKey> {
    keys.iter().find(|(known, _)| known == salting).map(|(_, key)| key.clone())
}
