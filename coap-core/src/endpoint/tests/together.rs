//! Back-off, Echo, the limit towards unproven addresses and extended tokens, where two of them meet.

use rand_chacha::rand_core::Rng;

use super::observing::state;
use super::*;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;
const ACK: Type = Type::Acknowledgement;

fn token(len: usize) -> Token {
    Token::extended(&vec![7; len]).unwrap()
}

fn decoded(bytes: Vec<u8>) -> Message {
    Message::decode_extended(bytes.into()).unwrap()
}

fn challenge(request: &Message, echo: &[u8]) -> Vec<u8> {
    let mut message = Message { kind: ACK, code: Code::UNAUTHORIZED, payload: Bytes::new(), ..request.clone() };
    message.options = Options::new();
    message.options.set_echo(echo).unwrap();
    encode(&message)
}

// ----- Extended tokens ---------------------------------------------------------------------------------------------

#[test]
fn a_token_over_the_limit_is_refused_before_an_option_that_is_not_understood() {
    for (len, answered) in [(65, true), (1_080, true), (1_087, false), (1_140, false)] {
        let mut rig = Rig::with(Config::builder().max_token_len(64).build().unwrap());
        let mut request = Message::empty(CON, 1);
        (request.code, request.token) = (Code::GET, token(len));
        request.options.push_raw(OptionNumber::new(65_001), b"").unwrap();
        // The buffer of the caller can be longer than what may be sent.
        let payload = encode(&request).into();
        rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: Local::default(), payload });
        let mut buf = vec![0; 2_000];
        let sent = rig.endpoint.poll_transmit(&mut buf).map(|sent| decoded(buf[..sent.len].to_vec()));
        assert_eq!(sent.as_ref().map(|sent| sent.code), answered.then_some(Code::BAD_REQUEST), "{len}");
        assert!(sent.is_none_or(|sent| sent.encoded_len() <= 1_152));
        let stats = rig.endpoint.stats();
        assert_eq!((stats.tokens_too_long, stats.bad_option), (1, 0), "{len}");
    }
}

#[test]
fn a_challenge_whose_answer_would_be_too_long_with_its_long_token_is_told() {
    let config = Config::builder().max_token_len(100).min_token_len(100).max_datagram(200);
    let mut rig = Rig::with(config.build().unwrap());
    let mut request = Request::new(Code::FETCH).with_options(path(&["a"])).with_body(vec![7; 16]);
    request.options.push_uri_query(&"q".repeat(68)).unwrap();
    let id = rig.endpoint.request(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    let asked = decoded(rig.sent_bytes());
    assert_eq!(asked.token.len(), 100);
    rig.receive(peer(1), &challenge(&asked, b"12345678"));
    let (of, response, _) = rig.response();
    assert_eq!((of, response.code), (id, Code::UNAUTHORIZED));
}

#[test]
fn a_long_token_is_another_with_the_value_that_the_server_wants_to_see() {
    let mut rig = Rig::with(Config::builder().max_token_len(300).min_token_len(200).build().unwrap());
    let id = rig.get(peer(1));
    let first = decoded(rig.sent_bytes());
    rig.receive(peer(1), &challenge(&first, b"e"));
    let second = decoded(rig.sent_bytes());
    assert_eq!((second.token.len(), second.options.echo()), (200, Some(&b"e"[..])));
    assert_ne!(first.token, second.token);
    // A Reset for that one says what a Reset for the first would have said.
    rig.receive(peer(1), &empty(Type::Reset, second.message_id));
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (id, Failure::ExtendedToken));
    rig.comes_to_rest();
}

// ----- Uploads -----------------------------------------------------------------------------------------------------

