//! Whatever a caller can put into a command is checked before there is a session to send it.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{
    ClientName, Config, Content, Credentials, Domain, Envelope, EnvelopeError, EnvelopeId,
    ForwardPath, Hold, MAX_RECIPIENTS, Mail, MailOptions, Mailbox, OriginalRecipient, Parameter,
    RecipientOptions, ReversePath, Session, XclientText,
};
use proptest::prelude::*;

/// Whether a text can become an argument.
type Accepts = fn(&str) -> bool;

/// Every argument of a command that is text, and how it is made.
const ARGUMENTS: &[(&str, Accepts)] = &[
    ("EHLO name", |text| text.parse::<ClientName>().is_ok()),
    ("domain", |text| text.parse::<Domain>().is_ok()),
    ("mailbox", |text| format!("{text}@example.com").parse::<Mailbox>().is_ok()),
    ("quoted local-part", |text| format!("\"{text}\"@example.com").parse::<Mailbox>().is_ok()),
    ("local-part", |text| Mailbox::new(text, &"x".parse().unwrap()).is_ok()),
    ("reverse-path", |text| format!("a@{text}").parse::<ReversePath>().is_ok()),
    ("forward-path", |text| format!("a@{text}").parse::<ForwardPath>().is_ok()),
    ("AUTH=", |text| format!("{text}@x").parse::<ReversePath>().is_ok()),
    ("ENVID", |text| EnvelopeId::new(text).is_ok()),
    ("type of ORCPT", |text| OriginalRecipient::with_type(text, "a").is_ok()),
    ("ORCPT", |text| OriginalRecipient::with_type("x400", text).is_ok()),
    ("keyword of an extension", |text| Parameter::new(text, "A", None).is_ok()),
    ("keyword of a parameter", |text| Parameter::new("A", text, None).is_ok()),
    ("value of a parameter", |text| Parameter::new("A", "A", Some(text)).is_ok()),
    ("HELO and LOGIN of XCLIENT", |text| XclientText::new(text).is_ok()),
    ("user name", |text| Credentials::new(text, "secret").is_ok()),
    ("password", |text| Credentials::new("user", text).is_ok()),
    ("token", |text| Credentials::bearer("user", text).is_ok()),
    ("authorisation identity", |text| Credentials::external(Some(text.to_owned())).is_ok()),
];

/// CMD-08, IN-01, IN-02, IN-03, IN-04, IN-05, IN-12, IN-13: CR, LF, NUL, the other controls of C0 and
/// C1, and DEL, at either end and in the middle.
#[test]
fn no_argument_takes_a_control_character() {
    let controls: Vec<char> = ('\0'..=' ').chain('\x7f'..='\u{9f}').collect();
    assert_eq!(controls.iter().filter(|c| c.is_control()).count(), 65);
    for (name, accepts) in ARGUMENTS {
        assert!(accepts("abc"), "{name} accepts nothing");
        for &control in controls.iter().filter(|c| c.is_control()) {
            for text in [format!("{control}abc"), format!("ab{control}c"), format!("abc{control}")]
            {
                assert!(!accepts(&text), "{name} accepts {text:?}");
            }
        }
    }
    assert!(Hold::until("2026-12-24T18:00:00Z").is_ok());
    assert!(Hold::until("2026-12-24T18:00:00Z\r\n").is_err());
}

/// IN-01, IN-02, IN-04, IN-07: commands in disguise.
#[test]
fn no_argument_takes_a_second_command() {
    for (name, accepts) in ARGUMENTS {
        for text in ["a>\r\nRCPT TO:<evil@x", "a\r\nDATA\r\n", "a\n.\n", "1\rQUIT\r"] {
            assert!(!accepts(text), "{name} accepts {text:?}");
        }
    }
}

/// IN-06, CMD-16: characters that end in CR or LF when they are cut down to an octet.
#[test]
fn no_argument_is_cut_down_to_octets() {
    for (name, accepts) in ARGUMENTS {
        let texts = ["a\u{10d}\u{10a}b", "a\u{760d}\u{760a}b", "a\u{560d}\u{560a}b"];
        for text in texts.into_iter().filter(|text| accepts(text)) {
            let said = said_with(text);
            assert_eq!(said.matches(['\r', '\n']).count(), 2 * said.lines().count(), "{name}");
        }
    }
}

