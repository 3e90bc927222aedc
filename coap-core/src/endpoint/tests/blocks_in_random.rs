//! Long random runs with blocks: clients that follow the RFC over a network that loses and repeats, beside others that send
//! whatever they like, and an application that takes bodies in every way. A body that is told is one that was sent, every
//! table stays within its bound, and nothing is left at the end.

use alloc::collections::BTreeMap;

use rand_chacha::rand_core::Rng;

use super::*;
use crate::event::BodyOf;

const PEERS: u64 = 4;

/// An upload of a client that follows the RFC.
struct Sender {
    from: Peer,
    body: Vec<u8>,
    szx: u8,
    offset: usize,
    /// Of its last message.
    token: Token,
}

struct Model {
    rig: Rig,
    rng: ChaCha8Rng,
    message_id: u16,
    senders: Vec<Sender>,
    /// Requests that are open, and what has come of their bodies.
    open: BTreeMap<IncomingId, Vec<u8>>,
    /// Messages of before, to be sent again while the network may still have them.
    datagrams: Vec<(Instant, Peer, Vec<u8>)>,
    whole: usize,
}

fn content_of(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| seed.wrapping_add((n / 3) as u8)).collect()
}

impl Model {
    fn new(seed: u64, config: Config) -> Self {
        Self {
            rig: Rig::with(config),
            rng: ChaCha8Rng::seed_from_u64(seed),
            message_id: 0,
            senders: Vec::new(),
            open: BTreeMap::new(),
            datagrams: Vec::new(),
            whole: 0,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn send(&mut self, from: Peer, code: Code, options: Options, payload: &[u8]) {
        self.message_id = self.message_id.wrapping_add(1);
        let kind = if self.draw(4) == 0 { Type::NonConfirmable } else { Type::Confirmable };
        let (message_id, token) = (self.message_id, Token::new(&self.message_id.to_be_bytes()).unwrap());
        let payload = Bytes::copy_from_slice(payload);
        let datagram = encode(&Message { kind, code, message_id, token, options, payload });
        self.rig.receive(from, &datagram);
        self.datagrams.push((self.rig.now, from, datagram));
    }

    /// A client sends its next block, or its last once more. Its resource is its own, so that its body is known by it.
    fn step(&mut self) {
        if self.senders.len() < 3 {
            let n = self.draw(1_000) as u16;
            let len = 17 + self.draw(3_000) as usize;
            let (from, szx) = (peer(100 + n % 8), self.draw(7) as u8);
            self.senders.retain(|sender| sender.from != from);
            self.senders.push(Sender { from, body: content_of(n as u8, len), szx, offset: 0, token: Token::EMPTY });
        }
        let which = self.draw(self.senders.len() as u64) as usize;
        let Sender { from, ref body, szx, offset, .. } = self.senders[which];
        let end = (offset + (16 << szx)).min(body.len());
        let block = Block::new((offset >> (szx + 4)) as u32, end < body.len(), szx).unwrap();
        let payload = body[offset..end].to_vec();
        let mut options = path(&["honest"]);
        options.set_block1(block);
        self.senders[which].token = Token::new(&(self.message_id + 1).to_be_bytes()).unwrap();
        self.send(from, Code::PUT, options, &payload);
    }

    /// A client goes on if it is told to, and begins another body when this one has its answer.
    fn hear(&mut self) {
        while let Some((to, bytes)) = self.rig.sent.pop_front() {
            let message = Message::decode(bytes.into()).unwrap();
            if message.kind == Type::Confirmable && self.draw(3) > 0 {
                self.rig.receive(to, &empty(Type::Acknowledgement, message.message_id));
            }
            let lost = self.draw(5) == 0;
            let Some(which) = self.senders.iter().position(|sender| sender.token == message.token && !lost) else {
                continue;
            };
            let sender = &mut self.senders[which];
            match message.options.block1() {
                // An answer to an older block says nothing of this one.
                Some(block) if block.num() as usize * (16 << sender.szx) != sender.offset => {}
                Some(block) if message.code == Code::CONTINUE => {
                    sender.offset += 16 << sender.szx;
                    sender.szx = sender.szx.min(block.szx());
                }
                _ if message.code.is_response() => drop(self.senders.remove(which)),
                _ => {}
            }
        }
    }

    fn noise(&mut self) {
        if self.draw(4) == 0 && !self.datagrams.is_empty() {
            let back = self.draw(30.min(self.datagrams.len() as u64)) as usize;
            let (at, from, datagram) = self.datagrams[self.datagrams.len() - 1 - back].clone();
            if at + secs(100) > self.rig.now {
                self.rig.receive(from, &datagram);
            }
            return;
        }
        let from = peer(self.draw(PEERS) as u16);
        let code = [Code::GET, Code::PUT, Code::POST, Code::FETCH][self.draw(4) as usize];
        let mut options = path(&[["a", "b"][self.draw(2) as usize]]);
        let szx = self.draw(3) as u8;
        let mut payload = Vec::new();
        if code != Code::GET {
            let (num, more) = (self.draw(4) as u32, self.draw(3) > 0);
            options.set_block1(Block::new(num, more, szx).unwrap());
            let wrong = u64::from(self.draw(10) == 0);
            payload = content_of(7, (16 << szx) + wrong as usize);
        }
        if self.draw(2) == 0 {
            options.remove(OptionNumber::BLOCK1);
            options.set_block2(Block::new(self.draw(5) as u32, self.draw(2) == 0, szx).unwrap());
        }
        if self.draw(12) == 0 {
            options.set_no_response(self.rng.next_u64() as u8 & 26);
        }
        self.send(from, code, options, &payload);
    }

    fn act(&mut self) {
        let Some(id) = self.open.keys().nth(self.rng.next_u64() as usize % self.open.len().max(1)).copied() else {
            return;
        };
        let now = self.rig.now;
        let len = self.draw(2_000) as usize;
        let endpoint = &mut self.rig.endpoint;
        match self.rng.next_u64() % 12 {
            0 => {
                endpoint.ignore(now, id);
                self.open.remove(&id);
            }
            1 => drop(endpoint.collect(now, id.request_body(), 2 * len)),
            2 | 3 => drop(endpoint.consumed(now, id.request_body())),
            4 | 5 => {
                let response = Response::new(Code::CONTENT).with_body(Body::Parts { size: None });
                endpoint.respond(now, id, response).ok();
            }
            6..=8 => drop(endpoint.supply(now, id.response_body(), vec![5; len].into(), len.is_multiple_of(3))),
            9 => {
                let response = Response::new(Code::CONTENT).with_body(Body::Range {
                    offset: (len as u64 % 8) * 64,
                    data: vec![6; 300].into(),
                    size: len.is_multiple_of(2).then_some(1_000),
                });
                endpoint.respond(now, id, response).ok();
            }
            _ => {
                let code = [Code::CONTENT, Code::CHANGED, Code::NOT_FOUND][len % 3];
                endpoint.respond(now, id, Response::new(code).with_body(vec![8; len])).ok();
            }
        }
    }

    /// What the application does at once: take the honest clients' bodies, in one of two ways.
    fn take(&mut self) {
        self.rig.drain();
        self.hear();
        while let Some(event) = self.rig.events.pop_front() {
            let now = self.rig.now;
            match event {
                Event::Request(request) => {
                    let honest = request.request.options.uri_path().next() == Some(b"honest");
                    assert!(self.open.insert(request.id, Vec::new()).is_none());
                    let body = request.id.request_body();
                    match self.draw(8) {
                        _ if !honest || !request.request.body.is_in_parts() => {}
                        0..4 => assert!(self.rig.endpoint.collect(now, body, 5_000)),
                        4..7 => assert!(self.rig.endpoint.consumed(now, body)),
                        _ => {}
                    }
                }
                Event::BodyPart { id, offset, data, last } => {
                    let BodyOf::Incoming(of) = id.0 else { panic!("{id:?}") };
                    let Some(got) = self.open.get_mut(&of) else { continue };
                    assert_eq!(offset, got.len() as u64);
                    got.extend_from_slice(&data);
                    if last {
                        let seed = got[0];
                        let stats = self.rig.endpoint.stats();
                        // Who has forgotten a message takes its duplicate for a new one.
                        let sure = stats.forgotten_early + stats.served_unremembered == 0 && seed != 7;
                        assert!(*got == content_of(seed, got.len()) || !sure, "spliced: {got:?}");
                        self.whole += 1;
                        if seed != 7 {
                            self.rig.endpoint.respond(now, of, Response::new(Code::CHANGED)).ok();
                        }
                    } else if self.draw(3) > 0 {
                        self.rig.endpoint.consumed(now, id);
                    }
                }
                Event::IncomingClosed { id, .. } => drop(self.open.remove(&id)),
                Event::BodyWanted { .. } => {}
                other => panic!("nothing asked for {other:?}"),
            }
            self.rig.drain();
        }
        self.hear();
        let (usage, config) = (self.rig.endpoint.usage(), self.rig.endpoint.config());
        assert!(
            usage.transfers <= config.max_transfers && usage.transfer_bytes <= config.max_transfer_bytes,
            "{usage:?}"
        );
        assert!(usage.incoming <= config.max_incoming + config.max_transfers, "{usage:?}");
    }

    fn run(mut self, steps: usize) -> usize {
        for _ in 0..steps {
            match self.draw(10) {
                0..5 => self.step(),
                5..7 => self.noise(),
                7..9 => self.act(),
                _ => {
                    let span = [0, 100, 1_000, 300_000][self.draw(4) as usize];
                    let span = ms(self.draw(span + 1));
                    self.rig.pass(span);
                }
            }
            self.take();
        }
        self.rig.comes_to_rest();
        self.whole
    }
}

#[test]
fn with_room_for_all() {
    let whole: usize = (0..15).map(|seed| Model::new(seed, Config::default()).run(1_500)).sum();
    assert!(whole > 200, "{whole} bodies");
}

#[test]
fn with_little_room() {
    for seed in 0..15 {
        let config = Config::constrained().max_incoming(4 + seed as usize % 5).max_transfers(seed as usize % 7);
        let config = config.max_transfer_bytes(500 * (seed as usize % 9)).max_remembered_bytes(600);
        Model::new(seed, config.build().unwrap()).run(1_500);
    }
}
