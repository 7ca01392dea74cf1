//! Postfix's `smtp-sink`: takes mail as fast as it can and throws it away.

use std::process::Command;

use nix::unistd::Uid;

use crate::installation::{Installation, library_path};
use crate::{Missing, Server};

/// Postfix's own test server, for benches. Needs no root.
#[derive(Clone, Debug, Default)]
pub struct SmtpSink {
    /// Options as in smtp-sink(1), such as `-L` for LMTP or `-q data` to drop connections.
    pub options: Vec<String>,
}

impl SmtpSink {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Missing`] where Postfix is not on this machine.
    ///
    /// # Panics
    ///
    /// When it does not start though it is there.
    pub async fn start(self) -> Result<Server, Missing> {
        let postfix = Installation::find("postfix", "usr/sbin/smtp-sink")?;
        Ok(Server::start(|_, addr| {
            let mut command = Command::new(postfix.path("usr/sbin/smtp-sink"));
            command.env_clear();
            command.env("LD_LIBRARY_PATH", library_path(&[&postfix]));
            // The kernel caps the backlog, at 4096 where nobody changed it.
            if Uid::effective().is_root() {
                command.args(["-u", "nobody"]);
            }
            command.args(&self.options).arg(addr.to_string()).arg("4096");
            command
        })
        .await)
    }
}

/// Postfix's own load generator, `smtp-source`, ready to be given its arguments.
///
/// # Errors
///
/// [`Missing`] where Postfix is not on this machine.
pub fn smtp_source() -> Result<Command, Missing> {
    let postfix = Installation::find("postfix", "usr/sbin/smtp-source")?;
    let mut command = Command::new(postfix.path("usr/sbin/smtp-source"));
    command.env_clear().env("LD_LIBRARY_PATH", library_path(&[&postfix]));
    Ok(command)
}
