//! What a server has peers observe (RFC 7641): one topic of the endpoint for each request that is answered alike, and whose turn it
//! is to be asked for a new state.

use core::task::{Context, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use coap_core::{
    Body, Code, ContentFormat, Endpoint, IncomingId, Instant, Reliability, RespondError, Response, TopicId,
    TopicOptions,
};

use crate::queues::Table;
use crate::resource::{Change, Inbox, Manner, Observed, Resource, TopicKey};
use crate::router::Incoming;
use crate::serving::unavailable;
use crate::sessions::Identity;

/// The longest content of a FETCH that is observed, in bytes: each observer has us keep its request.
const MOST_CONTENT: usize = 1_024;

/// The topics of one server. Each has an observer, or somebody who is about to be one.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    // Peers choose the keys: a tree cannot be aimed at.
    topics: BTreeMap<TopicKey, Topic>,
    names: Table<TopicId, TopicKey>,
    /// Those whose handler should be called.
    due: VecDeque<TopicKey>,
    /// How many handlers have been called for them.
    turns: u64,
    /// Tasks of handlers whose topic has ended.
    wake: Vec<Waker>,
    /// Those that the application has changed since.
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Topic {
    observed: Arc<Observed>,
    resource: Resource,
    /// When the first one has been accepted.
    id: Option<TopicId>,
    /// Handlers that are at work for peers who want to observe it.
    joining: usize,
    run: Run,
    /// The format of all its states (RFC 7641 §4.2), once there has been one.
    format: Option<Option<ContentFormat>>,
}

/// The handler that is asked for a new state.
#[derive(Debug)]
enum Run {
    Idle,
    Due,
    /// At work, perhaps in a task; and whether its answer will be out of date.
    Working {
        turn: u64,
        task: Option<Waker>,
        outdated: bool,
    },
}

/// A call of the handler for the observers of a request.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) observed: Arc<Observed>,
    number: u64,
}

/// Somebody who is about to observe, while the handler is at work on the first state.
#[derive(Debug)]
pub(crate) struct Join {
    observed: Arc<Observed>,
    /// How often it had changed before the handler looked.
    changes: u64,
}

impl Topics {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    // ----- Observers ---------------------------------------------------------------------------------------------------

    /// A peer wants to observe: from here on no change is missed. To be called before the handler is. `who`: the answer is for
    /// this one alone. `None`: it cannot.
    pub(crate) fn join(
        &mut self,
        resource: &Resource,
        incoming: &Incoming<'_>,
        who: Option<&Identity>,
    ) -> Option<Join> {
        if incoming.payload().len() > MOST_CONTENT {
            return None;
        }
        let key = TopicKey::new(resource, incoming, who);
        let inbox = &self.inbox;
        let topic = self.topics.entry(key).or_insert_with_key(|key| Topic {
            observed: resource.observe(key.clone(), incoming, inbox),
            resource: resource.clone(),
            id: None,
            joining: 0,
            run: Run::Idle,
            format: None,
        });
        topic.joining += 1;
        Some(Join { observed: topic.observed.clone(), changes: topic.observed.changes() })
    }

    /// Answers whoever wanted to observe with the first state, and accepts it if that is one.
    pub(crate) fn accept(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        id: IncomingId,
        join: &Join,
        first: Response,
    ) -> Result<(), RespondError> {
        let is_state = first.code.is_success() && matches!(first.body, Body::Whole(_));
        let Some(topic) = self.topics.get_mut(&join.observed.key).filter(|_| is_state) else {
            return endpoint.respond(now, id, first);
        };
        let name = *topic.id.get_or_insert_with(|| endpoint.open_topic(options(topic.resource.manner())));
        self.names.insert(name, join.observed.key.clone());
        let format = (first.code != Code::VALID).then(|| first.options.content_format());
        let elsewhere = |endpoint: &Endpoint| endpoint.usage().observers.saturating_sub(endpoint.topic_observers(name));
        let before = elsewhere(endpoint);
        let accepted = endpoint.accept_observer(now, id, name, first)?;
        if accepted.is_some() {
            topic.format = topic.format.or(format);
            topic.observed.count_observers(endpoint.topic_observers(name));
            if topic.observed.changes() != join.changes {
                self.call_again(&join.observed.key);
            }
        }
        // It observed something else before, with the same token.
        if elsewhere(endpoint) != before {
            self.count_all(endpoint, now);
        }
        Ok(())
    }

    /// Whoever wanted to observe has been answered, or is gone.
    pub(crate) fn end_join(&mut self, endpoint: &mut Endpoint, now: Instant, join: &Join) {
        let key = &join.observed.key;
        if let Some(topic) = self.topics.get_mut(key).filter(|topic| Arc::ptr_eq(&topic.observed, &join.observed)) {
            topic.joining = topic.joining.saturating_sub(1);
            self.count(endpoint, now, key);
        }
    }

    /// The endpoint has lost an observer.
    pub(crate) fn observer_lost(&mut self, endpoint: &mut Endpoint, now: Instant, topic: TopicId) {
        if let Some(key) = self.names.get(&topic).cloned() {
            self.count(endpoint, now, &key);
        }
    }

    /// Counts the observers of a topic, and closes it if there are none.
    fn count(&mut self, endpoint: &mut Endpoint, now: Instant, key: &TopicKey) {
        let Some(topic) = self.topics.get(key) else { return };
        let observers = topic.id.map_or(0, |id| endpoint.topic_observers(id));
        topic.observed.count_observers(observers);
        if observers == 0 && topic.joining == 0 {
            self.close(endpoint, now, key, None);
        }
    }

