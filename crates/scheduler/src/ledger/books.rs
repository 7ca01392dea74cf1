//! What is known of each recipient of a mail that has had an attempt.

use std::time::Duration;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{Mail, NotSent, Outcome, PartialRefusal, Refusal, Stage, Unsendable};

use super::{Attempt, Freshness, InDoubtPolicy};
use crate::failure::{self, Charge, Greylisting, Judgement, Lesson, Verdict};
use crate::planner::{Again, Answer, AttemptResult, GiveUp};
use crate::report::{Cause, RecipientReport, RecipientState};
use crate::time::Time;

/// How long a mail in doubt waits: if the server took it, there was time to notice the duplicate.
const IN_DOUBT_WAIT: Duration = Duration::from_secs(600);

/// Greylisting servers want to see a mail again after a minute, or, most of the others, after five.
const GREYLISTED_WAIT: Duration = Duration::from_secs(65);
const GREYLISTED_AGAIN_WAIT: Duration = Duration::from_secs(310);
/// What is known of servers that say no more than that they greylist.
const GREYLISTED_USUALLY: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(super) struct Books {
    mail: Mail,
    in_doubt: InDoubtPolicy,
    entries: Vec<Entry>,
    /// The recipients that are left, by their place in the envelope.
    remaining: Vec<u32>,
    /// How many of them, the first ones, are in the present attempt.
    trying: usize,
    /// Those whom the server has deferred since the last attempt that counted. They wait until all others have had
    /// their turn, so that it is only they who pay.
    deferred: Vec<u32>,
    /// What their next attempt costs.
    deferral: Option<Again>,
    started: Option<Time>,
    ended: Option<Time>,
}

/// One recipient.
#[derive(Debug, Default)]
struct Entry {
    settled: Option<(RecipientState, Option<Cause>)>,
    stage: Option<Stage>,
    reply: Option<ReplyBuf>,
    attempts: u32,
    /// How often the server asked for patience.
    asked: u32,
    /// How many attempts were in doubt and not the last word.
    possible_duplicates: u32,
    /// Its mail was taken for one too many for its connection.
    was_one_too_many: bool,
}

impl Books {
    pub(super) fn new(mail: Mail, in_doubt: InDoubtPolicy) -> Self {
        let recipients = mail.envelope.forward_paths().len();
        let mut entries = Vec::new();
        entries.resize_with(recipients, Entry::default);
        Self {
            mail,
            in_doubt,
            entries,
            remaining: (0..).take(recipients).collect(),
            trying: recipients,
            deferred: Vec::new(),
            deferral: None,
            started: None,
            ended: None,
        }
    }

    pub(super) fn mail(&self) -> &Mail {
        &self.mail
    }

    pub(super) fn remaining(&self) -> &[u32] {
        &self.remaining
    }

    pub(super) fn started(&self) -> Option<Time> {
        self.started
    }

    pub(super) fn ended(&self) -> Option<Time> {
        self.ended
    }

    pub(super) fn next_attempt(&mut self, most: u32) -> Option<Mail> {
        let most = match self.mail.partial_refusal {
            PartialRefusal::DeliverToRest => most.max(1) as usize,
            PartialRefusal::AllOrNothing => usize::MAX,
        };
        self.trying = self.remaining.len().min(most);
        if self.trying == 0 {
            return None;
        }
        let mut mail = self.mail.clone();
        if self.trying < self.entries.len() {
            mail.envelope = self.mail.envelope.subset(self.remaining.get(..self.trying)?)?;
        }
        Some(mail)
    }

