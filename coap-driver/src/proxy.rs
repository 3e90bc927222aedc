//! Requests that go through a forward-proxy (RFC 7252 §5.7.2, §5.10.2): sent to the proxy, with the URI of the target inside.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use coap_core::{Host, OptionNumber, Options, Scheme, Uri, UriError};

use crate::error::Error;
use crate::target::{IntoTarget, Target};

/// A forward-proxy: where it is, and how it is told what is wanted.
///
/// ```no_run
/// # use coap_driver::{Client, Error, Proxy, ProxyForm, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
/// client.set_proxy(Some(Proxy::at("coap://proxy.example")?.form(ProxyForm::Scheme)));
/// let reply = client.get("coap://sensor.example/temp").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Proxy {
    target: Target,
    form: ProxyForm,
    way: Way,
}

/// What may be on the way to a proxy in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// What is for `coap`.
    Open,
    /// What is for `coaps` too.
    Trusted,
}

/// How a proxy is told what is wanted (RFC 7252 §5.10.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyForm {
    /// In one option, Proxy-Uri: up to 1,034 bytes.
    #[default]
    Uri,
    /// In Proxy-Scheme, Uri-Host, Uri-Port, Uri-Path and Uri-Query.
    Scheme,
}

/// Which proxy a request goes through.
#[derive(Clone, Debug, Default)]
pub(crate) enum Through {
    /// That of the client, if it has one.
    #[default]
    Clients,
    /// None.
    None,
    Own(Proxy),
    /// What is not one.
    Wrong(UriError),
}

const OF_URI: [OptionNumber; 4] =
    [OptionNumber::URI_HOST, OptionNumber::URI_PORT, OptionNumber::URI_PATH, OptionNumber::URI_QUERY];

impl Proxy {
    /// The proxy at a URI, of which the path is left out, or at an address. It is told by Proxy-Uri.
    ///
    /// # Errors
    /// The text is no URI.
    pub fn at(proxy: impl IntoTarget) -> Result<Self, UriError> {
        Ok(Self { target: proxy.into_target()?, form: ProxyForm::default(), way: Way::Open })
    }

    /// Tells it so.
    #[must_use]
    pub const fn form(mut self, form: ProxyForm) -> Self {
        self.form = form;
        self
    }

    /// Sends it also what is for `coaps`, though the way to it is in the clear: because that way is safe by other means. Without
    /// this, such a request is refused ([`Error::Security`]); to a proxy that is asked with `coaps` itself it is sent anyhow.
    #[must_use]
    pub const fn trusted(mut self) -> Self {
        self.way = Way::Trusted;
        self
    }

    /// Makes a request for `target` one to the proxy.
    fn apply(&self, target: &Target, options: &mut Options) -> Result<(), Error> {
        let base = target.to_uri().ok_or(Error::NoUri)?;
        // The first hop would carry in the clear what was to be secret.
        let is_secret = base.scheme() != Scheme::Coap && self.way == Way::Open;
        if is_secret && self.target.as_uri().is_none_or(|proxy| proxy.scheme() == Scheme::Coap) {
            return Err(Error::Security);
        }
        // The zone of an address is no business of another machine (RFC 6874 §1).
        let host = match base.host() {
            Host::Name(name) => name.clone(),
            Host::Ipv4(addr) => addr.to_string(),
            Host::Ipv6 { addr, .. } => format!("[{addr}]"),
        };
        if !options.contains(OptionNumber::URI_HOST) {
            options.push(OptionNumber::URI_HOST, host.as_bytes())?;
        }
        if !options.contains(OptionNumber::URI_PORT) {
            options.set_uri_port(base.port());
        }
        match self.form {
            ProxyForm::Scheme => options.set(OptionNumber::PROXY_SCHEME, base.scheme().as_str().as_bytes())?,
            ProxyForm::Uri => {
                let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), base.port());
                let uri = Uri::from_options(base.scheme(), nowhere, options)?;
                options.retain(|number, _| !OF_URI.contains(&number));
                options.set(OptionNumber::PROXY_URI, uri.to_string().as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Through {
    /// A proxy of its own.
    pub(crate) fn own(proxy: impl IntoTarget) -> Self {
        Proxy::at(proxy).map_or_else(Self::Wrong, Self::Own)
    }

    /// Whom a request is sent to, its options changed to what they must be there.
    pub(crate) fn route(self, clients: Option<Proxy>, target: Target, options: &mut Options) -> Result<Target, Error> {
        if options.contains(OptionNumber::PROXY_URI) {
            // The caller has written it, and RFC 7252 §5.10.2 wants no other options of a URI beside it.
            options.retain(|number, _| !OF_URI.contains(&number));
            return Ok(target);
        }
        let proxy = match self {
            Self::None => None,
            Self::Own(proxy) => Some(proxy),
            Self::Wrong(error) => return Err(Error::Uri(error)),
            // Whoever names a peer means it. So does whoever has written the option.
            Self::Clients => {
                clients.filter(|_| target.as_uri().is_some() && !options.contains(OptionNumber::PROXY_SCHEME))
            }
        };
        let Some(proxy) = proxy else { return Ok(target) };
        proxy.apply(&target, options)?;
        Ok(proxy.target)
    }
}
