//! Pipelining modes against each other: how far ahead commands are sent must not change what becomes
//! of a mail.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{
    Config, Content, Envelope, Event, ForwardPath, Mail, Outcome, Pipelining, Protocol,
    ReversePath, Session, Stage,
};
use posthaste_testkit::pair::MODES;

/// Lets the input decide mails and what a server says to each command about them, and sends the
/// mails in every mode.
///
/// The server answers commands one by one and by their arguments alone, so every mode has to come to
/// the same outcomes, whichever command carries the content.
pub fn run(input: &[u8]) {
    let Some((&settings, plan)) = input.split_first() else { return };
    let protocol = if settings & 1 != 0 { Protocol::Lmtp } else { Protocol::Smtp };
    let outcomes = MODES.map(|mode| outcomes(protocol, mode, plan));
    for (mode, found) in MODES.iter().zip(&outcomes) {
        assert_eq!(found, &outcomes[0], "{mode}, and {} before", MODES[0]);
    }
}

/// Octets that decide about one mail: its recipients, and the replies to MAIL, DATA and the content.
const PLAN: usize = 4;

/// Mails at most.
const MAX_MAILS: usize = 6;

/// What becomes of each recipient, as far as it cannot depend on the mode.
fn outcomes(protocol: Protocol, mode: Pipelining, plan: &[u8]) -> Vec<Vec<String>> {
    let now = Instant::now();
    let config = Config::new("client.example".parse().expect("a name"));
    let mut session = Session::new(now, Config { protocol, pipelining: mode, ..config });
    let mut server = Server { protocol, plan, ..Server::default() };
    let mut mails =
        (0..plan.len() / PLAN).take(MAX_MAILS).map(|index| mail(index, plan)).peekable();
    let mut outcomes = Vec::new();
    session.handle_input(now, b"220 mx\r\n");
    loop {
        while let Some(mail) = mails.next_if(|_| session.room() > 0) {
            session.submit(now, mail).expect("there is room");
        }
        let said = said(now, &mut session);
        while let Some(event) = session.poll_event() {
            if let Event::Finished(finished) = event {
                assert_eq!(finished.id.as_u64(), outcomes.len() as u64, "in order");
                outcomes.push(finished.outcomes.iter().map(describe).collect());
            }
        }
        let can_submit = session.room() > 0 && mails.peek().is_some();
        if said.is_empty() && !can_submit {
            assert_eq!(mails.count(), 0, "{mode}: a mail is left");
            assert_eq!(session.in_flight(), 0, "{mode}: waits for nothing");
            return outcomes;
        }
        let answer = server.answer(&said);
        session.handle_input(now, &answer);
    }
}

fn mail(index: usize, plan: &[u8]) -> Mail {
    let from: ReversePath = format!("{index}@client.example").parse().expect("an address");
    let recipients = usize::from(plan[index * PLAN] % 4) + 1;
    let to = (0..recipients).map(|place| format!("{index}-{place}@mx.example"));
    let to = to.map(|address| address.parse::<ForwardPath>().expect("an address"));
    let envelope = Envelope::new(from, to).expect("a few recipients");
    Mail::new(envelope, Content::new("Subject: hi\r\n\r\n.\r\n").expect("nothing is wrong"))
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(reply) => format!("delivered {reply}"),
        Outcome::Refused(refusal) => {
            let stage = match refusal.stage {
                Stage::Data | Stage::Final => "content",
                stage => stage.as_str(),
            };
            format!("refused {stage} {}", refusal.reply)
        }
        Outcome::NotSent(reason) => format!("not sent {reason:?}"),
        Outcome::InDoubt => "in doubt".to_owned(),
    }
}

fn said(now: Instant, session: &mut Session) -> Vec<u8> {
    let mut octets = Vec::new();
    while session.has_transmit() {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = session.poll_transmit(&mut slices);
        let before = octets.len();
        slices[..used].iter().for_each(|slice| octets.extend_from_slice(slice));
        session.transmitted(now, octets.len() - before);
    }
    octets
}

