//! `Resource`: what peers observe (RFC 7641), and how a change of it reaches the servers.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coap_core::{Local, OptionNumber, Peer, Request, Token, Type};

use crate::router::{FIRST_BLOCK, Incoming};
use crate::sessions::{Identity, identity_key};

/// Something that changes, and whose observers want to know (RFC 7641): routes are made
/// [`observable`](crate::router::MethodRouter::observable) with it, and whoever changes it says so.
///
/// Clones are the same resource. It can belong to several routes, routers and servers.
///
/// ```
/// # use coap_driver::router::{Resource, Router, get};
/// async fn read() -> &'static str {
///     "22.5 °C"
/// }
/// let temperature = Resource::new();
/// let router: Router = Router::new().route("/temp", get(read).observable(&temperature));
/// // From any task or thread, as often as you like:
/// temperature.changed();
/// ```
#[derive(Clone, Default)]
pub struct Resource {
    manner: Manner,
    shared: Arc<Shared>,
}

/// How its observers are notified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Each so-manyth notification is Confirmable; `None`: all are.
    pub(crate) confirm_every: Option<u32>,
    pub(crate) min_interval: Duration,
}

struct Shared {
    /// Which one it is, among all of the program.
    number: u64,
    observed: Mutex<List>,
}

#[derive(Default)]
struct List {
    next: u64,
    /// In the order in which they were first asked for.
    entries: BTreeMap<u64, Arc<Observed>>,
}

impl Default for Shared {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), observed: Mutex::default() }
    }
}

impl Resource {
    /// A resource whose notifications are Confirmable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notifies with Confirmable messages, which is the default: each state arrives, or the observer is gone.
    #[must_use]
    pub const fn confirmable(mut self) -> Self {
        self.manner.confirm_every = None;
        self
    }

    /// Notifies with Non-confirmable messages: cheap, and lost where the network loses. Each `confirm_every`th is Confirmable,
    /// to see whether the observer is still there (RFC 7641 §4.5); so are at least one in 24 hours, and the last after a burst.
    #[must_use]
    pub const fn non_confirmable(mut self, confirm_every: u32) -> Self {
        self.manner.confirm_every = Some(confirm_every);
        self
    }

    /// Sends an observer no notification sooner than so long after the one before. The state in between is left out, the last
    /// one never.
    #[must_use]
    pub const fn min_interval(mut self, span: Duration) -> Self {
        self.manner.min_interval = span;
        self
    }

