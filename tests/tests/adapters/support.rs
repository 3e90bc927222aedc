//! What the tests share.

use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::net::UdpSocket;

use coap_core::{Config, TransmissionParameters};
use coap_driver::router::Router;
use coap_driver::{Client, CurrentRuntime, Runtime, Server, ShutdownHandle, Timer};

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server at work.
pub(crate) struct Here<R: Runtime> {
    pub(crate) addr: SocketAddr,
    pub(crate) shutdown: ShutdownHandle<R>,
}

impl<R: Runtime> Here<R> {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("coap://{}{path}", self.addr)
    }
}

/// A server with `router` on a loopback port of its own.
pub(crate) async fn serve<R: CurrentRuntime>(router: Router) -> Here<R> {
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let here = Here { addr: server.local_addr().unwrap(), shutdown: server.shutdown_handle() };
    spawn_server(server, router);
    here
}

pub(crate) fn spawn_server<R: CurrentRuntime>(server: Server<R>, router: Router) {
    // Serving from here on, not only when the task has its turn.
    let serving = server.serve(router);
    R::current().unwrap().spawn(Box::pin(async move { serving.await.unwrap() }));
}

pub(crate) async fn client<R: CurrentRuntime>() -> Client<R> {
    Client::<R>::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) async fn sleep<R: CurrentRuntime>(span: Duration) {
    let runtime = R::current().unwrap();
    let mut timer = runtime.timer();
    timer.set(Some(runtime.now() + span));
    poll_fn(|cx| timer.poll(cx)).await;
}

/// Two futures side by side.
pub(crate) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    // Boxed, as each level of async functions doubles what it holds, and debug builds copy it many times over.
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            second = Some(output);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

/// What `future` gives within `span`.
pub(crate) async fn within<R: CurrentRuntime, F: Future>(span: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut end) = (Box::pin(future), pin!(sleep::<R>(span)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// A test that hangs is a test that fails.
pub(crate) async fn in_time<R: CurrentRuntime>(test: impl Future<Output = ()>) {
    within::<R, _>(Duration::from_secs(30), test).await.expect("the test hangs");
}

/// The times of a fast network, so that tests need not wait for those of a slow one.
pub(crate) fn fast() -> TransmissionParameters {
    let builder = TransmissionParameters::builder().accept_congestion_risk();
    builder.ack_timeout(millis(100)).max_retransmit(2).build().unwrap()
}

pub(crate) fn fast_config() -> Config {
    Config::builder().transmission(fast()).ack_delay(millis(50)).build().unwrap()
}

/// A peer that says nothing, and remembers what it was told.
pub(crate) struct Silent {
    socket: UdpSocket,
}

impl Silent {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// All datagrams since one last asked.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        let mut buf = [0; 2048];
        core::iter::from_fn(|| self.socket.recv(&mut buf).ok().map(|len| buf[..len].to_vec())).collect()
    }
}
