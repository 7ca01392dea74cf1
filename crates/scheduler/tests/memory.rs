//! How much memory a queued mail takes beyond its content.

use std::time::Duration;

use allocation_counter::measure;
use futures_util::{FutureExt, StreamExt, stream};
use posthaste_connection::{Connector, DialSettings, Server, TlsClient, TlsSettings};
use posthaste_scheduler::{
    DestinationLimits, NewJob, Planner, PlannerConfig, Scheduler, SchedulerConfig, Time,
};
use posthaste_session::{ClientName, Config, Content, Envelope, Mail, Mailbox, TlsPolicy};

/// Where nothing is ever sent, since the runtime has no time for it.
fn connector() -> Connector {
    let mut config = Config::new(ClientName::from(std::net::IpAddr::from([127, 0, 0, 1])));
    config.tls = TlsPolicy::Off;
    let tls = TlsClient::new(&TlsSettings::default()).unwrap();
    let server = Server::smtp("127.0.0.1", 9);
    Connector::new(server, config, None, DialSettings::default(), tls).unwrap()
}

/// Queues so many mails of one content, each with a recipient of 20 octets, and says how many octets each takes.
fn octets_per_mail(mails: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let config = SchedulerConfig { intake: usize::MAX, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(config, None);
    let server = scheduler.add_server(connector(), DestinationLimits::default());
    let from: Mailbox = "news@shop.example".parse().unwrap();
    let content = Content::new("Subject: news\r\n\r\nBuy!\r\n").unwrap();
    let mail = move |number| {
        let to: Mailbox = format!("u{number:07}@example.org").parse().unwrap();
        Mail::new(Envelope::new(from.clone(), [to]).unwrap(), content.clone())
    };
    let mut reports = scheduler.send_all(server, stream::iter((0..mails).map(mail)));
    let measured = measure(|| {
        // Each poll takes some mails from the stream.
        while scheduler.destination_status(server).ready < mails as u32 {
            assert!(reports.next().now_or_never().is_none());
        }
    });
    u64::try_from(measured.bytes_current).unwrap() / mails as u64
}

/// SCHED-09: so that a million mails fit into a small machine. What the planner knows of each is apart, so that
/// one sees who grows.
#[test]
fn a_queued_mail_is_small() {
    // Just over a power of two: what doubles would show. With `POSTHASTE_SLOW` a million.
    let is_slow = std::env::var_os("POSTHASTE_SLOW").is_some_and(|value| value == "1");
    let mails = if is_slow { 1_000_000 } else { 140_000 };
    let (all, planner) = (octets_per_mail(mails), planners_octets_per_mail(mails));
    println!("{all} octets a mail of {mails}, {planner} of them the planner's");
    assert!(all - planner <= 80, "the engine has {} octets", all - planner);
    assert!(all < 200, "{all} octets, {planner} of them the planner's");
}

/// The same for a planner alone.
fn planners_octets_per_mail(mails: usize) -> u64 {
    let mut planner = Planner::new(PlannerConfig::default(), 0);
    let destination = planner.add_destination(DestinationLimits::default(), &[]);
    let mut actions = Vec::new();
    let measured = measure(|| {
        for number in 0..mails as u64 {
            let now = Time::EPOCH + Duration::from_micros(number);
            planner.submit(now, NewJob::new(destination), &mut actions);
            actions.clear();
        }
    });
    u64::try_from(measured.bytes_current).unwrap() / mails as u64
}
