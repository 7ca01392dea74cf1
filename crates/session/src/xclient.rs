//! XCLIENT: tells a server that trusts this client whom the session is made for
//! (Postfix, `XCLIENT_README`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use posthaste_reply::{Extensions, Reply, ReplyCode, Severity};

use crate::domain::Domain;
use crate::event::{CloseReason, Requirement};
use crate::options::OptionError;
use crate::session::{Phase, Session};
use crate::stage::Stage;
use crate::xtext::xtext;

const VERB: &str = "XCLIENT";
/// The most octets of a command with its line end (RFC 5321 section 4.5.3.1.4).
const MAX_COMMAND: usize = 512;
/// The most octets of an encoded text, as Postfix has it. Each fits into a command of its own.
const MAX_TEXT: usize = 255;
/// There is no value.
const UNAVAILABLE: &str = "[UNAVAILABLE]";
/// The value could not be found out.
const TEMPORARILY_UNAVAILABLE: &str = "[TEMPUNAVAIL]";

/// Whom a session is made for. What is `None` is not told, and neither is what the server does not
/// ask for.
///
/// ```
/// use posthaste_session::{Xclient, XclientName};
///
/// let client = Xclient {
///     name: Some(XclientName::Known("spike.example".parse()?)),
///     address: Some("192.0.2.7".parse()?),
///     ..Xclient::default()
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xclient {
    /// NAME: the client's host name.
    pub name: Option<XclientName>,
    /// ADDR: the client's address.
    pub address: Option<IpAddr>,
    /// PORT: the client's port.
    pub port: Option<u16>,
    /// PROTO: what the client speaks.
    pub protocol: Option<XclientProtocol>,
    /// HELO: what the client called itself.
    pub helo: Option<XclientText>,
    /// LOGIN: whom the client logged in as.
    pub login: Option<XclientText>,
    /// DESTADDR: the address that the client connected to.
    pub destination_address: Option<IpAddr>,
    /// DESTPORT: the port that the client connected to.
    pub destination_port: Option<u16>,
}

/// A client's host name, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XclientName {
    /// This is it.
    Known(Domain),
    /// Its address has no name.
    Unavailable,
    /// Its name could not be found out.
    TemporarilyUnavailable,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XclientProtocol {
    /// It said HELO.
    Smtp,
    /// It said EHLO.
    Esmtp,
}

/// What a client said of itself: anything without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XclientText(String);

impl XclientText {
    /// Takes a text.
    ///
    /// # Errors
    ///
    /// Refuses control characters, nothing at all, the keywords `[UNAVAILABLE]` and `[TEMPUNAVAIL]`,
    /// and what has more than 255 octets once it is encoded.
    pub fn new(text: &str) -> Result<Self, OptionError> {
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(OptionError::Character(control));
        }
        if text.is_empty() {
            return Err(OptionError::Empty);
        }
        let keywords = [UNAVAILABLE, TEMPORARILY_UNAVAILABLE];
        // Servers find them even where they are encoded.
        if keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(text)) {
            return Err(OptionError::Form("a text other than [UNAVAILABLE] and [TEMPUNAVAIL]"));
        }
        let encoded = xtext(text.as_bytes());
        if encoded.len() > MAX_TEXT {
            return Err(OptionError::Length { octets: encoded.len(), most: MAX_TEXT });
        }
        Ok(Self(encoded))
    }
}

impl Xclient {
    /// What is set, in the order in which it is told. NAME and ADDR come last: from then on the
    /// server trusts this client as much as it trusts that one.
    fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let number = |port: Option<u16>| port.map(|port| port.to_string());
        let texts = [
            ("HELO", self.helo.as_ref().map(|helo| helo.0.clone())),
            ("LOGIN", self.login.as_ref().map(|login| login.0.clone())),
            ("PROTO", self.protocol.map(|protocol| protocol.as_str().to_owned())),
            ("DESTADDR", self.destination_address.map(literal)),
            ("DESTPORT", number(self.destination_port)),
            ("PORT", number(self.port)),
            ("NAME", self.name.as_ref().map(XclientName::encode)),
            ("ADDR", self.address.map(literal)),
        ];
        texts.into_iter().filter_map(|(name, value)| Some(Attribute { name, value: value? }))
    }
}

