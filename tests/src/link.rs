//! One direction of a path between two nodes: what the network does to a datagram.

use core::fmt;
use core::time::Duration;

use coap_core::Instant;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// How a path behaves in one direction.
///
/// Everything is drawn for each datagram by itself, except bursts and bandwidth, which remember.
///
/// ```
/// # use coap_sim::Link;
/// # use core::time::Duration;
/// let radio = Link::lossy(0.1).delay(Duration::from_millis(80)).jitter(Duration::from_millis(40)).mtu(127);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Link {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    mean_burst: f64,
    duplication: f64,
    reordering: f64,
    held_back: Duration,
    replayed: Duration,
    mtu: usize,
    bytes_per_second: u64,
    queue: Duration,
    reports: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl Link {
    /// Ten milliseconds each way, nothing lost, nothing limited.
    pub const fn new() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            mean_burst: 1.0,
            duplication: 0.0,
            reordering: 0.0,
            held_back: Duration::ZERO,
            replayed: Duration::ZERO,
            mtu: usize::MAX,
            bytes_per_second: 0,
            queue: Duration::from_secs(1),
            reports: true,
        }
    }

    /// As [`new`](Self::new), and this share of the datagrams is lost: 0.0 none, 1.0 all.
    pub const fn lossy(loss: f64) -> Self {
        Self::new().loss(loss)
    }

    /// How long a datagram travels at least; 10 ms unless said otherwise.
    pub const fn delay(mut self, span: Duration) -> Self {
        self.delay = span;
        self
    }

    /// Up to this much more, evenly drawn. Datagrams overtake each other when it is longer than the gap between them.
    pub const fn jitter(mut self, span: Duration) -> Self {
        self.jitter = span;
        self
    }

    /// The share of datagrams that are lost, 0.0 to 1.0.
    pub const fn loss(mut self, share: f64) -> Self {
        self.loss = share;
        self
    }

    /// Losses come in bursts of this many datagrams on average (the model of Gilbert: a path is good or bad, and a bad
    /// one loses everything). The share lost over a long time stays that of [`loss`](Self::loss), which must be below
    /// 1. 1.0, or less: each datagram by itself.
    pub const fn bursts(mut self, mean: f64) -> Self {
        self.mean_burst = mean;
        self
    }

    /// The share of datagrams that arrive twice, each copy after a delay of its own.
    pub const fn duplication(mut self, share: f64) -> Self {
        self.duplication = share;
        self
    }

    /// This share of the datagrams is held back by up to `span` more, so that later ones overtake them.
    pub const fn reordering(mut self, share: f64, span: Duration) -> Self {
        self.reordering = share;
        self.held_back = span;
        self
    }

    /// Somebody near the other end records each datagram that arrives, and sends it once more, up to `span` later. Zero: nobody
    /// does.
    pub const fn replayed(mut self, span: Duration) -> Self {
        self.replayed = span;
        self
    }

    /// The longest datagram that the path carries, in bytes; longer ones are lost.
    pub const fn mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// How many bytes a second leave; what comes faster waits in a queue of up to `queue`, and is lost beyond it. 0: no
    /// limit.
    pub const fn bandwidth(mut self, bytes_per_second: u64, queue: Duration) -> Self {
        self.bytes_per_second = bytes_per_second;
        self.queue = queue;
        self
    }

    /// A host that has no socket for a datagram does not say so (ICMP, port unreachable), as behind most firewalls.
    pub const fn without_reports(mut self) -> Self {
        self.reports = false;
        self
    }

    pub(crate) const fn carries_reports(&self) -> bool {
        self.reports
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives then.
    Arrives(Instant),
    /// It arrives twice.
    ArrivesTwice(Instant, Instant),
    /// It is lost, for this reason.
    Lost(&'static str),
}

impl Fate {
    pub(crate) fn arrivals(self) -> impl Iterator<Item = Instant> {
        let (first, second) = match self {
            Self::Arrives(at) => (Some(at), None),
            Self::ArrivesTwice(at, again) => (Some(at), Some(again)),
            Self::Lost(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrives(at) => write!(f, "arrives at {at}"),
            Self::ArrivesTwice(at, again) => write!(f, "arrives at {at} and {again}"),
            Self::Lost(why) => f.write_str(why),
        }
    }
}

/// One direction, with what it remembers.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) link: Link,
    /// False: a partition.
    pub(crate) open: bool,
    bad: bool,
    busy_until: Instant,
}

impl Channel {
    pub(crate) const fn new(link: Link) -> Self {
        Self { link, open: true, bad: false, busy_until: Instant::ZERO }
    }

    /// Decides about one datagram. The number of draws depends on the settings of the link and on what was drawn, so two
    /// runs agree as long as their inputs do.
    pub(crate) fn carry(&mut self, now: Instant, len: usize, rng: &mut ChaCha8Rng) -> Fate {
        if !self.open {
            return Fate::Lost("cut");
        }
        if len > self.link.mtu {
            return Fate::Lost("too long");
        }
        if self.loses(rng) {
            return Fate::Lost("lost");
        }
        let Some(leaves) = self.leaves(now, len) else { return Fate::Lost("queue full") };
        let first = self.travel(leaves, rng);
        if happens(self.link.duplication, rng) {
            return Fate::ArrivesTwice(first, self.travel(leaves, rng));
        }
        Fate::Arrives(first)
    }

    /// When what arrives at `arrival` comes once more.
    pub(crate) fn replay(&self, arrival: Instant, rng: &mut ChaCha8Rng) -> Option<Instant> {
        (!self.link.replayed.is_zero()).then(|| arrival + up_to(self.link.replayed, rng))
    }

    fn loses(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let Link { loss, mean_burst, .. } = self.link;
        if mean_burst <= 1.0 || loss <= 0.0 {
            return happens(loss, rng);
        }
        // In the long run loss = entering / (entering + leaving), and a burst lasts 1 / leaving.
        let leaving = 1.0 / mean_burst;
        let entering = leaving * loss / (1.0 - loss);
        self.bad = if self.bad { !happens(leaving, rng) } else { happens(entering, rng) };
        self.bad
    }

    /// When the last byte is on the wire. `None`: the queue is full.
    fn leaves(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let rate = self.link.bytes_per_second;
        if rate == 0 {
            return Some(now);
        }
        let begins = self.busy_until.max(now);
        if begins - now > self.link.queue {
            return None;
        }
        self.busy_until = begins + Duration::from_micros((len as u64).saturating_mul(1_000_000) / rate);
        Some(self.busy_until)
    }

    fn travel(&self, leaves: Instant, rng: &mut ChaCha8Rng) -> Instant {
        let mut arrives = leaves + self.link.delay + up_to(self.link.jitter, rng);
        if happens(self.link.reordering, rng) {
            arrives += up_to(self.link.held_back, rng);
        }
        arrives
    }
}

/// True with this probability. A probability of 0 draws nothing.
pub(crate) fn happens(probability: f64, rng: &mut ChaCha8Rng) -> bool {
    // 53 bits, because that many fit in an f64 without rounding.
    probability > 0.0 && ((rng.next_u64() >> 11) as f64) < probability * (1_u64 << 53) as f64
}

/// A span from zero to `most`, in whole microseconds.
fn up_to(most: Duration, rng: &mut ChaCha8Rng) -> Duration {
    let micros = most.as_micros();
    if micros == 0 {
        return Duration::ZERO;
    }
    Duration::from_micros(((micros * u128::from(rng.next_u64())) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const N: u32 = 100_000;

    fn fates(link: Link) -> Vec<Fate> {
        let (mut channel, mut rng) = (Channel::new(link), ChaCha8Rng::seed_from_u64(1));
        (0..N).map(|n| channel.carry(Instant::from_secs(n.into()), 100, &mut rng)).collect()
    }

    fn lost(fates: &[Fate]) -> f64 {
        fates.iter().filter(|fate| matches!(fate, Fate::Lost(_))).count() as f64 / f64::from(N)
    }

    #[test]
    fn a_share_is_lost() {
        for loss in [0.0, 0.01, 0.2, 0.5, 1.0] {
            let share = lost(&fates(Link::lossy(loss)));
            let sigma = (loss * (1.0 - loss) / f64::from(N)).sqrt();
            assert!((share - loss).abs() <= 3.0 * sigma, "{loss}: {share}");
        }
    }

    #[test]
    fn bursts_keep_the_share_and_have_their_length() {
        let fates = fates(Link::lossy(0.2).bursts(5.0));
        let share = lost(&fates);
        assert!((share - 0.2).abs() < 0.01, "{share}");
        let is_lost = |fate: &Fate| matches!(fate, Fate::Lost(_));
        let bursts = fates.windows(2).filter(|pair| !is_lost(&pair[0]) && is_lost(&pair[1])).count();
        let mean = share * f64::from(N) / bursts as f64;
        assert!((mean - 5.0).abs() < 0.25, "{mean}");
    }

    #[test]
    fn a_narrow_link_queues_and_then_loses() {
        let mut channel = Channel::new(Link::new().bandwidth(1_000, Duration::from_millis(250)));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut carry = || channel.carry(Instant::ZERO, 100, &mut rng);
        assert_eq!(carry(), Fate::Arrives(Instant::from_millis(110)));
        assert_eq!(carry(), Fate::Arrives(Instant::from_millis(210)));
        assert_eq!(carry(), Fate::Arrives(Instant::from_millis(310)));
        assert_eq!(carry(), Fate::Lost("queue full"));
    }

    #[test]
    fn what_is_too_long_is_lost_and_the_longest_is_not() {
        let fate = |mtu| fates(Link::new().mtu(mtu))[0];
        assert_eq!((fate(99), fate(100)), (Fate::Lost("too long"), Fate::Arrives(Instant::from_millis(10))));
    }

    #[test]
    fn jitter_and_holding_back_stay_in_their_range() {
        let (ms, link) = (Duration::from_millis(1), Link::new().jitter(Duration::from_millis(20)));
        let spans = |fates: &[Fate]| -> (Duration, Duration) {
            let spans = fates.iter().enumerate().map(|(n, fate)| match fate {
                Fate::Arrives(at) => *at - Instant::from_secs(n as u64),
                other => panic!("{other:?}"),
            });
            (spans.clone().min().unwrap(), spans.max().unwrap())
        };
        let (least, most) = spans(&fates(link));
        assert!(least >= 10 * ms && least < 11 * ms && most > 29 * ms && most <= 30 * ms, "{least:?} {most:?}");
        let (_, most) = spans(&fates(link.reordering(0.5, Duration::from_secs(1))));
        assert!(most > 1_000 * ms && most <= 1_030 * ms, "{most:?}");
    }
}
