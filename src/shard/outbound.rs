//! The bounded queue of a writer behind a full socket. It exists only there.
//!
//! Frames are held by reference, one copy for all queues, with the offset into the first: a frame that has
//! begun is always finished. A connection is charged every frame in full, the shard each frame once while any
//! queue holds it; every entry costs both [`ENTRY_BYTES`] more.

use crate::clock::Moment;
use crate::ids::TopicId;
use crate::limits::ENTRY_BYTES;
use crate::shard::log::Held;
use std::collections::VecDeque;
use std::rc::Rc;

/// What a frame from outside the log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// The answer to an operation; one fewer is owed once it has gone.
    Answer,
    /// A handshake's answer, a notice, a heartbeat.
    Notice,
    /// A question whether the client is there; it need not wait for what is owed.
    Ping,
    /// Of pongs one is owed at a time: the newest.
    Pong,
    /// The last frame; when it has gone, so has the writing side.
    Close,
}

/// One frame waiting.
#[derive(Debug)]
pub(crate) enum Entry {
    Data { held: Rc<Held>, topic: TopicId, seq: u64 },
    Control { bytes: Vec<u8>, kind: Control },
}

impl Entry {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Data { held, .. } => &held.bytes,
            Self::Control { bytes, .. } => bytes,
        }
    }
}

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

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbound {
    entries: VecDeque<Entry>,
    /// Bytes of the first entry that the kernel has taken.
    begun: usize,
    /// Charged to the connection.
    bytes: usize,
    /// When the socket last took a byte.
    pub(crate) progress: Moment,
}

impl Outbound {
    pub(crate) fn new(now: Moment) -> Self {
        Self { entries: VecDeque::new(), begun: 0, bytes: 0, progress: now }
    }

    /// Frames waiting.
    pub(crate) fn frames(&self) -> usize {
        self.entries.len()
    }

    /// Bytes charged for them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The frames waiting, each with how many of its bytes have gone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Entry, usize)> {
        self.entries.iter().enumerate().map(|(at, entry)| (entry, if at == 0 { self.begun } else { 0 }))
    }

    /// Adds a frame of which the kernel has already taken `begun` bytes; only the first may have begun.
    pub(crate) fn push(&mut self, entry: Entry, begun: usize, total: &mut Total) {
        debug_assert!(begun == 0 || self.entries.is_empty(), "only the first frame may have begun");
        if self.entries.is_empty() {
            self.begun = begun;
        }
        self.bytes += entry.bytes().len() + ENTRY_BYTES;
        charge(&entry, total);
        self.entries.push_back(entry);
    }

    /// Puts a newer pong in the place of one that waits and has not begun; `None` when there was one.
    pub(crate) fn replace_pong(&mut self, bytes: Vec<u8>, total: &mut Total) -> Option<Vec<u8>> {
        let skip = usize::from(self.begun > 0);
        let waiting = self.entries.iter_mut().skip(skip).find_map(|entry| match entry {
            Entry::Control { bytes, kind: Control::Pong } => Some(bytes),
            _ => None,
        });
        match waiting {
            Some(pong) => {
                self.bytes = self.bytes + bytes.len() - pong.len();
                total.bytes = total.bytes + bytes.len() - pong.len();
                *pong = bytes;
                None
            }
            None => Some(bytes),
        }
    }

    /// Copies what waits, from the first byte not taken, until `scratch` holds `max`. At least one frame.
    pub(crate) fn gather(&self, scratch: &mut Vec<u8>, max: usize) {
        scratch.clear();
        for (entry, begun) in self.iter() {
            let bytes = &entry.bytes()[begun..];
            if !scratch.is_empty() && scratch.len() + bytes.len() > max {
                break;
            }
            scratch.extend_from_slice(bytes);
        }
    }

    /// The kernel has taken so many bytes: gives each entry that is complete to `done`.
    pub(crate) fn advance(&mut self, mut taken: usize, total: &mut Total, mut done: impl FnMut(Entry)) {
        while let Some(first) = self.entries.front() {
            let rest = first.bytes().len() - self.begun;
            if taken < rest {
                self.begun += taken;
                return;
            }
            taken -= rest;
            self.begun = 0;
            if let Some(entry) = self.pop(total) {
                done(entry);
            }
        }
    }

    /// Lets every frame go that has not begun; returns how many of them were data.
    pub(crate) fn abandon(&mut self, total: &mut Total) -> u64 {
        let kept = if self.begun > 0 { self.entries.pop_front() } else { None };
        let mut data = 0;
        while let Some(entry) = self.pop(total) {
            data += u64::from(matches!(entry, Entry::Data { .. }));
        }
        self.entries.extend(kept);
        data
    }

    /// Lets everything go; returns how many frames were data.
    pub(crate) fn clear(&mut self, total: &mut Total) -> u64 {
        self.begun = 0;
        self.abandon(total)
    }

    fn pop(&mut self, total: &mut Total) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes().len() + ENTRY_BYTES;
        release(&entry, total);
        Some(entry)
    }
}

