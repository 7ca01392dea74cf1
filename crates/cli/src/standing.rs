//! How each server stands, and why nothing moves, as the display and the summary show it.

use std::time::{Duration, Instant};

use posthaste::events::Timestamp;
use posthaste::scheduler::{Hold, ReasonKind, ServerId, ServerState, ServerStatus, Time};
use posthaste::{Mailer, ServerView};

use crate::progress::Row;
use crate::units::{counted, elapsed};
use crate::watch::Seen;

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
    fn of(&mut self, server: ServerId, accepted: u64) -> f64 {
        let now = Instant::now();
        while self.0.len() <= server.index() {
            self.0.push(Rate { since: now, accepted: 0, per_second: 0.0 });
        }
        let Some(rate) = self.0.get_mut(server.index()) else { return 0.0 };
        let span = now - rate.since;
        if span >= SPAN {
            let more = accepted.saturating_sub(rate.accepted);
            let per_second = more as f64 / span.as_secs_f64();
            *rate = Rate { since: now, accepted, per_second };
        }
        rate.per_second
    }
}

/// When it is.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// By the clock on the wall.
    wall: Timestamp,
    /// By the scheduler's.
    time: Time,
}

impl Now {
    fn of(mailer: &Mailer) -> Self {
        Self { wall: Timestamp::now(), time: mailer.now() }
    }

    /// ` until 12:00:31Z (in 12 s)`, or nothing where that is never.
    fn until(self, time: Time) -> String {
        if time == Time::NEVER { String::new() } else { format!(" until {}", self.at(time)) }
    }

    /// ` for 12 s`, or nothing where that is for ever.
    fn still(self, time: Time) -> String {
        if time == Time::NEVER { String::new() } else { format!(" for {}", self.left(time)) }
    }

    /// `12:00:31Z (in 12 s)`.
    fn at(self, time: Time) -> String {
        let at = Timestamp::from(self.wall.as_system_time() + (time - self.time));
        format!("{} (in {})", at.time_of_day(), self.left(time))
    }

    /// In whole seconds: it is read by people, and anew each time.
    fn left(self, time: Time) -> String {
        let wait = (time - self.time).as_secs_f64().ceil() as u64;
        if wait == 0 { "0 s".to_owned() } else { elapsed(Duration::from_secs(wait)) }
    }
}

/// A row for each server.
pub(crate) fn rows(mailer: &Mailer, seen: &Seen, rates: &mut Rates) -> Vec<Row> {
    let now = Now::of(mailer);
    let row = |ServerView { name, id, status, .. }: ServerView| {
        let seen = seen.servers.get(id.index());
        let accepted = seen.map_or(0, |seen| seen.accepted);
        Row {
            name: name.to_string(),
            state: state(&status, now),
            brief: brief(&status, now),
            established: status.established,
            open: status.open,
            ceiling: status.ceiling,
            queued: status.ready,
            accepted,
            rate: rates.of(id, accepted),
            last: seen.and_then(|seen| seen.last.clone()).unwrap_or_default(),
        }
    };
    mailer.servers().into_iter().map(row).collect()
}

/// How a server is, in a few words: `backing off until 12:00:31Z (in 12 s)`.
fn state(status: &ServerStatus, now: Now) -> String {
    match (status.state, status.window) {
        (ServerState::Normal, None) => "normal".to_owned(),
        (ServerState::Normal, Some(mails)) => {
            format!("slowed: {} at a time", counted(mails.into(), "mail"))
        }
        (ServerState::Probing, _) if status.open == 0 => "to be tried".to_owned(),
        (ServerState::Probing, _) => "being tried".to_owned(),
        (ServerState::BackingOff(until), _) => format!("backing off{}", now.until(until)),
        (ServerState::Held(Hold::Throttled, until), _) => format!("slowed{}", now.until(until)),
        (ServerState::Held(hold, until), _) => {
            format!("held{}: {}", now.until(until), hold.reason())
        }
    }
}

/// The same for a table that is drawn anew all the time: `backing off for 12 s`.
fn brief(status: &ServerStatus, now: Now) -> String {
    match status.state {
        ServerState::Normal | ServerState::Probing => state(status, now),
        ServerState::BackingOff(until) => format!("backing off{}", now.still(until)),
        ServerState::Held(Hold::Throttled, until) => format!("slowed{}", now.still(until)),
        ServerState::Held(hold, until) => format!("held{}: {}", now.still(until), hold.reason()),
    }
}

/// Why no mail is done, if there is a reason that can be told: `the server failed 3 times in a row,
/// until 12:00:31Z (in 12 s); 421 4.3.2 later`.
pub(crate) fn why(mailer: &Mailer, seen: &Seen) -> Option<String> {
    let now = Now::of(mailer);
    let Some(reason) = mailer.explain().reasons.into_iter().next() else {
        let servers = mailer.servers();
        let sending: u32 = servers.iter().map(|server| server.status.in_flight).sum();
        return match (sending, seen.retry.filter(|&retry| retry > now.time)) {
            (0, None) => None,
            (0, Some(retry)) => Some(format!("deferred mails are tried at {}", now.at(retry))),
            (sending, _) => Some(format!("{} on the way", counted(sending.into(), "mail"))),
        };
    };
    let mut text = match reason.kind {
        ReasonKind::Draining => "what is being sent may finish".to_owned(),
        kind => kind.to_string(),
    };
    text += &reason.until.map(|until| format!(",{}", now.until(until))).unwrap_or_default();
    let server = server_of(reason.kind).and_then(|server| seen.servers.get(server.index()));
    if let Some(last) = server.and_then(|server| server.last.as_ref()) {
        text += &format!("; {last}");
    }
    Some(text)
}

/// The server that has something to do with it.
fn server_of(kind: ReasonKind) -> Option<ServerId> {
    match kind {
        ReasonKind::BackingOff { server, .. }
        | ReasonKind::Held { server, .. }
        | ReasonKind::Probing { server }
        | ReasonKind::CeilingReached { server, .. }
        | ReasonKind::WindowReached { server, .. }
        | ReasonKind::SlowStart { server, .. } => Some(server),
        _ => None,
    }
}

/// For the end: how the server is if it is not as it should be, and what it said last. Of several
/// servers there is a table.
pub(crate) fn ailing(mailer: &Mailer, seen: &Seen) -> Option<String> {
    let now = Now::of(mailer);
    let servers = mailer.servers();
    if servers.len() > 1 {
        return None;
    }
    let tell = |ServerView { id, status, .. }: ServerView| {
        let last = seen.servers.get(id.index()).and_then(|seen| seen.last.as_ref());
        let last = last.map(|last| format!("; {last}")).unwrap_or_default();
        format!("{}{last}", state(&status, now))
    };
    let is_ailing = |server: &ServerView| server.status.state != ServerState::Normal;
    servers.into_iter().filter(is_ailing).map(tell).next()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_are_told_twice() {
        let at = |seconds| Time::EPOCH + Duration::from_millis(seconds);
        let wall = Timestamp::from(UNIX_EPOCH + Duration::from_secs(12 * 3600));
        let now = Now { wall, time: at(100_000) };
        assert_eq!(now.until(at(130_500)), " until 12:00:30Z (in 31 s)");
        assert_eq!(now.until(at(160_000)), " until 12:01:00Z (in 1 min 0 s)");
        assert_eq!(now.until(at(90_000)), " until 12:00:00Z (in 0 s)");
        assert_eq!(now.still(at(130_500)), " for 31 s");
        assert_eq!(now.still(Time::NEVER), "");
        assert_eq!(now.until(Time::NEVER), "");
    }
}
