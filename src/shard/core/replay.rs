//! Replays: what a subscriber is sent of a topic's history before it is live.
//!
//! ```text
//!   subscribed ──► piece ──► socket took it ──► ask ──► sequencer ──► FIFO ──► piece … the last one ──► live
//! ```
//!
//! Contract:
//! 1. A subscriber is routed nothing of a topic before it has been handed the piece that reaches the head; that
//!    piece and what is live meet in the FIFO.
//! 2. A connection has one answer's pieces on their way at a time, whatever it subscribes to: a replay larger than
//!    its queue goes as its socket takes it.
//! 3. Who unsubscribes or closes midway is asked for nothing more; an answer on its way is known by its ticket.
//! 4. A piece is encoded once for all who are sent the same, and held once however many queues it waits in.
//!
//! It is no part of the account of deliveries: `replayed` and `snapshots` count it.

use super::Shard;
use super::log::Held;
use super::writer::{Sockets, State, Taken, Writer};
use crate::clock::Moment;
use crate::ids::{Epoch, Slot, TopicId};
use crate::limits::{ENTRY_BYTES, REPLAY_KEPT_BYTES, RESYNC_EVERY_S};
use crate::message::{Encoding, Message};
use crate::protocol::close::Reason;
use crate::protocol::operation::Since;
use crate::protocol::outcome::Grant;
use crate::protocol::reply;
use crate::protocol::topic::TopicName;
use crate::sequencer::piece::{Loss, Piece, Place};
use crate::sequencer::request::{Ask, Change, News, Replayed};
use crate::shard::queue::entry::{Control, Entry, Portion};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The topics on which one connection is not live yet.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// One after the other, the first one now.
    queue: VecDeque<CatchingUp>,
    /// The topics of the queue.
    guest_of: BTreeSet<TopicId>,
    /// Pieces handed over that the kernel does not have yet.
    in_flight: usize,
    /// When it last began again from a snapshot because it was behind.
    resynced: Option<Moment>,
}

/// A topic whose head is not reached.
#[derive(Debug)]
struct CatchingUp {
    topic: TopicId,
    epoch: Epoch,
    ticket: u32,
    place: Place,
    /// True exactly when the next piece is asked for and has not come.
    is_asked: bool,
}

/// What all replays of a shard share.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Pieces to be asked for, oldest first.
    pub(crate) asks: VecDeque<Ask>,
    /// Who waits to begin again from a snapshot: for an empty queue, and for a second since the last.
    pub(super) due: BTreeSet<Slot>,
    next_ticket: u32,
    kept: Kept,
}

impl Writer {
    /// True exactly when it has the topic and is not live on it yet.
    pub(crate) fn is_guest_of(&self, topic: TopicId) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.guest_of.contains(&topic))
    }
}

impl Shard {
    /// True exactly when another piece would come on top of one that is on its way.
    pub(super) fn is_catching_up(&self, slot: Slot) -> bool {
        let replay = self.writers.get(slot as usize).and_then(|writer| writer.replay.as_ref());
        replay.is_some_and(|replay| replay.in_flight > 0 || !replay.queue.is_empty())
    }

    /// A subscription begins with a piece: returns what is to be sent once the subscription is answered.
    pub(super) fn begin_replay(
        &mut self,
        slot: Slot,
        name: &TopicName,
        grant: &Grant,
        piece: &Piece,
        must_wait: bool,
    ) -> Option<Portion> {
        self.fix_in_place(slot, grant.id);
        let encoding = self.hot[slot as usize].encoding;
        if piece.is_last && !must_wait {
            self.topics.join(name, grant, slot, encoding);
        } else {
            self.topics.host(name, grant);
            // What it cannot take now is asked for again.
            let place = if must_wait { piece.place } else { piece.end() };
            self.catch_up(slot, grant.id, piece.epoch, place);
        }
        if must_wait { None } else { self.encode(encoding, name, piece) }
    }

    /// Takes a subscriber that is behind out of the live stream: it is sent nothing more of the topic until it can
    /// begin again from a snapshot, after a gap from the message after `last`. What it is still owed of the topic
    /// is the caller's to drop.
    pub(in crate::shard) fn resync(&mut self, slot: Slot, topic: TopicId, last: u64) {
        let Some(writer) = self.writers.get(slot as usize) else { return };
        let is_live = writer.has(topic) && !writer.is_guest_of(topic);
        let Some(epoch) = self.topics.get(topic).filter(|_| is_live).map(|topic| topic.epoch) else { return };
        self.topics.demote(topic, slot, self.hot[slot as usize].encoding);
        self.catch_up(slot, topic, epoch, Place::Resync { last });
        self.ask(slot);
    }

