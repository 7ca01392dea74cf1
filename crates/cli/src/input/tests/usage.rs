use clap::CommandFactory;

use super::*;

#[track_caller]
fn refuse(args: &[&str], expected: &str) {
    Files::new([("t", b"hi"), ("h.html", b"<b>")]).refuse(args, Exit::Usage, expected);
}

#[test]
fn exactly_one_kind() {
    refuse(
        &[],
        "nothing to send: name a MESSAGE file (- for standard input), or use --text, --jsonl or --rows",
    );
    refuse(
        &["-f", "a@x"],
        "nothing to send: name a MESSAGE file (- for standard input), or use --text, --jsonl or --rows",
    );
    refuse(
        &["a", "--subject", "b"],
        "MESSAGE and --subject are two kinds of input; only one can be sent at a time",
    );
    refuse(
        &["a", "--jsonl", "b"],
        "MESSAGE and --jsonl are two kinds of input; only one can be sent at a time",
    );
    refuse(
        &["--attach", "a", "--rows", "b"],
        "--attach and --rows are two kinds of input; only one can be sent at a time",
    );
    refuse(
        &["--jsonl", "a", "--to-column", "b"],
        "--jsonl and --to-column are two kinds of input; only one can be sent at a time",
    );
    refuse(&["--rows", "a"], "--rows needs --template");
    refuse(&["--template", "a"], "--template needs --rows");
    refuse(&["--to-column", "a"], "--to-column needs --rows");
    refuse(&["--rows", "a", "--template", "b", "-t", "c@x"], "--to does not go with --rows");
    refuse(&["--jsonl", "a", "-t", "c@x"], "--to does not go with --jsonl");
    refuse(&["--text", "{}/t", "-t", "a@x"], "a composed mail needs --from");
    refuse(&["--text", "{}/t", "-f", "a@x"], "a composed mail needs --to");
    refuse(&["-", "-"], "standard input can be read only once");
    refuse(
        &["--text", "-", "--html", "-", "-f", "a@x", "-t", "b@x"],
        "standard input can be read only once",
    );
}

#[test]
fn addresses_on_the_command_line() {
    refuse(
        &["{}/t", "-f", "a b@x"],
        "cannot use --from \"a b@x\": \"a b@x\" is not an address: character ' ' is not allowed in an unquoted local-part",
    );
    refuse(
        &["{}/t", "-t", ""],
        "cannot use --to \"\": expected one mailbox, got 0 (a name with a comma must stand in quotes)",
    );
    refuse(
        &["--text", "{}/t", "-f", "a@x", "-t", "b@x", "--reply-to", "c"],
        "cannot use --reply-to \"c\": \"c\" is not an address: expected local-part@domain",
    );
    // IN-01
    refuse(
        &["{}/t", "-t", "a@b>\r\nRCPT TO:<evil@x"],
        "cannot use --to \"a@b>\\r\\nRCPT TO:<evil@x\": control character '\\r' is not allowed in a name or an address",
    );
}

#[test]
fn a_composed_mail() {
    let files = Files::new([
        ("t.txt", "Grüße\n".as_bytes()),
        ("h.html", "<b>Grüße</b> <img src=\"cid:l.png\">\n".as_bytes()),
        ("a b.pdf", b"%PDF\0\xff"),
        ("l.png", b"\x89PNG"),
    ]);
    let mail = files.mail(&[
        "--from",
        "Jörg <j@x>",
        "--to",
        "A <a@x>, b@x",
        "--to",
        "c@x",
        "--cc",
        "d@x",
        "--bcc",
        "e@x",
        "--reply-to",
        "r@x",
        "--subject",
        "Grüße",
        "--text",
        "{}/t.txt",
        "--html",
        "{}/h.html",
        "--attach",
        "{}/a b.pdf",
        "--inline",
        "{}/l.png",
        "-H",
        "X-Campaign: may: 1",
    ]);
    assert_eq!((from(&mail), to(&mail)), ("j@x", vec!["a@x", "b@x", "c@x", "d@x", "e@x"]));
    let message = parsed(&mail);
    assert_eq!(message.subject(), Some("Grüße"));
    assert_eq!(message.from().unwrap().first().unwrap().name(), Some("Jörg"));
    assert_eq!(message.body_text(0).unwrap().trim_end(), "Grüße");
    assert!(message.body_html(0).unwrap().contains("cid:l.png"));
    assert_eq!(message.header_raw("X-Campaign").unwrap().trim(), "may: 1");
    let names: Vec<_> = message.attachments().map(|part| part.attachment_name().unwrap()).collect();
    assert_eq!(names, ["l.png", "a b.pdf"]);
    assert_eq!(message.attachment(1).unwrap().contents(), b"%PDF\0\xff");
    assert!(!octets(&mail).contains("e@x"), "the blind copy");
}

#[test]
fn parts_that_do_not_make_a_mail() {
    // IN-14
    let people = ["-f", "a@x", "-t", "b@x"];
    let check = |more: &[&str], expected: &str| refuse(&[&people, more].concat(), expected);
    check(
        &["--subject", "a\r\nBcc: c@x"],
        "cannot compose the mail: control character '\\r' is not allowed in header field Subject",
    );
    check(
        &["-H", "X-A: a\nBcc: c@x"],
        "cannot compose the mail: control character '\\n' is not allowed in header field X-A",
    );
    check(&["-H", "Bcc: c@x"], "cannot compose the mail: header field Bcc cannot be set by name");
    check(&["-H", "X A: c"], "cannot compose the mail: \"X A\" is not the name of a header field");
    check(&["-H", "X"], "--header \"X\" is not of the form 'Name: value'");
    let files = Files::new([("latin1", b"\xfc"), ("nul", b"a\0")]);
    let text = [&people[..], &["--text", "{}/nul"]].concat();
    let results = files.results(&text);
    assert!(matches!(&results[..], [Err(error)] if error.exit() == Exit::BadInput), "{results:?}");
    let text = [&people[..], &["--text", "{}/latin1"]].concat();
    files.refuse(&text, Exit::BadInput, "latin1: is not UTF-8, from octet 0 on");
    let text = [&people[..], &["--text", "{}/none"]].concat();
    files.refuse(&text, Exit::NoInput, "cannot read none: No such file or directory (os error 2)");
}

#[test]
fn the_flags_keep_out_of_the_rest_of_the_help() {
    let help = Command::command().render_long_help().to_string();
    assert!(help.starts_with("Sends mails"), "{help}");
    assert!(help.contains("\nInput (exactly one kind):\n"));
    assert!(help.contains("\nOptions:\n"), "the heading ends with the input's flags");
    Command::command().debug_assert();
}
