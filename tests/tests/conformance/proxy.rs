//! PRX: requests for a proxy (RFC 7252 §5.7.2, §5.10.2).

use coap_core::{Code, OptionNumber, Type};

use crate::rig::{Rig, to_test};

const ELSEWHERE: &[u8] = b"coap://example.net/x";

#[test]
fn prx_01_who_is_no_proxy_says_5_05() {
    for option in [(OptionNumber::PROXY_URI, ELSEWHERE), (OptionNumber::PROXY_SCHEME, b"coap")] {
        let mut rig = Rig::serving();
        let reply = rig.ask(&to_test(Code::GET, 0x1234, &[option]));
        assert_eq!((reply.kind, reply.code), (Type::Acknowledgement, Code::PROXYING_NOT_SUPPORTED));
        assert_eq!(rig.runs(Code::GET, "/test"), 0);
    }
}

#[test]
fn prx_02_proxy_uri_counts_and_the_uri_options_beside_it_do_not() {
    let mut rig = Rig::serving();
    // A path, a host and a query that would be served.
    let options = [
        (OptionNumber::PROXY_URI, ELSEWHERE),
        (OptionNumber::URI_HOST, b"localhost"),
        (OptionNumber::URI_QUERY, b"first=1"),
    ];
    let reply = rig.ask(&to_test(Code::GET, 0x1234, &options));
    assert_eq!(reply.code, Code::PROXYING_NOT_SUPPORTED);
    assert_eq!(rig.runs(Code::GET, "/test"), 0);
}
