//! Sessions as transcripts: text files that read like what is said on the wire.
//!
//! Each file in `tests/transcripts/` holds cases, each begun by `# name`, with lines of these kinds:
//!
//! | line | meaning |
//! |---|---|
//! | `set KEY VALUE` | a setting, before anything is said: `mode`, `tls`, `auth`, `ignore`, `plaintext` |
//! | `mail N: FROM -> TO, TO \| CONTENT` | mail `N` is handed in as soon as there is room; `\n` in the content is CRLF |
//! | `ask N: KEY=VALUE KEY=VALUE` | what mail `N` asks for beyond delivery; `binary N`: its content is not text |
//! | `all-or-nothing N` | mail `N` is for all of its recipients or nobody |
//! | `set auth USER PASSWORD`, `set token USER TOKEN`, `set external USER` | credentials, before settings about them |
//! | `S: TEXT` | the server says this line; neighbouring lines arrive together |
//! | `s: TEXT` | the same without a line end; `N times S: TEXT` is that many lines |
//! | `C: TEXT` | the client has said this line since the server last spoke; all of it must be listed |
//! | `E: TEXT` | this event was reported, in this order |
//! | `! derive` | the key is there, after `set derive later`; otherwise it is at once |
//! | `! eof`, `! timeout`, `! tls`, `! quit`, `! abort`, `! mode M` | something else happens |
//! | `! write N` | only N octets of what the client wants to say get written from now on |
//! | `<<TEXT>>` | in what either side says: the base64 of TEXT; `\xNN` is an octet |
//! | `together` | the server's octets are not cut in this case, since it is about what arrives together |
//!
//! Every case is run three times: the server's octets in one piece, one by one, and cut in two at random places.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthaste_session::reply::Mechanism;
use posthaste_session::{
    ChannelBinding, CloseReason, Config, Content, Credentials, DeliverBy, Entropy, Envelope,
    EnvelopeId, Event, ForwardPath, Hold, InitialResponse, KeyDerivation, LateDelivery, LineEnds,
    Mail, MailOptions, OriginalRecipient, Outcome, Parameter, PartialRefusal, PlaintextAuth,
    Priority, Protocol, Recipient, RecipientOptions, ReversePath, ServerName, Session, Speaker,
    TlsPolicy, TlsState, Violation, Window, Xclient, XclientName, XclientText,
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
    tls: TlsState,
    derives: bool,
    /// A key that the session waits for.
    derivation: Option<KeyDerivation>,
}

