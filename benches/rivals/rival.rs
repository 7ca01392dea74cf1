//! Who takes part: how each is started, what it can do, and which version it is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use benches::{bare, engine};
use posthaste::session::Pipelining;
use posthaste_tests::smtp_source;
use tokio::runtime;

use crate::clients;
use crate::settings::target;
use benches::load::Load;

/// A client in one of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    /// A bare loop, the content and the next envelope in one write.
    Floor,
    /// A bare loop, a window of mails by BDAT in one write.
    FloorBdat,
    /// Posthaste.
    Posthaste(Pipelining),
    /// Posthaste in `stream`, a thread and a mailer for each of two cores.
    PosthasteTwice,
    /// Postfix's own generator, keeping its connections.
    SmtpSource,
    /// lettre's pool, as it comes.
    Lettre,
    /// lettre's pool, with TCP_NODELAY forced on it from outside.
    LettreNodelay,
    /// mail-send, as it comes.
    MailSend,
    /// mail-send, handed a stream with TCP_NODELAY.
    MailSendNodelay,
    /// async-smtp with PIPELINING, handed a stream with TCP_NODELAY.
    AsyncSmtp,
    /// Go's net/smtp, a connection a goroutine.
    Go,
    /// nodemailer's pool, with TCP_NODELAY.
    Nodemailer,
    /// aiosmtplib, a connection a task.
    Aiosmtplib,
    /// PHPMailer, a process a connection, which it keeps.
    PhpMailer,
}

/// What a server offers that not every client needs, and not every server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// CHUNKING, and so what needs it.
    Chunking,
    /// Nothing beyond PIPELINING.
    Pipelining,
}