    fn catch_up(&mut self, slot: Slot, topic: TopicId, epoch: Epoch, place: Place) {
        let ticket = self.replays.next_ticket;
        self.replays.next_ticket = ticket.wrapping_add(1);
        let one = CatchingUp { topic, epoch, ticket, place, is_asked: false };
        let replay = self.writers[slot as usize].replay.get_or_insert_default();
        replay.queue.push_back(one);
        replay.guest_of.insert(topic);
    }

    /// The gaps that a subscriber of these topics, in ascending order, has not been told of because it waits for a
    /// snapshot to begin again from.
    pub(super) fn untold_gaps(&self, slot: Slot, topics: &[TopicId]) -> Vec<String> {
        let replay = self.writers.get(slot as usize).and_then(|writer| writer.replay.as_ref());
        let waits = replay.into_iter().flat_map(|replay| &replay.queue);
        let gap = |one: &CatchingUp| {
            let (Place::Resync { last }, topic) = (one.place, self.topics.get(one.topic)?) else {
                return None;
            };
            if one.epoch != topic.epoch {
                return Some(reply::new_epoch(&topic.name, topic.epoch, topic.seq));
            }
            (last < topic.seq).then(|| reply::gap(&topic.name, last + 1, topic.seq, "slow"))
        };
        waits.filter(|one| topics.binary_search(&one.topic).is_ok()).filter_map(gap).collect()
    }

    /// The slot does not want these topics, in ascending order, any more; returns those on which it was not live.
    pub(super) fn stop_replays(&mut self, slot: Slot, topics: &[TopicId]) -> Vec<TopicId> {
        let Some(replay) = &mut self.writers[slot as usize].replay else { return Vec::new() };
        let stopped: Vec<_> = topics.iter().copied().filter(|topic| replay.guest_of.remove(topic)).collect();
        if !stopped.is_empty() {
            replay.queue.retain(|one| stopped.binary_search(&one.topic).is_err());
        }
        stopped
    }

    /// The next piece has come.
    pub(super) fn replayed(&mut self, answer: Replayed, now: Moment, sockets: &mut impl Sockets) {
        let slot = answer.connection.slot;
        if !self.is_here(answer.connection) {
            return;
        }
        let Some(replay) = &mut self.writers[slot as usize].replay else { return };
        let Some(one) = replay.queue.front_mut().filter(|one| one.ticket == answer.ticket) else { return };
        let topic = one.topic;
        let Some(name) = self.topics.get(topic).map(|topic| topic.name.clone()) else { return };
        let Some(piece) = answer.piece else {
            let reason = Reason::CannotResume;
            return self.close(slot, reason, reason.code(), &reply::cannot_resume(&name), now, sockets);
        };
        let stood = Since { epoch: one.epoch, seq: one.place.seq() };
        (one.epoch, one.place, one.is_asked) = (piece.epoch, piece.end(), false);
        let encoding = self.hot[slot as usize].encoding;
        if piece.is_last {
            replay.queue.pop_front();
            replay.guest_of.remove(&topic);
            self.topics.promote(topic, slot, encoding);
        }
        self.fix_in_place(slot, topic);
        let portion = self.encode(encoding, &name, &piece);
        if let Some(loss) = piece.loss {
            let text = match loss {
                Loss::Gap { from, to, reason } => reply::gap(&name, from, to, reason),
                Loss::Epoch { epoch, seq } => reply::new_epoch(&name, epoch, seq),
            };
            let frame = self.wire(slot).text(&text);
            self.control(slot, frame, Control::Gap(topic, stood), now, sockets);
        }
        if self.is_here(answer.connection) {
            self.send_pieces(slot, portion.as_slice(), now, sockets);
            self.ask(slot);
        }
    }

    /// Asks for the next piece, unless one is on its way.
    pub(super) fn ask(&mut self, slot: Slot) {
        let Some(connection) = self.id_of(slot) else { return };
        let place = &mut self.writers[slot as usize].replay;
        let Some(replay) = place.as_mut().filter(|replay| replay.in_flight == 0) else { return };
        match replay.queue.front_mut() {
            None if replay.resynced.is_none() => *place = None,
            Some(one) if !one.is_asked && matches!(one.place, Place::Resync { .. }) => {
                self.replays.due.insert(slot);
            }
            Some(one) if !one.is_asked => {
                one.is_asked = true;
                let CatchingUp { topic, epoch, ticket, place, .. } = *one;
                self.replays.asks.push_back(Ask { connection, topic, ticket, epoch, place });
            }
            None | Some(_) => {}
        }
    }

