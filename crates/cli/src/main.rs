//! The `posthaste` command.
#![forbid(unsafe_code)]

mod bench;
mod events;
mod exit;
mod input;
mod metrics;
mod observe;
mod open_files;
mod outcome;
mod probe;
mod progress;
mod reply;
mod requests;
mod send;
mod server;
mod sink;
mod standing;
mod stop;
mod summary;
mod units;
mod watch;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use exit::Exit;
// Takes the place of malloc: a mail is made by one thread and freed by another, which the system's does under a lock.
#[cfg(target_os = "linux")]
use mimalloc as _;

/// Gets mails accepted by mail servers, as fast as protocol and servers allow, and says for every recipient what
/// happened.
#[derive(Parser)]
#[command(name = "posthaste", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Send(Box<send::SendArgs>),
    Bench(Box<bench::BenchArgs>),
    Sink(Box<sink::SinkArgs>),
    Probe(Box<probe::ProbeArgs>),
    Reply(reply::ReplyArgs),
}

fn main() -> ExitCode {
    let command =
        Cli::command().after_help(Exit::help()).mut_subcommands(|it| it.after_help(Exit::help()));
    let cli = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    open_files::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Internal),
    };
    // On a worker, so that reports need not wake another thread.
    let exit = runtime.block_on(async { tokio::spawn(run(cli.command)).await });
    // Threads that wait for input must not hold up the end.
    runtime.shutdown_background();
    exit.unwrap_or_else(|panic| fail(&panic, Exit::Internal))
}

async fn run(command: Command) -> ExitCode {
    match &command {
        Command::Send(args) => match send::run(args).await {
            Ok(exit) => exit.into(),
            Err(error) => fail(&error, error.exit()),
        },
        Command::Bench(args) => match bench::run(args).await {
            Ok(exit) => exit.into(),
            Err(error) => fail(&error, error.exit()),
        },
        Command::Sink(args) => sink::run(args).await.into(),
        Command::Probe(args) => match probe::run(args).await {
            Ok(exit) => exit.into(),
            Err(error) => fail(&error, error.exit()),
        },
        Command::Reply(args) => match reply::run(args) {
            Ok(exit) => exit.into(),
            Err(error) => fail(&error, error.exit()),
        },
    }
}

/// Help and version are a success; anything else is the user's mistake.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that has gone away needs no help.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}

fn fail(error: &(dyn std::error::Error + 'static), exit: Exit) -> ExitCode {
    summary::tell(&format!("posthaste: {}", watch::chain(error)));
    exit.into()
}