    fn count_all(&mut self, endpoint: &mut Endpoint, now: Instant) {
        let keys: Vec<_> = self.topics.keys().cloned().collect();
        for key in keys {
            self.count(endpoint, now, &key);
        }
    }

    // ----- Changes -----------------------------------------------------------------------------------------------------

    /// Takes what the application has changed since.
    pub(crate) fn take_changes(&mut self, endpoint: &mut Endpoint, now: Instant) {
        for observed in self.inbox.take() {
            let change = observed.take_change();
            match self.topics.get(&observed.key) {
                Some(topic) if Arc::ptr_eq(&topic.observed, &observed) => {}
                _ => continue,
            }
            match change {
                Change::State => self.call_again(&observed.key),
                Change::Removal => self.close(endpoint, now, &observed.key, Some(Response::new(Code::NOT_FOUND))),
                Change::Silence => self.close(endpoint, now, &observed.key, None),
            }
        }
    }

    /// The state that its observers know is not the last.
    fn call_again(&mut self, key: &TopicKey) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        match &mut topic.run {
            // Whoever joins a topic that nobody observes yet notices by itself.
            Run::Idle if topic.id.is_some() => {
                topic.run = Run::Due;
                self.due.push_back(key.clone());
            }
            Run::Working { outdated, .. } => *outdated = true,
            Run::Idle | Run::Due => {}
        }
    }

    /// The next request whose handler should be called for its observers; what it answers goes to
    /// [`publish`](Self::publish).
    pub(crate) fn next_due(&mut self) -> Option<Turn> {
        while let Some(key) = self.due.pop_front() {
            if let Some(topic) = self.topics.get_mut(&key).filter(|topic| matches!(topic.run, Run::Due)) {
                self.turns += 1;
                topic.run = Run::Working { turn: self.turns, task: None, outdated: false };
                return Some(Turn { observed: topic.observed.clone(), number: self.turns });
            }
        }
        None
    }

    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Tasks to wake, for their end.
    pub(crate) fn take_wakers(&mut self, wake: &mut Vec<Waker>) {
        wake.append(&mut self.wake);
    }

    /// Whether the handler should go on; its task is woken when it should not.
    pub(crate) fn goes_on(&mut self, own: &Turn, cx: &Context<'_>) -> bool {
        let Some(topic) = self.topics.get_mut(&own.observed.key) else { return false };
        match &mut topic.run {
            Run::Working { turn, task, .. } if *turn == own.number => {
                match task {
                    Some(task) => task.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                true
            }
            _ => false,
        }
    }

    /// Tells the observers of a request what its handler has answered.
    pub(crate) fn publish(&mut self, endpoint: &mut Endpoint, now: Instant, own: &Turn, state: Response) {
        let key = &own.observed.key;
        let Some(topic) = self.topics.get_mut(key) else { return };
        let outdated = match topic.run {
            Run::Working { turn, outdated, .. } if turn == own.number => outdated,
            _ => return,
        };
        topic.run = Run::Idle;
        let Some(id) = topic.id else { return };
        let same_format = topic.format.is_none_or(|format| format == state.options.content_format());
        let last = match () {
            () if !state.code.is_success() => Some(state),
            // A stream cannot be for all of them.
            () if !matches!(state.body, Body::Whole(_)) => Some(Response::new(Code::INTERNAL_SERVER_ERROR)),
            // RFC 7641 §4.2: who asked for one format must not get another.
            () if !same_format => Some(Response::new(Code::NOT_ACCEPTABLE)),
            () => {
                let format = Some(state.options.content_format());
                // What no datagram can carry is none that an observer could be told.
                let failed = !endpoint.publish(now, id, state);
                topic.format = topic.format.or(format);
                failed.then(|| Response::new(Code::INTERNAL_SERVER_ERROR))
            }
        };
        match last {
            Some(last) => self.close(endpoint, now, key, Some(last)),
            None if outdated => self.call_again(key),
            None => {}
        }
    }

    // ----- The end -----------------------------------------------------------------------------------------------------

    /// Ends a topic; its observers are told `last`. Whoever is joining finds another one, or is answered and no more.
    fn close(&mut self, endpoint: &mut Endpoint, now: Instant, key: &TopicKey, last: Option<Response>) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        if let Some(id) = topic.id.take() {
            endpoint.close_topic(now, id, last);
            self.names.remove(&id);
        }
        topic.observed.count_observers(0);
        topic.format = None;
        if let Run::Working { task, .. } = core::mem::replace(&mut topic.run, Run::Idle) {
            self.wake.extend(task);
        }
        if topic.joining == 0
            && let Some(topic) = self.topics.remove(key)
        {
            topic.resource.forget(&topic.observed);
        }
    }

    /// Ends all: their observers are told 5.03.
    pub(crate) fn close_all(&mut self, endpoint: &mut Endpoint, now: Instant) {
        let keys: Vec<_> = self.topics.keys().cloned().collect();
        for key in keys {
            self.close(endpoint, now, &key, Some(unavailable()));
        }
    }
}

/// Changes have nobody to be reported to any more.
impl Drop for Topics {
    fn drop(&mut self) {
        for topic in self.topics.values() {
            topic.resource.forget(&topic.observed);
        }
        self.inbox.close();
    }
}

fn options(manner: Manner) -> TopicOptions {
    let Manner { confirm_every, min_interval } = manner;
    let reliability =
        confirm_every.map_or(Reliability::Confirmable, |confirm_every| Reliability::NonConfirmable { confirm_every });
    TopicOptions::new().reliability(reliability).min_interval(min_interval)
}
