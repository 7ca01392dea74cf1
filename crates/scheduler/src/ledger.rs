//! The books of one mail: which recipients are settled, and which go into the next attempt.

use std::time::Duration;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Envelope, Mail, NotSent, Outcome, PartialRefusal, Refusal, Stage, Unsendable,
};

use crate::failure::{self, Charge, Verdict};
use crate::planner::{Again, Answer, AttemptResult, GiveUp};
use crate::report::{Cause, RecipientReport, RecipientState, Report, ReportTiming};
use crate::time::Time;

/// What a mail in doubt means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InDoubtPolicy {
    /// It is reported as in doubt: it may be lost, and is never delivered twice.
    #[default]
    Report,
    /// It is sent again after a while: it may be delivered twice, and is never lost. The setting
    /// of a mail transfer agent.
    Retry,
}

/// How long a mail in doubt waits: if the server took it, there was time to notice the duplicate.
const IN_DOUBT_WAIT: Duration = Duration::from_secs(600);

/// The books of one mail, from submission to [`Report`].
///
/// A recipient that is settled stays settled: later attempts do not contain it. Whatever happens,
/// the report has each recipient once.
#[derive(Debug)]
pub struct Ledger {
    mail: Mail,
    in_doubt: InDoubtPolicy,
    entries: Vec<Entry>,
    /// The recipients of the next attempt, by their place in the envelope.
    remaining: Vec<u32>,
    submitted: Time,
    started: Option<Time>,
    ended: Time,
}

/// One recipient.
#[derive(Debug, Default)]
struct Entry {
    settled: Option<(RecipientState, Option<Cause>)>,
    stage: Option<Stage>,
    reply: Option<ReplyBuf>,
    attempts: u32,
}

impl Ledger {
    /// Opens the books.
    pub fn new(mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Self {
        let recipients = mail.envelope.forward_paths().len();
        let mut entries = Vec::new();
        entries.resize_with(recipients, Entry::default);
        let remaining = (0..).take(recipients).collect();
        Self { mail, in_doubt, entries, remaining, submitted, started: None, ended: submitted }
    }

    /// The recipients that are not settled, by their place in the envelope.
    pub fn remaining(&self) -> &[u32] {
        &self.remaining
    }

    /// The mail as submitted.
    pub fn mail(&self) -> &Mail {
        &self.mail
    }

    /// The mail for the next attempt, with the recipients that are left; `None` if none is. The
    /// content is shared, not copied.
    pub fn next_attempt(&mut self, now: Time) -> Option<Mail> {
        if self.remaining.is_empty() {
            return None;
        }
        self.started.get_or_insert(now);
        let mut mail = self.mail.clone();
        if self.remaining.len() < self.entries.len() {
            let paths = self.mail.envelope.forward_paths();
            let left = self.remaining.iter().filter_map(|&at| paths.get(at as usize)).cloned();
            mail.envelope = Envelope::new(mail.envelope.reverse_path().clone(), left).ok()?;
        }
        Some(mail)
    }

    /// Enters what became of the last [`next_attempt`](Self::next_attempt), one outcome for each of
    /// its recipients in their order, and says what the planner has to know. A recipient without
    /// an outcome is in doubt.
    pub fn attempted(&mut self, now: Time, outcomes: &[Outcome]) -> AttemptResult {
        let context = Context {
            anybody_delivered: outcomes.iter().any(Outcome::is_delivered),
            all_failed: self.mail.partial_refusal == PartialRefusal::AllOrNothing
                && outcomes.iter().any(|outcome| failure::verdict(outcome) == Verdict::Failed),
            in_doubt: self.in_doubt,
        };
        let outcomes_of_all = outcomes.iter().chain(std::iter::repeat(&Outcome::InDoubt));
        let mut again: Option<Again> = None;
        for (at, outcome) in std::mem::take(&mut self.remaining).into_iter().zip(outcomes_of_all) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.hear(outcome);
            match context.consequence(outcome) {
                Consequence::Settled(state, cause) => {
                    entry.attempts += 1;
                    entry.settled = Some((state, cause));
                }
                Consequence::Again(next) => {
                    entry.attempts += u32::from(next.charge == Charge::Counted);
                    let costlier = |other: Again| Again {
                        charge: other.charge.max(next.charge),
                        wait: other.wait.max(next.wait),
                    };
                    again = Some(again.map_or(next, costlier));
                    self.remaining.push(at);
                }
            }
        }
        self.ended = now;
        AttemptResult { again, answer: answer(outcomes) }
    }

    /// Enters that the server cannot take this mail, and says what the planner has to know.
    pub fn unsendable(&mut self, now: Time, reason: Unsendable) -> AttemptResult {
        self.settle_rest(now, RecipientState::Failed, Cause::Unsendable(reason));
        AttemptResult { again: None, answer: Answer::Nothing }
    }

