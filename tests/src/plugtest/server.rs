//! The plugtest resources as the application of an endpoint: large bodies come and go in blocks, and who observes a
//! resource is told of its changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{
    BodyId, Code, ContentFormat, Endpoint, Event, IncomingId, IncomingRequest, Instant, Reliability, RespondError,
    Response, TopicId, TopicOptions,
};

use super::{MOST_STORED, Plugtest, path_of};
use crate::app::{App, Reply};

/// [`Plugtest`] on an endpoint.
///
/// Bodies are collected before a resource sees them, but for those that it refuses by the looks of the request. The
/// resources under `/obs` can be observed: those that end in `-non` tell their observers Non-confirmable.
#[derive(Debug, Default)]
pub struct PlugtestServer {
    plugtest: Plugtest,
    /// What is, or was, observed.
    topics: BTreeMap<String, TopicId>,
    /// Requests whose content is still to come.
    uploads: BTreeMap<BodyId, IncomingRequest>,
    later: BTreeMap<(Instant, u64), (IncomingId, Response)>,
    count: u64,
}

impl PlugtestServer {
    /// All resources as they are at the start.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resources.
    pub const fn plugtest(&self) -> &Plugtest {
        &self.plugtest
    }

    /// Changes a resource, as [`Plugtest::set`] does, and tells its observers.
    pub fn set(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        path: &str,
        format: Option<ContentFormat>,
        body: Bytes,
    ) {
        let before = self.plugtest.mark(path);
        self.plugtest.set(path, format, body);
        self.tell(endpoint, now, path, before);
    }

    /// Takes a resource away, and tells its observers. False: it was not there.
    pub fn remove(&mut self, endpoint: &mut Endpoint, now: Instant, path: &str) -> bool {
        let before = self.plugtest.mark(path);
        let removed = self.plugtest.remove(path);
        self.tell(endpoint, now, path, before);
        removed
    }

    /// How many observers a resource has.
    pub fn observers(&self, endpoint: &Endpoint, path: &str) -> usize {
        self.topics.get(path).map_or(0, |topic| endpoint.topic_observers(*topic))
    }

    fn on_request(&mut self, endpoint: &mut Endpoint, now: Instant, request: IncomingRequest) {
        if !request.request.body.is_in_parts() {
            return self.serve(endpoint, now, request);
        }
        let body = request.id.request_body();
        match self.plugtest.refusal(&request.request) {
            Some(code) => answer(endpoint, now, request.id, Response::new(code)),
            None => {
                if endpoint.collect(now, body, MOST_STORED) {
                    self.uploads.insert(body, request);
                }
            }
        }
    }

    fn serve(&mut self, endpoint: &mut Endpoint, now: Instant, request: IncomingRequest) {
        let path = path_of(&request.request.options).unwrap_or_default();
        let before = self.plugtest.mark(&path);
        let reply = self.plugtest.handle(&request.local, &request.request);
        let observes = request.request.code == Code::GET && request.request.options.observe() == Some(0);
        match reply {
            Reply::Now(response) if observes && is_observable(&path) && response.code.is_success() => {
                let topic = self.topic(endpoint, &path);
                if let Err(refused) = endpoint.accept_observer(now, request.id, topic, response) {
                    check(refused);
                }
            }
            Reply::Now(response) => answer(endpoint, now, request.id, response),
            Reply::After(span, response) => {
                self.count += 1;
                self.later.insert((now + span, self.count), (request.id, response));
            }
            Reply::Never | Reply::Forgotten => {
                endpoint.ignore(now, request.id);
            }
        }
        if path == "/obs-reset" && request.request.code == Code::POST {
            for topic in core::mem::take(&mut self.topics).into_values() {
                endpoint.close_topic(now, topic, None);
            }
        }
        // Behind the response: who changes what it observes hears that it has done so first.
        self.tell(endpoint, now, &path, before);
    }

    fn topic(&mut self, endpoint: &mut Endpoint, path: &str) -> TopicId {
        *self.topics.entry(path.to_owned()).or_insert_with(|| {
            let how = if path.ends_with("-non") {
                Reliability::NonConfirmable { confirm_every: u32::MAX }
            } else {
                Reliability::Confirmable
            };
            endpoint.open_topic(TopicOptions::new().reliability(how))
        })
    }

    /// A resource may have changed since it had this version and format (RFC 7641 §4.2): gone is 4.04, and in another
    /// format, which its observers did not ask for, 4.06.
    fn tell(&mut self, endpoint: &mut Endpoint, now: Instant, path: &str, before: Option<(u32, ContentFormat)>) {
        let Some(topic) = self.topics.get(path).copied() else { return };
        let after = self.plugtest.mark(path);
        match (before, after) {
            (Some(_), None) => {
                endpoint.close_topic(now, topic, Some(Response::new(Code::NOT_FOUND)));
                self.topics.remove(path);
            }
            (Some((version, _)), Some((same, _))) if version == same => {}
            (Some((_, old)), Some((_, new))) if old != new => {
                endpoint.publish(now, topic, Response::new(Code::NOT_ACCEPTABLE));
            }
            (_, Some(_)) => {
                if let Some(state) = self.plugtest.state(path) {
                    endpoint.publish(now, topic, state);
                }
            }
            (None, None) => {}
        }
    }
}

impl App for PlugtestServer {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        match event {
            Event::Request(request) => self.on_request(endpoint, now, request),
            Event::BodyPart { id, data, .. } => {
                if let Some(mut request) = self.uploads.remove(&id) {
                    request.request.body = data.into();
                    self.serve(endpoint, now, request);
                }
            }
            Event::IncomingClosed { id, .. } => {
                self.uploads.remove(&id.request_body());
            }
            _ => {}
        }
    }

    fn next_time(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    fn on_time(&mut self, endpoint: &mut Endpoint, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let (id, response) = first.remove();
            answer(endpoint, now, id, response);
        }
    }

    /// The resources are kept, as on a disk.
    fn on_reboot(&mut self) {
        self.topics.clear();
        self.uploads.clear();
        self.later.clear();
    }
}

fn is_observable(path: &str) -> bool {
    path.starts_with("/obs") && path != "/obs-reset"
}

fn answer(endpoint: &mut Endpoint, now: Instant, id: IncomingId, response: Response) {
    if let Err(refused) = endpoint.respond(now, id, response) {
        check(refused);
    }
}

/// The request may have been closed meanwhile (`incoming_timeout`); then there is nobody to answer. A response that
/// cannot be sent at all is a mistake of the test, which should hear of it.
fn check(refused: RespondError) {
    assert!(refused == RespondError::Stale, "the endpoint refused the response of the server: {refused}");
}
