//! Observation (RFC 7641): states of resources that are told as they change; what we observe, and who observes ours.

mod observers;
mod observing;
mod order;
mod topics;

pub use self::observers::ObserverId;
pub(crate) use self::observers::{
    NewObserver, Observer, ObserverKey, Observers, OfPeer, Registration, Stage, queue, seconds,
};
pub(crate) use self::observing::{Next, Observing, Place, Tidings, Verdict};
pub use self::topics::{Reliability, TopicId, TopicOptions};
pub(crate) use self::topics::{State, Topic, TopicKey, Topics};
