//! What stands in one flight, in each mode; and what is known of each mail when a flight is cut.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{
    Chunking, Config, Content, Envelope, Event, ForwardPath, Mail, NotSent, Outcome,
    PartialRefusal, Pipelining, ReversePath, Session, Window,
};

/// A server that answers a whole flight at once. It refuses paths that begin with `no`.
#[derive(Default)]
struct Server {
    keywords: &'static str,
    from: Option<bool>,
    accepted: usize,
    reads_content: bool,
}

impl Server {
    /// The words of a flight, `.` for a content behind DATA, and the replies to it.
    fn answer(&mut self, mut octets: &str) -> (String, String) {
        let (mut words, mut replies) = (Vec::new(), String::new());
        while let Some((line, rest)) = octets.split_once("\r\n") {
            octets = rest;
            if self.reads_content {
                if line == "." {
                    words.push(".");
                    self.reads_content = false;
                    replies += "250 queued\r\n";
                }
                continue;
            }
            let word = line.split(' ').next().unwrap();
            words.push(word);
            let is_refused = line.contains("<no");
            replies += match word {
                "EHLO" => self.keywords,
                "MAIL" => {
                    (self.from, self.accepted) = (Some(!is_refused), 0);
                    if is_refused { "550 no\r\n" } else { "250 ok\r\n" }
                }
                "RCPT" if self.from != Some(true) => "503 no mail\r\n",
                "RCPT" if is_refused => "550 no\r\n",
                "RCPT" => {
                    self.accepted += 1;
                    "250 ok\r\n"
                }
                "DATA" if self.accepted == 0 => "554 nobody\r\n",
                "DATA" => {
                    self.reads_content = true;
                    "354 go\r\n"
                }
                "BDAT" => {
                    let size: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
                    octets = &octets[size..];
                    if self.accepted == 0 { "503 nobody\r\n" } else { "250 queued\r\n" }
                }
                _ => "250 ok\r\n",
            };
        }
        (words.join(" "), replies)
    }
}

/// From `a` to each of the recipients.
fn mail(from: &str, to: &[&str]) -> Mail {
    let from: ReversePath = format!("{from}@x").parse().unwrap();
    let to = to.iter().map(|name| format!("{name}@y").parse::<ForwardPath>().unwrap());
    Mail::new(Envelope::new(from, to).unwrap(), Content::new("hi\r\n").unwrap())
}

fn all_or_nothing(mut mail: Mail) -> Mail {
    mail.partial_refusal = PartialRefusal::AllOrNothing;
    mail
}

fn config(mode: Pipelining) -> Config {
    let mut config = Config::new("client.example".parse().unwrap());
    config.pipelining = mode;
    config
}

fn said(session: &mut Session, now: Instant, most: usize) -> String {
    let mut said = Vec::new();
    while session.has_transmit() && said.len() < most {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = session.poll_transmit(&mut slices);
        let octets: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
        let octets = &octets[..octets.len().min(most - said.len())];
        session.transmitted(now, octets.len());
        said.extend_from_slice(octets);
    }
    String::from_utf8(said).unwrap()
}

/// The flights in which the mails go out, behind EHLO; the session is told to quit once it has them
/// all.
fn flights(config: Config, keywords: &'static str, mails: Vec<Mail>) -> Vec<String> {
    let now = Instant::now();
    let mut session = Session::new(now, config);
    let mut server = Server { keywords, ..Server::default() };
    let mut mails = mails.into_iter();
    session.handle_input(now, b"220 mx\r\n");
    let mut flights = Vec::new();
    loop {
        while session.poll_event().is_some() {}
        while session.room() > 0
            && let Some(mail) = mails.next()
        {
            session.submit(now, mail).unwrap();
        }
        if mails.len() == 0 {
            session.quit(now);
        }
        let said = said(&mut session, now, usize::MAX);
        if said.is_empty() {
            return flights;
        }
        let (words, replies) = server.answer(&said);
        if words != "EHLO" {
            flights.push(words);
        }
        session.handle_input(now, replies.as_bytes());
    }
}

const OFFERED: &str = "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n";

#[track_caller]
fn check(mode: Pipelining, mails: &[Mail], expected: &[&str]) {
    assert_eq!(flights(config(mode), OFFERED, mails.to_vec()), expected, "{mode}");
}

/// PIPE-11, CHUNK-13: what waits, waits for a reason.
#[test]
fn flights_are_as_long_as_they_may_be() {
    use Pipelining::{Cross, Envelope, Off, Stream};
    let three = ["a", "b", "c"].map(|from| mail(from, &["t"]));
    check(Off, &three[..1], &["MAIL", "RCPT", "DATA", ".", "QUIT"]);
    check(Envelope, &three[..2], &["MAIL RCPT DATA", ".", "MAIL RCPT DATA", ".", "QUIT"]);
    check(Cross, &three, &["MAIL RCPT DATA", ". MAIL RCPT DATA", ". MAIL RCPT DATA", ". QUIT"]);
    let four = ["a", "b", "c", "d"].map(|from| mail(from, &["t"]));
    let whole = "RSET MAIL RCPT BDAT";
    check(
        Stream,
        &four,
        &["MAIL RCPT BDAT", &format!("{whole} {whole}"), &format!("{whole} QUIT")],
    );
}

