//! Each row of the table of bounds in docs/architecture.md, at its default and at 0, 1 and 2: who should lose loses, the
//! counter counts, others go on, and the memory is where it was when all is over.
//!
//! The Message IDs that we draw have no setting: they run out in `robustness`, R-24.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use coap_core::{
    Code, Config, Event, Failure, Message, Peer, Place, Request, RequestError, RequestOptions, Stats, Type,
};

use crate::memory::{alone, live};
use crate::rig::{Rig, answer, encode, peer, request};

/// What small tables may keep of their memory when they are empty, all together.
const KEPT: usize = 160 << 10;

/// Fills a table with each limit, twice in the life of one endpoint: the second time must cost no more than the first.
pub(crate) fn at_each_limit(
    row: &str,
    default: usize,
    config: impl Fn(usize) -> Config,
    fill: impl Fn(&mut Rig, usize),
) {
    let _alone = alone();
    for limit in [0, 1, 2, default] {
        let before = live();
        let mut rig = Rig::new(config(limit));
        let empty = live();
        fill(&mut rig, limit);
        let full = live();
        rig.comes_to_rest();
        let first = live();
        fill(&mut rig, limit);
        rig.comes_to_rest();
        let second = live();
        drop(rig);
        let gone = live();
        println!(
            "{row}, limit {limit}: {} bytes when full, {} and {} after the first and second rest",
            full.saturating_sub(empty),
            first.saturating_sub(empty),
            second.saturating_sub(empty)
        );
        assert!(first <= empty + KEPT, "{row}, limit {limit}: {} bytes kept", first - empty);
        assert!(second <= first + 4_096, "{row}, limit {limit}: {} bytes more each time", second - first);
        assert!(gone <= before + 4_096, "{row}, limit {limit}: {} bytes left behind", gone - before);
    }
}

/// Somebody with a name, among the nameless.
pub(crate) fn honest() -> Peer {
    peer(900_000)
}

pub(crate) fn more(rig: &Rig, before: Stats, of: impl Fn(&Stats) -> u64) -> u64 {
    of(&rig.endpoint.stats()) - of(&before)
}

fn con(code: Code, message_id: u16) -> Bytes {
    request(Type::Confirmable, code, message_id)
}

/// The reply to this datagram, handed up or not.
fn reply(rig: &mut Rig, from: Peer, datagram: Bytes) -> Option<Bytes> {
    rig.arrive(from, datagram);
    rig.serve();
    rig.send();
    core::mem::take(&mut rig.sent).pop_back().map(|(_, bytes)| bytes)
}

#[test]
fn peers_idle_ones_give_way_oldest_first_and_busy_ones_stay() {
    let config = |limit| Config::builder().max_peers(limit).max_incoming(20_000).build().unwrap();
    at_each_limit("peers", 16_384, config, |rig, limit| {
        let before = rig.endpoint.stats();
        if limit == 0 {
            assert!(!rig.is_served(honest(), 1));
            assert_eq!(more(rig, before, |stats| stats.refused_peer), 1);
            assert_eq!(rig.ask(honest()), Err(RequestError::TooManyPeers));
            return;
        }
        let posts = (0..limit as u32 + 5).map(|n| reply(rig, peer(n), con(Code::POST, 7)).unwrap()).collect::<Vec<_>>();
        assert_eq!((rig.endpoint.usage().peers, more(rig, before, |stats| stats.peers_evicted)), (limit, 5));
        // The last is known, and not asked again; the first is not, and is.
        let handed_up = rig.endpoint.stats().requests_received;
        assert_eq!(reply(rig, peer(limit as u32 + 4), con(Code::POST, 7)).as_ref(), posts.last());
        assert_eq!(rig.endpoint.stats().requests_received, handed_up);
        reply(rig, peer(0), con(Code::POST, 7)).unwrap();
        assert_eq!(rig.endpoint.stats().requests_received, handed_up + 1);
        // With something open none can go, and a stranger is turned away without a trace.
        for n in 0..limit as u32 {
            rig.arrive(peer(n), con(Code::GET, 8));
        }
        let (usage, refused) = (rig.endpoint.usage(), rig.endpoint.stats().refused_peer);
        rig.arrive(honest(), con(Code::GET, 1));
        assert_eq!((rig.endpoint.usage(), rig.endpoint.stats().refused_peer), (usage, refused + 1));
        assert_eq!(rig.ask(honest()), Err(RequestError::TooManyPeers));
        assert_eq!(rig.serve(), limit);
        assert!(rig.is_served(honest(), 1));
    });
}

