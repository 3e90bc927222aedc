//! What a request is made of: the builders.

use core::fmt;
use core::future::{Future, IntoFuture, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use coap_core::{
    BlockSize, Body, Code, ContentFormat, Local, OptionNumber, Request, RequestError, RequestOptions, Token,
    TransmissionParameters,
};
use futures_io::AsyncRead;

use crate::abort::{AbortHandle, Signal};
use crate::client::Client;
use crate::deadline::Deadline;
use crate::download::{Download, Transfer};
use crate::error::Error;
use crate::events::{RequestNumber, Teller};
use crate::group::{Asked, GroupResponses};
use crate::progress::{Progress, ProgressHook};
use crate::proxy::{Proxy, Through};
use crate::race::{Ask, Finish, Race, resolve};
use crate::reply::Reply;
use crate::resume::Resume;
use crate::runtime::Runtime;
use crate::target::{IntoTarget, Target};
use crate::upload::{BodySource, BoxReader, Upload};

/// A request to be sent: `.await` sends it, and gives the whole response; [`download`](Self::download) gives a long one
/// part by part. Nothing happens before that.
///
/// Content and responses that are longer than a block travel block by block (RFC 7959), which nobody needs to know of.
///
/// ```no_run
/// # use core::time::Duration;
/// # use coap_core::ContentFormat;
/// # use coap_driver::{Client, Error, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
/// let reply = client
///     .put("coap://[2001:db8::1]/lamps/3", r#"{"on":true}"#)
///     .content_format(ContentFormat::JSON)
///     .timeout(Duration::from_secs(5))
///     .await?;
/// println!("{}", reply.code);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request is sent when it is awaited"]
pub struct RequestBuilder<R: Runtime> {
    client: Client<R>,
    target: Result<Target, Error>,
    request: Request,
    how: RequestOptions,
    timeout: Option<Duration>,
    reader: Option<BoxReader>,
    body_size: Option<u64>,
    /// For what of a group's answers is asked again.
    max_body: Option<usize>,
    on_progress: Option<ProgressHook>,
    resume: Option<Resume>,
    abort: Option<Signal>,
    through: Through,
    back_off: Option<Duration>,
    number: RequestNumber,
}

impl<R: Runtime> RequestBuilder<R> {
    pub(crate) const fn client(&self) -> &Client<R> {
        &self.client
    }

    pub(crate) fn new(client: Client<R>, method: Code, target: impl IntoTarget) -> Self {
        let target = target.into_target().map_err(Error::Uri);
        let number = client.draw_number();
        let mut request = Request::new(method);
        if let Ok(target) = &target {
            request.options = target.options();
        }
        Self {
            client,
            target,
            request,
            how: RequestOptions::new(),
            timeout: None,
            reader: None,
            body_size: None,
            max_body: None,
            on_progress: None,
            resume: None,
            abort: None,
            through: Through::default(),
            back_off: None,
            number,
        }
    }

    /// The options and the content of `request`, which may have options that the target has too.
    pub(crate) fn with_request(mut self, request: Request) -> Self {
        self.request.body = request.body;
        for (number, value) in request.options.iter() {
            self = self.option(number, value);
        }
        self
    }

    /// The content, which must be there as a whole: what goes part by part is given to [`body`](Self::body), and `Body::Parts`
    /// ends the request with [`Error::Request`].
    pub fn payload(mut self, content: impl Into<Body>) -> Self {
        self.request.body = content.into();
        self.reader = None;
        self
    }

    /// The content, read while it is sent: for what is longer than one would hold in memory. Which readers there are is
    /// the runtime's business: [`BodySource`].
    ///
    /// A reader that fails ends the request with [`Error::Body`]. Of a target with several addresses another one is tried
    /// only while so little has been read that it is still in memory.
    pub fn body<T>(self, source: T) -> Self
    where
        R: BodySource<T>,
    {
        self.read_from(R::reader(source))
    }

    /// The same for a reader of the `futures` crates, on any runtime.
    pub fn futures_body(self, reader: impl AsyncRead + Send + 'static) -> Self {
        self.read_from(Box::pin(reader))
    }

    fn read_from(mut self, reader: BoxReader) -> Self {
        self.reader = Some(reader);
        self
    }

    /// How long the content of [`body`](Self::body) is, in bytes, to be told the server (Size1: RFC 7959 §4). No more than
    /// that is read; a reader that ends before ends the request with [`Error::Body`].
    pub fn body_size(mut self, bytes: u64) -> Self {
        self.body_size = Some(bytes);
        self
    }

    /// Transfers the bodies in blocks of at most this size, instead of what `Config::block_size` says, and tells the server
    /// so at once (RFC 7959 §2.4).
    pub fn block_size(mut self, size: BlockSize) -> Self {
        self.how = self.how.block_size(size);
        self
    }

    /// Accepts a response of up to so many bytes, instead of `Config::max_body`; a longer one ends the request with
    /// [`Error::Blockwise`]. It does not count for [`download`](Self::download).
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.how = self.how.max_body(bytes);
        self.max_body = Some(bytes);
        self
    }

    /// Calls `told` when a block has been sent or received, from where the request or the download is awaited.
    pub fn on_progress(mut self, told: impl FnMut(Progress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(told));
        self
    }

    /// Goes on with a [`download`](Self::download) that was interrupted: from where it ended, if the server still has the
    /// state that it was of, or else from the start. [`Download::offset`] says which.
    ///
    /// The last block that was there is asked for again.
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = Some(resume);
        self
    }

    /// The format of the content.
    pub fn content_format(mut self, format: ContentFormat) -> Self {
        self.request.options.set_content_format(format);
        self
    }

    /// The format wanted of the response; a server that does not have it answers 4.06.
    pub fn accept(mut self, format: ContentFormat) -> Self {
        self.request.options.set_accept(format);
        self
    }

    /// Adds an option, after those of the same number.
    ///
    /// A value that the option cannot have makes the request end with [`Error::Option`].
    pub fn option(mut self, number: OptionNumber, value: impl AsRef<[u8]>) -> Self {
        let pushed = self.request.options.push(number, value.as_ref());
        if let (Err(error), Ok(_)) = (pushed, &self.target) {
            self.target = Err(Error::Option(error));
        }
        self
    }

    /// Lets the request pass so many proxies that know this (Hop-Limit: RFC 8768), 1 to 255; without it each of them begins with
    /// 16. One that may not pass it on answers 5.08, with the names of those on the way.
    ///
    /// 0 makes the request end with [`Error::Option`].
    pub fn hop_limit(mut self, hops: u8) -> Self {
        let set = self.request.options.set_hop_limit(hops);
        if let (Err(error), Ok(_)) = (set, &self.target) {
            self.target = Err(Error::Option(error));
        }
        self
    }

    /// Uses this token, which may be empty, instead of a random one. It must not be in use towards the same peer.
    pub fn token(mut self, token: Token) -> Self {
        self.how = self.how.token(token);
        self
    }

    /// Sends it Non-confirmable: once, not repeated. What a request to a group must be.
    pub fn non_confirmable(mut self) -> Self {
        self.how = self.how.non_confirmable();
        self
    }

    /// Ends the request after this span, all included: the name, its turn, every address, the response to its last block.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Uses these transmission parameters instead of those of the peer or endpoint.
    pub fn transmission(mut self, parameters: TransmissionParameters) -> Self {
        self.how = self.how.transmission(parameters);
        self
    }

    /// Sends it from this socket, address or interface.
    pub fn from(mut self, local: Local) -> Self {
        self.how = self.how.from(local);
        self
    }

    /// Sends it on the network interface of this index, where its destination leaves that open: a group, or a link-local
    /// address without a zone. On systems other than Linux and Android the zone of a URI says so, or the socket's options.
    pub fn interface(mut self, index: u32) -> Self {
        self.how = self.how.interface(index);
        self
    }

    /// Lets a request to a group take so many hops, in place of what the socket's options say: 1 stays on the link. A single
    /// peer is asked as ever.
    ///
    /// On systems other than Linux and Android, over a transport of your own, and for 0 hops over IPv4, it is not sent, and ends
    /// with [`Error::Unreachable`].
    pub fn hops(mut self, hops: u8) -> Self {
        self.how = self.how.hops(hops);
        self
    }

    /// Does not hold a Non-confirmable request back for PROBING_RATE (RFC 7252 §4.7): for an application that knows
    /// that its rate is acceptable.
    pub fn unpaced(mut self) -> Self {
        self.how = self.how.unpaced();
        self
    }

    /// Waits up to `span`, within its timeout, if the server has asked not to be sent such a request for a while (4.29 or 5.03,
    /// for its Max-Age, which is 60 s where it says none: RFC 8516 §4; one that shuts down does so too), instead of what [`Client::set_wait_for_back_off`] says. When that would not be enough the
    /// request ends with [`Error::BackOff`] at once.
    ///
    /// ```no_run
    /// # use core::time::Duration;
    /// # use coap_driver::{Client, Error, Runtime};
    /// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
    /// let reading = client.post("coap://[2001:db8::1]/readings", "21.5").wait_for_back_off(Duration::from_secs(120));
    /// match reading.await {
    ///     Err(Error::BackOff { wait, .. }) => println!("the server is busy for {wait:?}"),
    ///     other => println!("{}", other?.code),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for_back_off(mut self, span: Duration) -> Self {
        self.back_off = Some(span);
        self
    }

    /// Sends it even if the server has asked not to be sent such a request yet.
    pub fn ignore_back_off(mut self) -> Self {
        self.how = self.how.ignore_back_off();
        self
    }

    /// Sends it to this proxy, with the URI of the target in Proxy-Uri (RFC 7252 §5.10.2), whatever the client's proxy is. Of
    /// the URI of the proxy the path is left out.
    ///
    /// Without this, a Proxy-Uri that was added as an [`option`](Self::option), such as an `http` one, goes to the target as it is.
    pub fn proxy_uri(mut self, proxy: impl IntoTarget) -> Self {
        self.through = Through::own(proxy);
        self
    }

    /// The same, with the form in which the proxy is told.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.through = Through::Own(proxy);
        self
    }

    /// Sends it to its target, whatever the client's proxy is.
    pub fn no_proxy(mut self) -> Self {
        self.through = Through::None;
        self
    }

    /// What [`ClientEvent`](crate::ClientEvent)s name it by.
    pub const fn number(&self) -> RequestNumber {
        self.number
    }

    /// What aborts the request, and its download, from elsewhere. Who awaits it can as well drop the future.
    ///
    /// ```no_run
    /// # use coap_driver::{Client, Error, Runtime};
    /// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
    /// let mut request = client.get("coap://[2001:db8::1]/slow");
    /// let abort = request.abort_handle();
    /// std::thread::spawn(move || abort.abort());
    /// assert!(matches!(request.await, Err(Error::Aborted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort_handle(&mut self) -> AbortHandle {
        self.abort.get_or_insert_default().handle()
    }

    /// Leaves the Uri-Host out that is sent when the URI has a name (RFC 7252 §5.10.1): for a server that has no
    /// virtual hosts and no room to spare.
    pub fn no_uri_host(mut self) -> Self {
        self.request.options.remove(OptionNumber::URI_HOST);
        self
    }

    /// Sends it, and gives the response as soon as its first block is there, to be read as it comes.
    ///
    /// # Errors
    /// Those of a request.
    pub async fn download(mut self) -> Result<Download<R>, Error> {
        let client = self.client.clone();
        let resume = self.resume.take();
        self.how = self.how.in_parts();
        if let Some(resume) = &resume {
            // One byte earlier: of a body that is complete there is no further block to ask for.
            self.how = self.how.resume(resume.offset().saturating_sub(1), resume.etag().clone());
        }
        let (epoch, abort) = (client.epoch(), self.abort.clone());
        let (finish, on_progress, teller) = self.finish().await?;
        match finish {
            Finish::Reply(reply) => Ok(Download::whole(reply)),
            Finish::Began(id, head) => {
                let transfer = Transfer::new(client, id, epoch, abort, teller);
                Ok(Download::in_parts(transfer, head, resume.as_ref(), on_progress))
            }
            Finish::Pong(_) | Finish::Observing(_) | Finish::Collecting(_) => Err(Error::Closed),
        }
    }

    /// Sends it to a group, Non-confirmable, and gives the answers of its members as they come: see [`GroupResponses`]. They are
    /// collected for its [`timeout`](Self::timeout), or without one for MAX_SERVER_RESPONSE_DELAY (250 s: RFC 7390 §2.5).
    ///
    /// The interface is that of the zone in the URI, or of [`interface`](Self::interface), or of the socket's options; the hop
    /// limit that of [`hops`](Self::hops), or of the socket's options.
    ///
    /// # Errors
    /// [`Error::NotGroup`]: it is for one peer, perhaps a proxy. Those of a request that is not sent.
    pub async fn multicast(self) -> Result<GroupResponses<R>, Error> {
        let Self { client, target, mut request, how, timeout, reader, max_body, abort, through, number, .. } = self;
        let deadline = Deadline::new(&client, timeout);
        let mut teller = Teller::new(client.clone(), number);
        let sent = async {
            if let Some(reader) = reader {
                // Refused by the endpoint: one datagram is all that goes to a group.
                drop(reader);
                request.body = Body::Parts { size: None };
            }
            let target = through.route(client.proxy(), target?, &mut request.options)?;
            let peers = resolve(&client, &target, deadline).await?.peers;
            let group = peers.iter().find(|peer| peer.is_multicast()).or_else(|| peers.first()).copied();
            let group = group.ok_or(Error::Closed)?;
            if !group.is_multicast() {
                return Err(Error::NotGroup { peer: group });
            }
            let ask = Ask::Group(request.clone());
            let mut race = Race::new(client.clone(), ask, how.non_confirmable(), deadline).with_number(number);
            match race.run(group).await? {
                Finish::Collecting(id) => Ok((group, id)),
                _ => Err(Error::Closed),
            }
        };
        match aborted_or(abort.as_ref(), sent).await {
            Ok((group, id)) => {
                let epoch = deadline.epoch();
                let asked = Asked { client, group, id, epoch, abort, teller, request, timeout, max_body };
                Ok(GroupResponses::new(asked))
            }
            Err(error) => {
                let error = client.name_end(deadline.epoch(), error);
                teller.failed(&error);
                Err(error)
            }
        }
    }

    async fn send(self) -> Result<Reply, Error> {
        match self.finish().await?.0 {
            Finish::Reply(reply) => Ok(reply),
            // Only other requests end otherwise.
            _ => Err(Error::Closed),
        }
    }

    async fn finish(mut self) -> Result<(Finish, Option<ProgressHook>, Teller<R>), Error> {
        let (client, abort) = (self.client.clone(), self.abort.take());
        let deadline = Deadline::new(&client, self.timeout).with_back_off(self.back_off);
        let mut teller = Teller::new(client.clone(), self.number);
        match aborted_or(abort.as_ref(), self.run(deadline)).await {
            Ok((finish, on_progress)) => {
                if let Finish::Reply(reply) = &finish {
                    teller.finished(reply);
                }
                Ok((finish, on_progress, teller))
            }
            Err(error) => {
                let error = client.name_end(deadline.epoch(), error);
                teller.failed(&error);
                Err(error)
            }
        }
    }

    async fn run(self, deadline: Deadline) -> Result<(Finish, Option<ProgressHook>), Error> {
        let Self { client, target, mut request, how, reader, body_size, on_progress, through, number, .. } = self;
        let upload = reader.map(|reader| Upload::new(reader, body_size));
        if let Some(upload) = &upload {
            request.body = Body::Parts { size: upload.size() };
        }
        let target = target?;
        // Nobody would ever supply them.
        if upload.is_none() && request.body.is_in_parts() {
            return Err(Error::Request(RequestError::WrongBody));
        }
        let target = through.route(client.proxy(), target, &mut request.options)?;
        let peers = resolve(&client, &target, deadline).await?;
        let race = Race::new(client, Ask::Request(request), how, deadline).with_number(number);
        let mut race = race.with_upload(upload).with_progress(on_progress);
        let finish = race.run(peers).await?;
        Ok((finish, race.take_progress()))
    }
}

