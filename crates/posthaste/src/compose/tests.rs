use std::time::{Duration, SystemTime};

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use posthaste_session::{ContentError, EnvelopeError, Mailbox};

use super::*;

fn draft() -> Draft {
    Draft::new().from("Ann <ann@a.example>").to("bob@b.example").text("hi\n")
}

fn octets(mail: &Mail) -> String {
    String::from_utf8(mail.content.to_bytes().into()).unwrap()
}

fn parse(mail: &Mail) -> Message<'static> {
    MessageParser::default().parse(&mail.content.to_bytes()[..]).unwrap().into_owned()
}

fn recipients(mail: &Mail) -> Vec<&str> {
    mail.envelope.forward_paths().iter().map(ForwardPath::as_str).collect()
}

#[track_caller]
fn refuse(draft: Draft, expected: ComposeError) {
    assert_eq!(draft.build().unwrap_err(), expected);
}

#[test]
fn a_plain_mail() {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mail = draft()
        .subject("One")
        .date(date)
        .message_id("<1@a.example>")
        .header("List-Id", "<l.a.example>");
    assert_eq!(
        octets(&mail.build().unwrap()),
        "From: \"Ann\" <ann@a.example>\r\n\
         To: <bob@b.example>\r\n\
         Subject: One\r\n\
         Date: Sun, 9 Sep 2001 01:46:40 +0000\r\n\
         Message-ID: <1@a.example>\r\n\
         List-Id: <l.a.example>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n\
         hi\r\n"
    );
}

#[test]
fn envelope_from_the_people() {
    let mail =
        draft().to("Bob <bob@b.example>").cc("c@c.example").bcc("d@d.example").bcc("c@c.example");
    let mail = mail.build().unwrap();
    assert_eq!(mail.envelope.reverse_path().as_str(), "ann@a.example");
    assert_eq!(recipients(&mail), ["bob@b.example", "c@c.example", "d@d.example"]);
    let bounces: Mailbox = "bounces@a.example".parse().unwrap();
    let mail = draft().reverse_path(bounces).build().unwrap();
    assert_eq!(mail.envelope.reverse_path().as_str(), "bounces@a.example");
    let mail = draft().reverse_path(ReversePath::Null).build().unwrap();
    assert_eq!(mail.envelope.reverse_path(), &ReversePath::Null);
}

#[test]
fn blind_copies_are_not_in_the_content() {
    // A Message-ID made of random hexadecimal digits says "bcc" now and then.
    let mail = draft().bcc("Secret <secret@d.example>").message_id("1@a.example").build().unwrap();
    assert!(recipients(&mail).contains(&"secret@d.example"));
    assert!(!octets(&mail).to_lowercase().contains("secret"));
    assert!(!octets(&mail).to_lowercase().contains("bcc"));
}

#[test]
fn header_injection() {
    // IN-14
    for evil in ["a\r\nBcc: x@x", "a\nb", "a\rb", "a\0b", "a\u{7f}", "a\u{85}b", "\t"] {
        let control = evil.chars().find(|c| c.is_control()).unwrap();
        let value = |name: &str| ComposeError::HeaderValue { name: name.into(), control };
        let mailbox =
            |field| ComposeError::Mailbox { field, source: NamedMailboxError::Control(control) };
        refuse(draft().subject(evil), value("Subject"));
        refuse(draft().header("X-A", evil), value("X-A"));
        refuse(
            draft().header(format!("X-{evil}"), "a"),
            ComposeError::HeaderName(format!("X-{evil}")),
        );
        refuse(
            draft().message_id(format!("{evil}@x")),
            ComposeError::MessageId(format!("{evil}@x")),
        );
        refuse(draft().from(format!("{evil} <a@x>").as_str()), mailbox(Field::From));
        refuse(draft().to(format!("{evil} <a@x>").as_str()), mailbox(Field::To));
        refuse(draft().cc(format!("<a@{evil}x>").as_str()), mailbox(Field::Cc));
        refuse(draft().bcc(format!("\"{evil}\"@x").as_str()), mailbox(Field::Bcc));
        refuse(draft().reply_to(format!("{evil}a@x").as_str()), mailbox(Field::ReplyTo));
        let address: Mailbox = "a@x".parse().unwrap();
        assert_eq!(NamedMailbox::new(evil, address), Err(NamedMailboxError::Control(control)));
    }
    // IN-06: the low octets of these are CR and LF.
    let mail = draft().subject("a\u{760d}\u{760a}Bcc: x").build().unwrap();
    assert_eq!(parse(&mail).subject(), Some("a\u{760d}\u{760a}Bcc: x"));
    assert!(parse(&mail).bcc().is_none());
}

