//! What has been seen of each server: how it does, what it said last.

use std::time::{Duration, Instant};

use posthaste::events::Timestamp;
use posthaste::reply::ReplyBuf;
use posthaste::scheduler::{Hold, Record, ServerId, Time};
use posthaste::session::{Finished, Outcome};

use super::held;
use crate::units::{counted, elapsed};

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
    state: State,
}

/// How a server is dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Normal,
    BackingOff {
        failures: u32,
        until: Time,
    },
    Held {
        hold: Hold,
        until: Time,
    },
}

/// When it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By the clock on the wall.
    pub(crate) wall: Timestamp,
    /// By the scheduler's.
    pub(crate) time: Time,
}

impl ServerSeen {
    pub(super) fn attempted(&mut self, finished: &Finished) {
        let outcomes = &finished.outcomes;
        self.accepted += u64::from(outcomes.iter().any(Outcome::is_delivered));
        let refusal = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Refused(refusal) => Some(&refusal.reply),
            Outcome::Delivered(_) | Outcome::NotSent(_) | Outcome::InDoubt => None,
        });
        let is_stale = self.said.is_none_or(|said| said.elapsed() > STALE);
        let accepted = outcomes.last().and_then(Outcome::reply).filter(|_| is_stale);
        if let Some(reply) = refusal.or(accepted) {
            self.said(words(reply));
        }
    }

    pub(super) fn said(&mut self, words: String) {
        self.last = Some(words);
        self.said = Some(Instant::now());
    }

    pub(super) fn record(&mut self, record: Record) {
        match record {
            Record::BackOff { failures, until, .. } => {
                self.state = State::BackingOff { failures, until };
            }
            Record::Recovered { .. } => self.state = State::Normal,
            Record::Held { hold, until, .. } => self.state = State::Held { hold, until },
            _ => {}
        }
    }

    /// Its state in a few words: `backing off until 12:00:31Z (in 12 s)`.
    pub(crate) fn state(&self, now: Now) -> String {
        match self.state {
            State::BackingOff { until, .. } if until > now.time => {
                format!("backing off{}", now.until(until))
            }
            State::Held { hold: Hold::Throttled, until } if until > now.time => {
                format!("slowed{}", now.until(until))
            }
            State::Held { hold, until } if until > now.time => {
                format!("held{}: {}", now.until(until), held(hold))
            }
            State::BackingOff { .. } => "being tried".to_owned(),
            State::Normal | State::Held { .. } => "normal".to_owned(),
        }
    }

    /// Why it gets no mail, if that is known: `backing off until 12:00:31Z (in 12 s) after 3 failures;
    /// 421 4.3.2 later`.
    pub(crate) fn why(&self, now: Now) -> Option<String> {
        let mut text = match self.state {
            State::BackingOff { failures, until } if until > now.time => {
                let failures = counted(failures.into(), "failure");
                format!("backing off{} after {failures}", now.until(until))
            }
            State::Held { hold, until } if until > now.time => {
                format!("server {}{}", held(hold), now.until(until))
            }
            State::Normal | State::BackingOff { .. } | State::Held { .. } => return None,
        };
        if let Some(last) = &self.last {
            text += &format!("; {last}");
        }
        Some(text)
    }
}

impl Now {
    /// ` until 12:00:31Z (in 12 s)`, or nothing where that is never.
    pub(crate) fn until(self, time: Time) -> String {
        if time == Time::NEVER {
            return String::new();
        }
        let wait = time - self.time;
        // In whole seconds: it is read by people, and anew each time.
        let shown = Duration::from_secs(wait.as_secs_f64().ceil() as u64);
        let at = Timestamp::from(self.wall.as_system_time() + wait);
        format!(" until {} (in {})", at.time_of_day(), elapsed(shown))
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::EPOCH + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn check(state: State, shown: &str, why: Option<&str>) {
        let wall = Timestamp::from(UNIX_EPOCH + Duration::from_secs(12 * 3600));
        let now = Now { wall, time: at(100) };
        let last = Some("421 4.3.2 later".to_owned());
        let server = ServerSeen { state, last, ..ServerSeen::default() };
        assert_eq!((server.state(now).as_str(), server.why(now).as_deref()), (shown, why));
    }

    #[test]
    fn people_read_until_when_and_why() {
        let back_off = |until| State::BackingOff { failures: 3, until };
        check(
            back_off(at(131)),
            "backing off until 12:00:31Z (in 31 s)",
            Some("backing off until 12:00:31Z (in 31 s) after 3 failures; 421 4.3.2 later"),
        );
        check(back_off(at(100)), "being tried", None);
        let held = |hold, until| State::Held { hold, until };
        check(
            held(Hold::Throttled, at(160)),
            "slowed until 12:01:00Z (in 1 min 0 s)",
            Some("server takes no mail for now until 12:01:00Z (in 1 min 0 s); 421 4.3.2 later"),
        );
        check(
            held(Hold::Credentials, Time::NEVER),
            "held: does not take the credentials",
            Some("server does not take the credentials; 421 4.3.2 later"),
        );
        check(State::Normal, "normal", None);
    }
}
