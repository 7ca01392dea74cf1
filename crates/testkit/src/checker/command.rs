//! Commands, read strictly: what RFC 5321 lets a client say and nothing else.

mod parameter;

pub(super) use parameter::{Parameter, decode_xtext};

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo,
    Helo,
    Lhlo,
    StartTls,
    Auth { mechanism: String },
    Xclient { attributes: Vec<String> },
    Mail(Mail),
    Rcpt(Rcpt),
    Data,
    Bdat { octets: usize, is_last: bool },
    Rset,
    Quit,
}

/// The arguments of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) reverse_path: String,
    pub(super) parameters: Vec<Parameter>,
}

/// The arguments of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rcpt {
    pub(super) forward_path: String,
    pub(super) parameters: Vec<Parameter>,
}

impl Mail {
    /// The value of a parameter; empty if it has none.
    pub(super) fn parameter(&self, keyword: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters.find(|parameter| parameter.keyword == keyword).map(|it| it.value.as_str())
    }

    pub(super) fn size(&self) -> Option<usize> {
        self.parameter("SIZE").and_then(|size| size.parse().ok())
    }

    pub(super) fn is_8bit(&self) -> bool {
        self.parameter("BODY").is_some_and(|body| body != "7BIT")
    }

    pub(super) fn is_binary(&self) -> bool {
        self.parameter("BODY") == Some("BINARYMIME")
    }

    pub(super) fn is_utf8(&self) -> bool {
        self.parameter("SMTPUTF8").is_some()
    }
}

/// Reads a line without its CRLF. How long it may be depends on what is offered, and is not looked
/// at here.
///
/// # Errors
///
/// Says what is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Command, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(format!("control character {c:?}"));
    }
    if text != text.trim() {
        return Err("blanks around it".to_owned());
    }
    let (verb, arguments) = text.split_once(' ').unwrap_or((text, ""));
    match (verb, arguments) {
        ("EHLO", name) if is_word(name) => Ok(Command::Ehlo),
        ("HELO", name) if is_word(name) => Ok(Command::Helo),
        ("LHLO", name) if is_word(name) => Ok(Command::Lhlo),
        ("STARTTLS", "") => Ok(Command::StartTls),
        ("AUTH", arguments) => auth(arguments),
        ("XCLIENT", arguments) => xclient(arguments),
        ("MAIL", arguments) => mail(arguments),
        ("RCPT", arguments) => rcpt(arguments),
        ("DATA", "") => Ok(Command::Data),
        ("BDAT", arguments) => bdat(arguments),
        ("RSET", "") => Ok(Command::Rset),
        ("QUIT", "") => Ok(Command::Quit),
        _ => Err("unknown, or with arguments it cannot have".to_owned()),
    }
}

/// Whether this is a line of an AUTH exchange: base64, or `*` to end it.
pub(super) fn is_auth_response(line: &[u8]) -> bool {
    line == b"*" || is_base64(line)
}

fn is_base64(octets: &[u8]) -> bool {
    let padding = octets.iter().rev().take_while(|&&octet| octet == b'=').count();
    let is_digit = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
    let digits = &octets[..octets.len() - padding];
    octets.len().is_multiple_of(4) && padding <= 2 && digits.iter().all(is_digit)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn auth(arguments: &str) -> Result<Command, String> {
    let (mechanism, response) = match arguments.split_once(' ') {
        Some((mechanism, response)) => (mechanism, Some(response)),
        None => (arguments, None),
    };
    let is_response = |response: &str| response == "=" || is_base64(response.as_bytes());
    if !is_word(mechanism) || !response.is_none_or(is_response) {
        return Err("AUTH needs a mechanism and base64".to_owned());
    }
    Ok(Command::Auth { mechanism: mechanism.to_owned() })
}

/// XCLIENT-01: attributes with values in xtext.
fn xclient(arguments: &str) -> Result<Command, String> {
    let mut attributes = Vec::new();
    for pair in arguments.split(' ') {
        let (name, value) = pair.split_once('=').ok_or("an attribute without a value")?;
        let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_uppercase());
        if !is_name || value.is_empty() || decode_xtext(value).is_none() {
            return Err(format!("attribute {pair:?}"));
        }
        attributes.push(name.to_owned());
    }
    Ok(Command::Xclient { attributes })
}

