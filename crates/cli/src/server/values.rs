//! The values of the flags.

use std::net::{IpAddr, SocketAddr};

use posthaste::connection::{ProxyAddresses, ProxyHeader, ProxyVersion};
use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::reply::Mechanism;
use posthaste::session::{Credentials, Domain, Pipelining, TlsPolicy};

/// A name that a certificate can be for, in its ASCII form.
pub(super) fn tls_name(text: &str) -> Result<String, &'static str> {
    let name = || text.parse::<Domain>().ok().filter(|name| !name.is_literal());
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => name()
            .map(|name| name.as_str().to_owned())
            .ok_or("expected a host name or an IP address"),
    }
}

pub(super) fn tls_policy(text: &str) -> Result<TlsPolicy, &'static str> {
    match text {
        "off" => Ok(TlsPolicy::Off),
        "may" => Ok(TlsPolicy::May),
        "require" => Ok(TlsPolicy::Require),
        _ => Err("expected off, may or require"),
    }
}

pub(super) fn pipelining(text: &str) -> Result<PipeliningPolicy, &'static str> {
    match text {
        "auto" => Ok(PipeliningPolicy::Auto),
        mode => match mode.parse::<Pipelining>() {
            Ok(mode) => Ok(PipeliningPolicy::Fixed(mode)),
            Err(_) => Err("expected auto, off, envelope, cross or stream"),
        },
    }
}

pub(super) fn keyword(text: &str) -> Result<String, &'static str> {
    // RFC 5321 section 4.1.1.1.
    let is_keyword = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if is_keyword { Ok(text.to_owned()) } else { Err("expected a keyword, e.g. CHUNKING") }
}

pub(super) fn proxy_header(text: &str) -> Result<ProxyHeader, &'static str> {
    const EXPECTED: &str = "expected v1 or v2, and perhaps ,unknown or ,IP:PORT,IP:PORT behind it";
    let mut parts = text.split(',');
    let version = match parts.next() {
        Some("v1") => ProxyVersion::V1,
        Some("v2") => ProxyVersion::V2,
        _ => return Err(EXPECTED),
    };
    let addresses = match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => ProxyAddresses::Connection,
        (Some("unknown"), None, _) => ProxyAddresses::Unknown,
        (Some(source), Some(destination), None) => {
            let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| EXPECTED);
            ProxyAddresses::new(address(source)?, address(destination)?)
                .map_err(|_| "expected two addresses of the same family")?
        }
        _ => return Err(EXPECTED),
    };
    Ok(ProxyHeader { version, addresses })
}

pub(super) fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let mechanism =
        text.parse().ok().filter(|mechanism| Credentials::MECHANISMS.contains(mechanism));
    mechanism.ok_or(
        "expected PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256 (or one of these two with -PLUS), XOAUTH2, \
         OAUTHBEARER or EXTERNAL",
    )
}
