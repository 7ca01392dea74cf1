//! **Posthaste** gets mails accepted by mail servers, as fast as protocol and servers allow, and says for every
//! recipient what happened.
//!
//! [`Mailer`] is all that most programs need. The layers below it can be used alone:
//!
//! | module | what for |
//! |---|---|
//! | [`scheduler`] | many mails over reused connections, to one or many destinations; learns what servers bear |
//! | [`connection`] | one connection: dial, TLS, drive a session |
//! | [`session`] | the protocol without I/O: addresses, envelopes, pipelining, outcomes |
//! | [`reply`] | bytes to replies |
//!
//! # Features
//!
//! | feature | what for |
//! |---|---|
//! | `compose` (default) | composing mails from parts |
//! | `ring` (default) | the cryptography that is used where nobody chooses another one |
//! | `aws-lc-rs` | the same, where `ring` is not there |
//! | `platform-verifier` | certificates can be verified as the operating system does it |
//! | `socks5` | connections by way of a SOCKS5 proxy |
//! | `metrics` | counters and histograms for Prometheus and others, see `metrics` |
//! | `serde` | [`events`] can be serialized |
//!
//! # Bulk mail
//!
//! ```no_run
#![doc = include_str!("../examples/bulk.rs")]
//! ```
//!
//! # Several servers, rates, tenants, events
//!
//! The servers of a [`Mailer`] are one *destination*: mails go to whichever works, is preferred and has
//! room. What each of them bears (connections, mails a connection, recipients a mail, mails a second)
//! is learned while sending, and [`Mailer::explain`] says why nothing moves.
//!
//! ```no_run
#![doc = include_str!("../examples/shares.rs")]
//! ```
//!
//! For several destinations, each with servers, limits and rates of its own, there is
//! [`scheduler::Scheduler`].
#![forbid(unsafe_code)]

#[cfg(feature = "compose")]
pub mod compose;
pub mod events;
mod mailer;
#[cfg(feature = "metrics")]
pub mod metrics;
mod observers;
mod url;

pub use mailer::{Mailer, MailerBuilder, ServerView, SetupError, Transcript};
pub use posthaste_connection as connection;
pub use posthaste_reply as reply;
pub use posthaste_scheduler as scheduler;
pub use posthaste_scheduler::{
    Cause, Class, Place, Rate, RecipientReport, RecipientState, Report, Submission, TenantId,
    Ticket,
};
pub use posthaste_session as session;
pub use posthaste_session::{Content, Envelope, ForwardPath, Mail, Mailbox, ReversePath};
pub use url::{ServerUrl, UrlError};
