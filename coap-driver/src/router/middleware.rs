//! What stands around all handlers of a router: it sees each request before them, and each answer after.

use core::fmt;
use core::future::{Future, ready};
use core::time::Duration;
use std::sync::Arc;

use bytes::BytesMut;
use coap_core::{Body, Local, Peer, Request, Token, Type, Wanted};

use super::body::{self, BodyReader, Upload};
use super::extract::{FromRequest, Incoming};
use super::handler::HandlerFuture;
use super::response::{Answer, IntoResponse};
use super::tree::Capture;
use super::{RouteError, Router};

/// The most content that is put together for a handler that takes it whole and was found late, in bytes, if its route has no
/// limit of its own.
const MOST_LATE_CONTENT: usize = 64 << 10;

type Service = dyn Fn(Inbound) -> HandlerFuture + Send + Sync;

/// A router, and what stands around it.
pub(super) struct Around {
    pub(super) inner: Arc<Router>,
    service: Arc<Service>,
}

/// A request on its way to the handlers: a copy of its own, which may be changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inbound {
    /// Method, options and content. Long content that its handler reads as it comes is not in here.
    pub request: Request,
    peer: Peer,
    local: Local,
    kind: Type,
    message_id: u16,
    token: Token,
    wanted: Wanted,
    echo_age: Option<Duration>,
    upload: Option<Arc<Upload>>,
    /// Where it was routed already.
    captures: Vec<Capture>,
}

impl Inbound {
    pub(super) fn new(incoming: &Incoming<'_>) -> Self {
        let body = match &incoming.request.body {
            Body::Parts { size } => Body::Parts { size: *size },
            here => Body::from(here.as_bytes().to_vec()),
        };
        let options = incoming.options().clone().into_owned();
        Self {
            request: Request::new(incoming.method()).with_options(options).with_body(body),
            peer: incoming.peer,
            local: incoming.local,
            kind: incoming.kind,
            message_id: incoming.message_id,
            token: incoming.token.clone(),
            wanted: incoming.wanted,
            echo_age: incoming.echo_age,
            upload: incoming.upload.cloned(),
            captures: incoming.captures.to_vec(),
        }
    }

    /// Who asks.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Where the request arrived.
    pub const fn local(&self) -> Local {
        self.local
    }

    /// Confirmable or Non-confirmable.
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// Its token.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    pub(super) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            peer: self.peer,
            local: self.local,
            kind: self.kind,
            message_id: self.message_id,
            token: &self.token,
            request: &self.request,
            wanted: self.wanted,
            echo_age: self.echo_age,
            upload: self.upload.as_ref(),
            captures: &self.captures,
        }
    }

    /// Reads all of its content, for a handler that wants it so.
    async fn read_whole(&mut self, limit: usize) -> Result<(), Answer> {
        let mut reader = BodyReader::from_request(&self.incoming(), &()).map_err(Answer::from)?;
        let mut content = BytesMut::new();
        let method = self.request.code;
        while let Some(part) = reader.chunk().await.map_err(|error| error.into_response(method))? {
            if content.len() + part.len() > limit {
                return Err(body::too_long(limit).into());
            }
            content.extend_from_slice(&part);
        }
        self.request.body = content.freeze().into();
        self.upload = None;
        Ok(())
    }
}

/// The handlers, and whatever else a middleware stands around.
#[derive(Clone)]
pub struct Next {
    router: Arc<Router>,
}

/// What to do with a request.
enum Way {
    Work(HandlerFuture),
    /// Its content must be whole first, and no longer than this.
    Whole(usize),
}

impl Next {
    /// Passes the request on, and gives the answer.
    pub fn run(&self, inbound: Inbound) -> HandlerFuture {
        match self.way(&inbound) {
            Way::Work(work) => work,
            Way::Whole(limit) => {
                let (next, mut inbound) = (self.clone(), inbound);
                Box::pin(async move {
                    match inbound.read_whole(limit).await {
                        Ok(()) => next.run(inbound).await,
                        Err(answer) => answer,
                    }
                })
            }
        }
    }

