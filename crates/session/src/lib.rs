//! The sans-IO SMTP client session.
#![forbid(unsafe_code)]

mod address;
mod address_error;
mod auth;
mod budget;
mod command;
mod config;
mod content;
mod credentials;
mod domain;
mod event;
mod mail;
mod options;
mod outcome;
mod sasl;
mod scrub;
mod session;
mod setup;
mod stage;
mod text;
mod tls;
mod transaction;
mod transfer;
mod transmit;
mod xclient;
mod xtext;

pub use address::{ForwardPath, MAX_LOCAL_PART, MAX_PATH, Mailbox, ReversePath};
pub use address_error::AddressError;
pub use config::{
    Chunking, Config, Entropy, LineEnds, Pipelining, Protocol, ServerName, Timeouts, TlsPolicy,
    UnknownChunking, UnknownMode, Window, WindowError,
};
pub use content::{Content, ContentError, MAX_LINE};
pub use credentials::{Credentials, CredentialsError, InitialResponse, PlaintextAuth};
pub use domain::{ClientName, Domain, MAX_DOMAIN};
pub use event::{
    AuthFailure, CloseReason, Event, Objection, PipeliningLowered, Requirement, Speaker,
    TranscriptLine, Violation,
};
pub use mail::{Envelope, EnvelopeError, MAX_RECIPIENTS, Mail, PartialRefusal, Recipient};
pub use options::{
    Authority, DeliverBy, EnvelopeId, Hold, LateDelivery, MailOptions, Notify, OptionError,
    OriginalRecipient, Parameter, Priority, RecipientOptions, ReturnContent,
};
pub use outcome::{Finished, NotSent, Outcome, Refusal, Timing, TransactionId, Unsendable};
pub use posthaste_reply as reply;
pub use sasl::{DerivedKey, KeyDerivation};
pub use session::{Session, SetupTiming, SubmitError, SubmitErrorReason};
pub use stage::Stage;
pub use tls::{ChannelBinding, ImplicitTls, TlsState};
pub use xclient::{Xclient, XclientName, XclientProtocol, XclientText};
pub use xtext::xtext;
