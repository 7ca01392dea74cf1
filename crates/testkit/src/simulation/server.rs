//! Virtual servers at work: what they say, and what they know.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::failure::ConnectFailure;
use posthaste_scheduler::{ServerId, Time};
use posthaste_session::reply::{Reply, ReplyBuf};
use posthaste_session::{CloseReason, Outcome, Refusal, Stage};

use super::model::{Bucket, CapWords, ServerModel, SessionCap, TooMany, Trouble, step_at};

/// A virtual server, and what it remembers.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) destination: usize,
    pub(super) model: ServerModel,
    /// Sessions that it counts.
    pub(super) sessions: u32,
    /// Mails that it works at.
    busy: u32,
    /// Connections that the planner counts.
    pub(super) connections: u32,
    tokens: Tokens,
    /// Mails and recipients that it has greylisted, since when.
    greylisted: HashMap<(usize, u32), Time>,
    tally: ServerTally,
    counted: Time,
}

/// What a virtual server counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTally {
    /// Tries to connect.
    pub dialed: u32,
    /// Those that were one too many.
    pub refused: u32,
    /// Most sessions at a time.
    pub most_sessions: u32,
    /// Mails it took.
    pub taken: u32,
    /// Mails it did not let begin: over a cap or a rate.
    pub turned_away: u32,
    /// The time its sessions lasted, all together.
    pub session_time: Duration,
    /// The time it worked at mails, all together.
    pub busy_time: Duration,
}

/// What becomes of a try to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Ready,
    /// Ready, but one too many: it will hear of that at MAIL.
    Surplus,
    Hangs,
    Fails(ConnectFailure),
    Ends(CloseReason),
}