#[test]
fn header_names() {
    for bad in ["", "a b", "a:", "ü", &"x".repeat(77)] {
        refuse(draft().header(bad, "a"), ComposeError::HeaderName(bad.to_owned()));
    }
    for own in ["From", "bcc", "MESSAGE-ID", "content-type"] {
        refuse(draft().header(own, "a"), ComposeError::OwnHeader(own.to_owned()));
    }
}

#[test]
fn what_is_missing() {
    refuse(Draft::new().to("a@x"), ComposeError::NoFrom);
    refuse(Draft::new().from("a@x"), ComposeError::Envelope(EnvelopeError::NoRecipient));
    assert!(Draft::new().from("a@x").to("b@x").build().is_ok(), "a mail may be empty");
}

#[test]
fn text_that_cannot_be_sent() {
    // TX-14
    let error = draft().text("a\0b").build().unwrap_err();
    assert!(matches!(error, ComposeError::Content(ContentError::Nul { .. })), "{error:?}");
}

#[test]
fn the_first_error_is_the_one_reported() {
    let mail = draft().subject("a\r").header("X Y", "a").build();
    assert_eq!(
        mail.unwrap_err(),
        ComposeError::HeaderValue { name: "Subject".into(), control: '\r' }
    );
}

#[test]
fn names_and_subjects_of_the_world() {
    for text in [
        "Jörg Müller",
        "日本語の名前",
        "محمد علي",
        "Дарья Иванова",
        "O'Neil, \"Jack\" \\ (dead)",
        "👩‍💻 emoji",
        "שלום",
        &"very long ü ".repeat(60),
        &"long ascii text ".repeat(60),
        &"ü".repeat(2000),
        &"x".repeat(2000),
    ] {
        let text = text.trim();
        let address: Mailbox = "a@b.example".parse().unwrap();
        let name = NamedMailbox::new(text, address).unwrap();
        let mail = Draft::new()
            .from(name.clone())
            .to(name.clone())
            .cc(name)
            .subject(text)
            .build()
            .unwrap();
        assert!(mail.content.to_bytes().is_ascii());
        let message = parse(&mail);
        assert_eq!(message.subject(), Some(text));
        for field in [message.from(), message.to(), message.cc()] {
            let mailbox = field.unwrap().first().unwrap();
            assert_eq!(mailbox.name(), Some(text));
            assert_eq!(mailbox.address(), Some("a@b.example"));
        }
    }
}

#[test]
fn addresses_beyond_ascii_need_smtputf8() {
    // UTF8-01, UTF8-03
    let mail = Draft::new().from("ü@bücher.example").to("b@x").build().unwrap();
    assert!(mail.envelope.needs_smtputf8() && mail.content.header_needs_smtputf8());
    assert!(octets(&mail).contains("<ü@xn--bcher-kva.example>"));
    let mail = Draft::new().from("u@bücher.example").to("b@x").build().unwrap();
    assert!(!mail.envelope.needs_smtputf8() && !mail.content.header_needs_smtputf8());
}

#[test]
fn structured_fields_are_folded_and_not_encoded() {
    let url = format!("<https://a.example/u?t={}>", "x".repeat(300));
    let value = format!("{url}, <mailto:leave@a.example?subject=leave>");
    let mail = draft().header("List-Unsubscribe", value).build().unwrap();
    assert!(octets(&mail).contains(&format!("List-Unsubscribe: {url},\r\n <mailto:")));
}