/// EHLO-07, Q14: what servers refuse behind EHLO is refused, or made into what they take.
#[test]
fn names_for_ehlo() {
    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        let got = name.parse::<ClientName>().ok();
        assert_eq!(got.as_ref().map(ClientName::as_str), expected, "{name:?}");
    }
    check("mail.example", Some("mail.example"));
    check("bücher.example", Some("xn--bcher-kva.example"));
    check("[192.0.2.1]", Some("[192.0.2.1]"));
    check("192.0.2.1", Some("[192.0.2.1]"));
    check("2001:db8::1", Some("[IPv6:2001:db8::1]"));
    check("a_b.example", None);
    check("mail.example.", None);
    check("a b", None);
    check("a\r\nMAIL FROM:<e@e>", None);
    check("[::1]", None);
    check("-a.example", None);
}

/// IN-09: what would be read in two ways as a header is one address, or none.
#[test]
fn addresses_are_not_searched_for_addresses() {
    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str)>) {
        let mailbox = text.parse::<Mailbox>().ok();
        let parts = mailbox.as_ref().map(|mailbox| (mailbox.local_part(), mailbox.domain()));
        assert_eq!(parts, expected, "{text:?}");
    }
    check("\"evil@a.example\"@b.example", Some(("\"evil@a.example\"", "b.example")));
    check("\"a@b.example> x\"@c.example", Some(("\"a@b.example> x\"", "c.example")));
    check("a(b@c.example)@d.example", None);
    check("group: a@b.example, c@d.example;", None);
    check("Some Body <a@b.example>", None);
    check("a@b.example, c@d.example", None);
    check("a@b.example@c.example", None);
    check("a@b\u{ff0e}example\u{ff20}c", None);
}

/// IN-10: what would nest, or be tried in many ways, takes no longer than anything else.
#[test]
fn addresses_take_linear_time() {
    for text in ["(", "\"\\", "<", "a:", "((a)", "\" \"", "@", "a@[", "."] {
        let text = text.repeat(100_000);
        let started = Instant::now();
        assert!(text.parse::<Mailbox>().is_err());
        assert!(format!("{text}@x").parse::<Mailbox>().is_err());
        assert!(format!("a@{text}").parse::<Mailbox>().is_err());
        // A quadratic search of 100 000 characters would take minutes.
        assert!(started.elapsed().as_secs() < 5, "{:?}", &text[..5]);
    }
}