/// What a server says to MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Serves,
    /// 421.
    Ends(&'static str),
    /// 45x, for a reason that is the server's own.
    Defers(&'static str),
    /// 45x, without a reason.
    Mutters(&'static str),
}

impl Server {
    pub(super) fn new(id: ServerId, destination: usize, model: ServerModel) -> Self {
        Self {
            id,
            destination,
            model,
            sessions: 0,
            busy: 0,
            connections: 0,
            tokens: Tokens::default(),
            greylisted: HashMap::new(),
            tally: ServerTally::default(),
            counted: Time::EPOCH,
        }
    }

    /// Somebody connects.
    pub(super) fn greet(&mut self, now: Time, rng: &mut Rng) -> Greeting {
        self.tally.dialed += 1;
        if let Some(greeting) = self.model.trouble_at(now).and_then(trouble_at_greeting) {
            return greeting;
        }
        if let Some(balancer) = self.model.balancer
            && rng.u32(..balancer.servers) < balancer.dead
        {
            return match balancer.hangs {
                true => Greeting::Hangs,
                false => Greeting::Fails(ConnectFailure::Refused),
            };
        }
        if self.model.sessions.at(now).is_some_and(|most| self.sessions >= most) {
            self.tally.refused += 1;
            return self.model.sessions.refusal.greeting();
        }
        Greeting::Ready
    }

    /// A session begins.
    pub(super) fn enter(&mut self, now: Time) {
        self.count(now);
        self.sessions += 1;
        self.tally.most_sessions = self.tally.most_sessions.max(self.sessions);
    }

    /// A session ends.
    pub(super) fn leave(&mut self, now: Time) {
        self.count(now);
        self.sessions -= 1;
    }

    /// A session says MAIL that had so many mails taken.
    pub(super) fn welcome(&mut self, now: Time, is_surplus: bool, taken: u32) -> Welcome {
        let welcome = self.find_welcome(now, is_surplus, taken);
        self.tally.turned_away += u32::from(welcome != Welcome::Serves);
        welcome
    }

    fn find_welcome(&mut self, now: Time, is_surplus: bool, taken: u32) -> Welcome {
        if is_surplus {
            return match self.model.sessions.refusal {
                TooMany::Mail452 => Welcome::Defers("452 4.3.2 too many connections from you"),
                _ => Welcome::Ends("421 4.7.0 too many connections from you"),
            };
        }
        if self.model.trouble_at(now) == Some(Trouble::Overloaded) {
            return Welcome::Defers("451 4.3.2 system is overloaded");
        }
        if let Some(SessionCap { mails, said }) = self.model.session_cap
            && taken >= mails
        {
            return said.welcome();
        }
        if let Some(bucket) = self.model.rate
            && !self.tokens.take(now, bucket)
        {
            return Welcome::Defers("450 4.7.1 rate limit exceeded");
        }
        Welcome::Serves
    }

    /// It works at one more mail; how much longer that takes than it would alone.
    pub(super) fn begin(&mut self, now: Time) -> f64 {
        self.count(now);
        self.busy += 1;
        let capacity = step_at(&self.model.capacity, now).unwrap_or(u32::MAX).max(1);
        (f64::from(self.busy) / f64::from(capacity)).max(1.0)
    }

    /// It works at one mail less.
    pub(super) fn end(&mut self, now: Time) {
        self.count(now);
        self.busy -= 1;
    }

    /// What it says to a recipient of a mail; `place` is that in the transaction.
    pub(super) fn judge(
        &mut self,
        now: Time,
        (mail, recipient): (usize, u32),
        place: usize,
        rng: &mut Rng,
    ) -> Outcome {
        if self.model.recipient_cap.is_some_and(|most| place >= most as usize) {
            return refused(Stage::Rcpt, "452 4.5.3 too many recipients");
        }
        if let Some(greylist) = self.model.greylist {
            let since = *self.greylisted.entry((mail, recipient)).or_insert(now);
            let left = Duration::from(greylist.delay).saturating_sub(now - since);
            if !left.is_zero() {
                let seconds = left.as_millis().div_ceil(1000);
                return match greylist.says {
                    true => {
                        let words = "450 4.7.1 Greylisted, try again in";
                        refused(Stage::Rcpt, &format!("{words} {seconds} seconds"))
                    }
                    false => refused(Stage::Rcpt, "450 4.7.1 Greylisted, come back later"),
                };
            }
        }
        let draw = rng.u32(..1000);
        if draw < self.model.deferred {
            refused(Stage::Rcpt, "450 4.2.1 mailbox is busy")
        } else if draw < self.model.deferred + self.model.refused {
            refused(Stage::Rcpt, "550 5.1.1 no such user")
        } else {
            DELIVERED.clone()
        }
    }

    /// It took a mail, for somebody.
    pub(super) fn took(&mut self) {
        self.tally.taken += 1;
    }

    pub(super) fn tally(&mut self, now: Time) -> ServerTally {
        self.count(now);
        self.tally
    }

    /// Brings the integrals up to date, before what they are of changes.
    fn count(&mut self, now: Time) {
        let time = now - self.counted;
        self.tally.session_time += time * self.sessions;
        self.tally.busy_time += time * self.busy;
        self.counted = now;
    }
}

fn trouble_at_greeting(trouble: Trouble) -> Option<Greeting> {
    let refused =
        |stage, line| Some(Greeting::Ends(CloseReason::Refused { stage, reply: reply(line) }));
    match trouble {
        Trouble::Refuses | Trouble::RefusesMore => Some(Greeting::Fails(ConnectFailure::Refused)),
        Trouble::Hangs => Some(Greeting::Hangs),
        Trouble::BreaksTls => Some(Greeting::Fails(ConnectFailure::Tls)),
        Trouble::WrongCertificate => Some(Greeting::Fails(ConnectFailure::Certificate)),
        Trouble::ShutsDown => Some(Greeting::Ends(shutdown(Stage::Greeting, "421 4.3.2 not now"))),
        Trouble::RefusesLogin => refused(Stage::Auth, "535 5.7.8 authentication failed"),
        Trouble::RefusesSession => refused(Stage::Greeting, "550 5.7.1 no mail from here"),
        Trouble::Breaks | Trouble::Dismisses | Trouble::DefersMail | Trouble::Overloaded => None,
    }
}

impl TooMany {
    fn greeting(self) -> Greeting {
        let words = "4.7.0 too many connections from you";
        match self {
            Self::Greeting421 => Greeting::Ends(shutdown(Stage::Greeting, &format!("421 {words}"))),
            Self::Greeting554 => {
                let reply = reply("554 too many connections from you");
                Greeting::Ends(CloseReason::Refused { stage: Stage::Greeting, reply })
            }
            Self::Mail421 | Self::Mail452 => Greeting::Surplus,
            Self::Drops => Greeting::Ends(CloseReason::Lost { stage: Stage::Greeting }),
            Self::Refuses => Greeting::Fails(ConnectFailure::Refused),
        }
    }
}

impl CapWords {
    fn welcome(self) -> Welcome {
        match self {
            Self::Shutdown => Welcome::Ends("421 too many messages in this connection"),
            Self::Deferral => Welcome::Defers("452 4.3.2 too many messages in this session"),
            Self::TooManyMessages => Welcome::Defers("452 4.5.3 Too many messages sent"),
            Self::Silent => Welcome::Mutters("451 4.3.0 try again later"),
        }
    }
}

/// A token bucket.
#[derive(Debug, Default)]
struct Tokens {
    spent: f64,
    since: Time,
}

impl Tokens {
    fn take(&mut self, now: Time, bucket: Bucket) -> bool {
        let mails = f64::from(bucket.mails);
        let back = (now - self.since).as_secs_f64() / Duration::from(bucket.per).as_secs_f64();
        self.spent = (self.spent - back * mails).max(0.0);
        self.since = now;
        let has_room = self.spent + 1.0 <= mails;
        self.spent += f64::from(u8::from(has_room));
        has_room
    }
}

/// The most frequent one, made once.
static DELIVERED: LazyLock<Outcome> =
    LazyLock::new(|| Outcome::Delivered(reply("250 2.0.0 queued")));

pub(super) fn reply(line: &str) -> ReplyBuf {
    let octets = format!("{line}\r\n");
    Reply::parse(octets.as_bytes()).expect("replies of the model are well-formed").to_owned()
}

pub(super) fn refused(stage: Stage, line: &str) -> Outcome {
    Outcome::Refused(Refusal { stage, reply: reply(line) })
}

pub(super) fn shutdown(stage: Stage, line: &str) -> CloseReason {
    CloseReason::Shutdown { stage, reply: reply(line) }
}
