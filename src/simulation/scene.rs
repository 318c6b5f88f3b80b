//! The cores wired together, with scripted sockets and a clock that moves when it is told to.

use crate::clock::Moment;
use crate::config::Rule;
use crate::ids::{ConnectionId, Epoch, ShardId, Slot};
use crate::limits::Limits;
use crate::message::Encoding;
use crate::sequencer::core::{Outbox, Sequencer};
use crate::sequencer::request::{Delivery, Now, Request};
use crate::sequencer::rules::Rules;
use crate::shard::core::Shard;
use crate::shard::core::counters::Counters;
use crate::shard::core::writer::{Sockets, Taken};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Sockets that take so many bytes more, and keep what they took.
#[derive(Default)]
pub(crate) struct Script {
    /// Those not named take everything.
    pub(crate) room: BTreeMap<Slot, usize>,
    pub(crate) taken: BTreeMap<Slot, Vec<u8>>,
    /// Those that will never take any more.
    pub(crate) dead: BTreeSet<Slot>,
    /// What their peers have not acknowledged.
    pub(crate) unacknowledged: BTreeMap<Slot, usize>,
}

impl Sockets for Script {
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken {
        if self.dead.contains(&slot) {
            return Taken::Dead;
        }
        let room = self.room.entry(slot).or_insert(usize::MAX);
        let taken = bytes.len().min(*room);
        if *room != usize::MAX {
            *room -= taken;
        }
        self.taken.entry(slot).or_default().extend_from_slice(&bytes[..taken]);
        Taken::Bytes(taken)
    }

    fn unacknowledged(&self, slot: Slot) -> usize {
        self.unacknowledged.get(&slot).copied().unwrap_or(0)
    }
}

/// One shard: its core, its FIFO and its sockets.
pub(crate) struct Place {
    pub(crate) shard: Shard,
    pub(crate) sockets: Script,
    pub(crate) inbox: VecDeque<Delivery>,
    is_sweeping: bool,
}

/// See the module.
pub(crate) struct Scene {
    pub(crate) sequencer: Sequencer,
    pub(crate) places: Vec<Place>,
    pub(crate) now: Moment,
}

impl Scene {
    pub(crate) fn new(shards: ShardId, limits: Limits, rules: Vec<Rule>) -> Self {
        let place = |id| Place {
            shard: Shard::new(id, limits.clone(), 0),
            sockets: Script::default(),
            inbox: VecDeque::new(),
            is_sweeping: false,
        };
        Self {
            sequencer: Sequencer::new(shards.into(), &limits, 1).under(Rules::new(rules, &limits)),
            places: (0..shards).map(place).collect(),
            now: Moment::from_micros(1_000_000),
        }
    }

    /// Asks the sequencer; what that causes waits in front of the shards.
    pub(crate) fn request(&mut self, request: Request) {
        let mut out = Outbox::new();
        self.sequencer.handle(request, Now { moment: self.now, unix_us: 0 }, &mut out);
        self.post(out);
    }

    fn post(&mut self, out: Outbox) {
        for (shard, delivery) in out {
            self.places[usize::from(shard)].inbox.push_back(delivery);
        }
    }

    /// The epoch of a topic, that of another where there is none.
    pub(crate) fn epoch_of(&self, topic: &str) -> Epoch {
        self.sequencer.epoch_of(topic).unwrap_or(Epoch(0))
    }

    /// A connection whose socket will take so many bytes, counted from the handshake's answer on.
    pub(crate) fn connect(&mut self, shard: ShardId, room: usize, combined: bool) -> ConnectionId {
        let now = self.now;
        let place = &mut self.places[usize::from(shard)];
        let encoding = if combined { Encoding::Combined } else { Encoding::Raw };
        let id = place.shard.adopt(encoding, Encoding::Combined, now);
        place.sockets.taken.insert(id.slot, Vec::new());
        place.sockets.room.insert(id.slot, room);
        place.sockets.dead.remove(&id.slot);
        place.shard.greet(id, Vec::new(), now, &mut place.sockets);
        id
    }

    /// What is next in front of a shard, if its log has room.
    pub(crate) fn next_delivery(&mut self, shard: usize) -> Option<Delivery> {
        let place = &mut self.places[shard];
        if place.shard.has_room() { place.inbox.pop_front() } else { None }
    }

    pub(crate) fn deliver(&mut self, shard: usize, delivery: Delivery) {
        let place = &mut self.places[shard];
        place.shard.deliver(delivery, self.now, &mut place.sockets);
    }

    /// Pays with so many sends.
    pub(crate) fn sweep(&mut self, shard: usize, sends: usize) {
        let place = &mut self.places[shard];
        if !place.is_sweeping {
            place.shard.begin_sweep();
        }
        place.is_sweeping = !place.shard.sweep(sends, self.now, &mut place.sockets);
        if !place.is_sweeping {
            place.shard.end_sweep();
        }
    }

    /// Tells the sequencer which subscriptions ended on a shard, and asks it for what replays lack.
    pub(crate) fn tell(&mut self, shard: usize) {
        let asks = std::mem::take(&mut self.places[shard].shard.replays.asks);
        asks.into_iter().for_each(|ask| self.request(Request::Replay(Box::new(ask))));
        let mut leaves = std::mem::take(&mut self.places[shard].shard.leaves);
        while let Some((topic, count)) = leaves.pop_first() {
            self.request(Request::Leave { shard: shard as ShardId, topic, count });
        }
        let mut unwatched = std::mem::take(&mut self.places[shard].shard.wildcards.unwatched);
        while let Some((pattern, count)) = unwatched.pop_first() {
            self.request(Request::Unwatch { shard: shard as ShardId, pattern, count });
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut out = Outbox::new();
        self.sequencer.tick(self.now, &mut out);
        self.post(out);
        for place in &mut self.places {
            place.shard.tick(0, usize::MAX / 2, self.now, &mut place.sockets);
        }
    }

    /// True exactly when nothing waits in front of a shard, and nobody is owed anything in its log.
    pub(crate) fn is_quiet(&self) -> bool {
        self.places.iter().all(|place| {
            place.inbox.is_empty()
                && !place.is_sweeping
                && !place.shard.is_in_debt()
                && place.shard.replays.asks.is_empty()
        })
    }
}

/// What is wrong with a shard's account.
pub(crate) fn imbalance(counters: &Counters) -> Option<String> {
    let left = counters.account.pending();
    (left != counters.pending).then(|| format!("{left} should be pending: {counters:?}"))
}
