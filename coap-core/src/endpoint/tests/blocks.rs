//! What the tests of bodies in blocks have in common: a peer that answers block by block.

use super::*;

/// A block as number, whether more follow, and size exponent.
pub(super) type Numbers = (u32, bool, u8);

pub(super) fn block(numbers: Numbers) -> Block {
    Block::new(numbers.0, numbers.1, numbers.2).unwrap()
}

/// A piggybacked response.
pub(super) fn reply(request: &Message, code: Code, options: Options, payload: &[u8]) -> Message {
    Message {
        kind: Type::Acknowledgement,
        code,
        message_id: request.message_id,
        token: request.token.clone(),
        options,
        payload: Bytes::copy_from_slice(payload),
    }
}

impl Rig {
    pub(super) fn send_to(&mut self, to: Peer, request: Request, how: &RequestOptions) -> RequestId {
        let id = self.endpoint.request(self.now, to, request, how).unwrap();
        self.drain();
        id
    }

    pub(super) fn put(&mut self, body: impl Into<Body>, how: &RequestOptions) -> RequestId {
        self.send_to(peer(1), Request::new(Code::PUT).with_options(path(&["a"])).with_body(body), how)
    }

    pub(super) fn answer_with(&mut self, request: &Message, code: Code, options: Options, payload: &[u8]) {
        self.receive(peer(1), &encode(&reply(request, code, options, payload)));
    }

    /// Stays silent to `request` until its exchange is given up; what is sent then, if anything is.
    pub(super) fn silence(&mut self, request: &Message) -> Option<Message> {
        for _ in 0..100 {
            while let Some((_, bytes)) = self.sent.pop_front() {
                let message = Message::decode(bytes.into()).unwrap();
                if message != *request {
                    return Some(message);
                }
            }
            if !self.events.is_empty() {
                return None;
            }
            self.pass(secs(1));
        }
        panic!("{request} was never given up");
    }

    /// 2.05 with a block of the body.
    pub(super) fn answer_block2(&mut self, request: &Message, numbers: Numbers, payload: &[u8]) {
        let mut options = Options::new();
        options.set_block2(block(numbers));
        self.answer_with(request, Code::CONTENT, options, payload);
    }

    /// The same with an ETag.
    pub(super) fn answer_tagged(&mut self, request: &Message, tag: &[u8], numbers: Numbers, payload: &[u8]) {
        let mut options = Options::new();
        options.push_etag(&ETag::new(tag).unwrap());
        options.set_block2(block(numbers));
        self.answer_with(request, Code::CONTENT, options, payload);
    }

    /// A response with this code to a block of the request body.
    pub(super) fn answer_block1(&mut self, request: &Message, code: Code, numbers: Numbers) {
        let mut options = Options::new();
        options.set_block1(block(numbers));
        self.answer_with(request, code, options, b"");
    }
}

#[test]
fn a_peer_that_answers_nothing_is_waited_for_no_longer_than_for_any_other_request() {
    for request in [Request::get(), Request::new(Code::PUT).with_body(vec![7; 1_000])] {
        let mut rig = Rig::new();
        let how = RequestOptions::new().block_size(BlockSize::new(64).unwrap());
        rig.endpoint.request(rig.now, peer(1), request, &how).unwrap();
        rig.pass(secs(300));
        let copies = rig.sent.len();
        let (_, failure, timing) = rig.failure();
        assert_eq!((failure, usize::from(timing.attempts)), (Failure::NoAck, copies), "all copies are told");
        assert!(copies > 5 && timing.elapsed > secs(62) && timing.elapsed <= secs(93), "{timing:?}");
        rig.comes_to_rest();
    }
}

#[test]
fn a_later_block_is_asked_for_three_times_and_all_its_copies_are_told() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().block_size(BlockSize::new(64).unwrap());
    rig.request(peer(1), &how);
    let (_, first) = rig.sent();
    let mut options = Options::new();
    options.set_block2(Block::new(0, true, 2).unwrap());
    let (kind, code, payload) = (Type::Acknowledgement, Code::CONTENT, Bytes::from_static(&[1; 64]));
    rig.receive(peer(1), &encode(&Message { kind, code, options, payload, ..first }));
    rig.pass(secs(300));
    assert_eq!(rig.sent.len(), 15);
    let (_, failure, timing) = rig.failure();
    assert_eq!((failure, timing.attempts), (Failure::NoAck, 15));
    rig.comes_to_rest();
}
