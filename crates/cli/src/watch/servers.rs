//! What has been seen of each server: how much it took, what it said last.

use std::time::{Duration, Instant};

use posthaste::reply::ReplyBuf;
use posthaste::scheduler::ServerId;
use posthaste::session::{Finished, Outcome};

/// How old the last words of a server get before newer ones of the same kind take their place: nobody
/// reads faster, and copying them for each mail would cost more than all else here.
const STALE: Duration = Duration::from_millis(250);

/// What has been seen of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerSeen {
    /// Mails that were accepted for somebody.
    pub(crate) accepted: u64,
    /// What it said last, or what went wrong.
    pub(crate) last: Option<String>,
    /// When it said so.
    said: Option<Instant>,
}

impl ServerSeen {
    pub(super) fn attempted(&mut self, finished: &Finished) {
        let outcomes = &finished.outcomes;
        self.accepted += u64::from(outcomes.iter().any(Outcome::is_delivered));
        let refusal = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Refused(refusal) => Some(&refusal.reply),
            Outcome::Delivered(_) | Outcome::NotSent(_) | Outcome::InDoubt => None,
        });
        // Asking the clock for each mail costs more than all else here, too.
        let now = finished.timing.finished;
        let age = self.said.zip(now).map(|(said, now)| now.saturating_duration_since(said));
        let is_stale = age.is_none_or(|age| age > STALE);
        let accepted = outcomes.last().and_then(Outcome::reply).filter(|_| is_stale);
        if let Some(reply) = refusal.or(accepted) {
            self.said(words(reply));
        }
    }

    pub(super) fn said(&mut self, words: String) {
        self.last = Some(words);
        self.said = Some(Instant::now());
    }
}

/// A place in a list by server, which grows as servers are seen.
pub(super) fn entry(servers: &mut Vec<ServerSeen>, server: ServerId) -> Option<&mut ServerSeen> {
    if servers.len() <= server.index() {
        servers.resize_with(server.index() + 1, ServerSeen::default);
    }
    servers.get_mut(server.index())
}

fn words(reply: &ReplyBuf) -> String {
    let enhanced = reply.enhanced().map(|enhanced| format!(" {enhanced}")).unwrap_or_default();
    format!("{}{enhanced} {}", reply.code(), reply.text())
}
