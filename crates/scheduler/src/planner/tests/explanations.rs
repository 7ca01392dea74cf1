//! Why something does not move: the first reason is the one that decides.

use super::super::*;
use super::world::{World, accepted, throttled};
use crate::failure::{Closed, Weight};

#[test]
fn a_failed_server_is_no_reason_where_another_works() {
    let mut world = World::default();
    let destination = world.destination(2, 2);
    let [one, other] = world.connect_to_both(destination);
    world.close(one, Closed::Failure(Weight::Single));
    world.out.clear();
    world.submit(destination);
    assert!(world.pull(other).is_some());
    let job = world.submit(destination);
    let explanation = world.planner.explain(world.now, Question::Job(job));
    let decides = explanation.reasons[0].kind;
    assert!(!matches!(decides, ReasonKind::BackingOff { .. }), "{explanation:?}");
}

#[test]
fn a_pace_is_a_reason() {
    let mut world = World::default();
    let destination = world.destination(2, 1);
    world.submit_many(10, destination);
    let connection = world.connect();
    world.send(connection, accepted());
    world.send(connection, throttled());
    let until = world.planner.server(ServerId(0)).sends_at();
    world.advance(until);
    world.send(connection, accepted());
    world.rest(connection);
    let explanation = world.planner.explain(world.now, Question::Server(ServerId(0)));
    let decides = explanation.reasons[0].kind;
    assert!(matches!(decides, ReasonKind::Paced { .. }), "{explanation:?}");
}
