//! SMTP replies: bytes in, typed replies out.
//!
//! None of it does I/O, reads a clock or allocates on success:
//!
//! - [`Framer`] reads replies from a buffer that grows and refuses what cannot be one;
//! - [`Reply`] is one of them: its [`ReplyCode`], its [`EnhancedStatusCode`], its lines;
//! - [`Extensions`] reads what the reply to EHLO offers.
//!
//! [`ReplyBuf`] is the owned form, for outcomes and logs.
//!
//! # Examples
//!
//! Two replies that arrived in one read:
//!
//! ```
//! use posthaste_reply::{Framer, Limits, ReplyCode};
//!
//! let mut input: &[u8] = b"250 2.1.0 Ok\r\n550 5.1.1 <bob@example.org>: no such user\r\n250 2.";
//! let mut framer = Framer::new(Limits::default());
//! let mut codes = Vec::new();
//! while let Some(reply) = framer.read(input)? {
//!     codes.push(reply.code());
//!     input = &input[reply.as_bytes().len()..];
//! }
//! assert_eq!(codes, [ReplyCode::OK, ReplyCode::MAILBOX_UNAVAILABLE]);
//! assert_eq!(input, b"250 2.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod class;
mod code;
mod enhanced;
mod extensions;
mod frame_error;
mod framer;
mod grammar;
mod keyword;
mod mechanism;
mod owned;
mod parameters;
mod reply;
mod scan;
mod text;

pub use class::{Class, Classification, SaidTo, Scope, classify};
pub use code::{InvalidReplyCode, ReplyCode, Severity};
pub use enhanced::{EnhancedStatusCode, InvalidEnhancedStatusCode};
pub use extensions::Extensions;
pub use frame_error::{FrameError, Protocol};
pub use framer::{Framer, Limits};
pub use mechanism::{AuthMechanisms, Mechanism, UnknownMechanism};
pub use owned::ReplyBuf;
pub use parameters::{DeliverBy, FutureRelease, Limits9422, Size};
pub use reply::{Lines, Reply, ReplyError};
pub use text::{Escaped, Text};
