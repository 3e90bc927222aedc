//! bodies of all lengths in blocks of all sizes over networks that lose: identical or an error, and as often as the
//! attempts at each block allow.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use coap_core::{BlockFailure, BlockSize, Body, Code, Config, Event, Failure, Request, RequestOptions, Usage};
use coap_sim::{Link, Node, Sim};

use crate::apps::{Ends, Reader, Shelf, Store, Stream, content, request};
use crate::{count, repeat_with};

/// How often a request is sent at most: once and MAX_RETRANSMIT times more (RFC 7252 §4.8).
const COPIES: i32 = 5;

/// One body, there or back.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    code: Code,
    len: usize,
    szx: u8,
    /// What the server makes of it, and for how many bodies it has room.
    server_szx: u8,
    kept: usize,
    attempts: u8,
    link: Link,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Identical,
    Failed(Failure),
}

fn size(szx: u8) -> BlockSize {
    BlockSize::from_szx(szx).unwrap()
}

fn blocks(len: usize, szx: u8) -> usize {
    len.div_ceil(16 << szx).max(1)
}

impl Transfer {
    const fn new(code: Code, len: usize, szx: u8) -> Self {
        Self { code, len, szx, server_szx: szx, kept: 64, attempts: 3, link: Link::new() }
    }

    fn pair(&self, seed: u64, shelf: &Shelf) -> (Sim, Node, Node) {
        let mut sim = Sim::new(seed);
        sim.keep_trace(100);
        let ours = Config::builder().max_body(1 << 20).max_transfer_bytes(4 << 20).block_attempts(self.attempts);
        let theirs = Config::builder().max_transfer_bytes(4 << 20).block_size(Some(size(self.server_szx)));
        let theirs = theirs.max_transfers(self.kept);
        let client = sim.node("client", ours.build().unwrap());
        let server = sim.node("server", theirs.build().unwrap());
        sim.run_app(server, Store::new(shelf));
        sim.link(client, server, self.link);
        (sim, client, server)
    }

    /// What becomes of it, and how many datagrams the client sent.
    fn run(&self, seed: u64) -> (End, u64) {
        let shelf = Shelf::default();
        let body = content(seed as u32, self.len);
        shelf.borrow_mut().insert("a".into(), body.clone());
        let (mut sim, client, server) = self.pair(seed, &shelf);
        let mut asked = request(self.code, "a");
        let up = if self.code == Code::GET { content(0, 0) } else { content(!0, self.len) };
        asked.body = up.clone().into();
        let how = RequestOptions::new().block_size(size(self.szx));
        let id = sim.request(client, server, asked, &how).unwrap();
        let end = match sim.finish(client, id) {
            Some(Event::Response { response, .. }) => {
                let expected = match self.code {
                    Code::GET => &body,
                    Code::PUT => &content(0, 0),
                    _ => &up,
                };
                assert!(response.code.is_success(), "{self:?}: {}", response.code);
                assert!(response.body.as_bytes() == expected, "{self:?}, COAP_SEED={seed}: spliced");
                End::Identical
            }
            Some(Event::Failed { reason, .. }) => End::Failed(reason),
            other => panic!("{self:?}, COAP_SEED={seed}: {other:?}"),
        };
        let stored = shelf.borrow()["a"].clone();
        if self.code == Code::PUT && end == End::Identical {
            assert!(stored == up, "{self:?}, COAP_SEED={seed}: stored spliced");
        }
        assert!(stored == body || (self.code == Code::PUT && stored == up), "{self:?}, COAP_SEED={seed}: spliced");
        let sent = sim.endpoint(client).stats().datagrams_sent;
        sim.run_until_idle();
        for node in [client, server] {
            assert_eq!(sim.endpoint(node).usage(), Usage::default());
        }
        (end, sent)
    }
}

const LENGTHS: [usize; 9] = [0, 1, 15, 16, 17, 1_023, 1_024, 1_025, 65_536];
const METHODS: [Code; 3] = [Code::GET, Code::PUT, Code::POST];

/// Nothing is lost: as many exchanges as there are blocks, whichever size either side likes.
#[test]
fn r16_there_are_as_many_exchanges_as_blocks() {
    for code in METHODS {
        for len in LENGTHS {
            for szx in 0..=6 {
                let transfer = Transfer::new(code, len, szx);
                let (end, sent) = transfer.run(1);
                let there = if code == Code::GET { 1 } else { blocks(len, szx) };
                let back = if code == Code::PUT { 1 } else { blocks(len, szx) };
                assert_eq!((end, sent), (End::Identical, (there + back - 1) as u64), "{transfer:?}");
            }
        }
    }
}

