//! The shard's core: its slab of writers, its topics, its log. Pure: no threads, no clock, and sockets only as
//! a trait that takes bytes.
//!
//! Contract:
//! 1. Deliveries are handled in the order of the FIFO. A subscription holds from its answer on.
//! 2. A connection gets its frames in that order, each once, or is closed; frames from outside the log come
//!    after what the log still owes it, except pings and pongs.
//! 3. `routed = delivered + abandoned + pending` at all times.
//! 4. Nothing here waits: a full socket gets a queue, a full queue its policy.
//!
//! What is to be done outside (tasks, sockets, requests to the sequencer) is left in `effects` and `leaves`.

use super::counters::Counters;
use super::debts::Debts;
use super::log::Log;
use super::outbound::{Control, Entry, Outbound, Total};
use super::topics::Topics;
use super::writer::{Closing, Effect, Hot, Sockets, State, Taken, Writer};
use crate::clock::Moment;
use crate::ids::{ConnectionId, ShardId, Slot, TopicId};
use crate::limits::{ANSWERS_OWED_MAX, CLOSE_LINGER_S, LOG_LISTED_MAX, Limits};
use crate::message::{Encoding, Message, frame};
use crate::protocol::class::Class;
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::reply::{self, Subscription, Tag};
use crate::sequencer::request::{Delivery, Refusal, Subscribed, Unsubscribed};
use slab::Slab;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A connection as the operator sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionReport {
    pub(crate) id: ConnectionId,
    pub(crate) state: State,
    pub(crate) subscriptions: usize,
    pub(crate) sent_frames: u64,
    pub(crate) queued_frames: usize,
    pub(crate) queued_bytes: usize,
    /// Since the socket last took a byte, while it is full.
    pub(crate) stalled: Duration,
    pub(crate) age: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    pub(super) writers: Slab<Writer>,
    pub(super) hot: Vec<Hot>,
    pub(super) debts: Debts,
    pub(super) topics: Topics,
    pub(super) log: Log,
    pub(super) queued: Total,
    pub(super) counters: Counters,
    pub(super) scratch: Vec<u8>,
    pub(super) sweep: super::sweep::Sweep,
    /// Who asked for heartbeats.
    pub(super) heartbeats: BTreeSet<Slot>,
    next_generation: u32,
    /// Subscriptions that ended here and that the sequencer does not know of yet, by topic.
    pub(crate) leaves: HashMap<TopicId, u32>,
    /// What the shell is to do, oldest first.
    pub(crate) effects: Vec<Effect>,
    /// True exactly when the end mark has been taken from the FIFO.
    pub(crate) ended: bool,
}

impl Shard {
    pub(crate) fn new(id: ShardId, limits: Limits) -> Self {
        Self {
            id,
            limits,
            writers: Slab::new(),
            hot: Vec::new(),
            debts: Debts::default(),
            topics: Topics::default(),
            log: Log::default(),
            queued: Total::default(),
            counters: Counters::default(),
            scratch: Vec::new(),
            sweep: super::sweep::Sweep::default(),
            heartbeats: BTreeSet::new(),
            next_generation: 0,
            leaves: HashMap::new(),
            effects: Vec::new(),
            ended: false,
        }
    }

    /// A new connection, `Opening` until [`Shard::greet`].
    pub(crate) fn adopt(&mut self, encoding: Encoding, combined: Encoding, now: Moment) -> ConnectionId {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let slot = self.writers.insert(Writer {
            generation,
            subscriptions: Vec::new(),
            combined,
            outbound: None,
            answers_owed: 0,
            closing: None,
            opened: now,
            heartbeat_s: None,
        }) as Slot;
        if slot as usize >= self.hot.len() {
            self.hot.resize(slot as usize + 1, Hot::FREE);
        }
        self.hot[slot as usize] = Hot { state: State::Opening, encoding, heard_s: now.secs(), ..Hot::FREE };
        self.debts.admit(slot);
        self.counters.opened += 1;
        ConnectionId { shard: self.id, slot, generation }
    }

    /// Writes the handshake's answer; from here on the connection is open.
    pub(crate) fn greet(
        &mut self,
        id: ConnectionId,
        answer: Vec<u8>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if self.is_here(id) && self.hot[id.slot as usize].state == State::Opening {
            self.hot[id.slot as usize].state = State::Open;
            self.control(id.slot, answer, Control::Notice, now, sockets);
        }
    }

    /// True exactly when that very connection is still here.
    pub(crate) fn is_here(&self, id: ConnectionId) -> bool {
        id.shard == self.id
            && self.writers.get(id.slot as usize).is_some_and(|w| w.generation == id.generation)
    }

