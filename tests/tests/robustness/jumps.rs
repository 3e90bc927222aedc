//! time that leaps, and time that stands still.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use coap_core::{
    Code, Event, IncomingId, Instant, Local, Message, Peer, Request, RequestId, RequestOptions, Response, Type, Usage,
};

use crate::memory::alone;
use crate::rig::{Rig, answer, encode, peer, request};
use crate::{count, repeat_with};

/// One state of an endpoint, by name, and how it comes about.
type State = (&'static str, fn(&mut Rig));

const STATES: [State; 12] = [
    ("idle", |_| {}),
    ("a request remembered", |rig| assert!(rig.is_served(peer(1), 1))),
    ("an acknowledgement owed", |rig| {
        handed_up(rig);
    }),
    ("a response owed", |rig| {
        handed_up(rig);
        pass_to(rig, Duration::from_millis(250));
    }),
    ("a separate response in flight", |rig| {
        let id = handed_up(rig);
        pass_to(rig, Duration::from_millis(250));
        rig.endpoint.respond(rig.now, id, Response::new(Code::CONTENT)).unwrap();
    }),
    ("a multicast answer at its leisure", |rig| {
        let local = Local::arrived(0, Some("ff02::fd".parse().unwrap()), 1);
        rig.arrive_at(peer(1), local, request(Type::NonConfirmable, Code::GET, 1));
        rig.serve();
    }),
    ("a request in flight", |rig| {
        rig.ask(peer(1)).unwrap();
    }),
    ("a request acknowledged", |rig| {
        rig.ask(peer(1)).unwrap();
        let (_, asked) = rig.next_sent();
        rig.arrive(peer(1), encode(&Message::empty(Type::Acknowledgement, asked.message_id)));
    }),
    ("requests behind NSTART", |rig| {
        for _ in 0..5 {
            rig.ask(peer(1)).unwrap();
        }
    }),
    ("requests behind PROBING_RATE", |rig| {
        let how = RequestOptions::new().non_confirmable();
        let large = || Request::new(Code::POST).with_body(vec![0; 700]);
        for _ in 0..5 {
            rig.endpoint.request(rig.now, peer(1), large(), &how).unwrap();
        }
    }),
    ("a multicast request", |rig| {
        let group = Peer::from("224.0.1.187:5683".parse::<SocketAddr>().unwrap());
        let how = RequestOptions::new().non_confirmable();
        rig.endpoint.request(rig.now, group, Request::get(), &how).unwrap();
        let (_, asked) = rig.next_sent();
        rig.arrive(peer(1), answer(Type::NonConfirmable, 1, &asked));
    }),
    ("shutting down", |rig| {
        rig.ask(peer(1)).unwrap();
        rig.endpoint.begin_shutdown(rig.now);
    }),
];

fn handed_up(rig: &mut Rig) -> IncomingId {
    rig.arrive(peer(1), request(Type::Confirmable, Code::GET, 1));
    let Some(Event::Request(request)) = rig.endpoint.poll_event() else { panic!() };
    request.id
}

fn pass_to(rig: &mut Rig, span: Duration) {
    rig.now += span;
    rig.endpoint.handle_timeout(rig.now);
}

/// How each request ended, and how often.
#[derive(Default)]
struct Outcomes(BTreeMap<RequestId, u32>, BTreeMap<IncomingId, u32>);

impl Outcomes {
    /// Everything that is due, and all that comes of it. How many calls that took, and how many datagrams.
    fn settle(&mut self, rig: &mut Rig) -> (u32, usize) {
        let (mut calls, mut sent) = (0, rig.flush());
        while rig.endpoint.poll_timeout().is_some_and(|due| due <= rig.now) {
            rig.endpoint.handle_timeout(rig.now);
            calls += 1;
            assert!(calls < 100, "due again and again");
            sent += rig.flush();
        }
        while let Some(event) = rig.endpoint.poll_event() {
            match event {
                Event::Failed { id, .. } | Event::Finished { id } => *self.0.entry(id).or_default() += 1,
                Event::IncomingClosed { id, .. } => *self.1.entry(id).or_default() += 1,
                _ => {}
            }
        }
        (calls, sent + rig.flush())
    }

    #[track_caller]
    fn once_each(&self, state: &str) {
        assert!(self.0.values().chain(self.1.values()).all(|times| *times == 1), "{state}: {:?}", self.0);
    }
}

#[test]
fn r32_after_a_leap_each_timer_fires_once() {
    let _alone = alone();
    let day = Duration::from_secs(86_400);
    let leaps = [
        ("1 ms", Duration::from_millis(1)),
        ("a day", day),
        ("49.7 days", Duration::from_millis(1 << 32)),
        ("585 years", Duration::from_nanos(u64::MAX)),
        ("the end of time", Duration::MAX),
    ];
    let mut most = (0, 0);
    for (state, make) in STATES {
        for (leap, span) in leaps {
            let mut rig = Rig::new(Default::default());
            make(&mut rig);
            let mut outcomes = Outcomes::default();
            outcomes.settle(&mut rig);
            let copies = rig.endpoint.stats().retransmissions;
            rig.now += span;
            let (calls, sent) = outcomes.settle(&mut rig);
            most = (most.0.max(calls), most.1.max(sent));
            // One copy of what is in flight at the most, however many were due meanwhile.
            assert!(rig.endpoint.stats().retransmissions - copies <= 1, "{state}, {leap}");
            outcomes.once_each(state);
            // What is over stays so, and the endpoint is as good as new.
            for _ in 0..3 {
                rig.now += day;
                outcomes.settle(&mut rig);
            }
            outcomes.once_each(state);
            assert_eq!(rig.endpoint.usage(), Usage::default(), "{state}, {leap}");
            assert_eq!(rig.endpoint.poll_timeout(), None, "{state}, {leap}");
            if state != "shutting down" {
                assert!(rig.is_served(peer(2), 9), "{state}, {leap}");
            }
        }
    }
    println!("R-32: {} states, {} leaps: {} calls and {} datagrams at most", STATES.len(), leaps.len(), most.0, most.1);
}

#[test]
fn r32_while_time_stands_still_nothing_happens() {
    let _alone = alone();
    let polls = count(10_000);
    for (state, make) in STATES {
        let mut rig = Rig::new(Default::default());
        make(&mut rig);
        Outcomes::default().settle(&mut rig);
        let before = (rig.endpoint.stats(), rig.endpoint.usage(), rig.endpoint.poll_timeout());
        for n in 0..polls {
            rig.endpoint.handle_timeout(rig.now);
            assert_eq!((rig.endpoint.poll_timeout(), rig.flush()), (before.2, 0), "{state}");
            assert!(rig.endpoint.poll_event().is_none(), "{state}");
            // A clock that goes back is one that stands still.
            rig.endpoint.handle_timeout(Instant::from_micros(n));
        }
        assert_eq!((rig.endpoint.stats(), rig.endpoint.usage(), rig.endpoint.poll_timeout()), before, "{state}");
    }
    println!("R-32: {} states, {polls} polls in one instant", STATES.len());
    repeat_with("r32_while", 100_000);
}
