//! Random transfers of a client with a server that is far away, forgetful, moody and sometimes wrong: a body arrives as it
//! was, or with an error; each request ends once; nothing is left behind.

use alloc::collections::BTreeMap;

use rand_chacha::rand_core::Rng;

use super::*;

/// How the server behaves.
#[derive(Clone, Copy)]
struct Mood {
    /// Of 100 datagrams each way, how many are lost.
    loss: u64,
    /// Of 100 answers, how many are wrong.
    wrong: u64,
    /// Of 100 answers, how many come after the content was changed.
    change: u64,
}

/// A server for one client: a content that it serves, and the content that it is sent.
struct Server {
    version: u8,
    len: usize,
    szx: u8,
    /// Uploads under way, by method and Request-Tag.
    uploads: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    stored: Vec<Vec<u8>>,
    answered: BTreeMap<u16, Vec<u8>>,
}

fn content_of(version: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| version.wrapping_mul(31) ^ (n / 7) as u8).collect()
}

impl Server {
    fn answer(&mut self, request: &Message) -> Message {
        let mut response = Message {
            kind: Type::Acknowledgement,
            code: Code::CHANGED,
            message_id: request.message_id,
            token: request.token.clone(),
            options: Options::new(),
            payload: Bytes::new(),
        };
        let asked = request.options.block2();
        if asked.is_none_or(|block| block.num() == 0) && request.code != Code::GET {
            let tag = request.options.get(OptionNumber::REQUEST_TAG).unwrap_or_default().to_vec();
            let key = (request.code.to_byte(), tag);
            let block = request.options.block1().unwrap_or(Block::new(0, false, 6).unwrap());
            if block.num() == 0 {
                self.uploads.insert(key.clone(), Vec::new());
            }
            let szx = block.szx().min(self.szx);
            response.options.set_block1(Block::new(block.num(), block.more(), szx).unwrap());
            let body = self.uploads.get_mut(&key).filter(|body| body.len() as u64 == block.offset());
            response.code = match (body, block.more()) {
                (None, _) => Code::REQUEST_ENTITY_INCOMPLETE,
                (Some(body), more) => {
                    body.extend_from_slice(&request.payload);
                    if more { Code::CONTINUE } else { Code::CHANGED }
                }
            };
            if response.code != Code::CHANGED {
                return response;
            }
            self.stored.extend(self.uploads.remove(&key));
        }
        let szx = asked.map_or(self.szx, |block| block.szx().min(self.szx));
        let offset = asked.map_or(0, |block| block.offset() as usize);
        let all = content_of(self.version, self.len);
        if offset > 0 && offset >= all.len() {
            response.code = Code::BAD_REQUEST;
            return response;
        }
        let end = all.len().min(offset + (16 << szx));
        response.options.push_etag(&ETag::new(&[self.version]).unwrap());
        response.options.set_block2(Block::new((offset >> (szx + 4)) as u32, end < all.len(), szx).unwrap());
        response.payload = Bytes::copy_from_slice(&all[offset..end]);
        response
    }
}

/// Spoils a response.
fn spoil(response: &mut Message, how: u64) {
    let block = |block: Option<Block>, by: i64| {
        let block = block?;
        Block::new((i64::from(block.num()) + by).max(0) as u32, block.more(), block.szx())
    };
    let options = &mut response.options;
    match how % 6 {
        0 => drop(options.remove(OptionNumber::BLOCK2)),
        1 => drop(options.remove(OptionNumber::BLOCK1)),
        2 => block(options.block2(), 1).into_iter().for_each(|block| options.set_block2(block)),
        3 => block(options.block1(), -1).into_iter().for_each(|block| options.set_block1(block)),
        4 => response.payload = response.payload.slice(..response.payload.len() / 2),
        _ => response.code = Code::SERVICE_UNAVAILABLE,
    }
}

