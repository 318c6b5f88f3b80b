//! A topic's history: its newest messages, in their order.
//!
//! ```text
//!            floor                               head
//!   ──────────┤ 7 │ 8 │ 9* │ 10 │ 11 │            a subscriber that has received 6 or more resumes
//!    gone     └ oldest     └ the newest image      a snapshot is 9 and all after it
//! ```
//!
//! Invariants:
//! 1. Everything published after `floor` is here, so whoever has received number `floor` or a later one misses nothing.
//! 2. Numbers ascend; they have holes only where a publisher that assigns them left some out.
//! 3. Below its bounds in messages, bytes and age after every push; only the newest message may be spared.

use crate::clock::Moment;
use crate::config::Snapshot;
use crate::limits::HISTORY_ENTRY_BYTES;
use crate::message::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    /// Payloads, and [`HISTORY_ENTRY_BYTES`] for each message.
    pub(crate) bytes: usize,
    /// `None`: however old.
    pub(crate) age: Option<Duration>,
    /// True exactly when the newest message stays whatever the other bounds say.
    pub(crate) keeps_last: bool,
}

impl Bounds {
    /// True exactly when anything is kept at all.
    pub(crate) fn keep_anything(&self) -> bool {
        self.keeps_last || (self.messages > 0 && self.bytes > 0)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    ring: VecDeque<(Moment, Arc<Message>)>,
    bytes: usize,
    floor: u64,
    /// The newest image's number; 0 where there was none.
    image: u64,
}

impl History {
    /// Keeps the newest message, and lets go what no longer fits.
    pub(crate) fn push(&mut self, message: Arc<Message>, now: Moment, bounds: &Bounds) {
        self.bytes += weight(&message);
        if message.is_image {
            self.image = message.seq;
        }
        self.ring.push_back((now, message));
        self.trim(now, bounds);
    }

    /// Notes that a message came which is not kept.
    pub(crate) fn pass(&mut self, seq: u64) {
        self.clear(seq);
    }

    /// Forgets everything up to that number.
    pub(crate) fn clear(&mut self, floor: u64) {
        *self = Self { floor, ..Self::default() };
    }

    /// Lets go what is over the bounds.
    pub(crate) fn trim(&mut self, now: Moment, bounds: &Bounds) {
        let least = usize::from(bounds.keeps_last);
        while self.ring.len() > least {
            let is_old = |(at, _): &(Moment, _)| bounds.age.is_some_and(|age| now.since(*at) >= age);
            let is_over = self.ring.len() > bounds.messages || self.bytes > bounds.bytes;
            if !is_over && !self.ring.front().is_some_and(is_old) {
                return;
            }
            self.evict();
        }
    }

    /// Lets the oldest message go.
    pub(crate) fn evict(&mut self) {
        if let Some((_, message)) = self.ring.pop_front() {
            self.bytes -= weight(&message);
            self.floor = message.seq;
        }
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
    }

    /// Messages kept.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// What they are charged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the newest message that is not here any more.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// True exactly when everything after that number is here.
    pub(crate) fn reaches(&self, seq: u64) -> bool {
        seq >= self.floor
    }

    /// The messages after that number, as far as they are here.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &Arc<Message>> {
        let first = self.ring.partition_point(|(_, message)| message.seq <= seq);
        self.ring.range(first..).map(|(_, message)| message)
    }

    /// The number of the message that a snapshot begins with, if there is one whole.
    pub(crate) fn snapshot(&self, kind: Snapshot) -> Option<u64> {
        match kind {
            Snapshot::None => None,
            Snapshot::Latest => self.ring.back().map(|(_, message)| message.seq),
            Snapshot::Image => (self.image > self.floor).then_some(self.image),
        }
    }
}

fn weight(message: &Message) -> usize {
    message.payload.len() + HISTORY_ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::topic::TopicName;
    use proptest::prelude::*;

    fn message(seq: u64, len: usize, is_image: bool) -> Arc<Message> {
        let name = TopicName::try_from("t").unwrap();
        let payload = "x".repeat(len).into();
        Arc::new(Message { topic: 0, name, seq, time_us: 0, is_image, payload })
    }

    fn at(secs: u64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish { skip: u64, len: usize, is_image: bool },
        Wait(u64),
        Evict,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..3, 0usize..400, prop::bool::weighted(0.2))
                .prop_map(|(skip, len, is_image)| Step::Publish { skip: skip / 2, len, is_image }),
            2 => (0u64..20).prop_map(Step::Wait),
            1 => Just(Step::Evict),
        ]
    }

    proptest! {
        /// Proves: whatever is published and let go, the history is a suffix of what was published, below its bounds;
        /// what it says it reaches it has whole; a snapshot begins with the newest image (or message), and only
        /// where everything after it is there.
        #[test]
        fn a_history_is_an_honest_suffix(
            steps in prop::collection::vec(step(), 1..120),
            messages in 0usize..12,
            bytes in 0usize..3_000,
            age in prop::option::of(1u64..60),
            keeps_last: bool,
        ) {
            let bounds = Bounds { messages, bytes, age: age.map(Duration::from_secs), keeps_last };
            let mut history = History::default();
            // Everything ever published: when, number, whether an image, length.
            let mut all: Vec<(u64, u64, bool, usize)> = Vec::new();
            let (mut now, mut seq) = (0, 0);
            for step in steps {
                match step {
                    Step::Publish { skip, len, is_image } => {
                        seq += 1 + skip;
                        all.push((now, seq, is_image, len));
                        history.push(message(seq, len, is_image), at(now), &bounds);
                    }
                    Step::Wait(secs) => {
                        now += secs;
                        history.trim(at(now), &bounds);
                    }
                    Step::Evict => history.evict(),
                }
                let kept = &all[all.len() - history.len()..];
                let listed: Vec<u64> = history.after(0).map(|message| message.seq).collect();
                prop_assert_eq!(&listed, &kept.iter().map(|(_, seq, ..)| *seq).collect::<Vec<_>>());
                let weight: usize = kept.iter().map(|(.., len)| len + HISTORY_ENTRY_BYTES).sum();
                prop_assert_eq!(history.bytes(), weight);
                let spared = usize::from(keeps_last);
                prop_assert!(kept.len() <= messages.max(spared));
                prop_assert!(weight <= bytes || kept.len() <= spared);
                let is_old = |then: u64| age.is_some_and(|age| now - then >= age);
                prop_assert!(kept.iter().take(kept.len().saturating_sub(spared)).all(|(then, ..)| !is_old(*then)));
                for since in 0..=seq {
                    let followed = all.iter().filter(|(_, seq, ..)| *seq > since).count();
                    let here = history.after(since).count();
                    prop_assert_eq!(history.reaches(since), here == followed, "since {}", since);
                }
                let image = all.iter().rev().find(|(_, _, is_image, _)| *is_image).map(|(_, seq, ..)| *seq);
                prop_assert_eq!(history.snapshot(Snapshot::Image), image.filter(|seq| listed.contains(seq)));
                prop_assert_eq!(history.snapshot(Snapshot::Latest), listed.last().copied());
            }
        }
    }

    #[test]
    fn a_new_beginning_leaves_nothing_behind() {
        let bounds = Bounds { messages: 9, bytes: 9_999, age: None, keeps_last: false };
        let mut history = History::default();
        history.push(message(1, 1, true), at(0), &bounds);
        history.clear(40);
        assert_eq!((history.len(), history.bytes(), history.floor()), (0, 0, 40));
        assert_eq!(history.snapshot(Snapshot::Image), None);
        history.pass(41);
        assert!(!history.reaches(40) && history.reaches(41));
    }
}
