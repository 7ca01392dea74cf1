//! `--events`: what happens, as lines of JSON.
//!
//! A thread writes them. It may be slower than the sending, which never waits for it: beyond
//! [`KEPT`] events that are not written yet more are left out, and a line says how many.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use posthaste::events::{Event, EventKind, Events};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::observe::is_stdout;
use crate::summary::tell;
use crate::units::counted;

/// Events that wait to be written at most: as many as there can be mails in the queue, which all have their
/// outcome at once when a run is cut short. That takes 100 MB for a moment, and nothing otherwise.
pub(crate) const KEPT: usize = 256 * 1024;
/// How long the last events may take to be written; a reader may have stopped reading.
const LAST: Duration = Duration::from_secs(5);

/// Writes events.
pub(crate) struct EventLog {
    /// No more events come.
    end: oneshot::Sender<()>,
    written: oneshot::Receiver<io::Result<u64>>,
}

pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if is_stdout(path) {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    Ok(Box::new(BufWriter::new(File::create(path)?)))
}

impl EventLog {
    pub(crate) fn start(events: Events, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let (done, written) = oneshot::channel();
        let runtime = Handle::current();
        // A thread that nobody waits for longer than LAST: a write to a pipe can take for ever.
        std::thread::Builder::new().name("events".to_owned()).spawn(move || {
            // Nobody may be left to hear of it.
            let _ = done.send(runtime.block_on(write(events, ended, out)));
        })?;
        Ok(Self { end, written })
    }

    /// Returns when all is written that happened before. A reader that has gone away needs no more.
    pub(crate) async fn finish(self) -> io::Result<()> {
        // The writer may have failed, and be gone.
        let _ = self.end.send(());
        let late = || io::Error::new(io::ErrorKind::TimedOut, "nobody takes what is written");
        let written = timeout(LAST, self.written).await.map_err(|_| late())?;
        match written.unwrap_or_else(|_| Err(io::Error::other("the writer panicked"))) {
            Ok(0) => Ok(()),
            Ok(lost) => {
                let lost = counted(lost, "event");
                tell(&format!("{lost} came faster than --events could be written"));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Writes all events, and counts those that were lost.
async fn write(
    mut events: Events,
    mut ended: oneshot::Receiver<()>,
    mut out: Box<dyn Write + Send>,
) -> io::Result<u64> {
    let (mut lost, mut is_ended) = (0, false);
    loop {
        let event = match events.next().now_or_never() {
            Some(event) => event,
            None => {
                // Whoever follows sees what has happened, not what fills a buffer.
                out.flush()?;
                tokio::select! {
                    event = events.next() => event,
                    _ = &mut ended, if !is_ended => {
                        is_ended = true;
                        events.close();
                        continue;
                    }
                }
            }
        };
        let Some(event) = event else { break };
        if let Event { kind: EventKind::EventsLost { count }, .. } = &event {
            lost += count;
        }
        serde_json::to_writer(&mut out, &event)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(lost)
}
