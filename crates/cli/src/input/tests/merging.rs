use super::*;

const PEOPLE: &str = "email,name,city,n\na@x,Ann,Rome,1\nb@x,\"Bö, b\",\"New\nYork\",2\n";
const LETTER: &str = "From: Club <club@x>\nSubject: Dear {{ name }}\nList-Id: <l.x>\n\nHi {{ name }}\n\
                      {% if n|int > 1 %}\nmany\n{% endif %}\nfrom {{ city }}\n";

const ARGS: [&str; 4] = ["--rows", "{}/p.csv", "--template", "{}/t.txt"];

fn merge(people: &str, template: &str) -> Files {
    Files::new([("p.csv", people.as_bytes()), ("t.txt", template.as_bytes())])
}

#[test]
fn a_mail_for_each_row() {
    let files = merge(PEOPLE, LETTER);
    let mails = files.mails(&ARGS);
    let [ann, bob] = &mails[..] else { panic!("{mails:?}") };
    assert!(ann.id.ends_with("p.csv:2") && bob.id.ends_with("p.csv:3"));
    assert_eq!((from(ann), to(ann)), ("club@x", vec!["a@x"]));
    assert_eq!(parsed(ann).subject(), Some("Dear Ann"));
    assert_eq!(parsed(ann).body_text(0).unwrap(), "Hi Ann\r\nfrom Rome\r\n");
    assert_eq!(parsed(ann).header_raw("List-Id").unwrap().trim(), "<l.x>");
    assert_eq!(parsed(bob).to().unwrap().first().unwrap().name(), Some("Bö, b"));
    assert_eq!(parsed(bob).body_text(0).unwrap(), "Hi Bö, b\r\nmany\r\nfrom New\r\nYork\r\n");
}

#[test]
fn other_tables() {
    let files = Files::new([
        ("p.tsv", b"email\tname\tcity\tn\na@x\tAnn, A\tRome\t1\n"),
        ("p.jsonl", b"{\"email\":\"a@x\",\"name\":\"Ann, A\",\"city\":\"Rome\",\"n\":1}\n\n"),
        ("bom.csv", b"\xef\xbb\xbfemail, name , city,n\r\na@x,\"Ann, A\",Rome,1\r\n"),
        ("t.txt", LETTER.as_bytes()),
    ]);
    for rows in ["{}/p.tsv", "{}/p.jsonl", "{}/bom.csv"] {
        let mail = files.mail(&["--rows", rows, "--template", "{}/t.txt"]);
        assert_eq!(parsed(&mail).subject(), Some("Dear Ann, A"), "{rows}");
        assert_eq!(parsed(&mail).body_text(0).unwrap(), "Hi Ann, A\r\nfrom Rome\r\n");
    }
}

#[test]
fn a_template_directory() {
    let files = Files::new([
        ("t/headers.txt", b"From: club@x\nSubject: {{ name }}\nReply-To: {{ reply }}\n"),
        ("t/text.txt", b"{{ name }} & co\n"),
        ("t/html.html", b"<b>{{ name }}</b> &amp; co\n"),
        ("t/attachments/b.pdf", b"%PDF"),
        ("t/attachments/a.ics", b"BEGIN:VCALENDAR"),
        ("t/inline/l.png", b"PNG"),
        ("t/people.csv", b"email,name,reply\na@x,<A&B>,\nb@x,Bob,r@x\n"),
    ]);
    let mails = files.mails(&["--rows", "{}/t/people.csv", "--template", "{}/t"]);
    let message = parsed(&mails[0]);
    assert_eq!(message.body_text(0).unwrap(), "<A&B> & co\r\n");
    assert_eq!(
        message.body_html(0).unwrap(),
        "<b>&lt;A&amp;B&gt;</b> &amp; co\r\n",
        "only HTML is escaped"
    );
    assert!(message.reply_to().is_none(), "an empty field is left out");
    assert!(parsed(&mails[1]).reply_to().is_some());
    let names: Vec<_> = message.attachments().map(|part| part.attachment_name().unwrap()).collect();
    assert_eq!(names, ["l.png", "a.ics", "b.pdf"]);
}

#[test]
fn columns_that_are_no_variable_names() {
    let files = merge("E-Mail,First name\na@x,Ann\n", "From: c@x\n\nHi {{ row['First name'] }}\n");
    let mail = files.mail(&[&ARGS[..], &["--to-column", "E-Mail"]].concat());
    assert_eq!(parsed(&mail).body_text(0).unwrap(), "Hi Ann\r\n");
    assert!(octets(&mail).contains("To: <a@x>\r\n"));
}

