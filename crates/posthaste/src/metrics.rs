//! Counters, gauges and histograms through the crate [`metrics`](https://docs.rs/metrics), for Prometheus and
//! others.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `posthaste_mails` | gauge | `state`: `queued`, `sending` | mails that are ready to be sent, or on their way |
//! | `posthaste_servers` | gauge | `state`: `normal`, `probing`, `slowed`, `backing_off`, `held` | servers by how they do |
//! | `posthaste_held_up` | gauge | | flows and destinations that a rate limit holds up |
//! | `posthaste_connections` | gauge | `state`: `opening`, `established` | connections that there are |
//! | `posthaste_recipients_total` | counter | `state`: `delivered`, `failed`, `deferred`, `in_doubt` | recipients by final outcome |
//! | `posthaste_attempts_total` | counter | `result`: `accepted`, `partial`, `deferred`, `refused`, `not_sent`, `in_doubt` | attempts; `partial` where not all recipients were accepted |
//! | `posthaste_connections_opened_total` | counter | `result`: `ready`, `unreachable`, `refused` | connections that were opened, or could not be |
//! | `posthaste_connections_closed_total` | counter | `how`, as in [`EventKind::ConnectionClosed`](crate::events::EventKind::ConnectionClosed) | sessions that ended |
//! | `posthaste_back_offs_total` | counter | | failures after which a server was left alone |
//! | `posthaste_holds_total` | counter | `why`: `full`, `throttled`, `credentials`, … | other reasons to leave a server alone |
//! | `posthaste_recoveries_total` | counter | | servers that worked again |
//! | `posthaste_limits_learned_total` | counter | `limit`: `connections`, `mails_per_connection`, `mails_per_minute`, `recipients`, `mails_at_a_time`, `pipelining`, `greylisting` | limits of servers that were found out |
//! | `posthaste_setup_seconds` | histogram | `stage`: `connect`, `tls`, `greeting`, `ehlo`, `auth` | how long opening a connection took |
//! | `posthaste_transaction_seconds` | histogram | `stage`: `envelope`, `data`, `final`, `all` | how long a mail transaction took |
//! | `posthaste_queued_seconds` | histogram | | how long mails waited for their first attempt |
//! | `posthaste_mail_seconds` | histogram | | how long mails took in all |
//!
//! Nothing is labelled by server or domain, of which there may be many.
//!
//! ```
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use posthaste::metrics::Metrics;
//! use posthaste::{Mailer, Transcript};
//!
//! let metrics = Arc::new(Metrics::new()); // with the recorder of this moment
//! let mailer = Mailer::builder("mx.example")?.observer(metrics.clone(), Transcript::Off).build()?;
//! // Before each look:
//! metrics.measure(&mailer);
//! # Ok(()) }
//! ```

use std::fmt;
use std::time::Instant;

use ::metrics::{Counter, Gauge, Histogram, Unit};
use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use posthaste_connection::Info;
use posthaste_scheduler::{Observation, Observer, Record, Report, ServerStatus};
use posthaste_session::{CloseReason, Finished, Outcome, Session, Stage};

use crate::Mailer;
use crate::events::how;

/// What [`how`] says.
const HOW: [&str; 9] = [
    "quit",
    "refused",
    "shutdown",
    "lost",
    "timeout",
    "violation",
    "objected",
    "unavailable",
    "aborted",
];
/// What [`Hold::as_str`](posthaste_scheduler::Hold::as_str) says.
const HELD: [&str; 6] = ["full", "throttled", "credentials", "requirement", "unwelcome", "local"];
/// As in [`Limit`](crate::events::Limit).
const LIMITS: [&str; 7] = [
    "connections",
    "mails_per_connection",
    "mails_per_minute",
    "recipients",
    "mails_at_a_time",
    "pipelining",
    "greylisting",
];
/// What [`ServerState::as_str`](posthaste_scheduler::ServerState::as_str) says.
const STATES: [&str; 5] = ["normal", "probing", "slowed", "backing_off", "held"];

