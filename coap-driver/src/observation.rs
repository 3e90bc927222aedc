//! Observing a resource (RFC 7641 §3): its state as a stream.

use core::fmt;
use core::future::{Future, IntoFuture, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;

use coap_core::{
    BlockSize, Body, Code, ContentFormat, OptionNumber, Request, RequestOptions, Reregistration, TransmissionParameters,
};
use futures_core::Stream;

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::events::{RequestNumber, Teller};
use crate::observing::{Asked, Manner, ObserverId, Place, Tidings};
use crate::proxy::{Proxy, Through};
use crate::race::{Ask, Finish, Race, resolve};
use crate::reply::Reply;
use crate::runtime::Runtime;
use crate::target::{IntoTarget, Target};
use crate::waiting::Outcome;

/// An observation to be started: `.await` registers, and gives the [`Observation`] when the server has answered.
///
/// Observers of the same resource share one registration: when one is there already for the same request to the same peer,
/// nothing is sent, and the last state known is told at once. The settings of the first are in force then.
#[must_use = "an observation is started when it is awaited"]
pub struct ObserveBuilder<R: Runtime> {
    client: Client<R>,
    target: Result<Target, Error>,
    request: Request,
    how: RequestOptions,
    timeout: Option<Duration>,
    through: Through,
    back_off: Option<Duration>,
    number: RequestNumber,
}

impl<R: Runtime> ObserveBuilder<R> {
    pub(crate) fn new(client: Client<R>, target: impl IntoTarget) -> Self {
        let target = target.into_target().map_err(Error::Uri);
        let mut request = Request::get();
        if let Ok(target) = &target {
            request.options = target.options();
        }
        let (through, number) = (Through::default(), client.draw_number());
        let (how, timeout, back_off) = (RequestOptions::new(), None, None);
        Self { client, target, request, how, timeout, through, back_off, number }
    }

    /// Observes what this content asks for, with FETCH instead of GET (RFC 8132 §2.4).
    pub fn fetch(mut self, content: impl Into<Body>) -> Self {
        self.request.code = Code::FETCH;
        self.request.body = content.into();
        self
    }

    /// The format of the content of [`fetch`](Self::fetch).
    pub fn content_format(mut self, format: ContentFormat) -> Self {
        self.request.options.set_content_format(format);
        self
    }

    /// The format wanted of the states; a server that does not have it answers 4.06.
    pub fn accept(mut self, format: ContentFormat) -> Self {
        self.request.options.set_accept(format);
        self
    }

    /// Adds an option, after those of the same number.
    ///
    /// A value that the option cannot have makes the observation end with [`Error::Option`].
    pub fn option(mut self, number: OptionNumber, value: impl AsRef<[u8]>) -> Self {
        let pushed = self.request.options.push(number, value.as_ref());
        if let (Err(error), Ok(_)) = (pushed, &self.target) {
            self.target = Err(Error::Option(error));
        }
        self
    }

    /// Lets the registration pass so many proxies, 1 to 255: see [`RequestBuilder::hop_limit`](crate::RequestBuilder::hop_limit).
    pub fn hop_limit(mut self, hops: u8) -> Self {
        let set = self.request.options.set_hop_limit(hops);
        if let (Err(error), Ok(_)) = (set, &self.target) {
            self.target = Err(Error::Option(error));
        }
        self
    }

    /// How the observation is kept alive when nothing is heard for longer than Max-Age.
    pub fn reregistration(mut self, how: Reregistration) -> Self {
        self.how = self.how.reregistration(how);
        self
    }

    /// Ends the registration after this span, all included: the name, its turn, every address, the answer.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Sends the registration Non-confirmable: once, not repeated. What it is answered with is the server's to choose.
    pub fn non_confirmable(mut self) -> Self {
        self.how = self.how.non_confirmable();
        self
    }

    /// Fetches long states in blocks of at most this size (RFC 7959).
    pub fn block_size(mut self, size: BlockSize) -> Self {
        self.how = self.how.block_size(size);
        self
    }

    /// Accepts states of up to so many bytes, instead of `Config::max_body`; longer ones are not told.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.how = self.how.max_body(bytes);
        self
    }

    /// Uses these transmission parameters instead of those of the peer or endpoint.
    pub fn transmission(mut self, parameters: TransmissionParameters) -> Self {
        self.how = self.how.transmission(parameters);
        self
    }

    /// Leaves the Uri-Host out that is sent when the URI has a name (RFC 7252 §5.10.1).
    pub fn no_uri_host(mut self) -> Self {
        self.request.options.remove(OptionNumber::URI_HOST);
        self
    }

    /// Waits up to `span` for a server that wants such requests later: see
    /// [`RequestBuilder::wait_for_back_off`](crate::RequestBuilder::wait_for_back_off).
    pub fn wait_for_back_off(mut self, span: Duration) -> Self {
        self.back_off = Some(span);
        self
    }

    /// Registers even if the server has asked not to be sent such a request yet.
    pub fn ignore_back_off(mut self) -> Self {
        self.how = self.how.ignore_back_off();
        self
    }

    /// Observes through this proxy, with the URI of the target in Proxy-Uri, whatever the client's proxy is.
    pub fn proxy_uri(mut self, proxy: impl IntoTarget) -> Self {
        self.through = Through::own(proxy);
        self
    }

    /// The same, with the form in which the proxy is told.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.through = Through::Own(proxy);
        self
    }

    /// Observes at the target, whatever the client's proxy is.
    pub fn no_proxy(mut self) -> Self {
        self.through = Through::None;
        self
    }

    /// What [`ClientEvent`](crate::ClientEvent)s name it by.
    pub const fn number(&self) -> RequestNumber {
        self.number
    }

    async fn start(self) -> Result<Observation<R>, Error> {
        let Self { client, target, mut request, how, timeout, through, back_off, number } = self;
        let mut teller = Teller::new(client.clone(), number);
        let deadline = Deadline::new(&client, timeout).with_back_off(back_off);
        let ask = async {
            let target = target?;
            let place = Place::new(&target, &request.options);
            let target = through.route(client.proxy(), target, &mut request.options)?;
            let peers = resolve(&client, &target, deadline).await?;
            Race::new(client.clone(), Ask::Observe(Asked { request, place }), how, deadline).run(peers).await
        };
        let epoch = deadline.epoch();
        let finish = ask.await.map_err(|error| {
            let error = client.name_end(epoch, error);
            teller.failed(&error);
            error
        })?;
        let Finish::Observing(id) = finish else { return Err(Error::Closed) };
        let accepted = client.shared().lock().observing.is_accepted(id);
        Ok(Observation { client, id, epoch, accepted, over: false, teller })
    }
}

