//! One run of one client, in a process of its own.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    /// Runs a client.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(crate) fn of(mut command: Command) -> Result<Self, String> {
        let start = Instant::now();
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = process.map_err(|error| error.to_string())?;
        let mut output = String::new();
        // It has a pipe, since it was given one.
        let mut pipe = process.stdout.take().expect("a pipe");
        pipe.read_to_string(&mut output).map_err(|error| error.to_string())?;
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
