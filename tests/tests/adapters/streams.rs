//! Long bodies as streams, and observations.

use core::future::{IntoFuture, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use coap_core::{Code, Type};
use coap_driver::{Client, CurrentRuntime, Error, Observed, Resume, SocketOptions, UdpSocket};
use futures_io::AsyncRead;

use crate::plain::Plain;
use crate::support::{both, client, millis, sleep, within};

/// A plain peer on loopback, with its socket, and the URI of its resource.
fn peer<R: CurrentRuntime>() -> (Plain, Arc<R::Socket>, String) {
    let runtime = R::current().unwrap();
    let socket = Arc::new(runtime.bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap());
    let plain = Plain::default();
    runtime.spawn(Box::pin(plain.clone().run::<R>(socket.clone())));
    let uri = format!("coap://{}/it", socket.local_addr().unwrap());
    (plain, socket, uri)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at % 251) as u8).collect()
}

/// Gives its bytes 700 at a time, and is not ready each second time.
struct Slow {
    content: Vec<u8>,
    ready: bool,
}

impl AsyncRead for Slow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.ready = !self.ready;
        if !self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = self.content.len().min(buf.len()).min(700);
        buf[..len].copy_from_slice(&self.content[..len]);
        self.content.drain(..len);
        Poll::Ready(Ok(len))
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, buf)).await
}

pub(crate) async fn a_reader_is_sent_and_a_download_is_one<R: CurrentRuntime>() {
    let (plain, _socket, uri) = peer::<R>();
    let (client, content) = (client::<R>().await, content(70_000));
    let put = client.put(&uri, "").futures_body(Slow { content: content.clone(), ready: false });
    assert_eq!(put.await.unwrap().code, Code::CHANGED);
    assert!(plain.lock().uploaded == content);

    plain.lock().content.clone_from(&content);
    let mut download = client.get(&uri).download().await.unwrap().error_for_status().unwrap();
    assert_eq!(download.size, Some(70_000));
    let (mut all, mut buf) = (Vec::new(), [0; 300]);
    loop {
        let len = read(&mut download, &mut buf).await.unwrap();
        if len == 0 {
            break;
        }
        all.extend_from_slice(&buf[..len]);
    }
    assert!(all == content);
    assert_eq!(read(&mut download, &mut buf).await.unwrap(), 0, "the end is the end");
}