/// CHUNK-02: a number as it is usually written, and LAST.
fn bdat(arguments: &str) -> Result<Command, String> {
    let (digits, is_last) = match arguments.strip_suffix(" LAST") {
        Some(digits) => (digits, true),
        None => (arguments, false),
    };
    match digits.parse::<usize>() {
        Ok(octets) if octets.to_string() == digits => Ok(Command::Bdat { octets, is_last }),
        _ => Err(format!("BDAT with {arguments:?}")),
    }
}

fn mail(arguments: &str) -> Result<Command, String> {
    let (reverse_path, rest) = path(arguments.strip_prefix("FROM:").unwrap_or_default())?;
    let parameters = parameter::of_mail(rest)?;
    Ok(Command::Mail(Mail { reverse_path: reverse_path.to_owned(), parameters }))
}

fn rcpt(arguments: &str) -> Result<Command, String> {
    let (forward_path, rest) = path(arguments.strip_prefix("TO:").unwrap_or_default())?;
    if forward_path.is_empty() {
        return Err("nobody to send to".to_owned());
    }
    let parameters = parameter::of_rcpt(rest)?;
    Ok(Command::Rcpt(Rcpt { forward_path: forward_path.to_owned(), parameters }))
}

/// What stands between the angle brackets, and what is behind them. A quoted local-part may hold
/// an angle bracket of its own.
fn path(text: &str) -> Result<(&str, &str), String> {
    let inner = text.strip_prefix('<').ok_or("no opening angle bracket")?;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '>' if !is_quoted => return Ok((&inner[..at], &inner[at + 1..])),
            '<' | ' ' if !is_quoted => return Err(format!("{c:?} in a path")),
            _ => {}
        }
    }
    Err("no closing angle bracket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(read(b"EHLO client.example"), Ok(Command::Ehlo));
        assert_eq!(read(b"LHLO client.example"), Ok(Command::Lhlo));
        let Ok(Command::Rcpt(rcpt)) = read(b"RCPT TO:<\"a> b\"@c> NOTIFY=NEVER") else {
            panic!("not read");
        };
        assert_eq!((rcpt.forward_path.as_str(), rcpt.parameters.len()), ("\"a> b\"@c", 1));
        let Ok(Command::Mail(mail)) = read(b"MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8")
        else {
            panic!("not read");
        };
        assert_eq!((mail.reverse_path.as_str(), mail.size()), ("a@b", Some(10)));
        assert!(mail.is_8bit() && mail.is_utf8() && !mail.is_binary());
        assert_eq!(read(b"AUTH PLAIN ="), Ok(Command::Auth { mechanism: "PLAIN".to_owned() }));
        assert_eq!(read(b"BDAT 10"), Ok(Command::Bdat { octets: 10, is_last: false }));
        assert_eq!(read(b"BDAT 0 LAST"), Ok(Command::Bdat { octets: 0, is_last: true }));
        let attributes = vec!["NAME".to_owned(), "ADDR".to_owned()];
        let command = read(b"XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:::1");
        assert_eq!(command, Ok(Command::Xclient { attributes }));
    }

    #[test]
    fn what_is_no_command() {
        for line in [
            "",
            " DATA",
            "DATA ",
            "data",
            "DATA x",
            "EHLO",
            "EHLO a b",
            "MAIL FROM:a@b",
            "MAIL FROM:<a@b",
            "MAIL FROM: <a@b>",
            "MAIL FROM:<a@b>  SIZE=1",
            "MAIL FROM:<a@b> NOTIFY=NEVER",
            "MAIL FROM:<a@b> SIZE=1 SIZE=1",
            "RCPT TO:<>",
            "RCPT TO:<a@b> SIZE=1",
            "RCPT TO:<a<b@c>",
            "AUTH",
            "AUTH PLAIN !",
            "BDAT",
            "BDAT 010",
            "BDAT 1 last",
            "BDAT 1  LAST",
            "BDAT +1",
            "XCLIENT",
            "XCLIENT NAME=a+b",
            "QUIT\r",
            "RS\0ET",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(!is_auth_response(b"a") && is_auth_response(b"*") && is_auth_response(b""));
    }
}