#[test]
fn a_refusal_costs_no_flight_more_than_it_must() {
    use Pipelining::{Cross, Stream};
    let whole = "RSET MAIL RCPT BDAT";
    // Some recipients: nothing changes.
    let some = [mail("a", &["t", "no"]), mail("b", &["no", "t"])];
    check(Cross, &some, &["MAIL RCPT RCPT DATA", ". MAIL RCPT RCPT DATA", ". QUIT"]);
    // All of them: DATA has to be answered, and RSET goes with the next mail.
    let all = [mail("a", &["no"]), mail("b", &["t"]), mail("c", &["no"]), mail("d", &["t"])];
    check(
        Cross,
        &all,
        &[
            "MAIL RCPT DATA",
            "RSET MAIL RCPT DATA",
            ". MAIL RCPT DATA",
            "RSET MAIL RCPT DATA",
            ". QUIT",
        ],
    );
    // MAIL: the server has nothing to be reset.
    let sender = [mail("no", &["t"]), mail("b", &["t"])];
    check(Cross, &sender, &["MAIL RCPT DATA", "MAIL RCPT DATA", ".", "QUIT"]);
    check(Stream, &sender, &["MAIL RCPT BDAT", whole, "QUIT"]);
}

#[test]
fn what_depends_on_replies_waits_for_them() {
    use Pipelining::{Cross, Stream};
    let second = [mail("a", &["t"]), all_or_nothing(mail("b", &["t", "t"])), mail("c", &["t"])];
    check(
        Cross,
        &second,
        &["MAIL RCPT DATA", ". MAIL RCPT RCPT", "DATA", ". MAIL RCPT DATA", ". QUIT"],
    );
    check(
        Stream,
        &second,
        &["MAIL RCPT BDAT", "RSET MAIL RCPT RCPT", "BDAT", "RSET MAIL RCPT BDAT QUIT"],
    );
    // CHUNK-14: BDAT, but in `stream`.
    let chunked = Config { chunking: Chunking::Always, ..config(Cross) };
    let two = vec![mail("a", &["t"]), mail("b", &["t"])];
    let expected = ["MAIL RCPT", "BDAT", "MAIL RCPT", "BDAT", "QUIT"];
    assert_eq!(flights(chunked, OFFERED, two), expected);
}

/// LIM-01: the last mail that a server takes has QUIT behind it.
#[test]
fn limits_end_a_flight() {
    let mails = vec![mail("a", &["t"]), mail("b", &["t"])];
    let keywords = "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 LIMITS MAILMAX=2\r\n";
    let expected = ["MAIL RCPT DATA", ". MAIL RCPT DATA", ". QUIT"];
    assert_eq!(flights(config(Pipelining::Cross), keywords, mails.clone()), expected);
    let expected = ["MAIL RCPT BDAT", "RSET MAIL RCPT BDAT QUIT"];
    assert_eq!(flights(config(Pipelining::Stream), keywords, mails), expected);
}

/// PIPE-15: a mail for many goes in groups, and the next one behind it all the same.
#[test]
fn many_recipients_go_in_groups() {
    let many = vec!["t"; 600];
    let mails = vec![mail("a", &["t"]), mail("b", &many), mail("c", &["t"])];
    let lengths = |mode| -> Vec<usize> {
        let flights = flights(config(mode), OFFERED, mails.clone());
        flights.iter().map(|flight| flight.split(' ').count()).collect()
    };
    // The content, MAIL and 510 RCPT; 90 RCPT and DATA; the content and the next envelope.
    assert_eq!(lengths(Pipelining::Cross), [3, 512, 91, 4, 2]);
    // They wait for their replies, but in larger groups.
    assert_eq!(lengths(Pipelining::Stream), [3, 602, 1, 5]);
}

/// A session that streams with two mails in flight, of whose flight `written` octets are out.
fn in_flight(now: Instant, written: usize) -> (Session, usize) {
    let mut session = Session::new(now, config(Pipelining::Stream));
    let mut server = Server { keywords: OFFERED, ..Server::default() };
    session.handle_input(now, b"220 mx\r\n");
    for from in ["", "a"] {
        if !from.is_empty() {
            session.submit(now, mail(from, &["t"])).unwrap();
        }
        let (_, replies) = server.answer(&said(&mut session, now, usize::MAX));
        session.handle_input(now, replies.as_bytes());
        while session.poll_event().is_some() {}
    }
    for from in ["b", "c"] {
        session.submit(now, mail(from, &["t", "t"])).unwrap();
    }
    let out = said(&mut session, now, written).len();
    (session, out)
}

