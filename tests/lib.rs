//! Real mail servers for tests and benches: Postfix, Exim, Dovecot and what else `tests/run` fetches.
//!
//! A server is described by a value with defaults and started by its `start`; what comes back is
//! the same [`Server`] for all of them. It has its own folder, configuration, queue and log, listens
//! on a free loopback address, and is gone when the value is dropped:
//!
//! ```no_run
//! # async fn example() {
//! use posthaste_tests::{Postfix, Tls, or_skip};
//!
//! let server = or_skip!(Postfix { tls: Tls::Starttls, ..Postfix::default() }.start().await);
//! // … deliver a mail to `server.addr`, trusting `server.ca_pem` …
//! let mails = server.maildir.wait_for(1).await;
//! assert_eq!(mails[0].recipient, "someone@example.test");
//! # }
//! ```
//!
//! Every recipient at every domain is accepted and lands in the one Maildir. To have some refused,
//! or limits that bite, add lines to the server's own configuration ([`Postfix::main_cf`],
//! [`Exim::main`], [`Exim::acl_rcpt`]). [`Dovecot`] knows its users and has a Maildir for each.
//!
//! A server that is not on this machine is [`Missing`]: [`or_skip!`] then ends the test and says so
//! loudly. `tests/run` fetches the servers and lists at its end what did not run.
//!
//! A test that would take minutes is shorter, and says so in the same list, unless `POSTHASTE_SLOW=1`.
#![forbid(unsafe_code)]

pub use crate::maildir::{Delivered, Maildir};
pub use crate::server::{Auth, Delivery, HOSTNAME, Missing, PASSWORD, Server, Tls, USER};
pub use crate::servers::dovecot::Dovecot;
pub use crate::servers::exim::Exim;
pub use crate::servers::postfix::Postfix;
pub use crate::servers::smtp_sink::{SmtpSink, smtp_source};
pub use crate::wait::wait_until;

#[doc(hidden)]
pub mod skip;

mod installation;
mod maildir;
mod process;
mod server;
mod servers;
mod tls;
mod wait;