#[test]
fn no_later_block_is_too_long_for_a_value_that_the_first_one_had_room_for() {
    for max in 104..140 {
        let mut rig = Rig::with(Config::builder().max_datagram(max).min_token_len(8).build().unwrap());
        let mut request = Request::new(Code::PUT).with_body(Body::Parts { size: None }).with_options(path(&["a"]));
        request.options.push_uri_query(&"q".repeat(44)).unwrap();
        let how = RequestOptions::new().block_size(BlockSize::MIN);
        let id = rig.endpoint.request(rig.now, peer(1), request, &how).unwrap();
        rig.endpoint.supply(rig.now, id.request_body(), vec![7; 16 * 19].into(), false).unwrap();
        rig.drain();
        let (_, first) = rig.sent();
        // Whoever does not know how long it will be says nothing of its size, which would have made room.
        assert_eq!(first.options.size1(), None);
        rig.events.clear();
        rig.receive(peer(1), &challenge(&first, &[7; 40]));
        let _ = rig.endpoint.supply(rig.now, id.request_body(), vec![7; 16].into(), true);
        // Either it is told at once that it does not fit, or it goes through.
        while let Some((_, bytes)) = rig.sent.pop_front() {
            let block = decoded(bytes);
            assert!(block.encoded_len() <= max && block.options.echo().is_some());
            let (block1, more) = block.options.block1().map(|block| (block, block.more())).unwrap();
            let mut reply = Message { kind: ACK, payload: Bytes::new(), options: Options::new(), ..block };
            reply.code = if more { Code::CONTINUE } else { Code::CHANGED };
            reply.options.set_block1(block1);
            rig.receive(peer(1), &encode(&reply));
        }
        let (_, response, _) = rig.response();
        assert!([Code::UNAUTHORIZED, Code::CHANGED].contains(&response.code), "{max} {response:?}");
    }
}

#[test]
fn a_refusal_between_two_blocks_ends_the_upload_and_the_next_one_waits() {
    let mut rig = Rig::new();
    let request = || Request::new(Code::PUT).with_body(vec![7; 40]).with_options(path(&["a"]));
    let how = RequestOptions::new().block_size(BlockSize::MIN);
    let id = rig.endpoint.request(rig.now, peer(1), request(), &how).unwrap();
    rig.drain();
    let (_, first) = rig.sent();
    // It is challenged, and told to go on, before the server is overloaded.
    rig.receive(peer(1), &challenge(&first, b"e"));
    let (_, again) = rig.sent();
    let mut further = Message { kind: ACK, code: Code::CONTINUE, payload: Bytes::new(), ..again.clone() };
    further.options = Options::new();
    further.options.set_block1(again.options.block1().unwrap());
    rig.receive(peer(1), &encode(&further));
    let (_, second) = rig.sent();
    assert_eq!((second.options.block1().unwrap().num(), second.options.echo()), (1, Some(&b"e"[..])));
    let mut refusal = Message { kind: ACK, code: Code::TOO_MANY_REQUESTS, payload: Bytes::new(), ..second };
    refusal.options = Options::new();
    refusal.options.set_max_age(30);
    rig.receive(peer(1), &encode(&refusal));
    let (of, response, _) = rig.response();
    assert_eq!((of, response.code), (id, Code::TOO_MANY_REQUESTS));
    let refused = rig.endpoint.request(rig.now, peer(1), request(), &how);
    assert_eq!(refused, Err(RequestError::BackOff { until: rig.now + secs(30) }));
    rig.pass(secs(30));
    assert!(rig.endpoint.request(rig.now, peer(1), request(), &how).is_ok());
}

// ----- Observations ------------------------------------------------------------------------------------------------

#[test]
fn an_observation_outlives_a_back_off_and_is_registered_when_that_is_over() {
    let mut rig = Rig::new();
    let (id, _) = rig.observing(state(1, "a").max_age(5));
    let similar = Request::get().with_options(path(&["obs"]));
    rig.endpoint.request(rig.now, peer(1), similar, &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, asked) = rig.sent();
    rig.notify(ACK, asked.message_id, &asked, state(0, "").plain().code(Code::TOO_MANY_REQUESTS).max_age(3_000));
    assert_eq!(rig.response().1.code, Code::TOO_MANY_REQUESTS);
    let until = rig.now + secs(3_000);
    rig.pass(secs(2_999));
    rig.stale();
    // The server was not asked, and has refused nothing.
    rig.said_nothing();
    rig.sent_nothing();
    assert!(rig.endpoint.place(id).is_some());
    let (_, again) = rig.reregistered(1);
    assert!(rig.now >= until && rig.now < until + secs(20));
    rig.answer(&again, state(2, "b"));
    rig.told("b");
}

