//! What becomes of a message that does not fit the queue of a writer behind a full socket: as the policy of its
//! topic's class says, after the socket was offered the queue once more.
//!
//! A connection closed as slow has its queue dropped, the begun frame finished, and the close frame sent. One that
//! falls behind is told at half of its bounds, and told again when it has caught up.

use super::entry::{Control, Data, Entry};
use super::policy::{self, Verdict};
use crate::clock::Moment;
use crate::ids::{Slot, TopicId};
use crate::limits::ENTRY_BYTES;
use crate::protocol::class::{Class, Terms};
use crate::protocol::close::Reason;
use crate::protocol::operation::Since;
use crate::protocol::reply;
use crate::shard::core::Shard;
use crate::shard::core::topics::Topic;
use crate::shard::core::writer::{Sockets, State};

impl Shard {
    /// True when the blocked slot's queue may take the frame; otherwise its policy has run, and the frame is booked.
    pub(super) fn makes_room(
        &mut self,
        slot: Slot,
        number: u32,
        len: usize,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> bool {
        let frame = self.log.frame(number);
        let terms = self.terms(frame.topic);
        if self.writers.get(slot as usize).is_some_and(|writer| writer.is_guest_of(frame.topic)) {
            // It was routed before the subscriber had to start again.
            self.skip(slot, number);
            return false;
        }
        if self.hot[slot as usize].state == State::Blocked && !self.fits(slot, frame.topic, terms, len) {
            self.write_queue(slot, now, sockets);
        }
        if self.hot[slot as usize].state != State::Blocked {
            self.abandon(slot, number);
            return false;
        }
        if self.fits(slot, frame.topic, terms, len) {
            return true;
        }
        match policy::of(terms.class).overflow() {
            Verdict::Queue => return true,
            Verdict::SkipOldest => {
                while self.skip_oldest(slot, frame.topic) {
                    if self.fits(slot, frame.topic, terms, len) {
                        return true;
                    }
                }
                self.tell_gap(slot, frame.topic, None, (frame.seq, frame.seq));
                self.skip(slot, number);
            }
            Verdict::Close => {
                self.close_slow(slot, frame.topic, frame.seq, now, sockets);
                self.abandon(slot, number);
            }
            Verdict::Resync => {
                self.start_again(slot, frame.topic, frame.seq);
                self.skip(slot, number);
            }
        }
        false
    }

    /// True exactly when the queue holds the frame within the connection's bounds and its topic's.
    fn fits(&self, slot: Slot, topic: TopicId, terms: Terms, len: usize) -> bool {
        let queue = self.writers.get(slot as usize).and_then(|writer| writer.outbound.as_ref());
        let Some(queue) = queue else { return false };
        let (frames, bytes) = queue.waiting(topic).map_or((0, 0), |of| (of.frames(), of.bytes));
        queue.is_empty()
            || (queue.frames() < self.limits.queue_frames
                && queue.bytes() + len + ENTRY_BYTES <= self.limits.queue_bytes
                && terms.queue_frames.is_none_or(|max| frames < max)
                && terms.queue_bytes.is_none_or(|max| frames == 0 || bytes + len <= max))
    }

    /// Takes the topic's oldest message back and tells of the gap; false when none waits.
    fn skip_oldest(&mut self, slot: Slot, topic: TopicId) -> bool {
        let Some(queue) = &mut self.writers[slot as usize].outbound else { return false };
        let Some((seq, position)) = queue.take_back(topic, &mut self.queued) else { return false };
        self.tell_gap(slot, topic, Some(position), (seq, seq));
        self.skipped(slot, topic);
        true
    }

    /// Leaves out a frame of the log.
    pub(in crate::shard) fn skip(&mut self, slot: Slot, number: u32) {
        self.log.forgive(number);
        self.skipped(slot, self.log.frame(number).topic);
    }

    fn skipped(&mut self, slot: Slot, topic: TopicId) {
        self.ledgers.book(topic, |of| of.skipped += 1);
        self.writers[slot as usize].lost.get_or_insert_default().skipped += 1;
    }

    fn tell_gap(&mut self, slot: Slot, topic: TopicId, at: Option<u64>, range: (u64, u64)) {
        let wire = self.wire(slot);
        let Some(queue) = &mut self.writers[slot as usize].outbound else { return };
        let Some(Topic { name, epoch, .. }) = self.topics.get(topic) else { return };
        let notice = |from, to| wire.text(&reply::gap(name, from, to, "slow"));
        queue.tell_gap(topic, at, *epoch, range, notice, &mut self.queued);
    }

    /// Where the newest message takes the place of the one that waits, that goes before something is told that must
    /// stand before the newest; numbers that were left out are told in its place, and with all that come to be left
    /// out while they wait: a queue must not grow with what is told either. True when they were.
    pub(in crate::shard) fn tell_instead(
        &mut self,
        slot: Slot,
        topic: TopicId,
        left_out: Option<(u64, u64)>,
    ) -> bool {
        let wire = self.wire(slot);
        let Some(Topic { name, epoch, terms, .. }) = self.topics.get(topic) else { return false };
        let writer = &mut self.writers[slot as usize];
        let Some(queue) = writer.outbound.as_mut().filter(|_| policy::of(terms.class).conflates()) else {
            return false;
        };
        let Some(position) = queue.conflate_away(topic, name, &mut self.queued) else { return false };
        writer.lost.get_or_insert_default().conflated += 1;
        self.ledgers.book(topic, |of| of.conflated += 1);
        let Some((from, to)) = left_out else { return false };
        let from = queue.waiting(topic).and_then(|waiting| waiting.gap).map_or(from, |gap| gap.to + 1);
        let notice = |from, to| wire.text(&reply::gap(name, from, to, "publisher"));
        queue.tell_gap(topic, Some(position), *epoch, (from, to), notice, &mut self.queued);
        true
    }

    /// Messages that have waited longer than their topic's rule lets them: its policy runs.
    pub(in crate::shard) fn judge_age(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        while let Some((topic, seq)) = self.oldest_too_old(slot, now) {
            match policy::of(self.terms(topic).class).overflow() {
                Verdict::SkipOldest if self.skip_oldest(slot, topic) => {}
                Verdict::Close => return self.close_slow(slot, topic, seq, now, sockets),
                Verdict::Resync => self.start_again(slot, topic, seq),
                _ => return,
            }
        }
    }

    /// A message that waits too long: the oldest of its topic. The newest state is never too old.
    fn oldest_too_old(&self, slot: Slot, now: Moment) -> Option<(TopicId, u64)> {
        let queue = self.writers.get(slot as usize)?.outbound.as_ref()?;
        let is_too_old = |data: &&Data| {
            let age_s = u64::from(now.secs().saturating_sub(data.since_s));
            data.class != Class::State && self.terms(data.topic).queue_age_s.is_some_and(|max| age_s >= max)
        };
        queue.oldest().find(is_too_old).map(|data| (data.topic, data.seq))
    }

    /// Drops what waits of a topic whose message `seq` does not fit: the subscriber starts again from a snapshot
    /// once its queue is empty, and is closed with 4002 where there is none.
    fn start_again(&mut self, slot: Slot, topic: TopicId, seq: u64) {
        let mut first_lost = seq;
        while let Some(queue) = &mut self.writers[slot as usize].outbound
            && let Some((taken_back, _)) = queue.take_back(topic, &mut self.queued)
        {
            first_lost = first_lost.min(taken_back);
            self.skipped(slot, topic);
        }
        self.resync(slot, topic, first_lost - 1);
    }

    /// What it is owed is abandoned; a frame that has begun stays.
    fn drop_queue(&mut self, slot: Slot) {
        self.forgive(slot);
        if let Some(queue) = &mut self.writers[slot as usize].outbound {
            let lost = queue.abandon(&mut self.queued);
            self.abandoned(slot, &lost);
        }
    }

    /// Closes a slow consumer for whom the message `seq` of a topic is too much, naming the last of that topic that it
    /// will have received.
    fn close_slow(&mut self, slot: Slot, topic: TopicId, seq: u64, now: Moment, sockets: &mut impl Sockets) {
        let queue = self.writers.get(slot as usize).and_then(|writer| writer.outbound.as_ref());
        let waits = queue.and_then(|queue| queue.place(Some(topic)));
        let before = |of: &Topic| (topic, Since { epoch: of.epoch, seq: seq - 1 });
        self.close_at(slot, waits.or_else(|| self.topics.get(topic).map(before)), now, sockets);
    }

    /// Closes a blocked slot that is too far behind, naming the last message it will have received.
    pub(in crate::shard) fn give_up(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        let Some(queue) = &self.writers[slot as usize].outbound else { return };
        self.close_at(slot, queue.place(None).or_else(|| queue.place_begun()), now, sockets);
    }

    /// Closes a slow consumer: the queue is dropped, the begun frame finished, the close frame sent.
    fn close_at(
        &mut self,
        slot: Slot,
        place: Option<(TopicId, Since)>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let named = place.and_then(|(topic, last)| Some((&self.topics.get(topic)?.name, last)));
        let text = named.map_or_else(
            || "slow consumer".to_owned(),
            |(name, last)| reply::slow_consumer(name, last.epoch, last.seq),
        );
        self.drop_queue(slot);
        self.close_with(slot, Reason::SlowConsumer, Reason::SlowConsumer.code(), &text, now, sockets);
    }

    /// Tells a connection, once, that half of its bounds are used: before everything else that waits.
    pub(super) fn warn(&mut self, slot: Slot) {
        let wire = self.wire(slot);
        let Some(writer) = self.writers.get_mut(slot as usize) else { return };
        let Some(queue) = &mut writer.outbound else { return };
        let is_far =
            queue.frames() * 2 >= self.limits.queue_frames || queue.bytes() * 2 >= self.limits.queue_bytes;
        if is_far && !queue.is_warned && self.hot[slot as usize].state == State::Blocked {
            queue.is_warned = true;
            let bytes = wire.text(&reply::slow(queue.frames()));
            queue.push_first(Entry::Control { bytes, kind: Control::Notice }, &mut self.queued);
        }
    }

    /// Tells a connection whose queue is empty again what it was not told of; true when there was something.
    pub(super) fn tell_caught_up(&mut self, slot: Slot) -> bool {
        let wire = self.wire(slot);
        let Some(writer) = self.writers.get_mut(slot as usize) else { return false };
        let Some(queue) = writer.outbound.as_mut().filter(|queue| queue.is_empty()) else { return false };
        let conflated = queue.take_conflated();
        if (!queue.is_warned && conflated.is_empty()) || self.hot[slot as usize].state != State::Blocked {
            return false;
        }
        queue.is_warned = false;
        let bytes = wire.text(&reply::caught_up(conflated.iter().map(|(name, count)| (name, *count))));
        queue.push(Entry::Control { bytes, kind: Control::Notice }, 0, &mut self.queued);
        true
    }
}