    pub(super) fn attempted(&mut self, attempt: &Attempt) -> AttemptResult {
        let Attempt { started, ended, outcomes, connection } = attempt;
        self.started.get_or_insert(*started);
        let is_for_good = |outcome| failure::judge(outcome).verdict == Verdict::Failed;
        let context = Context {
            anybody_fits: outcomes.iter().any(fits),
            all_failed: self.mail.partial_refusal == PartialRefusal::AllOrNothing
                && outcomes.iter().any(is_for_good),
            in_doubt: self.in_doubt,
        };
        let left_over = self.take_attempt();
        let tried = std::mem::take(&mut self.remaining);
        let outcomes_of_all = outcomes.iter().chain(std::iter::repeat(&Outcome::InDoubt));
        let mut again = (!left_over.is_empty()).then(|| Again::at_once(Charge::Unsent));
        let (mut answer, mut lesson) = (Answer::Nothing, Lesson::Nothing);
        let mut pause = Duration::ZERO;
        for (at, outcome) in tried.into_iter().zip(outcomes_of_all) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.hear(outcome);
            let mut judgement = failure::judge(outcome);
            if *connection == Freshness::Used
                && !entry.was_one_too_many
                && judgement.lesson == Lesson::PerhapsSessionCap
                && judgement.verdict == Verdict::Again(Charge::Counted)
            {
                entry.was_one_too_many = true;
                judgement.verdict = Verdict::Again(Charge::Unsent);
            }
            answer = answer.max(judgement.answer);
            lesson = lesson.max(judgement.lesson);
            pause = pause.max(judgement.pause);
            match context.consequence(outcome, judgement, entry) {
                Consequence::Settled(state, cause) => {
                    entry.attempts += 1;
                    entry.settled = Some((state, cause));
                }
                Consequence::Again(next) => {
                    let (group, cost) = if next.charge == Charge::Counted {
                        entry.attempts += 1;
                        (&mut self.deferred, &mut self.deferral)
                    } else {
                        (&mut self.remaining, &mut again)
                    };
                    *cost = Some(cost.map_or(next, |other| costlier(other, next)));
                    group.push(at);
                }
            }
        }
        self.remaining.extend(left_over);
        if self.remaining.is_empty() {
            std::mem::swap(&mut self.remaining, &mut self.deferred);
            // In the order of the envelope.
            self.remaining.sort_unstable();
            again = self.deferral.take();
        }
        self.ended = Some(*ended);
        let taken = outcomes.iter().filter(|outcome| fits(outcome)).count();
        let is_cap = lesson == Lesson::RecipientCap && taken > 0;
        let recipient_cap = is_cap.then(|| u32::try_from(taken).unwrap_or(u32::MAX));
        AttemptResult { again, answer, recipients: self.left(), recipient_cap, pause, lesson }
    }

    /// How many recipients are left for the next attempt.
    fn left(&self) -> u32 {
        u32::try_from(self.remaining.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn unsendable(&mut self, now: Time, reason: Unsendable) {
        self.settle_rest(now, RecipientState::Failed, Cause::Unsendable(reason));
    }

    pub(super) fn unsendable_here(&mut self, now: Time) -> AttemptResult {
        for &at in self.remaining.iter().take(self.trying) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.attempts += 1;
        }
        self.ended = Some(now);
        let again = Some(Again::at_once(Charge::Counted));
        AttemptResult { again, recipients: self.left(), ..AttemptResult::done(Answer::Nothing) }
    }

    pub(super) fn give_up(
        &mut self,
        now: Time,
        cause: GiveUp,
        attempts: u32,
        words: Option<(Stage, ReplyBuf)>,
    ) {
        for &at in self.remaining.iter().chain(&self.deferred) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.attempts = entry.attempts.max(attempts);
            if let Some((stage, reply)) = &words
                && (cause.is_about_server() || entry.reply.is_none())
            {
                (entry.stage, entry.reply) = (Some(*stage), Some(reply.clone()));
            }
        }
        self.settle_rest(now, cause.state(), Cause::GivenUp(cause));
    }

    /// One report for each recipient, in the order of the envelope.
    pub(super) fn close(&mut self) -> Vec<RecipientReport> {
        let paths = self.mail.envelope.forward_paths().iter().cloned();
        let entries = std::mem::take(&mut self.entries);
        let report = |(forward_path, entry): (_, Entry)| {
            let Entry { settled, stage, reply, attempts, possible_duplicates, .. } = entry;
            let (state, cause) = settled.unwrap_or_else(|| {
                let cause = GiveUp::Unreported;
                (cause.state(), Some(Cause::GivenUp(cause)))
            });
            RecipientReport {
                forward_path,
                state,
                cause,
                stage,
                reply,
                attempts,
                possible_duplicates,
            }
        };
        paths.zip(entries).map(report).collect()
    }

    /// Takes the recipients of the present attempt apart from those that are left over.
    fn take_attempt(&mut self) -> Vec<u32> {
        let left_over = self.remaining.split_off(self.trying.min(self.remaining.len()));
        self.trying = usize::MAX;
        left_over
    }

    fn settle_rest(&mut self, now: Time, state: RecipientState, cause: Cause) {
        let deferred = std::mem::take(&mut self.deferred);
        for at in std::mem::take(&mut self.remaining).into_iter().chain(deferred) {
            if let Some(entry) = self.entries.get_mut(at as usize) {
                entry.settled = Some((state, Some(cause)));
            }
        }
        self.ended = Some(now);
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

    /// How long a recipient waits that is greylisted, for sure or perhaps, on a server that may
    /// have said for how long.
    fn greylisted(&mut self, greylisting: Greylisting, stated: Duration) -> Duration {
        self.asked += 1;
        if !stated.is_zero() && stated != GREYLISTED_USUALLY {
            return stated;
        }
        match (greylisting, self.asked) {
            // Servers that are busy for a moment say the same.
            (Greylisting::Guessed, 1) => Duration::ZERO,
            (Greylisting::Said, 1) | (Greylisting::Guessed, 2) => GREYLISTED_WAIT,
            (Greylisting::Said | Greylisting::Guessed, _) => GREYLISTED_AGAIN_WAIT,
        }
    }

    /// How long a recipient waits that the server wants to wait: once may be an accident, and what
    /// is said again is meant.
    fn asked_for(&mut self, asked: Duration) -> Duration {
        self.asked += u32::from(!asked.is_zero());
        if self.asked > 1 { asked } else { Duration::ZERO }
    }
}

