//! What happens after trouble: pauses, windows, failures, and what was learned.

use std::time::Duration;

use super::super::window::Window;
use super::super::*;
use super::world::{HOUR, SECOND, World, accepted, at, throttled};
use crate::failure::{Closed, Lesson, Weight};

/// Nothing was in flight that could have been too much.
#[test]
fn a_server_that_cannot_be_reached_is_not_slow() {
    let mut world = World::default();
    let destination = world.destination(32, 1);
    world.submit(destination);
    let connection = world.opening();
    world.advance(at(31_000));
    let absent = Ending::from(Closed::Absent(Weight::Double));
    world.close(connection, Ending { lesson: Lesson::Overloaded, ..absent });
    assert_eq!(world.planner.status(world.now, ServerId(0)).window, None);
}

#[test]
fn the_success_that_widens_a_window_wakes_who_waits_for_it() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    world.submit_many(3, destination);
    let connection = world.connect();
    world.send(connection, throttled());
    world.rest(connection);
    world.out.clear();
    world.advance(at(4000));
    assert_eq!(world.woken(), [connection]);
    let job = world.pull(connection).unwrap();
    // It could take another one, which the window does not allow.
    world.rest(connection);
    world.out.clear();
    world.finish(connection, job, accepted());
    assert_eq!(world.woken(), [connection]);
}

#[test]
fn a_pause_ends_although_a_connection_is_being_opened() {
    let mut world = World::default();
    let destination = world.destination(2, 1);
    world.submit_many(2, destination);
    let connection = world.connect();
    world.opening();
    world.send(connection, accepted());
    world.send(connection, throttled());
    world.rest(connection);
    world.out.clear();
    world.advance(at(4000));
    assert_eq!(world.woken(), [connection]);
}

/// A connection that became ready while its server was throttled is woken when that is over.
#[test]
fn mails_are_not_stuck_behind_a_throttled_server() {
    let mut world = World::default();
    let destination = world.destination(20, 1);
    let jobs = [(); 3].map(|()| world.submit(destination));
    let first = world.connect();
    let second = world.opening();
    let job = world.pull(first).unwrap();
    world.ready(second);
    for other in jobs.into_iter().filter(|other| *other != job) {
        world.cancel(other);
    }
    world.finish(first, job, throttled());
    world.rest(second);
    world.out.clear();
    let until = world.planner.next_deadline().unwrap();
    assert!(until < world.now + 2 * SECOND);
    world.advance(until);
    assert_eq!(world.woken(), [second]);
}

/// 19 mails wait, there is one connection, and nothing stands against another.
#[test]
fn a_server_that_is_forgotten_gets_more_connections() {
    let mut world = World::default();
    let destination = world.destination(20, 1);
    world.submit_many(20, destination);
    let connection = world.connect();
    let one_too_many = world.opening();
    assert!(world.pull(connection).is_some());
    world.close(one_too_many, Closed::TooManyConnections);
    world.out.clear();
    world.planner.forget(world.now, ServerId(0), &mut world.out);
    world.advance(world.now + 10 * SECOND);
    assert!(!world.opened().is_empty());
}

/// A server closes a connection that has nothing to do since we keep a pause.
#[test]
fn what_is_closed_during_a_pause_is_no_failure() {
    let mut world = World::default();
    let destination = world.destination(5, 1);
    world.submit_many(5, destination);
    let first = world.connect();
    let second = world.opening();
    world.send(first, throttled());
    world.ready(second);
    world.rest(second);
    world.close(second, Closed::Unremarkable);
    assert_eq!(world.planner.status(world.now, ServerId(0)).failures, 0);
}

#[test]
fn two_pauses_in_a_row_do_not_make_a_window_forget_what_worked() {
    let mut window = Window::default();
    window.restart(32);
    window.restart(1);
    let mut mails = 0;
    while let Some(limit) = window.limit().filter(|&limit| limit < 16) {
        window.succeed(Time::EPOCH, limit, 64);
        mails += 1;
    }
    assert!(mails < 40, "{mails} mails until 16 at a time");
}

/// The pace of a server is what it took while it was sent something.
#[test]
fn idle_time_says_nothing_about_a_pace() {
    let mut world = World::default();
    let destination = world.destination(1, 1);
    world.submit(destination);
    let connection = world.connect();
    world.send(connection, accepted());
    world.close(connection, Closed::Unremarkable);
    world.advance(world.now + 10 * HOUR);
    world.submit_many(200, destination);
    let connection = world.connect();
    for _ in 0..100 {
        let job = world.pull(connection).unwrap();
        world.now = world.now + Duration::from_millis(10);
        world.finish(connection, job, accepted());
    }
    world.send(connection, throttled());
    let rate = world.planner.server(ServerId(0)).pace.rate(world.now);
    assert!(rate.is_some_and(|rate| rate > 50.0), "it took 100 a second: {rate:?}");
}
