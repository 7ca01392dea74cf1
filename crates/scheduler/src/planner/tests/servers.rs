//! Several servers of one destination.

use std::time::Duration;

use super::super::*;
use super::world::{SECOND, World, accepted, at, closed_for_an_hour, greylisted};
use crate::failure::{Closed, Weight};

/// A mail that was greylisted waits for a connection of its server; those of others sleep on.
#[test]
fn a_mail_of_one_server_wakes_no_connection_of_another() {
    let mut world = World::default();
    let destination = world.destination(2, 2);
    let both = world.connect_to_both(destination);
    world.submit(destination);
    let its = world.woken()[0];
    world.send(its, greylisted());
    world.rest(its);

    // The server gets mails that take long, until it has one.
    let other = if its == both[0] { both[1] } else { both[0] };
    world.submit(destination);
    let woken = world.woken()[0];
    let job = world.pull(woken).unwrap();
    if woken == other {
        world.submit(destination);
        assert!(world.pull(its).is_some());
        world.finish(other, job, accepted());
        world.rest(other);
    }
    world.out.clear();
    world.advance(at(6000));
    assert_eq!(world.woken(), []);
}

#[test]
fn mails_of_one_server_open_no_connection_to_another() {
    let mut world = World::default();
    let destination = world.destination(20, 2);
    let [one, other] = world.connect_to_both(destination);
    world.submit_many(2, destination);
    let job = world.pull(other).unwrap();
    world.send(one, greylisted());
    world.finish(other, job, accepted());
    world.rest(one);
    world.rest(other);
    for _ in 0..9 {
        world.submit(destination);
        world.out.clear();
        if let Some(job) = world.pull(one) {
            world.finish(one, job, greylisted());
        }
    }
    world.rest(one);
    world.out.clear();
    let before = world.open(ServerId(1));
    world.advance(at(6000));
    for (_, connection) in world.connect_all() {
        let _ = world.pull(connection);
    }
    assert_eq!(world.open(ServerId(1)), before);
}

#[test]
fn mails_of_one_server_go_over_several_connections_to_it() {
    let mut world = World::default();
    let destination = world.destination(20, 2);
    let [one, _] = world.connect_to_both(destination);
    for _ in 0..20 {
        world.submit(destination);
        world.send(one, greylisted());
    }
    let _ = world.pull(one);
    world.out.clear();
    world.advance(at(8000));
    let runnable = |world: &World| world.planner.server(ServerId(0)).own.runnable();
    assert!(runnable(&world) >= 15);
    for _ in 0..10 {
        for (_, connection) in world.opened() {
            world.ready(connection);
            let _ = world.pull(connection);
        }
        let _ = world.pull(one);
    }
    let open = world.open(ServerId(0));
    assert!(open > 3, "{} mails, {open} connections", runnable(&world));
}

/// A mail waits for the server that greylisted it only while that can be reached.
#[test]
fn mails_of_one_server_go_to_another_when_it_is_gone() {
    let mut world = World::default();
    let destination = world.destination(4, 2);
    let [one, other] = world.connect_to_both(destination);
    let greylisted_mail = world.submit(destination);
    assert_eq!(world.send(one, greylisted()), greylisted_mail);
    let next = world.submit(destination);
    assert_eq!(world.pull(one), Some(next));
    world.advance(at(5000));
    world.out.clear();

    world.planner.open(world.now, ServerId(0), &mut world.out);
    let failing = world.opening();
    world.close(failing, closed_for_an_hour(Closed::Failure(Weight::Single)));
    world.finish(one, next, accepted());
    world.close(one, Closed::Broken);
    assert_eq!(world.pull(other), Some(greylisted_mail));
}

/// Also if it is slower than a worse one.
#[test]
fn of_two_idle_servers_the_preferred_one_gets_the_mail() {
    let mut world = World::default();
    let destination = world.primary_and_secondary(4);
    let first = world.submit(destination);
    let [(ServerId(0), primary)] = world.opened()[..] else { panic!("the primary is asked") };
    world.close(primary, Closed::Failure(Weight::Single));
    let [(ServerId(1), secondary)] = world.opened()[..] else { panic!("then the secondary") };
    world.ready(secondary);
    assert_eq!(world.pull(secondary), Some(first));

    world.advance(at(5000));
    let second = world.submit(destination);
    if world.out.is_empty() {
        world.advance(at(10_000));
    }
    let [(ServerId(0), primary)] = world.opened()[..] else { panic!("the primary is there again") };
    world.ready(primary);
    assert_eq!(world.pull(primary), Some(second));
    world.now = world.now + SECOND;
    world.finish(secondary, first, accepted());
    world.now = world.now + 20 * SECOND;
    world.finish(primary, second, accepted());
    world.rest(primary);
    world.rest(secondary);
    world.out.clear();
    world.submit(destination);
    assert_eq!(world.woken(), [primary]);
}

