//! What a session reports.

use posthaste_session::reply::{Reply, ReplyBuf};
use posthaste_session::{
    Authority, Chunking, Content, DeliverBy, Envelope, EnvelopeId, ForwardPath, Hold, LateDelivery,
    Mail, MailOptions, NotSent, Notify, Outcome, Parameter, Priority, Protocol, Recipient,
    RecipientOptions, Refusal, ReturnContent, ReversePath, Stage,
};

use super::{Rules, check_objection, play, rules};

/// A mail from <a@x> with one line, `ab`.
fn mail(recipients: &str) -> Mail {
    let paths = recipients.split(' ').map(|path| path.parse::<ForwardPath>().unwrap());
    let from: ReversePath = "a@x".parse().unwrap();
    Mail::new(Envelope::new(from, paths).unwrap(), Content::new("ab\r\n").unwrap())
}

fn words(reply: &str) -> ReplyBuf {
    Reply::parse(format!("{reply}\r\n").as_bytes()).unwrap().to_owned()
}

fn refused(stage: Stage, reply: &str) -> Outcome {
    Outcome::Refused(Refusal { stage, reply: words(reply) })
}

fn delivered() -> Outcome {
    Outcome::Delivered(words("250 ok"))
}

const LIMIT: Outcome = Outcome::NotSent(NotSent::Limit);

#[track_caller]
fn check(keywords: &str, lines: &[&str], mail: &Mail, outcome: Outcome, expected: Option<&str>) {
    check_with(&rules(), keywords, lines, mail, &[outcome], expected);
}

#[track_caller]
fn check_with(
    rules: &Rules,
    keywords: &str,
    lines: &[&str],
    mail: &Mail,
    outcomes: &[Outcome],
    expected: Option<&str>,
) {
    let mut checker = play(rules, keywords, lines);
    check_objection(&(lines, outcomes), expected, || checker.judge_outcomes(mail, outcomes));
}

/// Q21: what was refused first is what is reported.
#[test]
fn the_first_refusal_is_reported() {
    let mail = mail("b@y");
    let check = |lines: &[&str], stage, reply, expected| {
        check("PIPELINING", lines, &mail, refused(stage, reply), expected);
    };
    let envelope = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA"];
    let by_mail = [&envelope[..], &["450 later", "503 no", "503 no"]].concat();
    check(&by_mail, Stage::Mail, "450 later", None);
    check(&by_mail, Stage::Rcpt, "503 no", Some("MAIL had been refused"));
    check(&by_mail, Stage::Data, "503 no", Some("MAIL had been refused"));
    let by_rcpt = [&envelope[..], &["250 ok", "450 later", "554 none valid"]].concat();
    check(&by_rcpt, Stage::Rcpt, "450 later", None);
    check(&by_rcpt, Stage::Data, "554 none valid", Some("recipient was not accepted"));
    let by_nobody = [&envelope[..], &["250", "450 later", "354", ".", "554 none valid"]].concat();
    check(&by_nobody, Stage::Rcpt, "450 later", None);
    check(&by_nobody, Stage::Final, "554 none valid", Some("recipient was not accepted"));
    let by_data = [&envelope[..], &["250 ok", "250 ok", "451 no"]].concat();
    check(&by_data, Stage::Data, "451 no", None);
    check(&by_data, Stage::Final, "451 no", Some("that was not the reply"));
    let by_content = [&envelope[..], &["250", "250", "354", "ab", ".", "550 spam"]].concat();
    check(&by_content, Stage::Final, "550 spam", None);
    check(&by_content, Stage::Data, "550 spam", Some("that was not the reply"));
}

/// LIM-02, LIM-03: nobody is left out but for a limit that was reached.
#[test]
fn only_a_limit_that_is_reached_leaves_recipients_out() {
    let mail = mail("b@y c@z d@y");
    let check = |limits, recipients: &[&str], outcomes: &[Outcome], expected| {
        let mut lines = vec!["MAIL FROM:<a@x>"];
        lines.extend(recipients);
        lines.extend(["DATA", "250"]);
        lines.extend(vec!["250"; recipients.len()]);
        lines.extend(["354", "ab", ".", "250 ok"]);
        let keywords = format!("PIPELINING,LIMITS {limits}");
        check_with(&rules(), &keywords, &lines, &mail, outcomes, expected);
    };
    let (b, c, d) = ("RCPT TO:<b@y>", "RCPT TO:<c@z>", "RCPT TO:<d@y>");
    let but_last = [delivered(), delivered(), LIMIT];
    let but_middle = [delivered(), LIMIT, delivered()];
    check("RCPTMAX=2", &[b, c], &but_last, None);
    check("RCPTMAX=3", &[b, c], &but_last, Some("no limit"));
    check("RCPTDOMAINMAX=1", &[b, d], &but_middle, None);
    check("RCPTDOMAINMAX=2", &[b, d], &but_middle, Some("no limit"));
    check("RCPTDOMAINMAX=2", &[b, c], &but_last, Some("no limit"));
    check("MAILMAX=1", &[b, c], &but_last, Some("no limit"));
    check("RCPTDOMAINMAX=1", &[b], &[delivered(), LIMIT, LIMIT], Some("no limit"));
}