impl Rival {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 16] = [
        Self::Floor,
        Self::FloorBdat,
        Self::Posthaste(Pipelining::Envelope),
        Self::Posthaste(Pipelining::Cross),
        Self::Posthaste(Pipelining::Stream),
        Self::PosthasteTwice,
        Self::SmtpSource,
        Self::Lettre,
        Self::LettreNodelay,
        Self::MailSend,
        Self::MailSendNodelay,
        Self::AsyncSmtp,
        Self::Go,
        Self::Nodemailer,
        Self::Aiosmtplib,
        Self::PhpMailer,
    ];

    /// Its name, as it is written on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorBdat => "floor-bdat",
            Self::Posthaste(Pipelining::Off) => "off",
            Self::Posthaste(Pipelining::Envelope) => "envelope",
            Self::Posthaste(Pipelining::Cross) => "cross",
            Self::Posthaste(Pipelining::Stream) => "stream",
            Self::PosthasteTwice => "stream-twice",
            Self::SmtpSource => "smtp-source",
            Self::Lettre => "lettre",
            Self::LettreNodelay => "lettre-nodelay",
            Self::MailSend => "mail-send",
            Self::MailSendNodelay => "mail-send-nodelay",
            Self::AsyncSmtp => "async-smtp",
            Self::Go => "go",
            Self::Nodemailer => "nodemailer",
            Self::Aiosmtplib => "aiosmtplib",
            Self::PhpMailer => "phpmailer",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rival| rival.name() == name)
    }

    /// What it is, in the table.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Floor => "floor: bare loop, one write a mail",
            Self::FloorBdat => "floor: bare loop, BDAT, 64 mails a write",
            Self::Posthaste(Pipelining::Off) => "posthaste, `off`",
            Self::Posthaste(Pipelining::Envelope) => "posthaste, `envelope`",
            Self::Posthaste(Pipelining::Cross) => "posthaste, `cross`",
            Self::Posthaste(Pipelining::Stream) => "posthaste, `stream`",
            Self::PosthasteTwice => "posthaste, `stream`, two mailers of a thread each",
            Self::SmtpSource => "smtp-source -d",
            Self::Lettre => "lettre, pool, as it comes",
            Self::LettreNodelay => "lettre, pool, TCP_NODELAY forced from outside",
            Self::MailSend => "mail-send, as it comes",
            Self::MailSendNodelay => "mail-send, on a stream with TCP_NODELAY",
            Self::AsyncSmtp => "async-smtp, PIPELINING, on a stream with TCP_NODELAY",
            Self::Go => "Go net/smtp, a connection a goroutine",
            Self::Nodemailer => "nodemailer, pool, TCP_NODELAY",
            Self::Aiosmtplib => "aiosmtplib, a connection a task",
            Self::PhpMailer => "PHPMailer, keep-alive, TCP_NODELAY, a process a connection",
        }
    }

    /// Whether it is what the others are compared with, and not a rival: a bare loop or ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Floor | Self::FloorBdat) || self.is_posthaste()
    }

    /// Whether it is ours.
    pub(crate) fn is_posthaste(self) -> bool {
        matches!(self, Self::Posthaste(_) | Self::PosthasteTwice)
    }

    /// The bare loop that sends in its way.
    pub(crate) fn floor(self) -> Self {
        match self {
            Self::FloorBdat | Self::Posthaste(Pipelining::Stream) | Self::PosthasteTwice => {
                Self::FloorBdat
            }
            _ => Self::Floor,
        }
    }

    /// Why it cannot take part, if it cannot.
    pub(crate) fn excuse(self, offer: Offer, connections: usize) -> Option<&'static str> {
        if self.floor() == Self::FloorBdat && offer == Offer::Pipelining {
            return Some("the server offers no CHUNKING");
        }
        if self == Self::PosthasteTwice && connections < THREADS {
            return Some("it needs a connection for each thread");
        }
        if self == Self::PhpMailer && connections > PROCESSES_MAX {
            return Some("it needs a process for each connection");
        }
        None
    }

    /// Whether the mails of one connection go in the order of their numbers. A pool takes any
    /// connection for any mail, and smtp-source numbers by its own rules.
    pub(crate) fn is_in_order(self) -> bool {
        !matches!(self, Self::SmtpSource | Self::Lettre | Self::LettreNodelay | Self::Nodemailer)
    }

    /// Whether it sends the Message-IDs that it is told to: the others have their own.
    pub(crate) fn is_numbered(self) -> bool {
        !matches!(self, Self::Floor | Self::FloorBdat | Self::SmtpSource)
    }

    /// Mails that it sends in one flight: of less than one on each connection it sends nothing.
    pub(crate) fn flight(self) -> usize {
        match self {
            Self::FloorBdat => FLIGHT,
            _ => 1,
        }
    }

    /// Finds and builds what it needs, so that it can be started.
    ///
    /// # Errors
    ///
    /// What is missing on this machine.
    pub(crate) fn find(self) -> Result<(), String> {
        match self {
            Self::SmtpSource => smtp_source().map(drop).map_err(|missing| missing.to_string()),
            Self::LettreNodelay => build_shim(),
            Self::Go => build_go_driver(),
            Self::Nodemailer => node().map(drop),
            Self::Aiosmtplib => python().map(drop),
            Self::PhpMailer => php().map(drop),
            Self::Floor
            | Self::FloorBdat
            | Self::Posthaste(_)
            | Self::PosthasteTwice
            | Self::Lettre
            | Self::MailSend
            | Self::MailSendNodelay
            | Self::AsyncSmtp => Ok(()),
        }
    }

    /// The process that sends a load. It prints the seconds that took, if it can.
    ///
    /// # Errors
    ///
    /// What is missing on this machine.
    pub(crate) fn command(self, load: Load) -> Result<Command, String> {
        let command = match self {
            Self::SmtpSource => return smtp_source_command(load),
            Self::LettreNodelay => {
                let mut command = itself(self.name());
                command.env("LD_PRELOAD", shim());
                command
            }
            Self::Go => Command::new(go_driver()),
            Self::Nodemailer => node()?,
            Self::Aiosmtplib => python()?,
            Self::PhpMailer => php()?,
            Self::Floor
            | Self::FloorBdat
            | Self::Posthaste(_)
            | Self::PosthasteTwice
            | Self::Lettre
            | Self::MailSend
            | Self::MailSendNodelay
            | Self::AsyncSmtp => itself(self.name()),
        };
        Ok(load.given_to(command))
    }

    /// Sends a load in this process: what [`command`](Self::command) starts for those in Rust.
    pub(crate) fn send(self, load: Load) -> Duration {
        let way = match self {
            Self::Floor => bare::Way::Data,
            _ => bare::Way::Bdat,
        };
        let Load { mails, connections, size, .. } = load;
        let bare = bare::Load { way, mails, flight: FLIGHT, connections, size };
        // A second thread costs each of them more than it brings here, where the server needs the other core.
        let runtime = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match self {
            Self::Floor | Self::FloorBdat => bare.send(load.server).unwrap(),
            Self::Posthaste(mode) => runtime().block_on(engine::send(load, mode)),
            Self::PosthasteTwice => engine::send_from(THREADS, load, Pipelining::Stream),
            Self::Lettre | Self::LettreNodelay => runtime().block_on(clients::lettre(load)),
            Self::MailSend => runtime().block_on(clients::mail_send(load, false)),
            Self::MailSendNodelay => runtime().block_on(clients::mail_send(load, true)),
            Self::AsyncSmtp => runtime().block_on(clients::async_smtp(load)),
            Self::SmtpSource | Self::Go | Self::Nodemailer | Self::Aiosmtplib | Self::PhpMailer => {
                unreachable!("{} is a program of its own", self.name())
            }
        }
    }

    /// Its version, where it is known without asking it.
    pub(crate) fn version(self) -> Option<String> {
        let output = match self {
            Self::Floor | Self::FloorBdat | Self::Posthaste(_) | Self::PosthasteTwice => {
                return None;
            }
            Self::Lettre | Self::LettreNodelay => return locked("lettre"),
            Self::MailSend | Self::MailSendNodelay => return locked("mail-send"),
            Self::AsyncSmtp => return locked("async-smtp"),
            Self::SmtpSource => return postfix_version(),
            Self::Go => Command::new(go_driver()).arg("--version").output(),
            Self::Nodemailer => node().ok()?.arg("--version").output(),
            Self::Aiosmtplib => python().ok()?.arg("--version").output(),
            Self::PhpMailer => php().ok()?.arg("--version").output(),
        };
        let output = String::from_utf8(output.ok()?.stdout).ok()?;
        Some(output.trim_end().to_owned())
    }
}