#[test]
fn remembered_those_of_unproven_peers_go_first_and_a_proven_one_keeps_its_own() {
    let config = |limit| Config::builder().max_remembered(limit).max_peers(70_000).build().unwrap();
    at_each_limit("remembered", 65_536, config, |rig, limit| {
        let before = rig.endpoint.stats();
        // It answers to what only its address could know.
        rig.ask(honest()).unwrap();
        let (to, asked) = rig.next_sent();
        rig.arrive(to, answer(Type::Acknowledgement, asked.message_id, &asked));
        let post = reply(rig, honest(), con(Code::POST, 1));
        assert_eq!(post.is_some(), limit > 0);
        let flood = limit as u32 + 20;
        for n in 0..flood {
            rig.arrive(peer(n), con(Code::POST, 7));
            rig.serve();
            rig.flush();
            assert!(rig.endpoint.usage().remembered <= limit);
        }
        let forgotten = more(rig, before, |stats| stats.forgotten_early);
        let refused = more(rig, before, |stats| stats.refused_memory);
        // Nobody has room beside the one who has proven itself, or all but the newest have been forgotten.
        match limit {
            0 => assert_eq!((forgotten, refused), (0, u64::from(flood) + 1)),
            1 => assert_eq!((forgotten, refused), (0, u64::from(flood))),
            _ => assert_eq!((forgotten, refused), (u64::from(flood) + 1 - limit as u64, 0)),
        }
        // An idempotent request is served in any case.
        assert!(rig.is_served(peer(800_000), 9));
        assert_eq!(more(rig, before, |stats| stats.served_unremembered), u64::from(limit < 2));
        assert_eq!(reply(rig, honest(), con(Code::POST, 1)), post);
    });
}

#[test]
fn remembered_one_peer_has_a_quarter() {
    let config = |limit| Config::builder().max_remembered(limit).build().unwrap();
    at_each_limit("remembered of one peer", 65_536, config, |rig, limit| {
        let before = rig.endpoint.stats();
        let quarter = limit.div_ceil(4);
        for id in 0..quarter as u16 + 10 {
            rig.arrive(peer(1), con(Code::POST, id));
            rig.serve();
            rig.flush();
        }
        let forgotten = more(rig, before, |stats| stats.forgotten_early);
        assert_eq!((rig.endpoint.usage().remembered, forgotten), (quarter, if limit == 0 { 0 } else { 10 }));
        assert!(rig.is_served(honest(), 1));
    });
}

#[test]
fn replies_the_oldest_bytes_go_and_their_message_ids_stay() {
    let config = |limit| Config::builder().max_remembered_bytes(limit).max_remembered(32_768).build().unwrap();
    at_each_limit("bytes of replies", 4 << 20, config, |rig, limit| {
        rig.body = Bytes::from_static(&[b'x'; 1_000]);
        let (before, memory) = (rig.endpoint.stats(), live());
        let count = (limit / 1_000) as u16 + 50;
        let mut replies = Vec::new();
        for id in 0..count {
            replies
                .push(reply(rig, peer(1), con(if id.is_multiple_of(2) { Code::PUT } else { Code::POST }, id)).unwrap());
        }
        let kept: usize = replies.iter().map(Bytes::len).sum();
        assert!(live() - memory <= limit + kept + (1 << 20), "{}", live() - memory);
        let stats = rig.endpoint.stats();
        let forgotten = more(rig, before, |stats| stats.replies_forgotten);
        assert!(if limit > 2 { forgotten >= 50 } else { forgotten == u64::from(count) }, "{forgotten}");
        assert_eq!(rig.endpoint.usage().remembered, usize::from(count));
        // The newest is still there if any is; the oldest PUT is asked again, and the oldest POST is not.
        let last = count - 1;
        let again = reply(rig, peer(1), con(if last.is_multiple_of(2) { Code::PUT } else { Code::POST }, last));
        assert_eq!(again.is_some(), limit > 2 || last.is_multiple_of(2));
        let executed = rig.endpoint.stats().requests_received - stats.requests_received;
        assert_eq!(executed, u64::from(limit <= 2 && last.is_multiple_of(2)));
        assert_eq!(reply(rig, peer(1), con(Code::PUT, 0)).as_ref(), replies.first());
        assert_eq!(reply(rig, peer(1), con(Code::POST, 1)), None);
        assert_eq!(rig.endpoint.stats().requests_received, stats.requests_received + executed + 1);
        assert!(rig.is_served(honest(), 1));
    });
}

