//! A server's processes: where they listen, and that none outlives its test.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// A server's first process, the leader of a group of which all its children are. Dropping it
/// kills the group.
#[derive(Debug)]
pub(crate) struct Process {
    leader: Child,
    /// Kills the group when the pipe to its standard input closes, and so also when this process
    /// is killed before it can drop anything. (A parent-death signal does not do: the kernel
    /// forgets it when a server changes its user.)
    _watchdog: Child,
}

impl Process {
    /// Starts a server; its output goes to the file `output`.
    pub(crate) fn spawn(mut command: Command, output: &Path) -> Self {
        adopt_orphans();
        let output = File::options().append(true).create(true).open(output).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let leader = command.process_group(0).spawn().unwrap();

        let mut watchdog = Command::new("/bin/sh");
        watchdog.args(["-c", "read -r _; kill -KILL 0"]).stdin(Stdio::piped());
        let watchdog = watchdog.process_group(leader.id().cast_signed()).spawn().unwrap();
        Self { leader, _watchdog: watchdog }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.leader.try_wait().unwrap().is_some()
    }

    fn group(&self) -> Pid {
        // Process numbers fit: the kernel's own limit is 2^22.
        Pid::from_raw(self.leader.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that the group is gone already.
        let _ = killpg(self.group(), Signal::SIGKILL);
        // The leader's orphans are ours now: this ends when none of the group is left.
        while waitpid(Pid::from_raw(-self.group().as_raw()), None).is_ok() {}
    }
}

/// Has the orphans of the servers' processes become children of this process, which then can tell
/// when they are gone.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

/// A loopback address that nobody listens on.
///
/// Each call picks another of the 16 million hosts of 127.0.0.0/8, since a port that was free on
/// 127.0.0.1 a moment ago may be taken by a test next door.
pub(crate) fn free_addr() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    // 1 to 250: neither 127.x.y.0 nor a broadcast address.
    let host = COUNT.fetch_add(1, Ordering::Relaxed) % 250 + 1;
    let ip = IpAddr::V4(Ipv4Addr::new(127, high, low, host));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}
