//! The header by which a proxy says whose connection it hands on (haproxy's PROXY protocol, versions
//! 1 and 2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a PROXY header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// The connection is handed on for this client.
    Proxied {
        /// The client's address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
    /// The connection is the proxy's own (`LOCAL`), or it does not tell whose it is (`UNKNOWN`).
    Untold,
}

/// Octets that are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a PROXY header")]
pub(crate) struct NoHeader;

/// Reads a header, and nothing that is behind it: what follows may be a TLS handshake.
///
/// # Errors
///
/// Where the connection ends, or what comes is no header ([`io::ErrorKind::InvalidData`]).
pub(crate) async fn read<S>(stream: &mut S) -> io::Result<ProxyHeader>
where
    S: AsyncRead + Unpin,
{
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        header.push(stream.read_u8().await?);
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        let start = header.len();
        header.resize(start + length, 0);
        stream.read_exact(&mut header[start..]).await?;
        return version_2(&header).map_err(invalid);
    }
    while !header.ends_with(b"\n") && header.len() < LONGEST_LINE {
        header.push(stream.read_u8().await?);
    }
    version_1(&header).map_err(invalid)
}

fn invalid(error: NoHeader) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// `PROXY TCP4 source destination source-port destination-port CRLF`, or `PROXY UNKNOWN ... CRLF`.
fn version_1(line: &[u8]) -> Result<ProxyHeader, NoHeader> {
    let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let rest = text.and_then(|text| text.strip_prefix("PROXY ")).ok_or(NoHeader)?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(ProxyHeader::Untold);
    }
    let fields: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else {
        return Err(NoHeader);
    };
    let ip = |text: &str| -> Result<IpAddr, NoHeader> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| NoHeader),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| NoHeader),
            _ => Err(NoHeader),
        }
    };
    // Neither signs nor leading zeros: there is one way to write a port.
    let port = |text: &str| -> Result<u16, NoHeader> {
        text.parse().ok().filter(|port: &u16| port.to_string() == text).ok_or(NoHeader)
    };
    Ok(ProxyHeader::Proxied {
        source: SocketAddr::new(ip(source)?, port(source_port)?),
        destination: SocketAddr::new(ip(destination)?, port(destination_port)?),
    })
}

/// A signature, version and command, family and protocol, length, addresses. Extensions behind the
/// addresses are not looked at.
fn version_2(header: &[u8]) -> Result<ProxyHeader, NoHeader> {
    let rest = header.strip_prefix(SIGNATURE).ok_or(NoHeader)?;
    let [command, family, _, _, addresses @ ..] = rest else { return Err(NoHeader) };
    match (command, family) {
        (0x20, _) | (0x21, 0x00) => Ok(ProxyHeader::Untold),
        (0x21, 0x11) => proxied::<4>(addresses),
        (0x21, 0x21) => proxied::<16>(addresses),
        _ => Err(NoHeader),
    }
}

/// Two IP addresses of so many octets, and two ports.
fn proxied<const N: usize>(octets: &[u8]) -> Result<ProxyHeader, NoHeader>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = octets.split_first_chunk::<N>().ok_or(NoHeader)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(NoHeader)?;
    let [a, b, c, d, ..] = *rest else { return Err(NoHeader) };
    Ok(ProxyHeader::Proxied {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([c, d])),
    })
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `PROXY UNKNOWN` and CRLF; the fixed part of version 2 has one octet more.
const SHORTEST: usize = 15;

/// The longest header of version 1, its CRLF included.
const LONGEST_LINE: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(octets: &[u8]) -> Result<(ProxyHeader, usize), io::ErrorKind> {
        let mut rest = octets;
        let header = read(&mut rest).await.map_err(|error| error.kind())?;
        Ok((header, rest.len()))
    }

    fn proxied(source: &str, destination: &str) -> ProxyHeader {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        ProxyHeader::Proxied { source, destination }
    }

    /// PROXY-01.
    #[tokio::test]
    async fn version_1_is_a_line() {
        let four = proxied("192.0.2.1:5", "198.51.100.2:25");
        let six = proxied("[2001:db8::1]:65535", "[::1]:25");
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 5 25\r\n", Ok((four, 3))),
            ("PROXY TCP6 2001:db8::1 ::1 65535 25\r\n", Ok((six, 3))),
            ("PROXY UNKNOWN\r\n", Ok((ProxyHeader::Untold, 3))),
            ("PROXY UNKNOWN ffff::1 whatever\r\n", Ok((ProxyHeader::Untold, 3))),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 5 25\n", Err(io::ErrorKind::InvalidData)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 05 25\r\n", Err(io::ErrorKind::InvalidData)),
            ("PROXY TCP4 ::1 ::1 5 25\r\n", Err(io::ErrorKind::InvalidData)),
            ("PROXY TCP4  192.0.2.1 198.51.100.2 5 25\r\n", Err(io::ErrorKind::InvalidData)),
            ("EHLO client.example\r\n", Err(io::ErrorKind::InvalidData)),
            ("PROXY UNKN", Err(io::ErrorKind::UnexpectedEof)),
        ] {
            let input = if line.ends_with('\n') { format!("{line}220") } else { line.to_owned() };
            assert_eq!(parse(input.as_bytes()).await, expected, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        assert_eq!(parse(endless.as_bytes()).await, Err(io::ErrorKind::InvalidData));
    }

    /// PROXY-02.
    #[tokio::test]
    async fn version_2_is_binary() {
        let header = |command, family, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [SIGNATURE, &[command, family], &length, addresses, b"220"].concat()
        };
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0, 5, 0, 25];
        let expected = proxied("192.0.2.1:5", "198.51.100.2:25");
        assert_eq!(parse(&header(0x21, 0x11, &four)).await, Ok((expected, 3)));
        // With an extension behind the addresses.
        let extended = [&four[..], &[4, 0, 1, 0]].concat();
        assert_eq!(parse(&header(0x21, 0x11, &extended)).await, Ok((expected, 3)));
        let mut six = [0; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 5, 25);
        let expected = proxied("[::1]:5", "[::2]:25");
        assert_eq!(parse(&header(0x21, 0x21, &six)).await, Ok((expected, 3)));
        assert_eq!(parse(&header(0x20, 0, &[])).await, Ok((ProxyHeader::Untold, 3)));
        for (command, family, addresses) in
            [(0x11, 0x11, &four[..]), (0x21, 0x12, &four), (0x21, 0x21, &four)]
        {
            let parsed = parse(&header(command, family, addresses)).await;
            assert_eq!(parsed, Err(io::ErrorKind::InvalidData), "{command:x} {family:x}");
        }
    }
}