impl Runner {
    fn new(case: &[&str], cut: Cut) -> Self {
        let mut config = Config::new("client.example".parse().unwrap());
        config.entropy = Some(Entropy::new([0; Entropy::LENGTH]));
        let mut tls = TlsState::default();
        let mut derives = true;
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
                    "auth" | "token" | "external" => {
                        config.credentials = Some(parse_credentials(key, value));
                    }
                    "plaintext" | "mechanisms" | "initial-response" | "login" => {
                        let credentials = config.credentials.take().expect("`set auth` first");
                        config.credentials = Some(adjusted(credentials, key, value));
                    }
                    "entropy" => config.entropy = None,
                    "server" => {
                        let (host, port) = value.split_once(' ').unwrap();
                        let (host, port) = (host.to_owned(), port.parse().unwrap());
                        config.server = Some(ServerName { host, port });
                    }
                    "binding" => {
                        let octets = [value.parse().unwrap(); ChannelBinding::LENGTH];
                        tls.channel_binding = Some(ChannelBinding::from_exporter(octets));
                    }
                    "derive" => derives = false,
                    "transcript" => config.transcript = true,
                    "window" => {
                        let (mails, octets) = value.split_once(' ').unwrap();
                        let (mails, octets) = (mails.parse().unwrap(), octets.parse().unwrap());
                        config.window = Window::new(mails, octets).unwrap();
                    }
                    "chunking" => config.chunking = value.parse().unwrap(),
                    "protocol" => {
                        assert_eq!(value, "lmtp");
                        config.protocol = Protocol::Lmtp;
                    }
                    "xclient" => config.xclient = Some(parse_xclient(value)),
                    "line-ends" => {
                        assert_eq!(value, "crlf");
                        config.line_ends = LineEnds::Crlf;
                    }
                    "ignore" => config.ignored_keywords.push(value.to_owned()),
                    other => panic!("no such setting: {other}"),
                }
            } else if let Some(mail) = line.strip_prefix("mail ") {
                mails.push(parse_mail(mail));
            } else if let Some((number, wishes)) =
                line.strip_prefix("ask ").and_then(|ask| ask.split_once(": "))
            {
                let mail = named(&mut mails, number);
                mail.envelope = ask(&mail.envelope, wishes);
            } else if let Some(number) = line.strip_prefix("binary ") {
                let mail = named(&mut mails, number);
                let octets = mail.content.to_bytes();
                let octets: Vec<u8> =
                    octets.iter().map(|o| if *o == b'~' { 0 } else { *o }).collect();
                mail.content = Content::binary(octets);
            } else if let Some(number) = line.strip_prefix("all-or-nothing ") {
                named(&mut mails, number).partial_refusal = PartialRefusal::AllOrNothing;
            }
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
            tls,
            derives,
            derivation: None,
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
            if let Event::DeriveKey(derivation) = &event {
                self.derivation = Some(derivation.clone());
            }
            let text = self.describe(event);
            self.events.push_back(text);
        }
        if self.derives && self.derivation.is_some() {
            self.derive();
            self.drain();
        }
        if self.session.room() > 0 && !self.mails.is_empty() {
            self.drain();
        }
    }

    fn derive(&mut self) {
        let derivation = self.derivation.take().expect("a key is asked for");
        self.session.key_derived(self.now, derivation.derive());
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
            Event::DeriveKey(_) => "derive key".to_owned(),
            Event::TokenRefused(text) => format!("token refused {text}"),
            Event::Transcript(line) => {
                let mark = if line.speaker == Speaker::Client { "->" } else { "<-" };
                format!("{mark} {}", line.text)
            }
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
                CloseReason::Violation { stage, violation: Violation::Auth(failure) } => {
                    format!("closed violation {stage} {failure:?}")
                }
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
            ("tls", "verified") => {
                let state = TlsState { is_verified: true, ..TlsState::default() };
                self.session.tls_established(self.now, state);
            }
            ("tls", _) => self.session.tls_established(self.now, self.tls),
            ("derive", _) => self.derive(),
            ("quit", _) => self.session.quit(self.now),
            ("abort", _) => self.session.abort(self.now),
            ("mode", mode) => self.session.set_pipelining(self.now, mode.parse().unwrap()),
            other => panic!("no such command: {other:?}"),
        }
        self.drain();
    }
}

fn named<'a>(mails: &'a mut [(u32, Mail)], number: &str) -> &'a mut Mail {
    let number = number.parse().unwrap();
    &mut mails.iter_mut().find(|(n, _)| *n == number).unwrap().1
}

/// The envelope with parameters; those of RCPT are for every recipient.
fn ask(envelope: &Envelope, wishes: &str) -> Envelope {
    let mut options = MailOptions::default();
    let mut recipient = RecipientOptions::default();
    for wish in wishes.split(' ') {
        let (key, value) = wish.split_once('=').unwrap_or((wish, ""));
        match key {
            "ret" => options.return_content = Some(value.parse().unwrap()),
            "envid" => options.envelope_id = Some(EnvelopeId::new(value).unwrap()),
            "return-in" | "notify-in" => {
                let late = match key {
                    "return-in" => LateDelivery::Return,
                    _ => LateDelivery::Notify,
                };
                options.deliver_by = Some(DeliverBy::new(value.parse().unwrap(), late).unwrap());
            }
            "priority" => options.priority = Some(Priority::new(value.parse().unwrap()).unwrap()),
            "hold" => {
                let time = Duration::from_secs(value.parse().unwrap());
                options.hold = Some(Hold::for_time(time).unwrap());
            }
            "require-tls" => options.require_tls = true,
            "authority" => {
                options.authority = Some(value.parse::<ReversePath>().unwrap().into());
            }
            "notify" => recipient.notify = Some(value.parse().unwrap()),
            "original" => {
                let path = value.parse().unwrap();
                recipient.original = Some(OriginalRecipient::new(&path).unwrap());
            }
            other => {
                let parameter = Parameter::new(other, other, Some(value)).unwrap();
                options.others.push(parameter.clone());
                recipient.others.push(parameter);
            }
        }
    }
    let recipients = envelope.forward_paths().iter().cloned();
    let recipients = recipients.map(|path| Recipient::new(path).with_options(recipient.clone()));
    Envelope::new(envelope.reverse_path().clone(), recipients).unwrap().with_options(options)
}

