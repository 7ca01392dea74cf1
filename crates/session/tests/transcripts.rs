//! Sessions as transcripts: text files that read like what is said on the wire.
//!
//! Each file in `tests/transcripts/` holds cases, each begun by `# name`, with lines of these kinds:
//!
//! | line | meaning |
//! |---|---|
//! | `set KEY VALUE` | a setting, before anything is said: `mode`, `tls`, `auth`, `ignore`, `plaintext` |
//! | `mail N: FROM -> TO, TO \| CONTENT` | mail `N` is handed in as soon as there is room; `\n` in the content is CRLF |
//! | `all-or-nothing N` | mail `N` is for all of its recipients or nobody |
//! | `S: TEXT` | the server says this line; neighbouring lines arrive together |
//! | `s: TEXT` | the same without a line end |
//! | `C: TEXT` | the client has said this line since the server last spoke; all of it must be listed |
//! | `E: TEXT` | this event was reported, in this order |
//! | `! eof`, `! timeout`, `! tls`, `! quit`, `! abort`, `! mode M` | something else happens |
//! | `! write N` | only N octets of what the client wants to say get written from now on |
//! | `together` | the server's octets are not cut in this case, since it is about what arrives together |
//!
//! Every case is run three times: the server's octets in one piece, one by one, and cut in two at random places.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use posthaste_session::{
    CloseReason, Config, Content, Credentials, Envelope, Event, ForwardPath, Mail, Outcome,
    PartialRefusal, PlaintextAuth, ReversePath, Session, TlsPolicy, TlsState,
};

/// How the server's octets are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Octets,
    Halves(usize),
}

struct Runner {
    session: Session,
    now: Instant,
    mails: VecDeque<(u32, Mail)>,
    submitted: Vec<u32>,
    said: String,
    events: VecDeque<String>,
    cut: Cut,
    write_limit: Option<usize>,
}

impl Runner {
    fn new(case: &[&str], cut: Cut) -> Self {
        let mut config = Config::new("client.example".parse().unwrap());
        let mut plaintext = PlaintextAuth::Forbidden;
        let mut auth = None;
        let mut mails: Vec<(u32, Mail)> = Vec::new();
        for line in case {
            if let Some(setting) = line.strip_prefix("set ") {
                let (key, value) = setting.split_once(' ').unwrap();
                match key {
                    "mode" => config.pipelining = value.parse().unwrap(),
                    "tls" => {
                        config.tls = match value {
                            "off" => TlsPolicy::Off,
                            "may" => TlsPolicy::May,
                            "require" => TlsPolicy::Require,
                            other => panic!("no such policy: {other}"),
                        }
                    }
                    "auth" => auth = Some(value.split_once(' ').unwrap()),
                    "plaintext" => plaintext = PlaintextAuth::Allowed,
                    "ignore" => config.ignored_keywords.push(value.to_owned()),
                    other => panic!("no such setting: {other}"),
                }
            } else if let Some(mail) = line.strip_prefix("mail ") {
                mails.push(parse_mail(mail));
            } else if let Some(number) = line.strip_prefix("all-or-nothing ") {
                let number = number.parse().unwrap();
                let mail = mails.iter_mut().find(|(n, _)| *n == number).unwrap();
                mail.1.partial_refusal = PartialRefusal::AllOrNothing;
            }
        }
        if let Some((user, password)) = auth {
            config.credentials =
                Some(Credentials::new(user, password).unwrap().with_plaintext(plaintext));
        }
        let now = Instant::now();
        let session = Session::new(now, config);
        let mut runner = Self {
            session,
            now,
            mails: mails.into(),
            submitted: Vec::new(),
            said: String::new(),
            events: VecDeque::new(),
            cut,
            write_limit: None,
        };
        runner.drain();
        runner
    }

