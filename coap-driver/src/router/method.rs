//! What a route does for each method.

use core::fmt;

use coap_core::{Code, ContentFormat, Response};

use super::extract::Incoming;
use super::handler::{Handler, SharedHandler, erase, not_acceptable, with_state};
use crate::resource::Resource;

/// The methods of RFC 7252 and RFC 8132, in the order of their codes.
const METHODS: [Code; 7] = [Code::GET, Code::POST, Code::PUT, Code::DELETE, Code::FETCH, Code::PATCH, Code::IPATCH];

/// The handlers of one route, one for each method; made by [`get`], [`put`] and their like.
///
/// A method without a handler is answered 4.05.
pub struct MethodRouter<S = ()> {
    entries: [Option<Entry<S>>; METHODS.len()],
    repeated: Option<Code>,
}

struct Entry<S> {
    handler: SharedHandler<S>,
    produces: Vec<ContentFormat>,
    consumes: Vec<ContentFormat>,
    max_body: Option<usize>,
    observed: Option<Resource>,
}

macro_rules! methods {
    ($($name:ident $code:ident $article:literal)+) => {
        $(
            #[doc = concat!("A route that answers ", $article, " ", stringify!($code), " requests with `handler`.")]
            pub fn $name<H, T, S>(handler: H) -> MethodRouter<S>
            where
                H: Handler<T, S>,
                T: 'static,
                S: 'static,
            {
                MethodRouter::new().$name(handler)
            }
        )+

        impl<S: 'static> MethodRouter<S> {
            $(
                #[doc = concat!("Answers ", stringify!($code), " requests with `handler`.")]
                #[must_use]
                pub fn $name<H: Handler<T, S>, T: 'static>(self, handler: H) -> Self {
                    self.on(Code::$code, erase(handler))
                }
            )+
        }
    };
}

methods! {
    get GET "all"
    post POST "all"
    put PUT "all"
    delete DELETE "all"
    fetch FETCH "all"
    patch PATCH "all"
    ipatch IPATCH "all"
}

impl<S> Default for MethodRouter<S> {
    fn default() -> Self {
        Self { entries: [const { None }; METHODS.len()], repeated: None }
    }
}

impl<S> MethodRouter<S> {
    /// A route that answers nothing but 4.05.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the formats that the handlers *so far* can produce: a request whose Accept asks for another one is
    /// answered 4.06 without calling them (RFC 7252 §5.10.4).
    #[must_use]
    pub fn produces(mut self, formats: impl IntoIterator<Item = ContentFormat>) -> Self {
        let formats: Vec<_> = formats.into_iter().collect();
        for entry in self.entries.iter_mut().flatten().filter(|entry| entry.produces.is_empty()) {
            entry.produces.clone_from(&formats);
        }
        self
    }

    /// Declares the formats that the handlers *so far* can read: a request whose Content-Format is another one is
    /// answered 4.15 without calling them (RFC 7252 §5.9.2.10). A request that names no format is let through, but for a
    /// FETCH, whose content means nothing without one (RFC 8132 §2.3.1): that is 4.15 too.
    #[must_use]
    pub fn consumes(mut self, formats: impl IntoIterator<Item = ContentFormat>) -> Self {
        let formats: Vec<_> = formats.into_iter().collect();
        for entry in self.entries.iter_mut().flatten().filter(|entry| entry.consumes.is_empty()) {
            entry.consumes.clone_from(&formats);
        }
        self
    }

