//! Times and counts, taken while mails are on their way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use posthaste::connection::Info;
use posthaste::scheduler::GiveUp;
use posthaste::session::{Finished, Session};
use posthaste::{Cause, RecipientReport, RecipientState, Report};

use crate::watch::Samples;

/// Times are kept in microseconds up to an hour, to three digits.
const LONGEST: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// Most different replies that are told apart; the rest is counted together.
const MAX_REPLIES: usize = 200;

/// All that is measured. Reports and sessions come in different tasks, which would wait for each other.
#[derive(Debug, Default)]
pub(super) struct Measure {
    reports: Mutex<Reports>,
    sessions: Mutex<Sessions>,
}

/// What sessions have shown so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    pub(super) service: Times,
    pub(super) stages: Stages,
}

/// What reports have told so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    pub(super) counts: Counts,
    pub(super) response: Times,
    pub(super) wait: Times,
    /// Whether the server refused the credentials, or lacks what is required of it.
    pub(super) is_denied: bool,
    /// Code, enhanced code and words of final outcomes.
    pub(super) replies: BTreeMap<String, u64>,
}

/// Whether there is a server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    Yes,
    /// It is not there, or will not serve.
    No,
}

/// Recipients by outcome.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) accepted: u64,
    pub(super) deferred: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) in_doubt: u64,
}

/// Where the time goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    pub(super) connect: Times,
    pub(super) tls: Times,
    pub(super) greeting: Times,
    pub(super) ehlo: Times,
    pub(super) auth: Times,
    pub(super) envelope: Times,
    pub(super) data: Times,
    pub(super) finish: Times,
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // The bounds are constant and in order.
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).unwrap_or_else(|_| unreachable!()))
    }
}

impl Times {
    fn take(&mut self, time: Duration) {
        // Longer ones count as the longest, which is far below what does not fit.
        let micros =
            time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into());
        self.0.saturating_record(micros.clamp(1, LONGEST));
    }

    fn take_between(&mut self, from: Option<Instant>, to: Option<Instant>) {
        if let (Some(from), Some(to)) = (from, to) {
            self.take(to.saturating_duration_since(from));
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In microseconds.
    pub(super) fn percentile(&self, percentile: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_percentile(percentile) }
    }

    /// In microseconds.
    pub(super) fn max(&self) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.max() }
    }
}

impl Measure {
    pub(super) fn told(&self) -> Reports {
        self.reports.lock().map(|told| told.clone()).unwrap_or_default()
    }

    pub(super) fn shown(&self) -> Sessions {
        self.sessions.lock().map(|shown| shown.clone()).unwrap_or_default()
    }

    /// Mails are done with.
    pub(super) fn reports<'a>(&self, reports: impl Iterator<Item = &'a Report>) -> Serving {
        let Ok(mut told) = self.reports.lock() else { return Serving::Yes };
        let mut serving = Serving::Yes;
        for report in reports {
            if told.report(report) == Serving::No {
                serving = Serving::No;
            }
        }
        serving
    }
}

impl Reports {
    fn report(&mut self, report: &Report) -> Serving {
        self.response.take(report.timing.total());
        self.wait.take(report.timing.queued());
        for recipient in &report.recipients {
            self.count(recipient);
        }
        match report.recipients.first().and_then(|recipient| recipient.cause) {
            Some(Cause::GivenUp(GiveUp::Authentication | GiveUp::Requirement)) => {
                self.is_denied = true;
                Serving::No
            }
            Some(Cause::GivenUp(GiveUp::ServerExhausted | GiveUp::Unwelcome)) => Serving::No,
            _ => Serving::Yes,
        }
    }

    fn count(&mut self, recipient: &RecipientReport) {
        let counts = &mut self.counts;
        counts.offered += 1;
        match (recipient.state, recipient.cause) {
            (RecipientState::Delivered, _) => counts.accepted += 1,
            (RecipientState::InDoubt, _) => counts.in_doubt += 1,
            (RecipientState::Deferred, _) => counts.deferred += 1,
            // With one attempt each, attempts used up are what the server deferred.
            (RecipientState::Failed, Some(Cause::GivenUp(GiveUp::AttemptsUsedUp))) => {
                counts.deferred += 1
            }
            (RecipientState::Failed, Some(Cause::Refused | Cause::AllOrNothing)) => {
                counts.rejected += 1
            }
            (RecipientState::Failed, _) => counts.failed += 1,
        }
        if recipient.state == RecipientState::Delivered {
            return;
        }
        let words = match (&recipient.reply, recipient.cause) {
            (Some(reply), _) => {
                let enhanced = reply.enhanced().map(|e| format!(" {e}")).unwrap_or_default();
                format!("{}{enhanced} {}", reply.code(), reply.text())
            }
            (None, cause) => cause.map_or("no reply", Cause::as_str).to_owned(),
        };
        let is_told_apart = self.replies.contains_key(&words) || self.replies.len() < MAX_REPLIES;
        *self.replies.entry(if is_told_apart { words } else { "other".to_owned() }).or_default() +=
            1;
    }
}

impl Samples for Arc<Measure> {
    fn ready(&self, info: &Info, session: &Session) {
        let Ok(mut shown) = self.sessions.lock() else { return };
        let (stages, setup) = (&mut shown.stages, session.setup_timing());
        stages.connect.take(info.connect_time);
        if let Some(tls) = &info.tls {
            stages.tls.take(tls.time);
        }
        stages.greeting.take_between(Some(setup.started), setup.greeted);
        stages.ehlo.take_between(setup.hello, setup.introduced);
        stages.auth.take_between(setup.introduced, setup.ready);
    }

    fn attempted(&self, finished: &Finished) {
        let Ok(mut shown) = self.sessions.lock() else { return };
        let timing = &finished.timing;
        shown.service.take_between(timing.mail, timing.finished);
        shown.stages.envelope.take_between(timing.mail, timing.data);
        shown.stages.data.take_between(timing.data, timing.content);
        shown.stages.finish.take_between(timing.content, timing.finished);
    }
}
