//! What an endpoint may use and how it behaves: limits, each with what happens when it is reached, and times.

mod error;

use core::time::Duration;

use heapless::Vec;

pub use self::error::ConfigError;
use crate::message::BlockSize;
use crate::transmission::TransmissionParameters;
use crate::wire::{OptionNumber, Token};

/// How many option numbers an application can declare as understood beside those of the endpoint.
const MOST_UNDERSTOOD: usize = 32;

/// The settings of an endpoint; made by [`Config::builder`], checked once.
///
/// The memory of an endpoint is bounded by them. With the defaults, and everything full at once, that is about 4 MiB
/// for peers, 5 MiB for remembered Message IDs, 4 MiB for remembered replies, and what the requests in flight carry.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) transmission: TransmissionParameters,
    pub(crate) max_datagram: usize,
    pub(crate) max_peers: usize,
    pub(crate) max_remembered: usize,
    pub(crate) max_remembered_bytes: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_backlog: usize,
    pub(crate) max_incoming: usize,
    pub(crate) max_incoming_per_peer: usize,
    pub(crate) max_outbox: usize,
    pub(crate) max_group_responses: usize,
    pub(crate) max_resets_per_second: u32,
    pub(crate) max_refusals_per_second: u32,
    pub(crate) refusal_max_age: u32,
    pub(crate) max_back_offs: usize,
    pub(crate) max_back_off: Duration,
    pub(crate) ack_delay: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) incoming_timeout: Duration,
    pub(crate) max_server_response_delay: Duration,
    pub(crate) min_token_len: u8,
    pub(crate) max_token_len: usize,
    pub(crate) block_size: Option<BlockSize>,
    pub(crate) block_attempts: u8,
    pub(crate) max_body: usize,
    pub(crate) max_transfers: usize,
    pub(crate) max_transfer_bytes: usize,
    pub(crate) on_change: OnChange,
    pub(crate) max_observers: usize,
    pub(crate) max_observers_per_peer: usize,
    pub(crate) unproven_limit: UnprovenLimit,
    pub(crate) echo_lifetime: Duration,
    pub(crate) on_challenge: OnChallenge,
    understood: Vec<OptionNumber, MOST_UNDERSTOOD>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transmission: TransmissionParameters::default(),
            max_datagram: 1_152,
            max_peers: 16_384,
            max_remembered: 65_536,
            max_remembered_bytes: 4 << 20,
            max_requests: 4_096,
            max_backlog: 64,
            max_incoming: 1_024,
            max_incoming_per_peer: 16,
            max_outbox: 4_096,
            max_group_responses: 64,
            max_resets_per_second: 1_000,
            max_refusals_per_second: 100,
            refusal_max_age: 4,
            max_back_offs: 256,
            max_back_off: Duration::from_secs(3_600),
            ack_delay: Duration::from_millis(250),
            response_timeout: Duration::from_secs(93),
            incoming_timeout: Duration::from_secs(93),
            max_server_response_delay: Duration::from_secs(250),
            min_token_len: 4,
            max_token_len: Token::MAX_LEN,
            block_size: None,
            block_attempts: 3,
            max_body: 64 << 10,
            max_transfers: 64,
            max_transfer_bytes: 1 << 20,
            on_change: OnChange::Restart,
            max_observers: 4_096,
            max_observers_per_peer: 16,
            unproven_limit: UnprovenLimit::default(),
            echo_lifetime: Duration::from_secs(60),
            on_challenge: OnChallenge::Repeat,
            understood: Vec::new(),
        }
    }
}

