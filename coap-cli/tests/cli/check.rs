//! `coap check`: what it says of our own server, and of servers with one planted fault each.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;

use bytes::Bytes;
use coap_core::{Block, Code, ContentFormat, Message, OptionNumber, Token, Type};
use serde_json::Value;

use crate::harness::{Server, coap, silence};

/// The exit code, and of each test its name, verdict and reason.
fn check(uri: &str, tests: &str) -> (i32, Vec<[String; 3]>) {
    let ran = coap(&["check", "--json", "--test", tests, uri]);
    let lines = ran.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let tests = lines.filter(|line| line["test"].is_string());
    let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    (ran.code, tests.map(|line| ["test", "verdict", "reason"].map(|name| field(&line, name))).collect())
}

#[test]
fn our_own_server_passes_every_test() {
    let groups =
        ["CORE", "LINK,BLOCK", "OBS_01,OBS_02,OBS_04", "OBS_05", "OBS_06,OBS_07,OBS_08,OBS_09", "OBS_10,OBS_11"];
    let groups = groups.into_iter().chain(["OBS_12,OBS_13,OBS_14"]);
    let running: Vec<_> = groups
        .map(|tests| {
            std::thread::spawn(move || {
                let server = Server::start(&["--plugtest"]);
                check(&server.uri("/"), tests)
            })
        })
        .collect();
    let mut passed = 0;
    for (code, outcomes) in running.into_iter().map(|group| group.join().unwrap()) {
        assert!(code == 0 && outcomes.iter().all(|[_, verdict, _]| verdict == "PASS"), "{outcomes:?}");
        passed += outcomes.len();
    }
    assert_eq!(passed, 52);
}

// ----- Planted faults ------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// What is done to each message on its way. False: it is lost.
type Fault = fn(Way, &mut Message) -> bool;

/// A server with a fault: ours, behind a relay that changes its messages.
struct Faulty {
    _server: Server,
    uri: String,
}

impl Faulty {
    fn start(fault: Fault) -> Self {
        let server = Server::start(&["--plugtest"]);
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let uri = format!("coap://{}", front.local_addr().unwrap());
        let addr: SocketAddr = server.addr.parse().unwrap();
        std::thread::spawn(move || relay(&front, addr, fault));
        Self { _server: server, uri }
    }
}

/// Until the test program ends.
fn relay(front: &Arc<UdpSocket>, server: SocketAddr, fault: Fault) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = [0; 2_048];
    while let Ok((len, client)) = front.recv_from(&mut buffer) {
        let back = clients.entry(client).or_insert_with(|| {
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            socket.connect(server).unwrap();
            let (front, back) = (front.clone(), socket.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 2_048];
                while let Ok(len) = back.recv(&mut buffer) {
                    if let Some(datagram) = pass(Way::ToClient, &buffer[..len], fault) {
                        let _ = front.send_to(&datagram, client);
                    }
                }
            });
            socket
        });
        if let Some(datagram) = pass(Way::ToServer, &buffer[..len], fault) {
            let _ = back.send(&datagram);
        }
    }
}

fn pass(way: Way, datagram: &[u8], fault: Fault) -> Option<Vec<u8>> {
    let mut message = Message::decode(Bytes::copy_from_slice(datagram)).unwrap();
    if !fault(way, &mut message) {
        return None;
    }
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    Some(bytes)
}

/// The answer of `/test` and its like.
fn tells_request(message: &Message) -> bool {
    message.payload.starts_with(b"Type: ")
}

/// The test finds it, and says what it found.
#[track_caller]
fn found(test: &str, part: &str, fault: Fault) {
    let server = Faulty::start(fault);
    let (code, outcomes) = check(&server.uri, test);
    let [[_, verdict, reason]] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((code, verdict.as_str()), (1, "FAIL"), "{test}: {reason}");
    assert!(reason.contains(part), "{test}: {reason}");
}

#[test]
fn a_relay_without_a_fault_is_none() {
    let server = Faulty::start(|_, _| true);
    let (code, outcomes) = check(&server.uri, "CORE_01,CORE_31,LINK_01,BLOCK_06");
    assert_eq!((code, outcomes.len()), (0, 4), "{outcomes:?}");
}

/// Whoever lists `<test>` has `/test`, and should not answer 4.04.
#[test]
fn a_resource_that_is_listed_by_a_relative_reference_and_missing_is_found() {
    found("CORE_01", "4.04", |way, message| {
        if way == Way::ToServer && message.options.uri_path().eq(["test".as_bytes()]) {
            message.options.set(OptionNumber::URI_PATH, b"nothing").unwrap();
        }
        if let Ok(links) = core::str::from_utf8(&message.payload)
            && way == Way::ToClient
        {
            // As long as it was, for the blocks.
            message.payload = links.replace("</test>;title=\"T", "<test>;title=\"+T").into();
        }
        true
    });
}

