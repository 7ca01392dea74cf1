//! Many mails over reused connections: who is sent what, when, and what servers bear.
//!
//! A [`Scheduler`] takes mails and gives a [`Report`] for each, with an outcome for every recipient. It
//! is two parts:
//!
//! * The [`Planner`] decides. It does no I/O and reads no clock, so that it can be simulated; see its
//!   [module](planner). A [`Ledger`] keeps the books of one mail, and [`failure`] says what follows
//!   from what.
//! * The engine obeys: a task for each connection, all of which ask the planner behind one lock.
//!
//! Mails are submitted to a *destination* with one or several *servers*, on behalf of a *tenant*, with
//! a [`Class`]; see [`Submission`]. *Limits* ([`Scheduler::add_limit`]) are rates that are never
//! exceeded. What a server bears is learned from its replies, and [`Scheduler::explain`] says why
//! something is not moving, and until when.
//!
//! ```no_run
//! use posthaste_connection::Connector;
//! use posthaste_scheduler::{
//!     Class, DestinationLimits, LimitScope, Place, Rate, Scheduler, SchedulerConfig, Submission, Unit,
//! };
//! use posthaste_session::Mail;
//!
//! # async fn example(first: Connector, second: Connector, backup: Connector, mail: Mail) {
//! let scheduler = Scheduler::new(SchedulerConfig::default(), None);
//! let limits = DestinationLimits { max_connections: 20, ..DestinationLimits::default() };
//! let [best, worse] = [0, 10].map(|preference| Place { preference, weight: 1 });
//! let servers = [(first, best), (second, best), (backup, worse)];
//! let there = scheduler.add_destination(limits, servers);
//! let rate = Rate { unit: Unit::Mails, count: 100, per: std::time::Duration::from_secs(1) };
//! scheduler.add_limit(LimitScope::Destination(there), rate);
//!
//! let ticket = scheduler.submit(Submission::new(there).class(Class::Interactive), mail).await;
//! let report = ticket.await;
//! # }
//! ```

#![forbid(unsafe_code)]

mod backoff;
mod engine;
pub mod failure;
mod ledger;
pub mod planner;
mod report;
mod time;

pub use backoff::{BackOff, RetryPolicy};
pub use engine::{
    Clock, DEFAULT_BATCH, DEFAULT_INTAKE, Observation, Observer, Scheduler, SchedulerConfig,
    SendAll, Submission, Ticket,
};
pub use ledger::{Attempt, Freshness, InDoubtPolicy, Ledger};
pub use planner::{
    Action, Again, Answer, AttemptResult, Cancelled, Class, ConnectionId, DestinationId,
    DestinationLimits, DestinationStatus, Ending, Exhausted, Explanation, Fault, GiveUp, Hold,
    JobId, LimitId, LimitScope, NewJob, PipeliningPolicy, Place, Planner, PlannerConfig, Pull,
    Question, Rate, Reason, ReasonKind, Record, ServerId, ServerState, ServerStatus, TenantId,
    Unit,
};
pub use report::{Cause, RecipientReport, RecipientState, Report, ReportTiming, Trouble};
pub use time::Time;
