//! Rate limits: exact, shared fairly, and in nobody's way that they do not hold for.

use std::collections::HashMap;
use std::time::Duration;

use super::super::*;
use super::world::{HOUR, SECOND, World, accepted, again, at, closed_for_an_hour, throttled};
use crate::failure::{Charge, Closed, Weight};

/// However slow its connections are: the quicker one does not get the turns of the other.
#[test]
fn two_destinations_share_a_slow_rate() {
    let mut world = World::default();
    let both = [(); 2].map(|()| world.destination(1, 1));
    world.limit(LimitScope::All, Unit::Mails, 1, 60 * SECOND);
    for _ in 0..50 {
        for destination in both {
            world.submit(destination);
        }
    }
    let end = world.now + HOUR;
    let mut sent = [0_u32; 2];
    let (mut opening, mut server_of) = (Vec::new(), HashMap::new());
    loop {
        while !world.out.is_empty() {
            for action in std::mem::take(&mut world.out) {
                match action {
                    Action::Open { server, connection, .. } => {
                        server_of.insert(connection, server.index());
                        let takes = Duration::from_millis(100 * (1 + server.index() as u64));
                        opening.push((world.now + takes, connection));
                    }
                    Action::Wake { connection } => {
                        sent[server_of[&connection]] += send_if_any(&mut world, connection);
                    }
                    Action::Quit { connection } => world.close(connection, Closed::Unremarkable),
                    _ => {}
                }
            }
        }
        let ready = opening.iter().map(|&(ready, _)| ready);
        let next = ready.chain(world.planner.next_deadline()).min().unwrap();
        if next > end {
            break;
        }
        world.advance(next);
        for (_, connection) in opening.extract_if(.., |(ready, _)| *ready <= next) {
            world.ready(connection);
            sent[server_of[&connection]] += send_if_any(&mut world, connection);
        }
    }
    assert!(sent[0] + sent[1] > 50, "{sent:?}");
    assert!(sent[0].abs_diff(sent[1]) < 10, "of one mail a minute each got: {sent:?}");
}

/// The connection asks for a mail; if there is one, it is accepted at once.
fn send_if_any(world: &mut World, connection: ConnectionId) -> u32 {
    let Some(job) = world.pull(connection) else { return 0 };
    world.finish(connection, job, accepted());
    let _ = world.pull(connection);
    1
}

/// Those whose turn it was, and whose lines break then, do not all go at once later.
#[test]
fn turns_that_were_not_used_are_not_saved_up() {
    let mut world = World::default();
    let destinations = [(); 5].map(|()| world.destination(1, 1));
    let connections = destinations.map(|destination| {
        let job = world.submit(destination);
        let connection = world.connect();
        world.cancel(job);
        world.rest(connection);
        connection
    });
    world.limit(LimitScope::All, Unit::Mails, 1, SECOND);
    world.out.clear();
    for destination in destinations {
        world.submit(destination);
    }
    let mut sent = Vec::new();
    for connection in world.woken() {
        if world.pull(connection).is_some() {
            sent.push(world.now);
        }
    }
    for milliseconds in (1000..9000).step_by(10) {
        world.advance(at(milliseconds));
    }
    for connection in connections {
        world.close(connection, Closed::Unremarkable);
    }
    let mut opened = world.opened();
    if opened.is_empty() {
        world.advance(at(20_000));
        opened = world.opened();
    }
    for (_, connection) in opened {
        world.ready(connection);
        if world.pull(connection).is_some() {
            sent.push(world.now);
        }
    }
    assert!(sent.windows(2).all(|two| two[1] - two[0] >= SECOND), "one a second: {sent:?}");
}

/// A mail costs the recipients that it is sent to, not all that it has.
#[test]
fn a_mail_that_is_split_pays_for_each_recipient_once() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    let scope = LimitScope::Destination(destination);
    world.limit(scope, Unit::Recipients, 100, 100 * SECOND);
    world.submit(NewJob { recipients: 100, ..NewJob::new(destination) });
    let mut connection = world.connect();
    let begin = world.now;
    let split = |recipients| AttemptResult { recipients, ..again(Charge::Split, Answer::Accepted) };
    world.send(connection, AttemptResult { recipient_cap: Some(10), ..split(90) });
    let _ = world.pull(connection);
    let mut left = 90;
    while left > 0 {
        let next = world.planner.next_deadline().unwrap();
        world.advance(next);
        for action in std::mem::take(&mut world.out) {
            match action {
                Action::Open { connection: opened, .. } => {
                    connection = opened;
                    world.ready(connection);
                }
                Action::Wake { .. } => {}
                Action::Quit { .. } => {
                    world.close(connection, Closed::Unremarkable);
                    continue;
                }
                _ => continue,
            }
            let Some(job) = world.pull(connection) else { continue };
            left -= 10;
            world.finish(connection, job, if left == 0 { accepted() } else { split(left) });
            let _ = world.pull(connection);
        }
    }
    let took = world.now - begin;
    assert!(took < 200 * SECOND, "100 recipients at one a second took {took:?}");
}

