//! Bodies of requests and responses.

use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use coap_core::{Block, Code, Config, ContentFormat, ETag, OptionNumber, Wanted};
use coap_driver::Client;
use coap_driver::router::{BodyError, BodyReader, Payload, Ranged, Router, Streamed, get, put};
use coap_sim::Host;
use futures_io::AsyncRead;

use crate::peer::{Stage, ms, secs};

const ONE: &[u8; 16] = b"one one one one ";
const TWO: &[u8; 16] = b"two two two two ";

async fn length(Payload(content): Payload) -> String {
    content.len().to_string()
}

/// What a handler has seen, for the test.
type Seen = Arc<Mutex<Vec<String>>>;

fn seen(seen: &Seen) -> Vec<String> {
    core::mem::take(&mut *seen.lock().unwrap())
}

/// A route that reads its body block by block and notes each.
fn reading(log: &Seen) -> Router {
    let log = log.clone();
    let read = move |mut body: BodyReader| {
        let log = log.clone();
        async move {
            let note = |text: String| log.lock().unwrap().push(text);
            loop {
                match body.chunk().await {
                    Ok(Some(part)) => note(String::from_utf8(part.to_vec()).unwrap()),
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        note(error.to_string());
                        return Err(error);
                    }
                }
            }
        }
    };
    Router::new().route("/up", put(read))
}

// ----- Requests ----------------------------------------------------------------------------------------------------------

#[test]
fn an_upload_is_one_request_of_the_handler() {
    let mut stage = Stage::new(|_| Router::new().route("/up", put(length)));
    let first = stage.peer.block("up", 0, true, ONE);
    let reply = stage.ask(first);
    assert_eq!((reply.code, reply.options.block1()), (Code::CONTINUE, Block::new(0, true, 0)));
    let last = stage.peer.block("up", 1, false, b"end");
    let reply = stage.ask(last);
    assert_eq!((reply.code, &reply.payload[..]), (Code::CHANGED, &b"19"[..]));
    assert_eq!(reply.options.block1(), Block::new(1, false, 0));
}

