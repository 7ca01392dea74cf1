//! `posthaste probe`: what a server offers, without a mail.

mod certificate;
mod dialogue;
mod finding;
mod report;

use std::io::{self, Write as _};
use std::time::Duration;

use posthaste::connection::{Connector, Security};
use posthaste::session::{Config, Timeouts, TlsPolicy};

use self::dialogue::{Heard, listen};
use self::finding::{Finding, Findings, Status, TlsPlan};
use self::report::ProbeReport;
use crate::exit::Exit;
use crate::server::{Connectors, ServerArgs, ServerError, Target};

/// How long a reply may take where nothing else is asked for: somebody sits and waits.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at a server: greeting, extensions, TLS, certificate, authentication, limits. Sends no mail
#[derive(clap::Args)]
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
    let Connectors { user, anybody, verification } = args.shared.connectors(&target, timeouts)?;

    let plan = plan(&user);
    let heard = look(&anybody, args.verbose).await;
    // Credentials go to nobody but who the settings say.
    let auth = match (&user.config().credentials, heard.is_ready) {
        (Some(_), true) => Finding::auth(&listen(&user, args.verbose, |_| ()).await),
        (Some(_), false) => Finding::bare(Status::NotReached),
        (None, _) => Finding::bare(Status::NotTried),
    };
    if let Some(sink) = target.sink {
        sink.kill().await;
    }

    let findings = Findings::of(&heard, plan, verification, auth);
    let has_tls = heard.info.as_ref().is_some_and(|info| info.tls.is_some());
    // A handshake that was finished is refused for the certificate alone, which is demanded then.
    let demands_tls = has_tls || user.config().tls == TlsPolicy::Require;
    let exit = findings.exit(demands_tls && findings.tls.status != Status::Ok);
    let report = ProbeReport::new(user.server(), &heard, findings);
    let text = if args.json { report.to_json() } else { report.to_string() };
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ProbeError::Output(error)),
        _ => Ok(exit),
    }
}

/// Looks at everything there is. Nothing secret is said here.
async fn look(anybody: &Connector, verbosity: u8) -> Heard {
    let say_nothing = |config: &mut Config, tls| {
        config.credentials = None;
        config.xclient = None;
        if config.tls != TlsPolicy::Off {
            config.tls = tls;
        }
    };
    let mut heard = listen(anybody, verbosity, |config| say_nothing(config, TlsPolicy::May)).await;
    if heard.info.as_ref().is_some_and(|info| info.tls_given_up.is_some()) {
        // Why a handshake failed is told only to those who insist on it.
        let insist = |config: &mut Config| say_nothing(config, TlsPolicy::Require);
        heard.error = listen(anybody, verbosity, insist).await.error;
    }
    heard
}

fn plan(connector: &Connector) -> TlsPlan {
    match (connector.server().security(), connector.config().tls) {
        (Security::Implicit, _) => TlsPlan::Implicit,
        (Security::StartTls, TlsPolicy::Off) => TlsPlan::Off,
        (Security::StartTls, TlsPolicy::May | TlsPolicy::Require) => TlsPlan::StartTls,
    }
}
