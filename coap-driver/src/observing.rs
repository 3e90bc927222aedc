//! Observations of ours (RFC 7641 §3), each shared by all local observers of the same resource.
//!
//! ```text
//!   Endpoint::observe ──► registration: the last state, how fresh it is, the end
//!                            ├── observer: what of it has not been told
//!                            └── observer
//! ```
//!
//! A registration keeps one state and an observer four marks, so what a slow observer costs is bounded, and it holds up
//! nobody. The registration ends with its last observer.

use core::task::{Context, Poll, Waker};

use coap_core::{
    Code, Endpoint, Host, Instant, OptionNumber, Options, Peer, Request, RequestError, RequestId, RequestOptions,
    Response, Scheme, Timing,
};

use crate::queues::{Queues, Table};
use crate::reply::Reply;
use crate::target::Target;
use crate::waiting::{ClientId, News, Outcome};

/// One observer of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObserverId {
    registration: RequestId,
    number: u64,
}

/// How an observer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The last one tells the server: Observe 1 (RFC 7641 §3.6).
    Actively,
    /// The last one says nothing, and the next notification is met with a Reset.
    Silently,
}

/// What an observer is told.
#[derive(Debug)]
pub(crate) enum Tidings {
    State(Reply),
    Stale,
    Reregistering(u8),
    /// The last word: a response, or why there is none.
    End(Outcome),
}

/// A new observer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    pub(crate) id: ObserverId,
    /// Of a registration that was there already, with its own times.
    pub(crate) to_other: bool,
}

/// All registrations.
#[derive(Debug, Default)]
pub(crate) struct Observing {
    registrations: Table<RequestId, Registration>,
    /// Those that another observer may join.
    shared: Table<Key, RequestId>,
    /// Registrations that nobody wants any more, until the server knows.
    leaving: Vec<Leaving>,
    /// To be woken at the end of the round.
    later: Vec<Waker>,
    observers: u64,
}

/// What is observed.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) place: Option<Place>,
}

/// Where a resource is to whoever asks for it, whatever its server is told of that, and through whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    scheme: Scheme,
    host: Host,
    port: u16,
    /// Uri-Path and Uri-Query.
    rest: Options,
}

impl Place {
    /// Where `target` is, with what the request adds to it; `None`: it has no URI.
    pub(crate) fn new(target: &Target, options: &Options) -> Option<Self> {
        let uri = target.to_uri()?;
        let mut rest = options.clone();
        rest.retain(|number, _| [OptionNumber::URI_PATH, OptionNumber::URI_QUERY].contains(&number));
        Some(Self { scheme: uri.scheme(), host: uri.host().clone(), port: uri.port(), rest })
    }
}

/// Which observations are to end: those of this place, and those that the options name at one of these peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    pub(crate) place: Option<&'a Place>,
    pub(crate) peers: &'a [Peer],
    pub(crate) options: &'a Options,
}

/// What makes two observations the same: the peer, and all of the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    peer: Peer,
    request: Vec<u8>,
}

#[derive(Debug)]
struct Registration {
    key: Key,
    /// What the observers know the peer as.
    told: Peer,
    /// Which resource: the options that are made of the URI.
    resource: Options,
    started: Instant,
    /// The server notifies, or has done so.
    accepted: bool,
    /// The latest state; none if the first one could not be fetched.
    state: Option<Reply>,
    /// The latest state that has an ETag, if `state` has none: 2.03 may say that it is current again.
    tagged: Option<Reply>,
    stale: bool,
    /// The last attempt to register again, since the latest state.
    attempt: Option<u8>,
    end: Option<Outcome>,
    observers: Table<u64, Observer>,
}

#[derive(Debug)]
struct Observer {
    client: ClientId,
    /// What it has asked for.
    place: Option<Place>,
    waker: Option<Waker>,
    repeated: bool,
    // What it has not been told.
    state: bool,
    stale: bool,
    attempt: bool,
    end: bool,
}

#[derive(Debug)]
struct Leaving {
    id: RequestId,
    peer: Peer,
    waker: Option<Waker>,
}

impl Observing {
    // ----- Observers -------------------------------------------------------------------------------------------

    /// Whose resource is observed.
    pub(crate) fn peer_of(&self, id: RequestId) -> Option<Peer> {
        self.registrations.get(&id).map(|registration| registration.key.peer)
    }

    /// Whether a resource of this peer is observed.
    #[cfg(feature = "dtls")]
    pub(crate) fn has_open(&self, peer: Peer) -> bool {
        let open = |registration: &Registration| registration.key.peer == peer && registration.end.is_none();
        self.registrations.values().any(open) || self.leaving.iter().any(|leaving| leaving.peer == peer)
    }