#[test]
fn an_html_template_file() {
    let files = Files::new([
        ("p.csv", b"email,name\na@x,<A>\n"),
        ("t.html", b"From: c@x\nSubject: {{ name }}\n\n{{ name }}"),
    ]);
    let mail = files.mail(&["--rows", "{}/p.csv", "--template", "{}/t.html"]);
    assert_eq!(parsed(&mail).body_html(0).unwrap(), "&lt;A&gt;");
    assert_eq!(parsed(&mail).subject(), Some("<A>"));
}

#[test]
fn who_it_is_from_and_to() {
    let files = merge("email,boss\na@x,b@x\n", "Subject: s\nCc: {{ boss }}\nBcc: log@x\n\nhi\n");
    let mail = files.mail(&[&ARGS[..], &["--from", "Club <c@x>"]].concat());
    assert_eq!((from(&mail), to(&mail)), ("c@x", vec!["a@x", "b@x", "log@x"]));
    files.refuse(
        &ARGS,
        Exit::BadInput,
        "t.txt: there is no From, neither in the template nor with --from",
    );

    let files =
        merge("email,name\na@x,Ann\n", "From: c@x\nTo: {{ name }} <{{ email }}>, d@x\n\nhi\n");
    let mail = files.mail(&[&ARGS[..], &["--from", "bounces@x"]].concat());
    assert_eq!((from(&mail), to(&mail)), ("bounces@x", vec!["a@x", "d@x"]));
    let mail = files.mail(&[&ARGS[..], &["-f", ""]].concat());
    assert_eq!(from(&mail), "");

    let files = merge("email\na@x\n", "From: c@x\nTo: everybody@x\n\nhi\n");
    let expected =
        "p.csv:2: To has no a@x, the row's recipient (leave To out: it is made from the row)";
    files.refuse(&ARGS, Exit::BadInput, expected);
}

#[track_caller]
fn refuse_row(row: &[u8], expected: &str) {
    let people = [b"email,name,city\na@x,Ann,Rome\n", row, b"\nc@x,Cid,Rome\n"].concat();
    let letter = "From: c@x\nSubject: {{ name }} of {{ city }}\n\n{{ city }}\n";
    let files = Files::new([("p.csv", &people), ("t.txt", letter.as_bytes())]);
    assert_eq!(files.results(&ARGS).len(), 3, "the others are there");
    files.refuse(&ARGS, Exit::BadInput, &format!("p.csv:3: {expected}"));
}

#[test]
fn bad_rows() {
    refuse_row(b"b@x,Bob", "row has 2 cells, but the first row names 3 columns");
    refuse_row(b"b@x,Bob,Rome,1", "row has 4 cells, but the first row names 3 columns");
    refuse_row(b"b@x,Bob,Zu\xfcrich", "is not UTF-8 in column city, from octet 2 on");
    refuse_row(
        b"b,Bob,Rome",
        "column email: cannot use \"b\": \"b\" is not an address: expected local-part@domain",
    );
    refuse_row(
        b"\"b@x, c@x\",Bob,Rome",
        "column email: cannot use \"b@x, c@x\": expected one mailbox, got 2 (a name with a comma must stand in quotes)",
    );
    refuse_row(
        b",Bob,Rome",
        "column email: cannot use \"\": expected one mailbox, got 0 (a name with a comma must stand in quotes)",
    );
}

#[test]
fn cells_cannot_add_header_fields() {
    // IN-14
    refuse_row(
        b"b@x,Bob,\"Rome\r\nBcc: evil@x\"",
        "control character '\\r' in column city would end header field Subject early",
    );
    refuse_row(
        b"b@x,\"B\nob\",Rome",
        "column name: cannot use \"B\\nob\": control character '\\n' is not allowed in a name or an address",
    );
    refuse_row(
        b"\"b@x>\nRCPT TO:<c@x\",Bob,Rome",
        "column email: cannot use \"b@x>\\nRCPT TO:<c@x\": control character '\\n' is not allowed in a name or an address",
    );
}

