//! `Options` by example, and against a twin that is too simple to be wrong.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::size_of;

use bytes::Bytes;
use hex_literal::hex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::wire::{Code, ContentFormat, Message, Token, Type};

/// The same options as they come out of a datagram.
fn from_the_wire(options: &Options) -> Options {
    let message = Message {
        kind: Type::Confirmable,
        code: Code::GET,
        message_id: 0,
        token: Token::EMPTY,
        options: options.clone(),
        payload: Bytes::from_static(b"x"),
    };
    let mut buf = vec![0; message.encoded_len()];
    message.encode(&mut buf).unwrap();
    Message::decode(buf.into()).unwrap().options
}

fn long() -> Options {
    let mut options = Options::new();
    for segment in ["a rather long segment", "and another one of some length"] {
        options.push_uri_path(segment).unwrap();
    }
    options
}

#[test]
fn a_list_is_48_bytes() {
    assert_eq!(size_of::<Options>(), 48);
}

#[test]
fn the_heads_of_rfc_7252_are_written() {
    let mut options = Options::new();
    options.push(OptionNumber::URI_PATH, b"temp").unwrap();
    assert_eq!(options.encoded(), hex!("b4 74656d70"));
    options.push(OptionNumber::SIZE1, &[]).unwrap();
    assert_eq!(options.encoded(), hex!("b4 74656d70 d0 24"));
    options.push(OptionNumber::new(2_048), &[0; 13]).unwrap();
    assert_eq!(options.encoded()[7..11], hex!("ed 06b7 00"));
}

#[test]
fn an_option_added_late_stands_in_its_place_behind_its_equals() {
    let mut options = Options::new();
    options.set_content_format(ContentFormat::JSON);
    options.push_uri_path("a").unwrap();
    options.push(OptionNumber::URI_HOST, b"h").unwrap();
    options.push_uri_path("b").unwrap();
    assert_eq!(options.to_string(), "Uri-Host: h, Uri-Path: a, Uri-Path: b, Content-Format: 50 (application/json)");
    assert_eq!(options.uri_path().collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn what_the_registry_forbids_is_refused_and_leaves_no_trace() {
    let mut options = Options::new();
    let error = options.push(OptionNumber::URI_HOST, b"").unwrap_err();
    assert_eq!(error, OptionError::Length { number: OptionNumber::URI_HOST, len: 0, min: 1, max: 255 });
    assert_eq!(error.to_string(), "a value of Uri-Host has 1 to 255 bytes, not 0");
    assert!(options.set_uint(OptionNumber::CONTENT_FORMAT, 65_536).is_err());
    assert!(options.is_empty());
    options.push_raw(OptionNumber::URI_HOST, b"").unwrap();
    assert_eq!(options.count(), 1);
}

#[test]
fn a_refused_set_keeps_what_was_there() {
    let mut options = Options::new();
    options.set_uri_host("host").unwrap();
    options.set_uri_host("").unwrap_err();
    assert_eq!(options.uri_host(), Some("host"));
}

#[test]
fn the_longest_value_fits_and_one_byte_more_does_not() {
    let number = OptionNumber::new(65_000);
    let mut options = Options::new();
    options.push(number, &vec![7; MAX_OPTION_LEN]).unwrap();
    assert_eq!(options.get(number).map(<[u8]>::len), Some(65_804));
    let refused = Err(OptionError::TooLong { number, len: 65_805 });
    assert_eq!(options.push(number, &vec![7; MAX_OPTION_LEN + 1]), refused);
    assert_eq!(options.push_raw(number, &vec![7; MAX_OPTION_LEN + 1]), refused);
    assert_eq!(from_the_wire(&options), options);
}

#[test]
fn the_highest_number_is_reached() {
    let mut options = Options::new();
    options.push(OptionNumber::new(65_535), b"z").unwrap();
    options.push(OptionNumber::new(0), b"a").unwrap();
    options.push(OptionNumber::new(65_535), b"zz").unwrap();
    let numbers: Vec<_> = from_the_wire(&options).iter().map(|(number, _)| number.number()).collect();
    assert_eq!(numbers, [0, 65_535, 65_535]);
}

#[test]
fn lists_are_equal_wherever_they_are_stored() {
    let built = long();
    let shared = from_the_wire(&built);
    assert!(matches!((&built.store, &shared.store), (Store::Heap(_), Store::Shared(_))));
    assert_eq!(built, shared);
    assert_eq!(shared.clone().into_owned(), shared);
    assert!(matches!(shared.into_owned().store, Store::Heap(_)));
}

#[test]
fn a_shared_list_can_be_changed() {
    let mut shared = from_the_wire(&long());
    shared.set_content_format(ContentFormat::CBOR);
    shared.push(OptionNumber::URI_HOST, b"h").unwrap();
    let mut built = long();
    built.push(OptionNumber::URI_HOST, b"h").unwrap();
    built.set_content_format(ContentFormat::CBOR);
    assert_eq!(shared, built);
}

#[test]
fn a_list_that_shrinks_needs_no_allocation_again() {
    let mut options = long();
    options.retain(|_, value| value.len() < 25);
    assert!(matches!(options.store, Store::Inline { .. }));
    assert_eq!(options.remove(OptionNumber::URI_PATH), 1);
    assert_eq!(options.remove(OptionNumber::URI_PATH), 0);
    assert_eq!(options, Options::new());
}

/// What `Options` promises, in the plainest form.
#[derive(Default)]
struct Twin(Vec<(u16, Vec<u8>)>);

impl Twin {
    fn push(&mut self, number: u16, value: &[u8]) {
        self.0.push((number, value.to_vec()));
        self.0.sort_by_key(|(number, _)| *number);
    }

    fn remove(&mut self, number: u16) -> usize {
        let before = self.0.len();
        self.0.retain(|(other, _)| *other != number);
        before - self.0.len()
    }
}

/// Numbers that meet often and whose distances cross every step of the encoding; lengths likewise.
const NUMBERS: [u16; 14] = [0, 1, 6, 11, 12, 13, 24, 25, 268, 269, 282, 2_053, 65_534, 65_535];
const LENGTHS: [usize; 9] = [0, 0, 1, 3, 12, 13, 14, 268, 270];

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.next_u32() as usize % from.len()]
}

