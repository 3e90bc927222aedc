//! Every cell of the table by itself: what is sent, what is said, and how the exchange goes on.

use core::fmt;
use std::collections::BTreeMap;

use coap_core::{Code, Event, Failure, IncomingId, Message, RequestId, Token, Type};

use crate::rig::{Rig, answer, content, empty, encode, ms, path, peer, secs};

/// What arrives in which state, and what comes of it. A block has a state and a row for each type; its columns are the
/// classes of codes, `0.00` apart from the methods.
///
/// | cell | sent | said | the exchange |
/// |---|---|---|---|
/// | `.` | nothing | nothing | stays as it was |
/// | `rst` | a Reset of what came | nothing | stays as it was |
/// | `ack` | an Empty acknowledgement of what came | nothing | stays as it was |
/// | `up` | nothing | a request is handed up | stays as it was |
/// | `acked` | nothing | nothing | is acknowledged |
/// | `end` | nothing | the response | is over |
/// | `ack+end` | an Empty acknowledgement of what came | the response | is over |
/// | `reset` | nothing | the request was reset | is over |
/// | `done` | nothing | nothing | is over |
const TABLE: &str = "
# Nothing is known of the peer.
fresh, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   rst      rst   rst      rst      rst   rst
NON   .     up    .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# Our request has left and was not acknowledged.
sent, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   ack+end  rst   ack+end  ack+end  rst   rst
NON   .     up    .     end      .     end      end      .     .
ACK   acked .     .     end      .     end      end      .     .
RST   reset .     .     .        .     .        .        .     .

sent, other token
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   rst      rst   rst      rst      rst   rst
NON   .     up    .     .        .     .        .        .     .
ACK   acked .     .     .        .     .        .        .     .
RST   reset .     .     .        .     .        .        .     .

sent, other id
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   ack+end  rst   ack+end  ack+end  rst   rst
NON   .     up    .     end      .     end      end      .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# Our request was acknowledged; its response is still to come.
acked, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   ack+end  rst   ack+end  ack+end  rst   rst
NON   .     up    .     end      .     end      end      .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

acked, other token
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   rst      rst   rst      rst      rst   rst
NON   .     up    .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# Our request has been answered.
over, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   rst      rst   rst      rst      rst   rst
NON   .     up    .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# The peer's request was handed up, and nothing was sent yet. What matches is a duplicate of it, or has its Message ID
# for no good reason.
handling, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   .     rst   .        rst   .        .        rst   rst
NON   .     .     .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# The peer's request was acknowledged; the response is still to be made.
separate, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   ack   rst   ack      rst   ack      ack      rst   rst
NON   .     .     .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .

# Our separate response has left and was not acknowledged. An acknowledgement or a Reset that matches is of that.
answered, matching
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   ack   rst   ack      rst   ack      ack      rst   rst
NON   .     .     .     .        .     .        .        .     .
ACK   done  .     .     done     .     done     done     .     .
RST   done  .     .     .        .     .        .        .     .

# With the Message ID and token of nothing that is known, every state is like the first.
any, foreign
      0.00  0.01  1.00  2.05     3.00  4.04     5.00     6.00  7.00
CON   rst   up    rst   rst      rst   rst      rst      rst   rst
NON   .     up    .     .        .     .        .        .     .
ACK   .     .     .     .        .     .        .        .     .
RST   .     .     .     .        .     .        .        .     .
";

/// The state of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Sent,
    Acked,
    Over,
    Handling,
    Separate,
    Answered,
}

const STATES: [(&str, State); 7] = [
    ("fresh", State::Fresh),
    ("sent", State::Sent),
    ("acked", State::Acked),
    ("over", State::Over),
    ("handling", State::Handling),
    ("separate", State::Separate),
    ("answered", State::Answered),
];

const TYPES: [(&str, Type); 4] =
    [("CON", Type::Confirmable), ("NON", Type::NonConfirmable), ("ACK", Type::Acknowledgement), ("RST", Type::Reset)];

/// What of a datagram belongs to the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Matching,
    OtherToken,
    OtherId,
    Foreign,
}

struct Cell {
    state: State,
    fit: Fit,
    kind: Type,
    code: Code,
    expected: &'static str,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, fit, kind, code, expected } = self;
        write!(f, "{state:?}, {fit:?}: {kind} {} is {expected}", code.dotted())
    }
}

