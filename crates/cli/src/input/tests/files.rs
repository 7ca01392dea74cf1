use super::*;

const MAIL: &str = "From: Ann <a@x>\r\nTo: b@x\r\n\r\nhi\r\n";

#[test]
fn a_file_stays_as_it_is_but_for_line_ends() {
    // TX-27
    let crlf = "X-A:  1 \r\n\t2\r\nFrom: a@x\r\nTo: b@x\r\n\r\n .\r\n..\r\nno end";
    let files = Files::new([
        ("crlf.eml", crlf.as_bytes()),
        ("lf.eml", crlf.replace("\r\n", "\n").as_bytes()),
    ]);
    for name in ["{}/crlf.eml", "{}/lf.eml"] {
        let mail = files.mail(&[name]);
        assert_eq!(octets(&mail), crlf);
        assert_eq!((from(&mail), to(&mail)), ("a@x", vec!["b@x"]));
    }
    assert_eq!(files.mail(&["{}/lf.eml"]).id, files.path("lf.eml").display().to_string());
}

#[test]
fn octets_that_are_no_text_survive() {
    let mut eml = b"From: J\xf6rg <a@x>\r\nTo: b@x\r\n\r\n".to_vec();
    eml.extend(1..=255_u8);
    eml.retain(|octet| !b"\r\n".contains(octet));
    let eml = [b"From: J\xf6rg <a@x>\r\nTo: b@x\r\n\r\n", &eml[..]].concat();
    let files = Files::new([("a.eml", &eml)]);
    assert_eq!(files.mail(&["{}/a.eml"]).mail.content.to_bytes(), &eml);
}

#[test]
fn envelope_from_the_header_section() {
    let eml = "Sender: s@x\nFrom: a@x, \"A, B\" <b@x>\nTO: c@x,\n d@x\nCc : team: e@x,c@x;\nTo: f@x (F)\n\nTo: no@x\n";
    let files = Files::new([("a.eml", eml.as_bytes())]);
    let mail = files.mail(&["{}/a.eml"]);
    assert_eq!(from(&mail), "s@x");
    assert_eq!(to(&mail), ["c@x", "d@x", "f@x", "e@x"]);
}

#[test]
fn envelope_from_flags() {
    let eml = "From: a@x\r\nTo: b@x\r\nBcc: c@x\r\n\r\nhi\r\n";
    let files = Files::new([("a.eml", eml.as_bytes())]);
    let mail =
        files.mail(&["{}/a.eml", "-f", "N <n@x>", "-t", "d@x", "-t", "E <e@x>, Postmaster@x"]);
    assert_eq!((from(&mail), to(&mail)), ("n@x", vec!["d@x", "e@x", "Postmaster@x"]));
    assert_eq!(octets(&mail), eml, "nothing is taken out");
    for null in ["", "<>"] {
        let mail = files.mail(&["{}/a.eml", "-f", null]);
        assert_eq!((from(&mail), to(&mail)), ("", vec!["b@x", "c@x"])); // CMD-04
    }
    let mail = files.mail(&["{}/a.eml", "-t", "postmaster"]);
    assert_eq!((from(&mail), to(&mail)), ("a@x", vec!["Postmaster"])); // CMD-13
}

#[test]
fn blind_copies_are_taken_out() {
    let before = "From: a@x\nBCC: b@x,\n\t c@x,\n d@x\nSubject: Bcc: s\nX-Bcc: x\nbcc : e@x\nTo: f@x\n\nBcc: g@x\n";
    let after = "From: a@x\nSubject: Bcc: s\nX-Bcc: x\nTo: f@x\n\nBcc: g@x\n";
    let files = Files::new([("a.eml", before.as_bytes())]);
    let mail = files.mail(&["{}/a.eml"]);
    assert_eq!(octets(&mail), after.replace('\n', "\r\n"));
    assert_eq!(to(&mail), ["f@x", "b@x", "c@x", "d@x", "e@x"]);
}

#[test]
fn mails_that_cannot_be_sent() {
    let check = |eml: &str, expected: &str| {
        let files = Files::new([("a.eml", eml.as_bytes())]);
        files.refuse(&["{}/a.eml"], Exit::BadInput, &format!("a.eml: {expected}"));
    };
    check("", "is empty");
    check("hello\n", "line 1 of the mail is not a header field (`Name: value`)");
    check(" a: b\n", "line 1 of the mail is not a header field (`Name: value`)");
    check("From: a@x\nBcc\n: b@x\n", "line 2 of the mail is not a header field (`Name: value`)");
    check("To: a@x\n\n", "has no From or Sender (say with -f who it is from)");
    check("From: a@x, b@x\nTo: a@x\n", "has 2 mailboxes in From (say with -f who it is from)");
    check(
        "From: a@x\nTo: undisclosed:;\n",
        "has no recipient in To, Cc and Bcc (say with -t who gets it)",
    );
    check(
        "From: a@x\nTo: b@x\nResent-To: c@x\n",
        "was resent (say with -t who gets it, since To and Cc are those of the first time)",
    );
    check(
        "From: a@x\nTo: \"b <b@x>\n",
        "cannot read the addresses in To (-f and -t give the envelope without the header section): \
         '\"' is opened and never closed",
    );
    check("From: a@x\nTo: b@x\n\na\0b", "cannot be sent as it is: NUL at octet 20");
    check(
        &format!("From: a@x\nTo: b@x\n\n{}", "x".repeat(999)),
        "cannot be sent as it is: line 4 has 999 octets, and at most 998 are allowed",
    );
}