/// `name=NAME addr=ADDRESS port=PORT helo=TEXT`, or `helo-octets=N` and `login-octets=N` for long ones.
fn parse_xclient(settings: &str) -> Xclient {
    let mut client = Xclient::default();
    for setting in settings.split(' ') {
        let long = |octets: &str| XclientText::new(&"x".repeat(octets.parse().unwrap())).unwrap();
        match setting.split_once('=').unwrap() {
            ("name", name) => client.name = Some(XclientName::Known(name.parse().unwrap())),
            ("addr", address) => client.address = Some(address.parse().unwrap()),
            ("port", port) => client.port = Some(port.parse().unwrap()),
            ("helo", helo) => client.helo = Some(XclientText::new(helo).unwrap()),
            ("helo-octets", octets) => client.helo = Some(long(octets)),
            ("login-octets", octets) => client.login = Some(long(octets)),
            (other, _) => panic!("no such attribute: {other}"),
        }
    }
    client
}

fn parse_credentials(kind: &str, value: &str) -> Credentials {
    let (user, secret) = value.split_once(' ').unwrap_or((value, ""));
    let credentials = match kind {
        "auth" => Credentials::new(user, secret),
        "token" => Credentials::bearer(user, secret),
        _ => Credentials::external((user != "nobody").then(|| user.to_owned())),
    };
    credentials.unwrap()
}

fn adjusted(credentials: Credentials, key: &str, value: &str) -> Credentials {
    match (key, value) {
        ("plaintext", _) => credentials.with_plaintext(PlaintextAuth::Allowed),
        ("mechanisms", list) => {
            let mechanisms: Vec<Mechanism> = list.split(',').map(|m| m.parse().unwrap()).collect();
            credentials.with_mechanisms(&mechanisms).unwrap()
        }
        ("initial-response", "always") => {
            credentials.with_initial_response(InitialResponse::Always)
        }
        ("initial-response", "never") => credentials.with_initial_response(InitialResponse::Never),
        ("login", "user-first") => credentials.with_login_initial_response(),
        other => panic!("no such setting: {other:?}"),
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
            assert_eq!(said.replace('\0', "~"), with_base64(expected), "{}", place(line));
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

/// The octets of a server's line.
fn spoken(line: &str) -> Vec<u8> {
    let (kind, text) = line.split_once(": ").unwrap();
    let mut octets = unescaped(&with_base64(text));
    if kind == "S" {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

/// `<<TEXT>>` stands for the base64 of TEXT.
fn with_base64(text: &str) -> String {
    let mut encoded = String::new();
    let mut rest = text;
    while let Some((before, (inside, behind))) =
        rest.split_once("<<").and_then(|(before, rest)| Some((before, rest.split_once(">>")?)))
    {
        encoded.push_str(before);
        encoded.push_str(&STANDARD.encode(unescaped(inside)));
        rest = behind;
    }
    encoded + rest
}

/// `\xNN` stands for an octet.
fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\\x") {
        octets.extend_from_slice(before.as_bytes());
        octets.push(u8::from_str_radix(&escape[..2], 16).unwrap());
        rest = &escape[2..];
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

fn check(file: &str, text: &str) {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), cases.last_mut()) {
            (Some(name), _) => cases.push((name, Vec::new())),
            (None, Some((_, case))) => match line.split_once(" times ") {
                Some((times, line)) if line.starts_with("S: ") => {
                    case.extend(std::iter::repeat_n(line, times.parse().unwrap()));
                }
                _ => case.push(line),
            },
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

transcripts!(
    auth,
    auth_bearer,
    auth_scram,
    chunking,
    cross,
    greeting,
    limits,
    lmtp,
    loss,
    parameters,
    pipelining,
    steps,
    stream,
    tls,
    transaction,
    xclient
);