impl Config {
    /// Starts from the defaults, which suit a server or gateway with megabytes to spare.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder { wanted: Self::default(), too_many_understood: false }
    }

    /// Starts from limits that suit a device with a few kilobytes: 8 peers, 64 remembered Message IDs, 2 KiB of
    /// remembered replies, 8 requests each way.
    pub fn constrained() -> ConfigBuilder {
        let wanted = Self {
            max_peers: 8,
            max_remembered: 64,
            max_remembered_bytes: 2 << 10,
            max_requests: 8,
            max_backlog: 4,
            max_incoming: 8,
            max_incoming_per_peer: 2,
            max_outbox: 16,
            max_group_responses: 4,
            max_resets_per_second: 10,
            max_refusals_per_second: 10,
            max_back_offs: 8,
            max_body: 2 << 10,
            max_transfers: 2,
            max_transfer_bytes: 4 << 10,
            max_observers: 4,
            max_observers_per_peer: 2,
            ..Self::default()
        };
        ConfigBuilder { wanted, too_many_understood: false }
    }

    /// The parameters for peers and requests that have none of their own.
    pub const fn transmission(&self) -> &TransmissionParameters {
        &self.transmission
    }

    /// The longest datagram that the endpoint sends, in bytes: what the buffer of `poll_transmit` must hold.
    pub const fn max_datagram(&self) -> usize {
        self.max_datagram
    }

    /// The largest block of a body in one datagram; `None`: the peer chooses.
    pub const fn block_size(&self) -> Option<BlockSize> {
        self.block_size
    }

    /// How long the responses to a multicast request are collected.
    pub const fn max_server_response_delay(&self) -> Duration {
        self.max_server_response_delay
    }

    /// The shortest token drawn, in bytes.
    pub const fn min_token_len(&self) -> u8 {
        self.min_token_len
    }

    /// The longest token, in bytes: above 8 where extended tokens are spoken.
    pub const fn max_token_len(&self) -> usize {
        self.max_token_len
    }

    /// Whether extended tokens are spoken.
    pub(crate) const fn has_extended_tokens(&self) -> bool {
        self.max_token_len > Token::MAX_LEN
    }

    /// How many bytes of a message a token can take.
    pub(crate) const fn token_room(&self) -> usize {
        if self.has_extended_tokens() { self.max_token_len + 2 } else { Token::MAX_LEN }
    }

    /// The longest body that is put together, in bytes.
    pub const fn max_body(&self) -> usize {
        self.max_body
    }

    /// Whose answers are limited until they have proven their address.
    pub const fn unproven_limit(&self) -> UnprovenLimit {
        self.unproven_limit
    }

    /// Whether the critical option `number` is understood: Uri-Host, Uri-Port, Uri-Path, Uri-Query, Accept, If-Match,
    /// If-None-Match, Block1 and Block2 always, others as the application said with [`ConfigBuilder::understands`].
    pub fn is_understood(&self, number: OptionNumber) -> bool {
        matches!(
            number,
            OptionNumber::IF_MATCH
                | OptionNumber::URI_HOST
                | OptionNumber::IF_NONE_MATCH
                | OptionNumber::URI_PORT
                | OptionNumber::URI_PATH
                | OptionNumber::URI_QUERY
                | OptionNumber::ACCEPT
                | OptionNumber::BLOCK1
                | OptionNumber::BLOCK2
        ) || self.understood.contains(&number)
    }
}

/// What happens when the content changes while it is fetched block by block. Blocks of different contents are never put
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// It is fetched anew, twice at most; then the request fails.
    #[default]
    Restart,
    /// The request fails.
    Fail,
}

/// Whose answers are limited to what an address that may be forged can be sent without harm (RFC 9175 §2.4): as long as a
/// peer has not proven that it receives what is sent to its address, it is sent 136 bytes at most in one datagram, and in
/// all, repetitions and notifications included, three times what it sent. Counted as the RFC does it, with 62 bytes of
/// Ethernet, IP and UDP headers for each datagram either way.
///
/// A longer body goes in smaller blocks (Block2). Where not even the smallest block fits beside the options, the answer is
/// 4.01 with an Echo value, and the request repeated with that is answered in full; if it was no GET or FETCH it has been
/// done by then, and the answer is the code of the response alone. To a group it is silence.
///
/// A peer proves its address by repeating an Echo value, or by an answer to a token or Message ID that we drew: the
/// acknowledgement of a separate response or of a notification, the response to a request of ours. A session has proven it.
/// Asking for the next block proves nothing. A client that only asks and knows no Echo stays unproven, and gets blocks of
/// 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnprovenLimit {
    /// Nobody's.
    Off,
    /// Those to requests that came through a group (RFC 7252 §11.3), where one request has many answers.
    #[default]
    Groups,
    /// All.
    All,
}

/// What happens when a server wants a request repeated with an Echo value (4.01: RFC 9175 §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChallenge {
    /// It is repeated once, and the application sees what comes of that. Not the request to a group: its members' 4.01 are
    /// handed up.
    #[default]
    Repeat,
    /// The 4.01 is handed up, and no Echo value is sent but those that the application sets.
    HandUp,
}

