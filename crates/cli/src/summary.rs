//! What a person reads when it is over.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use posthaste::ServerUrl;
use posthaste::scheduler::ServerStatus;
use posthaste_sink::Stats;

use crate::outcome::Tally;
use crate::stop::Reason;
use crate::units::{counted, elapsed, grouped, octets};
use crate::watch::Seen;

/// Replies and troubles that are listed.
const MAX_LISTED: usize = 5;

/// Writes to standard output. A reader that has gone away is no failure.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes to standard error. Nobody listening to what is going on is no reason to stop.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether it matters that a server proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nobody cares: it is our own sink, or the user said so.
    Needless,
    /// It would be better.
    Welcome,
}

/// What is told of a server at the end.
pub(crate) struct ServerEnd<'a> {
    pub(crate) status: ServerStatus,
    pub(crate) url: &'a ServerUrl,
    pub(crate) proof: Proof,
    /// What is wrong with it, if anything is.
    pub(crate) ailing: Option<String>,
    /// A line for each server and one above them, where there are several.
    pub(crate) table: Vec<String>,
}

/// The end of `send`.
pub(crate) fn of_send(
    tally: &Tally,
    seen: &Seen,
    server: &ServerEnd<'_>,
    time: Duration,
    stopped: Option<Reason>,
) -> String {
    let ServerEnd { status, url, proof, ailing, table } = server;
    let mut text = String::new();
    let rate = tally.delivered_mails as f64 / time.as_secs_f64().max(0.001);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} to {}, {} delivered in {} ({} mails/s){}",
        counted(tally.mails, "mail"),
        counted(tally.recipients(), "recipient"),
        octets(tally.octets),
        elapsed(time),
        grouped(rate as u64),
        match stopped {
            Some(Reason::Interrupt) => ", interrupted",
            Some(Reason::Terminate) => ", terminated",
            Some(Reason::Time) => ", time is up",
            None => "",
        },
    );
    let states = [
        ("delivered", tally.delivered),
        ("failed", tally.failed),
        ("deferred", tally.deferred),
        ("in doubt", tally.in_doubt),
    ];
    let width = states.iter().map(|(_, count)| grouped(*count).chars().count()).max().unwrap_or(1);
    for (state, count) in states {
        if count > 0 || state == "delivered" {
            let _ = writeln!(text, "  {:>width$}  {state}", grouped(count));
        }
    }
    list(&mut text, "Replies", &tally.top_replies(MAX_LISTED));
    let mut troubles: Vec<_> =
        seen.troubles.iter().map(|(text, &count)| (text.as_str(), count)).collect();
    troubles.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    troubles.truncate(MAX_LISTED);
    list(&mut text, "Trouble", &troubles);
    if table.is_empty() {
        let _ = writeln!(text, "\nServer\n  {}", of_server(seen, status, url));
    } else {
        let _ = writeln!(text, "\nServers\n  {}", table.join("\n  "));
    }
    if let Some(ailing) = ailing {
        let _ = writeln!(text, "  {ailing}");
    }
    if seen.unverified > 0 && *proof == Proof::Welcome {
        let _ = writeln!(text, "  its certificate was not verified; --tls require would have");
    }
    text
}

fn list(text: &mut String, title: &str, entries: &[(&str, u64)]) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    let width = entries.iter().map(|(_, count)| grouped(*count).chars().count()).max().unwrap_or(1);
    for (entry, count) in entries {
        let _ = writeln!(text, "  {:>width$}  {entry}", grouped(*count));
    }
}

fn of_server(seen: &Seen, status: &ServerStatus, url: &ServerUrl) -> String {
    let mut line = url.server().to_string();
    if let Some(peer) = seen.peer.as_ref().filter(|peer| **peer != line) {
        line += &format!(" ({peer})");
    }
    line += &format!(", {}", counted(seen.opened, "connection"));
    if seen.failed > 0 {
        line += &format!(" and {} that failed", grouped(seen.failed));
    }
    if seen.opened > 0 {
        line += &format!(
            ", pipelining {}, {}",
            status.pipelining,
            seen.tls.as_deref().unwrap_or("no TLS")
        );
    }
    if let Some(ceiling) = status.ceiling {
        line += &format!(", bears {}", counted(ceiling.into(), "connection"));
    }
    if let Some(cap) = status.session_cap {
        line += &format!(", takes {} over each", counted(cap.into(), "mail"));
    }
    line
}

/// What the sink inside this process has got.
pub(crate) fn of_sink(stats: &Stats) -> String {
    format!(
        "sink: {} for {}, {}, at most {} at once",
        counted(stats.mails, "mail"),
        counted(stats.recipients, "recipient"),
        octets(stats.bytes),
        counted(stats.connections.open_max, "connection"),
    )
}