#[test]
fn backlog_one_more_is_busy_and_other_peers_are_not_kept_waiting() {
    let config = |limit| Config::builder().max_backlog(limit).build().unwrap();
    at_each_limit("backlog", 64, config, |rig, limit| {
        let ids: Vec<_> = (0..=limit).map(|_| rig.ask(peer(1)).unwrap()).collect();
        assert_eq!(rig.ask(peer(1)), Err(RequestError::Busy));
        let (_, first) = rig.next_sent();
        assert_eq!((rig.flush(), rig.endpoint.usage().in_flight), (0, 1));
        let other = rig.ask(honest()).unwrap();
        let (to, asked) = rig.next_sent();
        rig.arrive(to, answer(Type::Acknowledgement, asked.message_id, &asked));
        assert!(matches!(rig.endpoint.poll_event(), Some(Event::Response { id, .. }) if id == other));
        // An answer lets the next one go, and makes room for another.
        rig.arrive(peer(1), answer(Type::Acknowledgement, first.message_id, &first));
        assert_eq!(rig.flush(), limit.min(1));
        assert!(ids.get(1).is_none_or(|next| rig.endpoint.place(*next) == Some(Place::Sent)));
        rig.ask(peer(1)).unwrap();
        assert_eq!(rig.ask(peer(1)), Err(RequestError::Busy));
    });
}

#[test]
fn requests_one_more_is_refused_until_an_outcome_has_been_told() {
    let config = |limit| Config::builder().max_requests(limit).build().unwrap();
    at_each_limit("requests", 4_096, config, |rig, limit| {
        for n in 0..limit as u32 {
            rig.ask(peer(n)).unwrap();
        }
        assert_eq!(rig.ask(honest()), Err(RequestError::TooManyRequests));
        assert_eq!(rig.endpoint.usage().requests, limit);
        if limit > 0 {
            let (to, asked) = rig.next_sent();
            rig.arrive(to, answer(Type::Acknowledgement, asked.message_id, &asked));
            // What has not been told counts.
            assert_eq!(rig.ask(honest()), Err(RequestError::TooManyRequests));
            assert!(matches!(rig.endpoint.poll_event(), Some(Event::Response { .. })));
            rig.ask(honest()).unwrap();
        }
        assert!(rig.is_served(honest(), 1));
    });
}

#[test]
fn incoming_one_more_leaves_no_trace_and_has_another_chance() {
    let config = |limit| Config::builder().max_incoming(limit).max_refusals_per_second(0).build().unwrap();
    at_each_limit("incoming", 1_024, config, |rig, limit| {
        let before = rig.endpoint.stats();
        for n in 0..limit as u32 {
            rig.arrive(peer(n), con(Code::POST, 7));
        }
        let usage = rig.endpoint.usage();
        rig.arrive(honest(), con(Code::POST, 1));
        assert_eq!((rig.endpoint.usage(), more(rig, before, |stats| stats.refused_incoming)), (usage, 1));
        assert_eq!(rig.serve(), limit);
        assert_eq!(rig.is_served(honest(), 1), limit > 0);
    });
}

#[test]
fn incoming_one_peer_does_not_take_the_place_of_others() {
    let config = |limit| Config::builder().max_incoming_per_peer(limit).build().unwrap();
    at_each_limit("incoming of one peer", 16, config, |rig, limit| {
        let before = rig.endpoint.stats();
        for id in 0..limit as u16 + 10 {
            rig.arrive(peer(1), con(Code::POST, id));
        }
        assert_eq!(rig.endpoint.usage().incoming, limit);
        assert_eq!(more(rig, before, |stats| stats.refused_incoming), 10);
        rig.arrive(honest(), con(Code::GET, 1));
        assert_eq!(rig.serve(), if limit > 0 { limit + 1 } else { 0 });
    });
}

#[test]
fn responses_of_a_group_wait_up_to_the_limit_and_the_rest_is_dropped() {
    let config = |limit| Config::builder().max_group_responses(limit).build().unwrap();
    at_each_limit("responses of a group", 64, config, |rig, limit| {
        let before = rig.endpoint.stats();
        let group = Peer::from("224.0.1.187:5683".parse::<SocketAddr>().unwrap());
        let how = RequestOptions::new().non_confirmable();
        let id = rig.endpoint.request(rig.now, group, Request::get(), &how).unwrap();
        let (_, asked) = rig.next_sent();
        for n in 0..limit as u32 + 3 {
            rig.arrive(peer(n), answer(Type::NonConfirmable, n as u16, &asked));
        }
        assert_eq!(more(rig, before, |stats| stats.group_responses_dropped), 3);
        let told = core::iter::from_fn(|| rig.endpoint.poll_event()).count();
        assert_eq!(told, limit);
        assert!(rig.is_served(honest(), 1));
        rig.now += Duration::from_secs(250);
        rig.endpoint.handle_timeout(rig.now);
        let end = rig.endpoint.poll_event();
        assert!(matches!(end, Some(Event::Finished { id: ended }) if ended == id), "{end:?}");
    });
}

