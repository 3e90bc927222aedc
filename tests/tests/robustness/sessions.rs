//! what can be done to a server with secure sessions by those who have none: hellos, handshakes that fail, forgeries of
//! records and alerts. Ten clients have sessions, and ask all the while.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::{Instant as Clock, SystemTime};

use bytes::Bytes;
use coap_core::{Code, Config, Datagram, Endpoint, Event, Instant, Local, Peer, Request, RequestOptions, Response};
use coap_core::{SessionId, UdpAddr};
use coap_dtls::keygen::{Authority, Issued, Validity};
use coap_dtls::{
    CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, DangerousAcceptAny, Limits, PskTable,
    SecureEndpoint, SecurityConfig, ServerSecurity, WebPkiVerifier, certificates_from_pem,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::memory::{alone, live};
use crate::{count, repeat_with};

const HONEST: u32 = 10;
/// Where the server is.
const SERVER: UdpAddr = address([192, 0, 2, 9], 5_684);

const fn address(ip: [u8; 4], port: u16) -> UdpAddr {
    let [a, b, c, d] = ip;
    UdpAddr::new(SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(a, b, c, d)), port))
}

/// Stranger number `n`.
fn stranger(n: u64) -> UdpAddr {
    let [.., a, b, c] = (n / 50_000).to_be_bytes();
    address([10, a, b, c], 1_000 + (n % 50_000) as u16)
}

fn client(identity: &str, key: &str) -> ClientSecurity {
    SecurityConfig::client(ClientPsk::new(identity, key).unwrap()).build().unwrap()
}

/// An endpoint at an address, with sessions.
struct Party {
    endpoint: SecureEndpoint,
    at: UdpAddr,
    session: SessionId,
}

/// The server, its honest clients, and what has passed between it and others.
struct Town {
    server: SecureEndpoint,
    security: ClientSecurity,
    now: Instant,
    buf: Vec<u8>,
    honest: Vec<Party>,
    answered: u64,
    /// Bytes from strangers, and to them.
    came: u64,
    went: u64,
    /// What is allocated before anything happens, and at most.
    empty: usize,
    most: usize,
    /// What is allocated after the last questions, and what strangers have added to it until the next, at most.
    mark: usize,
    grown: usize,
    busy: Duration,
    hostile: u64,
}

impl Town {
    fn new(psk: &ServerSecurity) -> Self {
        let rng = |seed| ChaCha20Rng::seed_from_u64(seed);
        let mut server = SecureEndpoint::new(Endpoint::new(Config::default(), rng(1)), Limits::default(), rng(2));
        server.listen(0, psk).unwrap();
        let (now, buf) = (Instant::from_secs(1_000), vec![0; 65_536]);
        let (answered, hostile, came, went) = (0, 0, 0, 0);
        let security = client("honest", "the key of the honest");
        let (honest, busy) = (Vec::new(), Duration::ZERO);
        let mut town = Self {
            server,
            security,
            now,
            buf,
            honest,
            answered,
            came,
            went,
            empty: 0,
            most: 0,
            mark: usize::MAX,
            grown: 0,
            busy,
            hostile,
        };
        for n in 0..HONEST {
            let party = town.handshake(address([192, 0, 2, 100 + n as u8], 40_000), &town.security.clone());
            town.honest.push(party);
        }
        town.ask();
        town.empty = live();
        town
    }

    /// With pre-shared keys.
    fn keys() -> Self {
        let keys = PskTable::new().with("honest", "the key of the honest").unwrap();
        Self::new(&SecurityConfig::server().psk(keys).build().unwrap())
    }

    /// A client whose handshake is done, or has failed.
    fn handshake(&mut self, at: UdpAddr, security: &ClientSecurity) -> Party {
        let rng = |part| ChaCha20Rng::seed_from_u64(u64::from(at.port()) << 2 | part);
        let endpoint = Endpoint::new(Config::default(), rng(0));
        let mut endpoint = SecureEndpoint::new(endpoint, Limits::default(), rng(1));
        let session = endpoint.connect(self.now, SERVER, 0, security, None).unwrap();
        let mut party = Party { endpoint, at, session };
        self.carry(&mut party);
        party
    }