    /// Says that the resource has changed: its handlers are called, and what they answer goes to their observers.
    ///
    /// It returns at once. Several changes before the handler has run make one notification, of the state that it then finds.
    pub fn changed(&self) {
        let mut wake = Vec::new();
        for observed in self.lock().entries.values() {
            wake.extend(observed.mark_changed());
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// The same for those observers whose request `concerns` the change: for a route with open parts, or a handler that looks at
    /// the query. `concerns` is called once for each different request.
    ///
    /// ```
    /// # use coap_driver::router::Resource;
    /// # let lamps = Resource::new();
    /// // Of the route `/lamps/{lamp}`:
    /// lamps.changed_if(|request| request.options.uri_path().nth(1) == Some(b"3"));
    /// ```
    pub fn changed_if(&self, concerns: impl Fn(&Request) -> bool) {
        // Called without the lock: it may use the resource itself.
        let all: Vec<_> = self.lock().entries.values().cloned().collect();
        let changed = all.iter().filter(|observed| concerns(&observed.request));
        let wake: Vec<_> = changed.filter_map(|observed| observed.mark_changed()).collect();
        wake.into_iter().for_each(Waker::wake);
    }

    /// Says that the resource is gone: its observers get a 4.04, and are none any more. Routes stay: whoever asks again is answered
    /// by the handler.
    pub fn removed(&self) {
        self.end(End::Gone);
    }

    /// Forgets its observers without a word, as a server does that has lost its state: they notice when Max-Age has passed, and may
    /// ask again (RFC 7641 §3.3.1). For tests of clients.
    pub fn forget_observers(&self) {
        self.end(End::Silent);
    }

    /// How many observe it now, on all servers together.
    pub fn observers(&self) -> usize {
        self.lock().entries.values().map(|observed| observed.observers.load(Ordering::Relaxed)).sum()
    }

    pub(crate) const fn manner(&self) -> Manner {
        self.manner
    }

    pub(crate) fn number(&self) -> u64 {
        self.shared.number
    }

    /// From here on changes of it are reported to `inbox`, until [`forget`](Self::forget).
    pub(crate) fn observe(&self, key: TopicKey, incoming: &Incoming<'_>, inbox: &Arc<Inbox>) -> Arc<Observed> {
        let mut list = self.lock();
        let place = list.next;
        list.next += 1;
        let observed = Arc::new(Observed {
            key,
            place,
            peer: incoming.peer(),
            identity: incoming.identity.cloned(),
            local: incoming.local(),
            kind: incoming.kind(),
            message_id: incoming.message_id(),
            token: incoming.token().clone(),
            request: repeatable(incoming),
            inbox: inbox.clone(),
            changes: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            end: AtomicU8::new(NO_END),
            observers: AtomicUsize::new(0),
        });
        list.entries.insert(place, observed.clone());
        observed
    }

    fn end(&self, how: End) {
        let mut wake = Vec::new();
        for observed in self.lock().entries.values() {
            observed.end.store(how as u8, Ordering::Release);
            wake.extend(observed.mark_changed());
        }
        wake.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn forget(&self, observed: &Observed) {
        self.lock().entries.remove(&observed.place);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.shared.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("manner", &self.manner).field("observers", &self.observers()).finish()
    }
}

/// What is answered alike: one resource, and the same method, options of the cache key, and content (RFC 7252 §5.6, RFC 8132
/// §2.1), and the same identity where the answer can depend on that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey {
    resource: u64,
    operation: Arc<[u8]>,
}

impl TopicKey {
    pub(crate) fn new(resource: &Resource, incoming: &Incoming<'_>, who: Option<&Identity>) -> Self {
        let mut operation = vec![incoming.method().to_byte(), u8::from(who.is_some())];
        if let Some(who) = who.map(identity_key) {
            // Each socket has credentials of its own: the same name at another can be somebody else's.
            operation.extend(incoming.local().socket.to_be_bytes());
            operation.extend((who.len() as u32).to_be_bytes());
            operation.extend(who);
        }
        for (number, value) in incoming.options().iter().filter(|(number, _)| tells_apart(*number)) {
            operation.extend(number.number().to_be_bytes());
            operation.extend((value.len() as u32).to_be_bytes());
            operation.extend(value);
        }
        // No option has this number: what follows is content.
        operation.extend(0_u16.to_be_bytes());
        operation.extend(incoming.payload());
        Self { resource: resource.number(), operation: operation.into() }
    }
}

/// The blocks and the observation of one content are the same in this, and so are those who know other contents already.
fn tells_apart(number: OptionNumber) -> bool {
    let alike = [OptionNumber::OBSERVE, OptionNumber::ETAG, OptionNumber::BLOCK1, OptionNumber::BLOCK2];
    !number.is_no_cache_key() && !alike.contains(&number)
}

/// The request, as it can be put to the handler again: a copy of its own, without what was for the first time only.
fn repeatable(incoming: &Incoming<'_>) -> Request {
    let mut options = incoming.options().clone().into_owned();
    for number in [OptionNumber::OBSERVE, OptionNumber::ETAG, OptionNumber::BLOCK1, OptionNumber::BLOCK2] {
        options.remove(number);
    }
    Request::new(incoming.method()).with_options(options).with_body(incoming.payload().to_vec())
}

/// A request that is observed on one server, by one peer or many.
pub(crate) struct Observed {
    pub(crate) key: TopicKey,
    place: u64,
    peer: Peer,
    identity: Option<Identity>,
    local: Local,
    kind: Type,
    message_id: u16,
    token: Token,
    request: Request,
    inbox: Arc<Inbox>,
    /// How often it has changed, so that whoever ran a handler knows whether its answer is still the last.
    changes: AtomicU64,
    /// It is in the inbox.
    queued: AtomicBool,
    /// The change is this [`End`], or none.
    end: AtomicU8,
    observers: AtomicUsize,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    State,
    /// It is gone: its observers are told.
    Removal,
    /// They are not.
    Silence,
}

/// How the observation of a resource ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Gone = 1,
    Silent = 2,
}

/// What is stored where there is no [`End`].
const NO_END: u8 = 0;

impl Observed {
    /// What its handler is called with.
    pub(crate) const fn incoming(&self) -> Incoming<'_> {
        let Self { peer, ref identity, local, kind, message_id, ref token, ref request, .. } = *self;
        let (identity, wanted, captures) = (identity.as_ref(), FIRST_BLOCK, &[]);
        // Whoever observes has been found fresh when that began.
        let echo_age = Some(Duration::ZERO);
        Incoming { peer, identity, local, kind, message_id, token, request, wanted, echo_age, upload: None, captures }
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn count_observers(&self, observers: usize) {
        self.observers.store(observers, Ordering::Relaxed);
    }