    fn way(&self, inbound: &Inbound) -> Way {
        let begun = match self.router.find(inbound.incoming()) {
            Ok(call) if inbound.upload.is_some() && !call.reads_parts() => {
                return Way::Whole(call.max_body().unwrap_or(MOST_LATE_CONTENT));
            }
            Ok(call) => call.begin(inbound.upload.as_ref()).map_err(Answer::from),
            Err(answer) => Err(answer),
        };
        Way::Work(begun.unwrap_or_else(|answer| Box::pin(ready(answer))))
    }
}

impl Router {
    /// Puts `around` around all that the router has: it sees each request before it is routed, also those that end in a 4.04,
    /// and each answer. What is put around later is further out, and sees a request earlier.
    ///
    /// It passes the request on with [`Next::run`], changed or not, or answers by itself. It is called again when those who
    /// observe are told of a change, with the request of the first. Content is here as a handler would have it. So is what it
    /// does: in the future, and without blocking.
    ///
    /// Routes are added before: afterwards, and when the router is mounted in another, that is an error of the router
    /// ([`RouteError::Wrapped`]).
    ///
    /// ```
    /// use coap_core::Code;
    /// use coap_driver::router::{Answer, Inbound, Next, Router, get};
    ///
    /// async fn local_only(request: Inbound, next: Next) -> Result<Answer, Code> {
    ///     match request.peer().udp() {
    ///         Some(peer) if peer.ip().is_loopback() => Ok(next.run(request).await),
    ///         _ => Err(Code::FORBIDDEN),
    ///     }
    /// }
    /// let router = Router::new().route("/hello", get(async || "hello")).wrap(local_only);
    /// ```
    #[must_use]
    pub fn wrap<F, Fut, T>(self, around: F) -> Self
    where
        F: Fn(Inbound, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: IntoResponse,
    {
        self.wrapped(|next| {
            Arc::new(move |inbound| {
                let method = inbound.request.code;
                let answer = around(inbound, next.clone());
                Box::pin(async move { answer.await.into_response(method) })
            })
        })
    }

    fn wrapped(self, make: impl FnOnce(Next) -> Arc<Service>) -> Self {
        let (error, inner) = (self.error.clone(), Arc::new(self));
        let service = make(Next { router: inner.clone() });
        Self { error, around: Some(Around { inner, service }), ..Self::new() }
    }
}

impl<S> Router<S> {
    /// Whether something can be added.
    pub(super) const fn is_open(&self) -> Result<(), RouteError> {
        if self.around.is_some() { Err(RouteError::Wrapped) } else { Ok(()) }
    }
}

impl Around {
    pub(super) fn call(&self, incoming: &Incoming<'_>) -> HandlerFuture {
        (self.service)(Inbound::new(incoming))
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.router.fmt(f)
    }
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(feature = "tower")]
mod tower {
    use core::convert::Infallible;
    use core::future::poll_fn;
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use std::sync::{Mutex, PoisonError};

    use coap_core::Code;
    use tower_layer::Layer;
    use tower_service::Service;

    use super::{Answer, Arc, Future, Inbound, IntoResponse, Next, Router};

    /// Always ready, and never an error.
    impl Service<Inbound> for Next {
        type Response = Answer;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Inbound) -> Self::Future {
            let answer = self.run(request);
            Box::pin(async move { Ok(answer.await) })
        }
    }

    impl Router {
        /// The same as [`wrap`](Self::wrap) for a layer of tower. Its service is made once, and cloned for each request; a
        /// request that it fails with an error, as a timeout or a limit does, is answered 5.03.
        #[must_use]
        pub fn layer<L>(self, layer: L) -> Self
        where
            L: Layer<Next>,
            L::Service: Service<Inbound> + Clone + Send + 'static,
            <L::Service as Service<Inbound>>::Response: IntoResponse,
            <L::Service as Service<Inbound>>::Error: Send,
            <L::Service as Service<Inbound>>::Future: Send,
        {
            self.wrapped(|next| {
                // A service need not be `Sync`.
                let service = Mutex::new(layer.layer(next));
                Arc::new(move |inbound| {
                    let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    Box::pin(async move {
                        let method = inbound.request.code;
                        if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
                            return Answer::new(Code::SERVICE_UNAVAILABLE);
                        }
                        match service.call(inbound).await {
                            Ok(answer) => answer.into_response(method),
                            Err(_) => Answer::new(Code::SERVICE_UNAVAILABLE),
                        }
                    })
                })
            })
        }
    }
}

#[cfg(test)]
mod tests;
