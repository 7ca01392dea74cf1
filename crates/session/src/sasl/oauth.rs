//! OAUTHBEARER (RFC 7628) and XOAUTH2, its forerunner at Google and Microsoft.

use crate::credentials::Credentials;

use super::scram::escaped;
use super::{Secret, concat};

/// Octets kept of what a server says about a token it refuses: enough for the JSON object of RFC
/// 7628 section 3.2.2, which is never parsed.
const MAX_DIAGNOSTIC: usize = 1024;

/// `user=` and `auth=`, each ended by 0x01, and one more.
pub(super) fn xoauth2(credentials: &Credentials) -> Secret {
    let (user, token) = (credentials.user().as_bytes(), credentials.secret().as_bytes());
    concat(&[b"user=", user, b"\x01auth=Bearer ", token, b"\x01\x01"])
}

/// `client-resp = (gs2-header kvsep *kvpair kvsep)` (RFC 7628 section 3.1)
pub(super) fn oauthbearer(credentials: &Credentials, server: Option<(&str, u16)>) -> Secret {
    let user = escaped(credentials.user());
    let server = match server {
        // Nothing else could be told apart from the next pair.
        Some((host, port)) if !host.chars().any(char::is_control) => {
            format!("host={host}\x01port={port}\x01")
        }
        _ => String::new(),
    };
    let token = credentials.secret().as_bytes();
    let (user, server) = (user.as_bytes(), server.as_bytes());
    concat(&[b"n,a=", user, b",\x01", server, b"auth=Bearer ", token, b"\x01\x01"])
}

/// What a server says about a token, made fit to be shown.
pub(crate) fn diagnostic(challenge: &[u8]) -> Box<str> {
    let kept = challenge.get(..MAX_DIAGNOSTIC).unwrap_or(challenge);
    String::from_utf8_lossy(kept)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}
