//! What a queue holds, counted: for its connection, and for the shard.
//!
//! A connection is charged every frame in full, the shard each frame once while any queue holds it; every entry costs
//! both [`ENTRY_BYTES`] more.

use super::entry::Entry;
use crate::limits::ENTRY_BYTES;
use crate::protocol::class::Class;
use crate::shard::core::log::Held;

/// What all queues of a shard hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    /// Entries, data and control.
    pub(crate) frames: usize,
    /// Data entries: deliveries pending.
    pub(crate) deliveries: u64,
    /// Bytes, each frame once.
    pub(crate) bytes: usize,
}

/// What one queue holds.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Charged to the connection.
    pub(super) bytes: usize,
    /// Entries, data and control.
    pub(super) frames: usize,
    /// Messages, and how many of these are of class `state`.
    pub(super) data: usize,
    pub(super) states: usize,
}

impl Account {
    pub(super) fn count(&mut self, entry: &Entry, total: &mut Total) {
        let own = match entry {
            Entry::Gone => return,
            Entry::Control { bytes, .. } => bytes.len(),
            Entry::Data(data) => {
                total.deliveries += 1;
                self.data += 1;
                self.states += usize::from(data.class == Class::State);
                self.charge(&data.held, total)
            }
            Entry::Piece(portion) => self.charge(&portion.held, total),
        };
        self.frames += 1;
        self.bytes += own + ENTRY_BYTES;
        total.frames += 1;
        total.bytes += own + ENTRY_BYTES;
    }

    pub(super) fn uncount(&mut self, entry: &Entry, total: &mut Total) {
        let own = match entry {
            Entry::Gone => return,
            Entry::Control { bytes, .. } => bytes.len(),
            Entry::Data(data) => {
                total.deliveries -= 1;
                self.data -= 1;
                self.states -= usize::from(data.class == Class::State);
                self.release(&data.held, total)
            }
            Entry::Piece(portion) => self.release(&portion.held, total),
        };
        self.frames -= 1;
        self.bytes -= own + ENTRY_BYTES;
        total.frames -= 1;
        total.bytes -= own + ENTRY_BYTES;
    }

    /// Charges a shared frame: to the connection in full, to the shard once. It has no bytes of its own.
    fn charge(&mut self, held: &Held, total: &mut Total) -> usize {
        self.bytes += held.bytes.len();
        if held.queued.replace(held.queued.get() + 1) == 0 {
            total.bytes += held.bytes.len();
        }
        0
    }

    fn release(&mut self, held: &Held, total: &mut Total) -> usize {
        self.bytes -= held.bytes.len();
        held.queued.set(held.queued.get() - 1);
        if held.queued.get() == 0 {
            total.bytes -= held.bytes.len();
        }
        0
    }
}