    /// The connection that has the slot now.
    pub(crate) fn id_of(&self, slot: Slot) -> Option<ConnectionId> {
        let generation = self.writers.get(slot as usize)?.generation;
        Some(ConnectionId { shard: self.id, slot, generation })
    }

    /// True exactly when nobody is connected.
    pub(crate) fn is_deserted(&self) -> bool {
        self.writers.is_empty()
    }

    /// True exactly when the connection has its close frame, sent or queued.
    pub(crate) fn is_closing(&self, slot: Slot) -> bool {
        self.hot[slot as usize].state == State::Closing
    }

    /// True exactly when the log may take another message.
    pub(crate) fn has_room(&self) -> bool {
        self.log.has_room() && self.debts.listed() < LOG_LISTED_MAX
    }

    /// Handles the next of the FIFO.
    pub(crate) fn deliver(&mut self, delivery: Delivery, now: Moment, sockets: &mut impl Sockets) {
        match delivery {
            Delivery::Message(message) => self.route(&message),
            Delivery::Subscribed(answer) => self.subscribed(*answer, now, sockets),
            Delivery::Unsubscribed(answer) => self.unsubscribed(&answer, now, sockets),
            Delivery::Published(receipt) => {
                if self.is_here(receipt.connection) {
                    let text = reply::published(&receipt.tag, &receipt.topic, receipt.outcome);
                    self.answer_tagged(receipt.connection.slot, &receipt.tag, text, now, sockets);
                }
            }
            Delivery::End => self.ended = true,
        }
    }

    /// Frames a message once per encoding in use and adds its number to what each subscriber owes.
    fn route(&mut self, message: &Message) {
        let Some(topic) = self.topics.get_mut(message.topic) else { return };
        topic.seq = message.seq;
        let encodings = topic.encodings();
        let slots = topic.slots();
        let number = self.log.append(message, encodings, slots.len() as u32);
        for slot in slots {
            self.debts.owe(*slot, number);
        }
        self.counters.routed += slots.len() as u64;
    }

    fn subscribed(&mut self, mut answer: Subscribed, now: Moment, sockets: &mut impl Sockets) {
        let slot = answer.connection.slot;
        let is_open = self.is_here(answer.connection) && self.hot[slot as usize].state != State::Closing;
        for outcome in &mut answer.outcomes {
            let Ok(grant) = outcome.granted else { continue };
            if !is_open {
                self.leave_later(grant.id);
                continue;
            }
            let writer = &mut self.writers[slot as usize];
            match writer.subscriptions.binary_search(&grant.id) {
                Ok(_) => self.leave_later(grant.id),
                Err(_) if writer.subscriptions.len() >= self.limits.topics_per_connection => {
                    outcome.granted = Err(Refusal::TopicsPerConnection);
                    self.leave_later(grant.id);
                }
                Err(at) => {
                    writer.subscriptions.insert(at, grant.id);
                    let encoding = self.hot[slot as usize].encoding;
                    self.topics.join(grant.id, &outcome.topic, grant.epoch, grant.seq, slot, encoding);
                    self.counters.subscriptions += 1;
                }
            }
        }
        if is_open {
            let text = reply::subscribed(&answer.tag, &answer.outcomes);
            self.answer_tagged(slot, &answer.tag, text, now, sockets);
        }
    }

    fn unsubscribed(&mut self, answer: &Unsubscribed, now: Moment, sockets: &mut impl Sockets) {
        if !self.is_here(answer.connection) {
            return;
        }
        let slot = answer.connection.slot;
        for topic in answer.topics.iter().filter_map(|(_, topic)| *topic) {
            let writer = &mut self.writers[slot as usize];
            if let Ok(at) = writer.subscriptions.binary_search(&topic) {
                writer.subscriptions.remove(at);
                self.unsubscribe(slot, topic);
            }
        }
        let text = reply::unsubscribed(&answer.tag, answer.topics.iter().map(|(name, _)| name));
        self.answer_tagged(slot, &answer.tag, text, now, sockets);
    }

    /// One subscription fewer, here and (later) with the sequencer.
    fn unsubscribe(&mut self, slot: Slot, topic: TopicId) {
        self.topics.leave(topic, slot, self.hot[slot as usize].encoding);
        self.counters.subscriptions -= 1;
        self.leave_later(topic);
    }

    fn leave_later(&mut self, topic: TopicId) {
        *self.leaves.entry(topic).or_default() += 1;
    }

    /// An operation has been taken whose answer is owed from now on.
    pub(crate) fn owe_answer(&mut self, slot: Slot) {
        self.writers[slot as usize].answers_owed += 1;
    }

    /// True exactly when the connection's next operation may be read.
    pub(crate) fn may_read(&self, id: ConnectionId) -> bool {
        !self.is_here(id) || {
            let writer = &self.writers[id.slot as usize];
            let queued = writer.outbound.as_ref().map_or(0, |queue| queue.bytes());
            writer.answers_owed < ANSWERS_OWED_MAX && queued < self.limits.queue_bytes
        }
    }