fn assert_twins(options: &Options, twin: &Twin, story: &str) {
    let listed: Vec<_> = options.iter().map(|(number, value)| (number.number(), value.to_vec())).collect();
    assert_eq!(listed, twin.0, "{story}");
    assert_eq!(options.count(), twin.0.len(), "{story}");
    assert_eq!(options.is_empty(), twin.0.is_empty(), "{story}");
    assert_eq!(options.last, twin.0.last().map_or(0, |(number, _)| *number), "{story}");
    for number in NUMBERS {
        let expected: Vec<_> =
            twin.0.iter().filter(|(other, _)| *other == number).map(|(_, value)| &value[..]).collect();
        let found: Vec<_> = options.get_all(OptionNumber::new(number)).collect();
        assert_eq!(found, expected, "{story}");
        assert_eq!(options.get(OptionNumber::new(number)), expected.first().copied(), "{story}");
    }
}

#[test]
fn options_do_what_a_sorted_vector_does() {
    for seed in 0..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut options, mut twin) = (Options::new(), Twin::default());
        for step in 0..40 {
            let number = pick(&mut rng, &NUMBERS);
            let len = pick(&mut rng, &LENGTHS[..if seed % 2 == 0 { 5 } else { 9 }]);
            let mut value = vec![0; len];
            rng.fill_bytes(&mut value);
            let operation = rng.next_u32() % 16;
            match operation {
                0..8 => {
                    options.push_raw(OptionNumber::new(number), &value).unwrap();
                    twin.push(number, &value);
                }
                8..10 => {
                    // Not every length is legal for the numbers that the registry knows.
                    if options.set(OptionNumber::new(number), &value).is_ok() {
                        twin.remove(number);
                        twin.push(number, &value);
                    }
                }
                10..13 => assert_eq!(options.remove(OptionNumber::new(number)), twin.remove(number)),
                13 => {
                    options.retain(|_, value| value.len() % 3 != 0);
                    twin.0.retain(|(_, value)| value.len() % 3 != 0);
                }
                14 => options = from_the_wire(&options),
                _ => options = options.clone().into_owned(),
            }
            assert_twins(&options, &twin, &format!("seed {seed}, step {step}, operation {operation}"));
        }
        assert_eq!(from_the_wire(&options), options);
    }
}
