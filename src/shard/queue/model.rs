//! Proves, over generated scripts and beside the plainest model of it: a queue writes what waits in its order, and
//! counts it right.

use super::account::Total;
use super::entry::{Control, Data, Entry, Portion};
use super::outbound::Outbound;
use crate::clock::Moment;
use crate::ids::{Epoch, TopicId};
use crate::limits::ENTRY_BYTES;
use crate::properties::generated::cases;
use crate::protocol::class::Class;
use crate::protocol::operation::Since;
use crate::protocol::topic::TopicName;
use crate::shard::core::log::Held;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
#[derive(Clone, Debug)]
enum QueueStep {
    Data {
        topic: TopicId,
        len: usize,
    },
    Notice(usize),
    /// Of a replay.
    Piece(usize),
    First(usize),
    Pong(usize),
    /// The newest of a topic in the place of the one that waits, or behind everything.
    Conflate {
        topic: TopicId,
        len: usize,
    },
    /// The oldest of a topic goes, and a gap is told.
    Skip(TopicId),
    /// The newest of a topic is not taken, and a gap is told.
    Refuse(TopicId),
    /// What waits of a topic stays as it is.
    Settle(TopicId),
    Write(Index),
    Abandon,
}

fn queue_step() -> impl Strategy<Value = QueueStep> {
    let (topic, state, len) = (0..3_u32, 3..5_u32, 1..20_usize);
    prop_oneof![
        6 => (topic.clone(), len.clone()).prop_map(|(topic, len)| QueueStep::Data { topic, len }),
        3 => (state, len.clone()).prop_map(|(topic, len)| QueueStep::Conflate { topic, len }),
        1 => len.clone().prop_map(QueueStep::Notice),
        1 => len.clone().prop_map(QueueStep::Piece),
        1 => (0..5_u32).prop_map(QueueStep::Settle),
        1 => len.clone().prop_map(QueueStep::First),
        1 => len.prop_map(QueueStep::Pong),
        5 => topic.clone().prop_map(QueueStep::Skip),
        2 => topic.prop_map(QueueStep::Refuse),
        3 => any::<Index>().prop_map(QueueStep::Write),
        1 => Just(QueueStep::Abandon),
    ]
}

/// Single steps, and now and then a burst of which so much is taken back that its places are given up.
fn queue_steps() -> impl Strategy<Value = Vec<QueueStep>> {
    let burst = (1..3_u32, 70..90_usize).prop_map(|(topic, count)| {
        let came = std::iter::repeat_n(QueueStep::Data { topic, len: 1 }, count);
        came.chain(std::iter::repeat_n(QueueStep::Skip(topic), count)).collect()
    });
    let steps = prop_oneof![60 => queue_step().prop_map(|step| vec![step]), 1 => burst];
    vec(steps, 1..150).prop_map(|steps| steps.concat())
}

/// What waits, in the plainest form.
#[derive(Clone, Debug, PartialEq)]
enum Waits {
    Data {
        topic: TopicId,
        seq: u64,
    },
    /// Data that nothing happens to any more but that it is written.
    Settled,
    Gap {
        topic: TopicId,
        from: u64,
        to: u64,
    },
    Pong,
    Other,
}

/// A queue and its model, in step.
struct Pair {
    queue: Outbound,
    total: Total,
    model: VecDeque<(Waits, Vec<u8>)>,
    /// Bytes of the first that have gone.
    begun: usize,
    /// The last gap told of a topic, which may grow.
    gaps: BTreeMap<TopicId, (u64, u64)>,
    conflated: BTreeMap<TopicId, u64>,
    seqs: BTreeMap<TopicId, u64>,
}

/// Topic 0 is an event without limits and not indexed, 1 and 2 skip, 3 and 4 are states.
fn class(topic: TopicId) -> Class {
    match topic {
        0 => Class::Event,
        1 | 2 => Class::BestEffort,
        _ => Class::State,
    }
}

fn topic_name(topic: TopicId) -> TopicName {
    format!("t{topic}").try_into().unwrap()
}

fn gap_notice(topic: TopicId, from: u64, to: u64) -> Vec<u8> {
    format!("[{topic}:{from}-{to}]").into_bytes()
}

impl Pair {
    fn new() -> Self {
        Self {
            queue: Outbound::new(Moment::default()),
            total: Total::default(),
            model: VecDeque::new(),
            begun: 0,
            gaps: BTreeMap::new(),
            conflated: BTreeMap::new(),
            seqs: BTreeMap::new(),
        }
    }