#[test]
fn what_is_refused_costs_no_upload() {
    let router =
        Router::new().route("/up", put(length).consumes([ContentFormat::CBOR]).max_body(100)).route("/a", get(length));
    let mut stage = Stage::new(|_| router);
    let code = |stage: &mut Stage, path: &str, change: &dyn Fn(&mut coap_core::Options)| {
        let mut first = stage.peer.block(path, 0, true, ONE);
        change(&mut first.options);
        stage.ask(first).code
    };
    assert_eq!(code(&mut stage, "nowhere", &|_| {}), Code::NOT_FOUND);
    assert_eq!(code(&mut stage, "a", &|_| {}), Code::METHOD_NOT_ALLOWED);
    let json = |options: &mut coap_core::Options| options.set_content_format(ContentFormat::JSON);
    assert_eq!(code(&mut stage, "up", &json), Code::UNSUPPORTED_CONTENT_FORMAT);
    let condition = |options: &mut coap_core::Options| options.push(OptionNumber::IF_NONE_MATCH, b"").unwrap();
    assert_eq!(code(&mut stage, "up", &condition), Code::BAD_OPTION);
    assert_eq!(code(&mut stage, "up", &|options| options.set_size1(101)), Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(code(&mut stage, "up", &|options| options.set_size1(100)), Code::CONTINUE);
}

#[test]
fn content_beyond_the_limit_is_4_13_and_the_route_may_have_its_own() {
    let config = Config::builder().max_body(20).build().unwrap();
    let router = Router::new().route("/up", put(length)).route("/more", put(length).max_body(40));
    let mut stage = Stage::with(|_| router, |builder| builder.config(config));
    let first = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    let second = stage.peer.block("up", 1, true, TWO);
    let refused = stage.ask(second);
    assert_eq!((refused.code, refused.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(20)));
    let first = stage.peer.block("more", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    let second = stage.peer.block("more", 1, false, TWO);
    assert_eq!(stage.ask(second).payload, &b"32"[..]);
}

#[test]
fn a_reader_gets_each_block_as_it_comes() {
    let log = Seen::default();
    let mut stage = Stage::new(|_| reading(&log));
    let first = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    assert_eq!(seen(&log), ["one one one one "]);
    let second = stage.peer.block("up", 1, true, TWO);
    assert_eq!(stage.ask(second).code, Code::CONTINUE);
    assert_eq!(seen(&log), ["two two two two "]);
    let last = stage.peer.block("up", 2, false, b"end");
    assert_eq!(stage.ask(last).code, Code::CHANGED);
    assert_eq!(seen(&log), ["end"]);
}

#[test]
fn a_reader_reads_content_of_one_datagram_too() {
    let log = Seen::default();
    let mut stage = Stage::new(|_| reading(&log));
    let mut request = stage.peer.request(Code::PUT, "up");
    request.payload = Bytes::from_static(b"short");
    assert_eq!(stage.ask(request).code, Code::CHANGED);
    assert_eq!(seen(&log), ["short"]);
    let nothing = stage.peer.request(Code::PUT, "up");
    assert_eq!(stage.ask(nothing).code, Code::CHANGED);
    assert!(seen(&log).is_empty());
}

#[test]
fn the_peer_waits_for_a_reader_that_takes_its_time() {
    let slow = |host: &Host| {
        let host = host.clone();
        let read = move |mut body: BodyReader| {
            let host = host.clone();
            async move {
                let mut bytes = 0;
                while let Some(part) = body.chunk().await? {
                    bytes += part.len();
                    host.sleep(secs(10)).await;
                }
                Ok::<_, BodyError>(bytes.to_string())
            }
        };
        Router::new().route("/up", put(read))
    };
    let mut stage = Stage::new(slow);
    // The first block is answered while it is read: one is asked for ahead.
    let before = stage.sim.now();
    for (num, at_most) in [(0, 1), (1, 11), (2, 21)] {
        let block = stage.peer.block("up", num, true, ONE);
        assert_eq!(stage.ask(block).code, Code::CONTINUE);
        assert!(stage.sim.now() < before + secs(at_most), "{num} {}", stage.sim.now());
    }
    assert!(stage.sim.now() > before + secs(9), "{}", stage.sim.now());
    let last = stage.peer.block("up", 3, false, b"end");
    assert_eq!(stage.ask(last).payload, &b"51"[..]);
}

#[test]
fn a_response_before_the_end_ends_the_upload() {
    let router = Router::new().route(
        "/up",
        put(async |mut body: BodyReader| {
            let first = body.chunk().await;
            (Code::CONFLICT, format!("{}", first.unwrap().unwrap().len()))
        }),
    );
    let mut stage = Stage::new(|_| router);
    let first = stage.peer.block("up", 0, true, ONE);
    let mut reply = stage.ask(first);
    if reply.code == Code::CONTINUE {
        // Asked for ahead.
        let second = stage.peer.block("up", 1, true, TWO);
        reply = stage.ask(second);
    }
    assert_eq!((reply.code, &reply.payload[..]), (Code::CONFLICT, &b"16"[..]));
}

#[test]
fn a_reader_is_told_when_the_peer_begins_anew_or_is_gone() {
    let log = Seen::default();
    let mut stage = Stage::new(|_| reading(&log));
    let first = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    let anew = stage.peer.block("up", 0, true, TWO);
    assert_eq!(stage.ask(anew).code, Code::CONTINUE);
    let mut told = seen(&log);
    told.sort();
    assert_eq!(told, ["one one one one ", "the peer began to send the content anew", "two two two two "]);
    stage.sim.run_for(secs(260));
    assert_eq!(seen(&log), ["the peer did not send the rest of the content"]);
}

#[test]
fn handlers_whose_content_broke_off_are_few_and_not_there_for_ever() {
    async fn hang(mut body: BodyReader) {
        while let Ok(Some(_)) = body.chunk().await {}
        core::future::pending().await
    }
    let mut stage = Stage::new(|_| Router::new().route("/up", put(hang)));
    let before = stage.sim.open().tasks;
    for content in [ONE, TWO].into_iter().cycle().take(200) {
        let anew = stage.peer.block("up", 0, true, content);
        assert_eq!(stage.ask(anew).code, Code::CONTINUE);
    }
    // The one that is at work, and those that have lost its place to the next.
    let most = stage.sim.open().tasks - before;
    assert!((2..=65).contains(&most), "{most}");
    stage.sim.run_for(secs(400));
    assert_eq!(stage.sim.open().tasks, before);
}

#[test]
fn a_limit_of_the_route_holds_for_readers() {
    async fn all(mut body: BodyReader) -> Result<(), BodyError> {
        while body.chunk().await?.is_some() {}
        Ok(())
    }
    let mut stage = Stage::new(|_| Router::new().route("/up", put(all).max_body(20)));
    let first = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    let second = stage.peer.block("up", 1, true, TWO);
    let mut reply = stage.ask(second);
    if reply.code == Code::CONTINUE {
        let third = stage.peer.block("up", 2, true, TWO);
        reply = stage.ask(third);
    }
    assert_eq!((reply.code, reply.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(20)));
}

// ----- Responses ---------------------------------------------------------------------------------------------------------

#[test]
fn a_long_response_goes_in_blocks_and_the_handler_is_called_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let large = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { "x".repeat(40) }
    };
    let mut stage = Stage::new(|_| Router::new().route("/large", get(large)));
    let mut content = Vec::new();
    for num in 0..3 {
        let block = stage.peer.fetch_block("large", num);
        let reply = stage.ask(block);
        assert_eq!((reply.code, reply.options.block2()), (Code::CONTENT, Block::new(num, num < 2, 0)));
        content.extend_from_slice(&reply.payload);
    }
    assert_eq!(content, [b'x'; 40]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_range_is_read_where_it_is_wanted() {
    async fn range(wanted: Wanted) -> (ETag, Ranged) {
        let all: Vec<u8> = (0..100).collect();
        let start = (wanted.offset as usize).min(100);
        let end = (start + wanted.max).min(100);
        let data = Bytes::copy_from_slice(&all[start..end]);
        (ETag::new(b"v1").unwrap(), Ranged { offset: wanted.offset, data, size: Some(100) })
    }
    let mut stage = Stage::new(|_| Router::new().route("/file", get(range)));
    // From the middle, without anything before.
    let block = stage.peer.fetch_block("file", 3);
    let reply = stage.ask(block);
    assert_eq!((reply.code, reply.options.block2()), (Code::CONTENT, Block::new(3, true, 0)));
    assert_eq!(reply.payload, (48..64).collect::<Vec<u8>>());
    let block = stage.peer.fetch_block("file", 6);
    let reply = stage.ask(block);
    assert_eq!((reply.options.block2(), &reply.payload[..]), (Block::new(6, false, 0), &[96, 97, 98, 99][..]));
    let beyond = stage.peer.fetch_block("file", 7);
    assert_eq!(stage.ask(beyond).code, Code::BAD_REQUEST);
}

/// A reader that fails, or panics, after so many bytes.
struct Trouble {
    left: usize,
    panics: bool,
}

impl AsyncRead for Trouble {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            if self.panics {
                // A panic that prints nothing.
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            return Poll::Ready(Err(io::ErrorKind::Other.into()));
        }
        let len = self.left.min(buf.len());
        buf[..len].fill(b'x');
        self.left -= len;
        Poll::Ready(Ok(len))
    }
}

#[test]
fn a_stream_is_read_as_it_is_asked_for() {
    let mut stage = Stage::new(|_| {
        let stream = async || (ContentFormat::TEXT_PLAIN, Streamed::new(&b"one one one one two two two two end"[..]));
        Router::new().route("/stream", get(stream))
    });
    let mut content = Vec::new();
    for num in 0..3 {
        let block = stage.peer.fetch_block("stream", num);
        let reply = stage.ask(block);
        assert_eq!((reply.code, reply.options.block2()), (Code::CONTENT, Block::new(num, num < 2, 0)));
        assert_eq!(reply.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
        content.extend_from_slice(&reply.payload);
    }
    assert_eq!(content, b"one one one one two two two two end");
    stage.sim.run_for(secs(1));
    // From the middle there is none.
    let middle = stage.peer.fetch_block("stream", 1);
    assert_eq!(stage.ask(middle).code, Code::REQUEST_ENTITY_INCOMPLETE);
}

#[test]
fn a_stream_that_is_short_goes_in_one_message() {
    let stream = async || Streamed::new(&b"short"[..]).size(5);
    let mut stage = Stage::new(|_| Router::new().route("/stream", get(stream)));
    let request = stage.peer.request(Code::GET, "stream");
    let reply = stage.ask(request);
    assert_eq!((reply.code, &reply.payload[..]), (Code::CONTENT, &b"short"[..]));
    assert!(reply.options.block2().is_none_or(|block| !block.more()));
}

#[test]
fn a_stream_that_breaks_off_is_5_00_in_place_of_the_next_block() {
    for panics in [false, true] {
        let stream = move || async move { Streamed::new(Trouble { left: 40, panics }) };
        let mut stage = Stage::new(|_| Router::new().route("/stream", get(stream)));
        let first = stage.peer.fetch_block("stream", 0);
        assert_eq!(stage.ask(first).code, Code::CONTENT);
        // What is read ahead fails before it is asked for.
        let second = stage.peer.fetch_block("stream", 1);
        assert_eq!(stage.ask(second).code, Code::INTERNAL_SERVER_ERROR);
        // The server goes on.
        let block = stage.peer.fetch_block("stream", 0);
        assert_eq!(stage.ask(block).code, Code::CONTENT);
    }
}

#[test]
fn a_stream_ends_where_it_says_and_one_that_ends_before_is_an_error() {
    let router = Router::new()
        .route("/long", get(async || Streamed::new(Trouble { left: 100, panics: true }).size(20)))
        .route("/short", get(async || Streamed::new(&b"one one one one two"[..]).size(20)));
    let mut stage = Stage::new(|_| router);
    let first = stage.peer.fetch_block("long", 0);
    let reply = stage.ask(first);
    assert_eq!((reply.options.block2(), reply.options.size2()), (Block::new(0, true, 0), Some(20)));
    let second = stage.peer.fetch_block("long", 1);
    let reply = stage.ask(second);
    assert_eq!((reply.options.block2(), &reply.payload[..]), (Block::new(1, false, 0), &b"xxxx"[..]));
    let first = stage.peer.fetch_block("short", 0);
    assert_eq!(stage.ask(first).code, Code::CONTENT);
    let second = stage.peer.fetch_block("short", 1);
    assert_eq!(stage.ask(second).code, Code::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_reader_of_a_stream_is_dropped_when_its_peer_is_gone() {
    struct Guarded {
        _guard: Arc<()>,
    }
    impl AsyncRead for Guarded {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            buf.fill(b'x');
            Poll::Ready(Ok(buf.len()))
        }
    }
    let guard = Arc::new(());
    let held = guard.clone();
    let stream = move || {
        let held = held.clone();
        async move { Streamed::new(Guarded { _guard: held }) }
    };
    let mut stage = Stage::new(|_| Router::new().route("/stream", get(stream)));
    let first = stage.peer.fetch_block("stream", 0);
    assert_eq!(stage.ask(first).code, Code::CONTENT);
    stage.sim.run_for(ms(100));
    assert_eq!(Arc::strong_count(&guard), 3);
    stage.sim.run_for(secs(260));
    assert_eq!(Arc::strong_count(&guard), 2);
}

#[test]
fn a_reader_that_is_not_used_may_do_anything_when_it_is_dropped() {
    struct Asking(Client<Host>);
    impl AsyncRead for Asking {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
    }
    impl Drop for Asking {
        fn drop(&mut self) {
            // It locks what the server locks.
            assert!(self.0.stats().requests_received > 0);
        }
    }
    let mut stage = Stage::with_client(|client| {
        let stream = move || {
            let client = client.clone();
            async move { Streamed::new(Asking(client)) }
        };
        Router::new().route("/stream", get(stream))
    });
    let middle = stage.peer.fetch_block("stream", 1);
    assert_eq!(stage.ask(middle).code, Code::REQUEST_ENTITY_INCOMPLETE);
    let first = stage.peer.fetch_block("stream", 0);
    assert_eq!(stage.ask(first).code, Code::CONTENT);
}

#[test]
fn a_shutdown_lets_what_has_begun_go_on() {
    let router = Router::new()
        .route("/up", put(length))
        .route("/down", get(async || Streamed::new(&b"one one one one two two two two "[..])));
    let mut stage = Stage::new(|_| router);
    let up = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(up).code, Code::CONTINUE);
    let down = stage.peer.fetch_block("down", 0);
    assert_eq!(stage.ask(down).payload, &ONE[..]);
    stage.shutdown.shutdown(secs(10));
    stage.sim.run_for(secs(1));
    let up = stage.peer.block("up", 1, false, TWO);
    assert_eq!(stage.ask(up).payload, &b"32"[..]);
    let down = stage.peer.fetch_block("down", 1);
    assert_eq!(stage.ask(down).payload, &TWO[..]);
    assert!(stage.sim.block_on(stage.serving).is_ok());
    assert!(stage.sim.now() < coap_core::Instant::from_secs(12), "{}", stage.sim.now());
}

#[test]
fn a_server_that_ends_tells_readers_and_drops_streams() {
    let log = Seen::default();
    let mut stage = Stage::new(|_| reading(&log));
    let first = stage.peer.block("up", 0, true, ONE);
    assert_eq!(stage.ask(first).code, Code::CONTINUE);
    stage.shutdown.shutdown(secs(0));
    assert!(stage.sim.block_on(stage.serving).is_ok());
    assert_eq!(seen(&log), ["one one one one "]);
    assert_eq!(stage.sim.open().tasks, 0);
}

/// A reader that stops after so many bytes, and neither fails nor ends.
struct Stalled(usize);

impl AsyncRead for Stalled {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = self.0.min(buf.len());
        buf[..len].fill(b'x');
        self.0 -= len;
        if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
    }
}

#[test]
fn a_server_that_ends_in_the_middle_of_a_stream_says_so_in_place_of_the_next_block() {
    let mut stage = Stage::new(|_| Router::new().route("/stream", get(async || Streamed::new(Stalled(40)))));
    let first = stage.peer.fetch_block("stream", 0);
    assert_eq!(stage.ask(first).code, Code::CONTENT);
    // The reader has not enough for it, and the peer is asked for patience.
    let second = stage.peer.fetch_block("stream", 1);
    stage.send(&second);
    let heard = stage.heard_within(secs(1));
    assert!(heard.iter().all(|message| message.code == Code::EMPTY), "{heard:?}");
    let start = stage.sim.now();
    stage.shutdown.shutdown(secs(2));
    assert_eq!(stage.response_to(&second.token).code, Code::SERVICE_UNAVAILABLE);
    assert!(stage.sim.now() >= start + secs(2));
    assert!(stage.sim.block_on(stage.serving).is_ok());
    assert_eq!(stage.sim.open().tasks, 0);
}