    /// Joins the registration of the same request to the same peer, or makes one.
    pub(crate) fn observe(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        client: ClientId,
        (to, told): (Peer, Peer),
        asked: &Asked,
        how: &RequestOptions,
    ) -> Result<Joined, RequestError> {
        let Asked { request, place } = asked;
        let key = Key { peer: to, request: identity(request) };
        if let Some(registration) = self.shared.get(&key) {
            let (id, number) = (*registration, self.draw());
            if let Some(registration) = self.registrations.get_mut(&id) {
                registration.observers.insert(number, Observer::new(client, place.clone(), Some(registration)));
                return Ok(Joined { id: ObserverId { registration: id, number }, to_other: true });
            }
        }
        let id = endpoint.observe(now, to, request.clone(), how)?;
        let number = self.draw();
        let mut registration = Registration {
            key: key.clone(),
            told,
            resource: resource(&request.options),
            started: now,
            accepted: false,
            state: None,
            tagged: None,
            stale: false,
            attempt: None,
            end: None,
            observers: Table::default(),
        };
        registration.observers.insert(number, Observer::new(client, place.clone(), None));
        self.registrations.insert(id, registration);
        self.shared.insert(key, id);
        Ok(Joined { id: ObserverId { registration: id, number }, to_other: false })
    }

    const fn draw(&mut self) -> u64 {
        self.observers += 1;
        self.observers
    }

    /// Looks after an observer until there is a first answer: `Ended` is why there is none. `None`: there is one, and
    /// `poll` tells it.
    pub(crate) fn poll_first(&mut self, id: ObserverId, cx: &Context<'_>) -> Poll<Option<News>> {
        let closed = Poll::Ready(Some(News::Ended(Outcome::Closed)));
        let Some(registration) = self.registrations.get_mut(&id.registration) else { return closed };
        let Some(observer) = registration.observers.get_mut(&id.number) else { return closed };
        match &registration.end {
            _ if registration.accepted => return Poll::Ready(None),
            Some(Outcome::Reply(_)) => return Poll::Ready(None),
            Some(failed) => {
                let failed = failed.clone();
                registration.observers.remove(&id.number);
                if registration.observers.is_empty() {
                    self.registrations.remove(&id.registration);
                }
                return Poll::Ready(Some(News::Ended(failed)));
            }
            None => {}
        }
        if core::mem::take(&mut observer.repeated) {
            return Poll::Ready(Some(News::Repeated));
        }
        observer.wait(cx);
        Poll::Pending
    }

    /// Tells an observer what is new, in the order in which it came to be. `None`: it was told the end, or is unknown.
    pub(crate) fn poll(&mut self, id: ObserverId, cx: &Context<'_>) -> Poll<Option<Tidings>> {
        let Some(registration) = self.registrations.get_mut(&id.registration) else { return Poll::Ready(None) };
        let Some(observer) = registration.observers.get_mut(&id.number) else { return Poll::Ready(None) };
        if core::mem::take(&mut observer.state)
            && let Some(state) = &registration.state
        {
            return Poll::Ready(Some(Tidings::State(state.clone())));
        }
        if core::mem::take(&mut observer.stale) {
            return Poll::Ready(Some(Tidings::Stale));
        }
        if core::mem::take(&mut observer.attempt)
            && let Some(attempt) = registration.attempt
        {
            return Poll::Ready(Some(Tidings::Reregistering(attempt)));
        }
        if let Some(end) = &registration.end {
            let untold = core::mem::take(&mut observer.end);
            return Poll::Ready(untold.then(|| Tidings::End(end.clone())));
        }
        observer.wait(cx);
        Poll::Pending
    }

    /// Whether the server has ever said that it notifies of this resource.
    pub(crate) fn is_accepted(&self, id: ObserverId) -> bool {
        self.registrations.get(&id.registration).is_some_and(|registration| registration.accepted)
    }

    /// An observer goes.
    pub(crate) fn leave(
        &mut self,
        endpoint: &mut Endpoint,
        queues: &mut Queues,
        now: Instant,
        id: ObserverId,
        manner: Manner,
        wake: &mut Vec<Waker>,
    ) {
        let Some(registration) = self.registrations.get_mut(&id.registration) else { return };
        registration.observers.remove(&id.number);
        if registration.observers.is_empty() {
            self.give_up(endpoint, queues, now, id.registration, manner, wake);
        }
    }

