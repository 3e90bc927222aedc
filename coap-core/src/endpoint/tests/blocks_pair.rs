//! Our clients and our server, with a network between them that loses, repeats and reorders: every body arrives as it was
//! sent, each request ends once, and nothing is left on either side.

use alloc::collections::BTreeMap;

use rand_chacha::rand_core::Rng;

use super::*;

/// A datagram on its way: from which node to which.
type Flying = (usize, usize, Vec<u8>);

/// Endpoints with a network between them. The first is the server.
struct Net {
    now: Instant,
    nodes: Vec<Endpoint>,
    flying: BTreeMap<(Instant, u64), Flying>,
    count: u64,
    rng: ChaCha8Rng,
    mood: Mood,
    serving: BTreeMap<IncomingId, Serving>,
    manner: Manner,
    /// Bodies that were put together by the server.
    stored: Vec<Vec<u8>>,
    /// What each request of a client became.
    ended: BTreeMap<(usize, RequestId), Result<Vec<u8>, Failure>>,
    received: BTreeMap<(usize, RequestId), Vec<u8>>,
    supplies: BTreeMap<(usize, RequestId), Vec<u8>>,
}

/// Of 100 datagrams, how many are lost, come twice, and come late.
#[derive(Clone, Copy, Default)]
struct Mood {
    lost: u64,
    twice: u64,
    late: u64,
}

/// What the server's application does.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// It takes bodies part by part.
    consumes: bool,
    answers: Answers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    Whole,
    Parts { sized: bool },
    Ranges,
}

/// A request as the server's application sees it.
struct Serving {
    code: Code,
    wanted: u64,
    query: Vec<u8>,
    body: Vec<u8>,
    /// What it is being answered with.
    reply: Vec<u8>,
}

/// A body that is known by its seed, wherever it is cut.
fn made(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| seed.wrapping_mul(37) ^ (n as u8) ^ ((n >> 8) as u8).wrapping_mul(11)).collect()
}

/// What is answered: to a GET the body that it names, to anything else its content turned around.
fn reply_to(query: &[u8], body: &[u8]) -> Vec<u8> {
    match core::str::from_utf8(query).ok().and_then(|query| query.parse().ok()) {
        Some(len) => made(7, len),
        None => body.iter().rev().copied().collect(),
    }
}

