//! What all the servers have in common: how they are asked for, started and stopped.

use std::fmt;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::{Process, free_addr};
use crate::wait::{PATIENCE, wait_until};
use crate::{Maildir, tls};

/// The name that servers greet with, and one of those in their certificate (beside `localhost` and
/// the IP address).
pub const HOSTNAME: &str = "mail.example.test";

/// The user that servers with [`Auth`] know.
pub const USER: &str = "news";

/// The password of [`USER`]: with a space, a quote, an at sign and UTF-8, which break careless
/// clients.
pub const PASSWORD: &str = "s3cr\"et @ pässword";

/// The user and the group nobody, the same on any Linux: under them mail is filed.
pub(crate) const NOBODY: u32 = 65534;

/// A real mail server of its own, listening and ready; dropping it ends all its processes and
/// removes its files.
///
/// If the thread panics meanwhile, that is when a test fails, the server's log goes to standard
/// error first.
#[derive(Debug)]
#[non_exhaustive]
pub struct Server {
    /// Where it listens: a host of 127.0.0.0/8 and a free port.
    pub addr: SocketAddr,
    /// Where all mail ends.
    pub maildir: Maildir,
    /// The certificate authority of the server's certificate, as PEM.
    pub ca_pem: String,
    // Before `folder`, so that the processes are gone when the files go.
    process: Process,
    folder: TempDir,
}

/// TLS on a server's listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tls {
    /// Plaintext only.
    #[default]
    Off,
    /// Plaintext first, STARTTLS offered.
    Starttls,
    /// TLS from the first byte, as on port 465.
    Implicit,
}

/// Authentication as [`USER`] with [`PASSWORD`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    /// No AUTH keyword.
    #[default]
    Off,
    /// AUTH is offered, also without TLS; whoever does not use it may send as well.
    Offered,
    /// Recipients are refused without it.
    Required,
}

/// What happens to accepted mail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Delivery {
    /// One copy for each recipient in [`Server::maildir`].
    #[default]
    Maildir,
    /// Queued, then dropped.
    Discard,
}

/// Why a server cannot be started here; for [`skip!`](crate::skip!).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    server: &'static str,
    why: &'static str,
}

impl Server {
    /// Makes a folder and an address, has `configure` write the configuration and tell the command,
    /// and waits until the server listens.
    ///
    /// # Panics
    ///
    /// When the server ends instead, or does not listen in time.
    pub(crate) async fn start(configure: impl Fn(&Path, SocketAddr) -> Command) -> Self {
        // A server ends at once if its port was taken in between; rare, and never twice in a row.
        for _ in 0..3 {
            let mut server = Self::spawn(&configure);
            if server.comes_up().await {
                return server;
            }
            eprintln!(
                "the server ended instead of listening on {}:\n{}",
                server.addr,
                server.log()
            );
        }
        panic!("a server cannot be started");
    }

    /// What the server has logged and printed so far.
    pub fn log(&self) -> String {
        let logs = self.folder.path().join("log").read_dir().unwrap();
        let mut logs: Vec<_> = logs.map(|log| log.unwrap().path()).collect();
        logs.sort();
        logs.iter()
            .map(|log| String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned())
            .collect()
    }

    /// Waits until `text` stands in the log.
    ///
    /// # Panics
    ///
    /// When it does not within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn wait_for_log(&self, text: &str) {
        wait_until(PATIENCE, text, || self.log().contains(text).then_some(())).await;
    }

    /// The server's own folder, with its configuration, queue and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn spawn(configure: &impl Fn(&Path, SocketAddr) -> Command) -> Self {
        // Servers drop their privileges, so that others than the owner must be let in.
        let open = Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let [logs, mail] = ["log", "mail"].map(|name| folder.path().join(name));
        fs::create_dir(&logs).unwrap();
        fs::create_dir(&mail).unwrap();
        let addr = free_addr();
        let ca_pem = tls::issue(folder.path(), addr.ip());
        let command = configure(folder.path(), addr);
        let process = Process::spawn(command, &logs.join("output"));
        Self { addr, maildir: Maildir::new(mail), ca_pem, process, folder }
    }

    /// Whether the server listens, as opposed to having ended.
    async fn comes_up(&mut self) -> bool {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while started.elapsed() < PATIENCE {
            ticks.tick().await;
            if self.process.has_ended() {
                return false;
            }
            if TcpStream::connect(self.addr).await.is_ok() {
                return true;
            }
        }
        panic!("waited {PATIENCE:?} for a server to listen on {}:\n{}", self.addr, self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the server on {}:\n{}", self.addr, self.log());
        }
    }
}

impl Missing {
    pub(crate) fn new(server: &'static str, why: &'static str) -> Self {
        Self { server, why }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.why)
    }
}

impl std::error::Error for Missing {}