#[test]
fn missing_columns() {
    let files =
        merge("email,name\na@x,Ann\n", "From: c@x\nSubject: s\n\nHi {{ name }}\nfrom {{ city }}\n");
    let results = files.results(&ARGS);
    let [Err(error)] = &results[..] else { panic!("{results:?}") };
    let chain = files.chain(error);
    let expected =
        "p.csv:2: cannot fill the template: undefined value: `city` is undefined (in t.txt:5)";
    assert_eq!(chain, expected);
    let files = merge("mail,name\na@x,Ann\n", LETTER);
    let expected = "p.csv:1: there is no column \"email\" with the recipient, only mail, name (--to-column picks another)";
    files.refuse(&ARGS, Exit::BadInput, expected);
    let files = Files::new([("p.jsonl", b"{\"name\":\"Ann\"}\n"), ("t.txt", LETTER.as_bytes())]);
    let expected = "p.jsonl:1: there is no column \"email\" with the recipient, only name (--to-column picks another)";
    files.refuse(&["--rows", "{}/p.jsonl", "--template", "{}/t.txt"], Exit::BadInput, expected);
}

#[test]
fn bad_tables() {
    merge("", LETTER).refuse(&ARGS, Exit::BadInput, "p.csv:1: is empty");
    merge("email,email\n", LETTER).refuse(
        &ARGS,
        Exit::BadInput,
        "p.csv:1: column \"email\" is there twice",
    );
    assert!(merge("email\n", LETTER).mails(&ARGS).is_empty());
    // An unclosed quote takes in all the rest of the file.
    let people = format!("email,name\na@x,\"Ann\n{}", "b@x,Bob\n".repeat(1 << 18));
    let expected = "p.csv:2: is larger than 1048576 octets, the most that is read at once";
    merge(&people, "From: c@x\n\nhi").refuse(&ARGS, Exit::BadInput, expected);
    let files = Files::new([("p.csv", b"email\xff\n"), ("t.txt", LETTER.as_bytes())]);
    files.refuse(&ARGS, Exit::BadInput, "p.csv:1: is not UTF-8, from octet 5 on");
}

#[test]
fn bad_templates() {
    let check = |template: &str, expected: &str| {
        merge(PEOPLE, template).refuse(&ARGS, Exit::BadInput, expected)
    };
    check("Hello\n", "t.txt:1: line 1 is not a header field of a template (`Name: value`)");
    check("From: a@x\nfrom: b@x\n", "t.txt:2: header field from is there twice");
    check(
        "From: a@x\nDate: now\n\n",
        "t.txt:2: cannot compose the mail: header field Date cannot be set by name",
    );
    let results = merge(PEOPLE, "From: a@x\n\nHi\n{{ name \n").results(&ARGS);
    let [Err(error)] = &results[..] else { panic!("{results:?}") };
    let cause = error.source().unwrap().to_string();
    assert!(cause.ends_with("(in t.txt:5)") || cause.ends_with("(in t.txt:4)"), "{cause}");
    let files = Files::new([("p.csv", PEOPLE.as_bytes()), ("t/headers.txt", b"From: a@x\n")]);
    let args = ["--rows", "{}/p.csv", "--template", "{}/t"];
    files.refuse(&args, Exit::BadInput, "t: template has no text.txt or html.html");
    fs::remove_file(files.path("t/headers.txt")).unwrap();
    let missing = "cannot read t/headers.txt: No such file or directory (os error 2)";
    files.refuse(&args, Exit::NoInput, missing);
}

#[test]
fn the_newsletter_of_the_examples() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/newsletter");
    let rows = format!("{directory}/people.csv");
    let mails = Files::new([]).mails(&["--rows", &rows, "--template", directory]);
    assert_eq!(mails.len(), 1200);
    let mut table = csv::Reader::from_path(&rows).unwrap();
    for (mail, row) in mails.iter().zip(table.records()) {
        let (message, row) = (parsed(mail), row.unwrap());
        assert_eq!(from(mail), "letters@lantern.example");
        assert!(!mail.mail.envelope.needs_smtputf8() && !mail.mail.content.has_8bit());
        assert_eq!(message.to().unwrap().first().unwrap().name(), Some(&row[1]));
        assert_eq!(
            message.subject(),
            Some(format!("{}, six books for the summer", &row[1]).as_str())
        );
        assert!(message.body_text(0).unwrap().contains(&format!("in {} if", &row[2])));
        assert_eq!(message.attachment_count(), 3);
    }
}