    /// Closes the books although recipients are left: they get the cause, and, where it is the
    /// server's, its last words about the session.
    pub fn give_up(
        mut self,
        now: Time,
        cause: GiveUp,
        attempts: u32,
        words: Option<(Stage, ReplyBuf)>,
    ) -> Report {
        let (stage, reply) = words.unzip();
        for &at in &self.remaining {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.attempts = attempts;
            entry.stage = stage.or(entry.stage);
            entry.reply = reply.clone().or(entry.reply.take());
        }
        self.settle_rest(now, cause.state(), Cause::GivenUp(cause));
        self.into_report()
    }

    /// Closes the books. A recipient that is not settled is in doubt.
    pub fn into_report(self) -> Report {
        let unreported = || {
            let cause = GiveUp::Unreported;
            (cause.state(), Some(Cause::GivenUp(cause)))
        };
        let paths = self.mail.envelope.forward_paths().iter().cloned();
        let recipients = paths.zip(self.entries).map(|(forward_path, entry)| {
            let (state, cause) = entry.settled.unwrap_or_else(unreported);
            let Entry { stage, reply, attempts, .. } = entry;
            RecipientReport { forward_path, state, cause, stage, reply, attempts }
        });
        let Self { submitted, started, ended, .. } = self;
        let timing = ReportTiming { submitted, started, ended };
        Report { recipients: recipients.collect(), timing }
    }

    fn settle_rest(&mut self, now: Time, state: RecipientState, cause: Cause) {
        for at in std::mem::take(&mut self.remaining) {
            if let Some(entry) = self.entries.get_mut(at as usize) {
                entry.settled = Some((state, Some(cause)));
            }
        }
        self.ended = now;
    }
}

impl Entry {
    /// Remembers what the server said.
    fn hear(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered(reply) => {
                (self.stage, self.reply) = (Some(Stage::Final), Some(reply.clone()));
            }
            Outcome::Refused(Refusal { stage, reply }) => {
                (self.stage, self.reply) = (Some(*stage), Some(reply.clone()));
            }
            Outcome::NotSent(NotSent::Interrupted(stage)) if self.reply.is_none() => {
                self.stage = Some(*stage);
            }
            Outcome::NotSent(_) => {}
            Outcome::InDoubt => (self.stage, self.reply) = (Some(Stage::Final), None),
        }
    }
}

/// What an outcome is seen with.
#[derive(Clone, Copy)]
struct Context {
    anybody_delivered: bool,
    /// A recipient was refused for good, and the mail is for all or nobody.
    all_failed: bool,
    in_doubt: InDoubtPolicy,
}

enum Consequence {
    Settled(RecipientState, Option<Cause>),
    Again(Again),
}

impl Context {
    fn consequence(self, outcome: &Outcome) -> Consequence {
        let again = |charge| Consequence::Again(Again { charge, wait: Duration::ZERO });
        match (failure::verdict(outcome), self.in_doubt) {
            (Verdict::Delivered, _) => Consequence::Settled(RecipientState::Delivered, None),
            (Verdict::Failed, _) => {
                Consequence::Settled(RecipientState::Failed, Some(Cause::Refused))
            }
            (Verdict::InDoubt, InDoubtPolicy::Report) => {
                Consequence::Settled(RecipientState::InDoubt, Some(Cause::NoFinalReply))
            }
            (Verdict::InDoubt, InDoubtPolicy::Retry) => {
                Consequence::Again(Again { charge: Charge::Counted, wait: IN_DOUBT_WAIT })
            }
            (Verdict::Again(_), _) if self.all_failed => {
                Consequence::Settled(RecipientState::Failed, Some(Cause::AllOrNothing))
            }
            // Nobody fits in: the next attempt would end like this one.
            (Verdict::Again(Charge::Split), _) if !self.anybody_delivered => again(Charge::Counted),
            (Verdict::Again(charge), _) => again(charge),
        }
    }
}

/// What an attempt says about the server.
fn answer(outcomes: &[Outcome]) -> Answer {
    let deferred_at_mail = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.stage == Stage::Mail && refusal.is_transient(),
        Outcome::Delivered(_) | Outcome::NotSent(_) | Outcome::InDoubt => false,
    };
    let refused = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => !failure::is_shutdown(&refusal.reply),
        Outcome::Delivered(_) | Outcome::NotSent(_) | Outcome::InDoubt => false,
    };
    if outcomes.iter().any(Outcome::is_delivered) {
        Answer::Accepted
    } else if !outcomes.iter().any(refused) {
        Answer::Nothing
    } else if outcomes.iter().all(deferred_at_mail) {
        Answer::Deferred
    } else {
        Answer::Refused
    }
}
