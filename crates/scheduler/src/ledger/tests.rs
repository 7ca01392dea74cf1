//! What the books say, attempt by attempt.

use std::time::Duration;

use posthaste_session::reply::Reply;
use posthaste_session::{Mailbox, NotSent, Refusal};

use super::*;
use crate::failure::{self, Charge};
use crate::planner::{Again, Answer};
use crate::report::Cause;
use crate::report::RecipientState::{self, Deferred, Delivered, Failed, InDoubt};

fn address(name: &str) -> Mailbox {
    format!("{name}@example.com").parse().unwrap()
}

fn mail(recipients: &[&str]) -> Mail {
    let paths = recipients.iter().map(|name| address(name));
    let envelope = Envelope::new(address("sender"), paths).unwrap();
    Mail::new(envelope, Content::new(&b"test\r\n"[..]).unwrap())
}

fn ledger(recipients: &[&str]) -> Ledger {
    Ledger::new(mail(recipients), InDoubtPolicy::Report, Time::EPOCH)
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
    attempt_of(u32::MAX, ledger, to, outcomes)
}

/// One attempt with so many recipients at the most.
#[track_caller]
fn attempt_of(most: u32, ledger: &mut Ledger, to: &[&str], outcomes: &[Outcome]) -> AttemptResult {
    let mail = ledger.next_attempt(most).unwrap();
    let paths: Vec<_> = mail.envelope.forward_paths().iter().map(|path| path.as_str()).collect();
    let expected: Vec<_> = to.iter().map(|name| format!("{name}@example.com")).collect();
    assert_eq!(paths, expected);
    ledger.attempted(&over(outcomes, Freshness::Fresh))
}

/// An attempt that is over.
fn over(outcomes: &[Outcome], connection: Freshness) -> Attempt {
    Attempt { started: Time::EPOCH, ended: Time::EPOCH, outcomes: outcomes.to_vec(), connection }
}

/// What is said of a mail after its last attempt.
fn closed(ledger: Ledger) -> Report {
    ledger.into_report(over(&[], Freshness::Fresh))
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
    assert_eq!(ledger.next_attempt(u32::MAX), None);

    let report = closed(ledger);
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
    assert_eq!(states(&closed(forgotten)), [(Delivered, 1), (InDoubt, 1)]);
    assert_eq!(states(&closed(ledger(&["a"]))), [(InDoubt, 0)]);
}

#[test]
fn all_or_nothing_ends_with_the_first_refusal_for_good() {
    let nobody = || Outcome::NotSent(NotSent::AllOrNothing);
    let mut mail = mail(&["a", "b", "c"]);
    mail.partial_refusal = PartialRefusal::AllOrNothing;
    let mut ledger = Ledger::new(mail, InDoubtPolicy::Report, Time::EPOCH);
    let outcomes = [nobody(), refused("450 4.2.1 busy"), nobody()];
    assert_eq!(charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)), Some(Charge::Counted));
    let outcomes = [nobody(), refused("450 4.2.1 busy"), refused("550 5.1.1 no")];
    assert_eq!(charge(attempt(&mut ledger, &["a", "b", "c"], &outcomes)), None);
    let report = closed(ledger);
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
    let report = closed(ledger);
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
        assert_eq!(again, Some(Again { charge: Charge::Counted, wait, asked, same_server: true }));
    }
}

/// Row 23: a server that says how long takes the mail then, and not much later.
#[test]
fn greylisted_recipients_wait_as_long_as_the_server_says() {
    for (line, said) in [
        ("450 4.7.1 Greylisted, try again in 2 seconds", 2),
        ("451 4.7.1 Greylisting in action, please come back in 00:10:00", 600),
    ] {
        let mut ledger = ledger(&["a"]);
        for _ in 0..2 {
            let wait = attempt(&mut ledger, &["a"], &[refused(line)]).again.unwrap().wait;
            assert_eq!(wait, Duration::from_secs(said), "{line}");
        }
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
        let again = Again { asked, ..Again::at_once(Charge::Counted) };
        assert_eq!((result.again, result.answer), (Some(again), Answer::Throttled));
    }
    let report = ledger.give_up(Time::EPOCH, GiveUp::AttemptsUsedUp, 3, None);
    let [recipient] = &report.recipients[..] else { panic!("one recipient") };
    assert_eq!(recipient.reply.as_ref().unwrap().code().value(), 550);
    assert_eq!((recipient.state, recipient.attempts), (Failed, 3));
}

