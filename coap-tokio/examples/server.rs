//! A lamp on the network: `cargo run -p coap-tokio --example server`, and then
//! `coap put coap://localhost/lamps/3 -e on`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coap_tokio::router::{Path, Router, State, get};
use coap_tokio::{Code, Error, Server};

type Lamps = Arc<Mutex<HashMap<u8, String>>>;

async fn read(State(lamps): State<Lamps>, Path(lamp): Path<u8>) -> Result<String, Code> {
    let lamps = lamps.lock().map_err(|_| Code::INTERNAL_SERVER_ERROR)?;
    lamps.get(&lamp).cloned().ok_or(Code::NOT_FOUND)
}

async fn switch(State(lamps): State<Lamps>, Path(lamp): Path<u8>, state: String) -> Result<(), Code> {
    lamps.lock().map_err(|_| Code::INTERNAL_SERVER_ERROR)?.insert(lamp, state);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let router = Router::new()
        .route("/hello", get(async || "hello, world"))
        .route("/lamps/{lamp}", get(read).put(switch))
        .with_state(Lamps::default());
    Server::bind("[::]:5683").await?.serve(router).await
}
