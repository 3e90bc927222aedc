//! Observation (RFC 7641): states of resources that are told as they change.

mod observers;
mod topics;

pub use self::observers::ObserverId;
pub(crate) use self::observers::{
    NewObserver, Observer, ObserverKey, Observers, OfPeer, Registration, Stage, queue, seconds,
};
pub use self::topics::{Reliability, TopicId, TopicOptions};
pub(crate) use self::topics::{State, Topic, TopicKey, Topics};
