//! A server that says what it likes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use posthaste_sink::{Close, Event};

use super::Peer;
use crate::dice::Dice;

/// A server that follows a script, whatever the client says.
#[derive(Debug, Default)]
pub struct Hostile {
    turns: VecDeque<Turn>,
    /// Line feeds that came since the last turn.
    lines: usize,
    wakes_at: Option<Instant>,
    output: Vec<u8>,
    sent: usize,
    event: Option<Event>,
}

/// What a hostile server does next.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Line feeds it waits for.
    pub lines: usize,
    /// How long it waits then.
    pub delay: Duration,
    /// What it says.
    pub says: Vec<u8>,
    /// What it does then.
    pub then: Option<Event>,
}

impl Hostile {
    /// A server that does this.
    pub fn new(now: Instant, turns: impl IntoIterator<Item = Turn>) -> Self {
        let mut hostile = Self { turns: turns.into_iter().collect(), ..Self::default() };
        hostile.go_on(now);
        hostile
    }

    /// A server that mostly seems to play by the rules.
    pub fn random(now: Instant, dice: &mut Dice) -> Self {
        let mut turns = Vec::new();
        let begins_well = dice.percent(85);
        if begins_well {
            turns.push(Turn { says: b"220 mx ESMTP\r\n".to_vec(), ..Turn::default() });
            let says = dice.pick(HELLOS).as_bytes().to_vec();
            turns.push(Turn { lines: 1, says, ..Turn::default() });
        }
        for _ in 0..dice.within(0..=30) {
            turns.push(Self::turn(dice));
        }
        Self::new(now, turns)
    }

    fn turn(dice: &mut Dice) -> Turn {
        let replies = if dice.percent(30) { dice.within(2..=5) } else { 1 };
        let mut says = Vec::new();
        for _ in 0..replies {
            match dice.below(20) {
                0 => says.extend(dice.octets(12)),
                1 => says.extend(format!("{} x\r\n", dice.within(0..=999)).into_bytes()),
                _ => says.extend(dice.pick(REPLIES).as_bytes()),
            }
        }
        if dice.percent(3) {
            says.pop();
        }
        let ends = [Event::Close(Close::Fin), Event::Close(Close::Rst), Event::StartTls];
        Turn {
            lines: dice.pick(&[0, 1, 1, 1, 1, 1, 2, 3]),
            delay: if dice.percent(10) { dice.millis(0..=400_000) } else { Duration::ZERO },
            says,
            then: dice.percent(4).then(|| dice.pick(&ends)),
        }
    }

    /// Takes turns until it has to wait.
    fn go_on(&mut self, now: Instant) {
        while self.event.is_none()
            && let Some(turn) = self.turns.front()
        {
            if self.lines < turn.lines {
                return;
            }
            let wakes_at = *self.wakes_at.get_or_insert(now + turn.delay);
            if wakes_at > now {
                return;
            }
            self.wakes_at = None;
            if let Some(turn) = self.turns.pop_front() {
                self.lines -= turn.lines;
                self.output.extend(turn.says);
                self.event = turn.then;
            }
        }
    }
}

impl Peer for Hostile {
    fn handle_input(&mut self, now: Instant, input: &[u8]) {
        self.lines += input.iter().filter(|&&octet| octet == b'\n').count();
        self.go_on(now);
    }

    fn handle_eof(&mut self) {
        self.turns.clear();
        self.wakes_at = None;
        self.event = Some(Event::Close(Close::Fin));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.go_on(now);
    }

    fn tls_established(&mut self, now: Instant) {
        self.go_on(now);
    }

    fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    fn transmitted(&mut self, length: usize) {
        self.sent += length;
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    fn poll_deadline(&self) -> Option<Instant> {
        self.wakes_at
    }

    fn wants_input(&self) -> bool {
        true
    }
}

const HELLOS: &[&str] = &[
    "250-mx\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 DSN\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2 RCPTMAX=1 RCPTDOMAINMAX=1\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=0 RCPTMAX=,\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n",
    "250-mx\r\n250-AUTH=LOGIN\r\n250 SIZE 0\r\n",
    "250 mx\r\n",
    "502 no\r\n250 mx\r\n",
];

/// Those of a session that goes well come more than once.
const REPLIES: &[&str] = &[
    "250 ok\r\n",
    "250 ok\r\n",
    "250 ok\r\n",
    "250 ok\r\n",
    "250 ok\r\n250 ok\r\n354 go\r\n",
    "250 ok\r\n250 ok\r\n354 go\r\n",
    "250 queued\r\n250 ok\r\n250 ok\r\n354 go\r\n",
    "354 go\r\n",
    "354 go\r\n",
    "250-a\r\n250 b\r\n",
    "250\r\n",
    "250 ok\n",
    "220 go\r\n",
    "221 bye\r\n",
    "235 ok\r\n",
    "334 VXNlcm5hbWU6\r\n",
    "334 \r\n",
    "421 4.3.2 going down\r\n",
    "450 4.7.1 later\r\n",
    "503 5.5.1 bad sequence\r\n",
    "503 a\r\n503 b\r\n503 c\r\n",
    "550 5.1.1 no\r\n",
    "552 5.3.4 too big\r\n",
    "554 5.5.0 Error: SMTP protocol synchronization\r\n",
    "554 5.5.1 no valid recipients\r\n",
    "250-a\r\n550 b\r\n",
    "999 x\r\n",
    "HTTP/1.1 400 Bad Request\r\n",
    "\x16\x03\x01",
    "\r\n",
];
