//! The bounded queue of a writer behind a full socket. It exists only there.
//!
//! Frames are held by reference, one copy for all queues, with the offset into the first: a frame that has
//! begun is always finished. What it holds is charged in its [`account`](super::account).
//!
//! Messages of topics whose policy may take them back, or that have limits of their own, are indexed: each has a
//! position, which it keeps when others before it are taken back.

use super::account::{Account, Total};
use super::entry::{Control, Data, Entry};
use super::waiting::{Gap, Waiting};
use crate::clock::Moment;
use crate::ids::{Epoch, TopicId};
use crate::protocol::operation::Since;
use crate::protocol::topic::TopicName;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Entries taken back that a queue may hold beside as many others.
const GONE_KEPT: usize = 64;
/// Position of the first entry: entries may come before it.
const MIDDLE: u64 = u64::MAX / 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbound {
    entries: VecDeque<Entry>,
    /// Position of the first of them.
    first: u64,
    /// Bytes of the first entry that the kernel has taken.
    begun: usize,
    account: Account,
    index: HashMap<TopicId, Waiting>,
    /// Messages replaced by a newer one that the client has not been told of.
    conflated: BTreeMap<TopicName, u64>,
    /// When the socket last took a byte, or was seen to have passed one on.
    pub(crate) progress: Moment,
    /// Bytes that the socket held when it was last looked at.
    pub(crate) unacknowledged: usize,
    /// True exactly when the client has been told that it is behind.
    pub(crate) is_warned: bool,
}

