//! The tokio shell against scripted servers: on duplex streams with a paused clock, and on
//! loopback.

mod audited;
mod auth;
mod certificates;
mod deadlines;
mod dial;
mod driver;
mod dropping;
mod flights;
mod floods;
mod handle;
mod hello;
mod loss;
mod orders;
mod proxies;
mod support;
mod tls;
#[cfg(unix)]
mod unix;
mod upgrade;
