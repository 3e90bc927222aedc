//! Requests through a forward-proxy (RFC 7252 §5.7.2, §5.10.2): sent to the proxy, which is told the target.

use coap_core::{Code, Message, OptionNumber};
use coap_driver::{Error, ErrorKind, Proxy, ProxyForm};

use crate::plain::Plain;
use crate::scene::{Scene, run_plain, scene, secs};

fn proxy_uri(sent: &Message) -> &str {
    sent.options.get_str(OptionNumber::PROXY_URI).unwrap()
}

fn has_any_of_uri(sent: &Message) -> bool {
    let of_uri = [OptionNumber::URI_HOST, OptionNumber::URI_PORT, OptionNumber::URI_PATH, OptionNumber::URI_QUERY];
    of_uri.into_iter().any(|number| sent.options.contains(number))
}

/// A scene whose peer is the proxy, with its URI.
fn at_a_proxy() -> (Scene, String) {
    let scene = scene();
    let proxy = format!("coap://[{}]", scene.server);
    (scene, proxy)
}

#[test]
fn the_request_goes_to_the_proxy_and_its_target_into_proxy_uri() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    for (target, told) in [
        ("coap://far.example/a/b?c=d", "coap://far.example/a/b?c=d"),
        ("far.example:9", "coap://far.example:9/"),
        ("coap://[2001:db8::7]:61616/a%2Fb//?%26", "coap://[2001:db8::7]:61616/a%2Fb//?%26"),
        ("coap://192.0.2.9/", "coap://192.0.2.9/"),
        ("coap://[fe80::1%25eth0]/x", "coap://[fe80::1]/x"),
    ] {
        scene.run(client.get(target).proxy_uri(&proxy)).unwrap();
        let sent = scene.last();
        assert_eq!(proxy_uri(&sent), told);
        assert!(!has_any_of_uri(&sent), "RFC 7252 §5.10.2: not both");
    }
    assert_eq!(scene.plain.requests().len(), 5);
}

#[test]
fn what_is_added_to_the_request_is_a_part_of_the_uri() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    let request = client.put("coap://far.example/a", "x").option(OptionNumber::URI_QUERY, "b");
    scene.run(request.no_uri_host().proxy_uri(&proxy)).unwrap();
    assert_eq!(proxy_uri(&scene.last()), "coap://far.example/a?b");
    assert_eq!(&scene.last().payload[..], b"x");
}

#[test]
fn proxy_scheme_leaves_the_uri_in_its_options_host_and_port_included() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    let proxy = Proxy::at(&proxy).unwrap().form(ProxyForm::Scheme);
    for (target, host, port) in [
        ("coap://far.example/a?b", "far.example", 5_683),
        ("coap://[2001:db8::7]:9/a?b", "[2001:db8::7]", 9),
        ("coap://192.0.2.9/a?b", "192.0.2.9", 5_683),
    ] {
        scene.run(client.get(target).proxy(proxy.clone())).unwrap();
        let options = scene.last().options;
        assert_eq!(options.get_str(OptionNumber::PROXY_SCHEME), Some("coap"));
        assert_eq!((options.uri_host(), options.uri_port()), (Some(host), Some(port)));
        assert_eq!(options.get_str(OptionNumber::URI_PATH), Some("a"));
        assert_eq!(options.get_str(OptionNumber::URI_QUERY), Some("b"));
        assert!(!options.contains(OptionNumber::PROXY_URI));
    }
}

#[test]
fn the_proxy_of_a_client_is_for_all_that_follows_unless_a_request_says_otherwise() {
    let (mut scene, proxy) = at_a_proxy();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    scene.run(client.get(&uri)).unwrap();
    assert!(!scene.last().options.contains(OptionNumber::PROXY_URI));
    client.set_proxy(Some(Proxy::at(&proxy).unwrap()));
    scene.run(client.get(&uri)).unwrap();
    assert_eq!(proxy_uri(&scene.last()), uri);
    scene.run(client.get(&uri).no_proxy()).unwrap();
    assert!(!scene.last().options.contains(OptionNumber::PROXY_URI));
    // Whoever names a peer wants that peer.
    scene.run(client.get(core::net::SocketAddr::new(scene.server, 5_683))).unwrap();
    assert!(!scene.last().options.contains(OptionNumber::PROXY_URI));
    client.set_proxy(None);
    scene.run(client.get(&uri)).unwrap();
    assert!(!scene.last().options.contains(OptionNumber::PROXY_URI));
}

#[test]
fn a_request_of_its_own_proxy_does_not_go_to_that_of_the_client() {
    let (mut scene, proxy) = at_a_proxy();
    let other = Plain::default();
    let host = scene.sim.host("other");
    let _running = run_plain(&host, &other);
    let client = scene.client.clone();
    client.set_proxy(Some(Proxy::at(&proxy).unwrap()));
    scene.run(client.get("coap://far.example/").proxy_uri(core::net::SocketAddr::new(host.ip(), 5_683))).unwrap();
    assert_eq!((other.requests().len(), scene.plain.requests().len()), (1, 0));
    assert_eq!(proxy_uri(&other.requests()[0]), "coap://far.example/");
}

