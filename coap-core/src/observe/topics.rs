//! What can be observed: topics, each with its latest state and with lists of its observers by what they wait for.
//!
//! A new state costs the same however many observers there are: the list of those that know the latest is appended to
//! the list of those that do not, and these are told one after the other, as fast as what is sent is taken.
//!
//! The name that the application has for a topic is apart from the topic. One that ends (an error, RFC 7641 §4.2; or it was
//! closed) keeps its observers until each has been told, while the name is gone already, or stands for a new topic.

use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::observers::{self, Observer};
use crate::hash::KeyedHash;
use crate::links::{Link, List};
use crate::message::Response;
use crate::slab::{Key, Slab};
use crate::wire::{Code, ETag, OptionNumber, Options};

pub(crate) type TopicKey = Key<Topic>;

/// Something that can be observed: one representation of a resource. Stale when it was closed; a stale one names nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub(crate) Key<Name>);

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({:?})", self.0)
    }
}

/// What the observers of a topic are told with, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TopicOptions {
    pub(crate) reliability: Reliability,
    pub(crate) min_interval: Duration,
}

impl TopicOptions {
    /// Confirmable, as often as the state changes and each observer acknowledges.
    pub const fn new() -> Self {
        Self { reliability: Reliability::Confirmable, min_interval: Duration::ZERO }
    }

    /// How notifications are sent.
    pub const fn reliability(mut self, reliability: Reliability) -> Self {
        self.reliability = reliability;
        self
    }

    /// The shortest span between two notifications to one observer, the answer to its registration included; of the states
    /// between them the last is told. It does not hold back the last word of a topic that ends.
    pub const fn min_interval(mut self, span: Duration) -> Self {
        self.min_interval = span;
        self
    }
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How notifications are sent (RFC 7641 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// All are Confirmable: each is repeated until the observer acknowledges it, with the latest state each time. One that
    /// does not is removed.
    Confirmable,
    /// Most are Non-confirmable: sent once, and not more often than one in a round trip, or in 3 s while none has been
    /// measured (RFC 7641 §4.5.1).
    ///
    /// Confirmable is each one that is due 12 h after the last, each one behind as many Non-confirmable ones as a
    /// Confirmable one has copies while the observer has not proven its address (RFC 7641 §7), and the state that has not
    /// changed for 10 s, if it was sent Non-confirmable: it may have been lost.
    NonConfirmable {
        /// Beside those, each n-th is Confirmable; with 0 or 1 all of them are.
        confirm_every: u32,
    },
}

/// What the application calls a topic.
pub(crate) struct Name {
    pub(crate) topic: TopicKey,
}

/// The latest state of a topic, shared by all its observers.
pub(crate) struct State {
    pub(crate) code: Code,
    /// Without Observe and Block2, which each observer has its own of.
    pub(crate) options: Options,
    pub(crate) body: Bytes,
    /// Drawn when the body is first sent in blocks, if it has no tag of its own.
    pub(crate) etag: Option<ETag>,
}

impl State {
    pub(crate) fn new(response: Response) -> Self {
        let Response { code, mut options, body } = response;
        for number in [OptionNumber::OBSERVE, OptionNumber::BLOCK1, OptionNumber::BLOCK2] {
            options.remove(number);
        }
        Self { code, options, body: body.into_bytes(), etag: None }
    }

    /// Gives the tag of the state to `options` that have none: the blocks of a body are told from those of another by it
    /// (RFC 7959 §2.4).
    pub(crate) fn tag(&mut self, hash: &KeyedHash, options: &mut Options) {
        if options.etag().is_some() {
            return;
        }
        if self.etag.is_none() {
            self.etag = ETag::new(&hash.bytes(&self.body).to_be_bytes());
        }
        if let Some(etag) = &self.etag {
            options.push_etag(etag);
        }
    }
}

pub(crate) struct Topic {
    /// `None`: it has ended, and its observers are told the last state, if there is one, and let go.
    pub(crate) name: Option<TopicId>,
    pub(crate) how: TopicOptions,
    pub(crate) state: Option<State>,
    /// Which state it is. That it meets an observer that has slept for exactly 2³² states, and so misses one, would need
    /// a day with 50,000 of them a second.
    pub(crate) version: u32,
    /// How many observers there are.
    pub(crate) observers: usize,
    /// Those that know the latest state.
    pub(crate) current: List,
    /// Those that do not, and may be told.
    pub(crate) waiting: List,
    /// Those that must not be told yet, whatever there is.
    pub(crate) paused: List,
    /// Among the topics with observers to be told.
    ready: Link,
}

impl Topic {
    /// It has ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.name.is_none()
    }

    /// It has ended, and nobody is told so.
    pub(crate) const fn is_silent(&self) -> bool {
        self.is_over() && self.state.is_none()
    }
}