fn outcomes(session: &mut Session) -> Vec<Outcome> {
    let events = std::iter::from_fn(|| session.poll_event());
    let finished = events.filter_map(|event| match event {
        Event::Finished(finished) => Some(finished.outcomes.to_vec()),
        _ => None,
    });
    finished.flatten().collect()
}

/// STREAM, TX-15 to TX-17: a flight that is cut at any octet. In doubt is what was written to its end.
#[test]
fn a_cut_flight_leaves_in_doubt_what_is_out() {
    let one =
        "RSET\r\nMAIL FROM:<b@x>\r\nRCPT TO:<t@y>\r\nRCPT TO:<t@y>\r\nBDAT 4 LAST\r\nhi\r\n".len();
    let now = Instant::now();
    let whole = in_flight(now, usize::MAX).1;
    assert_eq!(whole, 2 * one);
    for written in 0..=whole {
        let (mut session, _) = in_flight(now, written);
        session.handle_eof(now);
        let outcomes = outcomes(&mut session);
        assert_eq!(outcomes.len(), 4);
        for (place, outcome) in outcomes.iter().enumerate() {
            let is_out = written >= one * (place / 2 + 1);
            match outcome {
                Outcome::InDoubt => assert!(is_out, "{written}: {place}"),
                Outcome::NotSent(NotSent::NeverStarted | NotSent::Interrupted(_)) => {
                    assert!(!is_out, "{written}: {place}");
                }
                other => panic!("{written}: {other:?}"),
            }
        }
    }
}

/// The same behind any number of replies: refused is what was refused by then, delivered what was
/// delivered, and the rest in doubt.
#[test]
fn replies_decide_what_is_not_in_doubt() {
    const D: &str = "delivered";
    const N: &str = "refused";
    const Q: &str = "in doubt";
    let table: &[(&str, [&str; 4])] = &[
        ("", [Q, Q, Q, Q]),
        ("250", [Q, Q, Q, Q]),
        ("250 550", [N, N, Q, Q]),
        ("250 250", [Q, Q, Q, Q]),
        ("250 250 550", [N, Q, Q, Q]),
        ("250 250 550 550", [N, N, Q, Q]),
        ("250 250 250 550", [Q, N, Q, Q]),
        ("250 250 250 550 250", [D, N, Q, Q]),
        ("250 250 250 250 552", [N, N, Q, Q]),
        ("250 250 250 250 250 250 250 550 550", [D, D, N, N]),
        ("250 550 503 503 503 250 250 250 250", [N, N, Q, Q]),
        ("250 550 503 503 503 250 250 250 250 250", [N, N, D, D]),
    ];
    for (codes, expected) in table {
        let now = Instant::now();
        let (mut session, _) = in_flight(now, usize::MAX);
        for code in codes.split_whitespace() {
            session.handle_input(now, format!("{code} text\r\n").as_bytes());
        }
        session.handle_eof(now);
        let found: Vec<_> = outcomes(&mut session)
            .iter()
            .map(|outcome| match outcome {
                Outcome::Delivered(_) => D,
                Outcome::Refused(_) => N,
                Outcome::InDoubt => Q,
                Outcome::NotSent(_) => "not sent",
            })
            .collect();
        assert_eq!(found, expected, "{codes}");
    }
}

/// A server may refuse a content as soon as BDAT announces it. What was announced goes out all the same, and what is
/// behind is answered.
#[test]
fn a_content_may_be_refused_before_it_is_out() {
    let now = Instant::now();
    let (mut session, _) = in_flight(now, 0);
    let announced = "RSET\r\nMAIL FROM:<b@x>\r\nRCPT TO:<t@y>\r\nRCPT TO:<t@y>\r\nBDAT 4 LAST\r\n";
    assert_eq!(said(&mut session, now, announced.len()), announced);
    session.handle_input(now, b"250 ok\r\n250 ok\r\n550 no\r\n550 no\r\n503 nobody\r\n");
    assert!(outcomes(&mut session).iter().all(|outcome| matches!(outcome, Outcome::Refused(_))));
    assert!(said(&mut session, now, usize::MAX).starts_with("hi\r\nRSET\r\nMAIL FROM:<c@x>\r\n"));
    session.handle_input(now, b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 queued\r\n");
    assert!(outcomes(&mut session).iter().all(Outcome::is_delivered));
    assert!(!session.is_closed());
}

/// PIPE-15: a window bounds what is ahead, in mails and in octets.
#[test]
fn a_window_is_bounded() {
    assert!(Window::new(0, 1).is_err() && Window::new(1, 0).is_err());
    assert!(Window::new(Window::MAX_MAILS + 1, 1).is_err());
    assert!(Window::new(1, Window::MAX_OCTETS + 1).is_err());
    let now = Instant::now();
    let (session, _) = in_flight(now, usize::MAX);
    assert_eq!((session.window(), session.in_flight(), session.room()), (2, 2, 0));
    assert_eq!(session.room_octets(), Window::default().octets() - 2 * 4);
}
