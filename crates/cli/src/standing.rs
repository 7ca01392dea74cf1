//! How each server stands, as the display and the summary show it.

use std::time::{Duration, Instant};

use posthaste::Mailer;

use crate::progress::Row;
use crate::watch::{Now, Seen, ServerSeen};

/// How long a rate is measured: as often as people look.
const SPAN: Duration = Duration::from_secs(1);

/// How fast each server took mails of late.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<Rate>);

#[derive(Debug)]
struct Rate {
    since: Instant,
    accepted: u64,
    per_second: f64,
}

impl Rates {
    fn of(&mut self, index: usize, accepted: u64) -> f64 {
        let now = Instant::now();
        while self.0.len() <= index {
            self.0.push(Rate { since: now, accepted: 0, per_second: 0.0 });
        }
        let Some(rate) = self.0.get_mut(index) else { return 0.0 };
        let span = now - rate.since;
        if span >= SPAN {
            let more = accepted.saturating_sub(rate.accepted);
            let per_second = more as f64 / span.as_secs_f64();
            *rate = Rate { since: now, accepted, per_second };
        }
        rate.per_second
    }
}

/// A row for each server.
pub(crate) fn rows(mailer: &Mailer, seen: &Seen, rates: &mut Rates, now: Now) -> Vec<Row> {
    let nothing = ServerSeen::default();
    let status = mailer.status();
    let server = seen.servers.first().unwrap_or(&nothing);
    vec![Row {
        name: mailer.name().to_owned(),
        state: server.state(now),
        established: status.established,
        open: status.open,
        ceiling: status.ceiling,
        queued: status.ready,
        rate: rates.of(0, server.accepted),
        last: server.last.clone().unwrap_or_default(),
    }]
}

/// Why no mail is being sent, if there is a reason that can be told.
pub(crate) fn why(_mailer: &Mailer, seen: &Seen, now: Now) -> Option<String> {
    seen.servers.iter().find_map(|server| server.why(now))
}