    /// The driver's part of the law: submit, write, drain events.
    fn drain(&mut self) {
        loop {
            while self.session.room() > 0
                && let Some((number, mail)) = self.mails.pop_front()
            {
                match self.session.submit(self.now, mail) {
                    Ok(_) => self.submitted.push(number),
                    Err(error) => {
                        self.events.push_back(format!("unsendable {number}: {}", error.reason))
                    }
                }
            }
            let mut slices = [IoSlice::new(&[]); 4];
            let used = self.session.poll_transmit(&mut slices);
            let mut octets: Vec<u8> =
                slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            if let Some(limit) = &mut self.write_limit {
                octets.truncate(*limit);
                *limit -= octets.len();
            }
            if octets.is_empty() {
                break;
            }
            self.said.push_str(&String::from_utf8_lossy(&octets));
            self.session.transmitted(self.now, octets.len());
        }
        while let Some(event) = self.session.poll_event() {
            let text = self.describe(event);
            self.events.push_back(text);
        }
        if self.session.room() > 0 && !self.mails.is_empty() {
            self.drain();
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        let pieces: Vec<&[u8]> = match self.cut {
            Cut::Whole => vec![octets],
            Cut::Octets => octets.chunks(1).collect(),
            Cut::Halves(at) => <[_; 2]>::from(octets.split_at(at % octets.len().max(1))).into(),
        };
        for piece in pieces {
            self.session.handle_input(self.now, piece);
            self.drain();
        }
    }

    fn describe(&mut self, event: Event) -> String {
        match event {
            Event::Ready => "ready".to_owned(),
            Event::StartTls => "start tls".to_owned(),
            Event::PipeliningProven(mode) => format!("proven {mode}"),
            Event::PipeliningLowered(change) => {
                format!("lowered {} -> {} {:?}", change.from, change.to, change.objection)
            }
            Event::Unsolicited(reply) => format!("unsolicited {}", reply.code()),
            Event::Finished(finished) => {
                assert_eq!(finished.outcomes.len(), finished.mail.envelope.forward_paths().len());
                let number = self.submitted[usize::try_from(finished.id.as_u64()).unwrap()];
                let mut text = format!("finished {number}:");
                for outcome in &finished.outcomes {
                    match outcome {
                        Outcome::Delivered(_) => text.push_str(" delivered"),
                        Outcome::Refused(refusal) => {
                            let _ =
                                write!(text, " refused {} {}", refusal.stage, refusal.reply.code());
                        }
                        Outcome::NotSent(reason) => {
                            let _ = write!(text, " not-sent {reason:?}");
                        }
                        Outcome::InDoubt => text.push_str(" in-doubt"),
                    }
                }
                text
            }
            Event::Closed(reason) => match reason {
                CloseReason::Quit => "closed quit".to_owned(),
                CloseReason::Refused { stage, reply } => {
                    format!("closed refused {stage} {}", reply.code())
                }
                CloseReason::Shutdown { stage, reply } => {
                    format!("closed shutdown {stage} {}", reply.code())
                }
                CloseReason::Lost { stage } => format!("closed lost {stage}"),
                CloseReason::Timeout { stage } => format!("closed timeout {stage}"),
                CloseReason::Violation { stage, .. } => format!("closed violation {stage}"),
                CloseReason::Objected { stage, .. } => format!("closed objected {stage}"),
                CloseReason::Unavailable(what) => format!("closed unavailable {what:?}"),
                CloseReason::Aborted { stage } => format!("closed aborted {stage}"),
            },
            other => format!("{other:?}"),
        }
    }

    fn command(&mut self, command: &str) {
        match command.split_once(' ').unwrap_or((command, "")) {
            ("eof", _) => self.session.handle_eof(self.now),
            ("timeout", _) => {
                let deadline = self.session.poll_deadline().expect("a deadline");
                assert!(deadline > self.now && deadline <= self.now + Duration::from_secs(600));
                self.session.handle_timeout(deadline - Duration::from_millis(1));
                assert!(!self.session.is_closed(), "closed before the deadline");
                self.now = deadline;
                self.session.handle_timeout(deadline);
            }
            ("tls", _) => self.session.tls_established(self.now, TlsState::default()),
            ("quit", _) => self.session.quit(self.now),
            ("abort", _) => self.session.abort(self.now),
            ("mode", mode) => self.session.set_pipelining(self.now, mode.parse().unwrap()),
            other => panic!("no such command: {other:?}"),
        }
        self.drain();
    }
}

fn parse_mail(text: &str) -> (u32, Mail) {
    let (number, rest) = text.split_once(": ").unwrap();
    let (from, rest) = rest.split_once(" -> ").unwrap();
    let (to, content) = rest.split_once(" | ").unwrap_or((rest, ""));
    let from: ReversePath = from.parse().unwrap();
    let to = to.split(", ").map(|to| to.parse::<ForwardPath>().unwrap());
    let content = Content::new(content.replace("\\n", "\r\n")).unwrap();
    (number.parse().unwrap(), Mail::new(Envelope::new(from, to).unwrap(), content))
}

fn run(file: &str, name: &str, case: &[&str], cut: Cut) {
    let mut runner = Runner::new(case, cut);
    let is_speech = |line: &&&str| line.starts_with("S: ") || line.starts_with("s: ");
    let mut lines = case.iter().peekable();
    let place = |line: &str| format!("{file}, {name}, {cut:?}: at {line:?}");
    while let Some(line) = lines.next() {
        if is_speech(&line) {
            let mut octets = spoken(line);
            while let Some(line) = lines.next_if(is_speech) {
                octets.extend(spoken(line));
            }
            runner.hear(&octets);
        } else if let Some(expected) = line.strip_prefix("C: ") {
            let (said, rest) = runner.said.split_once("\r\n").unwrap_or((&runner.said, ""));
            assert_eq!(said, expected, "{}", place(line));
            runner.said = rest.to_owned();
        } else if let Some(expected) = line.strip_prefix("E: ") {
            assert_eq!(runner.events.pop_front().as_deref(), Some(expected), "{}", place(line));
        } else if let Some(octets) = line.strip_prefix("! write ") {
            runner.write_limit = Some(octets.parse().unwrap());
        } else if let Some(command) = line.strip_prefix("! ") {
            runner.command(command);
        }
        let speaks_next =
            lines.peek().is_none_or(|next| next.starts_with("S: ") || next.starts_with("! "));
        if speaks_next {
            assert_eq!(runner.said, "", "{}: said more than expected", place(line));
        }
    }
    assert!(
        runner.events.is_empty(),
        "{file}, {name}: more events than expected: {:?}",
        runner.events
    );
}

/// The octets of a server's line. `\xNN` stands for an octet.
fn spoken(line: &str) -> Vec<u8> {
    let (kind, text) = line.split_once(": ").unwrap();
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\\x") {
        octets.extend_from_slice(before.as_bytes());
        octets.push(u8::from_str_radix(&escape[..2], 16).unwrap());
        rest = &escape[2..];
    }
    octets.extend_from_slice(rest.as_bytes());
    if kind == "S" {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

fn check(file: &str, text: &str) {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), cases.last_mut()) {
            (Some(name), _) => cases.push((name, Vec::new())),
            (None, Some((_, case))) => case.push(line),
            (None, None) => {}
        }
    }
    assert!(!cases.is_empty(), "{file} has no case");
    for (name, case) in cases {
        let cuts: &[Cut] =
            &[Cut::Whole, Cut::Octets, Cut::Halves(1), Cut::Halves(7), Cut::Halves(19)];
        let cuts = if case.contains(&"together") { &cuts[..1] } else { cuts };
        for &cut in cuts {
            run(file, name, &case, cut);
        }
    }
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let file = concat!("transcripts/", stringify!($name), ".txt");
            check(file, include_str!(concat!("transcripts/", stringify!($name), ".txt")));
        })*

        #[test]
        fn every_file_is_run() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
            let listed = [$(concat!(stringify!($name), ".txt")),*];
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(listed.contains(&name.as_str()), "{name} is not in the list");
            }
        }
    };
}

transcripts!(auth, cross, greeting, loss, pipelining, tls, transaction);
