//! How much may be ahead of the replies.

use posthaste::scheduler::PipeliningPolicy;
use posthaste::session::{Pipelining, Window};

use super::ServerError;
use crate::units::{positive, size};

/// The bounds of `stream`.
#[derive(clap::Args)]
pub(super) struct WindowArgs {
    /// With --pipeline stream, the most mails ahead of the replies on each connection, up to 1024
    /// [default: 64]
    #[arg(long, value_name = "N", value_parser = mails)]
    window: Option<u32>,
    /// With --pipeline stream, the octets of content up to which another mail goes ahead of the
    /// replies, up to 64m [default: 1m]
    #[arg(long, value_name = "SIZE", value_parser = octets)]
    window_bytes: Option<usize>,
}

impl WindowArgs {
    /// The window that goes with a mode; one that would never be used is a mistake.
    pub(super) fn window(&self, policy: PipeliningPolicy) -> Result<Window, ServerError> {
        let default = Window::default();
        let streams = policy == PipeliningPolicy::Fixed(Pipelining::Stream);
        if !streams && (self.window.is_some() || self.window_bytes.is_some()) {
            return Err(ServerError::Window);
        }
        let mails = self.mails();
        let octets = self.window_bytes.unwrap_or(default.octets());
        Ok(Window::new(mails, octets).unwrap_or(default))
    }

    pub(super) fn mails(&self) -> u32 {
        self.window.unwrap_or(Window::default().mails())
    }
}

fn mails(text: &str) -> Result<u32, String> {
    let window = Window::new(positive(text)?, Window::default().octets());
    window.map(|window| window.mails()).map_err(|error| error.to_string())
}

fn octets(text: &str) -> Result<usize, String> {
    let window = Window::new(Window::default().mails(), size(text)?);
    window.map(|window| window.octets()).map_err(|error| error.to_string())
}
