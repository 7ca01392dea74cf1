//! One connection: what it may use, and when it is replaced.

use std::time::Duration;

use super::super::connection::Phase;
use super::super::*;
use super::world::{World, accepted, again, at};
use crate::failure::{Charge, Closed, Part};

/// CHUNK-17, Q23: a server that does not know BDAT is not asked for it again, for a day.
#[test]
fn a_server_that_knows_no_bdat_is_remembered() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    let mut open_at = |now: Time, is_refused: bool| {
        world.now = now;
        let job = world.submit(destination);
        let opened = world.out.drain(..).find_map(|action| match action {
            Action::Open { connection, bdat, .. } => Some((connection, bdat)),
            _ => None,
        });
        let (connection, bdat) = opened.unwrap();
        world.ready(connection);
        if is_refused {
            world.planner.bdat_refused(world.now, connection);
        }
        world.cancel(job);
        world.close(connection, Closed::Unremarkable);
        bdat
    };
    let memory = PlannerConfig::default().pipelining_memory;
    assert_eq!(open_at(at(0), true), Use::AsConfigured);
    assert_eq!(open_at(at(0), false), Use::Never);
    assert_eq!(open_at(at(0) + memory, false), Use::AsConfigured);
}

/// Row 12, Q51: where TLS may be done without, a handshake that failed is not tried again for a
/// quarter of an hour.
#[test]
fn a_server_whose_tls_is_broken_is_remembered() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    let mut open_at = |now: Time, is_broken: bool| {
        world.now = now;
        let job = world.submit(destination);
        let opened = world.out.drain(..).find_map(|action| match action {
            Action::Open { connection, tls, .. } => Some((connection, tls)),
            _ => None,
        });
        let (connection, tls) = opened.unwrap();
        if is_broken {
            world.planner.tls_broken(world.now, connection);
        }
        world.ready(connection);
        world.cancel(job);
        world.close(connection, Closed::Unremarkable);
        tls
    };
    let memory = Duration::from_secs(15 * 60);
    assert_eq!(open_at(at(0), true), Use::AsConfigured);
    assert_eq!(open_at(at(0), false), Use::Never);
    assert_eq!(open_at(at(0) + memory, false), Use::AsConfigured);
}

/// Q65: a connection that has had its share of mails is replaced, at no cost to the mail that was
/// one too many; a server that says so of the first mail already is throttled.
#[test]
fn exhausted_connections_are_replaced() {
    let exhausted = || again(Charge::Interrupted(Part::Envelope), Answer::Exhausted);
    let mut world = World::default();
    let destination = world.destination(1, 1);
    world.submit_many(2, destination);
    let first = world.connect();
    world.send(first, accepted());
    let job = world.send(first, exhausted());
    assert!(world.is_told_to_quit(first));
    world.rest(first);
    world.close(first, Closed::Unremarkable);

    let second = world.connect();
    assert_eq!(world.send(second, exhausted()), job, "at once");
    world.close(second, Closed::Unremarkable);
    let opens_at = world.planner.status(world.now, ServerId(0)).opens_at;
    assert!(opens_at > world.now, "it would say the same");
}

/// After 25 refusals in a row a connection is closed. One that rests gets the mail that this one
/// was to take.
#[test]
fn a_connection_that_is_given_up_leaves_its_mail_to_another() {
    let refused = || AttemptResult::done(Answer::Refused);
    let mut world = World::default();
    let destination = world.destination(2, 1);
    world.submit_many(26, destination);
    let given_up = world.connect();
    let other = world.connect();
    for _ in 0..24 {
        world.send(given_up, refused());
    }
    let last = world.pull(given_up).unwrap();
    let job = world.pull(other).unwrap();
    // It has room for one more.
    world.rest(given_up);
    world.finish(other, job, accepted());
    world.rest(other);
    world.out.clear();
    world.submit_many(2, destination);
    assert_eq!(world.woken().len(), 2);
    // The other one is quicker, and has both.
    world.send(other, accepted());
    world.send(other, accepted());
    world.rest(other);
    world.submit(destination);
    world.out.clear();
    world.finish(given_up, last, refused());
    let other = world.planner.connections.get(other.0).unwrap();
    assert_eq!(other.phase, Phase::Coming);
}