#[test]
fn an_acknowledgement_with_another_message_id_is_found() {
    found("CORE_01", "Message ID", |_, message| {
        if tells_request(message) {
            message.message_id ^= 1;
        }
        true
    });
}

#[test]
fn a_response_without_a_content_format_is_found() {
    found("CORE_05", "no Content-Format", |_, message| {
        if tells_request(message) {
            message.options.remove(OptionNumber::CONTENT_FORMAT);
        }
        true
    });
}

#[test]
fn a_wrong_code_is_found() {
    found("CORE_02", "2.04 Changed, not 2.02 Deleted", |_, message| {
        if message.code == Code::DELETED {
            message.code = Code::CHANGED;
        }
        true
    });
}

#[test]
fn an_answer_to_a_non_confirmable_message_that_is_confirmable_is_found() {
    found("CORE_07", "of type CON, not NON", |way, message| {
        if way == Way::ToClient && message.kind == Type::NonConfirmable {
            message.kind = Type::Confirmable;
        }
        true
    });
}

#[test]
fn a_separate_response_before_the_acknowledgement_is_found() {
    found("CORE_09", "not acknowledged before", |way, message| {
        way == Way::ToServer || message.kind != Type::Acknowledgement || message.code != Code::EMPTY
    });
}

#[test]
fn a_token_cut_short_is_found() {
    found("CORE_10", "token", |way, message| {
        if way == Way::ToClient && tells_request(message) && message.token.as_bytes().len() == 8 {
            message.token = Token::new(&message.token.as_bytes()[..7]).unwrap();
        }
        true
    });
}

#[test]
fn a_location_in_one_piece_is_found() {
    found("CORE_18", "Location-Path", |_, message| {
        if message.options.remove(OptionNumber::LOCATION_PATH) > 0 {
            message.options.push_location_path("location1/location2/location3").unwrap();
        }
        true
    });
}

#[test]
fn accept_passed_over_is_found() {
    found("CORE_20", "application/xml", |way, message| {
        if way == Way::ToServer {
            message.options.remove(OptionNumber::ACCEPT);
        }
        true
    });
}

#[test]
fn a_server_that_validates_nothing_is_found() {
    found("CORE_21", "not 2.03", |way, message| {
        if way == Way::ToServer {
            message.options.remove(OptionNumber::ETAG);
        }
        true
    });
}

/// A state that nobody can change says nothing of the server's ETags: it may change by itself, in another run.
#[test]
fn what_cannot_be_changed_is_inconclusive() {
    let server = Faulty::start(|way, message| {
        let unconditional = message.code == Code::PUT && !message.options.contains(OptionNumber::IF_MATCH);
        if way == Way::ToServer && unconditional {
            // There it is 4.05.
            message.options.set(OptionNumber::URI_PATH, b"shutdown").unwrap();
        }
        true
    });
    let (code, outcomes) = check(&server.uri, "CORE_21,CORE_22");
    assert_eq!((code, outcomes.len()), (3, 2), "{outcomes:?}");
    assert!(outcomes.iter().all(|[_, verdict, reason]| verdict == "INCONCLUSIVE" && reason.contains("as it was")));
}

#[test]
fn a_condition_that_is_told_and_not_kept_is_found() {
    found("CORE_23", "changed the content", |way, message| {
        match way {
            Way::ToServer if message.payload == "newer" => drop(message.options.remove(OptionNumber::IF_NONE_MATCH)),
            Way::ToClient if message.code == Code::CHANGED => message.code = Code::PRECONDITION_FAILED,
            _ => {}
        }
        true
    });
}

#[test]
fn a_server_that_does_delete_is_not_blamed_for_it() {
    static IS_GONE: AtomicBool = AtomicBool::new(false);
    let server = Faulty::start(|way, message| {
        if way == Way::ToServer && message.options.uri_path().eq(["obs".as_bytes()]) {
            match message.code {
                Code::DELETE => IS_GONE.store(true, Ordering::SeqCst),
                Code::GET if IS_GONE.load(Ordering::SeqCst) => message.options.push_uri_path("nothing").unwrap(),
                _ => {}
            }
        }
        true
    });
    let (code, outcomes) = check(&server.uri, "OBS_07,OBS_09");
    assert_eq!((code, outcomes.len()), (0, 2), "{outcomes:?}");
}