    /// The task to wake, if it sleeps.
    fn mark_changed(self: &Arc<Self>) -> Option<Waker> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        // Whoever finds it queued has been heard too: it is taken out before its handler looks at the state.
        if self.queued.swap(true, Ordering::AcqRel) { None } else { self.inbox.push(self.clone()) }
    }

    /// Takes the change, when it has been taken out of the inbox: a further one queues it again.
    pub(crate) fn take_change(&self) -> Change {
        self.queued.swap(false, Ordering::AcqRel);
        match self.end.swap(NO_END, Ordering::AcqRel) {
            end if end == End::Gone as u8 => Change::Removal,
            end if end == End::Silent as u8 => Change::Silence,
            _ => Change::State,
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("request", &self.request).finish_non_exhaustive()
    }
}

/// What has changed, for the driver task of one server: each request once.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    inner: Mutex<Changed>,
}

#[derive(Debug, Default)]
struct Changed {
    observed: Vec<Arc<Observed>>,
    /// The server is gone.
    closed: bool,
    /// The driver task, when it sleeps.
    driver: Option<Waker>,
}

/// Whether something has changed in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    None,
    Some,
}

impl Inbox {
    fn push(&self, observed: Arc<Observed>) -> Option<Waker> {
        let mut inner = self.lock();
        if !inner.closed {
            inner.observed.push(observed);
        }
        inner.driver.take()
    }

    /// All that has changed since.
    pub(crate) fn take(&self) -> Vec<Arc<Observed>> {
        core::mem::take(&mut self.lock().observed)
    }

    /// The next change wakes `driver`, unless there has been one already.
    pub(crate) fn park(&self, driver: &Waker) -> News {
        let mut inner = self.lock();
        if !inner.observed.is_empty() {
            return News::Some;
        }
        match &mut inner.driver {
            Some(known) => known.clone_from(driver),
            none => *none = Some(driver.clone()),
        }
        News::None
    }

