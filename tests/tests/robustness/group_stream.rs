//! R-23, for an application: the stream of what a group answers, when strangers answer in the name of very many members.

use core::future::poll_fn;
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use coap_core::{Block, Code, Local, Message, Options, Type, UdpAddr};
use coap_driver::router::{Router, get};
use coap_driver::{Error, Received, RecvBatch, Runtime, SocketOptions, UdpSocket};
use coap_sim::{Host, Sim};

use super::memory::{alone, live};
use super::{count, repeat_with};

/// Members are addresses with ports: so many of each.
const PORTS: u64 = 10;

const GROUP: &str = "coap://[ff05::fd]/x";

fn ip(n: u64) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | u128::from(n)).into()
}

/// The request to the group, when it has come.
async fn asked(socket: &impl UdpSocket) -> (UdpAddr, Message) {
    let mut batch = RecvBatch::new(2_000);
    loop {
        poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await.unwrap();
        for received in batch.iter() {
            if let Received::Datagram { from, payload, .. } = received {
                return (from.udp().unwrap(), Message::decode(Bytes::copy_from_slice(payload)).unwrap());
            }
        }
    }
}

/// Answers in the name of `members`, a hundred in 10 ms, each fourth with the first block of a long body. Nothing that is sent to
/// one of them is answered.
async fn spoof(host: Host, members: u64, most: Arc<AtomicUsize>) {
    let bind = |n: u64| host.bind(format!("[::]:{}", 5_683 + n).parse().unwrap(), &SocketOptions::default()).unwrap();
    let sockets: Vec<_> = (0..PORTS).map(bind).collect();
    let (client, request) = asked(&sockets[0]).await;
    for n in 0..members {
        let mut options = Options::new();
        let payload = Bytes::from(vec![b'x'; if n.is_multiple_of(4) { 1_024 } else { 10 }]);
        if n.is_multiple_of(4) {
            options.set_block2(Block::new(0, true, 6).unwrap());
        }
        let (kind, token) = (Type::NonConfirmable, request.token.clone());
        let answer = Message { kind, code: Code::CONTENT, message_id: n as u16, token, options, payload };
        let mut buffer = [0; 1_200];
        let len = answer.encode(&mut buffer).unwrap();
        let from = Local { ip: Some(ip(n / PORTS)), ..Local::default() };
        sockets[(n % PORTS) as usize].try_send(client, &from, &buffer[..len]).unwrap();
        if n % 100 == 99 {
            host.sleep(Duration::from_millis(10)).await;
            most.fetch_max(live(), Ordering::Relaxed);
        }
    }
    // The ports stay open.
    core::future::pending().await
}

#[test]
fn r23_a_stream_of_what_very_many_strangers_say_for_a_group() {
    let _alone = alone();
    let members = count(10_000);
    let mut sim = Sim::from_env(1);
    let (host, spoofer, member) = (sim.host("client"), sim.host("strangers"), sim.host("member"));
    (0..members.div_ceil(PORTS)).for_each(|n| sim.add_ip(&spoofer, ip(n)));
    sim.join(&spoofer, "ff05::fd".parse().unwrap());
    let bound = sim.block_on(member.builder().bind("[::]:5683").join([0xff05, 0, 0, 0, 0, 0, 0, 0xfd], None).server());
    let router = Router::new().route("/x", get(async || "an honest answer").multicast());
    let _serving = sim.spawn(bound.unwrap().serve(router));
    let client = sim.block_on(host.client()).unwrap();
    let empty = live();
    let most = Arc::new(AtomicUsize::new(0));
    let _spoofing = spoofer.spawn(spoof(spoofer.clone(), members, most.clone()));
    let (mut told, mut failed, mut honest) = (0, 0, false);
    let lost = sim.block_on(async {
        let request = client.get(GROUP).timeout(Duration::from_secs(20));
        let mut responses = request.multicast().await.unwrap();
        while let Some((_, answer)) = responses.next().await {
            match answer {
                Ok(reply) => {
                    told += 1;
                    honest |= reply.text() == Some("an honest answer");
                }
                Err(Error::NoAck { .. }) => failed += 1,
                Err(error) => panic!("{error}"),
            }
            // The application is slower than they are.
            host.sleep(Duration::from_micros(300)).await;
        }
        responses.lost()
    });
    let dropped = client.stats().group_responses_dropped;
    let most = most.load(Ordering::Relaxed) - empty;
    println!(
        "R-23: {members} answers for a group, to a stream: {told} told, {failed} fetched in vain, {lost} lost, {dropped} dropped"
    );
    println!("  memory: {most} bytes at most, those of the network included");
    assert_eq!(told + failed + lost + dropped, members + 1, "each is told or counted");
    assert!(honest, "the answer of the one member is told");
    // 8 at a time, and 64 that wait.
    assert_eq!(failed, 72);
    assert!(most <= 16 << 20, "{most}");
    repeat_with("r23_a_stream", 100_000);
}
