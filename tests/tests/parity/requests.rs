//! How a request is written down: by URI text, by URI and request value.

use coap_core::{Code, ContentFormat, OptionNumber, Request};

use crate::scene::scene;

#[test]
fn text_without_a_scheme_is_a_coap_uri_and_without_a_port_it_is_5683() {
    let mut scene = scene();
    let client = scene.client.clone();
    for text in
        [format!("[{}]/it", scene.server), format!("{}/it", scene.server), format!("[{}]:5683/it", scene.server)]
    {
        scene.run(client.get(&text)).unwrap();
        assert_eq!(scene.last().options.get_str(OptionNumber::URI_PATH), Some("it"), "{text}");
        assert!(!scene.last().options.contains(OptionNumber::URI_PORT));
    }
    assert_eq!(scene.plain.requests().len(), 3);
}

#[test]
fn a_request_value_is_sent_to_any_target_with_its_method_options_and_content() {
    let mut scene = scene();
    let mut request = Request::new(Code::FETCH).with_content(ContentFormat::JSON, "[1]");
    request.options.push(OptionNumber::URI_QUERY, b"b").unwrap();
    let client = scene.client.clone();
    for target in [format!("{}?a", scene.uri), format!("[{}]/other?a", scene.server)] {
        scene.run(client.send(&target, request.clone())).unwrap();
        let sent = scene.last();
        assert_eq!((sent.code, &sent.payload[..]), (Code::FETCH, &b"[1]"[..]));
        assert_eq!(sent.options.content_format(), Some(ContentFormat::JSON));
        assert_eq!(sent.options.get_all(OptionNumber::URI_QUERY).collect::<Vec<_>>(), [b"a", b"b"]);
    }
    // What stands for a peer rather than a resource leaves the resource to the request.
    let peer = coap_core::Peer::from(core::net::SocketAddr::new(scene.server, 5_683));
    request.options.push(OptionNumber::URI_PATH, b"it").unwrap();
    scene.run(client.send(peer, request)).unwrap();
    assert_eq!(scene.last().options.get_str(OptionNumber::URI_PATH), Some("it"));
}
