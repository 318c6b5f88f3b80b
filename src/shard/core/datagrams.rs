//! Slots that are sent datagrams: each frame in one of its own, many of them in one system call, whoever they are for.
//!
//! There is no queue behind them: a message that does not fit a datagram, or that the kernel does not take at once, is
//! skipped and counted, and the client sees it by the numbers. So such a slot is never behind, and its class does not
//! matter.

use super::Shard;
use super::debts::Run;
use super::writer::{Offer, Sockets, State, Taken};
use crate::ids::{ConnectionId, Slot};
use crate::limits::SENDS_PER_YIELD;
use crate::message::wire::Wire;
use crate::message::{Encoding, tcp};

impl Shard {
    /// Everything the connection is sent goes by datagrams; it is open from here on.
    pub(in crate::shard) fn send_datagrams_to(&mut self, id: ConnectionId) {
        let hot = &mut self.hot[id.slot as usize];
        (hot.wire, hot.state) = (Wire::Udp, State::Open);
    }

    /// Its silence means nothing.
    pub(in crate::shard) fn keep_for_ever(&mut self, id: ConnectionId) {
        self.hot[id.slot as usize].heard_s = u32::MAX;
    }

    pub(super) fn is_sent_datagrams(&self, slot: Slot) -> bool {
        self.hot[slot as usize].wire == Wire::Udp
    }

    /// The first that the slot owes, so many at least, go with the next [`Shard::send_batch`].
    pub(super) fn batch(&mut self, slot: Slot, least: usize) {
        let debt = self.debts.take_first(slot, least);
        for &number in &debt {
            if self.log.len_of(Encoding::Tcp, number) - tcp::LENGTH_BYTES > self.limits.datagram_bytes {
                self.counters.oversized += 1;
                self.skip(slot, number);
            } else {
                self.batch.push((slot, number));
            }
        }
        self.sends += debt.len();
        self.debts.give_back(debt);
    }

    /// Sends what has been put together.
    pub(super) fn send_batch(&mut self, sockets: &mut impl Sockets) {
        let mut batch = std::mem::take(&mut self.batch);
        for part in batch.chunks(SENDS_PER_YIELD) {
            let mut offers = [Offer::default(); SENDS_PER_YIELD];
            let mut taken = [Taken::Bytes(0); SENDS_PER_YIELD];
            for ((slot, number), offer) in part.iter().zip(&mut offers) {
                let frame = Run { first: *number, len: 1 };
                *offer = Offer { slot: *slot, bytes: self.log.slice(Encoding::Tcp, frame) };
            }
            sockets.send_datagrams(&offers[..part.len()], &mut taken);
            self.counters.write_frames.record(part.len() as u64);
            for ((slot, number), taken) in part.iter().zip(taken) {
                match taken {
                    Taken::Bytes(bytes @ 1..) => {
                        self.counters.bytes += bytes as u64;
                        self.hot[*slot as usize].sent += 1;
                    }
                    Taken::Bytes(0) | Taken::Dead => self.skip(*slot, *number),
                }
            }
        }
        batch.clear();
        self.batch = batch;
    }

    /// Offers bytes from outside the log to whatever the slot is sent; of datagrams what is not taken is gone.
    pub(super) fn offer(&mut self, slot: Slot, bytes: &[u8], sockets: &mut impl Sockets) -> Taken {
        if !self.is_sent_datagrams(slot) {
            return sockets.send(slot, bytes);
        }
        for frame in tcp::frames(bytes) {
            let is_message = !matches!(frame.get(tcp::LENGTH_BYTES), Some(&tcp::JSON));
            if is_message && frame.len() - tcp::LENGTH_BYTES > self.limits.datagram_bytes {
                self.counters.oversized += 1;
            } else {
                sockets.send_datagrams(&[Offer { slot, bytes: frame }], &mut [Taken::Dead]);
            }
        }
        Taken::Bytes(bytes.len())
    }
}
