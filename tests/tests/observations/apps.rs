//! A server whose state is a number that grows, and clients that watch it.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use coap_core::{
    Closed, Endpoint, Event, Failure, Instant, Peer, Request, RequestId, RequestOptions, Response, TopicId,
    TopicOptions,
};
use coap_sim::{App, Node, Sim};

/// What the test and the server share.
#[derive(Debug)]
pub(crate) struct Source {
    how: TopicOptions,
    max_age: u32,
    /// The state has so many bytes at least.
    len: usize,
    topic: Cell<Option<TopicId>>,
    state: Cell<u64>,
    pub(crate) lost: RefCell<Vec<Closed>>,
}

impl Source {
    pub(crate) fn new(how: TopicOptions, max_age: u32, len: usize) -> Rc<Self> {
        let (topic, state, lost) = (Cell::new(None), Cell::new(0), RefCell::default());
        Rc::new(Self { how, max_age, len, topic, state, lost })
    }

    pub(crate) fn state(&self) -> u64 {
        self.state.get()
    }

    fn topic(&self, endpoint: &mut Endpoint) -> TopicId {
        let topic = self.topic.get().unwrap_or_else(|| endpoint.open_topic(self.how));
        self.topic.set(Some(topic));
        topic
    }

    /// The number, as often as it takes.
    fn response(&self) -> Response {
        let word = format!("{:>8} ", self.state.get());
        let mut response = Response::new(coap_core::Code::CONTENT).with_body(word.repeat(self.len.div_ceil(9).max(1)));
        response.options.set_max_age(self.max_age);
        response
    }

    pub(crate) fn change(&self, sim: &mut Sim, server: Node) {
        self.state.set(self.state.get() + 1);
        sim.act(server, |endpoint, now| {
            let topic = self.topic(endpoint);
            assert!(endpoint.publish(now, topic, self.response()));
        });
    }

    pub(crate) fn observers(&self, sim: &Sim, server: Node) -> usize {
        self.topic.get().map_or(0, |topic| sim.endpoint(server).topic_observers(topic))
    }
}

pub(crate) struct Server(pub(crate) Rc<Source>);

impl App for Server {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        match event {
            Event::Request(request) => {
                let topic = self.0.topic(endpoint);
                // It may have been closed meanwhile, and there may be no Message ID for it.
                let _ = endpoint.accept_observer(now, request.id, topic, self.0.response());
            }
            Event::ObserverLost { why, .. } => self.0.lost.borrow_mut().push(why),
            _ => {}
        }
    }

    fn on_reboot(&mut self) {
        self.0.topic.set(None);
    }
}

/// What a client has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The states, and when.
    pub(crate) states: Vec<(Instant, u64)>,
    pub(crate) stale: u32,
    pub(crate) again: u32,
    pub(crate) failures: Vec<Failure>,
    pub(crate) observation: Option<RequestId>,
}

/// Observes for as long as it lives: anew when its observation has failed.
pub(crate) struct Client {
    pub(crate) server: Peer,
    pub(crate) how: RequestOptions,
    pub(crate) seen: Rc<RefCell<Seen>>,
    /// Others may have been told the same before the server forgot its numbers.
    pub(crate) may_repeat: bool,
}

impl Client {
    pub(crate) fn observe(&self, endpoint: &mut Endpoint, now: Instant) {
        let mut request = Request::get();
        request.options.push_uri_path("number").unwrap();
        self.seen.borrow_mut().observation = endpoint.observe(now, self.server, request, &self.how).ok();
    }
}

impl App for Client {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        let mut seen = self.seen.borrow_mut();
        match event {
            Event::Notification { response, .. } => {
                let text = core::str::from_utf8(response.body.as_bytes()).unwrap();
                let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().unwrap());
                let state = numbers.next().unwrap();
                assert!(numbers.all(|other| other == state), "spliced: {text}");
                let last = seen.states.last().map(|(_, last)| *last);
                assert!(
                    last.is_none_or(|last| last < state || (last == state && self.may_repeat)),
                    "{last:?}, {state}"
                );
                seen.states.push((now, state));
            }
            Event::Stale { .. } => seen.stale += 1,
            Event::Reregistering { .. } => seen.again += 1,
            Event::Failed { reason, .. } => {
                seen.failures.push(reason);
                drop(seen);
                self.observe(endpoint, now);
            }
            Event::Response { response, .. } => panic!("{}", response.code),
            _ => {}
        }
    }
}

/// A client that observes from now on.
pub(crate) fn watch(sim: &mut Sim, client: Node, server: Node, how: &RequestOptions) -> Rc<RefCell<Seen>> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let app = Client { server: sim.peer(server), how: how.clone(), seen: Rc::clone(&seen), may_repeat: true };
    sim.act(client, |endpoint, now| app.observe(endpoint, now));
    sim.run_app(client, app);
    seen
}
