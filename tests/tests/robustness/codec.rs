//! R-03: work grows with the length of a datagram, and not faster, whatever is in it.

use core::hint::black_box;
use core::time::Duration;
use std::time::Instant as Clock;

use bytes::Bytes;
use coap_core::link_format::{self, Filter};
use coap_core::{
    Code, Config, ContentFormat, Datagram, Endpoint, Event, Instant, Local, Message, OptionNumber, Response, Scheme,
    Uri,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::memory::{alone, asked, live};
use crate::rig::peer;
use crate::{count, repeat_with};

/// CON GET without a token, and this behind it, up to `len` bytes.
fn datagram(len: usize, rest: impl Iterator<Item = u8>) -> Bytes {
    [0x40, 0x01, 0x12, 0x34].into_iter().chain(rest).take(len).collect()
}

/// Options of one byte: all of one number, or each of the next.
fn small(len: usize, delta: u8) -> Bytes {
    datagram(len, core::iter::repeat(delta << 4))
}

/// Options of two bytes that may be there many times, and each is a part of the URI.
fn segments(len: usize) -> Bytes {
    datagram(len / 2 * 2, [0xb1, b'a'].into_iter().chain([0x01, b'a'].into_iter().cycle()))
}

/// One option that fills the datagram.
fn big(len: usize) -> Bytes {
    let extended = (len - 7 - 269) as u16;
    let [high, low] = extended.to_be_bytes();
    datagram(len, [0x0e, high, low].into_iter().chain(core::iter::repeat(b'x')))
}

fn markers(len: usize) -> Bytes {
    datagram(len, core::iter::repeat(0xff))
}

/// Everything that happens to a datagram and to what it says.
fn read(bytes: &Bytes) {
    let Ok(message) = Message::decode(bytes.clone()) else { return };
    let _ = black_box(message.options.check(|_| true));
    black_box(message.options.has_bad_elective());
    black_box(message.options.iter().map(|(_, value)| value.len()).sum::<usize>());
    black_box(message.options.get(OptionNumber::SIZE1));
    black_box(message.options.uri_path().count());
    let mut kept = message.options.clone();
    kept.retain(|number, _| number.is_critical());
    black_box(kept.remove(OptionNumber::URI_PATH));
    black_box(message.to_string());
    if let Ok(uri) = Uri::from_options(Scheme::Coap, "192.0.2.1:5683".parse().unwrap(), &message.options) {
        black_box(uri.to_string());
    }
    let mut buf = vec![0; bytes.len()];
    assert_eq!(message.encode(&mut buf), Ok(bytes.len()));
}

/// The way through an endpoint, and the answer.
fn serve(endpoint: &mut Endpoint, bytes: &Bytes) {
    let mut buf = [0; 1_152];
    let datagram = Datagram { from: peer(1), to: Local::default(), payload: bytes.clone() };
    endpoint.handle_datagram(Instant::ZERO, datagram);
    while let Some(event) = endpoint.poll_event() {
        let Event::Request(request) = event else { continue };
        let response = Response::new(Code::CONTENT).with_content(ContentFormat::TEXT_PLAIN, "x");
        endpoint.respond(Instant::ZERO, request.id, response).unwrap();
    }
    while endpoint.poll_transmit(&mut buf).is_some() {}
}

/// A URI as long as the datagrams, in segments as short as can be.
fn uri(len: usize) {
    let text: String = "coap://[2001:db8::1]".chars().chain("/a".chars().cycle()).take(len).collect();
    let uri = Uri::parse(&text).unwrap();
    black_box(uri.options());
    black_box(Uri::from_input(&text).unwrap().to_string());
}

/// A link document as long as the datagrams, of one such part after the other, read and written and filtered.
fn links(len: usize, first: &str, part: &str, last: &str) {
    let times = (len - first.len() - last.len()) / part.len();
    let text = [first, &part.repeat(times), last].concat();
    let links = link_format::parse(&text).unwrap();
    let base = Uri::parse("coap://[2001:db8::1]/.well-known/core").unwrap();
    let filter = Filter::new(["rt=a*", "href=/*"]).unwrap();
    black_box(links.iter().filter(|link| filter.matches(link)).count());
    black_box(links.iter().filter(|link| link.target_uri(&base).is_ok()).count());
    black_box(links.iter().map(|link| link.resource_types().count() + link.content_formats().count()).sum::<usize>());
    black_box(link_format::document(links));
}

/// The best of a few runs of `passes` each: whatever else the machine does only makes it slower.
fn best(runs: u64, passes: usize, mut work: impl FnMut()) -> Duration {
    let one = || {
        let start = Clock::now();
        (0..passes).for_each(|_| work());
        start.elapsed()
    };
    core::iter::repeat_with(one).take(runs as usize).min().unwrap()
}

#[test]
fn r03_work_is_proportional_to_the_length() {
    let _alone = alone();
    let sizes: Vec<usize> = (10..=16).map(|power| (1 << power) - 32).collect();
    type Work = Box<dyn Fn(usize) -> Box<dyn FnMut()>>;
    fn codec(make: fn(usize) -> Bytes) -> Work {
        Box::new(move |len| {
            let bytes = make(len);
            Box::new(move || read(&bytes))
        })
    }
    fn endpoint(make: fn(usize) -> Bytes) -> Work {
        Box::new(move |len| {
            let bytes = make(len);
            let config = Config::builder().max_remembered(0).max_resets_per_second(u32::MAX).build().unwrap();
            let mut endpoint = Endpoint::new(config, ChaCha8Rng::seed_from_u64(1));
            Box::new(move || serve(&mut endpoint, &bytes))
        })
    }
    let kinds: Vec<(&str, Work)> = vec![
        ("options of one number, codec", codec(|len| small(len, 0))),
        ("options of one byte each, codec", codec(|len| small(len, 1))),
        ("Uri-Path of one byte, codec", codec(segments)),
        ("one big option, codec", codec(big)),
        ("0xff, codec", codec(markers)),
        ("options of one number, endpoint", endpoint(|len| small(len, 0))),
        ("options of one byte each, endpoint", endpoint(|len| small(len, 1))),
        ("Uri-Path of one byte, endpoint", endpoint(segments)),
        ("one big option, endpoint", endpoint(big)),
        ("0xff, endpoint", endpoint(markers)),
        ("a URI in segments of one byte", Box::new(|len| Box::new(move || uri(len)))),
        ("links, the shortest there are", Box::new(|len| Box::new(move || links(len, "<>", ",<>", "")))),
        ("links, one with many attributes", Box::new(|len| Box::new(move || links(len, "</>", ";a", ";rt=a")))),
        ("links, one with a list", Box::new(|len| Box::new(move || links(len, r#"</>;rt=""#, "a ", r#"""#)))),
        ("links, one with escapes", Box::new(|len| Box::new(move || links(len, r#"</>;rt=""#, r#"\""#, r#"""#)))),
    ];
    let runs = count(2);
    println!("R-03: mean ratio of the times of two lengths, one twice the other, from 1 to 64 KiB; at 64 KiB:");
    for (name, work) in kinds {
        // All lengths are given the same number of bytes in all, so that an interruption is as likely for one as for another.
        let passes = |len: &usize| (1 << 16) / (len + 32);
        let pass = |len: &usize| best(runs, passes(len), work(*len)).as_secs_f64() / passes(len) as f64;
        let measure = || {
            let times: Vec<f64> = sizes.iter().map(pass).collect();
            let (first, last) = (times[0], times[sizes.len() - 1]);
            ((last / first).powf(1.0 / (sizes.len() - 1) as f64), last, times)
        };
        // Whoever else uses the machine does not do so three times in a row; what is not linear is so each time.
        let mut measured = measure();
        for _ in 0..2 {
            if measured.0 > 2.2 {
                let again = measure();
                measured = if again.0 < measured.0 { again } else { measured };
            }
        }
        let (ratio, last, times) = measured;
        let longest = sizes[sizes.len() - 1];
        let mut once = work(longest);
        let (before, calls) = (live(), asked());
        once();
        let (kept, calls) = (live().saturating_sub(before), asked() - calls);
        println!(
            "  {name:<36} {ratio:.2}, {:6.1} ns a byte, memory asked for {calls} times, {kept} bytes kept",
            last * 1e9 / longest as f64
        );
        assert!(ratio <= 2.3, "{name}: {ratio}, {times:?}");
        assert!(kept <= 4 * longest, "{name}: {kept} bytes");
    }
    repeat_with("r03", 20);
}
