//! Extended tokens of ours (RFC 8974 §2.2.2): sent on trial, until a Reset says that the peer knows none.

use alloc::vec;

use super::Endpoint;
use super::client::TOKEN_DRAWS;
use super::errors::RequestError;
use crate::addr::Peer;
use crate::exchange::OutgoingKey;
use crate::peers::Tokens;
use crate::wire::Token;

impl Endpoint {
    /// Whether an extended token may be tried with a peer. A group cannot say that it knows none.
    pub(super) fn may_know_extended_tokens(&self, to: &Peer) -> bool {
        let known = || self.peers.find(to).and_then(|peer| self.peers.get(peer));
        !to.is_multicast() && known().is_none_or(|record| record.tokens == Tokens::Any)
    }

    /// How many bytes of a message a token takes that is drawn for a peer, at most.
    pub(super) fn room_for_drawn_token(&self, to: &Peer) -> usize {
        let least = usize::from(self.config.min_token_len);
        // One that is extended has that length, and up to 255 bytes are told in one more.
        if least > Token::MAX_LEN && self.may_know_extended_tokens(to) { least + 1 } else { Token::MAX_LEN }
    }

    /// A token of the least length, which is more than 8 bytes.
    #[cold]
    pub(super) fn draw_extended_token(&mut self, to: &Peer) -> Result<Token, RequestError> {
        let mut bytes = vec![0; self.config.min_token_len.into()];
        for _ in 0..TOKEN_DRAWS {
            for chunk in bytes.chunks_mut(8) {
                let drawn = self.rng.next_u64().to_le_bytes();
                chunk.iter_mut().zip(drawn).for_each(|(to, byte)| *to = byte);
            }
            if let Some(token) = Token::extended(&bytes).filter(|token| !self.outgoing.is_in_use(token, to)) {
                return Ok(token);
            }
        }
        Err(RequestError::TokenInUse)
    }

    /// The peer of a request has answered its extended token with a Reset.
    pub(super) fn note_short_tokens(&mut self, key: OutgoingKey) {
        let peer = self.outgoing.get(key).and_then(|request| request.peer);
        if let Some(record) = peer.and_then(|peer| self.peers.get_mut(peer)) {
            record.tokens = Tokens::Short;
        }
    }
}
