//! The engine under load, whole, as its users have it.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::scheduler::{PipeliningPolicy, SchedulerConfig};
use posthaste::session::Pipelining;
use posthaste::{Content, Envelope, ForwardPath, Mail, Mailbox, Mailer};

use crate::load::{FROM, Load, TO};

/// Sends a load by scheduler, connections and sessions. Addresses and contents are checked mail by
/// mail. Returns how long that took, up to the last report.
///
/// # Panics
///
/// When a mail is not delivered.
///
/// # Cancel safety
///
/// What was not delivered by then is not.
pub async fn send(load: Load, mode: Pipelining) -> Duration {
    let start = Instant::now();
    let from: Mailbox = FROM.parse().unwrap();
    let to: ForwardPath = TO.parse().unwrap();
    let contents = load.contents();
    let mails = stream::iter((0..load.mails).map(move |number| {
        let envelope = Envelope::new(from.clone(), [to.clone()]).unwrap();
        Mail::new(envelope, Content::new(contents.content(number)).unwrap())
    }));
    let intake = load.connections * AHEAD * load.size;
    let scheduler =
        SchedulerConfig { intake: intake.max(INTAKE_MIN), ..SchedulerConfig::default() };
    let mailer = Mailer::builder(&load.server.to_string()).unwrap().scheduler(scheduler);
    let mailer = mailer
        .max_connections(u32::try_from(load.connections).unwrap())
        .pipelining(PipeliningPolicy::Fixed(mode))
        .unyielding()
        .build()
        .unwrap();
    let mut reports = mailer.send_all(mails);
    let mut delivered = 0;
    while let Some((_, report)) = reports.next().await {
        assert!(report.is_delivered(), "{report:?}");
        delivered += 1;
    }
    let elapsed = start.elapsed();
    assert_eq!(delivered, load.mails);
    mailer.shutdown().await;
    elapsed
}

/// Mails under way for each connection: more than a window, so that none waits for the next mail.
const AHEAD: usize = 256;

/// Octets that may be under way in any case.
const INTAKE_MIN: usize = 4 << 20;
