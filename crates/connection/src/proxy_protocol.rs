//! The header of the PROXY protocol: whom a connection is made for, said before anything else
//! (haproxy's `proxy-protocol.txt`).
//!
//! It is written by the client of a server that stands behind a load balancer, in the place of that
//! balancer. The addresses are typed, so nothing else can get into the header.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with the command LOCAL: the connection is the sender's own.
const LOCAL: u8 = 0x20;
/// Version 2 with the command PROXY: the connection is made for somebody else.
const PROXY: u8 = 0x21;
/// No address family and no protocol.
const UNSPECIFIED: u8 = 0x00;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;

/// A header of the PROXY protocol.
///
/// ```
/// use posthaste_connection::{ProxyAddresses, ProxyHeader, ProxyVersion};
///
/// let addresses = ProxyAddresses::new("192.0.2.1:5000".parse()?, "192.0.2.2:25".parse()?)?;
/// let header = ProxyHeader { version: ProxyVersion::V1, addresses };
/// assert_eq!(header.to_octets(None), b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 25\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    /// How it is written.
    pub version: ProxyVersion,
    /// What it says.
    pub addresses: ProxyAddresses,
}

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

/// What a header says of who is at the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyAddresses {
    /// The ends of the connection itself; [`Unknown`](Self::Unknown) where they have no addresses,
    /// or a SOCKS proxy is in between.
    #[default]
    Connection,
    /// Nothing: `PROXY UNKNOWN` in version 1, LOCAL in version 2.
    Unknown,
    /// IPv4.
    V4 {
        /// The client that the connection is made for.
        source: SocketAddrV4,
        /// The address that it connected to.
        destination: SocketAddrV4,
    },
    /// IPv6.
    V6 {
        /// The client that the connection is made for.
        source: SocketAddrV6,
        /// The address that it connected to.
        destination: SocketAddrV6,
    },
}

/// The two ends are of different address families, which no header can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source and destination must both be IPv4 or both be IPv6")]
pub struct MixedFamilies;

impl ProxyAddresses {
    /// Given addresses.
    ///
    /// # Errors
    ///
    /// When one is IPv4 and the other IPv6.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Result<Self, MixedFamilies> {
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                Ok(Self::V4 { source, destination })
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                Ok(Self::V6 { source, destination })
            }
            _ => Err(MixedFamilies),
        }
    }
}

impl ProxyHeader {
    /// The octets of the header on a connection with these ends: this side, the other side.
    #[must_use]
    pub fn to_octets(&self, connection: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        let addresses = match (self.addresses, connection) {
            (ProxyAddresses::Connection, Some((local, peer))) => {
                ProxyAddresses::new(local, peer).unwrap_or(ProxyAddresses::Unknown)
            }
            (addresses, _) => addresses,
        };
        match self.version {
            ProxyVersion::V1 => text(addresses).into_bytes(),
            ProxyVersion::V2 => binary(addresses),
        }
    }
}

/// At most 107 octets, as the longest addresses are written out.
fn text(addresses: ProxyAddresses) -> String {
    match addresses {
        ProxyAddresses::Connection | ProxyAddresses::Unknown => "PROXY UNKNOWN\r\n".to_owned(),
        ProxyAddresses::V4 { source: s, destination: d } => {
            format!("PROXY TCP4 {} {} {} {}\r\n", s.ip(), d.ip(), s.port(), d.port())
        }
        ProxyAddresses::V6 { source: s, destination: d } => {
            format!("PROXY TCP6 {} {} {} {}\r\n", hex(*s.ip()), hex(*d.ip()), s.port(), d.port())
        }
    }
}

/// An IPv6 address without the dots that one has by custom behind `::ffff:`. Version 1 knows only
/// groups of hexadecimal digits.
fn hex(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        (None, _) => address.to_string(),
    }
}

fn binary(addresses: ProxyAddresses) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    // Command, family, and the length of what follows.
    match addresses {
        ProxyAddresses::Connection | ProxyAddresses::Unknown => {
            out.extend([LOCAL, UNSPECIFIED, 0, 0]);
        }
        ProxyAddresses::V4 { source, destination } => {
            out.extend([PROXY, TCP4, 0, 12]);
            out.extend([source.ip().octets(), destination.ip().octets()].concat());
            out.extend([source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
        }
        ProxyAddresses::V6 { source, destination } => {
            out.extend([PROXY, TCP6, 0, 36]);
            out.extend([source.ip().octets(), destination.ip().octets()].concat());
            out.extend([source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(source: &str, destination: &str) -> ProxyAddresses {
        ProxyAddresses::new(source.parse().unwrap(), destination.parse().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(version: ProxyVersion, addresses: ProxyAddresses, expected: &[u8]) {
        let header = ProxyHeader { version, addresses };
        let ends = ("127.0.0.1:4000".parse().unwrap(), "127.0.0.2:25".parse().unwrap());
        let octets = header.to_octets(Some(ends));
        assert_eq!(octets.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// PROXY-01
    #[test]
    fn version_1_is_a_line() {
        let v4 = given("192.0.2.1:5000", "192.0.2.2:25");
        check(ProxyVersion::V1, v4, b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 25\r\n");
        let v6 = given("[2001:db8::1]:5000", "[2001:db8::2]:25");
        check(ProxyVersion::V1, v6, b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 25\r\n");
        let mapped = given("[::ffff:192.0.2.1]:5000", "[::ffff:0.0.2.2]:25");
        check(ProxyVersion::V1, mapped, b"PROXY TCP6 ::ffff:c000:201 ::ffff:0:202 5000 25\r\n");
        check(ProxyVersion::V1, ProxyAddresses::Unknown, b"PROXY UNKNOWN\r\n");
        let own = b"PROXY TCP4 127.0.0.1 127.0.0.2 4000 25\r\n";
        check(ProxyVersion::V1, ProxyAddresses::Connection, own);

        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert!(text(given(longest, longest)).len() <= 107);
    }

    /// PROXY-02
    #[test]
    fn version_2_is_binary() {
        let v4 = given("192.0.2.1:5000", "192.0.2.2:25");
        let expected =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x13\x88\0\x19";
        check(ProxyVersion::V2, v4, expected);
        let v6 = given("[2001:db8::1]:5000", "[2001:db8::2]:25");
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
            \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
            \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x13\x88\0\x19";
        check(ProxyVersion::V2, v6, expected);
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        check(ProxyVersion::V2, ProxyAddresses::Unknown, local);
    }

    /// PROXY-03, DS-21, IN-12: only addresses get in, and only a pair that can be said.
    #[test]
    fn families_are_not_mixed() {
        let (v4, v6) = ("192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert_eq!(ProxyAddresses::new(v4, v6), Err(MixedFamilies));
        // A scope is no part of an address that others could understand.
        let scoped = given("[fe80::1%7]:1", "[fe80::2%7]:2");
        assert_eq!(text(scoped), "PROXY TCP6 fe80::1 fe80::2 1 2\r\n");
    }

    /// Ends without addresses, as on a Unix socket, are not known.
    #[test]
    fn ends_without_addresses_are_unknown() {
        let header =
            ProxyHeader { version: ProxyVersion::V1, addresses: ProxyAddresses::Connection };
        assert_eq!(header.to_octets(None), b"PROXY UNKNOWN\r\n");
    }
}