    /// Gives an answer that is owed.
    pub(crate) fn answer(
        &mut self,
        slot: Slot,
        text: Option<String>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        match text {
            Some(text) => {
                self.control(slot, frame::frame(frame::TEXT, text.as_bytes()), Control::Answer, now, sockets)
            }
            None => self.answered(slot),
        }
    }

    /// The same for subscriptions, of which those in the URL owe no answer.
    fn answer_tagged(
        &mut self,
        slot: Slot,
        tag: &Tag,
        text: Option<String>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if *tag == Tag::Silent {
            if let Some(text) = text {
                let bytes = frame::frame(frame::TEXT, text.as_bytes());
                self.control(slot, bytes, Control::Notice, now, sockets);
            }
        } else {
            self.answer(slot, text, now, sockets);
        }
    }

    fn answered(&mut self, slot: Slot) {
        let owed = &mut self.writers[slot as usize].answers_owed;
        *owed = owed.saturating_sub(1);
        if *owed == ANSWERS_OWED_MAX - 1 {
            self.effects.push(Effect::Readable);
        }
    }

    /// Sends or queues a frame from outside the log.
    pub(crate) fn control(
        &mut self,
        slot: Slot,
        bytes: Vec<u8>,
        kind: Control,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let pays_first = matches!(kind, Control::Answer | Control::Notice | Control::Close);
        if pays_first && self.debts.owes(slot) {
            self.pay(slot, now, sockets);
        }
        let Some(writer) = self.writers.get_mut(slot as usize) else { return };
        if let Some(queue) = &mut writer.outbound {
            let bytes =
                if kind == Control::Pong { queue.replace_pong(bytes, &mut self.queued) } else { Some(bytes) };
            if let Some(bytes) = bytes {
                queue.push(Entry::Control { bytes, kind }, 0, &mut self.queued);
            }
            return;
        }
        match sockets.send(slot, &bytes) {
            Taken::Dead => self.end(slot, Reason::Socket, true),
            Taken::Bytes(taken) => {
                self.counters.bytes += taken as u64;
                if taken == bytes.len() {
                    self.control_sent(slot, kind);
                } else {
                    self.block(slot, now);
                    self.enqueue(slot, Entry::Control { bytes, kind }, taken);
                }
            }
        }
    }

    pub(super) fn control_sent(&mut self, slot: Slot, kind: Control) {
        match kind {
            Control::Answer => self.answered(slot),
            Control::Close => self.effects.push(Effect::Finished(slot)),
            Control::Notice | Control::Ping | Control::Pong => {}
        }
    }

    /// Gives the writer a queue and has its task started. It must have none.
    pub(super) fn block(&mut self, slot: Slot, now: Moment) {
        if self.hot[slot as usize].state == State::Open {
            self.hot[slot as usize].state = State::Blocked;
        }
        self.counters.blocked += 1;
        self.effects.push(Effect::Blocked(slot));
        self.writers[slot as usize].outbound = Some(Box::new(Outbound::new(now)));
    }

    /// Queues a frame of which the kernel already has `begun` bytes; the writer must be blocked.
    pub(super) fn enqueue(&mut self, slot: Slot, entry: Entry, begun: usize) {
        if let Some(queue) = &mut self.writers[slot as usize].outbound {
            queue.push(entry, begun, &mut self.queued);
        }
    }

    /// Payloads from now on in the envelope, or verbatim. What is owed goes out as it was.
    pub(crate) fn set_combined(
        &mut self,
        slot: Slot,
        combined: bool,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        self.pay(slot, now, sockets);
        let Some(writer) = self.writers.get(slot as usize) else { return };
        let to = if combined { writer.combined } else { Encoding::Raw };
        let from = std::mem::replace(&mut self.hot[slot as usize].encoding, to);
        for topic in &writer.subscriptions {
            self.topics.recode(*topic, from, to);
        }
    }

    pub(crate) fn is_combined(&self, slot: Slot) -> bool {
        self.hot[slot as usize].encoding != Encoding::Raw
    }

    /// Answers a list operation.
    pub(crate) fn list(&mut self, slot: Slot, tag: &Tag, now: Moment, sockets: &mut impl Sockets) {
        let topics = self.writers[slot as usize].subscriptions.iter().filter_map(|id| self.topics.get(*id));
        let subscriptions: Vec<_> = topics
            .map(|topic| Subscription {
                topic: &topic.name,
                class: Class::Event,
                epoch: topic.epoch.to_string(),
                seq: topic.seq,
                recovered: None,
                reason: None,
            })
            .collect();
        let text = reply::listed(tag, &subscriptions);
        self.answer(slot, text, now, sockets);
    }