#[test]
fn any_rate_is_bearable() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    for (count, per) in [(u64::MAX, SECOND), (0, SECOND), (1, Duration::ZERO), (1, Duration::MAX)] {
        world.limit(LimitScope::Destination(destination), Unit::Mails, count, per);
    }
}

#[test]
fn a_rate_of_connections_of_one_server_holds_up_no_other() {
    let mut world = World::default();
    let destination = world.destination(10, 2);
    world.limit(LimitScope::Server(ServerId(0)), Unit::Connections, 1, 600 * SECOND);
    world.submit_many(20, destination);
    let mut connections = 0;
    for _ in 0..40 {
        for (_, connection) in world.opened() {
            connections += 1;
            world.ready(connection);
            let _ = world.pull(connection);
        }
    }
    assert!(connections >= 8, "{connections} connections of 10");
}

/// Waiting for the next connection does not make one forget those that wait for a pause to end.
#[test]
fn a_rate_of_connections_hides_no_end_of_a_pause() {
    let mut world = World::default();
    let destination = world.destination(4, 2);
    let [one, other] = world.connect_to_both(destination);
    world.limit(LimitScope::Destination(destination), Unit::Connections, 1, HOUR);
    world.submit_many(8, destination);
    for (_, connection) in world.opened() {
        world.close(connection, Closed::Unremarkable);
    }
    let job = world.pull(one).unwrap();
    assert!(world.pull(other).is_some());
    world.finish(one, job, throttled());
    world.rest(one);
    world.out.clear();
    world.advance(at(4000));
    assert_eq!(world.woken(), [one]);
}

#[test]
fn who_may_not_open_a_connection_makes_nobody_give_up_one() {
    let config = PlannerConfig { max_connections: 2, ..PlannerConfig::default() };
    let mut world = World::new(config);
    let both = [(); 2].map(|()| world.destination(5, 1));
    world.limit(LimitScope::Destination(both[0]), Unit::Connections, 1, HOUR);
    let [busy, idle] = both.map(|destination| {
        world.submit(destination);
        world.connect()
    });
    assert!(world.pull(busy).is_some());
    world.send(idle, accepted());
    world.rest(idle);
    world.out.clear();
    world.submit_many(2, both[0]);
    assert!(!world.is_told_to_quit(idle), "{:?}", world.out);
}

/// Its mails wait for an hour, and have no part in a rate meanwhile.
#[test]
fn a_dead_destination_uses_up_no_shared_rate() {
    let mut world = World::default();
    let [dead, alive] = [(); 2].map(|()| world.destination(1, 1));
    world.submit(dead);
    let failing = world.opening();
    world.close(failing, closed_for_an_hour(Closed::Failure(Weight::Single)));
    world.out.clear();
    world.submit(alive);
    let connection = world.connect();
    world.send(connection, accepted());
    world.rest(connection);
    world.limit(LimitScope::All, Unit::Mails, 6, 60 * SECOND);
    world.submit_many(1000, alive);
    let mut sent = 0;
    for tenths in 0..2900 {
        world.advance(at(2000 + 100 * tenths));
        if tenths % 20 == 0 {
            world.submit(dead);
        }
        for connection in world.woken() {
            sent += send_if_any(&mut world, connection);
        }
    }
    assert!(sent >= 28, "{sent} of 29");
}

/// Two destinations, one tenant, and both a limit of everything and one of the tenant: who has the
/// turn at one of them is not kept from using it by the other, over and over.
#[test]
fn two_limits_at_once_let_mails_pass() {
    for milliseconds in [10, 100, 1000] {
        let mut world = World::default();
        let both = [(); 2].map(|()| world.destination(1, 1));
        let per = Duration::from_millis(milliseconds);
        world.limit(LimitScope::Tenant(TenantId::DEFAULT), Unit::Mails, 1, per);
        world.limit(LimitScope::All, Unit::Mails, 1, per);
        for destination in both {
            for class in Class::ALL {
                world.submit_many(100, NewJob { class, ..NewJob::new(destination) });
            }
        }
        let end = world.now + 50 * per;
        let mut sent = 0;
        while world.now < end {
            for (_, connection) in world.connect_all() {
                sent += send_if_any(&mut world, connection);
            }
            world.advance(world.planner.next_deadline().unwrap());
            while !world.out.is_empty() {
                for connection in world.woken() {
                    sent += send_if_any(&mut world, connection);
                }
            }
        }
        assert!(sent > 40, "{sent} of 50 at one in {per:?}");
    }
}