impl Net {
    fn new(seed: u64, mood: Mood, manner: Manner, configs: Vec<Config>) -> Self {
        let made = |(n, config)| Endpoint::new(config, ChaCha8Rng::seed_from_u64(seed * 8 + n as u64));
        Self {
            now: Instant::from_secs(1_000),
            nodes: configs.into_iter().enumerate().map(made).collect(),
            flying: BTreeMap::new(),
            count: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            mood,
            serving: BTreeMap::new(),
            manner,
            stored: Vec::new(),
            ended: BTreeMap::new(),
            received: BTreeMap::new(),
            supplies: BTreeMap::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    /// What the endpoints have to send leaves, and what they have to say is dealt with.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for from in 0..self.nodes.len() {
                let mut buf = vec![0; self.nodes[from].config().max_datagram()];
                while let Some(Transmit { to, len, .. }) = self.nodes[from].poll_transmit(&mut buf) {
                    quiet = false;
                    let to = usize::from(to.udp().unwrap().port() - 1_000);
                    self.fly(from, to, &buf[..len]);
                }
                while let Some(event) = self.nodes[from].poll_event() {
                    quiet = false;
                    if from == 0 { self.serve(event) } else { self.hear(from, event) }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let copies = 1 + u64::from(self.draw(100) < self.mood.twice);
        for _ in 0..copies {
            if self.draw(100) < self.mood.lost {
                continue;
            }
            let late = if self.draw(100) < self.mood.late { self.draw(20_000) } else { 0 };
            let delay = ms(20 + self.draw(5) + late);
            self.count += 1;
            self.flying.insert((self.now + delay, self.count), (from, to, bytes.to_vec()));
        }
    }

    /// Until nothing happens any more.
    fn run(&mut self) {
        self.settle();
        for _ in 0..200_000 {
            let timers = self.nodes.iter().filter_map(Endpoint::poll_timeout).min();
            let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timers.into_iter().chain(flying).min() else { return };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                let datagram = Datagram { from: peer(from as u16), to: Local::default(), payload: bytes.into() };
                self.nodes[to].handle_datagram(self.now, datagram);
                self.settle();
            }
            for node in 0..self.nodes.len() {
                self.nodes[node].handle_timeout(self.now);
            }
            self.settle();
        }
        panic!("it goes on for ever");
    }

    #[track_caller]
    fn is_empty(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.usage(), Usage::default(), "node {n}");
            assert!(node.is_idle(), "node {n}");
        }
    }

    // ----- The server's application --------------------------------------------------------------------------------

    fn serve(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Request(IncomingRequest { id, request, wanted, .. }) => {
                let query = request.options.uri_query().next().unwrap_or_default().to_vec();
                let body = request.body.as_bytes().to_vec();
                let serving = Serving { code: request.code, wanted: wanted.offset, query, body, reply: Vec::new() };
                self.serving.insert(id, serving);
                if !request.body.is_in_parts() {
                    self.answer(id, wanted.max);
                } else if self.manner.consumes {
                    assert!(self.nodes[0].consumed(now, id.request_body()));
                } else {
                    assert!(self.nodes[0].collect(now, id.request_body(), 1 << 20));
                }
            }
            Event::BodyPart { id, offset, data, last } => {
                let event::BodyOf::Incoming(of) = id.0 else { panic!("{id:?}") };
                let serving = self.serving.get_mut(&of).unwrap();
                assert_eq!(serving.body.len() as u64, offset);
                serving.body.extend_from_slice(&data);
                if last {
                    self.answer(of, 1_024);
                } else {
                    self.nodes[0].consumed(now, id);
                }
            }
            Event::BodyWanted { id, offset, max } => {
                let event::BodyOf::Reply(of) = id.0 else { panic!("{id:?}") };
                let reply = &self.serving.get(&of).unwrap().reply;
                let start = offset as usize;
                let ahead = self.rng.next_u64() as usize % 700;
                let end = (start + max + ahead).min(reply.len());
                let data = Bytes::copy_from_slice(&reply[start..end]);
                let last = end == reply.len() && (data.is_empty() || ahead.is_multiple_of(2));
                self.nodes[0].supply(now, id, data, last).unwrap();
            }
            Event::IncomingClosed { id, .. } => drop(self.serving.remove(&id)),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, id: IncomingId, max: usize) {
        let serving = self.serving.get_mut(&id).unwrap();
        if serving.code != Code::GET && serving.wanted == 0 {
            self.stored.push(serving.body.clone());
        }
        serving.reply = reply_to(&serving.query, &serving.body);
        let (reply, offset) = (serving.reply.clone(), serving.wanted);
        let size = Some(reply.len() as u64);
        let body = match self.manner.answers {
            Answers::Parts { sized } if offset == 0 => Body::Parts { size: size.filter(|_| sized) },
            Answers::Ranges if serving.code == Code::GET => {
                let start = reply.len().min(offset as usize);
                let end = reply.len().min(start + max);
                Body::Range { offset: start as u64, data: Bytes::copy_from_slice(&reply[start..end]), size }
            }
            _ => Body::from(reply),
        };
        let ranged = matches!(body, Body::Range { .. });
        let mut response = Response::new(Code::CONTENT).with_body(body);
        if ranged {
            response.options.push_etag(&ETag::new(b"v1").unwrap());
        }
        match self.nodes[0].respond(self.now, id, response) {
            Ok(()) => {}
            // As its documentation says.
            Err(RespondError::TooManyTransfers) => {
                self.nodes[0].respond(self.now, id, Response::new(Code::SERVICE_UNAVAILABLE)).unwrap();
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    // ----- The clients' applications -------------------------------------------------------------------------------

    fn ask(&mut self, from: usize, request: Request, how: &RequestOptions) -> RequestId {
        // Nobody here waits for a server that has no room.
        let how = &how.clone().ignore_back_off();
        let Request { code, options, body } = request;
        let id = match body {
            Body::Whole(body) if code != Code::GET && self.draw(3) == 0 => {
                let parts = Body::Parts { size: Some(body.len() as u64).filter(|size| size.is_multiple_of(2)) };
                let request = Request::new(code).with_options(options).with_body(parts);
                let id = self.nodes[from].request(self.now, peer(0), request, how).unwrap();
                self.supplies.insert((from, id), body.to_vec());
                id
            }
            body => {
                let request = Request::new(code).with_options(options).with_body(body);
                self.nodes[from].request(self.now, peer(0), request, how).unwrap()
            }
        };
        self.received.insert((from, id), Vec::new());
        id
    }

    fn hear(&mut self, at: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Response { id, response, .. } if response.body.is_in_parts() => {
                assert!(self.received.contains_key(&(at, id)));
            }
            Event::Response { id, response, .. } => {
                let result = match response.code.is_success() {
                    true => Ok(response.body.as_bytes().to_vec()),
                    false => Err(Failure::Blockwise(BlockFailure::Refused(response.code))),
                };
                self.end(at, id, result);
            }
            Event::BodyPart { id, offset, data, last } => {
                let event::BodyOf::Response(of) = id.0 else { panic!("{id:?}") };
                let body = self.received.get_mut(&(at, of)).unwrap();
                assert_eq!(body.len() as u64, offset);
                body.extend_from_slice(&data);
                if last {
                    let body = body.clone();
                    self.end(at, of, Ok(body));
                } else {
                    assert!(self.nodes[at].consumed(now, id));
                }
            }
            Event::BodyWanted { id, offset, max } => {
                let event::BodyOf::Request(of) = id.0 else { panic!("{id:?}") };
                let body = &self.supplies[&(at, of)];
                let end = body.len().min(offset as usize + max + 5);
                let data = Bytes::copy_from_slice(&body[offset as usize..end]);
                let last = end == body.len() && (data.is_empty() || offset.is_multiple_of(3));
                self.nodes[at].supply(now, id, data, last).unwrap();
            }
            Event::BodyFailed { id, reason } => {
                let event::BodyOf::Response(of) = id.0 else { panic!("{id:?}") };
                self.end(at, of, Err(reason));
            }
            Event::Failed { id, reason, .. } => self.end(at, id, Err(reason)),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, at: usize, id: RequestId, result: Result<Vec<u8>, Failure>) {
        assert!(self.received.remove(&(at, id)).is_some());
        assert!(self.ended.insert((at, id), result).is_none());
    }
}

const MANNERS: [Answers; 4] =
    [Answers::Whole, Answers::Parts { sized: false }, Answers::Parts { sized: true }, Answers::Ranges];

fn sized(szx: Option<u8>) -> Config {
    Config::builder().block_size(szx.and_then(BlockSize::from_szx)).max_body(1 << 20).build().unwrap()
}

fn get(len: usize) -> Request {
    let mut options = path(&["a"]);
    options.push(OptionNumber::URI_QUERY, len.to_string().as_bytes()).unwrap();
    Request::get().with_options(options)
}

fn post(body: Vec<u8>) -> Request {
    Request::new(Code::POST).with_options(path(&["a"])).with_body(body)
}

/// One request after the other, with bodies of every length, there and back. Each succeeds.
fn both_ways(server: Config, client: Config, manner: Manner, lengths: &[usize]) {
    let case = alloc::format!("{:?} {:?} {manner:?}", client.block_size, server.block_size);
    let (ours, theirs) = (client.block_size, server.block_size.unwrap_or(BlockSize::MAX));
    let mut net = Net::new(1, Mood::default(), manner, vec![server, client]);
    for &len in lengths {
        for parts in [false, true] {
            let how = if parts { RequestOptions::new().in_parts() } else { RequestOptions::new() };
            for request in [get(len), post(made(3, len))] {
                let upload = request.code == Code::POST;
                let expected = if upload { reply_to(b"", &made(3, len)) } else { made(7, len) };
                let before = net.nodes[1].stats().datagrams_sent;
                let id = net.ask(1, request, &how);
                net.settle();
                let deadline = net.now + secs(1_000);
                while !net.ended.contains_key(&(1, id)) && net.now < deadline {
                    step(&mut net);
                }
                let result = net.ended.remove(&(1, id));
                let got = result.as_ref().map(|result| result.as_ref().map(Vec::len));
                assert!(result == Some(Ok(expected)), "{len} bytes, {case}, {parts}: {got:?}");
                // Not one block more than the body has.
                let sent = net.nodes[1].stats().datagrams_sent - before;
                let size = ours.filter(|size| *size <= theirs).map(BlockSize::bytes);
                if let Some(size) =
                    size.filter(|_| manner.answers == Answers::Whole && net.nodes[1].config().max_datagram > 1_100)
                {
                    let blocks = len.div_ceil(size).max(1) as u64;
                    assert_eq!(sent, if upload { 2 * blocks - 1 } else { blocks }, "{len} bytes, {case}");
                }
            }
        }
    }
    net.run();
    net.is_empty();
    for node in &net.nodes {
        assert_eq!((node.stats().bad_blocks, node.stats().blocks_repeated), (0, 0));
    }
}

#[test]
fn bodies_of_every_length_and_block_size_go_both_ways() {
    let sizes = [None, Some(0), Some(3), Some(6)];
    let mut consumes = false;
    for (ours, theirs) in sizes.iter().flat_map(|ours| sizes.iter().map(move |theirs| (*ours, *theirs))) {
        for answers in MANNERS {
            consumes = !consumes;
            let manner = Manner { consumes, answers };
            both_ways(sized(theirs), sized(ours), manner, &[0, 1, 15, 16, 17, 1_023, 1_024, 1_025]);
        }
    }
}

#[test]
fn long_bodies_go_both_ways() {
    for (consumes, answers) in [(false, Answers::Whole), (true, Answers::Parts { sized: false })] {
        both_ways(sized(Some(6)), sized(None), Manner { consumes, answers }, &[65_536]);
    }
    both_ways(sized(None), sized(Some(2)), Manner { consumes: true, answers: Answers::Ranges }, &[65_537]);
}

#[test]
fn small_devices_exchange_bodies_in_small_datagrams() {
    for answers in MANNERS {
        for bytes in [64, 128, 1_152] {
            let config = || Config::constrained().max_datagram(bytes).build().unwrap();
            both_ways(config(), config(), Manner { consumes: bytes != 128, answers }, &[0, 1, 15, 16, 17, 500, 2_048]);
        }
    }
}

/// The next thing happens.
fn step(net: &mut Net) {
    let timers = net.nodes.iter().filter_map(Endpoint::poll_timeout).min();
    let flying = net.flying.first_key_value().map(|((at, _), _)| *at);
    let Some(next) = timers.into_iter().chain(flying).min() else { return };
    net.now = net.now.max(next);
    if let Some(entry) = net.flying.first_entry().filter(|entry| entry.key().0 <= net.now) {
        let (from, to, bytes) = entry.remove();
        let datagram = Datagram { from: peer(from as u16), to: Local::default(), payload: bytes.into() };
        net.nodes[to].handle_datagram(net.now, datagram);
    } else {
        for node in 0..net.nodes.len() {
            net.nodes[node].handle_timeout(net.now);
        }
    }
    net.settle();
}

/// Random requests of two clients to one resource over a bad network. How many succeeded, and how many there were.
fn chaos(seed: u64, mood: Mood, configs: fn(u64) -> Config) -> (usize, usize, Vec<(u64, Failure)>) {
    let manner = Manner { consumes: seed.is_multiple_of(2), answers: MANNERS[seed as usize / 2 % 4] };
    let mut net = Net::new(seed, mood, manner, (0..3).map(|n| configs(seed / 8 + n)).collect());
    let (mut asked, mut sent) = (BTreeMap::new(), Vec::new());
    for n in 0..12 {
        let from = 1 + net.draw(2) as usize;
        let len = [0, 1, 16, 17, 64, 1_000, 1_024, 1_025, 3_000][net.draw(9) as usize];
        let mut how = RequestOptions::new();
        if net.draw(2) == 0 {
            how = how.in_parts();
        }
        if net.draw(2) == 0 {
            how = how.block_size(BlockSize::from_szx(net.draw(7) as u8).unwrap());
        }
        if net.draw(6) == 0 {
            how = how.non_confirmable();
        }
        let (request, expected) = if net.draw(2) == 0 {
            (get(len), made(7, len))
        } else {
            let body = made(n, len);
            sent.push(body.clone());
            let expected = reply_to(b"", &body);
            (post(body), expected)
        };
        let id = net.ask(from, request, &how);
        asked.insert((from, id), expected);
        net.settle();
        for _ in 0..net.draw(40) {
            step(&mut net);
        }
        if net.draw(5) == 0 {
            let victim = *asked.keys().nth(net.rng.next_u64() as usize % asked.len()).unwrap();
            if net.nodes[victim.0].cancel(net.now, victim.1) {
                asked.remove(&victim);
                net.received.remove(&victim);
            }
        }
    }
    net.run();
    assert!(net.received.is_empty(), "seed {seed}: {:?} never ended", net.received.keys());
    net.is_empty();
    for body in &net.stored {
        assert!(sent.contains(body), "seed {seed}: spliced a request of {} bytes", body.len());
    }
    let (mut succeeded, mut failures) = (0, Vec::new());
    for (of, expected) in &asked {
        match net.ended.get(of).unwrap() {
            Ok(body) => {
                assert!(body == expected, "seed {seed}: spliced or mixed up a response of {} bytes", body.len());
                succeeded += 1;
            }
            Err(reason) => failures.push((seed, *reason)),
        }
    }
    (succeeded, asked.len(), failures)
}

fn roomy(n: u64) -> Config {
    let szx = [None, None, Some(0), Some(2), Some(5), Some(6)][n as usize % 6];
    sized(szx)
}

fn tight(n: u64) -> Config {
    let szx = [None, None, Some(0), Some(2), Some(5), Some(6)][n as usize % 6];
    let config = Config::constrained().block_size(szx.and_then(BlockSize::from_szx)).max_body(4_000);
    let config = config.max_requests(16).max_backlog(16).max_transfer_bytes(3_000 + n as usize % 3 * 2_000);
    config.max_datagram([64, 128, 1_152][n as usize % 3]).build().unwrap()
}

#[test]
fn without_trouble_every_body_arrives_however_many_are_under_way() {
    for seed in 0..60 {
        // A server that streams to a client does so once for one resource.
        if !matches!(MANNERS[seed as usize / 2 % 4], Answers::Parts { .. }) {
            let (succeeded, total, failures) = chaos(seed, Mood::default(), roomy);
            assert_eq!(succeeded, total, "{failures:?}");
        }
    }
}

#[test]
fn over_a_bad_network_nothing_is_spliced() {
    let mut sum = (0, 0);
    for seed in 0..60 {
        let (succeeded, total, failures) = chaos(seed, Mood { lost: 15, twice: 10, late: 10 }, roomy);
        sum = (sum.0 + succeeded, sum.1 + total);
        if !matches!(MANNERS[seed as usize / 2 % 4], Answers::Parts { .. }) {
            let lost = |failure| matches!(failure, Failure::NoAck | Failure::NoResponse | Failure::NotSent);
            assert!(failures.iter().all(|(_, failure)| lost(*failure)), "{failures:?}");
        }
    }
    assert!(sum.0 * 100 > sum.1 * 85, "{sum:?}");
}

#[test]
fn with_little_room_nothing_is_spliced() {
    for seed in 0..60 {
        chaos(seed, Mood { lost: 10, twice: 10, late: 10 }, tight);
    }
}

/// What ends a transfer before its time.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Cancel,
    Unreachable,
    Reset,
    Shutdown,
    /// The server hears nothing any more.
    Deaf,
    /// The client does not.
    Gone,
    /// The server forgets everything.
    Reboot,
    Ignore,
    Refuse,
}

#[test]
fn whatever_ends_a_transfer_at_whatever_step_nothing_is_left() {
    use Blow::*;
    for answers in MANNERS {
        for blow in [Cancel, Unreachable, Reset, Shutdown, Deaf, Gone, Reboot, Ignore, Refuse] {
            for after in 0..40_u64 {
                let manner = Manner { consumes: after.is_multiple_of(2), answers };
                let mut net = Net::new(after, Mood::default(), manner, vec![sized(Some(0)), sized(Some(0))]);
                let how =
                    if after.is_multiple_of(3) { RequestOptions::new().in_parts() } else { RequestOptions::new() };
                let id = net.ask(1, post(made(3, 70)), &how);
                net.settle();
                for _ in 0..after {
                    step(&mut net);
                }
                let now = net.now;
                let incoming = net.serving.keys().next().copied();
                match blow {
                    Cancel => {
                        net.nodes[1].cancel(now, id);
                        net.received.clear();
                    }
                    Unreachable => {
                        net.nodes[1].handle_unreachable(now, peer(0));
                        net.nodes[0].handle_unreachable(now, peer(1));
                    }
                    Reset => {
                        for ((_, _), (from, to, bytes)) in core::mem::take(&mut net.flying) {
                            let reset = empty(Type::Reset, u16::from_be_bytes([bytes[2], bytes[3]])).into();
                            let datagram = Datagram { from: peer(to as u16), to: Local::default(), payload: reset };
                            net.nodes[from].handle_datagram(now, datagram);
                        }
                    }
                    Shutdown => net.nodes.iter_mut().for_each(|node| node.begin_shutdown(now)),
                    Deaf => net.mood.lost = 100,
                    Gone => {
                        let gone = Endpoint::new(sized(None), ChaCha8Rng::seed_from_u64(99));
                        net.nodes[1] = gone;
                        net.received.clear();
                    }
                    Reboot => {
                        net.nodes[0] = Endpoint::new(sized(Some(0)), ChaCha8Rng::seed_from_u64(99));
                        net.serving.clear();
                    }
                    Ignore => drop(incoming.map(|id| net.nodes[0].ignore(now, id))),
                    Refuse => {
                        let long = Response::diagnostic(Code::FORBIDDEN, made(5, 100));
                        incoming.map(|id| net.nodes[0].respond(now, id, long));
                    }
                }
                net.run();
                net.is_empty();
                assert!(net.received.is_empty(), "{blow:?} after {after} steps, {manner:?}: it never ended");
                if let Some(Ok(body)) = net.ended.get(&(1, id)) {
                    let whole = [reply_to(b"", &made(3, 70)), made(5, 100)];
                    assert!(whole.contains(body), "{blow:?} after {after} steps, {manner:?}: spliced");
                }
            }
        }
    }
}