fn cells() -> Vec<Cell> {
    let (mut cells, mut states, mut fit, mut codes) = (Vec::new(), Vec::new(), Fit::Matching, Vec::new());
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some((state, which)) = line.split_once(", ") {
            fit = match which {
                "matching" => Fit::Matching,
                "other token" => Fit::OtherToken,
                "other id" => Fit::OtherId,
                "foreign" => Fit::Foreign,
                other => panic!("what is {other}?"),
            };
            states =
                STATES.iter().filter(|(name, _)| *name == state || state == "any").map(|(_, state)| *state).collect();
            assert!(!states.is_empty(), "{line}");
        } else if line.starts_with(' ') {
            codes = words.iter().map(|code| code.parse::<Code>().unwrap()).collect();
        } else {
            let (_, kind) = TYPES.iter().find(|(name, _)| *name == words[0]).unwrap();
            assert_eq!(words.len(), codes.len() + 1, "{line}");
            for state in &states {
                let row = codes.iter().zip(&words[1..]);
                cells.extend(row.map(|(code, expected)| Cell {
                    state: *state,
                    fit,
                    kind: *kind,
                    code: *code,
                    expected,
                }));
            }
        }
    }
    cells
}

/// An endpoint in a state, and what names its exchange.
struct Exchange {
    rig: Rig,
    request: Option<RequestId>,
    incoming: Option<IncomingId>,
    /// Of the message that began the exchange.
    first_id: u16,
    token: Token,
    /// Of our message in flight, or of the last that was; otherwise as `first_id`.
    our_id: u16,
}

fn exchange(state: State) -> Exchange {
    let mut rig = Rig::new();
    let token = Token::new(&[0x0b]).unwrap();
    match state {
        State::Fresh => Exchange { rig, request: None, incoming: None, first_id: 0x1001, token, our_id: 0x1001 },
        State::Sent | State::Acked | State::Over => {
            let id = rig.get(peer(1));
            let (_, request) = rig.sent();
            if state == State::Acked {
                rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
            }
            if state == State::Over {
                rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b""));
                rig.response();
            }
            let our_id = request.message_id;
            // What comes from the peer has a Message ID of the peer's.
            Exchange { rig, request: Some(id), incoming: None, first_id: 0x1001, token: request.token, our_id }
        }
        State::Handling | State::Separate | State::Answered => {
            rig.receive(peer(1), &[0x41, 0x01, 0x10, 0x01, 0x0b, 0xb1, b'a']);
            let incoming = rig.handed_up().id;
            let mut our_id = 0x1001;
            if state != State::Handling {
                rig.pass(ms(250));
                assert_eq!(rig.sent_bytes(), [0x60, 0x00, 0x10, 0x01]);
            }
            if state == State::Answered {
                rig.respond(incoming, content("hi"));
                our_id = rig.sent().1.message_id;
            }
            Exchange { rig, request: None, incoming: Some(incoming), first_id: 0x1001, token, our_id }
        }
    }
}

/// The datagram of a cell.
fn datagram(cell: &Cell, of: &Exchange) -> Message {
    let matching_id = match cell.kind {
        Type::Confirmable | Type::NonConfirmable => of.first_id,
        Type::Acknowledgement | Type::Reset => of.our_id,
    };
    let mut message = Message::empty(cell.kind, matching_id);
    if matches!(cell.fit, Fit::OtherId | Fit::Foreign) {
        message.message_id ^= 0x0400;
    }
    message.code = cell.code;
    if !cell.code.is_empty() {
        message.token = match cell.fit {
            Fit::Matching | Fit::OtherId => of.token.clone(),
            Fit::OtherToken | Fit::Foreign => Token::new(&[0xde, 0xad]).unwrap(),
        };
    }
    if cell.code.is_request() {
        message.options = path(&["a"]);
    }
    message
}

impl Exchange {
    /// Nothing of it is left, and nothing comes of it any more.
    fn is_over(&mut self) {
        let usage = self.rig.endpoint.usage();
        assert_eq!((usage.requests, usage.in_flight), (0, 0), "{usage:?}");
        self.rig.pass(secs(200));
        self.rig.sent_nothing();
        self.rig.said_nothing();
    }