fn smtp_source_command(load: Load) -> Result<Command, String> {
    let mut command = smtp_source().map_err(|missing| missing.to_string())?;
    let numbers = [load.connections, load.size, load.mails].map(|number| number.to_string());
    let [connections, size, mails] = numbers;
    command.args(["-d", "-s", &connections, "-l", &size, "-m", &mails]);
    command.arg(load.server.to_string());
    Ok(command)
}

/// This program again, as a client.
fn itself(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["client", name]);
    command
}

/// A library that sets TCP_NODELAY in connect(2).
fn shim() -> PathBuf {
    folder().join("nodelay.so")
}

fn build_shim() -> Result<(), String> {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(shim()).arg(source("nodelay.c"));
    run(compiler, "no C compiler for the library that forces TCP_NODELAY")
}

fn go_driver() -> PathBuf {
    folder().join("send-go")
}

fn build_go_driver() -> Result<(), String> {
    let go = find(&["/usr/bin/go"], "debian/usr/lib/go-1.19/bin/go").ok_or(FETCH)?;
    let mut compiler = Command::new(go);
    compiler.args(["build", "-o"]).arg(go_driver()).arg(source("send.go"));
    compiler.env("GOCACHE", folder().join("go-cache")).env("GO111MODULE", "off");
    run(compiler, "go cannot build its driver")
}

fn node() -> Result<Command, String> {
    let modules = folder().join("node_modules");
    let node = find(&["/usr/bin/node", "/usr/local/bin/node"], "node").ok_or("no Node.js")?;
    if !modules.join("nodemailer").is_dir() {
        return Err(FETCH.to_owned());
    }
    let mut command = Command::new(node);
    command.arg(source("send.js")).env("NODE_PATH", modules);
    Ok(command)
}

fn python() -> Result<Command, String> {
    let python = find(&[], "venv/bin/python").ok_or(FETCH)?;
    let mut command = Command::new(python);
    command.arg(source("send.py"));
    Ok(command)
}

fn php() -> Result<Command, String> {
    let php = find(&["/usr/bin/php"], "debian/usr/bin/php8.2").ok_or(FETCH)?;
    let library =
        find(&["/usr/share/php/libphp-phpmailer"], "debian/usr/share/php/libphp-phpmailer");
    let mut command = Command::new(php);
    let modules = folder().join("debian/usr/lib/php/20220829");
    if modules.is_dir() {
        command.arg("-n").arg("-d").arg(format!("extension_dir={}", modules.display()));
        command.args(["-d", "extension=ctype", "-d", "zend_extension=opcache"]);
    }
    command.args(["-d", "opcache.enable_cli=1"]);
    command.arg(source("send.php")).env("PHPMAILER", library.ok_or(FETCH)?);
    Ok(command)
}

/// A file of the system, or the one that was fetched.
fn find(system: &[&str], fetched: &str) -> Option<PathBuf> {
    let fetched = folder().join(fetched);
    system.iter().map(PathBuf::from).chain([fetched]).find(|path| path.exists())
}

/// Where rivals are fetched to and built.
fn folder() -> PathBuf {
    let folder = target().join("rivals");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(name)
}

fn run(mut command: Command, failure: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{failure} ({status})")),
        Err(error) => Err(format!("{failure} ({error})")),
    }
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> Option<String> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = include_str!("../../Cargo.lock").split_once(&entry)?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

/// What the program beside it says, since it does not itself.
fn postfix_version() -> Option<String> {
    let source = smtp_source().ok()?;
    let mut command = Command::new(Path::new(source.get_program()).with_file_name("postconf"));
    command.envs(source.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.args(["-dh", "mail_version"]).output().ok()?;
    String::from_utf8(output.stdout).ok().map(|version| format!("Postfix {}", version.trim_end()))
}

const FETCH: &str = "not installed; benches/rivals/fetch fetches it";

/// Mails a write of the bare loop by BDAT: the default window of `stream`.
const FLIGHT: usize = 64;

/// Threads of those that have several.
const THREADS: usize = 2;

/// Processes at a time: PHP has no connections that share one.
const PROCESSES_MAX: usize = 100;
