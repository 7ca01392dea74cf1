//! The books of one mail: which recipients are settled, and which go into the next attempt.

use std::time::Duration;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{Mail, NotSent, Outcome, PartialRefusal, Refusal, Stage, Unsendable};

use crate::failure::{self, Charge, Greylisting, Judgement, Verdict};
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

/// Greylisting servers want to see a mail again after a minute, or, most of the others, after five.
const GREYLISTED_WAIT: Duration = Duration::from_secs(65);
const GREYLISTED_AGAIN_WAIT: Duration = Duration::from_secs(310);

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
    /// Those whom the server has deferred since the last attempt that counted. They wait until all others have had
    /// their turn, so that it is only they who pay.
    deferred: Vec<u32>,
    /// What their next attempt costs.
    deferral: Option<Again>,
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
    /// How often the server asked for patience.
    asked: u32,
    /// How many attempts were in doubt and not the last word.
    possible_duplicates: u32,
}

impl Ledger {
    /// Opens the books.
    pub fn new(mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Self {
        let recipients = mail.envelope.forward_paths().len();
        let mut entries = Vec::new();
        entries.resize_with(recipients, Entry::default);
        let remaining = (0..).take(recipients).collect();
        Self {
            mail,
            in_doubt,
            entries,
            remaining,
            deferred: Vec::new(),
            deferral: None,
            submitted,
            started: None,
            ended: submitted,
        }
    }

    /// The recipients of the next attempt, by their place in the envelope: those that are not settled, but for
    /// deferred ones as long as there are others.
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
            mail.envelope = self.mail.envelope.subset(&self.remaining)?;
        }
        Some(mail)
    }

    /// Enters what became of the last [`next_attempt`](Self::next_attempt), one outcome for each of
    /// its recipients in their order, and says what the planner has to know. A recipient without
    /// an outcome is in doubt.
    pub fn attempted(&mut self, now: Time, outcomes: &[Outcome]) -> AttemptResult {
        let is_for_good = |outcome| failure::judge(outcome).verdict == Verdict::Failed;
        let context = Context {
            anybody_fits: outcomes.iter().any(fits),
            all_failed: self.mail.partial_refusal == PartialRefusal::AllOrNothing
                && outcomes.iter().any(is_for_good),
            in_doubt: self.in_doubt,
        };
        let outcomes_of_all = outcomes.iter().chain(std::iter::repeat(&Outcome::InDoubt));
        let mut again: Option<Again> = None;
        let mut answer = Answer::Nothing;
        for (at, outcome) in std::mem::take(&mut self.remaining).into_iter().zip(outcomes_of_all) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.hear(outcome);
            let judgement = failure::judge(outcome);
            answer = answer.max(judgement.answer);
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
                    let costlier = |other: Again| Again {
                        charge: other.charge.max(next.charge),
                        wait: other.wait.max(next.wait),
                        asked: other.asked.max(next.asked),
                    };
                    *cost = Some(cost.map_or(next, costlier));
                    group.push(at);
                }
            }
        }
        if self.remaining.is_empty() {
            std::mem::swap(&mut self.remaining, &mut self.deferred);
            // In the order of the envelope.
            self.remaining.sort_unstable();
            again = self.deferral.take();
        }
        self.ended = now;
        AttemptResult { again, answer }
    }

    /// Enters that the server cannot take this mail, and says what the planner has to know.
    pub fn unsendable(&mut self, now: Time, reason: Unsendable) -> AttemptResult {
        self.settle_rest(now, RecipientState::Failed, Cause::Unsendable(reason));
        AttemptResult { again: None, answer: Answer::Nothing }
    }

    /// Enters that this connection cannot take this mail, but another one to the same server may:
    /// every recipient that is left has had an attempt.
    pub fn unsendable_here(&mut self, now: Time) -> AttemptResult {
        for &at in &self.remaining {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.attempts += 1;
        }
        self.ended = now;
        let (wait, asked) = (Duration::ZERO, Duration::ZERO);
        let again = Some(Again { charge: Charge::Counted, wait, asked });
        AttemptResult { again, answer: Answer::Nothing }
    }

    /// Closes the books although recipients are left. What the server said last about the session
    /// is reported where that is the cause, or where it said nothing about the recipient.
    pub fn give_up(
        mut self,
        now: Time,
        cause: GiveUp,
        attempts: u32,
        words: Option<(Stage, ReplyBuf)>,
    ) -> Report {
        for &at in self.remaining.iter().chain(&self.deferred) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            entry.attempts = attempts;
            if let Some((stage, reply)) = &words
                && (cause.is_about_server() || entry.reply.is_none())
            {
                (entry.stage, entry.reply) = (Some(*stage), Some(reply.clone()));
            }
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
            let Entry { stage, reply, attempts, possible_duplicates, .. } = entry;
            RecipientReport {
                forward_path,
                state,
                cause,
                stage,
                reply,
                attempts,
                possible_duplicates,
            }
        });
        let Self { submitted, started, ended, .. } = self;
        let timing = ReportTiming { submitted, started, ended };
        Report { recipients: recipients.collect(), trouble: None, timing }
    }

    fn settle_rest(&mut self, now: Time, state: RecipientState, cause: Cause) {
        let deferred = std::mem::take(&mut self.deferred);
        for at in std::mem::take(&mut self.remaining).into_iter().chain(deferred) {
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

impl Entry {
    /// How long a recipient waits that is greylisted, for sure or perhaps.
    fn greylisted(&mut self, greylisting: Greylisting) -> Duration {
        self.asked += 1;
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
        let again = |charge, wait, asked| Consequence::Again(Again { charge, wait, asked });
        let at_once = |charge| again(charge, Duration::ZERO, Duration::ZERO);
        let failed = Consequence::Settled(RecipientState::Failed, Some(Cause::Refused));
        match (judgement.verdict, self.in_doubt) {
            (Verdict::Delivered, _) => Consequence::Settled(RecipientState::Delivered, None),
            (Verdict::Failed, _) => failed,
            (Verdict::InDoubt, InDoubtPolicy::Report) => {
                Consequence::Settled(RecipientState::InDoubt, Some(Cause::NoFinalReply))
            }
            (Verdict::InDoubt, InDoubtPolicy::Retry) => {
                entry.possible_duplicates += 1;
                again(Charge::Counted, IN_DOUBT_WAIT, Duration::ZERO)
            }
            (Verdict::Again(_) | Verdict::Greylisted(_), _) if self.all_failed => {
                Consequence::Settled(RecipientState::Failed, Some(Cause::AllOrNothing))
            }
            (Verdict::Greylisted(greylisting), _) => {
                again(Charge::Counted, entry.greylisted(greylisting), Duration::ZERO)
            }
            // Nobody fits in: the next attempt would end like this one.
            (Verdict::Again(Charge::Split), _) if !self.anybody_fits => {
                if is_permanent(outcome) {
                    failed
                } else {
                    at_once(Charge::Counted)
                }
            }
            (Verdict::Again(Charge::Counted), _) => {
                again(Charge::Counted, Duration::ZERO, entry.asked_for(judgement.asked))
            }
            (Verdict::Again(charge), _) => at_once(charge),
        }
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

#[cfg(test)]
mod tests {
    use posthaste_session::reply::Reply;
    use posthaste_session::{Content, Envelope, Mailbox};

    use super::*;
    use RecipientState::{Deferred, Delivered, Failed, InDoubt};

    fn address(name: &str) -> Mailbox {
        format!("{name}@example.com").parse().unwrap()
    }

    fn ledger(recipients: &[&str]) -> Ledger {
        let paths = recipients.iter().map(|name| address(name));
        let envelope = Envelope::new(address("sender"), paths).unwrap();
        let mail = Mail::new(envelope, Content::new(&b"test\r\n"[..]).unwrap());
        Ledger::new(mail, InDoubtPolicy::Report, Time::EPOCH)
    }

    fn reply(line: &str) -> ReplyBuf {
        Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().to_owned()
    }

    fn delivered() -> Outcome {
        Outcome::Delivered(reply("250 2.0.0 ok"))
    }

    fn refused(line: &str) -> Outcome {
        Outcome::Refused(Refusal { stage: Stage::Rcpt, reply: reply(line) })
    }

    fn interrupted(stage: Stage) -> Outcome {
        Outcome::NotSent(NotSent::Interrupted(stage))
    }

    /// One attempt: to whom it goes, and what comes of it.
    #[track_caller]
    fn attempt(ledger: &mut Ledger, to: &[&str], outcomes: &[Outcome]) -> AttemptResult {
        let mail = ledger.next_attempt(Time::EPOCH).unwrap();
        let paths: Vec<_> =
            mail.envelope.forward_paths().iter().map(|path| path.as_str()).collect();
        let expected: Vec<_> = to.iter().map(|name| format!("{name}@example.com")).collect();
        assert_eq!(paths, expected);
        ledger.attempted(Time::EPOCH, outcomes)
    }

    fn charge(result: AttemptResult) -> Option<Charge> {
        result.again.map(|again| again.charge)
    }

    fn states(report: &Report) -> Vec<(RecipientState, u32)> {
        report.recipients.iter().map(|recipient| (recipient.state, recipient.attempts)).collect()
    }

    /// SCHED-06: who is settled is not in the next attempt.
    #[test]
    fn only_recipients_that_are_left_are_tried_again() {
        let mut ledger = ledger(&["a", "b", "c", "d"]);
        let outcomes =
            [delivered(), refused("450 4.2.1 busy"), refused("550 5.1.1 no"), refused("450 no")];
        let result = attempt(&mut ledger, &["a", "b", "c", "d"], &outcomes);
        assert_eq!((charge(result), result.answer), (Some(Charge::Counted), Answer::Accepted));

        let lost = [interrupted(Stage::Data), interrupted(Stage::Data)];
        let result = attempt(&mut ledger, &["b", "d"], &lost);
        let expected = Charge::Interrupted(failure::Part::Envelope);
        assert_eq!((charge(result), result.answer), (Some(expected), Answer::Nothing));

        let outcomes = [refused("450 4.2.1 busy"), delivered()];
        assert_eq!(charge(attempt(&mut ledger, &["b", "d"], &outcomes)), Some(Charge::Counted));
        assert_eq!(charge(attempt(&mut ledger, &["b"], &[Outcome::InDoubt])), None);
        assert_eq!(ledger.next_attempt(Time::EPOCH), None);

        let report = ledger.into_report();
        assert_eq!(states(&report), [(Delivered, 1), (InDoubt, 3), (Failed, 1), (Delivered, 2)]);
    }

    #[test]
    fn whoever_is_left_gets_the_cause() {
        for (cause, state) in [
            (GiveUp::AttemptsUsedUp, Failed),
            (GiveUp::Expired, Deferred),
            (GiveUp::Unreported, InDoubt),
        ] {
            let mut ledger = ledger(&["a", "b"]);
            attempt(&mut ledger, &["a", "b"], &[delivered(), refused("450 4.2.1 busy")]);
            let words = Some((Stage::Auth, reply("535 5.7.8 no")));
            let report = ledger.give_up(Time::EPOCH, cause, 4, words);
            assert_eq!(states(&report), [(Delivered, 1), (state, 4)]);
            let [_, last] = &report.recipients[..] else { panic!("two recipients") };
            assert_eq!(last.cause, Some(Cause::GivenUp(cause)));
            assert_eq!(last.reply, Some(reply("450 4.2.1 busy")), "its own, not the session's");
        }
    }

    /// AUTH-11: the words of the server about the session are those that count.
    #[test]
    fn the_servers_words_about_the_session_are_reported() {
        let mut ledger = ledger(&["a"]);
        attempt(&mut ledger, &["a"], &[refused("450 4.2.1 busy")]);
        let words = (Stage::Auth, reply("535 5.7.8 no"));
        let report = ledger.give_up(Time::EPOCH, GiveUp::Authentication, 1, Some(words.clone()));
        let recipient = &report.recipients[0];
        assert_eq!((recipient.stage, recipient.reply.clone()), (Some(words.0), Some(words.1)));
    }

    /// SCHED-11: also if the session forgets one.
    #[test]
    fn a_recipient_without_outcome_is_in_doubt() {
        let mut forgotten = ledger(&["a", "b"]);
        attempt(&mut forgotten, &["a", "b"], &[delivered()]);
        assert_eq!(states(&forgotten.into_report()), [(Delivered, 1), (InDoubt, 1)]);
        assert_eq!(states(&ledger(&["a"]).into_report()), [(InDoubt, 0)]);
    }

    #[test]
    fn all_or_nothing_ends_with_the_first_refusal_for_good() {
        let nobody = || Outcome::NotSent(NotSent::AllOrNothing);
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.mail.partial_refusal = PartialRefusal::AllOrNothing;
        let outcomes = [nobody(), refused("450 4.2.1 busy"), nobody()];
        assert_eq!(
            charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)),
            Some(Charge::Counted)
        );
        let outcomes = [nobody(), refused("450 4.2.1 busy"), refused("550 5.1.1 no")];
        assert_eq!(charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)), None);
        let report = ledger.into_report();
        let causes: Vec<_> = report.recipients.iter().map(|recipient| recipient.cause).collect();
        let others = Some(Cause::AllOrNothing);
        assert_eq!(causes, [others, others, Some(Cause::Refused)]);
    }

    /// Row 22: those who do not fit in go at once, as long as some do.
    #[test]
    fn a_mail_is_split_where_the_server_takes_fewer_recipients() {
        let full = || refused("452 4.5.3 too many recipients");
        let mut ledger = ledger(&["a", "b", "c"]);
        let outcomes = [delivered(), full(), full()];
        assert_eq!(charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)), Some(Charge::Split));
        let outcomes = [full(), full()];
        assert_eq!(charge(attempt(&mut ledger, &["b", "c"], &outcomes)), Some(Charge::Counted));
    }

    /// LIM-02, REP-20: whoever is left over pays nothing for one that is deferred, and does not wait for it either.
    #[test]
    fn only_those_who_are_deferred_pay_and_wait() {
        let limit = || Outcome::NotSent(NotSent::Limit);
        let busy = || refused("450 4.2.1 busy");
        let mut ledger = ledger(&["a", "b", "c", "d"]);
        let outcomes = [busy(), delivered(), limit(), limit()];
        let result = attempt(&mut ledger, &["a", "b", "c", "d"], &outcomes);
        assert_eq!(charge(result), Some(Charge::Unsent));
        assert_eq!(
            charge(attempt(&mut ledger, &["c", "d"], &[delivered(), limit()])),
            Some(Charge::Unsent)
        );
        assert_eq!(charge(attempt(&mut ledger, &["d"], &[busy()])), Some(Charge::Counted));
        assert_eq!(charge(attempt(&mut ledger, &["a", "d"], &[delivered(), delivered()])), None);
        let report = ledger.into_report();
        let attempts: Vec<_> = report.recipients.iter().map(|it| it.attempts).collect();
        assert_eq!(attempts, [2, 1, 1, 2]);
    }

    /// Row 23: a minute, then five.
    #[test]
    fn greylisted_recipients_wait_for_minutes() {
        let mut ledger = ledger(&["a"]);
        for expected in [65, 310, 310] {
            let again = attempt(&mut ledger, &["a"], &[refused("450 4.7.1 Greylisted")]).again;
            let (wait, asked) = (Duration::from_secs(expected), Duration::ZERO);
            assert_eq!(again, Some(Again { charge: Charge::Counted, wait, asked }));
        }
    }

    /// Q38: where the server does not say that it is greylisting, it may only be busy.
    #[test]
    fn who_seems_greylisted_waits_for_minutes_the_second_time() {
        let mut ledger = ledger(&["a"]);
        for expected in [0, 65, 310] {
            let again = attempt(&mut ledger, &["a"], &[refused("451 4.7.1 try later")]).again;
            assert_eq!(again.unwrap().wait, Duration::from_secs(expected));
        }
    }

    /// Q40: tried again although it was refused for good, and reported as refused for good. From
    /// the second time on the server has the patience that it wants.
    #[test]
    fn a_throttle_that_pretends_to_be_a_refusal_is_tried_again() {
        let mut ledger = ledger(&["a"]);
        for asked in [0, 3600, 3600] {
            let result = attempt(&mut ledger, &["a"], &[refused("550 Ip frequency limited")]);
            let asked = Duration::from_secs(asked);
            let again = Again { charge: Charge::Counted, wait: Duration::ZERO, asked };
            assert_eq!((result.again, result.answer), (Some(again), Answer::Throttled));
        }
        let report = ledger.give_up(Time::EPOCH, GiveUp::AttemptsUsedUp, 3, None);
        let [recipient] = &report.recipients[..] else { panic!("one recipient") };
        assert_eq!(recipient.reply.as_ref().unwrap().code().value(), 550);
        assert_eq!((recipient.state, recipient.attempts), (Failed, 3));
    }

    /// REP-19, Q33: 552 is about the number of recipients where some were taken, and about the
    /// mailbox where nobody was.
    #[test]
    fn a_permanent_refusal_is_split_off_only_from_others() {
        let mut ledger = ledger(&["a", "b", "c"]);
        let outcomes = [delivered(), refused("552"), refused("552 5.5.3 too many recipients")];
        assert_eq!(charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)), Some(Charge::Split));
        let outcomes = [refused("552"), refused("452")];
        assert_eq!(charge(attempt(&mut ledger, &["b", "c"], &outcomes)), Some(Charge::Counted));
        let report = ledger.give_up(Time::EPOCH, GiveUp::AttemptsUsedUp, 1, None);
        assert_eq!(states(&report)[1], (Failed, 1));
    }

    #[test]
    fn what_an_attempt_says_about_the_server() {
        let deferred = |stage| {
            let reply = reply("451 4.3.0 no");
            Outcome::Refused(Refusal { stage, reply })
        };
        for (outcome, expected) in [
            (delivered(), Answer::Accepted),
            (refused("550 5.1.1 no"), Answer::Refused),
            (refused("421 4.3.2 no"), Answer::Nothing),
            (refused("451 4.7.500 Server busy"), Answer::Throttled),
            (refused("451 too many messages in this session"), Answer::Exhausted),
            (deferred(Stage::Mail), Answer::Deferred),
            (deferred(Stage::Data), Answer::Refused),
            (Outcome::InDoubt, Answer::Nothing),
            (interrupted(Stage::Mail), Answer::Nothing),
        ] {
            let result = attempt(&mut ledger(&["a"]), &["a"], std::slice::from_ref(&outcome));
            assert_eq!(result.answer, expected, "{outcome:?}");
        }
    }

    #[test]
    fn an_unsendable_mail_fails_with_the_reason() {
        let mut ledger = ledger(&["a"]);
        assert_eq!(ledger.unsendable(Time::EPOCH, Unsendable::EightBit).again, None);
        let cause = ledger.into_report().recipients[0].cause;
        assert_eq!(cause, Some(Cause::Unsendable(Unsendable::EightBit)));
    }

    /// RTLS-02: TLS may be there again on the next connection.
    #[test]
    fn what_one_connection_cannot_take_is_tried_on_another() {
        let mut ledger = ledger(&["a", "b"]);
        attempt(&mut ledger, &["a", "b"], &[delivered(), refused("451 4.2.0 later")]);
        let again = ledger.unsendable_here(Time::EPOCH).again;
        assert_eq!(again.map(|again| again.charge), Some(Charge::Counted));
        assert_eq!(attempt(&mut ledger, &["b"], &[delivered()]).again, None);
        assert_eq!(states(&ledger.into_report()), [(Delivered, 1), (Delivered, 3)]);
    }
}