/// The outcome of `work`, unless it is aborted before.
async fn aborted_or<T>(abort: Option<&Signal>, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if abort.is_some_and(|abort| abort.poll(cx)) {
            return Poll::Ready(Err(Error::Aborted));
        }
        work.as_mut().poll(cx)
    })
    .await
}

impl<R: Runtime> IntoFuture for RequestBuilder<R> {
    type Output = Result<Reply, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R: Runtime> fmt::Debug for RequestBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("target", &self.target)
            .field("request", &self.request)
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}

/// A ping to be sent (RFC 7252 §4.3): `.await` sends it, and gives the round-trip time.
#[must_use = "a ping is sent when it is awaited"]
pub struct PingBuilder<R: Runtime> {
    client: Client<R>,
    target: Result<Target, Error>,
    how: RequestOptions,
    timeout: Option<Duration>,
}

impl<R: Runtime> PingBuilder<R> {
    pub(crate) fn new(client: Client<R>, target: impl IntoTarget) -> Self {
        let target = target.into_target().map_err(Error::Uri);
        Self { client, target, how: RequestOptions::new(), timeout: None }
    }

    /// Ends the ping after this span, the look-up of the name included.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Uses these transmission parameters instead of those of the peer or endpoint.
    pub fn transmission(mut self, parameters: TransmissionParameters) -> Self {
        self.how = self.how.transmission(parameters);
        self
    }

    async fn send(self) -> Result<Duration, Error> {
        let Self { client, target, how, timeout } = self;
        let deadline = Deadline::new(&client, timeout);
        let ask = async {
            let peers = resolve(&client, &target?, deadline).await?;
            match Race::new(client.clone(), Ask::Ping, how, deadline).run(peers).await? {
                Finish::Pong(timing) => Ok(timing.round_trip.unwrap_or(timing.elapsed)),
                _ => Err(Error::Closed),
            }
        };
        ask.await.map_err(|error| client.name_end(deadline.epoch(), error))
    }
}

impl<R: Runtime> IntoFuture for PingBuilder<R> {
    type Output = Result<Duration, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R: Runtime> fmt::Debug for PingBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PingBuilder").field("target", &self.target).finish_non_exhaustive()
    }
}