/// The longest `echo_lifetime`.
const MAX_ECHO_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a [`Config`]; nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder {
    wanted: Config,
    too_many_understood: bool,
}

impl ConfigBuilder {
    /// The parameters for peers and requests that have none of their own.
    pub const fn transmission(mut self, parameters: TransmissionParameters) -> Self {
        self.wanted.transmission = parameters;
        self
    }

    /// The longest datagram to send, 64 to 65,507 bytes; 1,152 by default (RFC 7252 §4.6). A longer request or
    /// response is refused when it is given to the endpoint.
    pub const fn max_datagram(mut self, bytes: usize) -> Self {
        self.wanted.max_datagram = bytes;
        self
    }

    /// Peers known at a time, about 260 bytes each; 16,384 by default. When full an idle one is forgotten, first those
    /// that have not proven their address, the one that has been idle longest before the others; when all have something open, a datagram from a new one is dropped and counted
    /// (`Stats::refused_peer`), and a request to one is refused with `RequestError::TooManyPeers`.
    pub const fn max_peers(mut self, peers: usize) -> Self {
        self.wanted.max_peers = peers;
        self
    }

    /// Message IDs remembered for deduplication (RFC 7252 §4.5), about 80 bytes each; 65,536 by default, at most a
    /// quarter for one peer. When full the oldest one of a peer that has not proven its address is forgotten early
    /// (`Stats::forgotten_early`); when there is none, idempotent requests are served unremembered, and others are
    /// dropped (`Stats::refused_memory`).
    pub const fn max_remembered(mut self, message_ids: usize) -> Self {
        self.wanted.max_remembered = message_ids;
        self
    }

    /// Bytes of replies kept to answer duplicates with; 4 MiB by default. When full the oldest of those that have been
    /// sent are forgotten, and their Message IDs stay: an idempotent duplicate is then handed up again, another is
    /// swallowed.
    pub const fn max_remembered_bytes(mut self, bytes: usize) -> Self {
        self.wanted.max_remembered_bytes = bytes;
        self
    }

    /// Requests of ours open at a time, about 570 bytes each beside what they carry, and observations, about 800; 4,096 by
    /// default. When full: `RequestError::TooManyRequests`.
    pub const fn max_requests(mut self, requests: usize) -> Self {
        self.wanted.max_requests = requests;
        self
    }

    /// Requests that may wait for one peer behind NSTART; 64 by default. When full: `RequestError::Busy`.
    pub const fn max_backlog(mut self, requests: usize) -> Self {
        self.wanted.max_backlog = requests;
        self
    }

    /// Requests received and not yet answered, about 400 bytes each beside what they carry; 1,024 by default. When
    /// full a request leaves no trace but a counter (`Stats::refused_incoming`), and its retransmission gets another
    /// chance. One whose peer has to send the next block of its body, or to ask for the next of ours, counts towards
    /// `max_transfers` meanwhile, and not here.
    ///
    /// As many separate responses may wait for their acknowledgement. When that is reached, further ones are sent
    /// Non-confirmable, once.
    pub const fn max_incoming(mut self, requests: usize) -> Self {
        self.wanted.max_incoming = requests;
        self
    }

    /// How many of them for one peer; 16 by default.
    pub const fn max_incoming_per_peer(mut self, requests: usize) -> Self {
        self.wanted.max_incoming_per_peer = requests;
        self
    }

    /// Datagrams that may wait for `poll_transmit`; 4,096 by default. When full a datagram is lost, as it could be in
    /// the network, and counted (`Stats::outbox_full`).
    pub const fn max_outbox(mut self, datagrams: usize) -> Self {
        self.wanted.max_outbox = datagrams;
        self
    }

    /// Responses to one multicast request that may wait for `poll_event`; 64 by default. When full a response is
    /// dropped and counted (`Stats::group_responses_dropped`).
    pub const fn max_group_responses(mut self, responses: usize) -> Self {
        self.wanted.max_group_responses = responses;
        self
    }

    /// Reset messages a second, all peers together; 1,000 by default. Above it a message that asks for a Reset is
    /// met with silence and counted (`Stats::resets_suppressed`): its sender's address may be forged.
    pub const fn max_resets_per_second(mut self, resets: u32) -> Self {
        self.wanted.max_resets_per_second = resets;
        self
    }