#[test]
fn each_registration_may_be_challenged_once() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(5));
    for attempt in [1, 2] {
        let (_, again) = rig.reregistered(attempt);
        rig.receive(peer(1), &challenge(&again, b"e"));
        rig.events.clear();
        let (_, proven) = rig.sent();
        assert_eq!((&proven.token, proven.options.echo()), (&request.token, Some(&b"e"[..])));
        // The server does not answer that.
        while rig.endpoint.usage().in_flight > 0 {
            rig.pass(ms(500));
        }
        rig.sent.clear();
        rig.said_nothing();
    }
}

#[test]
fn a_challenged_request_that_is_cancelled_leaves_nothing_behind() {
    for observes in [false, true] {
        let mut rig = Rig::new();
        let id = if observes { rig.observe().0 } else { rig.get(peer(1)) };
        let first = if observes { None } else { Some(rig.sent().1) };
        if let Some(first) = first {
            // Another one to the same peer waits behind it (NSTART).
            rig.get(peer(1));
            rig.sent_nothing();
            rig.receive(peer(1), &challenge(&first, b"e"));
            let (_, second) = rig.sent();
            assert_eq!(second.options.echo(), None, "who waited has its turn");
            rig.receive(peer(1), &answer(ACK, Code::CONTENT, second.message_id, &second, b""));
            rig.response();
            assert_eq!(rig.sent().1.options.echo(), Some(&b"e"[..]));
        }
        assert!(rig.endpoint.cancel(rig.now, id));
        rig.drain();
        rig.sent.clear();
        rig.comes_to_rest();
        rig.said_nothing();
    }
}

// ----- As a server -------------------------------------------------------------------------------------------------

/// RFC 9175 §2.4: whatever a forged address seems to send, and whatever it is answered, it gets three times as much at most.
#[test]
fn no_address_gets_more_than_three_times_of_what_it_seems_to_send() {
    const HEADERS: usize = 62;
    let mut draws = ChaCha8Rng::seed_from_u64(8);
    for round in 0..40 {
        let config = Config::builder().unproven_limit(UnprovenLimit::All).max_token_len(300);
        let config = config.max_incoming_per_peer(2).max_incoming(6).max_remembered(20).max_resets_per_second(1_000);
        let mut rig = Rig::with(config.build().unwrap());
        let topic = rig.endpoint.open_topic(TopicOptions::new());
        let mut account = [(0, 0); 4];
        let mut open = Vec::new();
        for step in 0..200 {
            let mut below = |most: u64| draws.next_u64() % most;
            let from = below(4) as u16;
            let mut request = Message::empty(if below(3) == 0 { NON } else { CON }, below(40) as u16);
            request.code = [Code::GET, Code::POST, Code::FETCH, Code::PUT][below(4) as usize];
            request.token = token([0, 1, 8, 9, 13, 100, 269, 300, 400][below(9) as usize]);
            request.options = path(&["a"]);
            match below(8) {
                0 => request.options.set_observe(below(2) as u32),
                1 => request.options.set_block1(Block::new(below(2) as u32, true, 0).unwrap()),
                2 => request.options.set_block2(Block::new(below(3) as u32, false, 6).unwrap()),
                3 => request.options.push_raw(OptionNumber::new(65_001), b"").unwrap(),
                4 => request.options.push_raw(OptionNumber::HOP_LIMIT, &[0]).unwrap(),
                _ => {}
            }
            request.payload = vec![7; [0, 0, 16, 30][below(4) as usize]].into();
            account[usize::from(from)].0 += HEADERS + request.encoded_len();
            let (act, body) = (below(6), below(600) as usize);
            if round % 4 == 3 && step == 150 {
                rig.endpoint.begin_shutdown(rig.now);
            }
            rig.receive(peer(from), &encode(&request));
            while let Some(event) = rig.events.pop_front() {
                if let Event::Request(request) = event {
                    open.push(request);
                }
            }
            if act > 1 && !open.is_empty() {
                let request = open.remove(0);
                let response = Response::new(Code::CONTENT).with_body(vec![7; body]);
                if request.request.options.observe() == Some(0) {
                    let _ = rig.endpoint.accept_observer(rig.now, request.id, topic, response);
                } else {
                    let _ = rig.endpoint.respond(rig.now, request.id, response);
                }
                rig.drain();
            }
            match act {
                1 => rig.pass(secs(1)),
                2 => drop(rig.endpoint.publish(rig.now, topic, Response::new(Code::CONTENT).with_body(vec![7; body]))),
                3 if step % 40 == 0 => rig.pass(secs(100)),
                _ => {}
            }
            rig.drain();
            for (to, bytes) in rig.sent.drain(..) {
                let to = (0..4).find(|n| peer(*n) == to).unwrap();
                account[usize::from(to)].1 += HEADERS + bytes.len();
            }
            for (n, (received, sent)) in account.iter().enumerate() {
                assert!(*sent <= 3 * received, "round {round}, step {step}: {n} sent {received} and got {sent}");
            }
        }
    }
}