#[test]
fn a_proxy_uri_that_the_caller_has_written_goes_to_the_target_as_it_is() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    scene.run(client.get(format!("{proxy}/left/out")).option(OptionNumber::PROXY_URI, "http://web.example/")).unwrap();
    assert_eq!(proxy_uri(&scene.last()), "http://web.example/");
    assert!(!has_any_of_uri(&scene.last()));
}

#[test]
fn a_long_body_goes_block_by_block_through_the_proxy() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    scene.run(client.put("coap://far.example/a", vec![7; 3_000]).proxy_uri(&proxy)).unwrap();
    assert_eq!(scene.plain.requests().len(), 3);
    for sent in scene.plain.requests() {
        assert_eq!(proxy_uri(&sent), "coap://far.example/a");
    }
    assert_eq!(scene.plain.lock().uploaded, vec![7; 3_000]);
}

#[test]
fn an_observation_goes_through_the_proxy_and_is_cancelled_there_by_its_uri() {
    let (mut scene, proxy) = at_a_proxy();
    scene.plain.lock().observable = true;
    let client = scene.client.clone();
    client.set_proxy(Some(Proxy::at(&proxy).unwrap()));
    let _observation = scene.run(client.observe("coap://far.example/a")).unwrap();
    assert_eq!(proxy_uri(&scene.last()), "coap://far.example/a");
    assert_eq!(scene.plain.observers(), 1);
    let cancel = |uri: &'static str| {
        let client = client.clone();
        async move { client.cancel_observation(uri).await.unwrap() }
    };
    assert_eq!(scene.sim.block_on(cancel("coap://far.example/b")), 0);
    assert_eq!(scene.sim.block_on(cancel("coap://far.example/a")), 1);
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.observers(), 0);
}

#[test]
fn an_observation_through_a_proxy_of_its_own_is_cancelled_by_its_uri() {
    let (mut scene, proxy) = at_a_proxy();
    scene.plain.lock().observable = true;
    let client = scene.client.clone();
    // A name that the proxy alone knows.
    let _first = scene.run(client.observe("coap://far.example/a").proxy_uri(&proxy)).unwrap();
    let _other = scene.run(client.observe("coap://far.example/b").proxy_uri(&proxy)).unwrap();
    let _third =
        scene.run(client.observe("coap://far.example/a").option(OptionNumber::URI_QUERY, "c").proxy_uri(&proxy));
    assert_eq!(scene.plain.observers(), 3);
    assert_eq!(scene.sim.block_on(client.cancel_observation("coap://far.example/a")).unwrap(), 1);
    assert_eq!(scene.sim.block_on(client.cancel_observation("coap://far.example/a?c")).unwrap(), 1);
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.observers(), 1);
    assert!(scene.sim.block_on(client.cancel_observation("coap://far.example/none")).is_err());
}

#[test]
fn what_cannot_go_through_a_proxy_is_refused_and_nothing_is_sent() {
    let (mut scene, proxy) = at_a_proxy();
    let client = scene.client.clone();
    // In the clear on its first hop.
    let secret = scene.run(client.get("coaps://far.example/").proxy_uri(&proxy));
    assert!(matches!(secret, Err(Error::Security)), "{secret:?}");
    let no_proxy = scene.run(client.get("coap://far.example/").proxy_uri("coap://[::1"));
    assert!(matches!(no_proxy, Err(Error::Uri(_))), "{no_proxy:?}");
    let session = coap_core::Peer::Session(coap_core::SessionId::new(1));
    let session = scene.run(client.get(session).proxy_uri(&proxy));
    assert!(matches!(session, Err(Error::NoUri)), "{session:?}");
    let long = format!("coap://far.example/{}", "/abcdefghijklmnop".repeat(80));
    let long = scene.run(client.get(long).proxy_uri(&proxy));
    assert!(matches!(long, Err(Error::Option(_))), "{long:?}");
    scene.sim.run_for(secs(1));
    assert!(scene.plain.lock().heard.is_empty());
}

#[test]
fn a_request_can_say_how_many_proxies_it_may_pass() {
    let mut scene = scene();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    scene.plain.lock().refuses = Some(Code::HOP_LIMIT_REACHED);
    let reply = scene.run(client.put(&uri, "x").hop_limit(3)).unwrap();
    assert_eq!(reply.code.to_string(), "5.08 Hop Limit Reached");
    assert_eq!(scene.last().options.hop_limit(), Some(3));
    assert!(scene.last().to_string().contains("Hop-Limit: 3"), "{}", scene.last());
    let refused = scene.run(client.put(&uri, "x").hop_limit(0)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Option);
    assert_eq!(refused.to_string(), "bad option: a value of Hop-Limit has 1 byte, not 0");
    assert_eq!(scene.plain.requests().len(), 1);
}
