//! What virtual servers are like: how fast they are, what they refuse, and when they are not there.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::Time;
use posthaste_session::Pipelining;

use super::units::{Latency, Millis, between};

/// How a virtual server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerModel {
    /// How long it takes until a connection is ready for mails.
    pub connect: Latency,
    /// How long one round trip takes.
    pub round_trip: Latency,
    /// How long the server thinks about a mail.
    pub service: Latency,
    /// From when on, how many mails it works at without loss of speed, in order. With more, each
    /// takes longer. Before the first of them it is quick enough for everything.
    pub capacity: Vec<(Millis, u32)>,
    /// How many sessions it bears.
    pub sessions: SessionLimit,
    /// How many mails it takes in a session.
    pub session_cap: Option<SessionCap>,
    /// How many recipients it takes in a mail; the others hear 452 4.5.3.
    pub recipient_cap: Option<u32>,
    /// How many mails it takes in a time; the others hear 450 4.7.1 at MAIL.
    pub rate: Option<Bucket>,
    /// Whom it does not know, it asks to come back.
    pub greylist: Option<Greylist>,
    /// The servers behind its name.
    pub balancer: Option<Balancer>,
    /// How many of 1000 recipients are deferred by 450.
    pub deferred: u32,
    /// How many of 1000 recipients are refused by 550.
    pub refused: u32,
    /// How many of 1000 mails end their connection before the end of content.
    pub dropped_in_content: u32,
    /// How many of 1000 mails end their connection behind the end of content.
    pub dropped_at_end: u32,
    /// Every mail with a place in this range in the order of submission ends its connection.
    pub poison: Range<usize>,
    /// How.
    pub poisoning: Poisoning,
    /// The highest pipelining mode it bears.
    pub bears: Pipelining,
    /// When it is not there, in order and without overlap.
    pub outages: Vec<Range<Millis>>,
    /// What it does then.
    pub trouble: Trouble,
}

/// How many sessions a server bears at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionLimit {
    /// From when on how many, in order. Before the first of them, as many as come.
    pub steps: Vec<(Millis, u32)>,
    /// What those hear that are too many.
    pub refusal: TooMany,
    /// Whether sessions end by 421 that are too many when the limit goes down.
    pub evicts: bool,
}

/// What holds at a time of what holds from some time on.
pub(super) fn step_at(steps: &[(Millis, u32)], now: Time) -> Option<u32> {
    let passed = steps.partition_point(|(from, _)| from.time() <= now);
    Some(steps.get(passed.checked_sub(1)?)?.1)
}

/// How a server refuses a session that is one too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooMany {
    /// 421 as greeting.
    #[default]
    Greeting421,
    /// 554 as greeting.
    Greeting554,
    /// 421 to the first MAIL.
    Mail421,
    /// 452 to each MAIL.
    Mail452,
    /// The connection breaks before the greeting.
    Drops,
    /// It cannot be opened.
    Refuses,
}

impl SessionLimit {
    /// Always so many, and 421 as greeting to the others.
    pub fn fixed(most: u32) -> Self {
        Self { steps: vec![(Millis(0), most)], ..Self::default() }
    }

    /// How many at a time.
    pub fn at(&self, now: Time) -> Option<u32> {
        step_at(&self.steps, now)
    }
}

/// A server's limit of mails in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCap {
    /// How many it takes.
    pub mails: u32,
    /// What it says to the next one.
    pub said: CapWords,
}

/// How a server says that a session had its share, at MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapWords {
    /// 421 with words that say it.
    Shutdown,
    /// 452 with words that say it; the session goes on, for nothing.
    Deferral,
    /// 452 4.5.3, as OpenSMTPD says.
    TooManyMessages,
    /// 451 without a reason.
    Silent,
}

/// A limit of mails in a time, as a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// So many.
    pub mails: u32,
    /// In this time.
    pub per: Millis,
}

/// Greylisting by (sender, recipient), of which each mail has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greylist {
    /// How long they have to wait.
    pub delay: Millis,
    /// Whether it says how long.
    pub says: bool,
}

/// Several servers behind one name, of which each connection gets any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// How many.
    pub servers: u32,
    /// How many of them are dead.
    pub dead: u32,
    /// Whether a dead one does not even refuse.
    pub hangs: bool,
}

/// How a server dies of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poisoning {
    /// Without a word, while content comes.
    Breaks,
    /// With 421 to MAIL.
    Dismisses,
}

/// What a server does while it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody listens; connections that exist break.
    Refuses,
    /// Nothing answers; a try to connect, or whatever goes on, ends after [`Trouble::TIMEOUT`].
    Hangs,
    /// It greets with 421, and ends what exists by 421.
    ShutsDown,
    /// It greets, and breaks the connection at the first mail.
    Breaks,
    /// It greets, and ends the session by 421 at the first mail.
    Dismisses,
    /// It takes no new connections; those that exist go on.
    RefusesMore,
    /// It answers each MAIL with 451.
    DefersMail,
    /// It says at each MAIL that it has too much to do.
    Overloaded,
    /// The TLS handshake fails.
    BreaksTls,
    /// Its certificate does not prove who it is.
    WrongCertificate,
    /// It takes no credentials.
    RefusesLogin,
    /// It greets with 550.
    RefusesSession,
}

impl Trouble {
    /// How long a client waits for a server that hangs.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Refuses,
        Self::Hangs,
        Self::ShutsDown,
        Self::Breaks,
        Self::Dismisses,
        Self::RefusesMore,
        Self::DefersMail,
        Self::Overloaded,
        Self::BreaksTls,
        Self::WrongCertificate,
        Self::RefusesLogin,
        Self::RefusesSession,
    ];
}

impl Default for ServerModel {
    /// 20 ms away, quick, without limits or faults.
    fn default() -> Self {
        Self {
            connect: Latency::Between(Millis(45), Millis(75)),
            round_trip: Latency::Between(Millis(15), Millis(25)),
            service: Latency::Between(Millis(1), Millis(10)),
            capacity: Vec::new(),
            sessions: SessionLimit::default(),
            session_cap: None,
            recipient_cap: None,
            rate: None,
            greylist: None,
            balancer: None,
            deferred: 0,
            refused: 0,
            dropped_in_content: 0,
            dropped_at_end: 0,
            poison: 0..0,
            poisoning: Poisoning::Breaks,
            bears: Pipelining::Cross,
            outages: Vec::new(),
            trouble: Trouble::Refuses,
        }
    }
}

impl ServerModel {
    /// One that is not there, in this way, at this time.
    pub fn down(trouble: Trouble, outage: Range<Millis>) -> Self {
        Self { outages: vec![outage], trouble, ..Self::default() }
    }

    /// Up for a while, down for a while, until a time.
    pub fn flapping(
        mut self,
        up: Range<Millis>,
        down: Range<Millis>,
        until: Millis,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut draw = |range| Millis(between(range, &mut rng).as_millis() as u64);
        let mut time = Millis(0);
        loop {
            let from = time + draw(&up);
            time = from + draw(&down);
            if time > until {
                return self;
            }
            self.outages.push(from..time);
        }
    }

    /// What goes on at a time, if it is not there.
    pub fn trouble_at(&self, now: Time) -> Option<Trouble> {
        let next = self.outages.partition_point(|outage| outage.end.time() <= now);
        let outage = self.outages.get(next)?;
        (outage.start.time() <= now).then_some(self.trouble)
    }
}
