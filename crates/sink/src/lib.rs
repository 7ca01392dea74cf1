//! A fast, scriptable SMTP and LMTP server to test and measure clients against.
//!
//! [`Sink`] listens on a socket. [`Server`] and [`Session`] are the same server without sockets,
//! tasks or clock, for simulations and fuzzers. What goes wrong is said in [fault rules](fault); what
//! is too much, in [`Limits`].

#![forbid(unsafe_code)]

pub mod command;
mod config;
mod content;
mod driver;
pub mod fault;
mod hello;
mod limits;
mod link;
mod listener;
mod mail;
mod message_id;
mod options;
mod parameters;
mod progress;
mod proxy_protocol;
mod reply;
mod seen;
mod server;
mod session;
mod socket;
mod stage;
mod stats;
mod store;
mod tls;
pub mod units;

pub use config::{
    Config, EarlyTalk, Limits, Offer, OfferError, PipeliningAfterContent, Protocol, RefusedChunk,
    TlsUse, User,
};
pub use fault::{FaultError, FaultRule};
pub use listener::Sink;
pub use mail::{Mail, OnBehalfOf, most_within};
pub use options::{Endpoint, OptionError, SinkOptions, ValueError};
pub use proxy_protocol::ProxyHeader;
pub use server::Server;
pub use session::{Close, Event, Session};
pub use stage::{Stage, UnknownStage};
pub use stats::{Connections, MessageIds, Stats, Violation};
pub use store::{StoreKind, StoreKindError};
pub use tls::Identity;