    /// The connection wants the heads of its topics every so many seconds.
    pub(crate) fn set_heartbeat(&mut self, slot: Slot, every_s: u32) {
        self.writers[slot as usize].heartbeat_s = Some(every_s);
        self.heartbeats.insert(slot);
    }

    /// Bytes came from the client: it lives.
    pub(crate) fn heard(&mut self, slot: Slot, bytes: usize, now: Moment) {
        let hot = &mut self.hot[slot as usize];
        hot.heard_s = now.secs();
        hot.pinged = false;
        self.counters.bytes_received += bytes as u64;
    }

    /// Tells a connection that the server goes down.
    pub(crate) fn notify_shutdown(
        &mut self,
        id: ConnectionId,
        wait_ms: u64,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if self.is_here(id) && matches!(self.hot[id.slot as usize].state, State::Open | State::Blocked) {
            let text = reply::shutdown_notice(wait_ms);
            self.control(id.slot, frame::frame(frame::TEXT, text.as_bytes()), Control::Notice, now, sockets);
        }
    }

    /// Ends a connection in order: what it is owed, then the close frame. Nothing more is routed to it.
    pub(crate) fn close(
        &mut self,
        slot: Slot,
        reason: Reason,
        code: CloseCode,
        text: &str,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        match self.hot[slot as usize].state {
            State::Free | State::Closing => return,
            State::Opening => return self.end(slot, reason, true),
            State::Open | State::Blocked => {}
        }
        self.pay(slot, now, sockets);
        if matches!(self.hot[slot as usize].state, State::Open | State::Blocked) {
            self.close_with(slot, reason, code, text, now, sockets);
        }
    }

    /// The second half of every close: debts must be paid or forgiven by now.
    pub(super) fn close_with(
        &mut self,
        slot: Slot,
        reason: Reason,
        code: CloseCode,
        text: &str,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        self.unsubscribe_all(slot);
        self.hot[slot as usize].state = State::Closing;
        let deadline = now + Duration::from_secs(CLOSE_LINGER_S);
        self.writers[slot as usize].closing = Some(Closing { reason, deadline });
        self.control(slot, frame::close(code, text), Control::Close, now, sockets);
    }

    /// Ends a connection at once. What it was owed dies with it.
    pub(crate) fn end(&mut self, slot: Slot, reason: Reason, reset: bool) {
        if self.hot[slot as usize].state == State::Free {
            return;
        }
        self.forgive(slot);
        self.unsubscribe_all(slot);
        let mut writer = self.writers.remove(slot as usize);
        if let Some(queue) = &mut writer.outbound {
            self.counters.abandoned += queue.clear(&mut self.queued);
            self.counters.blocked -= 1;
        }
        self.hot[slot as usize] = Hot::FREE;
        self.heartbeats.remove(&slot);
        // What closed it first is why it ended.
        let reason = writer.closing.map_or(reason, |closing| closing.reason);
        self.counters.dropped[reason as usize] += 1;
        self.effects.push(Effect::Ended { slot, generation: writer.generation, reason, reset });
    }

    fn unsubscribe_all(&mut self, slot: Slot) {
        for topic in std::mem::take(&mut self.writers[slot as usize].subscriptions) {
            self.unsubscribe(slot, topic);
        }
    }

    /// What the slot owes in the log is abandoned.
    pub(super) fn forgive(&mut self, slot: Slot) {
        let (run, list) = self.debts.take(slot);
        self.counters.abandoned += u64::from(run.len) + list.len() as u64;
        run.numbers().chain(list.iter().copied()).for_each(|number| self.log.forgive(number));
        self.debts.give_back(slot, list);
    }

    /// What an operator may want to know of every connection.
    pub(crate) fn connections(&self, now: Moment) -> impl Iterator<Item = ConnectionReport> {
        self.writers.iter().map(move |(slot, writer)| {
            let hot = self.hot[slot];
            let queue = writer.outbound.as_ref();
            ConnectionReport {
                id: ConnectionId { shard: self.id, slot: slot as Slot, generation: writer.generation },
                state: hot.state,
                subscriptions: writer.subscriptions.len(),
                sent_frames: hot.sent,
                queued_frames: queue.map_or(0, |queue| queue.frames()),
                queued_bytes: queue.map_or(0, |queue| queue.bytes()),
                stalled: queue.map_or(Duration::ZERO, |queue| now.since(queue.progress)),
                age: now.since(writer.opened),
            }
        })
    }

    /// A copy of what is counted, with what is true now.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.writers.len() as u64,
            pending: self.log.pending() + self.queued.deliveries,
            queued_frames: self.queued.frames as u64,
            queued_bytes: self.queued.bytes as u64,
            ..self.counters
        }
    }
}
