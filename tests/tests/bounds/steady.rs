//! A server that has been running for a while does not allocate for a request.

use core::time::Duration;

use bytes::{Bytes, BytesMut};
use coap_core::{Code, Config, Type};

use crate::memory::{alone, asked};
use crate::rig::{Rig, peer, request};

const PEERS: u32 = 16;

/// CON GET from 16 peers in turn, answered at once with 20 bytes on the acknowledgement, at a steady pace, in virtual
/// time.
fn steady(name: &str, pace: Duration, config: Config) {
    let datagrams = all_message_ids();
    let mut rig = Rig::new(config);
    let mut n: u32 = 0;
    let mut run = |count: u32| {
        for _ in 0..count {
            rig.now += pace;
            let datagram = datagrams[(n / PEERS) as usize % datagrams.len()].clone();
            rig.arrive(peer(n % PEERS), datagram);
            assert_eq!((rig.serve(), rig.flush()), (1, 1));
            while rig.endpoint.poll_timeout().is_some_and(|due| due <= rig.now) {
                rig.endpoint.handle_timeout(rig.now);
            }
            n += 1;
        }
    };
    // Until every table is as large as it will be.
    run(200_000);
    // Whatever else the test harness does at the time is not done three times in a row.
    let rounds = [(); 3].map(|()| {
        let before = asked();
        run(100_000);
        asked() - before
    });
    let usage = rig.endpoint.usage();
    println!("{name}: {rounds:?} allocations in three times 100,000 requests, {} remembered", usage.remembered);
    assert_eq!(rounds.into_iter().min(), Some(0), "{name}");
}

/// One datagram for each Message ID, all in one piece of memory: what a socket receives into is not the endpoint's.
fn all_message_ids() -> Vec<Bytes> {
    let len = request(Type::Confirmable, Code::GET, 0).len();
    let mut all = BytesMut::with_capacity(len << 16);
    (0..=u16::MAX).for_each(|id| all.extend_from_slice(&request(Type::Confirmable, Code::GET, id)));
    let all = all.freeze();
    (0..1 << 16).map(|n| all.slice(n * len..(n + 1) * len)).collect()
}

#[test]
fn a_request_allocates_nothing_while_the_pool_of_message_ids_is_full() {
    let _alone = alone();
    steady("20,000 requests a second, the oldest are forgotten", Duration::from_micros(50), Config::default());
}

#[test]
fn a_request_allocates_nothing_while_message_ids_fade() {
    let _alone = alone();
    steady("200 requests a second, all are remembered", Duration::from_millis(5), Config::default());
}
