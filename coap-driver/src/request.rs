//! What a request is made of: the builders.

use core::fmt;
use core::future::{Future, IntoFuture};
use core::pin::Pin;
use core::time::Duration;

use coap_core::{
    Body, Code, ContentFormat, Local, OptionNumber, Request, RequestOptions, Token, TransmissionParameters,
};

use crate::client::Client;
use crate::error::Error;
use crate::race::{Deadline, Race, resolve};
use crate::reply::Reply;
use crate::runtime::Runtime;
use crate::target::{IntoTarget, Target};
use crate::waiting::Outcome;

/// A request to be sent: `.await` sends it. Nothing happens before that.
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
}

impl<R: Runtime> RequestBuilder<R> {
    pub(crate) fn new(client: Client<R>, method: Code, target: impl IntoTarget) -> Self {
        let target = target.into_target().map_err(Error::Uri);
        let mut request = Request::new(method);
        if let Ok(target) = &target {
            request.options = target.options();
        }
        Self { client, target, request, how: RequestOptions::new(), timeout: None }
    }

    /// The content.
    pub fn payload(mut self, content: impl Into<Body>) -> Self {
        self.request.body = content.into();
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

    /// Ends the request after this span, all included: the name, its turn, every address, the response.
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

    /// Does not hold a Non-confirmable request back for PROBING_RATE (RFC 7252 §4.7): for an application that knows
    /// that its rate is acceptable.
    pub fn unpaced(mut self) -> Self {
        self.how = self.how.unpaced();
        self
    }

    /// Leaves the Uri-Host out that is sent when the URI has a name (RFC 7252 §5.10.1): for a server that has no
    /// virtual hosts and no room to spare.
    pub fn no_uri_host(mut self) -> Self {
        self.request.options.remove(OptionNumber::URI_HOST);
        self
    }

    async fn send(self) -> Result<Reply, Error> {
        let Self { client, target, request, how, timeout } = self;
        let deadline = Deadline::new(client.now(), timeout);
        let peers = resolve(&client, &target?, deadline).await?;
        match Race::new(client, Some(request), how, deadline).run(peers).await? {
            Outcome::Reply(reply) => Ok(reply),
            // Only a ping ends otherwise.
            _ => Err(Error::Closed),
        }
    }
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
        let deadline = Deadline::new(client.now(), timeout);
        let peers = resolve(&client, &target?, deadline).await?;
        match Race::new(client, None, how, deadline).run(peers).await? {
            Outcome::Pong(timing) => Ok(timing.round_trip.unwrap_or(timing.elapsed)),
            _ => Err(Error::Closed),
        }
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
