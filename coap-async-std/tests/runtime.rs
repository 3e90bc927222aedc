//! The sockets, timers and tasks of async-io, on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(all(target_os = "linux", feature = "async-std"))]

#[macro_use]
#[path = "../../coap-driver/tests/suite/mod.rs"]
mod suite;

use coap_async_std::AsyncStdRuntime;

/// On async-std's executor, and on async-io alone with a thread for each task.
fn run<F: Future<Output = ()>>(test: impl Fn(AsyncStdRuntime) -> F) {
    async_std::task::block_on(test(AsyncStdRuntime::new()));
    let alone = AsyncStdRuntime::with_spawner(|task| drop(std::thread::spawn(|| async_io::block_on(task))));
    async_io::block_on(test(alone));
}

tests! { run;
    an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_peer
    an_answer_leaves_from_the_address_that_was_asked
    an_unreachable_peer_is_named_and_the_other_is_still_heard
    a_report_alone_wakes_who_waits_each_time
    many_datagrams_come_in_few_calls
    a_datagram_that_is_too_long_is_counted_and_the_next_is_whole
    what_cannot_be_sent_is_an_error_of_that_datagram_alone
    a_flood_of_our_own_is_held_back_until_there_is_room
    a_group_is_never_a_source
    a_port_in_use_is_an_error_unless_it_is_to_be_shared
    a_timer_is_never_early_and_moves_both_ways
    names_and_interfaces_are_found
    a_task_runs_beside_its_maker
}
