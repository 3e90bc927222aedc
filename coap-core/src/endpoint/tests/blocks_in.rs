//! Request bodies that come in blocks (RFC 7959 §2.5), as a server.

use super::*;

/// Message IDs and tokens of one client count up.
struct Client {
    from: Peer,
    method: Code,
    kind: Type,
    options: Options,
    message_id: u16,
}

fn client(n: u16) -> Client {
    Client { from: peer(n), method: Code::PUT, kind: Type::Confirmable, options: path(&["up"]), message_id: 0x4000 }
}

impl Client {
    /// The datagram with block `num` of size exponent `szx`.
    fn block(&mut self, num: u32, more: bool, szx: u8, payload: &[u8]) -> Vec<u8> {
        self.message_id += 1;
        let mut options = self.options.clone();
        options.set_block1(Block::new(num, more, szx).unwrap());
        encode(&Message {
            kind: self.kind,
            code: self.method,
            message_id: self.message_id,
            token: Token::new(&self.message_id.to_be_bytes()).unwrap(),
            options,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// Block `num` of `body`, as large as `szx` says.
    fn cut(&mut self, num: u32, szx: u8, body: &[u8]) -> Vec<u8> {
        let size = 16 << szx;
        let start = num as usize * size;
        let end = (start + size).min(body.len());
        self.block(num, end < body.len(), szx, &body[start..end])
    }

    fn send(&mut self, rig: &mut Rig, num: u32, more: bool, szx: u8, payload: &[u8]) {
        let datagram = self.block(num, more, szx, payload);
        rig.receive(self.from, &datagram);
    }
}

impl Rig {
    fn part(&mut self) -> (BodyId, u64, Bytes, bool) {
        match self.event() {
            Event::BodyPart { id, offset, data, last } => (id, offset, data, last),
            other => panic!("{other:?}"),
        }
    }

    fn collect(&mut self, id: IncomingId, limit: usize) {
        assert!(self.endpoint.collect(self.now, id.request_body(), limit));
        self.drain();
    }

    fn consumed(&mut self, id: IncomingId) {
        assert!(self.endpoint.consumed(self.now, id.request_body()));
        self.drain();
    }

    #[track_caller]
    fn closed(&mut self) -> (IncomingId, Closed) {
        match self.event() {
            Event::IncomingClosed { id, why } => (id, why),
            other => panic!("{other:?}"),
        }
    }

    /// The answer to a block: its code, and its Block1 option.
    #[track_caller]
    fn answered(&mut self) -> (Type, Code, Option<(u32, bool, u8)>) {
        let (_, message) = self.sent();
        let block = message.options.block1().map(|block| (block.num(), block.more(), block.szx()));
        (message.kind, message.code, block)
    }

    /// Begins an upload that is collected: its first block has been answered.
    fn begin(&mut self, client: &mut Client, limit: usize) -> IncomingId {
        client.send(self, 0, true, 0, &[b'A'; 16]);
        let id = self.handed_up().id;
        self.collect(id, limit);
        assert_eq!(self.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
        id
    }
}

const ACK: Type = Type::Acknowledgement;

#[test]
fn an_upload_becomes_one_request_and_one_body() {
    let (mut rig, mut client) = (Rig::new(), client(1));
    client.options.set_content_format(ContentFormat::JSON);
    client.options.set_size1(40);
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let request = rig.handed_up();
    assert_eq!(request.request.body, Body::Parts { size: Some(40) });
    assert!(!request.request.options.contains(OptionNumber::BLOCK1));
    assert_eq!(request.request.options.content_format(), Some(ContentFormat::JSON));
    rig.sent_nothing();

    rig.collect(request.id, 1_000);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
    client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    rig.said_nothing();
    client.send(&mut rig, 2, false, 0, &[b'C'; 8]);
    let (id, offset, data, last) = rig.part();
    assert_eq!((id, offset, last), (request.id.request_body(), 0, true));
    assert_eq!(data, [&[b'A'; 16][..], &[b'B'; 16], &[b'C'; 8]].concat());
    rig.sent_nothing();
    rig.respond(request.id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((2, false, 0))));
    assert_eq!(rig.endpoint.usage().transfer_bytes, 0);
    rig.comes_to_rest();
}

#[test]
fn bodies_of_every_length_and_block_size_arrive_whole() {
    let mut rig = Rig::new();
    let mut client = client(1);
    for szx in 0..=6 {
        for len in [17, 31, 32, 33, 1_023, 1_024, 1_025, 3_000] {
            let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let blocks = body.len().div_ceil(16 << szx) as u32;
            let datagram = client.cut(0, szx, &body);
            rig.receive(client.from, &datagram);
            let request = rig.handed_up();
            if blocks > 1 {
                rig.collect(request.id, len);
                for num in 1..blocks {
                    assert_eq!(rig.answered().1, Code::CONTINUE);
                    let datagram = client.cut(num, szx, &body);
                    rig.receive(client.from, &datagram);
                }
                assert_eq!(rig.part().2, body, "{len} bytes in blocks of size exponent {szx}");
            } else {
                assert_eq!(request.request.body.as_bytes(), body);
            }
            rig.respond(request.id, Response::new(Code::CHANGED));
            assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((blocks - 1, false, szx))));
        }
    }
    assert_eq!(rig.endpoint.stats().bad_blocks, 0);
    rig.comes_to_rest();
}

#[test]
fn an_upload_is_refused_with_its_first_block() {
    let (mut rig, mut client) = (Rig::new(), client(1));
    client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::NOT_FOUND));
    assert_eq!(rig.answered(), (ACK, Code::NOT_FOUND, Some((0, false, 6))));
    client.send(&mut rig, 1, true, 6, &[b'A'; 1_024]);
    assert_eq!(rig.answered(), (ACK, Code::NOT_FOUND, Some((1, false, 6))));
    rig.said_nothing();
    rig.comes_to_rest();
}
