//! What every adapter must do, written once: each runs it on its own runtime, over loopback.

use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::net::UdpSocket as StdSocket;

use coap_core::{Local, UdpAddr};
use coap_driver::{Received, RecvBatch, Runtime, SocketOptions, Timer, UdpSocket};

/// A datagram, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Datagram {
    from: UdpAddr,
    to: Local,
    payload: Vec<u8>,
}

/// What came in, kept.
#[derive(Debug, Default)]
struct Heard {
    datagrams: Vec<Datagram>,
    unreachable: Vec<UdpAddr>,
    too_long: u64,
    polls: usize,
}

/// Fails instead of hanging.
async fn in_time<R: Runtime, T>(runtime: &R, future: impl Future<Output = T>) -> T {
    let mut timer = runtime.timer();
    timer.set(Some(runtime.now() + Duration::from_secs(20)));
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Pending => timer.poll(cx).map(|()| panic!("nothing came")),
        ready => ready,
    })
    .await
}

/// Receives until `enough` says so.
async fn hear<R: Runtime>(runtime: &R, socket: &R::Socket, enough: impl Fn(&Heard) -> bool) -> Heard {
    let mut batch = RecvBatch::new(64);
    let mut heard = Heard::default();
    in_time(runtime, async {
        while !enough(&heard) {
            poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await.unwrap();
            heard.polls += 1;
            heard.too_long += batch.too_long();
            for received in batch.iter() {
                match received {
                    Received::Datagram { from, to, interface, payload } => heard.datagrams.push(Datagram {
                        from: from.udp().unwrap(),
                        to: Local::arrived(0, to, interface),
                        payload: payload.to_vec(),
                    }),
                    Received::Unreachable { peer } => heard.unreachable.push(peer.udp().unwrap()),
                    _ => {}
                }
            }
        }
    })
    .await;
    heard
}

async fn send<R: Runtime>(runtime: &R, socket: &R::Socket, to: SocketAddr, from: &Local, payload: &[u8]) {
    in_time(runtime, async {
        while let Err(error) = socket.try_send(UdpAddr::new(to), from, payload) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
            poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
        }
    })
    .await;
}

/// Asks the timer once.
async fn is_pending(timer: &mut impl Timer) -> bool {
    poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await
}

fn bind<R: Runtime>(runtime: &R, addr: &str) -> R::Socket {
    runtime.bind(addr.parse().unwrap(), &SocketOptions::default()).unwrap()
}