/// IN-15: labels that are none, and A-labels that decode to nothing sensible.
#[test]
fn labels() {
    for bad in ["xn--", "xn--\u{fc}", "a..b", ".a", "a.", &"a".repeat(64), "ü\u{ad}\u{202e}."] {
        assert!(bad.parse::<Domain>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(63).parse::<Domain>().is_ok());
}

/// CMD-06: lengths at their bounds.
#[test]
fn lengths() {
    #[track_caller]
    fn check(local: usize, domain: usize, expected: bool) {
        let labels = "d".repeat(domain);
        let labels: Vec<_> = labels.as_bytes().chunks(62).map(<[u8]>::to_vec).collect();
        let mut name = labels.join(&b'.');
        name.truncate(domain);
        if name.ends_with(b".") {
            *name.last_mut().unwrap() = b'd';
        }
        let text = format!("{}@{}", "l".repeat(local), String::from_utf8(name).unwrap());
        let parsed = text.parse::<Mailbox>();
        assert_eq!(parsed.is_ok(), expected, "{local} and {domain}: {parsed:?}");
    }
    check(64, 4, true);
    check(65, 4, false);
    check(1, 252, true);
    check(1, 256, false);
    check(64, 189, true);
    check(64, 190, false);
}

/// RX-01: a mail's recipients are bounded, before anything is kept for each of them.
#[test]
fn recipients_are_bounded() {
    let to: ForwardPath = "b@y".parse().unwrap();
    let envelope = |count| Envelope::new(ReversePath::Null, std::iter::repeat_n(to.clone(), count));
    assert!(envelope(MAX_RECIPIENTS).is_ok());
    let most = MAX_RECIPIENTS + 1;
    assert_eq!(envelope(most).unwrap_err(), EnvelopeError::TooManyRecipients);
    assert_eq!(envelope(0).unwrap_err(), EnvelopeError::NoRecipient);
}

/// CMD-05: a command of 512 octets goes out; one octet more, and nothing is written. DSN lets RCPT grow
/// by 500 octets where it is offered.
#[test]
fn command_lines_have_a_longest() {
    for (offer, longest) in [("250-mx\r\n250 A\r\n", 512), ("250-mx\r\n250-A\r\n250 DSN\r\n", 1012)]
    {
        for octets in [longest, longest + 1] {
            let mut session = Session::new(Instant::now(), Config::new("x".parse().unwrap()));
            say(&mut session, "220 hi\r\n");
            say(&mut session, offer);
            let mut left = octets - "RCPT TO:<b@y>\r\n".len();
            let mut recipient = RecipientOptions::default();
            while left > 0 {
                let parameter = if left > 150 { 100 } else { left };
                let value = "v".repeat(parameter - " A=".len());
                recipient.others.push(Parameter::new("A", "A", Some(&value)).unwrap());
                left -= parameter;
            }
            let to: ForwardPath = "b@y".parse().unwrap();
            let envelope = Envelope::new(ReversePath::Null, [to]).unwrap();
            let envelope = envelope.with_recipient_options(recipient);
            let mail = Mail::new(envelope, Content::new("x").unwrap());
            let submitted = session.submit(Instant::now(), mail);
            if octets > longest {
                assert!(submitted.is_err(), "{octets} octets");
                assert_eq!(take(&mut session), "");
                continue;
            }
            submitted.unwrap();
            take(&mut session);
            let said = say(&mut session, "250 ok\r\n");
            assert_eq!(said.len(), octets, "{said}");
        }
    }
}

fn say(session: &mut Session, heard: &str) -> String {
    let now = Instant::now();
    session.handle_input(now, heard.as_bytes());
    take(session)
}

fn take(session: &mut Session) -> String {
    let mut said = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = session.poll_transmit(&mut slices);
        let octets: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        slices[..used].iter().for_each(|slice| said.extend_from_slice(slice));
        if octets == 0 {
            return String::from_utf8(said).unwrap();
        }
        session.transmitted(Instant::now(), octets);
    }
}

/// What is said before DATA is answered, with the text wherever it is accepted.
fn said_with(text: &str) -> String {
    let name = text.parse().unwrap_or_else(|_| "client.example".parse().unwrap());
    let mut session = Session::new(Instant::now(), Config::new(name));
    let mut said = say(&mut session, "220 hi\r\n");
    said += &say(&mut session, "250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-A\r\n250 DSN\r\n");
    let mut options = MailOptions::default();
    let mut recipient = RecipientOptions::default();
    options.envelope_id = EnvelopeId::new(text).ok();
    recipient.original = OriginalRecipient::with_type("x400", text).ok();
    options.others.extend(Parameter::new("A", "A", Some(text)));
    recipient.others.extend(Parameter::new("A", text, None));
    let domain: Domain = text.parse().unwrap_or_else(|_| "x".parse().unwrap());
    let from = Mailbox::new(text, &domain).unwrap_or_else(|_| "a@x".parse().unwrap());
    let to: Mailbox = text.parse().unwrap_or_else(|_| from.clone());
    let envelope = Envelope::new(from, [ForwardPath::from(to)]).unwrap();
    let envelope = envelope.with_options(options).with_recipient_options(recipient);
    let _ = session.submit(Instant::now(), Mail::new(envelope, Content::new("x").unwrap()));
    said += &take(&mut session);
    said
}

proptest! {
    /// CMD-01, CMD-02, CMD-03, CMD-05: a command is one line in its one form, whatever is in it.
    #[test]
    fn whatever_is_accepted_is_one_line(text in "[\\PC\r\n\t\0<>@\"\\\\ =+.a-z]{0,80}") {
        let said = said_with(&text);
        prop_assert!(said.ends_with("\r\n"));
        let lines: Vec<&str> = said.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        prop_assert!((1..=5).contains(&lines.len()), "{said:?}");
        for line in lines {
            prop_assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            prop_assert_eq!(line.trim_end(), line);
            let verbs = ["EHLO ", "MAIL FROM:<", "RCPT TO:<", "DATA"];
            prop_assert!(verbs.iter().any(|verb| line.starts_with(verb)), "{line:?}");
        }
    }
}
