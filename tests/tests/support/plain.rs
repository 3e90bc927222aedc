//! A peer that knows messages, blocks and observers, and nothing else: what a client meets there is written down here, and
//! what it sent can be looked at.

use core::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use coap_core::{Block, Code, ETag, Local, Message, Options, Token, Type, UdpAddr};
use coap_driver::{Received, RecvBatch, Runtime, UdpSocket};

/// A peer at work. Clones are the same peer.
#[derive(Clone, Default)]
pub(crate) struct Plain(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// What GET gives.
    pub(crate) content: Vec<u8>,
    /// Its tag.
    pub(crate) etag: Option<u8>,
    /// Its Max-Age.
    pub(crate) max_age: Option<u32>,
    /// What PUT has brought.
    pub(crate) uploaded: Vec<u8>,
    /// PUT is answered with this at once.
    pub(crate) refuses: Option<Code>,
    /// So is GET.
    pub(crate) refuses_get: Option<Code>,
    /// GET with Observe is answered as one that is offered.
    pub(crate) observable: bool,
    /// Nothing is answered after so many further requests.
    pub(crate) patience: Option<usize>,
    /// All that came: requests, acknowledgements, Resets.
    pub(crate) heard: Vec<Message>,
    observers: Vec<(UdpAddr, Local, Token)>,
    number: u32,
    message_id: u16,
}

impl Plain {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.lock().heard.iter().filter(|message| message.code.is_request()).cloned().collect()
    }

    pub(crate) fn resets(&self) -> usize {
        self.lock().heard.iter().filter(|message| message.kind == Type::Reset).count()
    }

    pub(crate) fn observers(&self) -> usize {
        self.lock().observers.len()
    }

    /// Answers what comes to the socket, for ever.
    pub(crate) async fn run<R: Runtime>(self, socket: Arc<R::Socket>) {
        let mut batch = RecvBatch::new(2_000);
        loop {
            poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await.unwrap();
            for received in batch.iter() {
                let Received::Datagram { from, to, interface, payload } = received else { continue };
                let Some(from) = from.udp() else { continue };
                let local = Local::arrived(0, to, interface);
                let message = Message::decode(Bytes::copy_from_slice(payload)).unwrap();
                let answer = self.lock().answer(from, local, message);
                if let Some(answer) = answer {
                    send(&*socket, from, &local, &answer);
                }
            }
        }
    }

    /// Sends the content as it is now to all observers.
    pub(crate) fn notify(&self, socket: &impl UdpSocket, kind: Type) {
        let mut state = self.lock();
        for (to, local, token) in state.observers.clone() {
            let mut options = state.options();
            state.number += 1;
            options.set_observe(state.number);
            state.message_id += 1;
            let payload = Bytes::copy_from_slice(&state.content);
            let message_id = state.message_id;
            let notification = Message { kind, code: Code::CONTENT, message_id, token, options, payload };
            send(socket, to, &local, &notification);
        }
    }

    /// Ends all relations with this code.
    pub(crate) fn end(&self, socket: &impl UdpSocket, code: Code) {
        let mut state = self.lock();
        for (to, local, token) in core::mem::take(&mut state.observers) {
            state.message_id += 1;
            let (kind, message_id) = (Type::NonConfirmable, state.message_id);
            let last = Message { kind, code, message_id, token, options: Options::new(), payload: Bytes::new() };
            send(socket, to, &local, &last);
        }
    }
}

fn send(socket: &impl UdpSocket, to: UdpAddr, from: &Local, message: &Message) {
    let mut buf = [0; 2_000];
    let len = message.encode(&mut buf).unwrap();
    socket.try_send(to, from, &buf[..len]).unwrap();
}

impl State {
    fn options(&self) -> Options {
        let mut options = Options::new();
        if let Some(tag) = self.etag {
            options.push_etag(&ETag::new(&[tag]).unwrap());
        }
        if let Some(seconds) = self.max_age {
            options.set_max_age(seconds);
        }
        options
    }

    fn answer(&mut self, from: UdpAddr, local: Local, message: Message) -> Option<Message> {
        self.heard.push(message.clone());
        if !message.code.is_request() {
            return None;
        }
        if let Some(patience) = &mut self.patience {
            *patience = patience.checked_sub(1)?;
        }
        let mut options = self.options();
        let (code, payload) = match message.code {
            Code::GET => self.get(from, local, &message, &mut options),
            _ => (self.put(&message, &mut options), Bytes::new()),
        };
        let Message { kind, message_id, token, .. } = message;
        let kind = if kind == Type::Confirmable { Type::Acknowledgement } else { kind };
        Some(Message { kind, code, message_id, token, options, payload })
    }

    fn get(&mut self, from: UdpAddr, local: Local, message: &Message, options: &mut Options) -> (Code, Bytes) {
        if let Some(code) = self.refuses_get {
            return (code, Bytes::new());
        }
        let token = &message.token;
        match message.options.observe() {
            Some(0) if self.observable => {
                self.observers.retain(|(of, _, known)| (of, known) != (&from, token));
                self.observers.push((from, local, token.clone()));
                self.number += 1;
                options.set_observe(self.number);
            }
            Some(1) => self.observers.retain(|(of, _, known)| (of, known) != (&from, token)),
            _ => {}
        }
        // RFC 7252 §5.10.6.2: whoever has this state is not sent it again.
        if self.etag.is_some_and(|tag| message.options.etags().any(|known| known.as_bytes() == [tag])) {
            return (Code::VALID, Bytes::new());
        }
        let block = message.options.block2().unwrap_or_else(|| Block::new(0, false, Block::MAX_SZX).unwrap());
        let (start, len) = (block.offset() as usize, self.content.len());
        if start > 0 && start >= len {
            return (Code::BAD_OPTION, Bytes::new());
        }
        let end = len.min(start + block.size());
        if (start, end) != (0, len) {
            options.set_block2(Block::new(block.num(), end < len, block.szx()).unwrap());
            if start == 0 {
                options.set_size2(len as u32);
            }
        }
        (Code::CONTENT, Bytes::copy_from_slice(&self.content[start..end]))
    }

    fn put(&mut self, message: &Message, options: &mut Options) -> Code {
        if let Some(code) = self.refuses {
            return code;
        }
        let block = message.options.block1();
        if let Some(block) = block {
            options.set_block1(block);
        }
        let start = block.map_or(0, |block| block.offset() as usize);
        if start > self.uploaded.len() {
            return Code::REQUEST_ENTITY_INCOMPLETE;
        }
        self.uploaded.truncate(start);
        self.uploaded.extend_from_slice(&message.payload);
        if block.is_some_and(Block::more) { Code::CONTINUE } else { Code::CHANGED }
    }
}
