//! How far the bodies of a request have come.

/// How far a request and its response have come, for [`RequestBuilder::on_progress`](crate::RequestBuilder::on_progress).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the content that were sent and acknowledged.
    pub sent: u64,
    /// Of how many, where that is known.
    pub sent_of: Option<u64>,
    /// Bytes of the response that were received, from its start; those before the offset of a download that was resumed
    /// count as well.
    pub received: u64,
    /// Of how many, where the server has said so.
    pub received_of: Option<u64>,
}

impl Progress {
    pub(crate) const fn new(sent: (u64, Option<u64>), received: (u64, Option<u64>)) -> Self {
        Self { sent: sent.0, sent_of: sent.1, received: received.0, received_of: received.1 }
    }
}

/// Whoever wants to know.
pub(crate) type ProgressHook = Box<dyn FnMut(Progress) + Send>;