fn ready(topic: &mut Topic) -> &mut Link {
    &mut topic.ready
}

/// All topics.
pub(crate) struct Topics {
    names: Slab<Name>,
    topics: Slab<Topic>,
    /// Those with observers to be told: each tells one, and goes to the end.
    ready: List,
    /// The search for an observer that may be told was broken off, and goes on with the next call to `handle_timeout`.
    pub(crate) is_stalled: bool,
}

impl Topics {
    pub(crate) const fn new() -> Self {
        Self { names: Slab::new(), topics: Slab::new(), ready: List::new(), is_stalled: false }
    }

    /// How many there are, those that have ended and still have observers included.
    pub(crate) const fn len(&self) -> usize {
        self.topics.len()
    }

    /// There are some that have ended, and whose observers are still to be told.
    pub(crate) const fn are_ending(&self) -> bool {
        self.topics.len() > self.names.len()
    }

    /// Nobody is to be told anything now.
    pub(crate) const fn are_quiet(&self) -> bool {
        self.ready.len() == 0
    }

    pub(crate) fn open(&mut self, how: TopicOptions) -> TopicId {
        let topic = self.topics.insert(Topic {
            name: None,
            how,
            state: None,
            version: 0,
            observers: 0,
            current: List::new(),
            waiting: List::new(),
            paused: List::new(),
            ready: Link::new(),
        });
        let name = TopicId(self.names.insert(Name { topic }));
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.name = Some(name);
        }
        name
    }

    /// What a name stands for at this moment.
    pub(crate) fn named(&self, name: TopicId) -> Option<TopicKey> {
        self.names.get(name.0).map(|name| name.topic)
    }

    pub(crate) fn get(&self, key: TopicKey) -> Option<&Topic> {
        self.topics.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: TopicKey) -> Option<&mut Topic> {
        self.topics.get_mut(key)
    }

    /// There is a new state: all that knew the latest do not any more.
    pub(crate) fn publish(&mut self, observers: &mut Slab<Observer>, key: TopicKey, state: Option<State>) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        topic.state = state;
        topic.version = topic.version.wrapping_add(1);
        topic.waiting.append(observers, &mut topic.current, observers::queue);
        self.enlist(key);
    }

    /// The topic ends with this state, and nothing holds its observers back any more. Its name is free.
    pub(crate) fn end(&mut self, observers: &mut Slab<Observer>, key: TopicKey, last: Option<State>) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        topic.name = None;
        topic.waiting.append(observers, &mut topic.paused, observers::queue);
        self.publish(observers, key, last);
        self.tidy(key);
    }

    /// The name stands for nothing any more.
    pub(crate) fn forget_name(&mut self, name: TopicId) {
        self.names.remove(name.0);
    }

    /// The name stands for a new topic, as the old one was when it began.
    pub(crate) fn begin_anew(&mut self, name: TopicId, how: TopicOptions) {
        let new = self.open(how);
        let Some(topic) = self.names.remove(new.0).map(|name| name.topic) else { return };
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.name = Some(name);
        }
        if let Some(name) = self.names.get_mut(name.0) {
            name.topic = topic;
        }
    }

    /// An observer waits to be told.
    pub(crate) fn enlist(&mut self, key: TopicKey) {
        if self.topics.get(key).is_some_and(|topic| topic.waiting.len() > 0) {
            self.ready.push_back(&mut self.topics, key.index(), ready);
        }
    }

    /// The observer that is to be told next, taken out of its list: the topics take turns.
    pub(crate) fn next_waiting(&mut self, observers: &mut Slab<Observer>) -> Option<u32> {
        // A topic whose waiting observers have all been removed is met once and leaves the list.
        while let Some(index) = self.ready.pop_front(&mut self.topics, ready) {
            let Some(topic) = self.topics.at_mut(index) else { continue };
            let next = topic.waiting.pop_front(observers, observers::queue);
            if topic.waiting.len() > 0 {
                self.ready.push_back(&mut self.topics, index, ready);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// One observer less.
    pub(crate) fn leave(&mut self, key: TopicKey) {
        if let Some(topic) = self.topics.get_mut(key) {
            topic.observers = topic.observers.saturating_sub(1);
        }
        self.tidy(key);
    }

    /// Nobody is left on a topic without observers to be told; one that has ended is forgotten with the last of them.
    pub(crate) fn tidy(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.get(key) else { return };
        let (observed, over, waiting) = (topic.observers > 0, topic.is_over(), topic.waiting.len() > 0);
        if !waiting {
            self.ready.remove(&mut self.topics, key.index(), ready);
        }
        if over && !observed {
            self.topics.discard(key);
        }
    }
}