/// A primary that swallows what it is sent is tried now and then; the secondary does the work.
#[test]
fn a_dead_primary_does_not_take_the_only_connection() {
    let mut world = World::default();
    let destination = world.primary_and_secondary(1);
    world.submit_many(10_000, destination);
    let end = world.now + 600 * SECOND;
    let (mut sent, mut connected) = (0, None);
    while world.now < end {
        world.advance(world.now);
        if let Some(&(server, connection)) = world.opened().first() {
            if server == ServerId(0) {
                world.now = world.now + 30 * SECOND;
                world.close(connection, Closed::Absent(Weight::Double));
                continue;
            }
            world.ready(connection);
            connected = Some(connection);
        }
        let Some(connection) = connected else {
            world.now = world.planner.next_deadline().unwrap();
            continue;
        };
        let Some(job) = world.pull(connection) else {
            world.close(connection, Closed::Unremarkable);
            connected = None;
            continue;
        };
        world.now = world.now + Duration::from_millis(100);
        world.finish(connection, job, accepted());
        sent += 1;
    }
    assert!(sent > 4500, "{sent} of 6000");
}

/// After a pause it is sent one mail at a time; the other server gets what it leaves.
#[test]
fn a_slow_server_keeps_no_connections_from_another() {
    let mut world = World::default();
    let destination = world.destination(20, 2);
    world.submit_many(1000, destination);
    world.planner.server_mut(ServerId(0)).window.restart(1);
    let mut open = [0_u32; 2];
    loop {
        let opened = world.opened();
        if opened.is_empty() {
            break;
        }
        for (server, connection) in opened {
            open[server.index()] += 1;
            world.ready(connection);
            assert!(world.pull(connection).is_some());
        }
    }
    assert_eq!(open.iter().sum::<u32>(), 20, "{open:?}");
}

/// The mail waits for the secondary, which greylisted it: that the primary could have one more
/// connection is no reason to close the one to the secondary, over and over.
#[test]
fn a_mail_of_a_secondary_is_sent_although_the_primary_works() {
    let mut world = World::default();
    let destination = world.primary_and_secondary(4);
    let job = world.submit(destination);
    let primary = world.opening();
    world.planner.open(world.now, ServerId(1), &mut world.out);
    let secondary = world.connect();
    let later = Again { wait: 60 * SECOND, ..greylisted().again.unwrap() };
    let result = AttemptResult { again: Some(later), ..greylisted() };
    assert_eq!(world.send(secondary, result), job);
    world.rest(secondary);
    world.close(secondary, Closed::Unremarkable);

    world.submit_many(3, destination);
    world.ready(primary);
    let others = world.connect_all().into_iter().map(|(_, connection)| connection);
    for connection in others.chain([primary]) {
        assert!(world.pull(connection).is_some());
    }
    assert_eq!(world.open(ServerId(0)), 3);
    world.advance(at(150_000));
    let secondary = world.connect();
    assert_eq!(world.pull(secondary), Some(job));
}

/// The mails that the primary is to have wait for it; that of the secondary goes as soon as the secondary takes it.
#[test]
fn a_mail_of_a_secondary_does_not_wait_for_the_primary() {
    let mut world = World::default();
    let destination = world.primary_and_secondary(4);
    let job = world.submit(destination);
    let primary = world.connect();
    world.planner.open(world.now, ServerId(1), &mut world.out);
    let secondary = world.connect();
    world.send(secondary, greylisted());
    for connection in [primary, secondary] {
        world.rest(connection);
        world.close(connection, Closed::Unremarkable);
    }
    for (server, until) in [(0, 500_000), (1, 300_000)] {
        world.planner.server_mut(ServerId(server)).sending.until = at(until);
    }
    world.submit(destination);
    world.advance(at(299_000));
    assert_eq!(world.planner.server(ServerId(1)).own.runnable(), 1);
    assert_eq!(world.opened(), []);
    assert_eq!(world.planner.next_deadline(), Some(at(300_000)));
    world.advance(at(300_000));
    let secondary = world.connect();
    assert_eq!(world.pull(secondary), Some(job));
}
