//! The flags by which others follow a command: events in a file, metrics over HTTP.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste::{Mailer, MailerBuilder, Transcript};

use crate::events::{self, EventLog};
use crate::exit::Exit;
use crate::metrics::{self, Exposition};

/// Who else may follow what happens.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ObserveArgs {
    /// Write a line of JSON for each attempt, outcome, connection and change of the server's state;
    /// - for standard output
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Serve metrics for Prometheus over HTTP, on 127.0.0.1 unless ADDR says otherwise
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = metrics::address)]
    metrics_listen: Option<SocketAddr>,
}

/// Why nobody can follow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error("--events and {0} cannot both be standard output")]
    SameOutput(&'static str),
    #[error("cannot write to {}", .0.display())]
    Events(PathBuf, #[source] io::Error),
    #[error("cannot serve metrics on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

impl ObserveError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::SameOutput(_) => Exit::Usage,
            Self::Events(..) => Exit::NoOutput,
            Self::Listen(..) => Exit::BadConfig,
        }
    }
}

/// Those who follow, before there is anything to be followed.
pub(crate) struct Observers {
    events: Option<(PathBuf, EventLog)>,
    exposition: Option<Exposition>,
}

impl ObserveArgs {
    /// Whether events go to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        self.events.as_deref().is_some_and(is_stdout)
    }

    /// Refuses two kinds of lines on one standard output: that of events and of `flag`, whose file is
    /// `path`.
    pub(crate) fn check(
        &self,
        flag: &'static str,
        path: Option<&Path>,
    ) -> Result<(), ObserveError> {
        match path {
            Some(path) if self.is_stdout() && is_stdout(path) => {
                Err(ObserveError::SameOutput(flag))
            }
            _ => Ok(()),
        }
    }

    /// Opens what is to be written, and lets it observe.
    pub(crate) async fn open(
        &self,
        mut mailer: MailerBuilder,
    ) -> Result<(MailerBuilder, Observers), ObserveError> {
        let mut observers = Observers { events: None, exposition: None };
        if let Some(path) = &self.events {
            let fail = |error| ObserveError::Events(path.clone(), error);
            let out = events::open(path).map_err(fail)?;
            let stream;
            (mailer, stream) = mailer.events(events::KEPT);
            let log = EventLog::start(stream, out).map_err(fail)?;
            observers.events = Some((path.clone(), log));
        }
        if let Some(address) = self.metrics_listen {
            let exposition = Exposition::listen(address).await;
            let exposition = exposition.map_err(|error| ObserveError::Listen(address, error))?;
            mailer = mailer.observer(Arc::clone(exposition.metrics()) as _, Transcript::Off);
            observers.exposition = Some(exposition);
        }
        Ok((mailer, observers))
    }
}

impl Observers {
    /// From now on there is something to be seen.
    pub(crate) fn start(&mut self, mailer: &Mailer) {
        if let Some(exposition) = &mut self.exposition {
            exposition.start(mailer.clone());
        }
    }

    /// Writes what is not written yet.
    pub(crate) async fn finish(self) -> Result<(), ObserveError> {
        let Some((path, log)) = self.events else { return Ok(()) };
        log.finish().await.map_err(|error| ObserveError::Events(path, error))
    }
}

/// Whether a file is meant to be standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}