/// The server likes smaller blocks than the client.
#[test]
fn r16_a_smaller_size_is_taken_up_in_the_middle() {
    for code in METHODS {
        for len in [17, 1_023, 1_025, 10_000] {
            for (szx, server_szx) in [(6, 0), (6, 5), (4, 1), (2, 6), (1, 0)] {
                for (seed, loss) in [(1, 0.0), (2, 0.2), (3, 0.2)] {
                    let link = Link::lossy(loss);
                    let transfer = Transfer { server_szx, link, ..Transfer::new(code, len, szx) };
                    let (end, sent) = transfer.run(seed);
                    if loss == 0.0 {
                        assert_eq!(end, End::Identical, "{transfer:?}");
                        let least = szx.min(server_szx);
                        let (one_way, first) = (blocks(len, least), 1 << (szx - least));
                        // The first block of an upload goes in the size of the client.
                        let there = if len <= 16 << szx { 1 } else { one_way + 1 - first };
                        let there = if code == Code::GET { 1 } else { there };
                        let back = if code == Code::PUT { 1 } else { one_way };
                        assert_eq!(sent, (there + back - 1) as u64, "{transfer:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn r16_whatever_is_lost_a_body_is_identical_or_an_error() {
    let rounds = count(1);
    let seed = coap_sim::seed_from_env(1);
    let mut ends = [0, 0];
    for code in METHODS {
        for len in LENGTHS {
            // 4,096 blocks of 16 bytes take a while.
            for szx in if len > 2_000 { 3..=6 } else { 0..=6 } {
                for (n, loss) in (0..rounds).flat_map(|n| [0.1, 0.2, 0.3].map(|loss| (n, loss))) {
                    let link = Link::lossy(loss).duplication(0.1).jitter(Duration::from_secs(2));
                    let (end, _) = Transfer { link, ..Transfer::new(code, len, szx) }.run(seed + n);
                    ends[usize::from(end == End::Identical)] += 1;
                }
            }
        }
    }
    println!("R-16, all lengths and sizes, COAP_SEED={seed}: {} identical, {} failed", ends[1], ends[0]);
    assert!(ends[0] * 20 < ends[1], "{ends:?}");
    repeat_with("r16_whatever", 100);
}

/// How often the second exchange of the first block fails, which has 93 s less the time of the first: both begin with a timeout
/// between 2 and 3 s, and the first takes 31 of them.
fn second_fails(loss: f64) -> f64 {
    let copy = 1.0 - (1.0 - loss) * (1.0 - loss);
    let timeouts = || (0..100).map(|n| 2.005 + f64::from(n) / 100.0);
    let mut sum = 0.0;
    for (first, second) in timeouts().flat_map(|first| timeouts().map(move |second| (first, second))) {
        let left = 93.0 - 31.0 * first;
        let copies = [0.0, 1.0, 3.0, 7.0, 15.0].iter().filter(|times| *times * second < left).count();
        sum += copy.powi(copies as i32);
    }
    sum / 10_000.0
}

/// The share of transfers that succeed, against (1 - P^k)^n; the first block may not be sent as often.
#[test]
fn r16_as_many_succeed_as_the_attempts_at_each_block_allow() {
    let transfers = count(40);
    let seed = coap_sim::seed_from_env(1);
    // Length, exponent of the size, loss each way, attempts.
    let points = [
        (65_536, 6, 0.3, 3),
        (16_384, 6, 0.3, 1),
        (16_384, 6, 0.4, 2),
        (16_384, 6, 0.5, 3),
        (1_024, 2, 0.5, 3),
        (65_536, 3, 0.4, 3),
    ];
    for (len, szx, loss, attempts) in points {
        for code in [Code::GET, Code::PUT, Code::POST] {
            let transfer = Transfer { attempts, link: Link::lossy(loss), ..Transfer::new(code, len, szx) };
            let ended = (0..transfers).filter(|n| transfer.run(seed + n).0 == End::Identical).count();
            let share = ended as f64 / transfers as f64;
            // One exchange fails if none of its copies makes it there and back.
            let fails = (1.0 - (1.0 - loss) * (1.0 - loss)).powi(COPIES);
            let block = 1.0 - fails.powi(i32::from(attempts));
            let n = blocks(len, szx) as i32;
            // The first has what is left of 93 s for its second exchange.
            let first = if attempts == 1 { 1.0 - fails } else { 1.0 - fails * second_fails(loss) };
            let expected = match code {
                // The last block of what is not idempotent is sent once; then the response is fetched.
                Code::POST => first * block.powi(2 * n - 3) * (1.0 - fails),
                _ => first * block.powi(n - 1),
            };
            let sigma = (expected * (1.0 - expected) / transfers as f64).sqrt();
            println!(
                "R-16, {code} {len} bytes in {n} blocks, loss {loss}, {attempts} attempts: {share:.4}, expected {expected:.4} ± {:.4}",
                3.0 * sigma
            );
            let off = (share - expected).abs();
            assert!(off <= 3.0 * sigma + 1e-9, "{transfer:?}: {share}, and not {expected} ± {}", 3.0 * sigma);
            if (len, szx, attempts) == (65_536, 6, 3) && code != Code::POST {
                assert!(share >= 0.99 - 3.0 * sigma, "{share}");
            }
        }
    }
    repeat_with("r16_as_many", 1_000);
}

/// 10 MB, longer than either side keeps, in both directions; `COAP_BYTES` for another length.
#[test]
fn r16_ten_megabytes_at_10_percent_loss() {
    let len = std::env::var("COAP_BYTES").map_or(10_000_000, |bytes| bytes.parse().unwrap());
    let runs = count(1);
    let seed = coap_sim::seed_from_env(1);
    for code in [Code::GET, Code::PUT] {
        let mut arrived = 0;
        for n in 0..runs {
            let mut sim = Sim::new(seed + n);
            sim.keep_trace(100);
            let client = sim.node("client", Config::default());
            let server = sim.node("server", Config::default());
            let stream = Stream::new(len);
            let uploaded = Rc::clone(&stream.uploaded);
            sim.run_app(server, stream);
            sim.link(client, server, Link::lossy(0.1));
            let ends = Rc::new(RefCell::new(Ends::default()));
            sim.run_app(client, Reader { len, ends: Rc::clone(&ends) });
            let how = RequestOptions::new().block_size(BlockSize::MAX);
            let (asked, how) = match code {
                Code::GET => (request(code, "file"), how.in_parts()),
                _ => (request(code, "file").with_body(Body::Parts { size: Some(len) }), how),
            };
            sim.request(client, server, asked, &how).unwrap();
            while sim.step(coap_core::Instant::from_micros(u64::MAX)) {
                let most = [client, server].map(|node| sim.endpoint(node).usage().transfer_bytes);
                assert!(most.iter().all(|bytes| *bytes <= 16_384), "{most:?}");
            }
            let ends = ends.borrow();
            let bytes = if code == Code::GET { ends.received.map_or(0, |(_, end)| end) } else { *uploaded.borrow() };
            if ends.complete && bytes == len {
                arrived += 1;
            } else {
                assert!(ends.failure.is_some(), "{ends:?}, {bytes} bytes");
            }
        }
        println!("R-16, {code} of {len} bytes at 10 % loss: {arrived} of {runs} arrived");
        assert!(arrived * 100 >= runs * 99, "{arrived} of {runs}");
    }
    repeat_with("r16_ten", 100);
}

/// The content changes while it is fetched: what is handed up is one version or another, never a mixture.
#[test]
fn r16_content_that_changes_under_way_is_never_mixed() {
    let rounds = count(80);
    let seed = coap_sim::seed_from_env(1);
    let (mut whole, mut later, mut failed) = (0, 0, 0);
    for n in seed..seed + rounds {
        let shelf = Shelf::default();
        // A body that is kept for the client does not change; without room for it the server is asked for each block.
        let kept = if n % 2 == 0 { 64 } else { 0 };
        let transfer = Transfer { kept, link: Link::lossy(0.1), ..Transfer::new(Code::GET, 20_000, 4) };
        let (mut sim, client, server) = transfer.pair(n, &shelf);
        shelf.borrow_mut().insert("a".into(), content(0, 20_000));
        let how = RequestOptions::new().block_size(size(4));
        let id = sim.request(client, server, request(Code::GET, "a"), &how).unwrap();
        // Every few seconds another version, and another length.
        for version in 1..4 {
            let shelf = Rc::clone(&shelf);
            let at = sim.now() + Duration::from_millis(400 * version * (1 + n % 20));
            sim.at(at, server, move |_, _| {
                shelf.borrow_mut().insert("a".into(), content(version as u32, 20_000 - 100 * version as usize));
            });
        }
        match sim.finish(client, id) {
            Some(Event::Response { response, .. }) => {
                let body = response.body.as_bytes();
                let version = (20_000 - body.len()) / 100;
                assert!(content(version as u32, body.len()) == body, "COAP_SEED={n}: spliced");
                whole += 1;
                later += u32::from(version > 0);
            }
            Some(Event::Failed { reason, .. }) => {
                assert_eq!((kept, reason), (0, Failure::Blockwise(BlockFailure::Changed)), "COAP_SEED={n}");
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
        sim.run_until_idle();
    }
    println!("R-16, changes under way: {whole} whole, {later} of them after a change; {failed} failed");
    assert!(whole > later && later > 0 && failed > 0, "{whole} {later} {failed}");
    repeat_with("r16_content", 10_000);
}

/// Two clients, and two bodies of one of them, go to one place at a time.
#[test]
fn r16_bodies_to_one_place_at_a_time_are_not_mixed() {
    let rounds = count(30);
    let seed = coap_sim::seed_from_env(1);
    let parameters = Config::default().transmission().to_builder().nstart(4).accept_congestion_risk().build().unwrap();
    let mut identical = 0;
    for n in seed..seed + rounds {
        let shelf = Shelf::default();
        let mut sim = Sim::new(n);
        let config = Config::builder().transmission(parameters).build().unwrap();
        let (left, right) = (sim.node("left", config.clone()), sim.node("right", config.clone()));
        let server = sim.node("server", config);
        sim.run_app(server, Store::new(&shelf));
        for client in [left, right] {
            sim.link(client, server, Link::lossy(0.1).jitter(Duration::from_millis(500)));
        }
        let how = RequestOptions::new().block_size(size(2));
        let asked: Vec<_> = [(left, 1), (left, 2), (right, 3), (left, 4)]
            .into_iter()
            .map(|(client, version)| {
                let code = if version == 4 { Code::POST } else { Code::PUT };
                let put = request(code, "a").with_body(content(version, 2_000));
                (client, version, sim.request(client, server, put, &how).unwrap())
            })
            .collect();
        for (client, version, id) in asked {
            match sim.finish(client, id) {
                Some(Event::Response { response, .. }) => {
                    assert_eq!(response.code, Code::CHANGED, "COAP_SEED={n}, {version}");
                    let back = response.body.as_bytes();
                    assert!(back.is_empty() || back == content(4, 2_000), "COAP_SEED={n}: spliced");
                    identical += 1;
                }
                Some(Event::Failed { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        let stored = shelf.borrow().get("a").cloned();
        assert!(stored.is_none_or(|stored| (1..4).any(|version| stored == content(version, 2_000))), "COAP_SEED={n}");
        sim.run_until_idle();
    }
    println!("R-16, four bodies to one place at a time: {identical} of {} identical", 4 * rounds);
    assert!(identical * 100 >= rounds * 4 * 95, "{identical}");
    repeat_with("r16_bodies", 5_000);
}

/// The first request says nothing of blocks, as the default is.
#[test]
fn a_request_without_settings_of_its_own_takes_what_comes() {
    let shelf = Shelf::default();
    shelf.borrow_mut().insert("a".into(), content(7, 50_000));
    let transfer = Transfer { server_szx: 5, ..Transfer::new(Code::GET, 50_000, 5) };
    let (mut sim, client, server) = transfer.pair(1, &shelf);
    let id = sim.request(client, server, request(Code::GET, "a"), &RequestOptions::new()).unwrap();
    let Some(Event::Response { response, .. }) = sim.finish(client, id) else { panic!() };
    assert!(response.body.as_bytes() == content(7, 50_000));
    let missing: Request = request(Code::GET, "b");
    let id = sim.request(client, server, missing, &RequestOptions::new()).unwrap();
    let Some(Event::Response { response, .. }) = sim.finish(client, id) else { panic!() };
    assert_eq!(response.code, Code::NOT_FOUND);
    sim.run_until_idle();
}