    /// Accepts content of up to so many bytes for the handlers *so far*, instead of what `Config::max_body` says (64 KiB
    /// by default); longer content is answered 4.13 without calling them, at its first block if the peer says how long it
    /// is. A handler with a [`BodyReader`](super::BodyReader) has no limit but this one.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        for entry in self.entries.iter_mut().flatten().filter(|entry| entry.max_body.is_none()) {
            entry.max_body = Some(bytes);
        }
        self
    }

    /// Lets peers observe (RFC 7641) what the GET and FETCH handlers *so far* answer: they are called again, once for all
    /// observers of the same request, after each [`Resource::changed`].
    ///
    /// What such a handler takes of the request beside its options and content (peer, token, Message ID) is of the peer
    /// that asked first. An answer with an error code, a 5.00 for a panic included, goes to all observers and ends their
    /// observation; the answer must be here, not a [`Streamed`](super::Streamed), or it is not observed. Nor is a FETCH whose
    /// content is longer than 1,024 bytes, or comes in blocks to a [`BodyReader`](super::BodyReader).
    #[must_use]
    pub fn observable(mut self, resource: &Resource) -> Self {
        for method in [Code::GET, Code::FETCH] {
            let entry = slot(method).and_then(|slot| self.entries.get_mut(slot)?.as_mut());
            if let Some(entry) = entry.filter(|entry| entry.observed.is_none()) {
                entry.observed = Some(resource.clone());
            }
        }
        self
    }

    /// The method that was given two handlers, if one was: the first one stayed.
    pub(super) const fn repeated(&self) -> Option<Code> {
        self.repeated
    }

    fn on(mut self, method: Code, handler: SharedHandler<S>) -> Self {
        if let Some(entry) = slot(method).and_then(|slot| self.entries.get_mut(slot)) {
            if entry.is_some() {
                self.repeated = self.repeated.or(Some(method));
            } else {
                *entry =
                    Some(Entry { handler, produces: Vec::new(), consumes: Vec::new(), max_body: None, observed: None });
            }
        }
        self
    }

    /// The handler for the request's method, or why there is none.
    pub(super) fn find(&self, incoming: &Incoming<'_>) -> Result<Found<'_, S>, Response> {
        let entry = slot(incoming.method()).and_then(|slot| self.entries.get(slot)?.as_ref());
        let Some(entry) = entry else { return Err(Response::new(Code::METHOD_NOT_ALLOWED)) };
        check_options(incoming, &entry.handler)?;
        if excludes(&entry.produces, incoming.options().accept()) {
            return Err(not_acceptable(&entry.produces));
        }
        let format = incoming.options().content_format();
        let must_be_named = incoming.method() == Code::FETCH && !entry.consumes.is_empty();
        if excludes(&entry.consumes, format) || (must_be_named && format.is_none()) {
            return Err(Response::new(Code::UNSUPPORTED_CONTENT_FORMAT));
        }
        Ok(Found { handler: &entry.handler, max_body: entry.max_body, observed: entry.observed.as_ref() })
    }

    /// The same with the state put in.
    pub(super) fn with_state<Outer>(self, state: &S) -> MethodRouter<Outer>
    where
        S: Clone + Send + Sync + 'static,
    {
        let entries = self.entries.map(|entry| {
            entry.map(|Entry { handler, produces, consumes, max_body, observed }| Entry {
                handler: with_state(handler, state.clone()),
                produces,
                consumes,
                max_body,
                observed,
            })
        });
        MethodRouter { entries, repeated: self.repeated }
    }
}

/// The handler for a request, and what its route says about it.
pub(super) struct Found<'a, S> {
    pub(super) handler: &'a SharedHandler<S>,
    pub(super) max_body: Option<usize>,
    pub(super) observed: Option<&'a Resource>,
}

/// 4.02 for a critical option that the handler would pass over (RFC 7252 §5.4.1).
pub(super) fn check_options<S>(incoming: &Incoming<'_>, handler: &SharedHandler<S>) -> Result<(), Response> {
    for (number, _) in incoming.options() {
        if number.is_critical() && !super::is_routing_option(number) && !handler.understands(number) {
            let text = format!("critical option not understood here: {number}");
            return Err(Response::diagnostic(Code::BAD_OPTION, text));
        }
    }
    Ok(())
}

/// Formats were declared, one was named, and it is none of them.
fn excludes(declared: &[ContentFormat], named: Option<ContentFormat>) -> bool {
    !declared.is_empty() && named.is_some_and(|named| !declared.contains(&named))
}

fn slot(method: Code) -> Option<usize> {
    METHODS.iter().position(|known| *known == method)
}

pub(super) fn is_known(method: Code) -> bool {
    slot(method).is_some()
}

impl<S> fmt::Debug for MethodRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = METHODS.iter().zip(&self.entries).filter(|(_, entry)| entry.is_some());
        f.debug_set().entries(methods.map(|(method, _)| method)).finish()
    }
}
