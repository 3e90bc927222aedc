//! Whatever bytes arrive: decoding does not panic, and nothing can be done to an accepted message that does.
#![no_main]

use std::hint::black_box;

use bytes::Bytes;
use coap_core::{Header, Message, OptionNumber};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let header = Header::peek(datagram);
    match Message::decode(Bytes::copy_from_slice(datagram)) {
        Ok(message) => {
            assert_eq!(header.map(|header| header.message_id), Some(message.message_id));
            assert_eq!(message.to_string().lines().count(), 1);
            walk(&message);
        }
        Err(error) => {
            assert_eq!(error.header, header);
            black_box(error.to_string());
        }
    }
});

/// Every question that can be asked about the options.
fn walk(message: &Message) {
    let options = &message.options;
    let mut last = OptionNumber::new(0);
    for (number, value) in options {
        assert!(last <= number);
        assert!(options.get_all(number).any(|other| other == value));
        black_box((options.get_uint(number), options.get_str(number)));
        last = number;
    }
    black_box((options.content_format(), options.accept(), options.max_age(), options.observe()));
    black_box((options.uri_host(), options.uri_port(), options.no_response(), options.if_none_match()));
    black_box((options.block1(), options.block2(), options.size1(), options.size2()));
    black_box((options.uri_path().count(), options.uri_query().count(), options.etags().count()));
    black_box((options.location_path().count(), options.location_query().count(), options.if_match().count()));
    if let Some(block) = options.block1() {
        assert!(block.offset() < 1 << 30 && block.size() <= 1_024);
    }

    let known = |number: OptionNumber| number.definition().is_some();
    if options.check(known).is_ok() {
        assert!(options.iter().all(|(number, _)| !number.is_critical() || known(number)));
    }
    let mut stripped = options.clone().into_owned();
    assert_eq!(&stripped, options);
    let count = stripped.strip_bad_elective();
    assert_eq!(stripped.count() + count, options.count());
    assert!(!stripped.has_bad_elective());
}
