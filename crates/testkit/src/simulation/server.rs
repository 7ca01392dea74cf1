//! Virtual servers: how fast they are, what they refuse, and when they are not there.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::Time;
use posthaste_session::reply::{Reply, ReplyBuf};
use posthaste_session::{Outcome, Pipelining, Refusal, Stage};

/// How a virtual server behaves.
#[derive(Clone, Debug)]
pub struct ServerModel {
    /// How long one round trip takes.
    pub round_trip: Range<Duration>,
    /// How long the server thinks about a mail.
    pub service: Range<Duration>,
    /// Most sessions at a time; the next one is refused by 421 in the greeting.
    pub max_sessions: Option<u32>,
    /// After so many mails in a session it is ended by 421.
    pub mails_per_session: Option<u32>,
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
    pub outages: Vec<Range<Time>>,
    /// What it does then.
    pub trouble: Trouble,
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
    /// It takes no credentials.
    RefusesLogin,
    /// It greets with 550.
    RefusesSession,
}

impl Trouble {
    /// How long a client waits for a server that hangs.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for ServerModel {
    /// 20 ms away, quick, without limits or faults.
    fn default() -> Self {
        Self {
            round_trip: Duration::from_millis(15)..Duration::from_millis(25),
            service: Duration::from_millis(1)..Duration::from_millis(10),
            max_sessions: None,
            mails_per_session: None,
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
    /// Up for a while, down for a while, until a time.
    pub fn flapping(
        mut self,
        up: Range<Duration>,
        down: Range<Duration>,
        until: Time,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut time = Time::EPOCH;
        loop {
            let from = time + between(&up, &mut rng);
            time = from + between(&down, &mut rng);
            if time > until {
                return self;
            }
            self.outages.push(from..time);
        }
    }

    /// What goes on at a time, if it is not there.
    pub fn trouble_at(&self, now: Time) -> Option<Trouble> {
        let next = self.outages.partition_point(|outage| outage.end <= now);
        let outage = self.outages.get(next)?;
        outage.contains(&now).then_some(self.trouble)
    }

    pub(super) fn outcome_of_recipient(&self, rng: &mut Rng) -> Outcome {
        let draw = rng.u32(..1000);
        if draw < self.deferred {
            refused(Stage::Rcpt, b"450 4.2.1 mailbox is busy\r\n")
        } else if draw < self.deferred + self.refused {
            refused(Stage::Rcpt, b"550 5.1.1 no such user\r\n")
        } else {
            Outcome::Delivered(reply(b"250 2.0.0 queued\r\n"))
        }
    }
}

pub(super) fn reply(octets: &[u8]) -> ReplyBuf {
    Reply::parse(octets).expect("replies of the model are well-formed").to_owned()
}

pub(super) fn between(range: &Range<Duration>, rng: &mut Rng) -> Duration {
    let width = range.end.saturating_sub(range.start);
    range.start + width.mul_f64(rng.f64())
}

pub(super) fn refused(stage: Stage, octets: &[u8]) -> Outcome {
    Outcome::Refused(Refusal { stage, reply: reply(octets) })
}
