//! A session against a server that says anything, at any time.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use posthaste_session::{
    Config, Content, Credentials, Entropy, Envelope, Event, Finished, ForwardPath, Mail,
    PartialRefusal, PlaintextAuth, ReversePath, Session, Stage, TlsPolicy, TlsState, TransactionId,
};
use posthaste_testkit::checker::{Checker, Rules};
use posthaste_testkit::pair::MODES;

/// Carries out a list of operations: the first octet are settings, then each operation is an octet,
/// of which some take octets behind them.
///
/// Every mail gets one outcome, which is what was said and heard; the session says nothing that its
/// replies do not allow; whenever something is awaited there is a deadline; its end is the end.
pub fn run(input: &[u8]) {
    let Some((&settings, operations)) = input.split_first() else { return };
    let mut run = Run::new(settings);
    run.drain();
    let mut operations = operations.iter();
    while let Some(&operation) = operations.next() {
        run.operate(operation, &mut operations);
        run.drain();
    }
    run.session.handle_eof(run.now);
    run.drain();
    assert!(run.is_closed, "the end of input ends a session");
    assert!(run.mails.is_empty(), "no outcome for {:?}", run.mails);
}

struct Run {
    now: Instant,
    session: Session,
    checker: Checker,
    mails: VecDeque<(TransactionId, Mail)>,
    submitted: usize,
    awaits_tls: bool,
    is_closed: bool,
    trace: Vec<(&'static str, Vec<u8>)>,
}

impl Drop for Run {
    /// A run that fails shows what was said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trace.iter().for_each(|(who, what)| eprintln!("{who} {}", what.escape_ascii()));
        }
    }
}

/// What a server says when a session goes well, and what it says otherwise.
const REPLIES: [&[u8]; 24] = [
    b"220 mx\r\n",
    b"250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
    b"250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n",
    b"250 mx\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"250 ok\r\n250 ok\r\n354 go\r\n",
    b"250 queued\r\n250 ok\r\n250 ok\r\n354 go\r\n",
    b"250-a\r\n250 b\r\n",
    b"550 no\r\n",
    b"451 later\r\n",
    b"503 what\r\n",
    b"554 5.5.0 Error: SMTP protocol synchronization\r\n",
    b"421 bye\r\n",
    b"221 bye\r\n",
    b"235 ok\r\n",
    b"334 \r\n",
    b"502 no\r\n",
    b"504 no\r\n",
    b"454 no\r\n",
    b"250",
    b"\r\n",
    b"250-",
];

impl Run {
    fn new(settings: u8) -> Self {
        let now = Instant::now();
        let mut config = Config::new("client.example".parse().expect("a name"));
        config.pipelining = MODES[usize::from(settings & 3) % 3];
        config.tls = [TlsPolicy::May, TlsPolicy::Off, TlsPolicy::Require, TlsPolicy::May]
            [usize::from(settings >> 2 & 3)];
        let allows_plaintext = settings & 32 != 0;
        if settings & 16 != 0 {
            let plaintext = match allows_plaintext {
                true => PlaintextAuth::Allowed,
                false => PlaintextAuth::Forbidden,
            };
            let credentials = Credentials::new("tim", "secret").expect("both are plain");
            config.credentials = Some(credentials.with_plaintext(plaintext));
        }
        config.entropy = Some(Entropy::new([0; Entropy::LENGTH]));
        config.transcript = settings & 64 != 0;
        let rules = Rules { allows_plaintext, ..Rules::of(&config) };
        Self {
            now,
            session: Session::new(now, config),
            checker: Checker::new(rules),
            mails: VecDeque::new(),
            submitted: 0,
            awaits_tls: false,
            is_closed: false,
            trace: Vec::new(),
        }
    }