    fn next(&mut self, topic: TopicId, len: usize) -> (Data, (Waits, Vec<u8>)) {
        let seq = self.seqs.entry(topic).and_modify(|seq| *seq += 1).or_insert(1);
        let bytes = vec![b'a' + (*seq % 26) as u8; len];
        let held = Rc::new(Held { bytes: bytes.clone(), queued: Cell::new(0) });
        let class = class(topic);
        let data = Data {
            held,
            topic,
            epoch: Epoch(1),
            seq: *seq,
            class,
            indexed: class != Class::Event,
            since_s: 0,
        };
        (data, (Waits::Data { topic, seq: *seq }, bytes))
    }

    /// The first that has not begun and is such.
    fn find(&self, is_such: impl Fn(&Waits) -> bool) -> Option<usize> {
        let skip = usize::from(self.begun > 0);
        let such = |(_, (waits, _)): &(usize, &(Waits, Vec<u8>))| is_such(waits);
        self.model.iter().enumerate().skip(skip).find(such).map(|(at, _)| at)
    }

    fn oldest(&self, topic: TopicId) -> Option<usize> {
        self.find(|waits| matches!(waits, Waits::Data { topic: of, .. } if *of == topic))
    }

    fn control(&mut self, len: usize, kind: Control) -> Entry {
        Entry::Control { bytes: vec![b'.'; len], kind }
    }

    /// A gap of one message, told where it was taken back, or behind everything; or the last one grows.
    fn tell_gap(&mut self, topic: TopicId, at: Option<(usize, u64)>, seq: u64) {
        let place = at.map(|(_, position)| position);
        let notice = |from, to| gap_notice(topic, from, to);
        self.queue.tell_gap(topic, place, Epoch(1), (seq, seq), notice, &mut self.total);
        let waits = self.gaps.get(&topic).copied().filter(|(_, to)| to + 1 == seq);
        let grows = waits.and_then(|(from, to)| {
            let at = self.find(|waits| *waits == Waits::Gap { topic, from, to })?;
            Some((at, from))
        });
        let from = grows.map_or(seq, |(_, from)| from);
        let told = (Waits::Gap { topic, from, to: seq }, gap_notice(topic, from, seq));
        match (grows, at) {
            (Some((grown, _)), taken) => {
                self.model[grown] = told;
                if let Some((at, _)) = taken {
                    self.model.remove(at);
                }
            }
            (None, Some((at, _))) => self.model[at] = told,
            (None, None) => self.model.push_back(told),
        }
        self.gaps.insert(topic, (from, seq));
    }

