//! The shard's log: frames in the order they came, contiguous, once per encoding in use.
//!
//! ```text
//!            base                          head
//!   frames    │ topic seq fan-out │ … │ … │
//!   lane raw  │81 05 …│81 7e …    │ … │ … │      a run of frames is one slice of a lane
//!   lane comb │81 20 …│(nothing)  │ … │ … │      a frame has no bytes in an encoding that nobody there uses
//! ```
//!
//! Invariants:
//! 1. Numbers are absolute and wrap; a frame is at `number - base`.
//! 2. A frame over 16 KiB is held by reference, has no bytes in the lane, and splits a run.
//! 3. A frame's fan-out is how many slots owe it still; what remains of it at the cut was delivered.

use crate::ids::TopicId;
use crate::limits::{FRAME_COPIED_BYTES_MAX, LOG_BYTES_MAX, LOG_FRAMES_MAX};
use crate::message::{Encoding, Message};
use crate::shard::core::debts::Run;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// The bytes of one frame in one encoding, outside the log: too large to copy, or wanted by a queue.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    /// Queue entries that refer to it.
    pub(crate) queued: Cell<u32>,
}

/// What the log knows of a frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) topic: TopicId,
    pub(crate) seq: u64,
    fanout: u32,
}

#[derive(Debug, Default)]
struct Lane {
    bytes: Vec<u8>,
    /// Where in the lane's life `bytes` begins.
    start: u64,
    /// Where in the lane's life each frame ends.
    ends: VecDeque<u64>,
    /// Copies by number, made when first wanted.
    held: HashMap<u32, Rc<Held>>,
    /// Numbers of the frames that are only held, ascending.
    referenced: VecDeque<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Log {
    base: u32,
    frames: VecDeque<Frame>,
    lanes: [Lane; Encoding::COUNT],
    /// Bytes of frames that are only held.
    referenced_bytes: usize,
}

impl Log {
    /// The number that the next frame gets.
    pub(crate) fn head(&self) -> u32 {
        self.base.wrapping_add(self.frames.len() as u32)
    }

    /// Below its bounds; the message that follows may overshoot.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.len() < LOG_FRAMES_MAX && self.bytes() < LOG_BYTES_MAX
    }

    /// True from half of its bounds on.
    pub(crate) fn is_half_full(&self) -> bool {
        self.frames.len() * 2 >= LOG_FRAMES_MAX || self.bytes() * 2 >= LOG_BYTES_MAX
    }

    /// Appends a message for so many slots, framed in each of the encodings marked `true`; returns its number.
    pub(crate) fn append(
        &mut self,
        message: &Message,
        encodings: [bool; Encoding::COUNT],
        fanout: u32,
    ) -> u32 {
        let number = self.head();
        for (encoding, lane) in Encoding::ALL.into_iter().zip(&mut self.lanes) {
            if encodings[encoding as usize] {
                let at = lane.bytes.len();
                encoding.encode(message, &mut lane.bytes);
                if lane.bytes.len() - at > FRAME_COPIED_BYTES_MAX {
                    let bytes = lane.bytes.split_off(at);
                    self.referenced_bytes += bytes.len();
                    lane.held.insert(number, Rc::new(Held { bytes, queued: Cell::new(0) }));
                    lane.referenced.push_back(number);
                }
            }
            lane.ends.push_back(lane.start + lane.bytes.len() as u64);
        }
        self.frames.push_back(Frame { topic: message.topic, seq: message.seq, fanout });
        number
    }

    /// The contiguous bytes of a run without referenced frames.
    pub(crate) fn slice(&self, encoding: Encoding, run: Run) -> &[u8] {
        let lane = &self.lanes[encoding as usize];
        let first = self.index(run.first);
        let from = self.start_of(lane, first);
        let to = lane.ends[first + run.len as usize - 1];
        &lane.bytes[(from - lane.start) as usize..(to - lane.start) as usize]
    }

    /// True exactly when every frame of that encoding is in its lane.
    pub(crate) fn is_contiguous(&self, encoding: Encoding) -> bool {
        self.lanes[encoding as usize].referenced.is_empty()
    }

    /// A frame that is only held, if it is.
    pub(crate) fn referenced(&self, encoding: Encoding, number: u32) -> Option<&Rc<Held>> {
        let lane = &self.lanes[encoding as usize];
        let is_referenced = !lane.referenced.is_empty() && lane.referenced.contains(&number);
        if is_referenced { lane.held.get(&number) } else { None }
    }

    /// Length of a frame, bytes.
    pub(crate) fn len_of(&self, encoding: Encoding, number: u32) -> usize {
        self.referenced(encoding, number).map_or_else(
            || self.slice(encoding, Run { first: number, len: 1 }).len(),
            |held| held.bytes.len(),
        )
    }

    /// The frame outside the log, for a queue that outlives it; one copy for all queues.
    pub(crate) fn hold(&mut self, encoding: Encoding, number: u32) -> Rc<Held> {
        if let Some(held) = self.lanes[encoding as usize].held.get(&number) {
            return held.clone();
        }
        let bytes = self.slice(encoding, Run { first: number, len: 1 }).to_vec();
        let held = Rc::new(Held { bytes, queued: Cell::new(0) });
        self.lanes[encoding as usize].held.insert(number, held.clone());
        held
    }