#[test]
fn a_condition_passed_over_is_found() {
    found("CORE_23", "not 4.12", |way, message| {
        if way == Way::ToServer {
            message.options.remove(OptionNumber::IF_NONE_MATCH);
        }
        true
    });
}

#[test]
fn a_ping_that_is_acknowledged_is_found() {
    found("CORE_31", "was answered ACK", |way, message| {
        if way == Way::ToClient && message.kind == Type::Reset {
            message.kind = Type::Acknowledgement;
        }
        true
    });
}

#[test]
fn a_filter_passed_over_is_found() {
    found("LINK_04", "lists", |way, message| {
        if way == Way::ToServer {
            message.options.remove(OptionNumber::URI_QUERY);
        }
        true
    });
}

#[test]
fn a_block_that_is_too_short_is_found() {
    found("BLOCK_01", "63 of 64 bytes", |way, message| {
        if way == Way::ToClient && message.options.block2().is_some_and(|block| block.num() == 1 && block.szx() == 2) {
            message.payload.truncate(63);
        }
        true
    });
}

#[test]
fn blocks_that_grow_are_found() {
    found("BLOCK_06", "blocks of 16 bytes were asked for", |way, message| {
        if way == Way::ToServer && message.options.block2().is_some_and(|block| block.num() == 0) {
            message.options.set_block2(Block::new(0, false, 3).unwrap());
        }
        true
    });
}

#[test]
fn a_block_that_is_acknowledged_with_the_wrong_number_is_found() {
    found("BLOCK_03", "block 0 was answered", |way, message| {
        if way == Way::ToClient && message.code == Code::CONTINUE {
            message.options.set_block1(Block::new(5, true, 2).unwrap());
        }
        true
    });
}

#[test]
fn a_number_that_does_not_rise_is_found() {
    found("OBS_01", "Observe 7 came after 7", |way, message| {
        if way == Way::ToClient && message.options.observe().is_some() {
            message.options.set_observe(7);
        }
        true
    });
}

#[test]
fn a_reset_passed_over_is_found() {
    found("OBS_06", "after the Reset", |way, message| {
        if way == Way::ToServer && message.kind == Type::Reset {
            message.kind = Type::Acknowledgement;
        }
        true
    });
}

#[test]
fn another_format_in_the_middle_is_found() {
    found("OBS_08", "4.06", |way, message| {
        if way == Way::ToServer && message.options.content_format() == Some(ContentFormat::JSON) {
            message.options.set_content_format(ContentFormat::TEXT_PLAIN);
        }
        true
    });
}

#[test]
fn deregistration_passed_over_is_found() {
    found("OBS_12", "with Observe 1 was answered with Observe", |way, message| {
        if way == Way::ToServer && message.options.observe() == Some(1) {
            message.options.set_observe(0);
        }
        true
    });
}

// ----- The command ---------------------------------------------------------------------------------------------------

#[test]
fn what_a_server_does_not_have_is_inconclusive() {
    let server = Server::start(&[]);
    let (code, outcomes) = check(&server.uri("/"), "CORE_13,CORE_31");
    assert_eq!(code, 3);
    assert_eq!(outcomes[0][0..2], ["TD_COAP_CORE_13", "INCONCLUSIVE"]);
    assert_eq!(outcomes[1][0..2], ["TD_COAP_CORE_31", "PASS"]);
}

#[test]
fn the_outcome_is_a_line_for_each_test_and_one_for_all() {
    let server = Server::start(&["--plugtest"]);
    let ran = coap(&["check", "-t", "CORE_01", "-t", "LINK_07", &server.uri("")]);
    let lines: Vec<_> = ran.text().lines().collect();
    assert!(lines[0].starts_with("TD_COAP_CORE_01  PASS ") && lines[1].starts_with("TD_COAP_LINK_07  PASS "));
    assert_eq!((lines[2], lines.len(), ran.code), ("2 PASS, 0 FAIL, 0 INCONCLUSIVE", 3, 0));
    let quiet = coap(&["check", "-q", "-t", "CORE_01", "-t", "BLOCK_05", &server.uri("")]);
    assert_eq!((quiet.code, quiet.text(), &*quiet.err), (0, "", ""));
    coap(&["check", "-t", "CORE_99", &server.uri("")]).failed(2, "there is no test 'CORE_99");
    coap(&["check", "coaps://localhost"]).failed(2, "in the clear: check a coap:// URI");
}

#[test]
fn a_server_that_is_not_there_is_no_fault() {
    let (socket, uri) = silence();
    drop(socket);
    coap(&["check", &uri]).failed(7, "");
}
