//! The applications on nodes.

use core::time::Duration;
use std::collections::BTreeMap;

use coap_core::{Endpoint, Event, IncomingId, IncomingRequest, Instant, RespondError, Response};

/// The application on a node. Any `FnMut(&mut Endpoint, Instant, Event)` is one.
///
/// A node without an application keeps its events for `Sim::take_events`.
pub trait App {
    /// Something happened at the endpoint.
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event);

    /// When the application wants to be called by itself; `None`: not before the next event.
    fn next_time(&self) -> Option<Instant> {
        None
    }

    /// That time has come.
    fn on_time(&mut self, endpoint: &mut Endpoint, now: Instant) {
        let _ = (endpoint, now);
    }

    /// The node has been rebooted: the endpoint is a new one, and what was known of the old one means nothing.
    fn on_reboot(&mut self) {}
}

impl<F: FnMut(&mut Endpoint, Instant, Event)> App for F {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        self(endpoint, now, event);
    }
}

/// What a server does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It answers at once.
    Now(Response),
    /// It answers after this span. What the answer says is known already.
    After(Duration, Response),
    /// It never answers, and says so, so that the request is not repeated.
    Never,
    /// It forgets the request: the endpoint has to find its own way out.
    Forgotten,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Now(response)
    }
}

/// A server that answers each request with what the closure says.
///
/// ```
/// # use coap_sim::{serve, Sim};
/// # use coap_core::{Code, Config, Response};
/// # let mut sim = Sim::new(1);
/// # let server = sim.node("server", Config::default());
/// sim.run_app(server, serve(|_now, _request| Response::new(Code::CONTENT).into()));
/// ```
pub fn serve(answer: impl FnMut(Instant, &IncomingRequest) -> Reply) -> impl App {
    Server { answer, later: BTreeMap::new(), count: 0 }
}

struct Server<F> {
    answer: F,
    /// In the order in which they are due; those of one instant in the order in which they were asked.
    later: BTreeMap<(Instant, u64), (IncomingId, Response)>,
    count: u64,
}

impl<F: FnMut(Instant, &IncomingRequest) -> Reply> App for Server<F> {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        let Event::Request(request) = event else { return };
        match (self.answer)(now, &request) {
            Reply::Now(response) => answer(endpoint, now, request.id, response),
            Reply::After(span, response) => {
                self.count += 1;
                self.later.insert((now + span, self.count), (request.id, response));
            }
            Reply::Never => {
                endpoint.ignore(now, request.id);
            }
            Reply::Forgotten => {}
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

    fn on_reboot(&mut self) {
        self.later.clear();
    }
}

/// The request may have been closed meanwhile (`incoming_timeout`); then there is nobody to answer. A response that
/// cannot be sent at all is a mistake of the test, which should hear of it.
fn answer(endpoint: &mut Endpoint, now: Instant, id: IncomingId, response: Response) {
    match endpoint.respond(now, id, response) {
        Ok(()) | Err(RespondError::Stale) => {}
        Err(refused) => panic!("the endpoint refused the response of the server: {refused}"),
    }
}