pub(crate) async fn a_download_that_breaks_is_never_taken_for_whole<R: CurrentRuntime>() {
    let (plain, _socket, uri) = peer::<R>();
    plain.lock().content = content(9_000);
    plain.lock().etag = Some(1);
    plain.lock().patience = Some(3);
    let client =
        Client::<R>::builder(R::current().unwrap()).config(crate::support::fast_config()).client().await.unwrap();
    let mut download = client.get(&uri).timeout(millis(500)).download().await.unwrap();
    let mut buf = [0; 1_000];
    let failed = loop {
        match read(&mut download, &mut buf).await {
            Ok(0) => panic!("three blocks are not all"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(failed.kind(), io::ErrorKind::TimedOut, "{failed}");
    assert!(!failed.to_string().contains("0 times"), "{failed}");
    assert!(failed.into_inner().unwrap().downcast::<Error>().unwrap().is_timeout());
    assert!(read(&mut download, &mut buf).await.is_err(), "it does not become whole later");
    assert_eq!(download.resume().map(|resume: Resume| resume.offset()), Some(3 * 1_024));
}

pub(crate) async fn an_observer_is_told_and_the_server_of_its_end<R: CurrentRuntime>() {
    let (plain, socket, uri) = peer::<R>();
    plain.lock().observable = true;
    plain.lock().content = b"0".to_vec();
    let client = client::<R>().await;
    let mut first = client.observe(&uri).await.unwrap();
    let mut second = client.observe(&uri).await.unwrap();
    for state in ["0", "1", "2"] {
        if state != "0" {
            plain.lock().content = state.into();
            plain.notify(&*socket, Type::NonConfirmable);
        }
        for observation in [&mut first, &mut second] {
            let next = observation.next().await;
            assert!(matches!(&next, Some(Observed::Notification(reply)) if reply.text() == Some(state)), "{next:?}");
        }
    }
    assert_eq!(plain.requests().len(), 1);
    drop(first);
    sleep::<R>(millis(50)).await;
    assert_eq!(plain.observers(), 1);
    second.cancel().await;
    assert_eq!(plain.observers(), 0);
}

pub(crate) async fn a_task_that_waits_for_a_state_is_woken_by_whoever_ends_it<R: CurrentRuntime>() {
    let (plain, _socket, uri) = peer::<R>();
    plain.lock().observable = true;
    let client = client::<R>().await;
    let mut observation = client.observe(&uri).await.unwrap();
    assert!(matches!(observation.next().await, Some(Observed::Notification(_))));
    let cancel = async {
        sleep::<R>(millis(30)).await;
        client.cancel_observation(&uri).await.unwrap()
    };
    let (end, ended) = both(observation.next(), cancel).await;
    assert!(end.is_none() && ended == 1, "{end:?} {ended}");

    let mut observation = client.observe(&uri).await.unwrap();
    assert!(matches!(observation.next().await, Some(Observed::Notification(_))));
    let close = async {
        sleep::<R>(millis(30)).await;
        client.close();
    };
    let (end, ()) = both(observation.next(), close).await;
    assert!(matches!(end, Some(Observed::Lost(Error::Closed))), "{end:?}");
    assert!(observation.next().await.is_none());
}

pub(crate) async fn a_slow_reader_does_not_hold_up_a_response<R: CurrentRuntime>() {
    struct Never;
    impl AsyncRead for Never {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }
    let (_plain, _socket, uri) = peer::<R>();
    let client = client::<R>().await;
    let mut waiting = pin!(client.put(&uri, "").futures_body(Never).into_future());
    assert!(within::<R, _>(millis(30), waiting.as_mut()).await.is_none());
    client.close();
    let closed = waiting.await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

/// A tokio runtime on one thread, with a peer.
fn on_tokio(test: impl AsyncFnOnce(coap_tokio::Client, Plain, String)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(crate::support::in_time::<coap_tokio::TokioRuntime>(async {
        let (plain, _socket, uri) = peer::<coap_tokio::TokioRuntime>();
        test(client().await, plain, uri).await;
    }));
}

#[test]
fn tokio_reads_and_writes_with_its_own_traits() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    on_tokio(async |client, plain, uri| {
        let path = std::env::temp_dir().join(format!("coap-streams-{}", std::process::id()));
        let content = content(30_000);
        tokio::fs::File::create(&path).await.unwrap().write_all(&content).await.unwrap();
        let file = tokio::fs::File::open(&path).await.unwrap();
        let reply = client.put(&uri, "").body(file).body_size(30_000).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reply.code, Code::CHANGED);
        assert!(plain.lock().uploaded == content);

        plain.lock().content.clone_from(&content);
        let mut all = Vec::new();
        client.get(&uri).download().await.unwrap().read_to_end(&mut all).await.unwrap();
        assert!(all == content);
    });
}

#[test]
fn async_std_reads_with_its_own_traits() {
    use async_std::io::ReadExt;
    use coap_async_std::AsyncStdRuntime;
    async_std::task::block_on(crate::support::in_time::<AsyncStdRuntime>(async {
        let (plain, _socket, uri) = peer::<AsyncStdRuntime>();
        let (client, content) = (client::<AsyncStdRuntime>().await, content(30_000));
        let reader = async_std::io::Cursor::new(content.clone());
        assert_eq!(client.put(&uri, "").body(reader).await.unwrap().code, Code::CHANGED);
        assert!(plain.lock().uploaded == content);

        plain.lock().content.clone_from(&content);
        let mut all = Vec::new();
        client.get(&uri).download().await.unwrap().read_to_end(&mut all).await.unwrap();
        assert!(all == content);
    }));
}
