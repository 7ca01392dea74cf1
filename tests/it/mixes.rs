//! Random mixes of faults, limits and restarts: whatever they do to each other, the books balance.

use std::time::Duration;

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use posthaste::scheduler::SchedulerConfig;
use posthaste::session::{Credentials, Timeouts};
use posthaste_sink::{Sink, TlsUse, User};

use crate::audit::{Tally, audit, close};
use crate::faults::{POLICIES, mailer, options, quick, send};
use crate::interop::count;
use crate::tls::trusting;
use crate::witness::Witness;

const MAILS: usize = 100;
/// Mixes at a time: most of them wait for something most of the time.
const AT_ONCE: usize = 16;

/// What can go wrong, each with a small probability. None of it makes the sink a liar: what it
/// says that it took, it took, and nothing else. Left out are only faults that would have the
/// engine wait for minutes: greylisting that asks for them, and refusals in the greeting.
const FAULTS: &[&str] = &[
    "at=connect close=rst",
    "at=greeting close=fin",
    "at=greeting delay=20ms",
    "at=greeting reply=\"450 4.3.2 busy\"",
    "at=greeting raw=\"hello\\r\\n\"",
    "at=greeting stall=true",
    "at=starttls reply=\"454 4.7.0 no TLS at the moment\"",
    "at=starttls close=fin",
    "at=starttls surplus=\"250 more\\r\\n\"",
    "at=tls close=rst",
    "at=tls stall=true",
    "at=auth reply=\"454 4.7.0 later\"",
    "at=auth close=fin",
    "at=auth stall=true",
    "at=ehlo reply=\"421 4.3.2 bye\"",
    "at=ehlo reply=\"451 4.3.0 later\"",
    "at=ehlo close=rst",
    "at=ehlo trickle=1ms",
    "at=mail reply=\"451 4.3.0 later\"",
    "at=mail reply=\"550 5.1.0 no\"",
    "at=mail reply=\"421 4.3.2 bye\" close=fin",
    "at=mail reply=\"503 5.5.1 sequence\"",
    "at=mail close=fin",
    "at=mail surplus=\"250 more\\r\\n\"",
    "at=mail stall=true",
    "at=rcpt reply=\"450 4.2.1 busy\"",
    "at=rcpt reply=\"550 5.1.1 unknown\"",
    "at=rcpt reply=\"452 4.5.3 too many recipients\"",
    "at=rcpt reply=\"421 4.3.2 bye\" close=fin",
    "at=rcpt close=rst",
    "at=rcpt garbage=\"\\xff\\xff\\r\\n\"",
    "at=rcpt surplus=\"550 more\\r\\n\"",
    "at=rcpt delay=5ms",
    "at=rcpt stall=true",
    "at=data reply=\"451 4.3.0 later\"",
    "at=data reply=\"554 5.6.0 no\"",
    "at=data reply=\"250 what?\"",
    "at=data reply=\"421 4.3.2 bye\" close=rst",
    "at=data close=fin",
    "at=data trickle=1ms",
    "at=data stall=true",
    "at=content bytes=300 close=rst",
    "at=content bytes=300 close=fin",
    "at=content bytes=300 reply=\"421 4.3.2 bye\" close=fin",
    "at=content bytes=300 delay=5ms",
    "at=content bytes=300 stall=true",
    "at=final reply=\"451 4.3.0 later\"",
    "at=final reply=\"554 5.6.0 no\"",
    "at=final reply=\"421 4.3.2 bye\" close=fin",
    "at=final reply=\"354 what?\"",
    "at=final raw=\"250\" store=true close=fin",
    "at=final raw=\"2x0 ok\\r\\n\" store=true",
    "at=final surplus=\"250 more\\r\\n\"",
    "at=final trickle=1ms",
    "at=final close=rst store=true",
    "at=final close=fin store=false",
    "at=final stall=true store=true",
    "at=final stall=true store=false",
    "at=rset reply=\"502 5.5.1 no\"",
    "at=rset reply=\"421 4.3.2 bye\" close=fin",
    "at=rset close=rst",
    "at=quit close=rst",
    "at=quit stall=true",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_whatever_goes_wrong() {
    let seeds = count("mixes::the_books_balance_whatever_goes_wrong", "mixes", 100, 500);
    let runs = (0..seeds as u64).map(|seed| async move {
        let rules = rules(&mut Rng::with_seed(seed));
        let run = tokio::spawn(run(seed, rules.clone()));
        // Its own panic has said what is wrong.
        run.await.unwrap_or_else(|_| panic!("seed {seed}: {rules:#?}"))
    });
    let tallies: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    // The mixes are neither harmless nor deadly.
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let counts =
        [sum(|it| it.delivered), sum(|it| it.failed), sum(|it| it.deferred), sum(|it| it.in_doubt)];
    println!("delivered, failed, deferred, in doubt: {counts:?}");
    assert!(counts.iter().all(|&count| count > seeds), "{counts:?}");
}

/// One to six faults, each with a probability of 1 to 10 %.
fn rules(rng: &mut Rng) -> Vec<String> {
    let mut faults = FAULTS.to_vec();
    rng.shuffle(&mut faults);
    faults.truncate(rng.usize(1..=6));
    let rule = |fault| format!("{fault} prob=0.{:02}", rng.u32(1..=10));
    faults.into_iter().map(rule).collect()
}

/// The server is gone for a while, and back with what it has stored.
async fn restart(sink: &Sink, outage: Duration) {
    sink.suspend().await;
    tokio::time::sleep(outage).await;
    sink.resume().await.unwrap();
}

async fn run(seed: u64, rules: Vec<String>) -> Tally {
    let mut rng = Rng::with_seed(seed);
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    let mut options = options(&rules);
    let config = options.config_mut();
    config.seed = seed;
    config.limits.max_per_conn = rng.bool().then(|| rng.u64(1..=10));
    config.limits.max_rcpts = rng.bool().then(|| rng.usize(1..=3));
    config.limits.greylist = (rng.u32(0..4) == 0).then(|| Duration::from_millis(20));
    // A stalled session holds its place for ever.
    let is_stalling = rules.iter().any(|rule| rule.contains("stall"));
    let is_small = !is_stalling && rng.u32(0..4) == 0;
    config.limits.max_conns = is_small.then(|| rng.u64(2..=4));
    let secure = rng.bool();
    if secure {
        config.tls = TlsUse::Required;
        config.users = vec![User { name: "news".to_owned(), password: "secret".to_owned() }];
    }
    let sink = options.start().await.unwrap();
    let witness = Witness::before(sink.addr()).await;
    let mut mailer = mailer(witness.addr())
        .scheduler(SchedulerConfig { seed, ..quick() })
        .timeouts(Timeouts::uniform(Duration::from_millis(200)))
        .pipelining(POLICIES[rng.usize(..POLICIES.len())])
        .max_connections(rng.u32(1..=6));
    if secure {
        let settings = trusting(sink.ca_pem().unwrap(), Some("sink.localhost"));
        mailer = mailer.credentials(Credentials::new("news", "secret").unwrap());
        mailer = mailer.tls_settings(settings);
    }
    if rng.bool() {
        mailer = mailer.max_mails_per_connection(rng.u32(1..=10));
    }
    let mailer = mailer.build().unwrap();
    let recipients = rng.usize(1..=3);
    let time = Duration::from_millis(rng.u64(0..100));
    let meanwhile = rng.u32(0..3);
    let interrupt = async {
        if meanwhile == 2 {
            return;
        }
        sink.wait_for(MAILS as u64 / 4).await;
        match meanwhile {
            0 => mailer.shutdown_within(time).await,
            _ => restart(&sink, time).await,
        }
    };
    let (reports, ()) = tokio::join!(send(&mailer, MAILS, recipients), interrupt);
    mailer.shutdown().await;
    let (stored, mut stats) = close(sink).await;
    witness.check();
    // A reply too many, or a refused RSET with MAIL in the same group, leads a client into
    // breaking rules without knowing. It must not lead it into sending anything wrong.
    if rules.iter().any(|rule| rule.contains("surplus") || rule.contains("502")) {
        stats.violations.clear();
    }
    audit(&reports, &stats, &stored)
}