impl XclientProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
        }
    }
}

impl XclientName {
    fn encode(&self) -> String {
        match self {
            Self::Known(domain) => xtext(domain.as_str().as_bytes()),
            Self::Unavailable => UNAVAILABLE.to_owned(),
            Self::TemporarilyUnavailable => TEMPORARILY_UNAVAILABLE.to_owned(),
        }
    }
}

fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

#[derive(Debug)]
struct Attribute {
    name: &'static str,
    value: String,
}

/// What is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    attributes: VecDeque<Attribute>,
    has_begun: bool,
}

impl Untold {
    pub(crate) fn new(client: Option<&Xclient>) -> Self {
        let attributes = client.into_iter().flat_map(Xclient::attributes).collect();
        Self { attributes, has_begun: false }
    }

    /// Whether anything has been told, so that the session has begun anew since.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The next command, without its line end; `None` if the server does not ask for what is left.
    ///
    /// What it has not asked for to begin with is left out. What it asks for no longer is missed:
    /// it would take the mail for somebody else's.
    fn next_command(&mut self, extensions: &Extensions) -> Option<String> {
        let is_offered = |attribute: &Attribute| offers(extensions, attribute.name);
        if !self.has_begun {
            self.attributes.retain(is_offered);
        } else if !self.attributes.iter().all(is_offered) {
            return None;
        }
        let mut command = VERB.to_owned();
        while let Some(Attribute { name, value }) = self.attributes.front() {
            let octets = " =\r\n".len() + name.len() + value.len();
            if command.len() + octets > MAX_COMMAND {
                break;
            }
            command = format!("{command} {name}={value}");
            self.attributes.pop_front();
        }
        // Each attribute fits into a command, so none is left over where there is any.
        let is_empty = command == VERB;
        self.has_begun |= !is_empty;
        (!is_empty).then_some(command)
    }
}

/// Whether the server asks for this attribute.
fn offers(extensions: &Extensions, attribute: &str) -> bool {
    extensions.unknown().any(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.next().is_some_and(|keyword| keyword.eq_ignore_ascii_case(VERB.as_bytes()))
            && words.any(|word| word.eq_ignore_ascii_case(attribute.as_bytes()))
    })
}

impl Session {
    /// Tells whom the session is made for, as far as that is still to be told, and then
    /// authenticates.
    pub(crate) fn start_xclient(&mut self, now: Instant) {
        if self.untold.attributes.is_empty() {
            return self.start_auth(now, None);
        }
        match self.untold.next_command(&self.extensions) {
            Some(command) => {
                self.command(|out| out.extend([command.as_bytes(), b"\r\n"].concat()));
                self.phase = Phase::Xclient;
                self.rearm = true;
            }
            None => self.close_politely(CloseReason::Unavailable(Requirement::Xclient)),
        }
    }