    /// Ready when the server knows that nobody observes any more, or will never know.
    pub(crate) fn poll_left(&mut self, id: ObserverId, cx: &Context<'_>) -> Poll<()> {
        let Some(leaving) = self.leaving.iter_mut().find(|leaving| leaving.id == id.registration) else {
            return Poll::Ready(());
        };
        leaving.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends all observers of a resource, and says how many.
    pub(crate) fn leave_resource(
        &mut self,
        endpoint: &mut Endpoint,
        queues: &mut Queues,
        now: Instant,
        which: Which<'_>,
        wake: &mut Vec<Waker>,
    ) -> usize {
        let resource = resource(which.options);
        let found = self.registrations.iter().filter(|(_, registration)| {
            let named = which.peers.contains(&registration.key.peer) && registration.resource == resource;
            registration.end.is_none() && (named || registration.is_of(which.place))
        });
        let found: Vec<_> = found.map(|(id, _)| *id).collect();
        let mut observers = 0;
        for id in found {
            if let Some(registration) = self.registrations.get_mut(&id) {
                observers += registration.observers.len();
                wake.extend(registration.observers.drain().filter_map(|(_, observer)| observer.waker));
            }
            self.give_up(endpoint, queues, now, id, Manner::Actively, wake);
        }
        observers
    }

    /// Ends all observers of a client.
    pub(crate) fn close_client(
        &mut self,
        endpoint: &mut Endpoint,
        queues: &mut Queues,
        now: Instant,
        client: ClientId,
        wake: &mut Vec<Waker>,
    ) {
        let mut abandoned = Vec::new();
        for (id, registration) in &mut self.registrations {
            let before = registration.observers.len();
            registration.observers.retain(|_, observer| {
                let goes = observer.client == client;
                if goes {
                    wake.extend(observer.waker.take());
                }
                !goes
            });
            if registration.observers.is_empty() && before > 0 {
                abandoned.push(*id);
            }
        }
        for id in abandoned {
            self.give_up(endpoint, queues, now, id, Manner::Actively, wake);
        }
    }

    /// Ends a registration that has no observers.
    fn give_up(
        &mut self,
        endpoint: &mut Endpoint,
        queues: &mut Queues,
        now: Instant,
        id: RequestId,
        manner: Manner,
        wake: &mut Vec<Waker>,
    ) {
        let Some(registration) = self.registrations.remove(&id) else { return };
        self.shared.remove(&registration.key);
        if registration.end.is_some() {
            return;
        }
        let peer = registration.key.peer;
        // Where there was no answer yet, there may be no server: a Reset for what may come is enough.
        if registration.accepted && manner == Manner::Actively {
            endpoint.deregister(now, id);
        } else {
            endpoint.cancel(now, id);
        }
        if endpoint.is_deregistering(id) {
            self.leaving.push(Leaving { id, peer, waker: None });
            return;
        }
        queues.give_room(peer, wake);
    }

    // ----- Events ----------------------------------------------------------------------------------------------

    pub(crate) fn knows(&self, id: RequestId) -> bool {
        self.registrations.contains_key(&id)
    }

    /// A newer state. It makes old news of all that was not told of the one before.
    pub(crate) fn renew(&mut self, now: Instant, id: RequestId, response: Response, wake: &mut Vec<Waker>) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let mut timing = Timing::default();
        if !core::mem::replace(&mut registration.accepted, true) {
            timing.elapsed = now - registration.started;
        }
        let told = Reply::new(registration.key.peer, registration.told, response, timing);
        let told = if told.code == Code::VALID { registration.revived(told) } else { told };
        if let Some(before) = registration.state.replace(told)
            && before.options.etag().is_some()
        {
            registration.tagged = Some(before);
        }
        // Kept twice it would be for nothing.
        if registration.state.as_ref().is_some_and(|state| state.options.etag().is_some()) {
            registration.tagged = None;
        }
        (registration.stale, registration.attempt) = (false, None);
        registration.mark(wake, |observer| {
            (observer.state, observer.stale, observer.attempt) = (true, false, false);
        });
    }