    /// Requests that find no room and are told so within a second, all peers together, a tenth of it for one peer (at least
    /// one); 100 by default. One whose peer has `max_incoming_per_peer` open is answered 4.29 (RFC 8516 §3), one that finds a
    /// table full of others', or the endpoint shutting down, 5.03 (RFC 7252 §5.9.3.4), both with Max-Age. Above it, and with
    /// 0 always, it is met with silence and counted (`Stats::refusals_suppressed`), and its retransmission gets its chance.
    /// So it is with what goes to a group, with the next block of a body that is under way, and with what is not safe and
    /// could not be remembered for its duplicates.
    ///
    /// Which peers share a tenth is decided by a hash: 64 of them, 16 bytes each, once there has been a refusal.
    pub const fn max_refusals_per_second(mut self, refusals: u32) -> Self {
        self.wanted.max_refusals_per_second = refusals;
        self
    }

    /// The Max-Age of those answers, in seconds: after which time the client may try again; 4 by default.
    pub const fn refusal_max_age(mut self, seconds: u32) -> Self {
        self.wanted.refusal_max_age = seconds;
        self
    }

    /// Kinds of requests (server, method and URI) remembered that a server wants later (4.29, 5.03: RFC 8516 §4), about 40 bytes
    /// each; 256 by default, a quarter at most for one server. When full the one that would have ended first is forgotten, of
    /// the same server if that has its quarter, and counted (`Stats::back_offs_forgotten`): such requests are sent again. With
    /// 0 no server is obeyed.
    pub const fn max_back_offs(mut self, kinds: usize) -> Self {
        self.wanted.max_back_offs = kinds;
        self
    }

    /// The longest time for which a server is obeyed that wants a kind of request later, whatever its Max-Age; 1 hour by
    /// default. Without a bound one response, wrong or forged, could silence a client for 136 years.
    pub const fn max_back_off(mut self, span: Duration) -> Self {
        self.wanted.max_back_off = span;
        self
    }

    /// How long a response may be awaited before a Confirmable request is acknowledged with an Empty message, and
    /// answered separately (RFC 7252 §5.2.2); 250 ms by default, below ACK_TIMEOUT.
    pub const fn ack_delay(mut self, span: Duration) -> Self {
        self.wanted.ack_delay = span;
        self
    }

    /// How long a response is awaited after the acknowledgement, after the sending of a Non-confirmable request, and
    /// how long a request may wait for its turn; 93 s by default, at least 1 ms.
    pub const fn response_timeout(mut self, span: Duration) -> Self {
        self.wanted.response_timeout = span;
        self
    }

    /// How long the application may take to answer a request; 93 s by default, at least 1 ms. Then it is answered
    /// 5.03, and the application told with `Event::IncomingClosed`.
    pub const fn incoming_timeout(mut self, span: Duration) -> Self {
        self.wanted.incoming_timeout = span;
        self
    }

    /// MAX_SERVER_RESPONSE_DELAY (RFC 7390 §2.5): how long the responses to a multicast request are collected when the
    /// request sets no time of its own; 250 s by default.
    pub const fn max_server_response_delay(mut self, span: Duration) -> Self {
        self.wanted.max_server_response_delay = span;
        self
    }

    /// The shortest token drawn, 1 to 8 bytes; 4 by default (RFC 7252 §5.3.1 asks for 32 random bits). Tokens have a
    /// random length from this to 8.
    ///
    /// With extended tokens ([`max_token_len`](Self::max_token_len)) it can be up to 255 and as long as those may be: above 8
    /// all tokens have this length, except to groups, and to peers that have answered such a token with a Reset.
    pub const fn min_token_len(mut self, bytes: u8) -> Self {
        self.wanted.min_token_len = bytes;
        self
    }

