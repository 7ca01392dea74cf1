//! Commands, read strictly: what RFC 5321 lets a client say and nothing else.

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo,
    Helo,
    StartTls,
    Auth { has_initial_response: bool },
    Mail(Mail),
    Rcpt(String),
    Data,
    Rset,
    Quit,
}

/// The arguments of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) reverse_path: String,
    pub(super) size: Option<usize>,
    pub(super) is_8bit: bool,
    pub(super) is_utf8: bool,
}

/// RFC 5321 section 4.5.3.1.4, and what SIZE, BODY and SMTPUTF8 add to MAIL.
const MAX_LINE: usize = 512;
const MAX_MAIL_LINE: usize = 512 + 26 + 16 + 10;

/// Reads a line without its CRLF.
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
    let command = match (verb, arguments) {
        ("EHLO", name) if is_word(name) => Command::Ehlo,
        ("HELO", name) if is_word(name) => Command::Helo,
        ("STARTTLS", "") => Command::StartTls,
        ("AUTH", arguments) => auth(arguments)?,
        ("MAIL", arguments) => mail(arguments)?,
        ("RCPT", arguments) => rcpt(arguments)?,
        ("DATA", "") => Command::Data,
        ("RSET", "") => Command::Rset,
        ("QUIT", "") => Command::Quit,
        _ => return Err("unknown, or with arguments it cannot have".to_owned()),
    };
    let most = match command {
        Command::Mail(_) => MAX_MAIL_LINE,
        // RFC 4954 section 4.
        Command::Auth { .. } => 12_288,
        _ => MAX_LINE,
    };
    if line.len() + 2 > most {
        return Err(format!("line of {} octets", line.len() + 2));
    }
    Ok(command)
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
    Ok(Command::Auth { has_initial_response: response.is_some() })
}

fn mail(arguments: &str) -> Result<Command, String> {
    let (reverse_path, parameters) = path(arguments.strip_prefix("FROM:").unwrap_or_default())?;
    let mut mail = Mail { reverse_path: reverse_path.to_owned(), ..Mail::default() };
    for parameter in parameters.split(' ').skip(1) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("SIZE", digits)
                if mail.size.is_none() && digits.bytes().all(|d| d.is_ascii_digit()) =>
            {
                mail.size = Some(digits.parse().map_err(|_| "SIZE is no number")?);
            }
            ("BODY", "8BITMIME") if !mail.is_8bit => mail.is_8bit = true,
            ("SMTPUTF8", "") if !mail.is_utf8 => mail.is_utf8 = true,
            _ => return Err(format!("parameter {parameter:?}")),
        }
    }
    Ok(Command::Mail(mail))
}

fn rcpt(arguments: &str) -> Result<Command, String> {
    match path(arguments.strip_prefix("TO:").unwrap_or_default())? {
        ("", _) => Err("nobody to send to".to_owned()),
        (forward_path, "") => Ok(Command::Rcpt(forward_path.to_owned())),
        (_, parameters) => Err(format!("parameters {parameters:?}")),
    }
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
        assert_eq!(read(b"RCPT TO:<\"a> b\"@c>"), Ok(Command::Rcpt("\"a> b\"@c".to_owned())));
        let Ok(Command::Mail(mail)) = read(b"MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8")
        else {
            panic!("not read");
        };
        assert_eq!((mail.reverse_path.as_str(), mail.size), ("a@b", Some(10)));
        assert!(mail.is_8bit && mail.is_utf8);
        assert_eq!(read(b"AUTH PLAIN ="), Ok(Command::Auth { has_initial_response: true }));
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
            "MAIL FROM:<a@b> X=1",
            "MAIL FROM:<a@b> SIZE=1 SIZE=1",
            "RCPT TO:<>",
            "RCPT TO:<a@b> X",
            "RCPT TO:<a<b@c>",
            "AUTH",
            "AUTH PLAIN !",
            "QUIT\r",
            "RS\0ET",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(!is_auth_response(b"a") && is_auth_response(b"*") && is_auth_response(b""));
    }
}
