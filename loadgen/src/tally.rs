//! The counters that threads share: all atomics of the generator are here.
//!
//! Contract: each counter has one writing thread; anyone may read. All are Relaxed, since they publish nothing but themselves:
//! what a decision rests on (the final accounts) travels through channels. The `stop` flag is Relaxed for the same reason.

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
    /// When the last message arrived, in nanoseconds on the run's clock; 0 before the first.
    pub(crate) last_delivery_ns: u64,
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

    /// One read brought `bytes` bytes with `deliveries` messages, `new` of them for the first time.
    pub(crate) fn read(&self, bytes: u64, deliveries: u64, new: u64, now_ns: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        if deliveries > 0 {
            self.deliveries.fetch_add(deliveries, Relaxed);
            self.settled.fetch_add(new, Relaxed);
            self.last_delivery_ns.store(now_ns, Relaxed);
        }
    }

    /// Adds this thread's counters to the sums.
    pub(crate) fn add_to(&self, sums: &mut Received) {
        sums.opened += self.opened.load(Relaxed);
        sums.closed += self.closed.load(Relaxed);
        sums.deliveries += self.deliveries.load(Relaxed);
        sums.bytes += self.bytes.load(Relaxed);
        sums.settled += self.settled.load(Relaxed).saturating_sub(self.gone.load(Relaxed));
        sums.last_delivery_ns = sums.last_delivery_ns.max(self.last_delivery_ns.load(Relaxed));
    }
}

/// Written by the publisher thread, except `stop`, which its owner sets.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct PublisherTally {
    published: AtomicU64,
    stop: AtomicBool,
}

impl PublisherTally {
    /// So many messages have been handed to the socket.
    pub(crate) fn published(&self, count: u64) {
        self.published.store(count, Relaxed);
    }

    /// Messages handed to the socket so far.
    pub(crate) fn count(&self) -> u64 {
        self.published.load(Relaxed)
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