fn charge(entry: &Entry, total: &mut Total) {
    total.frames += 1;
    total.bytes += ENTRY_BYTES;
    match entry {
        Entry::Control { bytes, .. } => total.bytes += bytes.len(),
        Entry::Data { held, .. } => {
            total.deliveries += 1;
            if held.queued.replace(held.queued.get() + 1) == 0 {
                total.bytes += held.bytes.len();
            }
        }
    }
}

fn release(entry: &Entry, total: &mut Total) {
    total.frames -= 1;
    total.bytes -= ENTRY_BYTES;
    match entry {
        Entry::Control { bytes, .. } => total.bytes -= bytes.len(),
        Entry::Data { held, .. } => {
            total.deliveries -= 1;
            held.queued.set(held.queued.get() - 1);
            if held.queued.get() == 0 {
                total.bytes -= held.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn data(held: &Rc<Held>, seq: u64) -> Entry {
        Entry::Data { held: held.clone(), topic: 0, seq }
    }

    fn held(bytes: &[u8]) -> Rc<Held> {
        Rc::new(Held { bytes: bytes.to_vec(), queued: Cell::new(0) })
    }

    #[test]
    fn the_shard_is_charged_a_shared_frame_once() {
        let frame = held(&[7; 100]);
        let mut total = Total::default();
        let mut queues = [Outbound::new(Moment::default()), Outbound::new(Moment::default())];
        for queue in &mut queues {
            queue.push(data(&frame, 1), 0, &mut total);
        }
        assert_eq!(queues[0].bytes(), 100 + ENTRY_BYTES);
        assert_eq!(total, Total { frames: 2, deliveries: 2, bytes: 100 + 2 * ENTRY_BYTES });
        assert_eq!(queues[0].clear(&mut total), 1);
        assert_eq!(total.bytes, 100 + ENTRY_BYTES);
        queues[1].advance(100, &mut total, |entry| assert!(matches!(entry, Entry::Data { seq: 1, .. })));
        assert_eq!(total, Total::default());
    }

    #[test]
    fn a_frame_that_has_begun_is_finished() {
        let frame = held(b"abcd");
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        queue.push(data(&frame, 1), 1, &mut total);
        queue.push(data(&frame, 2), 0, &mut total);
        assert_eq!(queue.abandon(&mut total), 1);
        let mut scratch = Vec::new();
        queue.gather(&mut scratch, 10);
        assert_eq!(scratch, b"bcd");
        queue.advance(3, &mut total, drop);
        assert!(queue.is_empty());
        assert_eq!(total, Total::default());
    }

    #[test]
    fn one_pong_is_owed_at_a_time() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        assert!(queue.replace_pong(vec![1], &mut total).is_some());
        queue.push(Entry::Control { bytes: vec![1], kind: Control::Pong }, 0, &mut total);
        assert!(queue.replace_pong(vec![2, 2], &mut total).is_none());
        let mut scratch = Vec::new();
        queue.gather(&mut scratch, 10);
        assert_eq!(scratch, [2, 2]);
    }
}