    /// The longest token, in bytes: 8, the default, or up to 65,804 where extended tokens are spoken (RFC 8974). Above 8 a request
    /// with such a token is served, and its responses and notifications carry it; one with a longer token is answered 4.00. At 8
    /// all tokens of more bytes are a message format error, as RFC 7252 §3 has it.
    ///
    /// Each request that was received and not answered, each observer, and each request of ours keeps its token, with 80
    /// bytes more: with 64 bytes and all tables of the default size full of such tokens, 9,216 × 144 bytes are 1.3 MB. Each block
    /// of a body leaves room for the longest token beside it, so that a long one makes blocks smaller; `max_datagram` must leave
    /// 64 bytes.
    pub const fn max_token_len(mut self, bytes: usize) -> Self {
        self.wanted.max_token_len = bytes;
        self
    }

    /// The largest block of a body in one datagram (RFC 7959); `None`, the default, means that the peer chooses: responses come
    /// in blocks as large as it likes, and what we send goes in blocks of 1,024 bytes. With a size, each request says which it
    /// wants. A request can have its own (`RequestOptions::block_size`).
    pub const fn block_size(mut self, size: Option<BlockSize>) -> Self {
        self.wanted.block_size = size;
        self
    }

    /// How often a block is asked for, or sent, when its exchange ends unanswered, each time with a new Message ID and token;
    /// 3 by default, at least 1. The last block of a request that is not idempotent is sent once. As long as the peer has answered
    /// nothing at all, this ends after [`response_timeout`](Self::response_timeout): there may be no such peer.
    pub const fn block_attempts(mut self, attempts: u8) -> Self {
        self.wanted.block_attempts = attempts;
        self
    }

    /// The longest response body that is put together, in bytes; 64 KiB by default. A longer one ends its request with
    /// `Failure::Blockwise`. It does not count for bodies in parts.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.wanted.max_body = bytes;
        self
    }

    /// Bodies under way with peers that send or fetch them block by block from us; 64 by default, a quarter at most for one
    /// peer. Each takes about 700 bytes with its request, and one in parts up to two blocks of a request's body, or 4 KiB of a
    /// response's. Those whose last answer is kept, in case it was lost, count too: about 250 bytes and one datagram each.
    ///
    /// When full one that has had its answer loses its place; then one that has not come beyond its first block; then one that
    /// has been silent for 4 s; each time the one that has been silent longest (`Stats::transfers_evicted`). When all go on, a
    /// new upload is answered 5.03 (`Stats::uploads_refused`), a long response is served without memory, each block as a
    /// request of its own (`Stats::bodies_unkept`), and one in parts is refused (`RespondError::TooManyTransfers`).
    pub const fn max_transfers(mut self, transfers: usize) -> Self {
        self.wanted.max_transfers = transfers;
        self
    }

    /// Bytes of all bodies together that are put together or kept for blockwise transfer; 1 MiB by default. When full those
    /// that lose their place in `max_transfers` give theirs back, to a response only other responses and what is silent for
    /// 4 s. When that is not enough an upload is answered 5.03, a response body that we fetch ends its request with
    /// `Failure::Blockwise`, and a long response is served without memory.
    pub const fn max_transfer_bytes(mut self, bytes: usize) -> Self {
        self.wanted.max_transfer_bytes = bytes;
        self
    }

    /// What happens when the content changes while it is fetched block by block (its ETag is another).
    pub const fn on_change(mut self, what: OnChange) -> Self {
        self.wanted.on_change = what;
        self
    }

    /// Observers of all topics together (RFC 7641), at most 250 bytes each beside their peer, which each of them keeps from
    /// being forgotten; 4,096 by default. When full a registration is answered as a plain request, and counted
    /// (`Stats::refused_observers`). An observer that is lost counts until its event has been polled.
    pub const fn max_observers(mut self, observers: usize) -> Self {
        self.wanted.max_observers = observers;
        self
    }

    /// How many of them for one peer; 16 by default. When full as above.
    pub const fn max_observers_per_peer(mut self, observers: usize) -> Self {
        self.wanted.max_observers_per_peer = observers;
        self
    }

    /// Whose answers are limited until they have proven their address (RFC 9175 §2.4): see [`UnprovenLimit`].
    pub const fn unproven_limit(mut self, limit: UnprovenLimit) -> Self {
        self.wanted.unproven_limit = limit;
        self
    }

    /// How old an Echo value of ours may be when it comes back, 1 s to 24 h; 60 s by default. An older one is none. The key
    /// that they are made with is drawn anew as often.
    pub const fn echo_lifetime(mut self, span: Duration) -> Self {
        self.wanted.echo_lifetime = span;
        self
    }

    /// What happens when a server wants a request repeated with an Echo value.
    pub const fn on_challenge(mut self, what: OnChallenge) -> Self {
        self.wanted.on_challenge = what;
        self
    }

    /// Declares a critical option that the application understands: without this, a request that carries it is
    /// answered 4.02 (RFC 7252 §5.4.1), and a response that carries it is rejected. Up to 32 numbers.
    pub fn understands(mut self, number: OptionNumber) -> Self {
        let known = self.wanted.understood.contains(&number);
        self.too_many_understood |= !known && self.wanted.understood.push(number).is_err();
        self
    }

    /// Checks the values against each other.
    pub fn build(self) -> Result<Config, ConfigError> {
        let Self { wanted, too_many_understood } = self;
        if too_many_understood {
            return Err(ConfigError::TooManyUnderstood);
        }
        if !(64..=65_507).contains(&wanted.max_datagram) {
            return Err(ConfigError::MaxDatagram { bytes: wanted.max_datagram });
        }
        let (bytes, extended) = (wanted.max_token_len, wanted.max_token_len > Token::MAX_LEN);
        let room = wanted.max_datagram.saturating_sub(64 + 2).min(Token::MAX_EXTENDED_LEN);
        if bytes < Token::MAX_LEN || (extended && bytes > room) {
            return Err(ConfigError::MaxTokenLen { bytes, max: room.max(Token::MAX_LEN) });
        }
        check_min_token_len(wanted.min_token_len, wanted.max_token_len)?;
        let ack_timeout = wanted.transmission.ack_timeout();
        if wanted.ack_delay >= ack_timeout {
            return Err(ConfigError::AckDelayTooLong { ack_delay: wanted.ack_delay, ack_timeout });
        }
        check_timeout(wanted.response_timeout.min(wanted.incoming_timeout).min(wanted.max_server_response_delay))?;
        if !(Duration::from_secs(1)..=MAX_ECHO_LIFETIME).contains(&wanted.echo_lifetime) {
            return Err(ConfigError::EchoLifetime { span: wanted.echo_lifetime });
        }
        if wanted.block_attempts == 0 {
            return Err(ConfigError::BlockAttempts);
        }
        let tables = [
            wanted.max_peers,
            wanted.max_remembered,
            wanted.max_requests,
            wanted.max_incoming,
            wanted.max_transfers,
            wanted.max_observers,
            wanted.max_back_offs,
        ];
        if let Some(entries) = tables.into_iter().find(|entries| *entries > 1 << 24) {
            return Err(ConfigError::TableTooLarge { entries });
        }
        Ok(wanted)
    }
}

