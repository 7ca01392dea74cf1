//! `posthaste probe`: what a server offers, without a mail.

mod certificate;
mod dialogue;
mod finding;
mod report;

use std::io::{self, Write as _};
use std::time::Duration;

use posthaste::connection::{Connector, Security};
use posthaste::session::{Timeouts, TlsPolicy};

use self::dialogue::listen;
use self::finding::{Finding, Findings, Status, TlsPlan};
use self::report::ProbeReport;
use crate::exit::Exit;
use crate::server::{ServerArgs, ServerError, Target};

/// How long a reply may take where nothing else is asked for: somebody sits and waits.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at a server: greeting, extensions, TLS, certificate, authentication, limits. Sends no mail
#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArgs {
    #[arg(value_name = "SERVER", help = crate::server::HELP)]
    server: String,

    #[command(flatten)]
    shared: ServerArgs,

    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Print what is said on standard error
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Why there is no probe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl ProbeError {
    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Server(error) => error.exit(),
            Self::Output(_) => Exit::NoOutput,
        }
    }
}

pub(crate) async fn run(args: &ProbeArgs) -> Result<Exit, ProbeError> {
    Target::check(&args.server)?;
    let target = Target::open(&args.server).await?;
    let timeouts = Timeouts::uniform(TIMEOUT);
    let anybody = args.shared.prober(&target, timeouts.clone())?;
    let user = args.shared.mailer(&target, 1, timeouts)?.connector().map_err(ServerError::from)?;

    let plan = plan(&user);
    // Nothing secret is said here, so that everything can be looked at.
    let heard = listen(&anybody, args.verbose, |config| {
        config.credentials = None;
        config.xclient = None;
        if config.tls == TlsPolicy::Require {
            config.tls = TlsPolicy::May;
        }
    });
    let heard = heard.await;
    // Credentials go to nobody but who the settings say.
    let auth = match (&user.config().credentials, heard.is_ready) {
        (Some(_), true) => Finding::auth(&listen(&user, args.verbose, |_| ()).await),
        (Some(_), false) => Finding::bare(Status::NotReached),
        (None, _) => Finding::bare(Status::NotTried),
    };
    if let Some(sink) = target.sink {
        sink.kill().await;
    }

    let findings = Findings::of(&heard, plan, auth);
    let exit = findings.exit(user.config().tls == TlsPolicy::Require);
    let report = ProbeReport::new(user.server(), &heard, findings);
    let text = if args.json { report.to_json() } else { report.to_string() };
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ProbeError::Output(error)),
        _ => Ok(exit),
    }
}

fn plan(connector: &Connector) -> TlsPlan {
    match (connector.server().security(), connector.config().tls) {
        (Security::Implicit, _) => TlsPlan::Implicit,
        (Security::StartTls, TlsPolicy::Off) => TlsPlan::Off,
        (Security::StartTls, TlsPolicy::May | TlsPolicy::Require) => TlsPlan::StartTls,
    }
}
