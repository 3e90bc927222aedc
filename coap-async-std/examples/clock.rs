//! A clock that can be observed: `cargo run -p coap-async-std --example async-std-clock`, and then `coap observe coap://localhost/time`.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use coap_async_std::router::{Resource, Router, get};
use coap_async_std::{ContentFormat, Error, Response, Server};

async fn time() -> Response {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut response = Response::content(ContentFormat::TEXT_PLAIN, since.as_secs().to_string());
    // What is a second old is out of date; the next state is there by then.
    response.options.set_max_age(1);
    response
}

#[async_std::main]
async fn main() -> Result<(), Error> {
    // A second that is lost does no harm; every tenth shows whether the observer is still there.
    let clock = Resource::new().non_confirmable(10);
    let router = Router::new().route("/time", get(time).observable(&clock));
    async_std::task::spawn(async move {
        loop {
            async_std::task::sleep(Duration::from_secs(1)).await;
            clock.changed();
        }
    });
    Server::bind("[::]:5683").await?.serve(router).await
}
