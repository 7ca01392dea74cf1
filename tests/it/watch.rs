//! An observer that remembers what it saw.

use std::sync::{Arc, Mutex};

use posthaste::connection::{ErrorKind, TlsInfo};
use posthaste::scheduler::{Observation, Observer, Record};
use posthaste::session::{CloseReason, Speaker};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Seen>);

/// What was seen, each list in the order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What the planner learned or decided.
    pub(crate) records: Vec<Record>,
    /// TLS of each session that became ready.
    pub(crate) ready: Vec<Option<TlsInfo>>,
    /// Why connections could not be opened or secured.
    pub(crate) failed: Vec<ErrorKind>,
    /// How sessions ended.
    pub(crate) closed: Vec<CloseReason>,
    /// What clients said, where transcripts are made.
    pub(crate) said: Vec<String>,
}

impl Watch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Watch {
    fn observe(&self, observation: Observation<'_>) {
        let mut seen = self.0.lock().unwrap();
        match observation {
            Observation::Record(record) => seen.records.push(record),
            Observation::Ready(_, _, info, _) => seen.ready.push(info.tls.clone()),
            Observation::Failed(_, _, error) => seen.failed.push(error.kind()),
            Observation::Closed(_, _, reason) => seen.closed.push(reason.clone()),
            Observation::Transcript(_, line) if line.speaker == Speaker::Client => {
                seen.said.push(line.text.clone());
            }
            _ => {}
        }
    }
}