#[test]
fn addresses_that_are_not_utf8() {
    // UTF8-04
    let files = Files::new([("a.eml", b"From: a@x\nTo: b\xfc@x\n\n")]);
    let results = files.results(&["{}/a.eml"]);
    assert!(matches!(results[..], [Err(InputError::Data { .. })]), "{results:?}");
}

#[test]
fn files_that_cannot_be_read() {
    let files = Files::new([("a.eml", MAIL.as_bytes()), ("d/a.eml", MAIL.as_bytes())]);
    // Nothing comes before the error, although the first file is good.
    assert!(files.inputs(&["{}/a.eml", "{}/none.eml"]).is_err());
    let missing = "cannot read none.eml: No such file or directory (os error 2)";
    files.refuse(&["{}/a.eml", "{}/none.eml"], Exit::NoInput, missing);
    let directory = "d: is a directory, but no Maildir: it has neither new/ nor cur/ (name the files in it instead)";
    files.refuse(&["{}/d"], Exit::BadInput, directory);
}

#[test]
fn a_bad_mail_does_not_hide_the_next() {
    let files =
        Files::new([("1.eml", MAIL.as_bytes()), ("2.eml", b"hello"), ("3.eml", MAIL.as_bytes())]);
    let results = files.results(&["{}/1.eml", "{}/2.eml", "{}/3.eml"]);
    assert!(matches!(results[..], [Ok(_), Err(_), Ok(_)]));
}

#[test]
fn inputs_open_again() {
    let files = Files::new([("a.eml", MAIL.as_bytes())]);
    let inputs = files.inputs(&["{}/a.eml"]).unwrap();
    assert!(!inputs.is_one_shot());
    assert_eq!(inputs.open().unwrap().count(), 1);
    assert_eq!(inputs.open().unwrap().count(), 1);
    assert!(files.inputs(&["-"]).unwrap().is_one_shot());
    assert!(files.inputs(&["--jsonl", "-"]).unwrap().is_one_shot());
}

#[test]
fn maildirs() {
    let files = Files::new([
        ("m/cur/2:2,S", MAIL.as_bytes()),
        ("m/cur/1:2,", MAIL.as_bytes()),
        ("m/new/3", MAIL.as_bytes()),
        ("m/new/.hidden", b"no mail"),
        ("m/tmp/4", b"not yet a mail"),
    ]);
    let mails = files.mails(&["{}/m"]);
    let names: Vec<_> = mails.iter().map(|mail| Path::new(&mail.id).file_name().unwrap()).collect();
    assert_eq!(names, ["3", "1:2,", "2:2,S"]);
}

#[test]
fn mboxes() {
    let mbox = "From a@x Mon Jan  1 00:00:00 2024\nFrom: a@x\nTo: b@x\n\n>From here\n>>From there\n> From\n\n\n\
                From b@x\nFrom: c@x\nTo: d@x\n\nlast\n";
    for (line_end, name) in [("\n", "{}/lf"), ("\r\n", "{}/crlf")] {
        let files = Files::new([(&name[3..], mbox.replace('\n', line_end).as_bytes())]);
        let mails = files.mails(&[name]);
        let [first, second] = &mails[..] else { panic!("{mails:?}") };
        assert_eq!(
            octets(first),
            "From: a@x\r\nTo: b@x\r\n\r\nFrom here\r\n>From there\r\n> From\r\n\r\n"
        );
        assert_eq!(octets(second), "From: c@x\r\nTo: d@x\r\n\r\nlast\r\n");
        assert!(second.id.ends_with("#2"));
    }
}

#[test]
fn an_unquoted_line_in_an_mbox_is_an_error_and_not_a_mail() {
    let mbox =
        "From a@x\nFrom: a@x\nTo: b@x\n\nFrom me to you\n\nFrom b@x\nFrom: a@x\nTo: b@x\n\nhi\n";
    let files = Files::new([("m", mbox.as_bytes())]);
    let results = files.results(&["{}/m"]);
    assert!(matches!(results[..], [Ok(_), Err(_), Ok(_)]), "{results:?}");
    let expected = "m:5: a line begins with `From `, but no mail follows (in an mbox such a line of text must be \
                    `>From `)";
    files.refuse(&["{}/m"], Exit::BadInput, expected);
    let files = Files::new([("m", b"From a@x\n")]);
    files.refuse(&["{}/m"], Exit::BadInput, &expected.replace(":5", ":1"));
}

#[test]
fn what_is_too_large_is_not_read_on() {
    let mut buffer = Vec::new();
    let mut lines = lines::Lines::new(Path::new("a"), Box::new(&b"1234\n56789"[..]));
    assert_eq!(lines.read(&mut buffer, 5).unwrap(), 5);
    buffer.clear();
    let error = lines.read(&mut buffer, 4).unwrap_err();
    assert_eq!(error.to_string(), "a:2: is larger than 4 octets, the most that is read at once");
}
