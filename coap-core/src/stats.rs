//! Counters: one for each way in which a message is taken, lost, refused or repeated.

/// What an endpoint has counted since it was made. Counters wrap after 2⁶⁴.
///
/// Each datagram that arrives is counted once in `datagrams_received`, and once in what became of it:
/// [`Stats::accounted`] is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams given to `handle_datagram`.
    pub datagrams_received: u64,
    /// Datagrams handed out by `poll_transmit`.
    pub datagrams_sent: u64,

    /// Requests handed up, and further blocks of their content.
    pub requests_received: u64,
    /// Responses that settled a request of ours, brought it a block further, or added to a multicast one, and notifications
    /// with a newer state.
    pub responses_received: u64,
    /// Notifications with a state that was not newer than the one known (RFC 7641 §3.4).
    pub notifications_old: u64,
    /// Empty acknowledgements of what we sent.
    pub acknowledged: u64,
    /// Reset messages for what we sent.
    pub resets_received: u64,
    /// Pings, and other Empty messages that ask for a Reset.
    pub pings_received: u64,
    /// Requests and responses that had been received before (RFC 7252 §4.5).
    pub duplicates: u64,
    /// Datagrams that are no CoAP message (RFC 7252 §3).
    pub malformed: u64,
    /// Messages that belong to nothing: acknowledgements and Resets of what is over, responses to nobody's request.
    pub unmatched: u64,
    /// Messages whose type, code and way of arrival make no sense together, such as a request in an acknowledgement, a
    /// Confirmable multicast, or a datagram from a group.
    pub senseless: u64,
    /// Messages with a critical option that is not understood or malformed (RFC 7252 §5.4.1).
    pub bad_option: u64,
    /// Requests with a Hop-Limit that is none (RFC 8768 §3).
    pub bad_hop_limit: u64,
    /// Requests with an extended token of more than `max_token_len` bytes (RFC 8974 §2.2.2).
    pub tokens_too_long: u64,
    /// Requests for a proxy, which we are not.
    pub proxy_requests: u64,
    /// Requests refused because `max_incoming` or `max_incoming_per_peer` was reached.
    pub refused_incoming: u64,
    /// Datagrams refused because `max_peers` was reached by peers with something open.
    pub refused_peer: u64,
    /// Requests refused because they could not be remembered, and are not idempotent.
    pub refused_memory: u64,
    /// Requests refused because the endpoint is shutting down.
    pub refused_shutdown: u64,
    /// Responses to a multicast request dropped because `max_group_responses` were waiting.
    pub group_responses_dropped: u64,

    /// States of observed resources that the application was not told, because a newer one came before it polled.
    pub notifications_superseded: u64,
    /// States of observed resources that the application was not told, because the rest of them could not be fetched, or a
    /// newer one came before it was.
    pub notifications_incomplete: u64,
    /// Transmissions after the first.
    pub retransmissions: u64,
    /// Requests of ours, separate responses not counted, that ended with `Failure::NoAck`.
    pub unacknowledged_requests: u64,
    /// Blocks that were sent, or asked for, again in a new exchange because the one before ended unanswered.
    pub blocks_repeated: u64,
    /// Separate responses that were never acknowledged.
    pub unacknowledged_responses: u64,
    /// Separate responses sent Non-confirmable because too many were unacknowledged.
    pub unrepeated_responses: u64,
    /// Notifications sent (RFC 7641), repetitions not counted.
    pub notifications_sent: u64,
    /// Notifications that were never acknowledged; each cost its observer the entry.
    pub unacknowledged_notifications: u64,
    /// Registrations answered as plain requests because `max_observers` or `max_observers_per_peer` was reached.
    pub refused_observers: u64,
    /// Requests that the application did not answer in time.
    pub unanswered: u64,
    /// Requests whose block was answered 4.00 or 4.08: it makes no sense, or belongs to no body that is known (RFC 7959 §2.5).
    pub bad_blocks: u64,
    /// Request bodies refused with 4.13 or 5.03: longer than the application takes, or no room for them.
    pub uploads_refused: u64,
    /// Response bodies that were not kept for want of room: the application is asked for each block.
    pub bodies_unkept: u64,
    /// Bodies given up because their peer did not go on with them for EXCHANGE_LIFETIME.
    pub transfers_abandoned: u64,
    /// Bodies given up earlier, for others.
    pub transfers_evicted: u64,
    /// Responses withheld: No-Response (RFC 7967), errors to a multicast request (RFC 7252 §8.2).
    pub responses_suppressed: u64,
    /// Reset messages withheld by `max_resets_per_second`.
    pub resets_suppressed: u64,
    /// Responses cut into smaller blocks because their peer has not proven its address (`Config::unproven_limit`).
    pub unproven_shortened: u64,
    /// Responses for which there was no room at all for that reason: 4.01 with an Echo value went instead, or the code alone.
    pub unproven_challenged: u64,
    /// Datagrams withheld for that reason: repetitions, notifications, answers to a group.
    pub unproven_withheld: u64,
    /// Requests of ours that were repeated with the Echo value that their server asked for.
    pub challenges_answered: u64,
    /// Echo values that came with other responses and were forgotten for those of other servers.
    pub echoes_forgotten: u64,
    /// Requests that found no room and were told so: 4.29 or 5.03 (RFC 8516).
    pub refusals_sent: u64,
    /// Those that were met with silence because of `max_refusals_per_second`.
    pub refusals_suppressed: u64,
    /// Responses of code 4.29 or 5.03, after which a server is not sent similar requests for a while (RFC 8516).
    pub back_offs: u64,
    /// Those forgotten before their time because `max_back_offs` were remembered.
    pub back_offs_forgotten: u64,
    /// Remembered Message IDs forgotten before their time.
    pub forgotten_early: u64,
    /// Idempotent requests served although they could not be remembered.
    pub served_unremembered: u64,
    /// Remembered replies forgotten before their Message ID.
    pub replies_forgotten: u64,
    /// Peers forgotten to make room for others.
    pub peers_evicted: u64,
    /// Datagrams lost because `max_outbox` were waiting.
    pub outbox_full: u64,
}

impl Stats {
    /// What became of the datagrams that arrived; equal to `datagrams_received`.
    pub const fn accounted(&self) -> u64 {
        self.requests_received
            + self.responses_received
            + self.notifications_old
            + self.acknowledged
            + self.resets_received
            + self.pings_received
            + self.duplicates
            + self.malformed
            + self.unmatched
            + self.senseless
            + self.bad_option
            + self.bad_hop_limit
            + self.tokens_too_long
            + self.proxy_requests
            + self.refused_incoming
            + self.refused_peer
            + self.refused_memory
            + self.refused_shutdown
            + self.group_responses_dropped
    }
}