/// Row 22: an attempt has no more recipients than the server is known to take; the others go next,
/// and pay nothing.
#[test]
fn an_attempt_is_bounded() {
    let mut ledger = ledger(&["a", "b", "c", "d", "e"]);
    let outcomes = [delivered(), refused("450 4.2.1 busy")];
    let result = attempt_of(2, &mut ledger, &["a", "b"], &outcomes);
    assert_eq!(charge(result), Some(Charge::Unsent));
    assert_eq!(ledger.remaining(), [2, 3, 4]);
    let outcomes = [refused("550 5.1.1 no"), Outcome::NotSent(NotSent::Limit)];
    let result = attempt_of(2, &mut ledger, &["c", "d"], &outcomes);
    assert_eq!(charge(result), Some(Charge::Unsent));
    let result = attempt_of(2, &mut ledger, &["d", "e"], &[delivered(), delivered()]);
    assert_eq!(charge(result), Some(Charge::Counted), "the second is the deferred one's turn");
    let result = attempt_of(2, &mut ledger, &["b"], &[delivered()]);
    assert_eq!(charge(result), None);
    let expected = [(Delivered, 1), (Delivered, 2), (Failed, 1), (Delivered, 1), (Delivered, 1)];
    assert_eq!(states(&closed(ledger)), expected);
}

/// ... unless nobody may have the mail before all others.
#[test]
fn a_mail_for_all_or_nobody_is_not_split() {
    let mut mail = mail(&["a", "b"]);
    mail.partial_refusal = PartialRefusal::AllOrNothing;
    let mut ledger = Ledger::new(mail, InDoubtPolicy::Report, Time::EPOCH);
    let outcomes = [delivered(), delivered()];
    assert_eq!(charge(attempt_of(1, &mut ledger, &["a", "b"], &outcomes)), None);
}

/// What waits in great numbers is small, and what is the same is there once.
#[test]
fn mails_that_wait_are_small() {
    assert_eq!(size_of::<Ledger>(), 56);
    let mut ledgers = Ledgers::default();
    let mut common =
        |mail: &Mail| match ledgers.open(mail.clone(), InDoubtPolicy::Report, Time::EPOCH).state {
            State::Fresh { common, .. } => common,
            State::Open(_) => panic!("nothing has happened"),
        };
    let (mut one, other) = (mail(&["a"]), mail(&["b"]));
    let first = common(&one);
    one.envelope = other.envelope.clone();
    assert!(Arc::ptr_eq(&common(&one), &first), "to somebody else");
    one.envelope = Envelope::new(ReversePath::Null, [address("a")]).unwrap();
    let second = common(&one);
    assert!(!Arc::ptr_eq(&second, &first), "from somebody else");
    one.content = other.content;
    assert!(Arc::ptr_eq(&common(&one), &second), "another content");
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
    let report = ledger(&["a"]).unsendable(Time::EPOCH, Unsendable::EightBit);
    let cause = report.recipients[0].cause;
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
    assert_eq!(states(&closed(ledger)), [(Delivered, 1), (Delivered, 3)]);
}

/// What its first attempt delivered is reported without having been kept.
#[test]
fn a_mail_that_is_delivered_at_once() {
    let at = |seconds| Time::EPOCH + Duration::from_secs(seconds);
    let (started, ended, outcomes) = (at(2), at(3), vec![delivered()]);
    let last = Attempt { started, ended, outcomes, connection: Freshness::Used };
    let mut one = ledger(&["a"]);
    assert!(one.next_attempt(1).is_some());
    assert_eq!(one.attempted(&last), AttemptResult::done(Answer::Accepted));
    let report = one.into_report(last);
    assert_eq!(states(&report), [(Delivered, 1)]);
    assert_eq!(report.recipients[0].reply, Some(reply("250 2.0.0 ok")));
    assert_eq!(report.timing.queued(), Duration::from_secs(2));
    assert_eq!(report.timing.total(), Duration::from_secs(3));
}
