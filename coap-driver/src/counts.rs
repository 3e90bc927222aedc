//! What the sockets of an endpoint have not let through.

/// Datagrams that never reached the endpoint, or never left: what [`coap_core::Stats`] cannot know of. Counters wrap
/// after 2⁶⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketStats {
    /// Datagrams dropped on arrival because they were longer than `Config::max_datagram`, or than 4,096 bytes if that
    /// is more: what is cut off is never taken for a whole message (RFC 7252 §4.6).
    pub too_long: u64,
    /// Datagrams dropped on arrival because they came from port 0, where no answer can go.
    pub portless: u64,
    /// Reports that a peer cannot be reached (ICMP).
    pub unreachable: u64,
    /// Datagrams that the system refused to send: no route, too long for the interface, forbidden.
    pub not_sent: u64,
}