fn port<S: UdpSocket>(socket: &S) -> u16 {
    socket.local_addr().unwrap().port()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn std_socket(addr: &str) -> StdSocket {
    let socket = StdSocket::bind(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// A port of `host` where nobody listens, for as long as the socket is kept: it hears its one peer and nobody else.
fn dead(host: &str) -> (StdSocket, SocketAddr) {
    let socket = StdSocket::bind((host, 0)).unwrap();
    socket.connect((host, 9)).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

pub(crate) async fn an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_peer<R: Runtime>(runtime: R) {
    let socket = bind(&runtime, "[::]:0");
    for host in ["127.0.0.1", "::1"] {
        let peer = std_socket(&SocketAddr::new(ip(host), 0).to_string());
        peer.send_to(b"hello", (host, port(&socket))).unwrap();
        let heard = hear(&runtime, &socket, |heard| !heard.datagrams.is_empty()).await;
        let datagram = &heard.datagrams[0];
        assert_eq!(datagram.from.socket_addr(), peer.local_addr().unwrap());
        assert_eq!(datagram.to.ip, Some(ip(host)));
        assert_ne!(datagram.to.interface, 0);
        assert_eq!(datagram.payload, b"hello");

        send(&runtime, &socket, datagram.from.socket_addr(), &datagram.to, b"back").await;
        let mut buf = [0; 16];
        let (len, from) = peer.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from), (b"back".as_slice(), SocketAddr::new(ip(host), port(&socket))));
    }
}

pub(crate) async fn an_answer_leaves_from_the_address_that_was_asked<R: Runtime>(runtime: R) {
    for bound in ["[::]:0", "0.0.0.0:0"] {
        let socket = bind(&runtime, bound);
        let peer = std_socket("127.0.0.1:0");
        peer.send_to(b"ask", ("127.0.0.2", port(&socket))).unwrap();
        let heard = hear(&runtime, &socket, |heard| !heard.datagrams.is_empty()).await;
        let asked = heard.datagrams[0].to;
        assert_eq!(asked.ip, Some(ip("127.0.0.2")));

        send(&runtime, &socket, peer.local_addr().unwrap(), &asked, b"answer").await;
        let (_, from) = peer.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from, SocketAddr::new(ip("127.0.0.2"), port(&socket)), "bound to {bound}");
    }
}

pub(crate) async fn an_unreachable_peer_is_named_and_the_other_is_still_heard<R: Runtime>(runtime: R) {
    for (bound, host) in [("[::]:0", "127.0.0.1"), ("[::]:0", "::1"), ("0.0.0.0:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let socket = bind(&runtime, bound);
        let alive = std_socket(&SocketAddr::new(ip(host), 0).to_string());
        let alive_addr = alive.local_addr().unwrap();
        let (_kept, gone) = dead(host);
        // The report of the first is waiting on the socket when the second is sent.
        send(&runtime, &socket, gone, &Local::default(), b"anybody?").await;
        send(&runtime, &socket, alive_addr, &Local::default(), b"you?").await;
        let mut buf = [0; 16];
        let (len, from) = alive.recv_from(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"you?", "the error of one peer cost another its datagram");
        alive.send_to(b"yes", from).unwrap();

        let both = |heard: &Heard| !heard.datagrams.is_empty() && !heard.unreachable.is_empty();
        let heard = hear(&runtime, &socket, both).await;
        assert_eq!(heard.unreachable, [UdpAddr::new(gone)], "bound to {bound}");
        assert_eq!(heard.datagrams.len(), 1);
        assert_eq!(heard.datagrams[0].from, UdpAddr::new(alive_addr));
    }
}

pub(crate) async fn a_report_alone_wakes_who_waits_each_time<R: Runtime>(runtime: R) {
    let socket = bind(&runtime, "[::]:0");
    for _ in 0..3 {
        let (_kept, gone) = dead("127.0.0.1");
        let mut batch = RecvBatch::new(64);
        let mut waiting = pin!(poll_fn(|cx| socket.poll_recv(cx, &mut batch)));
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        send(&runtime, &socket, gone, &Local::default(), b"anybody?").await;
        in_time(&runtime, waiting).await.unwrap();
        let heard: Vec<_> = batch.iter().collect();
        assert_eq!(heard, [Received::Unreachable { peer: gone.into() }]);
    }
}

pub(crate) async fn many_datagrams_come_in_few_calls<R: Runtime>(runtime: R) {
    const MANY: usize = 200;
    let socket = bind(&runtime, "[::]:0");
    let peer = std_socket("127.0.0.1:0");
    for number in 0..MANY {
        peer.send_to(&[number as u8; 20], ("127.0.0.1", port(&socket))).unwrap();
    }
    let heard = hear(&runtime, &socket, |heard| heard.datagrams.len() == MANY).await;
    for (number, datagram) in heard.datagrams.iter().enumerate() {
        assert_eq!(datagram.payload, [number as u8; 20]);
    }
    assert!(heard.polls <= MANY.div_ceil(RecvBatch::SLOTS) + 2, "{} calls", heard.polls);
}

pub(crate) async fn a_datagram_that_is_too_long_is_counted_and_the_next_is_whole<R: Runtime>(runtime: R) {
    let socket = bind(&runtime, "[::]:0");
    let peer = std_socket("[::1]:0");
    for len in [65, 500, 64] {
        peer.send_to(&vec![7; len], ("::1", port(&socket))).unwrap();
    }
    let heard = hear(&runtime, &socket, |heard| !heard.datagrams.is_empty()).await;
    assert_eq!(heard.too_long, 2);
    assert_eq!(heard.datagrams[0].payload, [7; 64]);
}

pub(crate) async fn what_cannot_be_sent_is_an_error_of_that_datagram_alone<R: Runtime>(runtime: R) {
    let socket = bind(&runtime, "0.0.0.0:0");
    let to_v6 = socket.try_send(UdpAddr::new("[::1]:5683".parse().unwrap()), &Local::default(), b"x");
    assert!(to_v6.is_err());
    let peer = std_socket("127.0.0.1:0");
    let too_long = socket.try_send(UdpAddr::new(peer.local_addr().unwrap()), &Local::default(), &[0; 65_536]);
    assert!(too_long.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    send(&runtime, &socket, peer.local_addr().unwrap(), &Local::default(), b"fine").await;
    assert_eq!(peer.recv_from(&mut [0; 16]).unwrap().0, 4);
}

pub(crate) async fn a_flood_of_our_own_is_held_back_until_there_is_room<R: Runtime>(runtime: R) {
    let mut options = SocketOptions::default();
    options.send_buffer = Some(4_608);
    let socket = runtime.bind("[::]:0".parse().unwrap(), &options).unwrap();
    let peer = std_socket("127.0.0.1:0");
    let to = peer.local_addr().unwrap();
    for _ in 0..50 {
        send(&runtime, &socket, to, &Local::default(), &[1; 1_000]).await;
        peer.recv_from(&mut [0; 2_000]).unwrap();
    }
}

pub(crate) async fn a_group_is_never_a_source<R: Runtime>(runtime: R) {
    let socket = bind(&runtime, "[::]:0");
    let peer = std_socket("127.0.0.1:0");
    let from = Local { ip: Some(ip("224.0.1.187")), ..Local::default() };
    send(&runtime, &socket, peer.local_addr().unwrap(), &from, b"x").await;
    assert_eq!(peer.recv_from(&mut [0; 16]).unwrap().1.ip(), ip("127.0.0.1"));
}

pub(crate) async fn a_port_in_use_is_an_error_unless_it_is_to_be_shared<R: Runtime>(runtime: R) {
    let first = bind(&runtime, "[::]:0");
    let taken = SocketAddr::new(ip("::"), port(&first));
    let error = runtime.bind(taken, &SocketOptions::default()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);

    let mut shared = SocketOptions::default();
    shared.reuse_port = true;
    let first = runtime.bind("[::]:0".parse().unwrap(), &shared).unwrap();
    runtime.bind(SocketAddr::new(ip("::"), port(&first)), &shared).unwrap();
}

pub(crate) async fn a_timer_is_never_early_and_moves_both_ways<R: Runtime>(runtime: R) {
    let mut timer = runtime.timer();
    // Unset, it is pending, and says so at once.
    assert!(is_pending(&mut timer).await);
    for micros in [1, 900, 5_500, 20_000] {
        let at = runtime.now() + Duration::from_micros(micros);
        timer.set(Some(at));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!(runtime.now() >= at);
        assert!(is_pending(&mut timer).await, "it fires once");
    }

    // Armed for early, moved to late: the early wake-up is kept to itself.
    let early = runtime.now() + Duration::from_millis(10);
    let late = early + Duration::from_millis(40);
    timer.set(Some(early));
    assert!(is_pending(&mut timer).await);
    timer.set(Some(late));
    poll_fn(|cx| timer.poll(cx)).await;
    assert!(runtime.now() >= late);

    // Armed for never in practice, moved to soon.
    timer.set(Some(coap_core::Instant::from_micros(u64::MAX)));
    assert!(is_pending(&mut timer).await);
    let soon = runtime.now() + Duration::from_millis(5);
    timer.set(Some(soon));
    in_time(&runtime, poll_fn(|cx| timer.poll(cx))).await;
    assert!(runtime.now() >= soon);
}

pub(crate) async fn names_and_interfaces_are_found<R: Runtime>(runtime: R) {
    let found = runtime.resolve("localhost", 5683).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 5683));
    assert_eq!(runtime.resolve("127.0.0.9", 1).await.unwrap(), [UdpAddr::new("127.0.0.9:1".parse().unwrap())]);
    assert!(runtime.resolve("no-such-host.invalid", 1).await.is_err());

    assert_eq!(runtime.interface_index("1"), Some(1));
    assert_eq!(runtime.interface_index("0"), None);
    assert_eq!(runtime.interface_index("no-such-interface"), None);
    #[cfg(target_os = "linux")]
    assert_eq!(runtime.interface_index("lo"), Some(1));
}

pub(crate) async fn a_task_runs_beside_its_maker<R: Runtime>(runtime: R) {
    let (done, waiting) = std::sync::mpsc::channel();
    runtime.spawn(Box::pin(async move { done.send(7).unwrap() }));
    let mut timer = runtime.timer();
    let answer = in_time(&runtime, async {
        loop {
            if let Ok(answer) = waiting.try_recv() {
                break answer;
            }
            timer.set(Some(runtime.now() + Duration::from_millis(1)));
            poll_fn(|cx| timer.poll(cx)).await;
        }
    });
    assert_eq!(answer.await, 7);
}

/// One test for each function above, run by `$run`.
macro_rules! tests {
    ($run:expr; $($name:ident)*) => { $( #[test] fn $name() { $run(|runtime| suite::$name(runtime)); } )* };
}
