//! Where a mail goes, and what whoever submitted it holds in hands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::delivery::Delivery;
use super::shared::Shared;
use crate::planner::{
    Class, DestinationId, Explanation, JobId, Question, Reason, ReasonKind, TenantId,
};
use crate::report::Report;

/// Where a mail goes, for whom, and how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submission {
    /// Where to.
    pub destination: DestinationId,
    /// How urgent it is.
    pub class: Class,
    /// On whose behalf.
    pub tenant: TenantId,
    /// How long it may take; by default [`PlannerConfig::lifetime`](crate::PlannerConfig).
    pub lifetime: Option<Duration>,
}

impl Submission {
    /// To this destination, as usual.
    pub fn new(destination: DestinationId) -> Self {
        Self { destination, class: Class::default(), tenant: TenantId::DEFAULT, lifetime: None }
    }

    /// It is this urgent.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// It is sent on behalf of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = tenant;
        self
    }

    /// It is given up after this time, wherever it waits.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

impl From<DestinationId> for Submission {
    fn from(destination: DestinationId) -> Self {
        Self::new(destination)
    }
}

/// A mail that was queued: a future of its [`Report`].
///
/// # Cancel safety
///
/// Dropped, the mail goes its way, and only its report is lost; to stop it, [`cancel`](Self::cancel) it.
#[must_use = "the report comes when it is awaited"]
pub struct Ticket {
    shared: Arc<Shared>,
    jobs: Vec<JobId>,
    report: oneshot::Receiver<Delivery>,
}

impl Ticket {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: Vec<JobId>,
        report: oneshot::Receiver<Delivery>,
    ) -> Self {
        Self { shared, jobs, report }
    }

    /// Gives the mail up where it is not being sent, and lets an attempt that is under way be its last.
    /// The report says what became of it.
    pub fn cancel(&self) {
        self.shared.cancel(&self.jobs);
    }

    /// Why the mail is not moving, and until when; of a mail for many, the first batch that is not done with.
    pub fn explain(&self) -> Explanation {
        let state = self.shared.lock();
        let now = self.shared.now();
        let ask = |&job: &JobId| state.planner.explain(now, Question::Job(job));
        let is_known = |explanation: &Explanation| {
            explanation.reasons.iter().all(|reason| reason.kind != ReasonKind::Unknown)
        };
        self.jobs.iter().map(ask).find(is_known).unwrap_or_else(|| {
            let reasons = vec![Reason { kind: ReasonKind::Unknown, until: None }];
            Explanation { reasons }
        })
    }
}

impl Future for Ticket {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        match ready!(Pin::new(&mut self.report).poll(cx)) {
            Ok((report, _share)) => Poll::Ready(report),
            // Every mail is reported before its books are dropped, unless the whole runtime goes down.
            Err(_) => Poll::Pending,
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}