impl Outbound {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            entries: VecDeque::new(),
            first: MIDDLE,
            begun: 0,
            account: Account::default(),
            index: HashMap::new(),
            conflated: BTreeMap::new(),
            progress: now,
            unacknowledged: 0,
            is_warned: false,
        }
    }

    /// Frames waiting.
    pub(crate) fn frames(&self) -> usize {
        self.account.frames
    }

    /// Bytes charged for them.
    pub(crate) fn bytes(&self) -> usize {
        self.account.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.account.frames == 0
    }

    /// True exactly when every message that waits may wait for ever: it will be replaced by a newer one.
    pub(crate) fn is_patient(&self) -> bool {
        self.account.data > 0 && self.account.states == self.account.data
    }

    /// The frames waiting, each with how many of its bytes have gone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Entry, usize)> {
        self.entries.iter().enumerate().map(|(at, entry)| (entry, if at == 0 { self.begun } else { 0 }))
    }

    /// Where a subscriber will stand whose queue is dropped: which topic's message is the first that waits and has not
    /// begun, and the last that it has before it. Of that topic alone where one is given.
    pub(crate) fn place(&self, topic: Option<TopicId>) -> Option<(TopicId, Since)> {
        let waits = self.iter().filter(|(_, begun)| *begun == 0).filter_map(|(entry, _)| match entry {
            Entry::Data(data) => Some((data.topic, Since { epoch: data.epoch, seq: data.seq - 1 })),
            Entry::Piece(portion) => Some((portion.topic, portion.before)),
            Entry::Control { kind: Control::Gap(topic, before), .. } => Some((*topic, *before)),
            _ => None,
        });
        waits.into_iter().find(|(of, _)| topic.is_none_or(|topic| topic == *of))
    }

    /// Where it stands on the topic of the message that has begun, once it has that.
    pub(crate) fn place_begun(&self) -> Option<(TopicId, Since)> {
        match self.iter().next().filter(|(_, begun)| *begun > 0)?.0 {
            Entry::Data(data) => Some((data.topic, Since { epoch: data.epoch, seq: data.seq })),
            Entry::Piece(portion) => Some((portion.topic, portion.last)),
            _ => None,
        }
    }

    /// What waits of an indexed topic.
    pub(crate) fn waiting(&self, topic: TopicId) -> Option<&Waiting> {
        self.index.get(&topic)
    }

    /// Of each indexed topic the oldest message that has not begun.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = &Data> {
        self.index.values().filter_map(|waiting| match &self.entries[self.at(waiting.oldest()?)] {
            Entry::Data(data) => Some(data),
            _ => None,
        })
    }

    /// Adds a frame of which the kernel has already taken `begun` bytes; only the first may have begun.
    pub(crate) fn push(&mut self, entry: Entry, begun: usize, total: &mut Total) {
        debug_assert!(begun == 0 || self.is_empty(), "only the first frame may have begun");
        if self.is_empty() {
            self.entries.clear();
            self.begun = begun;
        }
        let position = self.first + self.entries.len() as u64;
        if let Entry::Data(data) = &entry
            && data.indexed
            && begun == 0
        {
            self.index.entry(data.topic).or_default().push(position, data.held.bytes.len());
        }
        self.account.count(&entry, total);
        self.entries.push_back(entry);
    }

    /// Adds a frame before all others, but behind one that has begun.
    pub(crate) fn push_first(&mut self, entry: Entry, total: &mut Total) {
        self.account.count(&entry, total);
        let begun = if self.begun > 0 { self.entries.pop_front() } else { None };
        self.entries.push_front(entry);
        if let Some(begun) = begun {
            self.entries.push_front(begun);
        }
        self.first -= 1;
    }

    /// Puts a newer pong in the place of one that waits and has not begun; `None` when there was one.
    pub(crate) fn replace_pong(&mut self, bytes: Vec<u8>, total: &mut Total) -> Option<Vec<u8>> {
        let skip = usize::from(self.begun > 0);
        let is_pong = |entry: &Entry| matches!(entry, Entry::Control { kind: Control::Pong, .. });
        let Some(at) = self.entries.iter().skip(skip).position(is_pong) else { return Some(bytes) };
        self.put(at + skip, Entry::Control { bytes, kind: Control::Pong }, total);
        None
    }

    /// Puts a message in the place of the one of its topic that waits, and counts that; `None` when there was one.
    pub(crate) fn conflate(&mut self, newer: Data, name: &TopicName, total: &mut Total) -> Option<Data> {
        let Some(waiting) = self.index.get_mut(&newer.topic) else { return Some(newer) };
        let Some(position) = waiting.oldest() else { return Some(newer) };
        waiting.bytes = newer.held.bytes.len();
        *self.conflated.entry(name.clone()).or_default() += 1;
        self.put(self.at(position), Entry::Data(newer), total);
        None
    }

    /// Takes the message of a topic back that waits, because a newer one comes behind what is to be told first, and
    /// counts it as replaced; where it stood.
    pub(crate) fn conflate_away(
        &mut self,
        topic: TopicId,
        name: &TopicName,
        total: &mut Total,
    ) -> Option<u64> {
        let (_, position) = self.take_back(topic, total)?;
        *self.conflated.entry(name.clone()).or_default() += 1;
        Some(position)
    }

    /// How many messages of which topics were conflated since this was last asked.
    pub(crate) fn take_conflated(&mut self) -> BTreeMap<TopicName, u64> {
        std::mem::take(&mut self.conflated)
    }

    /// Takes the oldest message of an indexed topic back; its number, and where it stood.
    pub(crate) fn take_back(&mut self, topic: TopicId, total: &mut Total) -> Option<(u64, u64)> {
        let position = self.index.get(&topic)?.oldest()?;
        let at = self.at(position);
        self.unindex(at);
        match self.put(at, Entry::Gone, total) {
            Entry::Data(data) => Some((data.seq, position)),
            _ => None,
        }
    }

    /// What waits of a topic stays as it is: its subscription has ended, or something is to stand behind it.
    pub(crate) fn settle(&mut self, topic: TopicId) {
        let Some(waiting) = self.index.remove(&topic) else { return };
        for position in waiting.positions() {
            let at = self.at(position);
            if let Entry::Data(data) = &mut self.entries[at] {
                data.indexed = false;
            }
        }
    }

    /// Tells that messages `from` to `to` of a topic will not come: in the notice of a gap that waits and ends
    /// where this begins, or in one of its own, where a message was taken back, or behind everything. `notice` gives
    /// the frame for a range.
    pub(crate) fn tell_gap(
        &mut self,
        topic: TopicId,
        at: Option<u64>,
        epoch: Epoch,
        (from, to): (u64, u64),
        notice: impl Fn(u64, u64) -> Vec<u8>,
        total: &mut Total,
    ) {
        let waits = self.index.entry(topic).or_default().gap;
        let grows = waits.filter(|gap| gap.to + 1 == from);
        let from = grows.map_or(from, |gap| gap.from);
        let kind = Control::Gap(topic, Since { epoch, seq: from - 1 });
        let entry = Entry::Control { bytes: notice(from, to), kind };
        let position = match grows.map(|gap| gap.position).or(at) {
            Some(position) => {
                self.put(self.at(position), entry, total);
                position
            }
            None => {
                self.push(entry, 0, total);
                self.first + self.entries.len() as u64 - 1
            }
        };
        self.index.entry(topic).or_default().gap = Some(Gap { position, from, to });
        self.compact();
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
                if self.begun == 0 && taken > 0 {
                    self.unindex(0);
                }
                self.begun += taken;
                return;
            }
            taken -= rest;
            if let Some(entry) = self.pop(total) {
                done(entry);
            }
        }
    }

    /// Lets every frame go that has not begun; returns each lost message's topic.
    pub(crate) fn abandon(&mut self, total: &mut Total) -> Vec<TopicId> {
        let begun = std::mem::take(&mut self.begun);
        let kept = if begun > 0 { self.entries.pop_front() } else { None };
        self.first += u64::from(kept.is_some());
        let lost = self.clear(total);
        if let Some(kept) = kept {
            self.entries.push_front(kept);
            self.first -= 1;
            self.begun = begun;
        }
        lost
    }

    /// Lets everything go; returns each lost message's topic.
    pub(crate) fn clear(&mut self, total: &mut Total) -> Vec<TopicId> {
        let mut lost = Vec::with_capacity(self.account.data);
        while let Some(entry) = self.pop(total) {
            if let Entry::Data(data) = entry {
                lost.push(data.topic);
            }
        }
        lost
    }

    /// What waits of a topic is another's from here on, and stays as it is.
    pub(crate) fn retag(&mut self, from: TopicId, to: TopicId) {
        self.settle(from);
        for entry in &mut self.entries {
            let topic = match entry {
                Entry::Data(data) => &mut data.topic,
                Entry::Piece(portion) => &mut portion.topic,
                Entry::Control { kind: Control::Gap(topic, _), .. } => topic,
                Entry::Control { .. } | Entry::Gone => continue,
            };
            if *topic == from {
                *topic = to;
            }
        }
    }

    fn pop(&mut self, total: &mut Total) -> Option<Entry> {
        if self.begun == 0 && !self.entries.is_empty() {
            self.unindex(0);
        }
        let entry = self.entries.pop_front()?;
        self.begun = 0;
        self.first += 1;
        self.account.uncount(&entry, total);
        Some(entry)
    }

    fn at(&self, position: u64) -> usize {
        (position - self.first) as usize
    }

    /// Puts an entry in the place of another, which it returns.
    fn put(&mut self, at: usize, entry: Entry, total: &mut Total) -> Entry {
        self.account.count(&entry, total);
        let before = std::mem::replace(&mut self.entries[at], entry);
        self.account.uncount(&before, total);
        before
    }

    /// The entry begins, goes or is taken back: from now on it does not wait.
    fn unindex(&mut self, at: usize) {
        let position = self.first + at as u64;
        let topic = match &self.entries[at] {
            Entry::Data(data) if data.indexed => data.topic,
            Entry::Control { kind: Control::Gap(topic, _), .. } => *topic,
            _ => return,
        };
        let Some(waiting) = self.index.get_mut(&topic) else { return };
        match &self.entries[at] {
            Entry::Data(data) => waiting.pop(data.held.bytes.len()),
            _ => waiting.gap = waiting.gap.filter(|gap| gap.position != position),
        }
        if waiting.is_idle() {
            self.index.remove(&topic);
        }
    }

    /// Gives up the places of what was taken back once they are most of the queue.
    fn compact(&mut self) {
        if self.entries.len() <= 2 * self.account.frames + GONE_KEPT {
            return;
        }
        let gaps: HashMap<_, _> = self.index.drain().filter_map(|(topic, w)| Some((topic, w.gap?))).collect();
        let skip = usize::from(self.begun > 0);
        let mut position = self.first;
        let mut at = 0;
        let (index, first) = (&mut self.index, self.first);
        self.entries.retain(|entry| {
            let old = first + at as u64;
            at += 1;
            match entry {
                Entry::Gone => return false,
                Entry::Data(data) if data.indexed && at > skip => {
                    index.entry(data.topic).or_default().push(position, data.held.bytes.len());
                }
                Entry::Control { kind: Control::Gap(topic, _), .. } => {
                    let moved = gaps.get(topic).filter(|gap| gap.position == old);
                    let moved = moved.map(|gap| Gap { position, ..*gap });
                    if moved.is_some() {
                        index.entry(*topic).or_default().gap = moved;
                    }
                }
                _ => {}
            }
            position += 1;
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ENTRY_BYTES;
    use crate::protocol::class::Class;
    use crate::shard::core::log::Held;
    use crate::shard::queue::entry::Portion;
    use std::cell::Cell;
    use std::rc::Rc;

    fn data(held: &Rc<Held>, topic: TopicId, seq: u64, class: Class) -> Data {
        Data {
            held: held.clone(),
            topic,
            epoch: Epoch(1),
            seq,
            class,
            indexed: class != Class::Event,
            since_s: 0,
        }
    }

    fn event(held: &Rc<Held>, seq: u64) -> Entry {
        Entry::Data(data(held, 0, seq, Class::Event))
    }

    fn held(bytes: &[u8]) -> Rc<Held> {
        Rc::new(Held { bytes: bytes.to_vec(), queued: Cell::new(0) })
    }

    fn written(queue: &Outbound) -> Vec<u8> {
        let mut scratch = Vec::new();
        queue.gather(&mut scratch, usize::MAX);
        scratch
    }

    fn notice(from: u64, to: u64) -> Vec<u8> {
        format!("[{from}-{to}]").into_bytes()
    }

    #[test]
    fn the_shard_is_charged_a_shared_frame_once() {
        let frame = held(&[7; 100]);
        let mut total = Total::default();
        let mut queues = [Outbound::new(Moment::default()), Outbound::new(Moment::default())];
        for queue in &mut queues {
            queue.push(event(&frame, 1), 0, &mut total);
        }
        assert_eq!(queues[0].bytes(), 100 + ENTRY_BYTES);
        assert_eq!(total, Total { frames: 2, deliveries: 2, bytes: 100 + 2 * ENTRY_BYTES });
        assert_eq!(queues[0].clear(&mut total), [0]);
        assert_eq!(total.bytes, 100 + ENTRY_BYTES);
        queues[1].advance(100, &mut total, |entry| assert!(matches!(entry, Entry::Data(_))));
        assert_eq!(total, Total::default());
    }

    #[test]
    fn a_frame_that_has_begun_is_finished() {
        let frame = held(b"abcd");
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        queue.push(event(&frame, 1), 1, &mut total);
        queue.push(event(&frame, 2), 0, &mut total);
        assert_eq!(queue.abandon(&mut total), [0]);
        assert_eq!(written(&queue), b"bcd");
        queue.advance(3, &mut total, drop);
        assert!(queue.is_empty());
        assert_eq!(total, Total::default());
    }

    /// Proves: what waits of a topic that is no more is nobody's: the next owner of its id finds nothing to replace.
    #[test]
    fn what_is_anothers_keeps_its_place_and_is_not_replaced() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        let name = TopicName::try_from("quote").unwrap();
        queue.push(Entry::Data(data(&held(b"a"), 5, 1, Class::State)), 0, &mut total);
        queue.push(event(&held(b"-"), 1), 0, &mut total);
        queue.retag(5, 6);
        let newer = queue.conflate(data(&held(b"b"), 5, 1, Class::State), &name, &mut total);
        queue.push(Entry::Data(newer.expect("nothing waits of it")), 0, &mut total);
        assert_eq!(written(&queue), b"a-b");
        assert_eq!(queue.clear(&mut total), [6, 0, 5]);
        assert_eq!((total, queue.index.len()), (Total::default(), 0));
    }

    #[test]
    fn one_pong_is_owed_at_a_time() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        assert!(queue.replace_pong(vec![1], &mut total).is_some());
        queue.push(Entry::Control { bytes: vec![1], kind: Control::Pong }, 0, &mut total);
        assert!(queue.replace_pong(vec![2, 2], &mut total).is_none());
        assert_eq!(written(&queue), [2, 2]);
    }

    /// Proves: the newest takes the place of what waits, never of what has begun.
    #[test]
    fn the_newest_keeps_the_place_of_the_one_before_it() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        let name = TopicName::try_from("quote").unwrap();
        let state = |bytes: &[u8], seq| data(&held(bytes), 5, seq, Class::State);
        queue.push(Entry::Data(state(b"aa", 1)), 0, &mut total);
        queue.push(event(&held(b"-"), 1), 0, &mut total);
        assert!(!queue.is_patient());
        assert!(queue.conflate(state(b"bbb", 2), &name, &mut total).is_none());
        assert_eq!(written(&queue), b"bbb-");
        queue.advance(1, &mut total, drop);
        let newer = queue.conflate(state(b"c", 3), &name, &mut total).expect("the other has begun");
        queue.push(Entry::Data(newer), 0, &mut total);
        assert!(queue.conflate(state(b"d", 4), &name, &mut total).is_none());
        assert_eq!(written(&queue), b"bb-d");
        assert_eq!(queue.take_conflated(), [(name, 2)].into());
        queue.advance(3, &mut total, drop);
        assert!(queue.is_patient());
        queue.advance(1, &mut total, drop);
        assert!(queue.is_empty() && queue.index.is_empty());
        assert_eq!(total, Total::default());
    }

    /// Proves: a gap stands before the topic's next message, grows while it waits, and is not touched once begun.
    #[test]
    fn gaps_of_a_topic_merge_until_they_begin() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        for seq in 1..=5 {
            queue.push(
                Entry::Data(data(&held(&[b'0' + seq as u8]), 9, seq, Class::BestEffort)),
                0,
                &mut total,
            );
        }
        for seq in 1..=2 {
            let (taken, at) = queue.take_back(9, &mut total).unwrap();
            assert_eq!(taken, seq);
            queue.tell_gap(9, Some(at), Epoch(1), (seq, seq), notice, &mut total);
        }
        assert_eq!(written(&queue), b"[1-2]345");
        queue.advance(1, &mut total, drop);
        let (_, at) = queue.take_back(9, &mut total).unwrap();
        queue.tell_gap(9, Some(at), Epoch(1), (3, 3), notice, &mut total);
        assert_eq!(written(&queue), b"1-2][3-3]45");
        queue.push_first(Entry::Control { bytes: b"!".to_vec(), kind: Control::Notice }, &mut total);
        assert_eq!(written(&queue), b"1-2]![3-3]45");
        queue.advance(11, &mut total, drop);
        queue.tell_gap(9, None, Epoch(1), (6, 7), notice, &mut total);
        assert_eq!(written(&queue), b"5[6-7]");
        queue.clear(&mut total);
        assert_eq!((total, queue.index.len()), (Total::default(), 0));
    }

    /// Proves: the place that is named is the last that arrives, of the history it belongs to, also when a frame has
    /// begun, other topics wait, or a gap has not been told of.
    #[test]
    fn the_place_is_the_one_before_the_first_that_is_lost() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        let place = |epoch, seq| Since { epoch: Epoch(epoch), seq };
        assert_eq!(queue.place(None), None);
        queue.push(Entry::Data(data(&held(b"begun"), 1, 10, Class::Event)), 3, &mut total);
        assert_eq!((queue.place(None), queue.place_begun()), (None, Some((1, place(1, 10)))));
        queue.push(Entry::Data(data(&held(b"."), 2, 77, Class::BestEffort)), 0, &mut total);
        queue.push(
            Entry::Data(Data { epoch: Epoch(5), ..data(&held(b"."), 1, 1, Class::Event) }),
            0,
            &mut total,
        );
        assert_eq!(
            (queue.place(None), queue.place(Some(1))),
            (Some((2, place(1, 76))), Some((1, place(5, 0))))
        );
        let portion = Portion { held: held(b"-"), topic: 3, before: place(5, 6), last: place(5, 9) };
        queue.push(Entry::Piece(Box::new(portion)), 0, &mut total);
        assert_eq!(queue.place(Some(3)), Some((3, place(5, 6))), "a replay that waits is lost too");
        let (_, at) = queue.take_back(2, &mut total).unwrap();
        queue.tell_gap(2, Some(at), Epoch(1), (77, 77), notice, &mut total);
        queue.push(Entry::Data(data(&held(b"."), 2, 78, Class::BestEffort)), 0, &mut total);
        assert_eq!(queue.place(None), Some((2, place(1, 76))), "so is a gap");
    }

    /// Proves: a queue does not grow with what was taken back, and what is left keeps its order.
    #[test]
    fn what_was_taken_back_takes_no_place() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        queue.push(event(&held(b"e"), 1), 0, &mut total);
        for seq in 1..=10_000 {
            queue.push(Entry::Data(data(&held(b"."), 9, seq, Class::BestEffort)), 0, &mut total);
            if seq > 3 {
                let (taken, at) = queue.take_back(9, &mut total).unwrap();
                queue.tell_gap(9, Some(at), Epoch(1), (taken, taken), notice, &mut total);
            }
            assert!(queue.entries.len() <= 2 * queue.frames() + GONE_KEPT, "{} entries", queue.entries.len());
        }
        assert_eq!(written(&queue), b"e[1-9997]...");
        queue.clear(&mut total);
        assert_eq!((total, queue.index.len()), (Total::default(), 0));
    }
}
