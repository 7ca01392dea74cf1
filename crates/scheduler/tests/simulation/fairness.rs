//! Nobody waits for somebody else's backlog.

use std::time::Duration;

use posthaste_scheduler::{Class, TenantId, Time};
use posthaste_testkit::simulation::{Latency, Millis, ServerModel, Simulation, Wave};

use crate::common::*;

/// 100 ms a mail, and a round trip.
fn steady() -> ServerModel {
    ServerModel { service: Latency::Between(Millis(80), Millis(120)), ..ServerModel::default() }
}

/// 1 where everybody got the same, 1/n where one got all.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// Recipients who got their mail in a time, by tenant.
fn shares(simulation: &Simulation, tenants: &[TenantId], from: Time, to: Time) -> Vec<f64> {
    let count = |tenant: &TenantId| {
        let of_tenant = simulation.closed().iter().filter(|mail| {
            mail.new.tenant == *tenant && (from..to).contains(&mail.report.timing.ended)
        });
        of_tenant.map(|mail| mail.report.recipients.len()).sum::<usize>() as f64
    };
    tenants.iter().map(count).collect()
}

/// Ten tenants of one weight, each with a backlog: in any ten seconds they get the same.
#[test]
fn tenants_share_alike() {
    let mut simulation = empty(40);
    simulation.add_server(limits(10), steady());
    let tenants: Vec<_> = (0..10).map(|_| simulation.add_tenant(1)).collect();
    for (number, tenant) in tenants.iter().enumerate() {
        // One after the other, of very different size, and to one or to many.
        let recipients = [1, 1, 2, 5, 10][number % 5];
        let count = 20_000 / recipients;
        let tenant = tenant.index() as u32;
        simulation.submit(Wave { tenant, recipients, ..mails(count) });
    }
    simulation.run_until(at(70));
    for from in (10..60).step_by(5) {
        let shares = shares(&simulation, &tenants, at(from), at(from + 10));
        let fairness = jain(&shares);
        assert!(fairness >= 0.95, "{fairness} at {from} s: {shares:?}");
    }
}

/// Whoever weighs three times as much gets three times as much.
#[test]
fn tenants_share_by_weight() {
    let mut simulation = empty(41);
    simulation.add_server(limits(10), steady());
    let tenants: Vec<_> = [1, 3].map(|weight| simulation.add_tenant(weight)).into();
    for tenant in &tenants {
        simulation.submit(Wave { tenant: tenant.index() as u32, ..mails(10_000) });
    }
    simulation.run_until(at(40));
    let shares = shares(&simulation, &tenants, at(10), at(40));
    let ratio = shares[1] / shares[0];
    assert!((2.7..3.3).contains(&ratio), "{shares:?}");
}

/// A tenant with one mail does not stand in another one's queue.
#[test]
fn a_small_tenant_does_not_wait_for_a_big_one() {
    let mut simulation = empty(42);
    simulation.add_server(limits(5), steady());
    let [big, small] = [1, 1].map(|weight| simulation.add_tenant(weight));
    simulation.submit(Wave { tenant: big.index() as u32, ..mails(20_000) });
    let tenant = small.index() as u32;
    simulation.submit(Wave { tenant, at: seconds(10), every: seconds(1), ..mails(20) });
    simulation.run_until(at(60));
    let of_small = simulation.closed().iter().filter(|mail| mail.new.tenant == small);
    let delays: Vec<_> = of_small.map(|mail| mail.report.timing.total()).collect();
    assert_eq!(delays.len(), 20);
    assert!(delays.iter().all(|delay| *delay < Duration::from_millis(3 * 145)), "{delays:?}");
}

/// An interactive mail behind a hundred thousand bulk ones, or a million, waits for no more than what
/// is being sent.
#[test]
fn an_interactive_mail_overtakes_the_bulk() {
    let mut simulation = empty(43);
    simulation.add_server(limits(5), steady());
    simulation.submit(Wave { class: Class::Bulk, ..mails(100_000 * scale()) });
    let class = Class::Interactive;
    simulation.submit(Wave { class, at: seconds(10), every: Millis(500), ..mails(100) });
    simulation.run_until(at(90));
    let delays = delays(&simulation, class);
    assert_eq!(delays.len(), 100);
    let longest = delays.iter().max().unwrap();
    println!("longest {longest:?}");
    // One mail's time, that of the one that follows it on the wire already, and its own.
    assert!(*longest <= Duration::from_millis(3 * 145), "{longest:?}");
}

/// Nor for more than one mail with a hundred recipients, of which each connection has one.
#[test]
fn an_interactive_mail_waits_for_one_batch_at_most() {
    let mut simulation = empty(44);
    let model = ServerModel {
        service: Latency::Between(seconds(10), seconds(12)),
        ..ServerModel::default()
    };
    simulation.add_server(limits(5), model);
    simulation.submit(Wave { class: Class::Bulk, recipients: 100, ..mails(1000) });
    let class = Class::Interactive;
    simulation.submit(Wave { class, at: seconds(60), every: seconds(30), ..mails(5) });
    simulation.run_until(at(300));
    let delays = delays(&simulation, class);
    assert_eq!(delays.len(), 5);
    let longest = delays.iter().max().unwrap();
    println!("longest {longest:?}");
    // A batch at most, and its own time.
    assert!(*longest <= 2 * secs(12) + Duration::from_millis(200), "{longest:?}");
}

/// Bulk mail gets its share, however much interactive mail there is.
#[test]
fn bulk_mail_does_not_starve() {
    let mut simulation = empty(45);
    simulation.add_server(limits(5), steady());
    for class in [Class::Bulk, Class::Normal, Class::Interactive] {
        simulation.submit(Wave { class, ..mails(10_000) });
    }
    simulation.run_until(at(60));
    let count =
        |class| simulation.closed().iter().filter(|mail| mail.new.class == class).count() as f64;
    let [bulk, normal, interactive] = [Class::Bulk, Class::Normal, Class::Interactive].map(count);
    let all = bulk + normal + interactive;
    println!("{bulk} {normal} {interactive}");
    assert!(bulk >= all / 12.0 * 0.8, "{bulk} of {all}");
    assert!(normal >= all / 12.0 * 3.0 * 0.8, "{normal} of {all}");
    assert!(interactive <= all * 0.9 && interactive >= all / 2.0, "{interactive} of {all}");
}
