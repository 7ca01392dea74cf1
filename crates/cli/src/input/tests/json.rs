use super::*;

const MAIL: &str = "From: a@x\nTo: b@x\nBcc: c@x\n\nhi\n";

fn jsonl(lines: &str) -> Files {
    Files::new([
        ("in/m.jsonl", lines.as_bytes()),
        ("in/a.eml", MAIL.as_bytes()),
        ("in/f.pdf", b"%PDF"),
    ])
}

const ARGS: [&str; 2] = ["--jsonl", "{}/in/m.jsonl"];

#[test]
fn each_kind_of_line() {
    let files = jsonl(
        r#"{"id":"one","from":"n@x","to":["d@x","E <e@x>"],"eml":"a.eml"}

           {"id":2,"eml":"a.eml"}
           {"raw":"From: a@x\nTo: b@x\n\nhi\n","from":"","to":"d@x"}
           {"from":"Jörg <j@x>","to":"a@x, b@x","cc":["c@x"],"bcc":"d@x","reply_to":"r@x","subject":"Grüße",
            "text":"t"}"#
            .replace("\n            \"text\"", " \"text\"")
            .as_str(),
    );
    let mails = files.mails(&ARGS);
    let [one, two, three, four] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!((one.id.as_str(), from(one), to(one)), ("one", "n@x", vec!["d@x", "e@x"]));
    assert!(octets(one).contains("Bcc"), "the recipients came from outside");
    assert_eq!((two.id.as_str(), from(two), to(two)), ("2", "a@x", vec!["b@x", "c@x"]));
    assert!(!octets(two).contains("Bcc"));
    assert_eq!((from(three), to(three)), ("", vec!["d@x"]));
    assert!(three.id.ends_with("m.jsonl:4"));
    assert_eq!((from(four), to(four)), ("j@x", vec!["a@x", "b@x", "c@x", "d@x"]));
    assert_eq!(parsed(four).subject(), Some("Grüße"));
}

#[test]
fn files_are_relative_to_the_lines() {
    let files = jsonl(
        r#"{"from":"a@x","to":"b@x","attach":"f.pdf","inline":["f.pdf"],"headers":{"X-A":"1"}}"#,
    );
    let mail = files.mail(&ARGS);
    assert_eq!(parsed(&mail).attachment_count(), 2);
    assert_eq!(parsed(&mail).header_raw("X-A").unwrap().trim(), "1");
}

#[test]
fn from_is_a_default() {
    let files = jsonl(
        "{\"to\":\"b@x\",\"text\":\"t\"}\n{\"to\":\"b@x\",\"text\":\"t\",\"from\":\"a@x\"}\n",
    );
    let mails = files.mails(&["--jsonl", "{}/in/m.jsonl", "--from", "N <n@x>"]);
    assert_eq!(mails.iter().map(from).collect::<Vec<_>>(), ["n@x", "a@x"]);
}

#[test]
fn bad_lines() {
    let check = |line: &str, expected: &str| {
        let good = r#"{"to":"b@x","text":"t","from":"a@x"}"#;
        let files = jsonl(&format!("{good}\n{line}\n{good}\n"));
        assert_eq!(files.results(&ARGS).len(), 3, "the others are there");
        files.refuse(&ARGS, Exit::BadInput, &format!("in/m.jsonl:2: {expected}"));
    };
    check(
        "{",
        "is not a line of the expected form: EOF while parsing an object at line 2 column 0",
    );
    check("[]", "has 0 of eml, raw and the parts of a composed mail, but must have exactly one");
    check(
        r#"{"from":"a@x","bbc":"b@x"}"#,
        "is not a line of the expected form: unknown field `bbc`, expected one of `id`, `class`, `tenant`, `eml`, `raw`, `from`, `to`, \
         `cc`, `bcc`, `reply_to`, `subject`, `text`, `html`, `attach`, `inline`, `headers` at line 1 column 19",
    );
    check(
        r#"{"to":7}"#,
        "is not a line of the expected form: expected a text or a list of texts at line 1 column 8",
    );
    check(
        r#"{"eml":"a.eml","subject":"s"}"#,
        "has 2 of eml, raw and the parts of a composed mail, but must have exactly one",
    );
    check(r#"{"raw":"hello"}"#, "line 1 of the mail is not a header field (`Name: value`)");
    check(
        r#"{"from":"a@x","to":["b@x","c"],"text":"t"}"#,
        "cannot use to \"c\": \"c\" is not an address: expected local-part@domain",
    );
    check(
        r#"{"from":"a@x","to":"b@x","subject":"a\r\nBcc: c@x"}"#,
        "cannot compose the mail: control character '\\r' is not allowed in header field Subject",
    );
    check(
        r#"{"from":"a@x","text":"t"}"#,
        "cannot compose the mail: cannot make the envelope: envelope has no recipient",
    );
}

#[test]
fn files_that_cannot_be_read() {
    let missing = "cannot read in/none.eml: No such file or directory (os error 2)";
    jsonl(r#"{"from":"a@x","to":"b@x","eml":"none.eml"}"#).refuse(&ARGS, Exit::NoInput, missing);
    let missing = "cannot read none.jsonl: No such file or directory (os error 2)";
    jsonl("").refuse(&["--jsonl", "{}/none.jsonl"], Exit::NoInput, missing);
}

#[test]
fn an_empty_file_has_no_mails() {
    assert!(jsonl("").mails(&ARGS).is_empty());
}