    /// Asks for a snapshot for one that is behind, once its queue is empty and at most once a second.
    pub(in crate::shard) fn ask_if_due(&mut self, slot: Slot, now: Moment) {
        if self.hot[slot as usize].state != State::Open || !self.replays.due.contains(&slot) {
            return;
        }
        let Some(connection) = self.id_of(slot) else { return };
        let Some(replay) = &mut self.writers[slot as usize].replay else { return };
        let every = Duration::from_secs(RESYNC_EVERY_S);
        if replay.in_flight > 0 || replay.resynced.is_some_and(|then| now.since(then) < every) {
            return;
        }
        self.replays.due.remove(&slot);
        let Some(one) = replay.queue.front_mut().filter(|one| !one.is_asked) else { return };
        one.is_asked = true;
        let CatchingUp { topic, epoch, ticket, place, .. } = *one;
        replay.resynced = Some(now);
        self.replays.asks.push_back(Ask { connection, topic, ticket, epoch, place });
    }

    /// The same for all of these who wait.
    pub(super) fn ask_where_due(&mut self, slots: Range<Slot>, now: Moment) {
        let due: Vec<Slot> = self.replays.due.range(slots).copied().collect();
        due.into_iter().for_each(|slot| self.ask_if_due(slot, now));
    }

    /// So many pieces are with the kernel.
    pub(in crate::shard) fn pieces_sent(&mut self, slot: Slot, count: usize) {
        if count == 0 {
            return;
        }
        let Some(writer) = self.writers.get_mut(slot as usize) else { return };
        if let Some(replay) = &mut writer.replay {
            replay.in_flight -= count;
            self.ask(slot);
        }
    }

    /// Sends pieces, after what the log owes the slot, or queues what its socket does not take.
    pub(super) fn send_pieces(
        &mut self,
        slot: Slot,
        pieces: &[Portion],
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if pieces.is_empty() {
            return;
        }
        self.pay(slot, now, sockets);
        let state = self.hot[slot as usize].state;
        if !matches!(state, State::Open | State::Blocked) {
            return;
        }
        self.writers[slot as usize].replay.get_or_insert_default().in_flight += pieces.len();
        let taken =
            if state == State::Open { self.offer_pieces(slot, pieces, sockets) } else { Taken::Bytes(0) };
        let Taken::Bytes(mut taken) = taken else { return self.end(slot, Reason::Socket, true) };
        self.counters.bytes += taken as u64;
        let mut rest = pieces;
        while let [piece, more @ ..] = rest
            && piece.held.bytes.len() <= taken
        {
            taken -= piece.held.bytes.len();
            rest = more;
        }
        if !rest.is_empty() && state == State::Open {
            self.block(slot, now);
        }
        for piece in rest {
            self.enqueue(slot, Entry::Piece(piece.clone().into()), std::mem::take(&mut taken));
        }
        self.pieces_sent(slot, pieces.len() - rest.len());
        self.bound_the_shard(now, sockets);
    }

