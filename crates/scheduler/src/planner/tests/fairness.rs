//! Who is served before whom: tenants, classes, destinations.

use super::super::*;
use super::world::{SECOND, World, accepted, at, greylisted};
use crate::failure::Closed;

fn of_tenant(destination: DestinationId, tenant: TenantId, recipients: u32) -> NewJob {
    NewJob { tenant, recipients, ..NewJob::new(destination) }
}

/// Its next mail comes while the last one is on its way, so its queue is empty each time.
#[test]
fn a_tenant_that_comes_back_is_still_in_debt() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    let [dear, cheap] = [(); 2].map(|()| world.planner.add_tenant(1));
    world.submit(of_tenant(destination, dear, 100));
    world.submit_many(1000, of_tenant(destination, cheap, 1));
    let connection = world.connect();
    let mut turns = 0;
    for _ in 0..100 {
        let job = world.pull(connection).unwrap();
        if world.planner.jobs.get(job.0).unwrap().tenant == cheap {
            turns += 1;
        } else {
            world.submit(of_tenant(destination, dear, 100));
        }
        world.finish(connection, job, accepted());
    }
    assert!(turns > 50, "with a hundredth of the cost of a mail it had {turns} turns of 100");
}

#[test]
fn a_tenant_that_comes_and_goes_is_not_put_behind_the_dearest() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    let [cheap, dear, guest] = [(); 3].map(|()| world.planner.add_tenant(1));
    for _ in 0..2000 {
        world.submit(of_tenant(destination, cheap, 1));
        world.submit(of_tenant(destination, dear, 100));
    }
    world.submit(of_tenant(destination, guest, 1));
    let connection = world.connect();
    let mut turns = [0; 4];
    for _ in 0..1000 {
        let job = world.pull(connection).unwrap();
        let tenant = world.planner.jobs.get(job.0).unwrap().tenant;
        turns[tenant.index()] += 1;
        if tenant == guest {
            world.submit(of_tenant(destination, guest, 1));
        }
        world.finish(connection, job, accepted());
    }
    let [cheap, guest] = [cheap, guest].map(|tenant| turns[tenant.index()]);
    assert!(guest * 3 > cheap, "with the same mails one had {cheap} turns, one {guest}");
}

/// Bulk mails that wait for one server only are no more urgent for that.
#[test]
fn bulk_mails_that_are_due_again_leave_turns_to_interactive_ones() {
    let mut world = World::default();
    let destination = world.destination(2, 2);
    let both = world.connect_to_both(destination);
    let of_class = |class| NewJob { class, ..NewJob::new(destination) };
    for turn in 0..44 {
        world.submit(of_class(Class::Bulk));
        world.send(both[turn % 2], greylisted());
    }
    world.advance(at(8000));
    let urgent: Vec<_> = (0..10).map(|_| world.submit(of_class(Class::Interactive))).collect();
    let mut sent = Vec::new();
    for turn in 0..20 {
        if let Some(job) = world.pull(both[turn % 2]) {
            world.finish(both[turn % 2], job, accepted());
            sent.push(job);
        }
    }
    let first = sent.iter().filter(|&job| urgent.contains(job)).count();
    assert!(first >= 9, "{first} of the first 20 mails were urgent");
}

/// A bound on everything: whoever came first has the next connection, and idle ones make room.
#[test]
fn destinations_share_a_bound_on_all_connections() {
    let mut world = World::new(PlannerConfig { max_connections: 2, ..PlannerConfig::default() });
    let destinations = [(); 3].map(|()| world.destination(20, 1));
    for destination in destinations {
        world.submit(destination);
    }
    let [(_, first), (_, second)] = world.opened()[..] else { panic!("two connections") };
    for connection in [first, second] {
        world.ready(connection);
        world.send(connection, accepted());
        world.rest(connection);
    }
    let question = Question::Destination(destinations[2]);
    let explanation = world.planner.explain(world.now, question);
    let expected = ReasonKind::AllConnectionsUsed { connections: 2 };
    assert_eq!(explanation.reasons.first().map(|reason| reason.kind), Some(expected));

    // The first that became idle makes room, and only that one.
    assert!(world.is_told_to_quit(first), "{:?}", world.out);
    assert!(!world.is_told_to_quit(second), "{:?}", world.out);
    world.out.clear();
    world.close(first, Closed::Unremarkable);
    assert!(matches!(world.opened()[..], [(ServerId(2), _)]));

    world.submit(destinations[0]);
    assert!(world.is_told_to_quit(second), "{:?}", world.out);
}

#[test]
fn a_destination_with_all_connections_makes_room_for_one_with_none() {
    let mut world = World::new(PlannerConfig { max_connections: 4, ..PlannerConfig::default() });
    let [busy, urgent] = [(); 2].map(|()| world.destination(5, 1));
    world.submit_many(10_000, busy);
    let connections = world.connect_all();
    assert_eq!(connections.len(), 4);
    let pull = |(_, connection)| (connection, world.pull(connection).unwrap());
    let mut sending: Vec<_> = connections.into_iter().map(pull).collect();
    world.submit(NewJob { class: Class::Interactive, ..NewJob::new(urgent) });
    for _ in 0..100 {
        world.now = world.now + SECOND;
        for (connection, job) in &mut sending {
            world.finish(*connection, *job, accepted());
            let Some(next) = world.pull(*connection) else { return };
            *job = next;
        }
    }
    panic!("an urgent mail waits while another destination has all connections");
}

#[test]
fn a_destination_makes_no_room_for_itself() {
    let mut world = World::new(PlannerConfig { max_connections: 4, ..PlannerConfig::default() });
    let destination = world.destination(5, 1);
    world.submit_many(1000, destination);
    let mut connections = Vec::new();
    for _ in 0..100 {
        world.advance(world.now + SECOND);
        let opened: Vec<_> = world.opened().into_iter().map(|(_, connection)| connection).collect();
        for connection in opened {
            world.ready(connection);
            connections.push(connection);
        }
        for &connection in &connections {
            match world.planner.pull(world.now, connection, &mut world.out) {
                Pull::Job { job, .. } => world.finish(connection, job, accepted()),
                Pull::Wait => {}
                Pull::Quit => panic!("nobody else wants a connection"),
            }
        }
    }
}

/// A connection that can have many at once leaves one to each that is about to ask.
#[test]
fn who_is_about_to_pull_finds_a_mail() {
    let mut world = World::default();
    let destination = world.destination(8, 1);
    world.submit_many(8, destination);
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.extend(world.connect_all().into_iter().map(|(_, connection)| connection));
    }
    assert_eq!(connections.len(), 8);
    for connection in connections {
        assert!(world.pull(connection).is_some() && world.pull(connection).is_none());
    }
}
