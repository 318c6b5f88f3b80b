//! The counters that threads share: all atomics of the generator are here.
//!
//! Contract: each counter has one writing thread; anyone may read. All are Relaxed, since they publish nothing but themselves:
//! what a decision rests on (the final accounts) travels through channels. The `stop` flag is Relaxed for the same reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Written by one receiver thread. Aligned so that two threads never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReceiverTally {
    opened: AtomicU64,
    closed: AtomicU64,
    deliveries: AtomicU64,
    bytes: AtomicU64,
    settled: AtomicU64,
    gone: AtomicU64,
    late: AtomicU64,
    last_delivery_ns: AtomicU64,
}

/// The sums over all receiver threads at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Of these, those that the server has closed or we had to.
    pub(crate) closed: u64,
    /// Messages, duplicates included.
    pub(crate) deliveries: u64,
    /// From the sockets, frame headers included.
    pub(crate) bytes: u64,
    /// Messages without duplicates, on connections that are still open.
    pub(crate) settled: u64,
    /// Messages later than [`Marks::bound`].
    pub(crate) late: u64,
    /// When the last message arrived, in nanoseconds on the run's clock; 0 before the first.
    pub(crate) last_delivery_ns: u64,
}

impl Received {
    /// Over all receiver threads.
    pub(crate) fn sum(tallies: &[Arc<ReceiverTally>]) -> Self {
        let mut sums = Self::default();
        tallies.iter().for_each(|tally| tally.add_to(&mut sums));
        sums
    }

    /// Of `routed` deliveries, those that open connections still have to get. Who has gone is taken to have been due an
    /// even share.
    pub(crate) fn missing_of(&self, routed: u64) -> u64 {
        let open = u128::from(self.opened - self.closed.min(self.opened));
        // At most `routed`.
        let due = (u128::from(routed) * open / u128::from(self.opened.max(1))) as u64;
        due.saturating_sub(self.settled)
    }
}

impl ReceiverTally {
    /// A connection stands.
    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// A connection ended that had received `unique` different messages.
    pub(crate) fn closed(&self, unique: u64) {
        self.gone.fetch_add(unique, Relaxed);
        self.closed.fetch_add(1, Relaxed);
    }

    /// So many messages were later than they might be.
    pub(crate) fn late(&self, count: u64) {
        self.late.fetch_add(count, Relaxed);
    }

    /// One read brought `bytes` bytes with `deliveries` messages, `new` of them for the first time.
    pub(crate) fn read(&self, bytes: u64, deliveries: u64, new: u64, now_ns: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        if deliveries > 0 {
            self.deliveries.fetch_add(deliveries, Relaxed);
            self.settled.fetch_add(new, Relaxed);
            self.last_delivery_ns.store(now_ns, Relaxed);
        }
    }

    fn add_to(&self, sums: &mut Received) {
        sums.opened += self.opened.load(Relaxed);
        sums.closed += self.closed.load(Relaxed);
        sums.deliveries += self.deliveries.load(Relaxed);
        sums.bytes += self.bytes.load(Relaxed);
        sums.settled += self.settled.load(Relaxed).saturating_sub(self.gone.load(Relaxed));
        sums.late += self.late.load(Relaxed);
        sums.last_delivery_ns = sums.last_delivery_ns.max(self.last_delivery_ns.load(Relaxed));
    }
}

/// Written by the publisher thread, except `stop`, which its owner sets.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct PublisherTally {
    published: AtomicU64,
    routed: AtomicU64,
    stop: AtomicBool,
}

impl PublisherTally {
    /// So many messages have been handed to the socket, which make so many deliveries.
    pub(crate) fn published(&self, count: u64, routed: u64) {
        self.published.store(count, Relaxed);
        self.routed.store(routed, Relaxed);
    }

    /// Messages handed to the socket so far.
    pub(crate) fn count(&self) -> u64 {
        self.published.load(Relaxed)
    }

    /// Deliveries that these messages make.
    pub(crate) fn routed(&self) -> u64 {
        self.routed.load(Relaxed)
    }

    /// Asks the publisher to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// True exactly when the publisher was asked to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// Which latencies count, by the intended time of the message; written by the scenario before the first of them is sent.
#[derive(Debug)]
pub(crate) struct Marks {
    from_ns: AtomicU64,
    split_ns: AtomicU64,
    bound_us: AtomicU64,
}

/// Where a latency belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    WarmUp,
    Measured,
    /// Behind the split, where there is one.
    Later,
}

impl Default for Marks {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { from_ns: never(), split_ns: never(), bound_us: never() }
    }
}

impl Marks {
    /// Messages that are due at `from_ns` or later count.
    pub(crate) fn measure_from(&self, from_ns: u64) {
        self.from_ns.store(from_ns, Relaxed);
    }

    /// Those that are due at `split_ns` or later count apart.
    pub(crate) fn split_at(&self, split_ns: u64) {
        self.split_ns.store(split_ns, Relaxed);
    }

    /// What takes longer, and is not warm-up, is counted as late.
    pub(crate) fn bound(&self, bound_us: u64) {
        self.bound_us.store(bound_us, Relaxed);
    }

    /// True exactly when a latency is above the bound.
    pub(crate) fn is_late(&self, us: u64) -> bool {
        us > self.bound_us.load(Relaxed)
    }

    /// Where the latency of a message belongs that was due then.
    pub(crate) fn part(&self, intended_ns: u64) -> Part {
        if intended_ns < self.from_ns.load(Relaxed) {
            Part::WarmUp
        } else if intended_ns < self.split_ns.load(Relaxed) {
            Part::Measured
        } else {
            Part::Later
        }
    }
}
