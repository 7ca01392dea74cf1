//! Many mails to many destinations.

use std::time::Instant;

use posthaste_testkit::simulation::{Detail, ServerModel, Simulation, Wave};

use crate::common::*;

fn many(mails: u32, destinations: u32) -> Simulation {
    let mut simulation = empty(70).with_detail(Detail::Lean);
    for _ in 0..destinations {
        simulation.add_server(limits(5), ServerModel::default());
    }
    // A thousand destinations a second: what comes all at once mostly measures the memory.
    let (waves, spread) = (destinations.div_ceil(1000), destinations.min(1000));
    for wave in 0..waves {
        let (at, destination) = (seconds(wave.into()), wave * spread);
        simulation.submit(Wave { at, destination, spread, ..crate::common::mails(mails / waves) });
    }
    simulation
}

/// A hundred thousand mails to ten thousand destinations; with `POSTHASTE_SLOW` ten times as much.
#[test]
fn many_mails_to_many_destinations() {
    let scale = scale();
    let start = Instant::now();
    let mut simulation = many(100_000 * scale, 10_000 * scale);
    simulation.run_to_the_end();
    let took = start.elapsed();
    println!("{took:?}: {:?}", simulation.tally());
    assert_eq!(simulation.totals().delivered, 100_000 * scale as usize);
    if !cfg!(debug_assertions) {
        assert!(took.as_secs_f64() < 0.5 * f64::from(scale), "{took:?}");
    }
}
