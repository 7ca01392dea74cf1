//! The mails of a simulation: their books, and what servers know of them.

use posthaste_scheduler::{
    ConnectionId, InDoubtPolicy, JobId, Ledger, NewJob, RecipientState, Report, Time,
};
use posthaste_session::{Content, Envelope, Mail, Mailbox, Outcome};

/// Every mail, by its number, in the order of submission.
#[derive(Debug, Default)]
pub(super) struct Mails {
    open: Vec<Option<Box<Open>>>,
    /// Number of the mail by [`JobId::index`].
    by_job: Vec<Option<(JobId, usize)>>,
    /// One mail for each number of recipients.
    prototypes: Vec<Option<Mail>>,
    /// Reports that were wanted.
    pub(super) closed: Vec<Closed>,
    pub(super) totals: Totals,
}

/// A mail that is not done with.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) job: JobId,
    pub(super) new: NewJob,
    pub(super) ledger: Ledger,
    pub(super) place: Place,
    /// A server greylisted it, and it goes to that one again.
    pub(super) is_bound: bool,
    first: Person,
    /// None, most of the time.
    others: Vec<Person>,
    trouble: Interruptions,
}

/// Where a job is, as far as the planner said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its queue, or waiting until a time.
    Waits { due: Time },
    /// With a connection.
    Goes(ConnectionId),
}

/// What servers know of a recipient.
#[derive(Clone, Copy, Debug, Default)]
struct Person {
    /// How often one took the mail.
    taken: u16,
    /// How often one had something against this recipient or this mail.
    objections: u16,
    /// It was refused once for no reason that was said.
    has_wondered: bool,
}

/// How often a mail did not get through for a reason that is not its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Its connection ended before its end of content.
    pub before_end: u32,
    /// Those of them within content.
    pub in_content: u32,
    /// Its connection ended behind it.
    pub behind_end: u32,
    /// The server had enough of something, for now.
    pub turned_away: u32,
}

/// A mail that is done with.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Its place in the order of submission.
    pub number: usize,
    /// As it was submitted.
    pub new: NewJob,
    /// What the scheduler says.
    pub report: Report,
    /// What the servers say: how often they took the mail, by recipient.
    pub taken: Vec<u16>,
    /// How often the line broke.
    pub interruptions: Interruptions,
}

/// What became of recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mails that are done with.
    pub mails: usize,
    /// Recipients who have the mail.
    pub delivered: usize,
    /// Who will never have it.
    pub failed: usize,
    /// Who do not have it.
    pub deferred: usize,
    /// Of whom nobody knows.
    pub in_doubt: usize,
}

/// What an attempt did to the recipients who were in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What was said was about the mail or its recipients.
    Own,
    /// The server had enough.
    Servers,
    /// The server had enough, and did not say so: who hears it twice has to believe it.
    Unsaid,
}

impl Mails {
    pub(super) fn prepare(
        &mut self,
        now: Time,
        recipients: usize,
        in_doubt: InDoubtPolicy,
    ) -> Ledger {
        if self.prototypes.len() <= recipients {
            self.prototypes.resize_with(recipients + 1, || None);
        }
        let prototype = self.prototypes[recipients].get_or_insert_with(|| prototype(recipients));
        Ledger::new(prototype.clone(), in_doubt, now)
    }

    pub(super) fn total(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.totals.mails == self.open.len()
    }

    /// A mail is submitted.
    pub(super) fn enter(&mut self, job: JobId, new: NewJob, ledger: Ledger) -> usize {
        let number = self.open.len();
        let first = Person::default();
        let others = vec![first; new.recipients as usize - 1];
        let place = Place::Waits { due: Time::EPOCH };
        let trouble = Interruptions::default();
        self.open.push(Some(Box::new(Open {
            job,
            new,
            ledger,
            place,
            is_bound: false,
            first,
            others,
            trouble,
        })));
        self.know(job, number);
        number
    }

    /// A mail is submitted again, to another planner.
    pub(super) fn enter_again(&mut self, number: usize, job: JobId, new: NewJob) {
        let Some(open) = &mut self.open[number] else { panic!("mail {number} is closed") };
        open.place = Place::Waits { due: Time::EPOCH };
        (open.job, open.new, open.is_bound) = (job, new, false);
        self.know(job, number);
    }

    fn know(&mut self, job: JobId, number: usize) {
        if self.by_job.len() <= job.index() {
            self.by_job.resize(job.index() + 1, None);
        }
        self.by_job[job.index()] = Some((job, number));
    }

    pub(super) fn forget_jobs(&mut self) {
        self.by_job.clear();
    }

    pub(super) fn number(&self, job: JobId) -> usize {
        self.find_number(job)
            .unwrap_or_else(|| panic!("{job:?} is not known, or was done with before"))
    }

    pub(super) fn find_number(&self, job: JobId) -> Option<usize> {
        let (present, number) = (*self.by_job.get(job.index())?)?;
        (present == job).then_some(number)
    }

