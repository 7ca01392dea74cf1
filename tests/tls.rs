//! A certificate authority for one server, made when it starts.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::HOSTNAME;

/// Writes `cert.pem` and `key.pem` for `localhost`, [`HOSTNAME`] and `ip` into `dir`; returns the
/// certificate of the authority that signed them, as PEM.
pub(crate) fn issue(dir: &Path, ip: IpAddr) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();

    let names = ["localhost".to_owned(), HOSTNAME.to_owned(), ip.to_string()];
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    authority.pem()
}
