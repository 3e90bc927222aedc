//! The sockets, timers and tasks of tokio, on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

#[macro_use]
#[path = "../../coap-driver/tests/suite/mod.rs"]
mod suite;

use coap_tokio::TokioRuntime;

async fn current() -> TokioRuntime {
    TokioRuntime::current().unwrap()
}

/// On one thread, as the program's server runs, and on two.
fn run<F: Future<Output = ()>>(test: impl Fn(TokioRuntime) -> F) {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one.block_on(async { test(current().await).await });
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    two.block_on(async { test(current().await).await });
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

#[test]
fn a_socket_may_be_made_and_used_from_outside_of_the_runtime() {
    use coap_driver::{Runtime, SocketOptions, Timer};

    assert!(TokioRuntime::current().is_err());
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let _socket = runtime.bind("[::]:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    let mut timer = runtime.timer();
    timer.set(Some(runtime.now() + core::time::Duration::from_millis(1)));
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    while timer.poll(&mut cx).is_pending() {
        std::thread::yield_now();
    }
}

#[test]
fn the_end_of_the_runtime_ends_the_requests_of_its_clients_now_and_later() {
    use core::future::IntoFuture;
    use core::time::Duration;

    use coap_tokio::{Client, Error};

    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("coap://{}/", silent.local_addr().unwrap());
    let owner = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = owner.block_on(Client::bind("127.0.0.1:0")).unwrap();

    let ask = |url: String| {
        let request = client.get(url);
        async { tokio::time::timeout(Duration::from_secs(10), request.into_future()).await.expect("it hangs") }
    };
    other.block_on(async {
        let waiting = tokio::spawn(ask(url.clone()));
        silent.set_nonblocking(true).unwrap();
        while silent.recv(&mut [0; 64]).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        owner.shutdown_background();
        assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
        assert!(matches!(ask(url).await, Err(Error::Closed)));
        // No name is looked up for a request that cannot be sent, and no look-up is blamed.
        assert!(matches!(ask("coap://localhost/".to_owned()).await, Err(Error::Closed)));
    });
}

#[test]
fn outside_of_a_runtime_a_client_cannot_begin_and_its_error_is_one_of_ours() {
    fn begin() -> Result<coap_tokio::Builder, coap_tokio::Error> {
        Ok(coap_tokio::Client::builder(TokioRuntime::current()?))
    }
    assert!(matches!(begin(), Err(coap_tokio::Error::Io(_))));
}