    /// A mail that is not done with.
    pub(super) fn open(&self, number: usize) -> Option<&Open> {
        self.open.get(number)?.as_deref()
    }

    /// All that are not done with.
    pub(super) fn all_open(&self) -> impl Iterator<Item = (usize, &Open)> {
        self.open.iter().enumerate().filter_map(|(number, open)| Some((number, open.as_deref()?)))
    }

    pub(super) fn find(&mut self, job: JobId) -> &mut Open {
        let number = self.number(job);
        self.open[number].as_mut().unwrap_or_else(|| panic!("mail {number} is closed"))
    }

    pub(super) fn interrupt(&mut self, job: JobId, kind: impl FnOnce(&mut Interruptions)) {
        kind(&mut self.find(job).trouble);
    }

    pub(super) fn close(&mut self, job: JobId, keep: bool, report: impl FnOnce(Ledger) -> Report) {
        let number = self.number(job);
        let Some(open) = self.open[number].take() else { panic!("mail {number} ends twice") };
        self.by_job[job.index()] = None;
        let Open { new, ledger, first, others, trouble, .. } = *open;
        let people = || std::iter::once(&first).chain(&others);
        let report = report(ledger);
        check(number, &report, people(), trouble);
        self.totals.mails += 1;
        for recipient in &report.recipients {
            *self.totals.of(recipient.state) += 1;
        }
        if keep {
            let taken = people().map(|person| person.taken).collect();
            self.closed.push(Closed { number, new, report, taken, interruptions: trouble });
        }
    }
}

impl Open {
    /// What came of an attempt, for the first of those who were left before it.
    pub(super) fn hear(&mut self, outcomes: &[Outcome], fault: Fault, in_doubt_is_taken: bool) {
        let Self { ledger, first, others, .. } = self;
        for (&at, outcome) in ledger.remaining().iter().zip(outcomes) {
            let person = match at.checked_sub(1) {
                Some(at) => &mut others[at as usize],
                None => &mut *first,
            };
            match outcome {
                Outcome::Delivered(_) => person.taken += 1,
                Outcome::InDoubt => person.taken += u16::from(in_doubt_is_taken),
                Outcome::Refused(_) => {
                    let is_own = match fault {
                        Fault::Own => true,
                        Fault::Servers => false,
                        Fault::Unsaid => std::mem::replace(&mut person.has_wondered, true),
                    };
                    person.objections += u16::from(is_own);
                }
                Outcome::NotSent(_) => {}
            }
        }
        self.trouble.turned_away += u32::from(fault != Fault::Own);
    }
}

impl Totals {
    fn of(&mut self, state: RecipientState) -> &mut usize {
        match state {
            RecipientState::Delivered => &mut self.delivered,
            RecipientState::Failed => &mut self.failed,
            RecipientState::Deferred => &mut self.deferred,
            RecipientState::InDoubt => &mut self.in_doubt,
        }
    }

    /// All recipients.
    pub fn recipients(&self) -> usize {
        self.delivered + self.failed + self.deferred + self.in_doubt
    }
}

/// What the report says is what the servers know, and no attempt was burnt that was not the mail's own.
fn check<'a>(
    number: usize,
    report: &Report,
    people: impl Iterator<Item = &'a Person> + Clone,
    trouble: Interruptions,
) {
    assert_eq!(report.recipients.len(), people.clone().count(), "each recipient once");
    // A mail that ends its connection again and again is a suspect, see scheduler.md row 31.
    let suspicions = trouble.in_content.saturating_sub(1)
        + (trouble.before_end - trouble.in_content + trouble.turned_away).saturating_sub(FREE);
    for (recipient, person) in report.recipients.iter().zip(people) {
        let taken = person.taken;
        // Only who was in doubt before, and sent again all the same, may have it twice.
        let in_doubt_before = trouble.behind_end > 0;
        let expected = match recipient.state {
            RecipientState::Delivered if in_doubt_before => taken >= 1,
            RecipientState::Delivered => taken == 1,
            RecipientState::InDoubt => taken <= 1,
            RecipientState::Failed | RecipientState::Deferred => taken == 0 || in_doubt_before,
        };
        assert!(expected, "mail {number}: taken {taken} times: {recipient:?}");
        let own = u32::from(person.objections) + trouble.behind_end + suspicions;
        let most = own + u32::from(recipient.state == RecipientState::Delivered);
        assert!(
            recipient.attempts <= most,
            "mail {number} pays for its server: {recipient:?} {person:?} {trouble:?}"
        );
    }
}

fn prototype(recipients: usize) -> Mail {
    let paths = (0..recipients)
        .map(|at| -> Mailbox { format!("r{at}@example.com").parse().expect("a mailbox") });
    let from: Mailbox = "sender@example.org".parse().expect("a mailbox");
    let envelope = Envelope::new(from, paths).expect("at least one recipient");
    let content = Content::new(&b"Subject: test\r\n\r\ntest\r\n"[..]).expect("lines end in CRLF");
    Mail::new(envelope, content)
}

/// How often a server may turn a mail away before the mail is held to be the reason.
const FREE: u32 = 10;