pub(crate) fn check_min_token_len(bytes: u8, max: usize) -> Result<(), ConfigError> {
    if (1..=max).contains(&bytes.into()) { Ok(()) } else { Err(ConfigError::MinTokenLen { bytes }) }
}

pub(crate) fn check_timeout(timeout: Duration) -> Result<(), ConfigError> {
    if timeout < Duration::from_millis(1) { Err(ConfigError::TimeoutTooShort { timeout }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_must_leave_before_the_peer_repeats() {
        let slow = Config::builder().ack_delay(Duration::from_secs(2));
        assert!(matches!(slow.build(), Err(ConfigError::AckDelayTooLong { .. })));
    }

    #[test]
    fn limits_are_checked_at_both_ends() {
        for bytes in [63, 65_508] {
            assert_eq!(Config::builder().max_datagram(bytes).build().unwrap_err(), ConfigError::MaxDatagram { bytes });
        }
        for bytes in [0, 9] {
            assert_eq!(Config::builder().min_token_len(bytes).build().unwrap_err(), ConfigError::MinTokenLen { bytes });
        }
        assert!(Config::constrained().max_peers(0).build().is_ok());
    }

    #[test]
    fn being_in_the_registry_is_not_being_understood() {
        let config = Config::default();
        assert!(config.is_understood(OptionNumber::URI_PATH) && config.is_understood(OptionNumber::BLOCK1));
        assert!(!config.is_understood(OptionNumber::OSCORE) && !config.is_understood(OptionNumber::Q_BLOCK1));
        let more = Config::builder().understands(OptionNumber::new(65_001)).build().unwrap();
        assert!(more.is_understood(OptionNumber::new(65_001)));
    }
}
