//! The attributes of `--xclient`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use posthaste::session::{Xclient, XclientName, XclientProtocol, XclientText};

/// An attribute with its value.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Name(XclientName),
    Addr(IpAddr),
    Port(u16),
    Proto(XclientProtocol),
    Helo(XclientText),
    Login(XclientText),
    DestAddr(IpAddr),
    DestPort(u16),
}

/// Reads `NAME=spike.example` and the like.
pub(super) fn attribute(text: &str) -> Result<Attribute, String> {
    let (name, value) = text.split_once('=').ok_or("expected ATTRIBUTE=VALUE")?;
    match name.to_ascii_uppercase().as_str() {
        "NAME" => Ok(Attribute::Name(match value {
            "[UNAVAILABLE]" => XclientName::Unavailable,
            "[TEMPUNAVAIL]" => XclientName::TemporarilyUnavailable,
            name => XclientName::Known(read(name)?),
        })),
        "ADDR" => read(value).map(Attribute::Addr),
        "PORT" => read(value).map(Attribute::Port),
        "PROTO" => match value {
            "SMTP" => Ok(Attribute::Proto(XclientProtocol::Smtp)),
            "ESMTP" => Ok(Attribute::Proto(XclientProtocol::Esmtp)),
            _ => Err("expected SMTP or ESMTP".to_owned()),
        },
        "HELO" => words(value).map(Attribute::Helo),
        "LOGIN" => words(value).map(Attribute::Login),
        "DESTADDR" => read(value).map(Attribute::DestAddr),
        "DESTPORT" => read(value).map(Attribute::DestPort),
        _ => Err("there is no such attribute".to_owned()),
    }
}

fn read<T: FromStr<Err: fmt::Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| error.to_string())
}

fn words(value: &str) -> Result<XclientText, String> {
    XclientText::new(value).map_err(|error| error.to_string())
}

/// All of them together; of two values for one attribute the last one counts.
pub(super) fn client(attributes: &[Attribute]) -> Xclient {
    let mut client = Xclient::default();
    for attribute in attributes.iter().cloned() {
        match attribute {
            Attribute::Name(name) => client.name = Some(name),
            Attribute::Addr(address) => client.address = Some(address),
            Attribute::Port(port) => client.port = Some(port),
            Attribute::Proto(protocol) => client.protocol = Some(protocol),
            Attribute::Helo(helo) => client.helo = Some(helo),
            Attribute::Login(login) => client.login = Some(login),
            Attribute::DestAddr(address) => client.destination_address = Some(address),
            Attribute::DestPort(port) => client.destination_port = Some(port),
        }
    }
    client
}