/// What an outcome is seen with.
#[derive(Clone, Copy)]
struct Context {
    /// A recipient was accepted, whatever became of the content.
    anybody_fits: bool,
    /// A recipient was refused for good, and the mail is for all or nobody.
    all_failed: bool,
    in_doubt: InDoubtPolicy,
}

enum Consequence {
    Settled(RecipientState, Option<Cause>),
    Again(Again),
}

impl Context {
    fn consequence(
        self,
        outcome: &Outcome,
        judgement: Judgement,
        entry: &mut Entry,
    ) -> Consequence {
        let counted = Again::at_once(Charge::Counted);
        let failed = Consequence::Settled(RecipientState::Failed, Some(Cause::Refused));
        match (judgement.verdict, self.in_doubt) {
            (Verdict::Delivered, _) => Consequence::Settled(RecipientState::Delivered, None),
            (Verdict::Failed, _) => failed,
            (Verdict::InDoubt, InDoubtPolicy::Report) => {
                Consequence::Settled(RecipientState::InDoubt, Some(Cause::NoFinalReply))
            }
            (Verdict::InDoubt, InDoubtPolicy::Retry) => {
                entry.possible_duplicates += 1;
                Consequence::Again(Again { wait: IN_DOUBT_WAIT, ..counted })
            }
            (Verdict::Again(_) | Verdict::Greylisted(_), _) if self.all_failed => {
                Consequence::Settled(RecipientState::Failed, Some(Cause::AllOrNothing))
            }
            (Verdict::Greylisted(greylisting), _) => {
                let wait = entry.greylisted(greylisting, judgement.asked);
                Consequence::Again(Again { wait, same_server: true, ..counted })
            }
            // Nobody fits in: the next attempt would end like this one.
            (Verdict::Again(Charge::Split), _) if !self.anybody_fits => {
                if is_permanent(outcome) {
                    failed
                } else {
                    Consequence::Again(counted)
                }
            }
            (Verdict::Again(Charge::Counted), _) => {
                let asked = entry.asked_for(judgement.asked);
                Consequence::Again(Again { asked, ..counted })
            }
            (Verdict::Again(charge), _) => Consequence::Again(Again::at_once(charge)),
        }
    }
}

/// What two recipients cost that share an attempt.
fn costlier(one: Again, other: Again) -> Again {
    Again {
        charge: one.charge.max(other.charge),
        wait: one.wait.max(other.wait),
        asked: one.asked.max(other.asked),
        same_server: one.same_server || other.same_server,
    }
}

/// Whether the server took the recipient, if not the mail.
fn fits(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered(_) | Outcome::InDoubt => true,
        Outcome::Refused(refusal) => refusal.stage > Stage::Rcpt,
        Outcome::NotSent(_) => false,
    }
}

fn is_permanent(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(refusal) if !refusal.is_transient())
}