    fn play(&mut self, step: &QueueStep) {
        match *step {
            QueueStep::Data { topic, len } => {
                let (data, waits) = self.next(topic, len);
                self.queue.push(Entry::Data(data), 0, &mut self.total);
                self.model.push_back(waits);
            }
            QueueStep::Conflate { topic, len } => {
                let (data, waits) = self.next(topic, len);
                let oldest = self.oldest(topic);
                match (self.queue.conflate(data, &topic_name(topic), &mut self.total), oldest) {
                    (None, Some(at)) => {
                        self.model[at] = waits;
                        *self.conflated.entry(topic).or_default() += 1;
                    }
                    (Some(data), None) => {
                        self.queue.push(Entry::Data(data), 0, &mut self.total);
                        self.model.push_back(waits);
                    }
                    (given_back, oldest) => panic!("{given_back:?} with one waiting at {oldest:?}"),
                }
            }
            QueueStep::Notice(len) => {
                let entry = self.control(len, Control::Notice);
                self.queue.push(entry, 0, &mut self.total);
                self.model.push_back((Waits::Other, vec![b'.'; len]));
            }
            QueueStep::Piece(len) => {
                let held = Rc::new(Held { bytes: vec![b'-'; len], queued: Cell::new(0) });
                let place = Since { epoch: Epoch(1), seq: 0 };
                let portion = Box::new(Portion { held, topic: 0, before: place, last: place });
                self.queue.push(Entry::Piece(portion), 0, &mut self.total);
                self.model.push_back((Waits::Other, vec![b'-'; len]));
            }
            QueueStep::Settle(topic) => {
                self.queue.settle(topic);
                while let Some(at) = self.oldest(topic) {
                    self.model[at].0 = Waits::Settled;
                }
                self.gaps.remove(&topic);
            }
            QueueStep::First(len) => {
                let entry = self.control(len, Control::Notice);
                self.queue.push_first(entry, &mut self.total);
                self.model.insert(usize::from(self.begun > 0), (Waits::Other, vec![b'.'; len]));
            }
            QueueStep::Pong(len) => {
                let pong = (Waits::Pong, vec![b'p'; len]);
                let waits = self.find(|waits| *waits == Waits::Pong);
                match (self.queue.replace_pong(pong.1.clone(), &mut self.total), waits) {
                    (None, Some(at)) => self.model[at] = pong,
                    (Some(bytes), None) => {
                        let entry = Entry::Control { bytes, kind: Control::Pong };
                        self.queue.push(entry, 0, &mut self.total);
                        self.model.push_back(pong);
                    }
                    (given_back, waits) => panic!("{given_back:?} with one waiting at {waits:?}"),
                }
            }
            QueueStep::Skip(topic) => {
                let oldest = self.oldest(topic).filter(|_| class(topic) != Class::Event);
                let taken = self.queue.take_back(topic, &mut self.total);
                assert_eq!(taken.is_some(), oldest.is_some());
                if let (Some((seq, position)), Some(at)) = (taken, oldest) {
                    assert_eq!(self.model[at].0, Waits::Data { topic, seq });
                    self.tell_gap(topic, Some((at, position)), seq);
                }
            }
            QueueStep::Refuse(topic) if class(topic) == Class::BestEffort => {
                let (data, _) = self.next(topic, 1);
                self.tell_gap(topic, None, data.seq);
            }
            QueueStep::Refuse(_) => {}
            QueueStep::Write(ref len) => {
                let mut waiting = Vec::new();
                self.queue.gather(&mut waiting, usize::MAX);
                let mut taken = len.index(waiting.len() + 1);
                self.queue.advance(taken, &mut self.total, drop);
                while taken > 0 {
                    let rest = self.model[0].1.len() - self.begun;
                    if taken < rest {
                        self.begun += taken;
                        break;
                    }
                    taken -= rest;
                    self.begun = 0;
                    self.model.pop_front();
                }
            }
            QueueStep::Abandon => {
                let kept = usize::from(self.begun > 0);
                let is_data =
                    |(waits, _): &&(Waits, Vec<u8>)| matches!(waits, Waits::Data { .. } | Waits::Settled);
                let lost = self.model.iter().skip(kept).filter(is_data).count();
                assert_eq!(self.queue.abandon(&mut self.total).len(), lost);
                self.model.truncate(kept);
            }
        }
    }

    fn compare(&self) {
        let mut waiting = Vec::new();
        self.queue.gather(&mut waiting, usize::MAX);
        let expected: Vec<_> =
            self.model.iter().flat_map(|(_, bytes)| bytes.clone()).skip(self.begun).collect();
        assert_eq!(String::from_utf8(waiting), String::from_utf8(expected));
        let bytes = self.model.iter().map(|(_, bytes)| bytes.len() + ENTRY_BYTES).sum::<usize>();
        let is_data = |(waits, _): &&(Waits, Vec<u8>)| matches!(waits, Waits::Data { .. } | Waits::Settled);
        let deliveries = self.model.iter().filter(is_data).count() as u64;
        assert_eq!((self.queue.frames(), self.queue.bytes()), (self.model.len(), bytes));
        assert_eq!(self.total, Total { frames: self.model.len(), deliveries, bytes });
        for topic in 1..5 {
            let of = |(waits, _): &&(Waits, Vec<u8>)| matches!(waits, Waits::Data { topic: of, .. } if *of == topic);
            let skip = usize::from(self.begun > 0);
            let lens: Vec<_> =
                self.model.iter().skip(skip).filter(of).map(|(_, bytes)| bytes.len()).collect();
            let waiting = self.queue.waiting(topic).map_or((0, 0), |of| (of.frames(), of.bytes));
            assert_eq!(waiting, (lens.len(), lens.iter().sum()), "of topic {topic}");
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_queue_writes_what_waits_in_its_order_and_counts_it(steps in queue_steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.play(step);
            pair.compare();
        }
        let conflated: BTreeMap<_, _> = pair.conflated.iter().map(|(topic, count)| (topic_name(*topic), *count)).collect();
        prop_assert_eq!(pair.queue.take_conflated(), conflated);
        pair.queue.clear(&mut pair.total);
        prop_assert_eq!(pair.total, Total::default());
    }
}