    /// Nobody will take anything any more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.observed.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut coap_core::Options)) -> Request {
        let mut request = Request::get();
        request.options.push_uri_path("a").unwrap();
        change(&mut request.options);
        request
    }

    fn with<T>(request: &Request, look: impl FnOnce(&Incoming<'_>) -> T) -> T {
        look(&Incoming {
            identity: None,
            peer: "192.0.2.1:5683".parse::<core::net::SocketAddr>().unwrap().into(),
            local: Local::default(),
            kind: Type::Confirmable,
            message_id: 1,
            token: &Token::EMPTY,
            request,
            wanted: FIRST_BLOCK,
            echo_age: None,
            upload: None,
            captures: &[],
        })
    }

    fn observed(resource: &Resource, request: &Request, inbox: &Arc<Inbox>) -> Arc<Observed> {
        with(request, |incoming| resource.observe(TopicKey::new(resource, incoming, None), incoming, inbox))
    }

    #[test]
    fn requests_with_the_same_answer_are_one() {
        let (resource, other) = (Resource::new(), Resource::new());
        let key =
            |resource: &Resource, request: &Request| with(request, |incoming| TopicKey::new(resource, incoming, None));
        let plain = key(&resource, &request(|_| {}));
        assert_eq!(plain, key(&resource, &request(|options| options.set_observe(0))));
        let more = request(|options| {
            options.push(OptionNumber::ETAG, b"1").unwrap();
            options.set_size1(7);
        });
        assert_eq!(plain, key(&resource, &more));
        let query = request(|options| options.push(OptionNumber::URI_QUERY, b"x").unwrap());
        assert_ne!(plain, key(&resource, &query));
        assert_ne!(plain, key(&other, &request(|_| {})));
        let fetch = |content: &'static str| Request::new(coap_core::Code::FETCH).with_body(content);
        assert_ne!(key(&resource, &fetch("a")), key(&resource, &fetch("b")));
    }

    #[cfg(feature = "dtls")]
    #[test]
    fn the_same_name_at_sockets_with_credentials_of_their_own_is_not_the_same_identity() {
        let (resource, request) = (Resource::new(), request(|_| {}));
        let key = |socket, identity: Option<&str>| {
            let who = identity.map(|name| Identity::Psk(name.into()));
            let local = Local { socket, ..Local::default() };
            with(&request, |incoming| TopicKey::new(&resource, &Incoming { local, ..*incoming }, who.as_ref()))
        };
        assert_eq!(key(1, Some("sensor")), key(1, Some("sensor")));
        assert_ne!(key(1, Some("sensor")), key(1, Some("other")));
        assert_ne!(key(1, Some("sensor")), key(2, Some("sensor")), "another has given it this name there");
        assert_eq!(key(1, None), key(2, None), "who asks does not matter for the answer");
    }

    #[test]
    fn what_was_for_the_first_time_only_is_not_asked_again() {
        let first = request(|options| {
            options.set_observe(0);
            options.push(OptionNumber::ETAG, b"1").unwrap();
        });
        let observed = observed(&Resource::new(), &first, &Arc::default());
        assert_eq!(observed.incoming().options(), &request(|_| {}).options);
    }

    #[test]
    fn a_change_is_in_the_inbox_once_until_it_is_taken() {
        let (resource, inbox) = (Resource::new(), Arc::<Inbox>::default());
        let entry = observed(&resource, &request(|_| {}), &inbox);
        resource.changed();
        resource.changed();
        assert_eq!(entry.changes(), 2);
        assert_eq!(inbox.park(Waker::noop()), News::Some);
        let taken = inbox.take();
        assert_eq!((taken.len(), entry.take_change()), (1, Change::State));
        assert_eq!(inbox.park(Waker::noop()), News::None);
        resource.removed();
        assert_eq!((inbox.take().len(), entry.take_change()), (1, Change::Removal));
        resource.forget_observers();
        assert_eq!((inbox.take().len(), entry.take_change()), (1, Change::Silence));
        resource.forget(&entry);
        resource.changed();
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn a_change_may_be_looked_at_with_the_resource_in_hand() {
        let (resource, inbox) = (Resource::new(), Arc::<Inbox>::default());
        let _entry = observed(&resource, &request(|_| {}), &inbox);
        resource.changed_if(|_| resource.observers() > 0);
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn nothing_is_kept_for_a_server_that_is_gone() {
        let (resource, inbox) = (Resource::new(), Arc::<Inbox>::default());
        let _entry = observed(&resource, &request(|_| {}), &inbox);
        inbox.close();
        resource.changed();
        assert!(inbox.take().is_empty());
    }
}