    fn operate(&mut self, operation: u8, rest: &mut std::slice::Iter<'_, u8>) {
        let number = usize::from(operation & 31);
        match operation >> 5 {
            0 | 1 => {
                let reply = usize::from(operation & 63);
                self.hear(REPLIES[reply % REPLIES.len()]);
            }
            2 => {
                let octets: Vec<u8> = rest.take(number).copied().collect();
                self.hear(&octets);
            }
            3 => self.write(usize::MAX),
            4 => self.write(number),
            5 => self.submit(number),
            6 => {
                self.now += Duration::from_secs(10 * number as u64);
                self.session.handle_timeout(self.now);
            }
            _ => self.interfere(number),
        }
    }

    fn interfere(&mut self, number: usize) {
        match number {
            0..=4 => self.session.quit(self.now),
            5 => self.session.abort(self.now),
            6 => self.session.handle_eof(self.now),
            7..=15 => {
                let mode = MODES[number % 3];
                self.checker.allow(mode);
                self.session.set_pipelining(self.now, mode);
            }
            _ if self.awaits_tls && !self.session.is_closed() => {
                self.awaits_tls = false;
                self.checker.tls_established();
                self.session.tls_established(self.now, TlsState::default());
            }
            _ => {}
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = self.session.poll_transmit(&mut slices);
        let queued = slices[..used].iter().map(|slice| slice.len()).sum();
        self.trace.push(("S:", octets.to_vec()));
        self.checker.heard(octets, queued);
        self.session.handle_input(self.now, octets);
    }

    fn write(&mut self, most: usize) {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = self.session.poll_transmit(&mut slices);
        let octets: Vec<u8> =
            slices[..used].iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        assert_eq!(used == 0, !self.session.has_transmit());
        let length = octets.len();
        self.trace.push(("C:", octets));
        if let Some((_, octets)) = self.trace.last() {
            self.checker.said(octets);
        }
        self.session.transmitted(self.now, length);
    }

    fn submit(&mut self, number: usize) {
        if self.submitted >= 8 {
            return;
        }
        let room = self.session.room();
        let from: ReversePath = format!("m{}@x", self.submitted).parse().expect("an address");
        let to = (0..1 + number % 4).map(|index| format!("r{index}@y"));
        let to = to.map(|address| address.parse::<ForwardPath>().expect("an address"));
        let content = ["Subject: hi\r\n", ".", "\r\n.\r\n", "\u{fc}"][number / 4 % 4];
        let envelope = Envelope::new(from, to).expect("a few recipients");
        let mut mail = Mail::new(envelope, Content::new(content).expect("nothing is wrong"));
        if number >= 16 {
            mail.partial_refusal = PartialRefusal::AllOrNothing;
        }
        match self.session.submit(self.now, mail.clone()) {
            Ok(id) => {
                assert!(room > 0, "taken without room");
                self.submitted += 1;
                self.mails.push_back((id, mail));
            }
            Err(error) => assert_eq!(*error.mail, mail, "{}", error.reason),
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.is_closed, "an event behind the end: {event:?}");
            self.trace.push(("  ", format!("{event:?}").into_bytes()));
            match event {
                Event::Finished(finished) => self.finish(&finished),
                Event::StartTls => self.awaits_tls = true,
                Event::DeriveKey(derivation) => {
                    self.session.key_derived(self.now, derivation.derive());
                }
                Event::Closed(_) => {
                    assert!(self.mails.is_empty(), "closed without an outcome");
                    self.is_closed = true;
                }
                _ => {}
            }
        }
        assert_eq!(self.session.is_closed(), self.is_closed);
        assert_eq!(self.session.in_flight(), self.mails.len());
        let awaits = !self.is_closed && self.session.stage() != Stage::Idle;
        assert_eq!(self.session.poll_deadline().is_some(), awaits, "{:?}", self.session.stage());
        assert!(!self.is_closed || !self.session.has_transmit());
    }

    fn finish(&mut self, finished: &Finished) {
        let (id, mail) = self.mails.pop_front().expect("a mail under way");
        assert_eq!((finished.id, &finished.mail), (id, &mail), "in the order they were handed in");
        self.checker.judge(finished);
    }
}
