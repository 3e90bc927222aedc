//! Async functions as handlers, and how a router holds them.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use std::sync::Arc;

use coap_core::{Code, ContentFormat, OptionNumber, Response};

use super::asked::Asked;
use super::extract::{FromRequest, Incoming};
use super::response::{Answer, IntoResponse};

/// A handler at work.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// An async function whose arguments implement [`FromRequest`] and whose result implements [`IntoResponse`]; up to
/// eight arguments. `T` is the tuple of their types, which keeps the implementations apart.
///
/// What it does belongs into the future that it returns, as all of an async function is: where a request is conditional,
/// the future may be dropped without having run.
///
/// Until it waits for the first time it runs beside the sockets, so it must not block: work that takes the processor or
/// a disk belongs on the runtime's pool for that.
///
/// ```
/// # use coap_core::Code;
/// # use coap_driver::router::{Path, Payload, Router, get};
/// async fn read(Path(id): Path<u32>) -> String {
///     format!("sensor {id}")
/// }
/// async fn write(Path(id): Path<u32>, Payload(bytes): Payload) -> Result<(), Code> {
///     if bytes.is_empty() { Err(Code::BAD_REQUEST) } else { Ok(()) }
/// }
/// let router: Router = Router::new().route("/sensors/{id}", get(read).put(write));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is an async function: its arguments implement `FromRequest`, its result `IntoResponse`, and its \
            future is `Send`"
)]
pub trait Handler<T, S>: Send + Sync + 'static {
    /// Whether an argument stands for the critical option `number`: see [`FromRequest::UNDERSTANDS`].
    fn understands(&self, number: OptionNumber) -> bool;

    /// Whether an argument reads content part by part: see [`FromRequest::READS_PARTS`].
    fn reads_parts(&self) -> bool {
        false
    }

    /// Whether an argument says who the peer has shown to be: see [`FromRequest::SAYS_WHO`].
    fn says_who(&self) -> bool {
        false
    }

    /// Makes the arguments, and calls.
    ///
    /// # Errors
    /// The response of the argument that could not be made.
    fn call(&self, incoming: &Incoming<'_>, state: &S) -> Result<HandlerFuture, Response>;
}

macro_rules! impl_handler {
    ($($argument:ident)*) => {
        impl<F, Fut, R, S, $($argument,)*> Handler<($($argument,)*), S> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResponse,
            $($argument: FromRequest<S>,)*
        {
            fn understands(&self, number: OptionNumber) -> bool {
                let _ = number;
                false $(|| $argument::UNDERSTANDS.contains(&number))*
            }

            fn reads_parts(&self) -> bool {
                false $(|| $argument::READS_PARTS)*
            }

            fn says_who(&self) -> bool {
                false $(|| $argument::SAYS_WHO)*
            }

            fn call(&self, incoming: &Incoming<'_>, state: &S) -> Result<HandlerFuture, Response> {
                let _ = state;
                let future = self($($argument::from_request(incoming, state)?),*);
                let (method, asked) = (incoming.method(), Asked::of(incoming));
                Ok(Box::pin(async move { asked.fit(future.await.into_response(method)) }))
            }
        }
    };
}

impl_handler!();
impl_handler!(A);
impl_handler!(A B);
impl_handler!(A B C);
impl_handler!(A B C D);
impl_handler!(A B C D E);
impl_handler!(A B C D E G);
impl_handler!(A B C D E G H);
impl_handler!(A B C D E G H I);

/// 4.06, with the formats that there are.
pub(super) fn not_acceptable(produces: &[ContentFormat]) -> Response {
    let response = Response::new(Code::NOT_ACCEPTABLE);
    if produces.is_empty() {
        return response;
    }
    let names: Vec<String> = produces.iter().map(ToString::to_string).collect();
    response.with_body(format!("available: {}", names.join(", ")))
}

/// A handler whose argument types are forgotten.
pub(super) trait ErasedHandler<S>: Send + Sync {
    fn understands(&self, number: OptionNumber) -> bool;
    fn reads_parts(&self) -> bool;
    fn says_who(&self) -> bool;
    fn call(&self, incoming: &Incoming<'_>, state: &S) -> Result<HandlerFuture, Response>;
}

pub(super) type SharedHandler<S> = Arc<dyn ErasedHandler<S>>;

struct Erased<H, T> {
    handler: H,
    arguments: PhantomData<fn() -> T>,
}

impl<H: Handler<T, S>, T, S> ErasedHandler<S> for Erased<H, T> {
    fn understands(&self, number: OptionNumber) -> bool {
        self.handler.understands(number)
    }

    fn reads_parts(&self) -> bool {
        self.handler.reads_parts()
    }

    fn says_who(&self) -> bool {
        self.handler.says_who()
    }

    fn call(&self, incoming: &Incoming<'_>, state: &S) -> Result<HandlerFuture, Response> {
        self.handler.call(incoming, state)
    }
}

pub(super) fn erase<H: Handler<T, S>, T: 'static, S: 'static>(handler: H) -> SharedHandler<S> {
    Arc::new(Erased { handler, arguments: PhantomData })
}

/// A handler together with the state that it wants.
struct Stateful<S> {
    handler: SharedHandler<S>,
    state: S,
}

impl<S: Send + Sync, Outer> ErasedHandler<Outer> for Stateful<S> {
    fn understands(&self, number: OptionNumber) -> bool {
        self.handler.understands(number)
    }

    fn reads_parts(&self) -> bool {
        self.handler.reads_parts()
    }

    fn says_who(&self) -> bool {
        self.handler.says_who()
    }

    fn call(&self, incoming: &Incoming<'_>, _state: &Outer) -> Result<HandlerFuture, Response> {
        self.handler.call(incoming, &self.state)
    }
}

pub(super) fn with_state<S, Outer>(handler: SharedHandler<S>, state: S) -> SharedHandler<Outer>
where
    S: Send + Sync + 'static,
{
    Arc::new(Stateful { handler, state })
}

impl<S> fmt::Debug for dyn ErasedHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("handler")
    }
}