#[test]
fn outbox_what_does_not_fit_is_lost_and_sent_again_in_time() {
    let config = |limit| Config::builder().max_outbox(limit).build().unwrap();
    at_each_limit("outbox", 4_096, config, |rig, limit| {
        let before = rig.endpoint.stats();
        // As many requests as may be open, and acknowledgements for the rest.
        for n in 0..(limit as u32 + 3).min(4_000) {
            rig.ask(peer(n)).unwrap();
        }
        for id in 4_000..limit as u16 + 3 {
            rig.arrive(peer(5_000), encode(&Message::empty(Type::Confirmable, id)));
        }
        assert_eq!((rig.flush(), more(rig, before, |stats| stats.outbox_full)), (limit, 3));
        if limit > 0 {
            assert!(rig.is_served(honest(), 1));
        } else {
            // Nothing ever leaves, and every request comes to its end all the same.
            rig.now += Duration::from_secs(93);
            rig.endpoint.handle_timeout(rig.now);
            let ended = rig.endpoint.poll_event();
            assert!(matches!(ended, Some(Event::Failed { reason: Failure::NoAck, .. })), "{ended:?}");
        }
    });
}

#[test]
fn resets_are_met_with_silence_above_the_limit_of_a_second() {
    let config = |limit| Config::builder().max_resets_per_second(limit as u32).build().unwrap();
    at_each_limit("Resets a second", 1_000, config, |rig, limit| {
        let before = rig.endpoint.stats();
        for second in 1..=2 {
            for id in 0..limit as u16 + 5 {
                rig.arrive(peer(u32::from(id)), encode(&Message::empty(Type::Confirmable, id)));
            }
            assert_eq!(rig.flush(), limit);
            assert_eq!(more(rig, before, |stats| stats.resets_suppressed), 5 * second);
            assert!(rig.is_served(honest(), second as u16));
            rig.now += Duration::from_secs(1);
        }
    });
}

#[test]
fn refusals_are_silence_above_the_limit_of_a_second() {
    let config = |limit| Config::builder().max_incoming(1).max_refusals_per_second(limit as u32).build().unwrap();
    at_each_limit("refusals a second", 100, config, |rig, limit| {
        let before = rig.endpoint.stats();
        rig.arrive(peer(0), con(Code::GET, 1));
        // Which of them share a purse, a hash decides: with so many there is somebody for each.
        for n in 1..=10_000 {
            rig.arrive(peer(n), con(Code::GET, 1));
        }
        assert_eq!((rig.flush(), more(rig, before, |stats| stats.refusals_sent)), (limit, limit as u64));
        assert_eq!(more(rig, before, |stats| stats.refusals_suppressed), 10_000 - limit as u64);
        assert_eq!((rig.serve(), rig.endpoint.usage().peers), (1, 1));
        assert!(rig.is_served(honest(), 1));
    });
}

#[test]
fn back_offs_one_server_has_a_quarter_and_the_shortest_goes_first() {
    let config = |limit| Config::builder().max_back_offs(limit).build().unwrap();
    at_each_limit("back-offs", 256, config, |rig, limit| {
        let before = rig.endpoint.stats();
        let ask = |rig: &Rig, n: u32| {
            let mut request = Request::get();
            request.options.push_uri_path(&n.to_string()).unwrap();
            (request, rig.now)
        };
        let quarter = limit.div_ceil(4);
        for n in 0..300 {
            let (request, now) = ask(rig, n);
            rig.endpoint.request(now, honest(), request, &RequestOptions::new()).unwrap();
            let (to, asked) = rig.next_sent();
            let mut refusal = Message::empty(Type::Acknowledgement, asked.message_id);
            (refusal.code, refusal.token) = (Code::TOO_MANY_REQUESTS, asked.token);
            refusal.options.set_max_age(100 + n);
            rig.arrive(to, encode(&refusal));
            rig.serve();
        }
        assert_eq!(rig.endpoint.usage().back_offs, quarter);
        assert_eq!(more(rig, before, |stats| stats.back_offs_forgotten), 300 - quarter as u64);
        // The last are obeyed, and the others asked again.
        let back_off = |rig: &Rig, n| {
            let (request, now) = ask(rig, n);
            rig.endpoint.back_off(now, &honest(), request.code, &request.options).is_some()
        };
        assert_eq!((back_off(rig, 299), back_off(rig, 0)), (limit > 0, false));
    });
}
