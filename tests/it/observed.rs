//! What an engine shows of itself: to observers, and to subscribers of `tracing`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use posthaste::Mailer;
use posthaste::scheduler::{
    Class, DestinationLimits, Observation, Observer, PlannerConfig, Record, RetryPolicy, Scheduler,
    SchedulerConfig, Submission, TenantId,
};
use posthaste_sink::Sink;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};

use crate::engine::{mail, sink};

const PATIENCE: Duration = Duration::from_secs(30);

/// A scheduler for a sink that defers the first mail of each recipient once.
async fn deferring(observer: Option<Arc<dyn Observer>>) -> (Scheduler, Submission, Sink) {
    let sink = sink("fault=at%3Dmail%20first%3D1%20reply%3D%22451%204.3.0%20later%22").await;
    let retry = RetryPolicy { min: Duration::from_millis(1), ..RetryPolicy::default() };
    let planner = PlannerConfig { retry, ..PlannerConfig::default() };
    let config = SchedulerConfig { planner, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(config, observer);
    let connector = Mailer::builder(&sink.addr().to_string()).unwrap().connector().unwrap();
    let limits = DestinationLimits { max_connections: 1, ..DestinationLimits::default() };
    let to = Submission::new(scheduler.add_server(connector, limits));
    (scheduler, to, sink)
}

/// The numbers of mails that were attempted, and which were reported of which class for whom.
#[derive(Default)]
struct Seen {
    attempted: Mutex<Vec<u64>>,
    reported: Mutex<Vec<(u64, Class, TenantId, usize)>>,
}

impl Observer for Seen {
    fn observe(&self, observation: Observation<'_>) {
        match observation {
            Observation::Attempted(.., mail) => self.attempted.lock().unwrap().push(mail),
            Observation::Reported { mail, class, tenant, report } => {
                let seen = (mail, class, tenant, report.recipients.len());
                self.reported.lock().unwrap().push(seen);
            }
            _ => {}
        }
    }
}

/// A mail has a number, by which its attempts are known; a mail for many has one number and one report.
#[tokio::test]
async fn mails_are_known_by_their_number() {
    let seen = Arc::new(Seen::default());
    let (scheduler, to, sink) = deferring(Some(Arc::clone(&seen) as Arc<dyn Observer>)).await;
    let tenant = scheduler.add_tenant(2);
    scheduler.send(to.class(Class::Interactive).tenant(tenant), mail(1, 1)).await;
    scheduler.send(to, mail(2, 150)).await;
    scheduler.shutdown(Duration::from_secs(10)).await;
    assert_eq!(*seen.attempted.lock().unwrap(), [1, 1, 2, 2]);
    let expected = [(1, Class::Interactive, tenant, 1), (2, Class::Normal, TenantId::DEFAULT, 150)];
    assert_eq!(*seen.reported.lock().unwrap(), expected);
    sink.shutdown().await;
}

/// Panics when it sees something for the first time.
struct Upset {
    by: fn(&Observation<'_>) -> bool,
    is_over: AtomicBool,
}

impl Observer for Upset {
    fn observe(&self, observation: Observation<'_>) {
        let is_upset = (self.by)(&observation) && !self.is_over.swap(true, Ordering::Relaxed);
        assert!(!is_upset, "upset, as it should be");
    }
}

/// An observer that panics takes a connection with it, and no mail: neither the one that it saw, nor the next one, which
/// that connection had just taken.
#[tokio::test]
async fn an_observer_that_panics_loses_no_mail() {
    let causes: [fn(&Observation<'_>) -> bool; 3] = [
        |seen| matches!(seen, Observation::Attempted(..)),
        |seen| matches!(seen, Observation::Record(Record::Deferred { .. })),
        |seen| matches!(seen, Observation::Reported { .. }),
    ];
    for by in causes {
        let upset = Arc::new(Upset { by, is_over: AtomicBool::new(false) });
        let (scheduler, to, sink) = deferring(Some(Arc::clone(&upset) as Arc<dyn Observer>)).await;
        let sends = (1..=4).map(|number| scheduler.send(to, mail(number, 1)));
        let reports = tokio::time::timeout(PATIENCE, join_all(sends)).await.unwrap();
        assert!(upset.is_over.load(Ordering::Relaxed));
        for report in reports {
            assert!(report.is_delivered(), "{report:?}");
        }
        scheduler.shutdown(Duration::from_secs(10)).await;
        sink.shutdown().await;
    }
}

/// Writes down every span and event, as one line each.
#[derive(Default)]
struct Lines {
    ids: AtomicU64,
    lines: Mutex<Vec<String>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

/// By a handle, so that the lines can be read while it subscribes.
struct Collector(Arc<Lines>);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("posthaste")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        self.0.lines.lock().unwrap().push(line.0);
        Id::from_u64(self.0.ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lines.lock().unwrap().push(line.0);
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Connections and attempts are spans; nobody's mailbox is in them.
#[tokio::test]
async fn connections_and_attempts_are_traced() {
    let lines = Arc::new(Lines::default());
    let guard = tracing::subscriber::set_default(Collector(Arc::clone(&lines)));
    let (scheduler, to, sink) = deferring(None).await;
    assert!(scheduler.send(to, mail(1, 1)).await.is_delivered());
    scheduler.shutdown(Duration::from_secs(10)).await;
    drop(guard);
    sink.shutdown().await;
    let lines = lines.lines.lock().unwrap();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("connection server="), 1, "{lines:#?}");
    assert_eq!(count("attempt mail=1"), 2, "{lines:#?}");
    assert_eq!(count(" message=attempted delivered=1"), 1, "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains('@')), "{lines:#?}");
}