    /// What is known of a frame.
    pub(crate) fn frame(&self, number: u32) -> Frame {
        self.frames[self.index(number)]
    }

    /// One slot owes the frame no more, without having been paid from the log.
    pub(crate) fn forgive(&mut self, number: u32) {
        let index = self.index(number);
        self.frames[index].fanout -= 1;
    }

    /// Lets go of every frame before `to`, which nobody may owe any more; tells of each how many deliveries it was.
    pub(crate) fn cut(&mut self, to: u32, mut delivered: impl FnMut(TopicId, u64)) {
        let count = to.wrapping_sub(self.base) as usize;
        if count == 0 {
            return;
        }
        for lane in &mut self.lanes {
            let end = lane.ends[count - 1];
            lane.ends.drain(..count);
            lane.bytes.drain(..(end - lane.start) as usize);
            lane.start = end;
            if lane.bytes.is_empty() && lane.bytes.capacity() > 2 * LOG_BYTES_MAX {
                lane.bytes = Vec::new();
            }
            let base = self.base;
            while lane.referenced.front().is_some_and(|number| number.wrapping_sub(base) < count as u32) {
                if let Some(held) = lane.referenced.pop_front().and_then(|number| lane.held.remove(&number)) {
                    self.referenced_bytes -= held.bytes.len();
                }
            }
            if !lane.held.is_empty() {
                lane.held.retain(|number, _| number.wrapping_sub(base) >= count as u32);
            }
        }
        self.base = to;
        self.frames.drain(..count).for_each(|frame| delivered(frame.topic, frame.fanout.into()));
    }

    /// A topic's frames are another's from here on.
    pub(crate) fn retag(&mut self, from: TopicId, to: TopicId) {
        self.frames.iter_mut().filter(|frame| frame.topic == from).for_each(|frame| frame.topic = to);
    }

    /// Of each frame, its topic and how many deliveries it still is.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (TopicId, u64)> {
        self.frames.iter().map(|frame| (frame.topic, frame.fanout.into()))
    }

    fn bytes(&self) -> usize {
        self.referenced_bytes + self.lanes.iter().map(|lane| lane.bytes.len()).sum::<usize>()
    }

    fn index(&self, number: u32) -> usize {
        number.wrapping_sub(self.base) as usize
    }

    fn start_of(&self, lane: &Lane, index: usize) -> u64 {
        if index == 0 { lane.start } else { lane.ends[index - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::topic::TopicName;

    const RAW: [bool; Encoding::COUNT] = [true, false, false, false, false, false];

    fn message(seq: u64, len: usize) -> Message {
        let name = TopicName::try_from("t").unwrap();
        Message { topic: 0, name, seq, time_us: 0, is_image: false, payload: "x".repeat(len).into() }
    }

    fn delivered(log: &mut Log, to: u32) -> u64 {
        let mut sum = 0;
        log.cut(to, |_, count| sum += count);
        sum
    }

    #[test]
    fn a_run_is_one_slice_and_numbers_outlive_cuts() {
        let mut log = Log::default();
        let numbers: Vec<_> = (1..=4).map(|seq| log.append(&message(seq, seq as usize), RAW, 2)).collect();
        assert_eq!(log.slice(Encoding::Raw, Run { first: numbers[1], len: 2 }), b"\x81\x02xx\x81\x03xxx");
        assert_eq!(log.slice(Encoding::Combined, Run { first: numbers[0], len: 4 }), b"");
        log.forgive(numbers[0]);
        assert_eq!(delivered(&mut log, numbers[2]), 3, "two frames for two slots, one of them forgiven once");
        assert_eq!(log.slice(Encoding::Raw, Run { first: numbers[3], len: 1 }), b"\x81\x04xxxx");
        let head = log.head();
        assert_eq!(delivered(&mut log, head), 4);
        assert_eq!(log.pending().count(), 0);
    }

    #[test]
    fn a_large_frame_is_held_and_not_copied() {
        let mut log = Log::default();
        let small = log.append(&message(1, 10), RAW, 1);
        let large = log.append(&message(2, FRAME_COPIED_BYTES_MAX + 1), RAW, 1);
        assert!(log.referenced(Encoding::Raw, small).is_none());
        assert!(!log.is_contiguous(Encoding::Raw));
        let held = log.hold(Encoding::Raw, large);
        assert_eq!(log.len_of(Encoding::Raw, large), held.bytes.len());
        assert_eq!(Rc::strong_count(&held), 2, "the log's own and ours");
        let head = log.head();
        assert_eq!(delivered(&mut log, head), 2);
        assert!(log.is_contiguous(Encoding::Raw) && log.bytes() == 0);
        assert_eq!(held.bytes.len(), FRAME_COPIED_BYTES_MAX + 5, "three bytes of header more than 125 need");
    }
}