    /// It is still in `state`: what ends it in that state ends it.
    fn goes_on(mut self, state: State) {
        let Self { rig, request, incoming, token, our_id, .. } = &mut self;
        let first = Message { token: token.clone(), ..Message::empty(Type::Confirmable, *our_id) };
        match state {
            State::Fresh | State::Over => return self.is_over(),
            State::Sent => {
                // Unacknowledged, it is repeated; then it is answered.
                rig.pass(secs(3));
                assert_eq!(rig.sent().1.message_id, *our_id);
                rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, *our_id, &first, b""));
                assert_eq!(Some(rig.response().0), *request);
            }
            State::Acked => {
                rig.pass(secs(3));
                rig.sent_nothing();
                rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 0x2222, &first, b""));
                assert_eq!(Some(rig.response().0), *request);
            }
            State::Handling | State::Separate => {
                rig.respond(incoming.unwrap(), content("hi"));
                let (_, response) = rig.sent();
                let kind = if state == State::Handling { Type::Acknowledgement } else { Type::Confirmable };
                assert_eq!((response.kind, &response.token), (kind, &*token));
                if state == State::Separate {
                    rig.receive(peer(1), &empty(Type::Acknowledgement, response.message_id));
                }
            }
            State::Answered => {
                rig.pass(secs(3));
                assert_eq!(rig.sent().1.message_id, *our_id);
                rig.receive(peer(1), &empty(Type::Acknowledgement, *our_id));
            }
        }
        self.is_over();
    }
}

fn check(cell: &Cell) {
    let mut exchange = exchange(cell.state);
    let message = datagram(cell, &exchange);
    let before = exchange.rig.endpoint.usage();
    exchange.rig.receive(peer(1), &encode(&message));

    let [high, low] = message.message_id.to_be_bytes();
    let sent: Vec<_> = exchange.rig.sent.drain(..).map(|(transmit, bytes)| (transmit.to, bytes)).collect();
    let answers: &[u8] = match cell.expected {
        "rst" => &[0x70, 0x00, high, low],
        "ack" | "ack+end" => &[0x60, 0x00, high, low],
        _ => &[],
    };
    if answers.is_empty() {
        assert!(sent.is_empty(), "sent {sent:02x?}");
    } else {
        assert_eq!(sent, [(peer(1), answers.to_vec())]);
    }

    let events: Vec<_> = exchange.rig.events.drain(..).collect();
    match (cell.expected, &events[..]) {
        ("up", [Event::Request(request)]) => {
            assert_eq!(
                (request.message_id, request.kind, &request.token),
                (message.message_id, cell.kind, &message.token)
            );
            assert_eq!(exchange.rig.endpoint.usage().incoming, before.incoming + 1);
            // It is an exchange of its own: out of the way with it.
            assert!(exchange.rig.endpoint.ignore(exchange.rig.now, request.id));
            exchange.rig.drain();
            exchange.rig.sent.clear();
        }
        ("end" | "ack+end", [Event::Response { id, response, .. }]) => {
            assert_eq!((Some(*id), response.code), (exchange.request, cell.code));
        }
        ("reset", [Event::Failed { id, reason: Failure::Reset, .. }]) => assert_eq!(Some(*id), exchange.request),
        ("." | "rst" | "ack" | "acked" | "done", []) => {}
        _ => panic!("said {events:?}"),
    }

    match cell.expected {
        "." | "rst" | "ack" | "up" => {
            assert_eq!(exchange.rig.endpoint.usage().in_flight, before.in_flight);
            exchange.goes_on(cell.state);
        }
        "acked" => exchange.goes_on(State::Acked),
        _ => exchange.is_over(),
    }
}

#[test]
fn every_cell_of_the_table_holds() {
    let mut counts = BTreeMap::<_, usize>::new();
    for cell in cells() {
        let held = std::panic::catch_unwind(|| check(&cell));
        assert!(held.is_ok(), "{cell}: see above");
        *counts.entry(cell.expected).or_default() += 1;
    }
    println!("{} cells: {counts:?}", counts.values().sum::<usize>());
}

#[test]
fn the_table_has_every_type_and_class_in_every_state() {
    let cells = cells();
    // Four types, nine classes; seven states that match, three more that match in part, and seven foreign ones.
    assert_eq!(cells.len(), 4 * 9 * (7 + 3 + 7));
    for (_, state) in STATES {
        for fit in [Fit::Matching, Fit::Foreign] {
            for (_, kind) in TYPES {
                let mut classes: Vec<_> = cells
                    .iter()
                    .filter(|cell| (cell.state, cell.fit, cell.kind) == (state, fit, kind))
                    .map(|cell| cell.code.class())
                    .collect();
                classes.dedup();
                assert_eq!(classes, [0, 1, 2, 3, 4, 5, 6, 7], "{state:?} {fit:?} {kind}");
            }
        }
    }
}