/// Domains that a mail before has used up count, too.
#[test]
fn domains_are_limited_in_the_session() {
    let never = Outcome::NotSent(NotSent::NeverStarted);
    let from: ReversePath = "e@x".parse().unwrap();
    let to = ["c@y", "d@z"].map(|path| path.parse::<ForwardPath>().unwrap());
    let second = Mail::new(Envelope::new(from, to).unwrap(), Content::new("").unwrap());
    for (before, expected) in [("b@w", None), ("b@y", Some("no limit")), ("b@z", Some("no limit"))]
    {
        let mut checker = play(&rules(), "LIMITS RCPTDOMAINMAX=2", &[]);
        checker.judge_outcomes(&mail(before), std::slice::from_ref(&never));
        let outcomes = [never.clone(), LIMIT];
        check_objection(&before, expected, || checker.judge_outcomes(&second, &outcomes));
    }
}

const OFFER: &str = "DSN,DELIVERBY,MT-PRIORITY,FUTURERELEASE,AUTH PLAIN,X-OWN,SMTPUTF8,8BITMIME";

/// A mail that asks for everything, and the two commands that say so.
fn demanding() -> (Mail, &'static str, &'static str) {
    let parameter = Parameter::new("X-OWN", "X-OWN", Some("1")).unwrap();
    let options = MailOptions {
        return_content: Some(ReturnContent::Headers),
        envelope_id: Some(EnvelopeId::new("a b").unwrap()),
        deliver_by: Some(DeliverBy::new(60, LateDelivery::Notify).unwrap()),
        priority: Some(Priority::new(-3).unwrap()),
        hold: Some(Hold::for_time(std::time::Duration::from_secs(9)).unwrap()),
        require_tls: false,
        authority: Some(Authority::Mailbox("e+f@g".parse().unwrap())),
        others: vec![parameter.clone()],
    };
    let notify = Some(Notify::NEVER);
    let of_recipient = RecipientOptions { notify, original: None, others: vec![parameter] };
    let to = Recipient::new("b@y".parse::<ForwardPath>().unwrap()).with_options(of_recipient);
    let from: ReversePath = "a@x".parse().unwrap();
    let envelope = Envelope::new(from, [to]).unwrap().with_options(options);
    let mail = Mail::new(envelope, Content::new("ab\r\n").unwrap());
    let command = "MAIL FROM:<a@x> RET=HDRS ENVID=a+20b BY=60;N MT-PRIORITY=-3 HOLDFOR=9 \
                   AUTH=e+2Bf@g X-OWN=1";
    (mail, command, "RCPT TO:<b@y> NOTIFY=NEVER X-OWN=1")
}

