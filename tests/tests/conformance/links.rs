//! LNK: discovery (RFC 6690 §4).

use coap_core::{Code, ContentFormat};
use hex_literal::hex;

use crate::rig::{Rig, block, con, encode};

#[test]
fn lnk_01_well_known_core_is_a_link_document_and_may_be_empty() {
    let mut rig = Rig::serving();
    let all = rig.ask(&hex!("41 01 1234 0b bb 2e77656c6c2d6b6e6f776e 04 636f7265"));
    assert_eq!((all.code, all.options.content_format()), (Code::CONTENT, Some(ContentFormat::LINK_FORMAT)));
    assert!(all.payload.starts_with(b"</"), "{all}");
    // ?rt=none
    let none = rig.ask(&hex!("41 01 1235 0b bb 2e77656c6c2d6b6e6f776e 04 636f7265 47 72743d6e6f6e65"));
    assert_eq!((none.code, none.options.content_format()), (Code::CONTENT, Some(ContentFormat::LINK_FORMAT)));
    assert!(none.payload.is_empty(), "{none}");
}

#[test]
fn lnk_05_a_long_list_comes_in_blocks() {
    let mut rig = Rig::serving();
    let (mut text, mut tags) = (Vec::new(), Vec::new());
    for num in 0.. {
        let mut request = con(Code::GET, num as u16, &[".well-known", "core"]);
        request.options.set_block2(block(num, false, 2));
        let reply = rig.ask(&encode(&request));
        text.extend_from_slice(&reply.payload);
        tags.push(reply.options.etag());
        if !reply.options.block2().unwrap().more() {
            break;
        }
    }
    assert!(tags.len() > 5 && tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("</test>") && text.contains("</link3>;rt=\"Type1 Type3\";if=\"foo\""), "{text}");
}