/// Counts and times what it observes. See the [module's page](crate::metrics).
pub struct Metrics {
    held_up: Gauge,
    mails: [Gauge; 2],
    servers: [(&'static str, Gauge); 5],
    connections: [Gauge; 2],
    recipients: Counters,
    attempts: Counters,
    opened: Counters,
    closed: Counters,
    holds: Counters,
    limits: Counters,
    back_offs: Counter,
    recoveries: Counter,
    connect: Histogram,
    tls: Histogram,
    greeting: Histogram,
    ehlo: Histogram,
    auth: Histogram,
    envelope: Histogram,
    data: Histogram,
    finish: Histogram,
    all: Histogram,
    queued: Histogram,
    mail: Histogram,
}

/// Counters of one name, by the value of their label.
struct Counters(Vec<(&'static str, Counter)>);

impl Metrics {
    /// Registers everything with the recorder of this moment: the global one, unless there is
    /// another [for this thread](::metrics::with_local_recorder).
    pub fn new() -> Self {
        describe();
        let setup = |stage| histogram!("posthaste_setup_seconds", "stage" => stage);
        let transaction = |stage| histogram!("posthaste_transaction_seconds", "stage" => stage);
        Self {
            mails: ["queued", "sending"].map(|state| gauge!("posthaste_mails", "state" => state)),
            held_up: gauge!("posthaste_held_up"),
            servers: STATES.map(|state| (state, gauge!("posthaste_servers", "state" => state))),
            connections: ["opening", "established"]
                .map(|state| gauge!("posthaste_connections", "state" => state)),
            recipients: Counters::new(
                "posthaste_recipients_total",
                "state",
                &["delivered", "failed", "deferred", "in_doubt"],
            ),
            attempts: Counters::new(
                "posthaste_attempts_total",
                "result",
                &["accepted", "partial", "deferred", "refused", "not_sent", "in_doubt"],
            ),
            opened: Counters::new(
                "posthaste_connections_opened_total",
                "result",
                &["ready", "unreachable", "refused"],
            ),
            closed: Counters::new("posthaste_connections_closed_total", "how", &HOW),
            holds: Counters::new("posthaste_holds_total", "why", &HELD),
            limits: Counters::new("posthaste_limits_learned_total", "limit", &LIMITS),
            back_offs: counter!("posthaste_back_offs_total"),
            recoveries: counter!("posthaste_recoveries_total"),
            connect: setup("connect"),
            tls: setup("tls"),
            greeting: setup("greeting"),
            ehlo: setup("ehlo"),
            auth: setup("auth"),
            envelope: transaction("envelope"),
            data: transaction("data"),
            finish: transaction("final"),
            all: transaction("all"),
            queued: histogram!("posthaste_queued_seconds"),
            mail: histogram!("posthaste_mail_seconds"),
        }
    }

    /// Sets the gauges to what is so now. To be called before somebody looks.
    pub fn measure(&self, mailer: &Mailer) {
        let servers = mailer.servers();
        let sum = |count: fn(&ServerStatus) -> u32| -> f64 {
            servers.iter().map(|server| f64::from(count(&server.status))).sum()
        };
        // What waits is told of each server, and waits for any of them.
        let queued = servers.first().map_or(0, |server| server.status.ready);
        let [waiting, sending] = &self.mails;
        waiting.set(f64::from(queued));
        sending.set(sum(|status| status.in_flight));
        self.held_up.set(mailer.scheduler().held_up() as f64);
        let [opening, established] = &self.connections;
        opening.set(sum(|status| status.connecting));
        established.set(sum(|status| status.established));
        for (state, gauge) in &self.servers {
            let count = servers.iter().filter(|server| server.status.state.as_str() == *state);
            gauge.set(count.count() as f64);
        }
    }

    fn record(&self, record: Record) {
        match record {
            Record::BackOff { .. } => self.back_offs.increment(1),
            Record::Recovered { .. } => self.recoveries.increment(1),
            Record::Held { hold, .. } => self.holds.increment(hold.as_str()),
            Record::CeilingLearned { .. } => self.limits.increment("connections"),
            Record::PipeliningLearned { .. } => self.limits.increment("pipelining"),
            Record::SessionCapLearned { .. } => self.limits.increment("mails_per_connection"),
            Record::RecipientCapLearned { .. } => self.limits.increment("recipients"),
            Record::PaceLearned { .. } => self.limits.increment("mails_per_minute"),
            Record::GreylistLearned { .. } => self.limits.increment("greylisting"),
            Record::Overloaded { .. } => self.limits.increment("mails_at_a_time"),
            _ => {}
        }
    }

    fn ready(&self, info: &Info, session: &Session) {
        self.opened.increment("ready");
        let setup = session.setup_timing();
        self.connect.record(info.connect_time);
        if let Some(tls) = &info.tls {
            self.tls.record(tls.time);
        }
        between(&self.greeting, Some(setup.started), setup.greeted);
        between(&self.ehlo, setup.hello, setup.introduced);
        // Without AUTH the reply to EHLO is what makes it ready.
        if setup.introduced != setup.ready {
            between(&self.auth, setup.introduced, setup.ready);
        }
    }

    fn attempted(&self, finished: &Finished) {
        self.attempts.increment(result(&finished.outcomes));
        let timing = &finished.timing;
        between(&self.envelope, timing.mail, timing.data);
        between(&self.data, timing.data, timing.content);
        between(&self.finish, timing.content, timing.finished);
        between(&self.all, timing.mail, timing.finished);
    }

    fn closed(&self, reason: &CloseReason) {
        self.closed.increment(how(reason));
        let is_refused = match reason {
            CloseReason::Refused { stage, .. } => *stage <= Stage::Auth,
            CloseReason::Unavailable(_) => true,
            CloseReason::Quit
            | CloseReason::Shutdown { .. }
            | CloseReason::Lost { .. }
            | CloseReason::Timeout { .. }
            | CloseReason::Violation { .. }
            | CloseReason::Objected { .. }
            | CloseReason::Aborted { .. } => false,
        };
        if is_refused {
            self.opened.increment("refused");
        }
    }

    fn reported(&self, report: &Report) {
        self.queued.record(report.timing.queued());
        self.mail.record(report.timing.total());
        for recipient in &report.recipients {
            self.recipients.increment(recipient.state.as_str());
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Observer for Metrics {
    fn observe(&self, observation: Observation<'_>) {
        match observation {
            Observation::Record(record) => self.record(record),
            Observation::Ready(_, _, info, session) => self.ready(info, session),
            Observation::Attempted(_, _, finished, ..) => self.attempted(finished),
            Observation::Reported { report, .. } => self.reported(report),
            Observation::Failed(..) => self.opened.increment("unreachable"),
            Observation::Closed(_, _, reason) => self.closed(reason),
            _ => {}
        }
    }
}

impl Counters {
    fn new(name: &'static str, label: &'static str, values: &[&'static str]) -> Self {
        let counter = |&value| (value, counter!(name, label => value));
        Self(values.iter().map(counter).collect())
    }

    fn increment(&self, value: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == value) {
            counter.increment(1);
        }
    }
}

/// What came of an attempt, in a word.
fn result(outcomes: &[Outcome]) -> &'static str {
    let any = |is_one: fn(&Outcome) -> bool| outcomes.iter().any(is_one);
    let is_transient = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.is_transient(),
        Outcome::Delivered(_) | Outcome::NotSent(_) | Outcome::InDoubt => false,
    };
    if any(|outcome| matches!(outcome, Outcome::InDoubt)) {
        "in_doubt"
    } else if outcomes.iter().all(Outcome::is_delivered) {
        "accepted"
    } else if any(Outcome::is_delivered) {
        "partial"
    } else if any(is_transient) {
        "deferred"
    } else if any(|outcome| matches!(outcome, Outcome::Refused(_))) {
        "refused"
    } else {
        "not_sent"
    }
}

fn between(times: &Histogram, from: Option<Instant>, to: Option<Instant>) {
    if let (Some(from), Some(to)) = (from, to) {
        times.record(to.saturating_duration_since(from));
    }
}

fn describe() {
    describe_gauge!("posthaste_held_up", "Flows and destinations that a rate limit holds up");
    describe_gauge!("posthaste_mails", "Mails that are ready to be sent, or on their way");
    describe_gauge!("posthaste_connections", "Connections that there are");
    describe_gauge!("posthaste_servers", "Servers by how they do");
    for (name, text) in [
        ("posthaste_recipients_total", "Recipients by final outcome"),
        ("posthaste_attempts_total", "Attempts at mails by their result"),
        ("posthaste_connections_opened_total", "Connections that were opened, or could not be"),
        ("posthaste_connections_closed_total", "Sessions that ended, by how"),
        ("posthaste_back_offs_total", "Failures after which a server was left alone"),
        ("posthaste_holds_total", "Other reasons to leave a server alone"),
        ("posthaste_recoveries_total", "Servers that worked again"),
        ("posthaste_limits_learned_total", "Limits of servers that were found out"),
    ] {
        describe_counter!(name, text);
    }
    for (name, text) in [
        ("posthaste_setup_seconds", "How long opening a connection took"),
        ("posthaste_transaction_seconds", "How long a mail transaction took"),
        ("posthaste_queued_seconds", "How long mails waited for their first attempt"),
        ("posthaste_mail_seconds", "How long mails took in all"),
    ] {
        describe_histogram!(name, Unit::Seconds, text);
    }
}
