//! Many mails over reused connections, with a back-off per server.
//!
//! The [`Planner`] decides and does no I/O; the engine obeys. A [`Ledger`] keeps the books of one
//! mail, and [`failure`] says what follows from what.

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
pub use ledger::{InDoubtPolicy, Ledger};
pub use planner::{
    Action, Again, Answer, AttemptResult, Cancelled, Class, ConnectionId, DestinationId,
    DestinationLimits, DestinationStatus, Ending, Exhausted, Explanation, Fault, GiveUp, Hold,
    JobId, LimitId, LimitScope, NewJob, PipeliningPolicy, Place, Planner, PlannerConfig, Pull,
    Question, Rate, Reason, ReasonKind, Record, ServerId, ServerState, ServerStatus, TenantId,
    Unit,
};
pub use report::{Cause, RecipientReport, RecipientState, Report, ReportTiming, Trouble};
pub use time::Time;
