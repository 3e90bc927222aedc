//! Whom a request is for: a URI or an address, and the peers that it may stand for.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use coap_core::{Host, Instant, Options, Peer, Scheme, Uri, UriError};

use crate::error::Error;
use crate::runtime::Runtime;
use crate::timeout::within;

/// What a request can be for: made from a URI as text or parsed, or from an address.
#[derive(Clone, Debug)]
pub struct Target(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Uri(Uri),
    Peer(Peer),
    /// The resource of a URI at a peer.
    At(Peer, Uri),
}

/// What can be made into a [`Target`].
pub trait IntoTarget {
    /// Makes it. Text is read leniently: without a scheme it is a `coap` URI.
    ///
    /// # Errors
    /// The text is no URI.
    fn into_target(self) -> Result<Target, UriError>;
}

impl IntoTarget for &str {
    fn into_target(self) -> Result<Target, UriError> {
        Uri::from_input(self).map(|uri| Target(Kind::Uri(uri)))
    }
}

impl IntoTarget for &String {
    fn into_target(self) -> Result<Target, UriError> {
        self.as_str().into_target()
    }
}

impl IntoTarget for String {
    fn into_target(self) -> Result<Target, UriError> {
        self.as_str().into_target()
    }
}

impl IntoTarget for Uri {
    fn into_target(self) -> Result<Target, UriError> {
        Ok(Target(Kind::Uri(self)))
    }
}

impl IntoTarget for &Uri {
    fn into_target(self) -> Result<Target, UriError> {
        self.clone().into_target()
    }
}

/// The root resource of whoever listens there.
impl IntoTarget for SocketAddr {
    fn into_target(self) -> Result<Target, UriError> {
        Peer::from(self).into_target()
    }
}

/// The root resource of this peer: with the path in options, what a server asks its clients with.
impl IntoTarget for Peer {
    fn into_target(self) -> Result<Target, UriError> {
        Ok(Target(Kind::Peer(self)))
    }
}

impl IntoTarget for Target {
    fn into_target(self) -> Result<Target, UriError> {
        Ok(self)
    }
}

/// A resource of this peer, whatever the host of the URI is: what is reached by a session, or not at the address that its
/// name has. The name of the host is sent as Uri-Host.
impl<T: AsRef<str>> IntoTarget for (Peer, T) {
    fn into_target(self) -> Result<Target, UriError> {
        Uri::from_input(self.1.as_ref()).map(|uri| Target(Kind::At(self.0, uri)))
    }
}

impl Target {
    /// The options that say which resource.
    pub(crate) fn options(&self) -> Options {
        match &self.0 {
            Kind::Uri(uri) | Kind::At(_, uri) => uri.options(),
            Kind::Peer(_) => Options::new(),
        }
    }

    /// Its URI. Of a peer behind an address that is the URI of its root; a session has none.
    pub(crate) fn to_uri(&self) -> Option<Uri> {
        match &self.0 {
            Kind::Uri(uri) | Kind::At(_, uri) => Some(uri.clone()),
            Kind::Peer(peer) => {
                let addr = peer.udp()?.socket_addr();
                Uri::from_options(Scheme::Coap, addr, &Options::new()).ok()
            }
        }
    }

    /// The URI, if it was made from that alone.
    pub(crate) const fn as_uri(&self) -> Option<&Uri> {
        if let Kind::Uri(uri) = &self.0 { Some(uri) } else { None }
    }

    /// It must be looked up.
    pub(crate) const fn is_name(&self) -> bool {
        matches!(&self.0, Kind::Uri(uri) if matches!(uri.host(), Host::Name(_)))
    }

    /// The host that the other end must prove to be, in a session: nothing of this may be asked in the clear.
    pub(crate) fn secure_host(&self) -> Option<&Host> {
        match &self.0 {
            // How secure a session is, whoever named it knows.
            Kind::Peer(_) | Kind::At(Peer::Session(_), _) => None,
            Kind::Uri(uri) | Kind::At(_, uri) => (uri.scheme() != Scheme::Coap).then(|| uri.host()),
        }
    }

    /// The peers that it may stand for, the best first; at least one. A name is looked up, for `until` at most. Those of a target
    /// that has a [`secure_host`](Self::secure_host) are not to be asked themselves, but in a session with them.
    pub(crate) async fn resolve<R: Runtime>(&self, runtime: &R, until: Instant) -> Result<Vec<Peer>, Error> {
        let uri = match &self.0 {
            Kind::Peer(peer) | Kind::At(peer, _) => {
                return Ok(vec![peer.udp().map_or(*peer, |addr| here(addr.socket_addr()).into())]);
            }
            Kind::Uri(uri) => uri,
        };
        let name = match uri.host() {
            Host::Ipv4(addr) => return Ok(vec![here(SocketAddr::from((*addr, uri.port()))).into()]),
            Host::Ipv6 { addr, zone } => {
                let scope = zone.as_deref().map_or(Ok(0), |zone| interface(runtime, zone))?;
                return Ok(vec![here(SocketAddrV6::new(*addr, uri.port(), 0, scope).into()).into()]);
            }
            Host::Name(name) => name,
        };
        let started = runtime.now();
        let found = within(runtime, until, runtime.resolve(name, uri.port())).await;
        let found = found
            .ok_or_else(|| Error::ResolveTimeout { host: name.clone(), elapsed: runtime.now() - started })?
            .map_err(|source| Error::HostNotFound { host: name.clone(), source })?;
        let mut peers: Vec<Peer> = Vec::with_capacity(found.len());
        for peer in found.into_iter().map(|addr| Peer::from(here(addr.socket_addr()))) {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        if peers.is_empty() {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
            return Err(Error::HostNotFound { host: name.clone(), source });
        }
        Ok(peers)
    }
}

/// The loopback address for `0.0.0.0` and `[::]`, which people copy from what a server says that it listens on.
///
/// Most systems send there as well. But the answer comes from the address that it really went to, and would be taken for
/// a stranger's.
fn here(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        _ => addr,
    }
}

fn interface<R: Runtime>(runtime: &R, zone: &str) -> Result<u32, Error> {
    runtime.interface_index(zone).ok_or_else(|| Error::NoInterface { zone: zone.to_owned() })
}