/// DSN-05, 8BIT-01, UTF8-01: every parameter that is asked for, with its value, and no other.
#[test]
fn parameters_are_those_of_the_mail() {
    let (demanding, full_mail, full_rcpt) = demanding();
    let plain = mail("b@y");
    let check_both = |keywords, mail: &Mail, first: &str, second: &str, expected| {
        let lines = [first, "250", second, "250", "DATA", "354", "ab", ".", "250 ok"];
        check(keywords, &lines, mail, delivered(), expected);
        // Also where nothing came of it.
        let lines = [first, "250", second, "550 no"];
        check(keywords, &lines, mail, refused(Stage::Rcpt, "550 no"), expected);
    };
    let another = Some("the envelope is another");
    check_both(OFFER, &demanding, full_mail, full_rcpt, None);
    check_both("HELP", &demanding, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", None);
    check_both(OFFER, &plain, "MAIL FROM:<a@x>", "RCPT TO:<b@y>", None);
    for (said, instead) in [
        (" RET=HDRS", " RET=FULL"),
        (" RET=HDRS", ""),
        ("ENVID=a+20b", "ENVID=a+20c"),
        ("BY=60;N", "BY=61;N"),
        ("PRIORITY=-3", "PRIORITY=3"),
        ("HOLDFOR=9", "HOLDFOR=8"),
        (" HOLDFOR=9", ""),
        ("AUTH=e+2Bf@g", "AUTH=<>"),
        (" X-OWN=1", ""),
        (" X-OWN=1", " X-OWN=1 SMTPUTF8"),
        (" X-OWN=1", " X-OWN=1 BODY=8BITMIME"),
    ] {
        check_both(OFFER, &demanding, &full_mail.replace(said, instead), full_rcpt, another);
    }
    for (said, instead) in [(" NOTIFY=NEVER", ""), ("NEVER", "DELAY"), (" X-OWN=1", "")] {
        check_both(OFFER, &demanding, full_mail, &full_rcpt.replace(said, instead), another);
    }
    for foreign in [" NOTIFY=NEVER", " ORCPT=rfc822;b@y"] {
        check_both(OFFER, &plain, "MAIL FROM:<a@x>", &format!("RCPT TO:<b@y>{foreign}"), another);
    }
    check_both(OFFER, &plain, "MAIL FROM:<a@x>", "RCPT TO:<c@y>", another);
    for (size, expected) in [("SIZE=4", None), ("SIZE=5", another)] {
        let lines = [&format!("MAIL FROM:<a@x> {size}"), "550 no"];
        check("SIZE 100", &lines, &plain, refused(Stage::Mail, "550 no"), expected);
    }
}

/// A doubt is one about this mail, to its end.
#[test]
fn doubt_is_about_the_mail_itself() {
    let check = |lines: &[&str], mail, expected| {
        check("PIPELINING,DSN", lines, &mail, Outcome::InDoubt, expected);
    };
    let envelope = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "250", "DATA", "354"];
    check(&[&envelope[..], &["ab", "."]].concat(), mail("b@y"), None);
    check(&[&envelope[..], &["ab"]].concat(), mail("b@y"), Some("end was not said"));
    check(&[&envelope[..], &["a", "."]].concat(), mail("b@y"), Some("the content is another"));
    check(&[&envelope[..], &["ab", "."]].concat(), mail("c@y"), Some("the envelope is another"));
    let returned = ["MAIL FROM:<a@x> RET=HDRS", "250"];
    let lines = [&returned[..], &envelope[2..], &["ab", "."]].concat();
    check(&lines, mail("b@y"), Some("the envelope is another"));
}

/// All recipients have to be named before the content.
#[test]
fn nobody_is_delivered_to_without_the_others() {
    let lines = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "250", "DATA", "354", "ab", ".", "250"];
    let outcomes = [delivered(), Outcome::NotSent(NotSent::Interrupted(Stage::Final))];
    let expected = Some("the envelope is another");
    check_with(&rules(), "DSN", &lines, &mail("b@y c@y"), &outcomes, expected);
}

/// One mail is not said twice in a session, before it is reported or behind that.
#[test]
fn a_mail_is_said_once() {
    let envelope = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "250", "DATA", "354"];
    let once = [&envelope[..], &["ab", ".", "250 ok"]].concat();
    let twice = [&once[..], &once[..]].concat();
    check("DSN", &once, &mail("b@y"), delivered(), None);
    check("DSN", &twice, &mail("b@y"), delivered(), Some("began again"));
    let in_vain = [&["MAIL FROM:<a@x>", "503 no"], &once[..]].concat();
    check("DSN", &in_vain, &mail("b@y"), delivered(), None);
    let mut checker = play(&rules(), "DSN", &once);
    checker.judge_outcomes(&mail("b@y"), &[delivered()]);
    let again = || checker.said(b"MAIL FROM:<a@x>\r\n");
    check_objection(&"MAIL", Some("done with"), again);
    check_objection(&"outcome", Some("reported twice"), || {
        checker.judge_outcomes(&mail("b@y"), &[delivered()]);
    });
}

/// CHUNK-07: what follows a refused chunk is not what the mail was refused for.
#[test]
fn a_refused_chunk_is_reported_as_one() {
    let lmtp = Rules { protocol: Protocol::Lmtp, chunking: Chunking::Always, ..rules() };
    let chunk = "a\r\n".repeat(30_000);
    let (first, second) = (format!("BDAT {}\r\n{chunk}", chunk.len()), "BDAT 2 LAST");
    let content = Content::new(format!("{chunk}\r\n")).unwrap();
    let mail = Mail { content, ..mail("b@y") };
    let start = ["MAIL FROM:<a@x>", "250", "RCPT TO:<b@y>", "250"];
    let first = first.strip_suffix("\r\n").unwrap();
    for rules in [&rules(), &lmtp] {
        let lines = [&start[..], &[first, "552 too big"]].concat();
        let check = |stage, reply, expected| {
            let outcome = [refused(stage, reply)];
            check_with(rules, "CHUNKING,PIPELINING", &lines, &mail, &outcome, expected);
        };
        check(Stage::Content, "552 too big", None);
        check(Stage::Final, "552 too big", Some("not the reply"));
    }
    let both = [&start[..], &[first, second, "", "552 too big", "503 no"]].concat();
    for (rules, expected) in [(rules(), "not the reply"), (lmtp, "a chunk had been refused")] {
        let outcome = [refused(Stage::Final, "503 no")];
        check_with(&rules, "CHUNKING,PIPELINING", &both, &mail, &outcome, Some(expected));
    }
}