/// Answers each command by the plan.
#[derive(Default)]
struct Server<'a> {
    protocol: Protocol,
    plan: &'a [u8],
    /// The mail whose transaction is open.
    mail: Option<usize>,
    accepted: Vec<usize>,
    reads_content: bool,
    /// Octets of a chunk that are still to come.
    chunk: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
}

impl Server<'_> {
    fn answer(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = String::new();
        for &octet in octets {
            if self.chunk > 0 {
                self.chunk -= 1;
                if self.chunk == 0 {
                    self.end_chunk(&mut out);
                }
                continue;
            }
            self.line.push(octet);
            if self.line.ends_with(b"\r\n") {
                let line = std::mem::take(&mut self.line);
                self.handle_line(str::from_utf8(&line).expect("ASCII").trim_end(), &mut out);
            }
        }
        out.into_bytes()
    }

    fn handle_line(&mut self, line: &str, out: &mut String) {
        if self.reads_content {
            if line == "." {
                self.reads_content = false;
                self.end_content(out);
            }
            return;
        }
        let verb = line.split(' ').next().unwrap_or_default();
        match verb {
            "EHLO" | "LHLO" => out.push_str("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
            "MAIL" => {
                let number = line.split(['<', '@']).nth(1).and_then(|number| number.parse().ok());
                let index = number.expect("a mail");
                let code = self.code(index, 1, &[250, 250, 250, 250, 250, 451, 550, 250]);
                self.mail = (code == 250).then_some(index);
                self.accepted.clear();
                out.push_str(&format!("{code} mail {index}\r\n"));
            }
            "RCPT" => {
                let place = line.split(['-', '@']).nth(1).and_then(|place| place.parse().ok());
                let place: usize = place.expect("a recipient");
                let Some(mail) = self.mail else { return out.push_str("503 no mail\r\n") };
                let code =
                    [250, 550, 250, 450][usize::from(self.octet(mail, 2) >> (2 * place) & 3)];
                if code == 250 {
                    self.accepted.push(place);
                }
                out.push_str(&format!("{code} recipient {mail}-{place}\r\n"));
            }
            "DATA" => {
                let code = self.start_code();
                self.reads_content = code == 354;
                out.push_str(&format!("{code} data\r\n"));
            }
            "BDAT" => {
                let octets = line.split(' ').nth(1).and_then(|octets| octets.parse().ok());
                self.chunk = octets.expect("a number");
            }
            "RSET" => {
                self.mail = None;
                out.push_str("250 reset\r\n");
            }
            _ => out.push_str("500 what\r\n"),
        }
    }

    /// What DATA is answered with.
    fn start_code(&self) -> u16 {
        match self.mail {
            Some(mail) if !self.accepted.is_empty() => {
                self.code(mail, 3, &[354, 354, 354, 354, 354, 354, 451, 554])
            }
            Some(_) => 554,
            None => 503,
        }
    }

    /// The octets of a refused chunk are gone, and its transaction stays open (Q25b).
    fn end_chunk(&mut self, out: &mut String) {
        match self.start_code() {
            354 => self.end_content(out),
            code => out.push_str(&format!("{code} data\r\n")),
        }
    }

    fn end_content(&mut self, out: &mut String) {
        let Some(mail) = self.mail.take() else { return };
        let recipients = match self.protocol {
            Protocol::Lmtp => std::mem::take(&mut self.accepted),
            Protocol::Smtp => vec![0],
        };
        for place in recipients {
            let octet = self.octet(mail, 3) >> 3;
            let code = [250, 250, 451, 554][usize::from(octet.rotate_right(place as u32) & 3)];
            out.push_str(&format!("{code} content {mail}-{place}\r\n"));
        }
    }

    fn octet(&self, mail: usize, at: usize) -> u8 {
        self.plan[mail * PLAN + at]
    }

    fn code(&self, mail: usize, at: usize, codes: &[u16; 8]) -> u16 {
        codes[usize::from(self.octet(mail, at) & 7)]
    }
}
