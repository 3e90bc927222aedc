//! Bodies longer than a datagram, and resources that are observed.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use coap_core::{Code, Config, Message, OptionNumber, Options, Token, Type};
use coap_driver::router::{BodyError, BodyReader, Payload, Resource, Router, Streamed, get, put};
use coap_driver::{Client, CurrentRuntime};
use futures_io::AsyncRead;

use crate::support::{client, millis, serve};

const LONG: usize = 300_000;

fn long() -> Vec<u8> {
    (0..LONG).map(|at| (at % 251) as u8).collect()
}

/// A client that puts long bodies together.
async fn patient_client<R: CurrentRuntime>() -> Client<R> {
    let config = Config::builder().max_body(1 << 20).max_transfer_bytes(4 << 20).build().unwrap();
    Client::builder(R::current().unwrap()).bind("127.0.0.1:0").config(config).client().await.unwrap()
}

pub(crate) async fn a_long_body_reaches_its_handler_as_one<R: CurrentRuntime>() {
    async fn length(Payload(content): Payload) -> String {
        content.len().to_string()
    }
    let here = serve::<R>(Router::new().route("/64k", put(length)).route("/all", put(length).max_body(LONG))).await;
    let client = patient_client::<R>().await;
    assert_eq!(client.put(here.url("/64k"), vec![7; 64 << 10]).await.unwrap().text(), Some("65536"));
    let refused = client.put(here.url("/64k"), vec![7; (64 << 10) + 1]).await.unwrap();
    assert_eq!((refused.code, refused.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(64 << 10)));
    assert_eq!(client.put(here.url("/all"), long()).await.unwrap().text(), Some("300000"));
}

pub(crate) async fn a_reader_takes_a_body_as_it_comes<R: CurrentRuntime>() {
    async fn compare(mut body: BodyReader) -> Result<String, BodyError> {
        let (expected, mut at, mut most) = (long(), 0, 0);
        while let Some(part) = body.chunk().await? {
            assert_eq!(part, expected[at..at + part.len()]);
            at += part.len();
            most = most.max(part.len());
        }
        Ok(format!("{at} {most}"))
    }
    let here = serve::<R>(Router::new().route("/up", put(compare))).await;
    let reply = patient_client::<R>().await.put(here.url("/up"), long()).await.unwrap();
    assert_eq!(reply.text(), Some("300000 1024"));
}

/// Gives a thousand bytes at a time, and each time lets others run first.
struct Slowly {
    content: Vec<u8>,
    at: usize,
    waited: bool,
}

impl AsyncRead for Slowly {
    fn poll_read(
        mut self: core::pin::Pin<&mut Self>,
        cx: &mut core::task::Context<'_>,
        buf: &mut [u8],
    ) -> core::task::Poll<std::io::Result<usize>> {
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return core::task::Poll::Pending;
        }
        let len = (self.content.len() - self.at).min(1_000).min(buf.len());
        buf[..len].copy_from_slice(&self.content[self.at..self.at + len]);
        self.at += len;
        core::task::Poll::Ready(Ok(len))
    }
}

pub(crate) async fn a_response_is_sent_while_it_is_read<R: CurrentRuntime>() {
    async fn stream() -> Streamed {
        Streamed::new(Slowly { content: long(), at: 0, waited: false })
    }
    let here = serve::<R>(Router::new().route("/down", get(stream))).await;
    let reply = patient_client::<R>().await.get(here.url("/down")).await.unwrap();
    assert_eq!((reply.code, reply.payload == long()), (Code::CONTENT, true));
}

pub(crate) async fn a_long_response_goes_in_blocks<R: CurrentRuntime>() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let large = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { "x".repeat(5_000) }
    };
    let here = serve::<R>(Router::new().route("/large", get(large))).await;
    let reply = client::<R>().await.get(here.url("/large")).await.unwrap();
    assert_eq!((reply.code, reply.payload.len()), (Code::CONTENT, 5_000));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

pub(crate) async fn a_change_is_told_from_any_thread<R: CurrentRuntime>() {
    let value = Arc::new(AtomicUsize::new(0));
    let resource = Resource::new();
    let current = value.clone();
    let read = move || {
        let current = current.clone();
        async move { current.load(Ordering::Relaxed).to_string() }
    };
    let here = serve::<R>(Router::new().route("/value", get(read).observable(&resource))).await;
    // A peer on a thread of its own, because the runtime may have only this one.
    let watcher = thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(millis(20_000))).unwrap();
        let mut options = Options::new();
        options.set_observe(0);
        options.push(OptionNumber::URI_PATH, b"value").unwrap();
        let message = |kind, code, message_id, options| Message {
            kind,
            code,
            message_id,
            token: if code == Code::GET { Token::new(&[7]).unwrap() } else { Token::EMPTY },
            options,
            payload: Bytes::new(),
        };
        let send = |message: Message| {
            let mut buf = [0; 64];
            let len = message.encode(&mut buf).unwrap();
            socket.send_to(&buf[..len], here.addr).unwrap();
        };
        send(message(Type::Confirmable, Code::GET, 1, options));
        let mut told = Vec::new();
        loop {
            let mut buf = [0; 1_280];
            let len = socket.recv(&mut buf).unwrap();
            let heard = Message::decode(Bytes::copy_from_slice(&buf[..len])).unwrap();
            if heard.kind == Type::Confirmable {
                send(message(Type::Acknowledgement, Code::EMPTY, heard.message_id, Options::new()));
            }
            assert!(heard.options.observe().is_some());
            told.push(String::from_utf8(heard.payload.to_vec()).unwrap());
            if told.len() == 1 {
                value.store(1, Ordering::Relaxed);
                resource.changed();
            }
            if told.last().is_some_and(|last| last == "1") {
                return told;
            }
        }
    });
    while !watcher.is_finished() {
        crate::support::sleep::<R>(millis(5)).await;
    }
    assert_eq!(watcher.join().unwrap(), ["0", "1"]);
}