/// One transfer, or a few beside each other. How many succeeded, and how many there were.
fn run(seed: u64, mood: Mood) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = move |below: u64| rng.next_u64() % below;
    let mut rig = Rig::new();
    let len = [0, 15, 16, 17, 64, 1_000, 1_024, 1_025][draw(8) as usize];
    let (szx, version) = (draw(7) as u8, 0);
    let mut server =
        Server { version, len, szx, uploads: BTreeMap::new(), stored: Vec::new(), answered: BTreeMap::new() };
    let (mut open, mut uploaded) = (BTreeMap::new(), Vec::new());
    for number in 0..=draw(3) {
        let body = content_of(100 + number as u8, [0, 16, 100, 1_024, 1_500][draw(5) as usize]);
        let mut how = RequestOptions::new();
        if draw(2) == 0 {
            how = how.block_size(BlockSize::from_szx(draw(7) as u8).unwrap());
        }
        let parts = draw(3) == 0;
        if parts {
            how = how.in_parts();
        }
        let request = match draw(3) {
            0 => Request::get(),
            _ => Request::new(Code::PUT).with_body(body.clone()),
        };
        if request.code == Code::PUT {
            uploaded.push(body);
        }
        let id = rig.endpoint.request(rig.now, peer(1), request, &how).unwrap();
        open.insert(id, Vec::new());
    }
    let (total, mut succeeded, mut changes) = (open.len(), 0, 0);
    for _ in 0..100_000 {
        rig.drain();
        while let Some((_, bytes)) = rig.sent.pop_front() {
            if draw(100) < mood.loss {
                continue;
            }
            let request = Message::decode(bytes.into()).unwrap();
            let known = server.answered.get(&request.message_id).cloned();
            let response = known.unwrap_or_else(|| {
                if changes < 5 && draw(100) < mood.change {
                    changes += 1;
                    server.version += 1;
                }
                let mut response = server.answer(&request);
                if draw(100) < mood.wrong {
                    spoil(&mut response, draw(6));
                }
                encode(&response)
            });
            server.answered.insert(request.message_id, response.clone());
            for _ in 0..=u64::from(draw(10) == 0) {
                if draw(100) >= mood.loss {
                    rig.receive(peer(1), &response);
                }
            }
        }
        while let Some(event) = rig.events.pop_front() {
            match event {
                Event::Response { response: Response { body: Body::Parts { .. }, .. }, id, .. } => {
                    assert!(open.contains_key(&id));
                }
                Event::Response { id, response, .. } => {
                    assert!(open.remove(&id).is_some());
                    let body = response.body.as_bytes();
                    if response.code.is_success() && response.code != Code::CONTINUE && mood.wrong == 0 {
                        let whole = (0..=server.version).any(|version| content_of(version, len) == body);
                        assert!(whole, "seed {seed}: spliced");
                        succeeded += 1;
                    }
                }
                Event::BodyPart { id, offset, data, last } => {
                    let of = RequestId(match id.0 {
                        event::BodyOf::Response(of) => of.0,
                        other => panic!("{other:?}"),
                    });
                    let body = open.get_mut(&of).unwrap();
                    assert_eq!(offset, body.len() as u64);
                    body.extend_from_slice(&data);
                    if last {
                        let body = open.remove(&of).unwrap();
                        let whole = (0..=server.version).any(|version| content_of(version, len) == body);
                        assert!(whole || mood.wrong > 0, "seed {seed}: spliced");
                        succeeded += 1;
                    } else {
                        rig.endpoint.consumed(rig.now, id);
                    }
                }
                Event::Failed { id, .. } => assert!(open.remove(&id).is_some()),
                Event::BodyFailed { id, .. } => {
                    let before = open.len();
                    open.retain(|of, _| of.response_body() != id);
                    assert_eq!(open.len(), before - 1);
                }
                other => panic!("{other:?}"),
            }
        }
        if open.is_empty() {
            break;
        }
        rig.drain();
        if rig.sent.is_empty() && rig.events.is_empty() {
            let due = rig.endpoint.poll_timeout().expect("it waits for nothing");
            rig.pass(due - rig.now);
        }
    }
    assert!(open.is_empty(), "seed {seed}: {open:?} never ended");
    assert!(server.stored.iter().all(|body| uploaded.contains(body)), "seed {seed}: mixed up");
    rig.sent.clear();
    rig.comes_to_rest();
    (succeeded, total)
}

#[test]
fn without_trouble_every_transfer_succeeds() {
    for seed in 0..200 {
        let (succeeded, total) = run(seed, Mood { loss: 0, wrong: 0, change: 0 });
        assert_eq!(succeeded, total, "seed {seed}");
    }
}

#[test]
fn with_loss_and_change_nothing_is_spliced_or_mixed_up() {
    for seed in 0..300 {
        run(seed, Mood { loss: 20, wrong: 0, change: 5 });
    }
}

#[test]
fn a_server_that_errs_ends_requests_and_leaves_nothing() {
    for seed in 0..300 {
        run(seed, Mood { loss: 10, wrong: 10, change: 5 });
    }
}
