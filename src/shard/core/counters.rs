//! What a shard counts: plain numbers, owned by the shard, copied to whoever asks.

use super::Shard;
use super::ledger::Ledger;
use crate::protocol::close::Reason;

/// A histogram over powers of two: bucket `n` counts values up to `2^n`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Powers {
    pub(crate) buckets: [u64; Self::BUCKETS],
    pub(crate) sum: u64,
}

impl Powers {
    /// The last bucket takes everything above `2^19`.
    pub(crate) const BUCKETS: usize = 21;

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        let bucket = (64 - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum += value;
    }
}

/// See the module. Totals count since the shard began, the rest is now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Connections now.
    pub(crate) connections: u64,
    /// Of these, behind a full socket.
    pub(crate) blocked: u64,
    /// Ended ones whose socket waits for its close, and whose seat is taken until then.
    pub(crate) closing: u64,
    /// Subscriptions now.
    pub(crate) subscriptions: u64,
    /// Connections adopted, total.
    pub(crate) opened: u64,
    /// Connections ended, total, by reason.
    pub(crate) dropped: [u64; Reason::COUNT],
    /// What became of all topics' deliveries.
    pub(crate) account: Ledger,
    /// Deliveries in the log or in queues now, counted there: what the account has left must be the same.
    pub(crate) pending: u64,
    /// Messages of histories sent to who resumed or joined, total; no part of the account.
    pub(crate) replayed: u64,
    /// Of these, those that began a snapshot.
    pub(crate) snapshots: u64,
    /// Pieces of histories encoded, total.
    pub(crate) replays_encoded: u64,
    /// Comings and goings for which the register had no room, total.
    pub(crate) unregistered: u64,
    /// Messages that did not fit a datagram, summed over those who were to be sent them, total.
    pub(crate) oversized: u64,
    /// Datagrams that came and were not acted on: nobody's, or no room for them, total.
    pub(crate) datagrams_ignored: u64,
    /// Bytes the kernel took, total.
    pub(crate) bytes: u64,
    /// Bytes that came in, total.
    pub(crate) bytes_received: u64,
    /// Messages waiting in the inbox now.
    pub(crate) inbox_frames: u64,
    /// Frames in outbound queues now.
    pub(crate) queued_frames: u64,
    /// Bytes in outbound queues now, each frame once.
    pub(crate) queued_bytes: u64,
    /// Slots paid per sweep.
    pub(crate) sweep_slots: Powers,
    /// Frames per write of a sweep.
    pub(crate) write_frames: Powers,
}

impl Shard {
    /// A copy of what is counted, with what is true now.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.writers.len() as u64,
            account: self.ledgers.all(),
            pending: self.log.pending().map(|(_, count)| count).sum::<u64>() + self.queued.deliveries,
            queued_frames: self.queued.frames as u64,
            queued_bytes: self.queued.bytes as u64,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lands_in_the_first_bucket_that_holds_it() {
        let mut powers = Powers::default();
        for value in [0, 1, 2, 3, 4, 1 << 19, u64::MAX >> 1] {
            powers.record(value);
        }
        assert_eq!(powers.buckets[..3], [2, 1, 2]);
        assert_eq!(powers.buckets[19], 1);
        assert_eq!(powers.buckets[20], 1);
    }
}
