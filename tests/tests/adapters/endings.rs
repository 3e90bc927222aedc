//! How requests, clients and servers end.

use core::future::IntoFuture;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io::ErrorKind;
use std::sync::Arc;

use coap_core::Code;
use coap_driver::router::{RouteError, Router, get};
use coap_driver::{Client, CurrentRuntime, Error, Server};

use crate::support::{Silent, both, client, fast, millis, serve, sleep, within};

pub(crate) async fn a_dropped_request_is_not_repeated<R: CurrentRuntime>() {
    let silent = Silent::new();
    let client = client::<R>().await;
    let request = client.get(format!("coap://{}/", silent.addr())).transmission(fast());
    assert!(within::<R, _>(millis(50), request.into_future()).await.is_none());
    assert_eq!(silent.heard().len(), 1);
    sleep::<R>(millis(400)).await;
    assert!(silent.heard().is_empty());
}

pub(crate) async fn a_closed_client_ends_its_requests<R: CurrentRuntime>() {
    let silent = Silent::new();
    let client = client::<R>().await;
    let url = format!("coap://{}/", silent.addr());
    let close = async {
        sleep::<R>(millis(50)).await;
        client.clone().close();
    };
    let (failed, ()) = both(client.get(&url).into_future(), close).await;
    assert!(matches!(failed, Err(Error::Closed)), "{failed:?}");
    assert!(matches!(client.get(&url).await, Err(Error::Closed)));
    assert!(matches!(client.ping(&url).await, Err(Error::Closed)));
}

pub(crate) async fn handles_that_are_gone_free_the_port<R: CurrentRuntime>() {
    let client = client::<R>().await;
    let addr = client.local_addrs()[0];
    let clone = client.clone();
    drop(client);
    assert!(matches!(Client::<R>::bind(addr).await, Err(Error::Bind { .. })));
    drop(clone);
    for _ in 0..100 {
        if Client::<R>::bind(addr).await.is_ok() {
            return;
        }
        sleep::<R>(millis(10)).await;
    }
    panic!("the port is still in use");
}

pub(crate) async fn a_shutdown_lets_handlers_finish<R: CurrentRuntime>() {
    async fn slow<R: CurrentRuntime>() -> &'static str {
        sleep::<R>(millis(500)).await;
        "late"
    }
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let (addr, end) = (server.local_addr().unwrap(), server.shutdown_handle());
    let serving = server.serve(Router::new().route("/slow", get(slow::<R>)));
    let client = client::<R>().await;
    let url = format!("coap://{addr}/slow");
    let (asked, refused) = (client.get(&url).into_future(), client.get(&url).transmission(fast()).timeout(millis(200)));
    let shut = async {
        sleep::<R>(millis(100)).await;
        end.shutdown(Duration::from_secs(10));
        // The first one holds the turn of this client: another asks.
        let other = crate::support::client::<R>().await;
        let refused_too = other.get(&url).transmission(fast()).timeout(millis(200)).await;
        drop(refused);
        refused_too
    };
    let ((late, refused), served) = both(both(asked, shut), serving).await;
    assert_eq!(late.unwrap().text(), Some("late"));
    assert!(refused.is_err() || refused.is_ok_and(|reply| reply.code == Code::SERVICE_UNAVAILABLE));
    assert!(served.is_ok());
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) async fn a_shutdown_does_not_wait_for_ever<R: CurrentRuntime>() {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    let never = move || {
        let guard = Dropped(flag.clone());
        async move {
            core::future::pending::<()>().await;
            drop(guard);
        }
    };
    let here = serve::<R>(Router::new().route("/never", get(never))).await;
    let client = client::<R>().await;
    let end = async {
        sleep::<R>(millis(100)).await;
        here.shutdown.shutdown(millis(100));
    };
    let (reply, ()) = both(client.get(here.url("/never")).timeout(Duration::from_secs(5)).into_future(), end).await;
    assert_eq!(reply.unwrap().code, Code::SERVICE_UNAVAILABLE);
    sleep::<R>(millis(50)).await;
    assert!(dropped.load(Ordering::Relaxed), "the handler is still there");
}

pub(crate) async fn a_shutdown_tells_everybody_who_waits<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/never", get(core::future::pending::<()>))).await;
    let told = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let client = client::<R>().await;
        for _ in 0..12 {
            let request = client.get(here.url("/never")).non_confirmable().unpaced();
            let told = told.clone();
            R::current().unwrap().spawn(Box::pin(async move {
                assert_eq!(request.await.unwrap().code, Code::SERVICE_UNAVAILABLE);
                told.fetch_add(1, Ordering::Relaxed);
            }));
        }
    }
    sleep::<R>(millis(200)).await;
    here.shutdown.shutdown(Duration::ZERO);
    while told.load(Ordering::Relaxed) < 48 {
        sleep::<R>(millis(10)).await;
    }
}

pub(crate) async fn a_server_whose_future_is_dropped_stops_serving<R: CurrentRuntime>() {
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let serving = server.serve(Router::new().route("/hello", get(async || "hello")));
    let url = format!("coap://{addr}/hello");
    let client = client::<R>().await;
    assert!(client.get(&url).await.unwrap().is_success());
    drop(serving);
    sleep::<R>(millis(100)).await;
    let failed = client.get(&url).transmission(fast()).await;
    assert!(failed.is_err(), "{failed:?}");
}

pub(crate) async fn a_wrong_route_is_an_error_of_serve<R: CurrentRuntime>() {
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let failed = server.serve(Router::new().route("hello", get(async || "hello"))).await;
    assert!(matches!(failed, Err(Error::Route(RouteError::NoSlash { .. }))), "{failed:?}");
}

pub(crate) async fn a_zone_may_be_bound_to<R: CurrentRuntime>() {
    for scoped in ["[::1%lo]:0", "[::1%25lo]:0"] {
        let client = Client::<R>::bind(scoped).await.unwrap();
        assert!(client.local_addrs()[0].ip().is_loopback());
    }
    let failed = Client::<R>::bind("[fe80::1%no-such]:0").await;
    assert!(matches!(failed, Err(Error::NoInterface { zone }) if zone == "no-such"));
    for wrong in ["[::1", "[::1]", "[::x]:0", "[::x%lo]:0", "127.0.0.1:70000"] {
        assert!(matches!(Client::<R>::bind(wrong).await, Err(Error::Bind { addr, .. }) if addr == wrong), "{wrong}");
    }
}

pub(crate) async fn a_port_in_use_is_an_error_of_bind<R: CurrentRuntime>() {
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let taken = server.local_addr().unwrap();
    let failed = Server::<R>::builder(R::current().unwrap()).bind("127.0.0.1:0").bind(taken).server().await;
    let Err(error) = failed else { panic!("two have the port {taken}") };
    assert!(error.to_string().starts_with(&format!("cannot bind to {taken}: ")), "{error}");
    assert_eq!(error.kind(), coap_driver::ErrorKind::AddressInUse);
    assert!(matches!(error, Error::Bind { source, .. } if source.kind() == ErrorKind::AddrInUse));
}
