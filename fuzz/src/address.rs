//! Addresses: what is accepted is safe on the wire, and means the same to another reader.

use posthaste_session::{ClientName, Domain, ForwardPath, Mailbox, ReversePath};
use posthaste_sink::command::Command;

/// Takes the input for an address and for a name.
///
/// What is accepted has no control character (IN-01 to IN-07), reads itself, stays within the
/// limits of RFC 5321, and is one path without parameters to the sink's own grammar.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        let wire = mailbox.as_str();
        check_wire(wire);
        assert!(wire.len() <= 254, "a path of {} octets", wire.len() + 2);
        assert_eq!(wire.parse::<Mailbox>().as_ref(), Ok(&mailbox), "{wire:?} reads itself");
        assert_eq!(format!("{}@{}", mailbox.local_part(), mailbox.domain()), wire);
        assert_eq!(mailbox.needs_smtputf8(), !wire.is_ascii());
        let domain = mailbox.domain();
        assert!(domain.is_ascii());
        assert_eq!(domain.parse::<Domain>().expect("its own domain").as_str(), domain);
        if wire.is_ascii() && mailbox.local_part().is_ascii() {
            let again = Mailbox::new(&unquoted(mailbox.local_part()), &domain.parse().unwrap());
            assert_eq!(again.as_ref(), Ok(&mailbox), "made of its parts");
        }
    }
    if let Ok(path) = text.parse::<ReversePath>() {
        check_path(&format!("MAIL FROM:<{}>", path.as_str()), path.as_str());
        assert_eq!(path.as_str().parse::<ReversePath>(), Ok(path));
    }
    if let Ok(path) = text.parse::<ForwardPath>() {
        check_path(&format!("RCPT TO:<{}>", path.as_str()), path.as_str());
        assert_eq!(path.as_str().parse::<ForwardPath>(), Ok(path));
    }
    if let Ok(name) = text.parse::<ClientName>() {
        check_wire(name.as_str());
        assert!(!name.as_str().contains([' ', '_', '@', '<', '>']));
        let line = format!("EHLO {name}");
        assert!(matches!(Command::parse(line.as_bytes()), Ok(Command::Ehlo(_))), "{line:?}");
    }
}

fn check_wire(wire: &str) {
    assert!(!wire.chars().any(char::is_control), "{wire:?}");
}

/// Another reader sees one path, and nothing behind it.
fn check_path(line: &str, expected: &str) {
    check_wire(line);
    assert!(line.len() + 2 <= 512, "a line of {} octets (CMD-05)", line.len() + 2);
    let command = Command::parse(line.as_bytes());
    let Ok(Command::Mail(path) | Command::Rcpt(path)) = command else {
        panic!("{line:?} is read as {command:?}");
    };
    assert_eq!(path.mailbox, expected.as_bytes());
    assert_eq!(path.parameters.into_iter().count(), 0, "{line:?}");
}

/// A local-part without its quotes and backslashes.
fn unquoted(local_part: &str) -> String {
    let Some(inner) = local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local_part.to_owned();
    };
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    out
}