    /// 220 is a new greeting, and the server knows nothing of what was said before it.
    pub(crate) fn handle_xclient(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code(), reply.code().severity()) {
            (ReplyCode::READY, _) => {
                self.extensions = Extensions::default();
                self.start_hello(now);
            }
            (_, Severity::TransientNegative | Severity::PermanentNegative) => {
                self.refuse(Stage::Xclient, reply);
            }
            (_, Severity::PositiveCompletion | Severity::PositiveIntermediate) => {
                self.unexpected(now, Stage::Xclient, reply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(attributes: &str) -> Extensions {
        let reply = format!("250-mx\r\n250-xclient {attributes}\r\n250 HELP\r\n");
        Extensions::parse(Reply::parse(reply.as_bytes()).unwrap())
    }

    const ALL: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

    fn everything() -> Xclient {
        Xclient {
            name: Some(XclientName::Known("spike.example".parse().unwrap())),
            address: Some("2001:db8::1".parse().unwrap()),
            port: Some(4000),
            protocol: Some(XclientProtocol::Esmtp),
            helo: Some(XclientText::new("my host").unwrap()),
            login: Some(XclientText::new("a+b").unwrap()),
            destination_address: Some("192.0.2.2".parse().unwrap()),
            destination_port: Some(25),
        }
    }

    #[track_caller]
    fn check(client: &Xclient, offered: &str, expected: &[&str]) {
        let mut untold = Untold::new(Some(client));
        let extensions = offering(offered);
        let said: Vec<_> = std::iter::from_fn(|| untold.next_command(&extensions)).collect();
        assert_eq!(said, expected);
    }

    /// XCLIENT-01
    #[test]
    fn only_what_is_asked_for_is_told() {
        let all = "XCLIENT HELO=my+20host LOGIN=a+2Bb PROTO=ESMTP DESTADDR=192.0.2.2 DESTPORT=25 \
                   PORT=4000 NAME=spike.example ADDR=IPV6:2001:db8::1";
        check(&everything(), ALL, &[all]);
        check(&everything(), "addr  Name", &["XCLIENT NAME=spike.example ADDR=IPV6:2001:db8::1"]);
        check(&everything(), "", &[]);
        check(&Xclient::default(), ALL, &[]);
        for (name, text) in [
            (XclientName::Unavailable, "XCLIENT NAME=[UNAVAILABLE]"),
            (XclientName::TemporarilyUnavailable, "XCLIENT NAME=[TEMPUNAVAIL]"),
        ] {
            check(&Xclient { name: Some(name), ..Xclient::default() }, ALL, &[text]);
        }
    }

    /// XCLIENT-01: 512 octets with the line end, and NAME and ADDR in the last command.
    #[test]
    fn long_commands_are_split() {
        let long = XclientText::new(&"x".repeat(MAX_TEXT)).unwrap();
        let client =
            Xclient { helo: Some(long.clone()), login: Some(long.clone()), ..everything() };
        let long = "x".repeat(MAX_TEXT);
        let first = format!("XCLIENT HELO={long}");
        let second = format!(
            "XCLIENT LOGIN={long} PROTO=ESMTP DESTADDR=192.0.2.2 DESTPORT=25 PORT=4000 \
             NAME=spike.example ADDR=IPV6:2001:db8::1"
        );
        check(&client, ALL, &[&first, &second]);

        // HELO and LOGIN fill a command to its last octet, or go over it by one.
        let login = MAX_COMMAND - "XCLIENT HELO= LOGIN=\r\n".len() - 250;
        for (octets, commands) in [(login, 1), (login + 1, 2)] {
            let text = |octets| Some(XclientText::new(&"x".repeat(octets)).unwrap());
            let client = Xclient { helo: text(250), login: text(octets), ..Xclient::default() };
            let mut untold = Untold::new(Some(&client));
            let extensions = offering(ALL);
            let said: Vec<_> = std::iter::from_fn(|| untold.next_command(&extensions)).collect();
            assert_eq!(said.len(), commands);
            assert!(said.iter().all(|command| command.len() + 2 <= MAX_COMMAND));
        }
    }

    /// IN-12
    #[test]
    fn texts_hold_no_line_ends() {
        assert_eq!(XclientText::new("a\r\nMAIL"), Err(OptionError::Character('\r')));
        assert_eq!(XclientText::new("a\0"), Err(OptionError::Character('\0')));
        assert_eq!(XclientText::new(""), Err(OptionError::Empty));
        let length = OptionError::Length { octets: MAX_TEXT + 2, most: MAX_TEXT };
        assert_eq!(XclientText::new(&format!("{}+", "x".repeat(MAX_TEXT - 1))), Err(length));
    }

    /// IN-12: Postfix decodes a value before it looks for keywords, and Exim does not.
    #[test]
    fn texts_are_no_keywords() {
        for text in ["[UNAVAILABLE]", "[unavailable]", "[TempUnavail]"] {
            let refused = XclientText::new(text);
            assert!(matches!(refused, Err(OptionError::Form(_))), "{text}: {refused:?}");
        }
        assert!(XclientText::new("[192.0.2.7]").is_ok(), "as in HELO");
    }
}
