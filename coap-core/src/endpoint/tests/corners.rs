//! Where two things meet that seldom do: each test here tells of one that went wrong, or could have.

use super::*;

#[test]
fn a_request_served_again_is_not_served_a_third_time_meanwhile() {
    let mut rig = Rig::with(Config::builder().max_remembered_bytes(0).build().unwrap());
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.respond(request.id, content("hi"));
    rig.receive(peer(1), &GET_A);
    let again = rig.handed_up();
    rig.receive(peer(1), &GET_A);
    rig.said_nothing();
    rig.respond(again.id, content("hi"));
    rig.comes_to_rest();
}