    /// Carries everything between the server and one of its clients, until both are silent.
    fn carry(&mut self, party: &mut Party) {
        loop {
            let mut moved = false;
            while let Some(transmit) = party.endpoint.poll_transmit(&mut self.buf) {
                let payload = Bytes::copy_from_slice(&self.buf[..transmit.len]);
                let datagram = Datagram { from: Peer::Udp(party.at), to: Local::default(), payload };
                self.server.handle_datagram(self.now, datagram);
                moved = true;
            }
            self.serve();
            while let Some(transmit) = self.server.poll_transmit(&mut self.buf) {
                if transmit.to == Peer::Udp(party.at) {
                    let payload = Bytes::copy_from_slice(&self.buf[..transmit.len]);
                    let datagram = Datagram { from: Peer::Udp(SERVER), to: Local::default(), payload };
                    party.endpoint.handle_datagram(self.now, datagram);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn serve(&mut self) {
        while let Some(event) = self.server.poll_event() {
            if let Event::Request(request) = event {
                assert!(matches!(request.peer, Peer::Session(_)), "nothing is taken in the clear");
                self.server.respond(self.now, request.id, Response::new(Code::CONTENT)).unwrap();
            }
        }
    }

    /// A tenth of a second passes, and each honest client asks for something in its session.
    fn ask(&mut self) {
        self.grown = self.grown.max(live().saturating_sub(self.mark));
        self.pass(Duration::from_millis(100));
        let mut honest = core::mem::take(&mut self.honest);
        for party in &mut honest {
            let (to, how) = (Peer::Session(party.session), RequestOptions::new());
            party.endpoint.request(self.now, to, Request::get(), &how).unwrap();
            self.carry(party);
            while let Some(event) = party.endpoint.poll_event() {
                self.answered += u64::from(matches!(event, Event::Response { .. }));
            }
        }
        self.honest = honest;
        let asked = self.answered / u64::from(HONEST) * u64::from(HONEST);
        assert_eq!(self.answered, asked, "the sessions go on");
        self.most = self.most.max(live().saturating_sub(self.empty));
        self.mark = live();
    }

    /// Lets time pass. What timers send to strangers is counted.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// What the server sends to strangers, the last of it.
    fn drain(&mut self) -> Option<usize> {
        self.serve();
        let mut last = None;
        while let Some(transmit) = self.server.poll_transmit(&mut self.buf) {
            self.went += transmit.len as u64;
            last = Some(transmit.len);
        }
        last
    }

    /// A datagram of a stranger; how long the last one is that answers it.
    fn hostile(&mut self, from: UdpAddr, datagram: &[u8]) -> Option<usize> {
        let start = Clock::now();
        let payload = Bytes::copy_from_slice(datagram);
        self.server.handle_datagram(self.now, Datagram { from: Peer::Udp(from), to: Local::default(), payload });
        let last = self.drain();
        self.busy += start.elapsed();
        self.hostile += 1;
        self.came += datagram.len() as u64;
        last
    }

    fn report(mut self, what: &str, grown: usize) {
        assert_eq!(self.answered % u64::from(HONEST), 0);
        self.ask();
        // Handshakes that nobody goes on with are over after 40 s.
        self.pass(Duration::from_secs(400));
        self.ask();
        let stats = self.server.session_stats();
        assert_eq!((stats.sessions, stats.half_open), (HONEST as usize, 0), "{what}: {stats:?}");
        assert_eq!(stats.closed.total(), 0, "{what}: {stats:?}");
        let kept = live().saturating_sub(self.empty);
        let each = self.busy.as_secs_f64() * 1e6 / self.hostile as f64;
        println!(
            "{what}: {} hostile datagrams, {each:.2} µs each, {} bytes in, {} out",
            self.hostile, self.came, self.went
        );
        println!(
            "  honest: {} asked and answered; memory: {} bytes at most, {kept} kept, {} of strangers within a tenth of a second",
            self.answered, self.most, self.grown
        );
        println!(
            "  {} cookies sent, {} wrong, {} handshakes begun, {} dropped, failed: {:?}",
            stats.cookies_sent, stats.cookies_wrong, stats.begun, stats.half_open_dropped, stats.failed
        );
        assert!(self.grown <= grown && self.most <= 32 << 20, "{what}: {} {} bytes at most", self.grown, self.most);
        assert!(kept <= 512 << 10, "{what}: {kept} bytes kept");
    }
}

/// The hellos of a client: without a cookie, and with one.
struct Hellos {
    first: Vec<u8>,
    second: Vec<u8>,
}

/// Where a hello has its random, and its cookie.
const RANDOM: core::ops::Range<usize> = 27..59;
const COOKIE: core::ops::Range<usize> = 61..93;

impl Hellos {
    fn new(town: &mut Town) -> Self {
        let rng = |seed| ChaCha20Rng::seed_from_u64(seed);
        let endpoint = Endpoint::new(Config::default(), rng(3));
        let mut client = SecureEndpoint::new(endpoint, Limits::default(), rng(4));
        client.connect(town.now, SERVER, 0, &town.security, None).unwrap();
        let mut next = |client: &mut SecureEndpoint| {
            let transmit = client.poll_transmit(&mut town.buf).unwrap();
            town.buf[..transmit.len].to_vec()
        };
        let first = next(&mut client);
        // The cookie of any server will do.
        let mut request = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47];
        request.extend_from_slice(&[3, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0, 35, 0xfe, 0xff, 32]);
        request.extend_from_slice(&[7; 32]);
        let payload = Bytes::from(request);
        client.handle_datagram(town.now, Datagram { from: Peer::Udp(SERVER), to: Local::default(), payload });
        let second = next(&mut client);
        assert_eq!(second[COOKIE], [7; 32]);
        Self { first, second }
    }

    fn first(&mut self, n: u64) -> &[u8] {
        self.first[RANDOM][..8].copy_from_slice(&n.to_be_bytes());
        &self.first
    }

    fn second(&mut self, n: u64, cookie: &[u8]) -> &[u8] {
        self.second[RANDOM][..8].copy_from_slice(&n.to_be_bytes());
        self.second[COOKIE].copy_from_slice(cookie);
        &self.second
    }
}

#[test]
fn r26_hellos_without_a_cookie_or_with_a_forged_one_leave_nothing() {
    let _alone = alone();
    let hellos = count(20_000);
    let mut town = Town::keys();
    let mut made = Hellos::new(&mut town);
    town.empty = live();
    let mut rng = ChaCha20Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let begun = town.server.session_stats().begun;
    for n in 0..hellos {
        let mut cookie = [0; 32];
        rng.fill_bytes(&mut cookie);
        let hello = if n % 2 == 0 { made.first(n) } else { made.second(n, &cookie) };
        let (came, went) = (hello.len(), town.hostile(stranger(n), hello));
        assert!(went.is_some_and(|went| went <= came), "{went:?} bytes for {came}");
        if n.is_multiple_of(1_000) {
            town.ask();
        }
    }
    let stats = town.server.session_stats();
    assert_eq!((stats.begun, stats.half_open), (begun, 0), "{stats:?}");
    assert!(stats.cookies_wrong >= hellos / 2 && town.went <= town.came);
    town.report("R-26, hellos without a cookie or with a forged one", 32 << 10);
    repeat_with("r26_hellos_without", 1_000_000);
}

#[test]
fn r26_hellos_with_a_cookie_and_then_silence_are_bounded() {
    let _alone = alone();
    let hellos = count(3_000);
    let mut town = Town::keys();
    let mut made = Hellos::new(&mut town);
    town.empty = live();
    let mut half_open = 0;
    for n in 0..hellos {
        let from = stranger(n);
        let sent = town.hostile(from, made.first(n)).unwrap();
        let cookie = town.buf[sent - 32..sent].to_vec();
        town.hostile(from, made.second(n, &cookie)).expect("a ServerHello: the cookie is right");
        half_open = half_open.max(town.server.session_stats().half_open);
        if n.is_multiple_of(500) {
            town.ask();
            // Somebody else comes in all the same, without anything being repeated.
            let mut new = town.handshake(address([192, 0, 2, 200], 1_000), &town.security.clone());
            assert!(new.endpoint.session(new.session).is_some_and(|session| session.identity.is_some()));
            new.endpoint.disconnect(town.now, new.session);
            town.carry(&mut new);
        }
    }
    assert_eq!(half_open, town.server.limits().max_half_open().min(hellos as usize));
    // As many as there may be, of at most 10 KB each, and what is repeated to them.
    let stats = town.server.session_stats();
    let visitors = stats.closed.peer;
    assert_eq!(visitors, hellos.div_ceil(500));
    assert_eq!(stats.half_open_dropped, hellos - half_open as u64);
    town.pass(Duration::from_secs(400));
    let stats = town.server.session_stats();
    assert_eq!((stats.sessions, stats.half_open), (HONEST as usize, 0));
    let (most, kept) = (town.most, live().saturating_sub(town.empty));
    let each = town.busy.as_secs_f64() * 1e6 / town.hostile as f64;
    println!("R-26, hellos with a cookie, then silence: {} hostile datagrams, {each:.2} µs each", town.hostile);
    println!("  {half_open} half-open at most; memory: {most} bytes at most, {kept} kept");
    assert!(most <= 1_024 * 10_240 + (1 << 20) && kept <= 1 << 20, "{most} {kept}");
    town.ask();
    repeat_with("r26_hellos_with_a", 1_000_000);
}

/// An authority, and what it signs.
fn authority(name: &str, seed: u64) -> (WebPkiVerifier, CertifiedKey, CertifiedKey) {
    let (rng, valid) = (&mut ChaCha20Rng::seed_from_u64(seed), Validity::days_from(SystemTime::now(), 2));
    let authority = Authority::new(name, valid, rng).unwrap();
    let own = |issued: &Issued| CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap();
    let server = own(&authority.server(&["server.example"], valid, rng).unwrap());
    let client = own(&authority.client("client", valid, rng).unwrap());
    let verifier = WebPkiVerifier::new(certificates_from_pem(authority.certificate().unwrap()).unwrap()).unwrap();
    (verifier, server, client)
}

#[test]
fn r26_handshakes_that_fail_leave_nothing_behind() {
    let _alone = alone();
    let handshakes = count(100);
    let (trust, own, _) = authority("ours", 1);
    let (_, _, foreign) = authority("theirs", 2);
    let keys = PskTable::new().with("honest", "the key of the honest").unwrap();
    let server = SecurityConfig::server().psk(keys).certificate(own).client_auth(ClientAuth::Required);
    let mut town = Town::new(&server.verifier(trust).build().unwrap());
    let failing = [
        client("honest", "not the key of the honest"),
        client("nobody", "a key"),
        SecurityConfig::client(CertConfig::new(DangerousAcceptAny).own(foreign)).build().unwrap(),
        SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).build().unwrap(),
    ];
    let before = town.server.session_stats();
    for n in 0..handshakes {
        let start = Clock::now();
        let party = town.handshake(stranger(n), &failing[n as usize % failing.len()]);
        town.busy += start.elapsed();
        town.hostile += 1;
        let session = party.endpoint.session(party.session);
        assert!(session.is_none_or(|session| session.identity.is_none()), "handshake {n} has not failed");
        drop(party);
        if n.is_multiple_of(50) {
            town.ask();
        }
        if n == 20 {
            // The first of each kind make what is kept for all.
            town.empty = live();
        }
    }
    town.pass(Duration::from_secs(100));
    let stats = town.server.session_stats();
    // What could have been forged, clients try once more.
    assert_eq!(stats.failed.total() - before.failed.total(), stats.begun - before.begun, "{:?}", stats.failed);
    assert_eq!(stats.established, before.established);
    assert!(stats.failed.wrong_key >= handshakes / 2, "an unknown identity fails as a wrong key: {:?}", stats.failed);
    town.report("R-26, handshakes that fail (each both ends)", 1 << 20);
    repeat_with("r26_handshakes", 10_000);
}

#[test]
fn r26_forged_records_and_alerts_and_hellos_do_not_end_sessions() {
    let _alone = alone();
    let records = count(50_000);
    let mut town = Town::keys();
    let mut made = Hellos::new(&mut town);
    town.empty = live();
    let mut rng = ChaCha20Rng::seed_from_u64(coap_sim::seed_from_env(1));
    for n in 0..records {
        let from = town.honest[n as usize % HONEST as usize].at;
        let (kind, epoch) = [(23, 1), (21, 1), (21, 0), (22, 1), (20, 0), (23, 0), (22, 0)][n as usize / 10 % 7];
        let mut body = vec![0; [2, 16, 17, 24, 40, 200, 1_200][rng.next_u32() as usize % 7]];
        rng.fill_bytes(&mut body);
        if (kind, epoch) == (21, 0) {
            // close_notify, decrypt_error and others, as if the peer had sent them.
            body = vec![1 + (n % 2) as u8, [0, 10, 20, 40, 51, 80][rng.next_u32() as usize % 6]];
        }
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch];
        record.extend_from_slice(&rng.next_u64().to_be_bytes()[2..]);
        record.extend_from_slice(&(body.len() as u16).to_be_bytes());
        record.extend_from_slice(&body);
        let hello;
        let datagram = if n % 70 == 69 {
            hello = made.first(n).to_vec();
            &hello
        } else {
            &record
        };
        town.hostile(from, datagram);
        if n.is_multiple_of(1_000) {
            town.ask();
        }
    }
    assert!(town.went <= town.came);
    town.report("R-26, forged records, alerts and hellos in live sessions", 64 << 10);
    repeat_with("r26_forged", 1_000_000);
}