    pub(crate) fn age(&mut self, id: RequestId, wake: &mut Vec<Waker>) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        (registration.accepted, registration.stale) = (true, true);
        registration.mark(wake, |observer| observer.stale = true);
    }

    pub(crate) fn register_again(&mut self, id: RequestId, attempt: u8, wake: &mut Vec<Waker>) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        registration.attempt = Some(attempt);
        registration.mark(wake, |observer| observer.attempt = true);
    }

    pub(crate) fn repeated(&mut self, id: RequestId, wake: &mut Vec<Waker>) {
        if let Some(registration) = self.registrations.get_mut(&id) {
            registration.mark(wake, |observer| observer.repeated = true);
        }
    }

    /// A registration is over. That is room for another request to the peer that comes back.
    pub(crate) fn settle(
        &mut self,
        id: RequestId,
        wake: &mut Vec<Waker>,
        outcome: impl FnOnce(Peer, Instant) -> Outcome,
    ) -> Option<Peer> {
        let registration = self.registrations.get_mut(&id).filter(|registration| registration.end.is_none())?;
        self.shared.remove(&registration.key);
        let peer = registration.key.peer;
        registration.end = Some(outcome(registration.told, registration.started));
        registration.mark(wake, |_| {});
        Some(peer)
    }

    /// Wakes those whose deregistration is over, and who waits for its room.
    pub(crate) fn sweep(&mut self, endpoint: &Endpoint, queues: &mut Queues, wake: &mut Vec<Waker>) {
        wake.append(&mut self.later);
        self.leaving.retain_mut(|leaving| {
            let open = endpoint.is_deregistering(leaving.id);
            if !open {
                queues.give_room(leaving.peer, wake);
                wake.extend(leaving.waker.take());
            }
            open
        });
    }

    // ----- The end ---------------------------------------------------------------------------------------------

    /// Tells the servers, and the observers that it is over.
    pub(crate) fn shut_down(&mut self, endpoint: &mut Endpoint, now: Instant) {
        for (id, registration) in self.registrations.iter_mut().filter(|(_, registration)| registration.end.is_none()) {
            if registration.accepted {
                endpoint.deregister(now, *id);
            } else {
                endpoint.cancel(now, *id);
            }
            registration.end = Some(Outcome::Closed);
            registration.mark(&mut self.later, |_| {});
        }
        self.shared.clear();
    }

    /// Nothing can be told to anybody any more.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        for registration in self.registrations.values_mut().filter(|registration| registration.end.is_none()) {
            registration.end = Some(Outcome::Closed);
            registration.mark(wake, |_| {});
        }
        self.shared.clear();
        wake.append(&mut self.later);
        wake.extend(self.leaving.drain(..).filter_map(|leaving| leaving.waker));
    }
}

impl Registration {
    /// One of its observers has asked for what is there.
    fn is_of(&self, place: Option<&Place>) -> bool {
        place.is_some() && self.observers.values().any(|observer| observer.place.as_ref() == place)
    }

    fn mark(&mut self, wake: &mut Vec<Waker>, mut mark: impl FnMut(&mut Observer)) {
        for observer in self.observers.values_mut() {
            mark(observer);
            wake.extend(observer.waker.take());
        }
    }

    /// The state that 2.03 says is current, with the options that it has now (RFC 7252 §5.9.1.3); `valid` itself if that
    /// state is not known.
    fn revived(&self, valid: Reply) -> Reply {
        let known = [&self.state, &self.tagged].into_iter().flatten();
        let etag = valid.options.etag();
        let found = known.into_iter().find(|state| {
            let tag = state.options.etag();
            tag.is_some() && (etag.is_none() || tag == etag)
        });
        let Some(found) = found else { return valid };
        let mut revived = found.clone();
        for number in [OptionNumber::MAX_AGE, OptionNumber::OBSERVE] {
            revived.options.remove(number);
            for value in valid.options.get_all(number) {
                // It cannot fail: it was an option of the same number before.
                let _ = revived.options.push(number, value);
            }
        }
        revived.timing = valid.timing;
        revived
    }
}

impl Observer {
    /// Told of all that is known of the registration that it joins.
    fn new(client: ClientId, place: Option<Place>, joins: Option<&Registration>) -> Self {
        Self {
            client,
            place,
            waker: None,
            repeated: false,
            state: joins.is_some_and(|registration| registration.state.is_some()),
            stale: joins.is_some_and(|registration| registration.stale),
            attempt: joins.is_some_and(|registration| registration.attempt.is_some()),
            end: true,
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// Method, options and content, as bytes that are equal if these are.
fn identity(request: &Request) -> Vec<u8> {
    let mut bytes = vec![request.code.to_byte()];
    for (number, value) in request.options.iter() {
        bytes.extend_from_slice(&number.number().to_be_bytes());
        // No option is longer than 65,804 bytes.
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(value);
    }
    // 0xFFFF is no option that could be sent before the content.
    bytes.extend_from_slice(&u16::MAX.to_be_bytes());
    bytes.extend_from_slice(request.body.as_bytes());
    bytes
}

/// The options that a URI is made into (RFC 7252 §6.4).
fn resource(options: &Options) -> Options {
    let of_uri = [OptionNumber::URI_HOST, OptionNumber::URI_PORT, OptionNumber::URI_PATH, OptionNumber::URI_QUERY];
    let of_proxy = [OptionNumber::PROXY_URI, OptionNumber::PROXY_SCHEME];
    let mut resource = options.clone();
    resource.retain(|number, _| of_uri.contains(&number) || of_proxy.contains(&number));
    resource
}
