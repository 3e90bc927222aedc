//! Extended tokens (RFC 8974) as users of the driver see them, in virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::future::IntoFuture;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use coap_core::{Config, Token};
use coap_driver::router::{Router, get};
use coap_driver::{Client, Direction, Error, ErrorKind, Reply, Server};
use coap_sim::{Host, Sim};

fn config() -> Config {
    Config::builder().max_token_len(40).min_token_len(32).build().unwrap()
}

async fn len(token: Token) -> String {
    token.len().to_string()
}

/// What a server with these settings tells of a request of a client with long tokens, and how often it was asked.
fn ask(server_config: Config, with: Option<Token>) -> (Result<Reply, Error>, usize) {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let builder = Server::builder(server.clone()).bind("[::]:5683").config(server_config);
    let bound = sim.block_on(builder.server()).unwrap();
    let _serving = sim.spawn(bound.serve(Router::new().route("/len", get(len))));
    let sent = Arc::new(AtomicUsize::new(0));
    let note = Arc::clone(&sent);
    let builder = Client::<Host>::builder(host).bind("[::]:0").config(config()).on_message(move |traffic| {
        note.fetch_add(usize::from(traffic.direction == Direction::Sent), Ordering::Relaxed);
    });
    let client = sim.block_on(builder.client()).unwrap();
    let mut request = client.get(format!("coap://[{}]/len", server.ip()));
    if let Some(token) = with {
        request = request.token(token);
    }
    let reply = sim.block_on(request.into_future());
    (reply, sent.load(Ordering::Relaxed))
}

#[test]
fn a_server_that_knows_them_is_asked_once() {
    let (reply, sent) = ask(config(), None);
    assert_eq!((reply.unwrap().text(), sent), (Some("32"), 1));
    let own = Token::extended(&[7; 40]).unwrap();
    assert_eq!(ask(config(), Some(own)).0.unwrap().text(), Some("40"));
}

#[test]
fn a_server_that_knows_none_is_asked_again_with_a_short_one() {
    let (reply, sent) = ask(Config::default(), None);
    assert_eq!((reply.unwrap().text(), sent), (Some("8"), 2));
}

#[test]
fn a_long_token_of_the_caller_s_own_is_not_exchanged_for_another() {
    let (refused, sent) = ask(Config::default(), Token::extended(&[7; 40]));
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), sent), (ErrorKind::Reset, 1));
    assert!(error.to_string().contains("no tokens of more than 8 bytes"), "{error}");
    let (refused, sent) = ask(config(), Token::extended(&[7; 41]));
    assert_eq!((refused.unwrap_err().kind(), sent), (ErrorKind::Request, 0));
}