impl<R: Runtime> IntoFuture for ObserveBuilder<R> {
    type Output = Result<Observation<R>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl<R: Runtime> fmt::Debug for ObserveBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveBuilder")
            .field("target", &self.target)
            .field("request", &self.request)
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}

/// What happens to an observation.
#[derive(Debug)]
#[non_exhaustive]
pub enum Observed {
    /// A state of the resource, newer than the one before. Whoever does not look for a while gets only the latest. Of the
    /// timing only the first has anything to say.
    ///
    /// Where the server says that a state which was told before is current again (2.03), that state is told again.
    Notification(Reply),
    /// The last state is older than its Max-Age, and 5 s of grace.
    Stale,
    /// Nothing came for longer than Max-Age: the observation is registered again.
    Reregistering {
        /// Which attempt in a row, from 1.
        attempt: u8,
    },
    /// The observation is over: the server does not answer, or the client was closed.
    Lost(Error),
    /// The observation is over: the server does not offer observation, or not any more, or the response has an error code.
    Ended(Reply),
}

/// The states of a resource, as they come (RFC 7641); made by [`Client::observe`].
///
/// * It is a [`Stream`] of what is [`Observed`], and [`next`](Self::next) needs none. It ends after `Lost` or `Ended`, and
///   when somebody cancels it ([`Client::cancel_observation`]).
/// * The latest state is what counts: what a slow reader has not taken is replaced, and nobody waits for anybody.
/// * Dropping it tells the server that nobody observes any more, unless others do, and does not wait for its answer.
///
/// ```no_run
/// # use coap_driver::{Client, Error, Observed, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
/// let mut temperature = client.observe("coap://[2001:db8::1]/sensors/temp").await?;
/// while let Some(observed) = temperature.next().await {
///     match observed {
///         Observed::Notification(state) => println!("{:?}", state.text()),
///         Observed::Stale => println!("(no news for a while)"),
///         Observed::Lost(error) => println!("lost: {error}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping an observation ends it"]
pub struct Observation<R: Runtime> {
    client: Client<R>,
    id: ObserverId,
    epoch: u64,
    accepted: bool,
    /// The end has been told, or the observer has gone.
    over: bool,
    teller: Teller<R>,
}

