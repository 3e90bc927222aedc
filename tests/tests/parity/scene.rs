//! A client, and a peer that writes down what it hears.

use core::future::{Future, IntoFuture};
use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use coap_core::Message;
use coap_driver::{Builder, Client, Runtime, SocketOptions};
use coap_sim::{Host, Sim, SimSocket, Task};

use crate::plain::Plain;

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) struct Scene {
    pub(crate) sim: Sim,
    pub(crate) client: Client<Host>,
    pub(crate) host: Host,
    pub(crate) plain: Plain,
    pub(crate) server: IpAddr,
    pub(crate) uri: String,
    _running: Task<()>,
}

pub(crate) fn scene() -> Scene {
    scene_with(|builder| builder)
}

pub(crate) fn scene_with(set_up: impl FnOnce(Builder<Host>) -> Builder<Host>) -> Scene {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let plain = Plain::default();
    let (_running, _) = run_plain(&server, &plain);
    let builder = set_up(Client::builder(host.clone()).bind("[::]:0"));
    let client = sim.block_on(builder.client()).unwrap();
    let server = server.ip();
    Scene { sim, client, host, plain, server, uri: format!("coap://[{server}]/it"), _running }
}

/// A peer at work on the default port of a host.
pub(crate) fn run_plain(host: &Host, plain: &Plain) -> (Task<()>, Arc<SimSocket>) {
    let socket = Arc::new(host.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap());
    (host.spawn(plain.clone().run::<Host>(socket.clone())), socket)
}

impl Scene {
    /// What comes of it.
    pub(crate) fn run<F: IntoFuture>(&mut self, future: F) -> F::Output {
        self.sim.block_on(future.into_future())
    }

    /// The last request that the peer heard.
    pub(crate) fn last(&self) -> Message {
        self.plain.requests().pop().unwrap()
    }
}

/// For what is started and looked at later.
pub(crate) fn start<F>(host: &Host, future: F) -> Task<<F::IntoFuture as Future>::Output>
where
    F: IntoFuture<IntoFuture: Send + 'static>,
    F::Output: Send + 'static,
{
    host.spawn(future.into_future())
}
