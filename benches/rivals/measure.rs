//! One run of one client, in a process of its own.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait4::Wait4 as _;

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// From before the first connection to the last reply, as the client says; with the start of
    /// its process where it says nothing.
    pub(crate) elapsed: Duration,
    /// Processor time of the whole process and of its children, kernel included.
    pub(crate) cpu: Duration,
    /// Octets of memory at most, of the largest process.
    pub(crate) peak: u64,
}

impl Run {
    /// Runs a client, with a small process in between: a client's peak is no less than what the
    /// process that starts it has had, and this one has read logs.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(crate) fn of(client: &Command) -> Result<Self, String> {
        let mut starter = Command::new(std::env::current_exe().unwrap());
        starter.arg("run").arg(client.get_program()).args(client.get_args());
        starter.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = starter.stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
        let mut next = || numbers.next().ok_or_else(|| text.trim_end().to_owned());
        let [elapsed, cpu] = [next()?, next()?].map(Duration::from_micros);
        Ok(Self { elapsed, cpu, peak: next()? })
    }

    /// Is the process in between: runs a client, and prints what that took.
    pub(crate) fn print(client: &[&str]) {
        let mut command = Command::new(client[0]);
        command.args(&client[1..]);
        match Self::here(command) {
            Ok(Self { elapsed, cpu, peak }) => {
                println!("{} {} {peak}", elapsed.as_micros(), cpu.as_micros());
            }
            Err(error) => println!("{error}"),
        }
    }

    fn here(mut command: Command) -> Result<Self, String> {
        let start = Instant::now();
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = process.map_err(|error| error.to_string())?;
        let watchdog = Watchdog::over(&process);
        let mut output = String::new();
        // It has a pipe, since it was given one.
        let mut pipe = process.stdout.take().expect("a pipe");
        pipe.read_to_string(&mut output).map_err(|error| error.to_string())?;
        drop(watchdog);
        let end = process.wait4().map_err(|error| error.to_string())?;
        let elapsed = start.elapsed();
        if !end.status.success() {
            return Err(format!("it ended with {}", end.status));
        }
        let own = output.trim_end().parse().map(Duration::from_secs_f64);
        Ok(Self {
            elapsed: own.unwrap_or(elapsed),
            cpu: end.rusage.utime + end.rusage.stime,
            peak: end.rusage.maxrss,
        })
    }
}

/// Ends a process that takes too long; dropped, it lets it be.
struct Watchdog(#[expect(dead_code, reason = "it is there to be dropped")] Sender<()>);

impl Watchdog {
    fn over(process: &Child) -> Self {
        let process = Pid::from_raw(process.id().cast_signed());
        let (sender, over) = channel();
        thread::spawn(move || {
            if over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // An error means that it has ended by itself.
                let _ = kill(process, Signal::SIGKILL);
            }
        });
        Self(sender)
    }
}

/// How long a run may take: many times what is aimed at.
const PATIENCE: Duration = Duration::from_secs(60);