impl<R: Runtime> Observation<R> {
    /// False: the server answered, but not as one that notifies of changes. The answer is the one thing to be read:
    /// `Observed::Ended`.
    pub const fn was_accepted(&self) -> bool {
        self.accepted
    }

    /// What happens next. `None`: it is over.
    pub async fn next(&mut self) -> Option<Observed> {
        poll_fn(|cx| self.poll_observed(cx)).await
    }

    /// Ends it, and waits until the server knows: a request with Observe 1 (RFC 7641 §3.6), unless others observe the same
    /// resource here. A server that does not answer is waited for as with any request; dropping the future ends the waiting
    /// and nothing else.
    pub async fn cancel(mut self) {
        self.leave(Manner::Actively);
        poll_fn(|cx| self.client.shared().lock().observing.poll_left(self.id, cx)).await;
    }

    /// Ends it without a word: the server learns of it by the Reset that meets its next notification.
    pub fn forget(mut self) {
        self.leave(Manner::Silently);
    }

    fn leave(&mut self, manner: Manner) {
        self.over = true;
        let mut wake = Vec::new();
        self.client.shared().command(|state, now| state.leave_observation(now, self.id, manner, &mut wake));
        wake.into_iter().for_each(Waker::wake);
    }

    fn poll_observed(&mut self, cx: &Context<'_>) -> Poll<Option<Observed>> {
        if self.over {
            return Poll::Ready(None);
        }
        let tidings = ready!(self.client.shared().lock().observing.poll(self.id, cx));
        let observed = match tidings {
            Some(Tidings::State(reply)) => Observed::Notification(reply),
            Some(Tidings::Stale) => Observed::Stale,
            Some(Tidings::Reregistering(attempt)) => Observed::Reregistering { attempt },
            Some(Tidings::End(Outcome::Reply(reply))) => Observed::Ended(reply),
            Some(Tidings::End(failed)) => Observed::Lost(failed.into_error()),
            None if self.client.is_closed() => Observed::Lost(Error::Closed),
            None if self.client.epoch() != self.epoch => Observed::Lost(Error::Disconnected),
            // Cancelled by somebody else, who knows.
            None => {
                self.over = true;
                return Poll::Ready(None);
            }
        };
        match &observed {
            Observed::Ended(reply) => self.teller.finished(reply),
            Observed::Lost(error) => self.teller.failed(error),
            _ => {}
        }
        self.over |= matches!(observed, Observed::Ended(_) | Observed::Lost(_));
        Poll::Ready(Some(observed))
    }
}

impl<R: Runtime> Drop for Observation<R> {
    fn drop(&mut self) {
        self.leave(Manner::Actively);
    }
}

impl<R: Runtime> Unpin for Observation<R> {}

impl<R: Runtime> Stream for Observation<R> {
    type Item = Observed;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Observed>> {
        self.poll_observed(cx)
    }
}

impl<R: Runtime> fmt::Debug for Observation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation")
            .field("accepted", &self.accepted)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