#[test]
fn texts_of_any_shape_become_lines_that_can_be_sent() {
    // TX-10, TX-12
    let long = "ü".repeat(5000);
    for (text, expected) in [
        ("a\nb\r\nc\rd", "a\r\nb\r\nc\r\nd"),
        (".\n..\n", ".\r\n..\r\n"),
        ("trailing space \nx", "trailing space \r\nx"),
        ("From here\n", "From here\r\n"),
        (&long, &long),
        (&"x".repeat(5000), &"x".repeat(5000)),
    ] {
        let mail = draft().text(text).html(text).build().unwrap();
        let message = parse(&mail);
        let body = message.body_text(0).unwrap().replace("\r\n", "\n");
        assert_eq!(
            body.trim_end_matches('\n'),
            expected.replace("\r\n", "\n").trim_end_matches('\n')
        );
    }
}

#[test]
fn structure() {
    fn shape(message: &Message<'_>, part: usize) -> String {
        let part = message.part(part as u32).unwrap();
        let name = part.content_type().and_then(|media_type| media_type.subtype()).unwrap_or("-");
        match &part.body {
            PartType::Multipart(parts) => {
                let parts: Vec<_> =
                    parts.iter().map(|part| shape(message, *part as usize)).collect();
                format!("{name}({})", parts.join(" "))
            }
            _ => name.to_owned(),
        }
    }
    let file = || Attachment::new("a.pdf", b"%PDF").unwrap();
    let logo = || Attachment::inline("a.png", b"PNG").unwrap();
    let html = "<img src=\"cid:a.png\">";
    for (draft, expected) in [
        (draft(), "plain"),
        (draft().attach(file()), "mixed(plain pdf)"),
        (draft().html(html), "alternative(plain html)"),
        (draft().html(html).attach(logo()), "related(alternative(plain html) png)"),
        (
            draft().html(html).attach(file()).attach(logo()).attach(file()),
            "mixed(related(alternative(plain html) png) pdf pdf)",
        ),
        (Draft::new().from("a@x").to("b@x").html(html), "html"),
    ] {
        let mail = draft.build().unwrap();
        assert_eq!(shape(&parse(&mail), 0), expected);
    }
}

#[test]
fn attachments_come_back_as_they_were() {
    let all_octets: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let names =
        ["a.bin", "Jahresabschluß 2024.pdf", "quote\"d \\.zip", "名前.png", &"n".repeat(150)];
    for octets in [&b""[..], b"x", &all_octets] {
        for name in names {
            let mail = draft().attach(Attachment::new(name, octets).unwrap()).build().unwrap();
            let message = parse(&mail);
            let part = message.attachment(0).unwrap();
            assert_eq!(part.attachment_name(), Some(name));
            assert!(part.contents() == octets, "{name} of {} octets", octets.len());
        }
    }
    let note = "Grüße\n";
    let mail = draft().attach(Attachment::new("a.txt", note).unwrap()).build().unwrap();
    assert_eq!(parse(&mail).attachment(0).unwrap().text_contents(), Some(note));
    let mail = draft().attach(Attachment::inline("l.png", &all_octets).unwrap()).build().unwrap();
    assert!(octets(&mail).contains("Content-ID: <l.png>\r\n"));
}

#[test]
fn message_ids() {
    let id = |draft: Draft| parse(&draft.build().unwrap()).message_id().unwrap().to_owned();
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| id(draft())).collect();
    assert_eq!(ids.len(), 1000, "each is new");
    assert!(ids.iter().all(|id| id.ends_with("@a.example")));
    assert_eq!(id(draft().message_id("x@y")), "x@y");
    assert_eq!(id(draft().message_id("<x@y>")), "x@y");
    for bad in ["", "x", "@y", "x@", "a b@y", "<x@y", "x@y> z"] {
        refuse(draft().message_id(bad), ComposeError::MessageId(bad.to_owned()));
    }
}

#[test]
fn date_is_now() {
    let date = |draft: Draft| parse(&draft.build().unwrap()).date().unwrap().to_timestamp();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now..now + 60).contains(&date(draft())));
    assert_eq!(date(draft().date(SystemTime::UNIX_EPOCH - Duration::from_secs(1))), -1);
}
