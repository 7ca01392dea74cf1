//! The mails of a simulation: their books, and what servers know of them.

use posthaste_scheduler::{InDoubtPolicy, JobId, Ledger, RecipientState, Report, Time};
use posthaste_session::{Content, Envelope, Mail, Mailbox, Outcome};

/// Every mail, by its number, in the order of submission.
#[derive(Debug, Default)]
pub(super) struct Mails {
    open: Vec<Option<Open>>,
    /// Number of the mail by [`JobId::index`].
    by_job: Vec<Option<(JobId, usize)>>,
    pub(super) closed: Vec<Closed>,
}

#[derive(Debug)]
struct Open {
    ledger: Ledger,
    /// How often a server took it, by recipient.
    taken: Vec<u32>,
    trouble: Interruptions,
}

/// How often a mail's connection ended under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Before its end of content.
    pub before_end: u32,
    /// Behind it.
    pub behind_end: u32,
}

/// A mail that is done with.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Its place in the order of submission.
    pub number: usize,
    /// What the scheduler says.
    pub report: Report,
    /// What the server says: how often it took the mail, by recipient.
    pub taken: Vec<u32>,
    /// How often the line broke.
    pub interruptions: Interruptions,
}

impl Mails {
    pub(super) fn prepare(
        now: Time,
        number: usize,
        recipients: usize,
        in_doubt: InDoubtPolicy,
    ) -> Ledger {
        let paths = (0..recipients).map(|at| -> Mailbox {
            format!("r{at}.{number}@example.com").parse().expect("a mailbox")
        });
        let from: Mailbox = "sender@example.org".parse().expect("a mailbox");
        let envelope = Envelope::new(from, paths).expect("at least one recipient");
        let content =
            Content::new(&b"Subject: test\r\n\r\ntest\r\n"[..]).expect("lines end in CRLF");
        Ledger::new(Mail::new(envelope, content), in_doubt, now)
    }

    pub(super) fn total(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closed.len() == self.open.len()
    }

    pub(super) fn enter(&mut self, job: JobId, ledger: Ledger) {
        let number = self.open.len();
        let taken = vec![0; ledger.remaining().len()];
        self.open.push(Some(Open { ledger, taken, trouble: Interruptions::default() }));
        if self.by_job.len() <= job.index() {
            self.by_job.resize(job.index() + 1, None);
        }
        self.by_job[job.index()] = Some((job, number));
    }

    pub(super) fn number(&self, job: JobId) -> usize {
        match self.by_job[job.index()] {
            Some((present, number)) if present == job => number,
            _ => panic!("{job:?} is not known, or was done with before"),
        }
    }

    pub(super) fn ledger(&mut self, job: JobId) -> &mut Ledger {
        &mut self.find(job).ledger
    }

    /// The server took the mail for some of the recipients that are left.
    pub(super) fn take(&mut self, job: JobId, outcomes: &[Outcome], in_doubt_is_taken: bool) {
        let number = self.number(job);
        let Some(open) = &mut self.open[number] else { panic!("mail {number} is closed") };
        let left = open.ledger.remaining();
        assert_eq!(left.len(), outcomes.len(), "one outcome for each recipient of the attempt");
        for (&at, outcome) in left.iter().zip(outcomes) {
            let is_taken = match outcome {
                Outcome::Delivered(_) => true,
                Outcome::InDoubt => in_doubt_is_taken,
                Outcome::Refused(_) | Outcome::NotSent(_) => false,
            };
            open.taken[at as usize] += u32::from(is_taken);
        }
    }

    pub(super) fn interrupt(&mut self, job: JobId, behind_end: bool) {
        let trouble = &mut self.find(job).trouble;
        if behind_end {
            trouble.behind_end += 1;
        } else {
            trouble.before_end += 1;
        }
    }

    pub(super) fn close(&mut self, job: JobId, report: impl FnOnce(Ledger) -> Report) {
        let number = self.number(job);
        let Some(open) = self.open[number].take() else { panic!("mail {number} ends twice") };
        self.by_job[job.index()] = None;
        let report = report(open.ledger);
        let closed = Closed { number, report, taken: open.taken, interruptions: open.trouble };
        closed.check();
        self.closed.push(closed);
    }

    fn find(&mut self, job: JobId) -> &mut Open {
        let number = self.number(job);
        self.open[number].as_mut().unwrap_or_else(|| panic!("mail {number} is closed"))
    }
}

impl Closed {
    /// What the report says is what the server knows.
    fn check(&self) {
        assert_eq!(self.report.recipients.len(), self.taken.len(), "each recipient once");
        for (recipient, &taken) in self.report.recipients.iter().zip(&self.taken) {
            // Only who was in doubt before, and sent again all the same, may have it twice.
            let in_doubt_before = self.interruptions.behind_end > 0;
            let expected = match recipient.state {
                RecipientState::Delivered if in_doubt_before => taken >= 1,
                RecipientState::Delivered => taken == 1,
                RecipientState::InDoubt => taken <= 1,
                RecipientState::Failed | RecipientState::Deferred => taken == 0 || in_doubt_before,
            };
            assert!(expected, "mail {}: taken {taken} times: {recipient:?}", self.number);
        }
    }
}