    /// One write of all of them.
    fn offer_pieces(&mut self, slot: Slot, pieces: &[Portion], sockets: &mut impl Sockets) -> Taken {
        self.sends += 1;
        if let [piece] = pieces {
            return self.offer(slot, &piece.held.bytes, sockets);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        pieces.iter().for_each(|piece| scratch.extend_from_slice(&piece.held.bytes));
        let taken = self.offer(slot, &scratch, sockets);
        self.scratch = scratch;
        taken
    }

    /// Something about a topic has changed; who is live on it is told in its place among the messages.
    pub(super) fn news(&mut self, news: &News, now: Moment, sockets: &mut impl Sockets) {
        if matches!(news.change, Change::Retired) {
            return self.retired(news.topic, now, sockets);
        }
        let Some(topic) = self.topics.get_mut(news.topic) else { return };
        if let Change::Terms(terms) = news.change {
            topic.terms = terms;
            return;
        }
        // What is owed is of before: it must be known as that, whatever becomes of who does not take it.
        for slot in topic.slots().to_vec() {
            self.pay(slot, now, sockets);
        }
        let Some(topic) = self.topics.get_mut(news.topic) else { return };
        let (text, left_out) = match news.change {
            Change::Epoch { epoch, seq } => {
                (topic.epoch, topic.seq) = (epoch, seq);
                (reply::new_epoch(&topic.name, epoch, seq), None)
            }
            Change::Skip { from, to } => {
                topic.seq = to;
                (reply::gap(&topic.name, from, to, "publisher"), Some((from, to)))
            }
            Change::Retired | Change::Terms(_) => return,
        };
        for slot in topic.slots().to_vec() {
            if !self.tell_instead(slot, news.topic, left_out) {
                self.fix_in_place(slot, news.topic);
                self.notify(slot, &text, now, sockets);
            }
        }
    }

    /// What waits of a topic keeps its place before what comes now.
    pub(super) fn fix_in_place(&mut self, slot: Slot, topic: TopicId) {
        let queue = self.writers.get_mut(slot as usize).and_then(|writer| writer.outbound.as_mut());
        queue.into_iter().for_each(|queue| queue.settle(topic));
    }

    /// A piece's frames, made once for all who are sent the same; `None` where there are none.
    fn encode(&mut self, encoding: Encoding, name: &TopicName, piece: &Piece) -> Option<Portion> {
        let (key, last) = (Key::of(encoding, piece)?, piece.messages.last()?);
        let place = |seq| Since { epoch: piece.epoch, seq };
        let (before, until) = (place(piece.after), place(last.seq));
        let portion = |held| Portion { held, topic: last.topic, before, last: until };
        self.counters.replayed += piece.messages.len() as u64;
        self.counters.snapshots += u64::from(piece.is_snapshot);
        if let Some(held) = self.replays.kept.get(&key) {
            return Some(portion(held));
        }
        self.counters.replays_encoded += 1;
        let mut bytes = Vec::new();
        let (mut before, mut begins_snapshot) = (piece.after, piece.is_snapshot);
        for message in &piece.messages {
            if message.seq > before + 1 {
                let text = reply::gap(name, before + 1, message.seq - 1, "publisher");
                bytes.extend(encoding.wire().text(&text));
            }
            if std::mem::take(&mut begins_snapshot) {
                encoding.encode_snapshot(message, &mut bytes);
            } else {
                encoding.encode(message, &mut bytes);
            }
            before = message.seq;
        }
        let held = Rc::new(Held { bytes, queued: Cell::new(0) });
        self.replays.kept.keep(key, piece, held.clone());
        Some(portion(held))
    }
}

/// Pieces encoded lately, oldest first; below [`REPLAY_KEPT_BYTES`].
#[derive(Debug, Default)]
struct Kept {
    pieces: HashMap<Key, KeptPiece>,
    order: VecDeque<Key>,
    bytes: usize,
}

/// Two pieces are the same when they begin and end with the same messages: not equal ones, the very same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    first: usize,
    last: usize,
    after: u64,
    is_snapshot: bool,
    encoding: Encoding,
}

#[derive(Debug)]
struct KeptPiece {
    held: Rc<Held>,
    /// While these live, their addresses are theirs.
    _ends: [Arc<Message>; 2],
    weight: usize,
}

impl Key {
    fn of(encoding: Encoding, piece: &Piece) -> Option<Self> {
        let address = |message: &Arc<Message>| Arc::as_ptr(message) as usize;
        let (first, last) = (address(piece.messages.first()?), address(piece.messages.last()?));
        Some(Self { first, last, after: piece.after, is_snapshot: piece.is_snapshot, encoding })
    }
}

impl Kept {
    fn get(&self, key: &Key) -> Option<Rc<Held>> {
        self.pieces.get(key).map(|piece| piece.held.clone())
    }

    fn keep(&mut self, key: Key, piece: &Piece, held: Rc<Held>) {
        let (Some(first), Some(last)) = (piece.messages.first(), piece.messages.last()) else { return };
        let weight = held.bytes.len() + first.payload.len() + last.payload.len() + 4 * ENTRY_BYTES;
        if weight > REPLAY_KEPT_BYTES {
            return;
        }
        self.bytes += weight;
        self.pieces.insert(key, KeptPiece { held, _ends: [first.clone(), last.clone()], weight });
        self.order.push_back(key);
        while self.bytes > REPLAY_KEPT_BYTES {
            let oldest = self.order.pop_front().and_then(|oldest| self.pieces.remove(&oldest));
            self.bytes -= oldest.map_or(0, |piece| piece.weight);
        }
    }
}

#[cfg(test)]
impl Shard {
    /// True exactly when the slot is subscribed to the topic and not live on it yet.
    pub(crate) fn is_guest(&self, slot: Slot, topic: TopicId) -> bool {
        self.writers.get(slot as usize).is_some_and(|writer| writer.is_guest_of(topic))
    }
}