// ----- Both sides --------------------------------------------------------------------------------------------------

/// What a run has shown, so that it is known to have shown something.
#[derive(Default)]
struct Seen {
    answered: usize,
    challenged: u64,
    limited: u64,
    refused: u64,
    backed_off: usize,
    extended: usize,
}

/// A client with long tokens, or not, and a server that has little room, challenges, and limits what it sends, with a network
/// between them that loses and repeats. Each request ends once, whatever it carries arrives whole, and nothing is left.
fn pair(seed: u64, seen: &mut Seen) {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let mut below = move |most: u64| draws.next_u64() % most;
    let (max, min) = [(8, 4), (40, 4), (40, 20), (300, 255)][below(4) as usize];
    let tokens = Config::builder().max_token_len(max).min_token_len(min);
    let serves = Config::builder().max_token_len([8, 20, 300][below(3) as usize]).refusal_max_age(2);
    let limit = [UnprovenLimit::Groups, UnprovenLimit::All][below(2) as usize];
    let serves = serves.unproven_limit(limit).max_incoming_per_peer(1).max_incoming(5).max_remembered(30);
    let (mut client, mut server) = (Rig::with(tokens.build().unwrap()), Rig::with(serves.build().unwrap()));
    let topic = server.endpoint.open_topic(TopicOptions::new());
    let (here, there) = (peer(1), peer(2));
    let (mut open, mut observations, mut incoming) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..300 {
        let option = path(&[["a", "b", "c"][below(3) as usize]]);
        let how = RequestOptions::new().block_size(BlockSize::new(64).unwrap());
        let how = if below(4) == 0 { how.non_confirmable() } else { how };
        let made = match below(if step < 200 { 12 } else { 1_000 }) {
            0..3 => client.endpoint.request(client.now, there, Request::get().with_options(option), &how),
            3..5 => {
                let put = Request::new(Code::PUT).with_options(option).with_body(vec![step as u8; below(400) as usize]);
                client.endpoint.request(client.now, there, put, &how)
            }
            5 if observations.len() < 2 => {
                let made = client.endpoint.observe(client.now, there, Request::get().with_options(option), &how);
                observations.extend(made.as_ref().ok().copied());
                made
            }
            6 if !open.is_empty() => {
                let id = open.swap_remove(below(open.len() as u64) as usize);
                observations.retain(|observation| *observation != id);
                assert!(client.endpoint.cancel(client.now, id));
                Err(RequestError::Busy)
            }
            7 => {
                server.endpoint.publish(server.now, topic, Response::new(Code::CONTENT).with_body(vec![9; 150]));
                Err(RequestError::Busy)
            }
            _ => Err(RequestError::Busy),
        };
        match made {
            Ok(id) => open.push(id),
            Err(RequestError::BackOff { .. }) => seen.backed_off += 1,
            Err(RequestError::Busy) => {}
            Err(other) => panic!("{other:?}"),
        }
        client.drain();
        for round in 0..6 {
            if round % 2 == 0 && below(3) > 0 {
                client.pass(ms(50));
                server.pass(ms(50));
            }
            server.now = client.now.max(server.now);
            client.now = server.now;
            while let Some((to, bytes)) = client.sent.pop_front() {
                assert!(to == there && bytes.len() <= 1_152);
                seen.extended += usize::from(decoded(bytes.clone()).token.is_extended());
                for _ in 0..[0, 1, 1, 1, 1, 1, 1, 2][below(8) as usize] {
                    server.receive(here, &bytes);
                }
            }
            while let Some(event) = server.events.pop_front() {
                match event {
                    Event::Request(request) => {
                        if request.request.body.is_in_parts() {
                            server.endpoint.collect(server.now, request.id.request_body(), 1_000);
                            server.drain();
                        }
                        incoming.push(request);
                    }
                    Event::BodyPart { data, last, .. } => {
                        assert!(last && data.iter().all(|byte| Some(byte) == data.first()), "bodies were mixed up");
                    }
                    _ => {}
                }
            }
            while incoming.len() > below(4) as usize {
                let request = incoming.swap_remove(below(incoming.len() as u64) as usize);
                let old = below(3) == 0 && request.echo_age().is_none();
                let response = match request.request.code {
                    _ if old => Response::challenge(),
                    Code::PUT => Response::new(Code::CHANGED),
                    _ => Response::new(Code::CONTENT).with_body(vec![7; below(300) as usize]),
                };
                // It may have been superseded, or be answered by now.
                let _ = server.endpoint.accept_observer(server.now, request.id, topic, response);
            }
            server.drain();
            while let Some((to, bytes)) = server.sent.pop_front() {
                assert!(to == here && bytes.len() <= 1_152);
                for _ in 0..[0, 1, 1, 1, 1, 1, 1, 2][below(8) as usize] {
                    client.receive(there, &bytes);
                }
            }
            while let Some(event) = client.events.pop_front() {
                let ended = match event {
                    Event::Response { id, response, .. } => {
                        let whole = response.body.as_bytes();
                        let alike = whole.iter().all(|byte| Some(byte) == whole.first());
                        assert!(alike || response.code.is_error(), "bodies were mixed up {seed} {step}");
                        seen.answered += usize::from(response.code.is_success());
                        id
                    }
                    Event::Failed { id, .. } => id,
                    _ => continue,
                };
                let at = open.iter().position(|id| *id == ended).expect("it ends once, and not after it was cancelled");
                open.swap_remove(at);
                observations.retain(|id| *id != ended);
            }
        }
        if below(8) == 0 {
            client.pass(secs(1));
            server.pass(secs(1));
        }
    }
    seen.challenged += client.endpoint.stats().challenges_answered;
    seen.limited += server.endpoint.stats().unproven_shortened;
    seen.refused += server.endpoint.stats().refusals_sent;
    for id in observations {
        assert!(client.endpoint.cancel(client.now, id));
        open.retain(|open| *open != id);
    }
    client.drain();
    client.sent.clear();
    server.endpoint.close_topic(server.now, topic, None);
    client.pass(secs(5_000));
    for event in client.events.drain(..) {
        if let Event::Response { id, .. } | Event::Failed { id, .. } = event {
            let at = open.iter().position(|open| *open == id).expect("it ends once");
            open.swap_remove(at);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    client.comes_to_rest();
    server.comes_to_rest();
}

#[test]
fn all_of_it_together_ends_each_request_once_and_leaves_nothing() {
    let mut seen = Seen::default();
    for seed in 0..30 {
        pair(seed, &mut seen);
    }
    let Seen { answered, challenged, limited, refused, backed_off, extended } = seen;
    assert!(answered > 200 && challenged > 100 && limited > 0, "{answered} {challenged} {limited}");
    assert!(refused > 10 && backed_off > 10 && extended > 100, "{refused} {backed_off} {extended}");
}
