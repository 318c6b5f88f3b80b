//! Who is subscribed to what, and how they want it, as the sequencer's answers say.

use super::Shard;
use super::writer::{Heartbeat, Sockets, State};
use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot, TopicId};
use crate::message::Encoding;
use crate::message::wire::Wire;
use crate::protocol::outcome::{Grant, Outcome, Refusal};
use crate::protocol::reply::{self, Granted, Subscription, Tag};
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Subscribed, Unsubscribed};
use crate::shard::queue::entry::Control;
use std::collections::BTreeSet;

impl Shard {
    pub(super) fn subscribed(&mut self, mut answer: Subscribed, now: Moment, sockets: &mut impl Sockets) {
        let slot = answer.connection.slot;
        let is_open = self.is_here(answer.connection) && self.hot[slot as usize].state != State::Closing;
        if is_open && matches!(answer.tag, Tag::Binance(_)) {
            self.refuse_whole(slot, &mut answer);
        }
        let mut ready = Vec::new();
        let mut pieces = std::mem::take(&mut answer.pieces).into_iter().peekable();
        let must_wait = is_open && self.is_catching_up(slot);
        for (at, outcome) in answer.outcomes.iter_mut().enumerate() {
            let piece = pieces.next_if(|(of, _)| *of == at).map(|(_, piece)| piece);
            let Ok(grant) = outcome.granted else { continue };
            if !is_open {
                self.leave_later(grant.id);
                // It may have ended before it could claim its identity.
                let own = Some(&outcome.topic).filter(|topic| topic.client().is_some());
                self.exits.extend(own.map(|topic| (answer.connection, topic.clone())));
                continue;
            }
            let writer = &mut self.writers[slot as usize];
            match writer.subscriptions.binary_search(&grant.id) {
                Ok(_) => {
                    // Nothing is resumed of what never ended.
                    outcome.granted = Ok(Grant { recovered: None, ..grant });
                    self.leave_later(grant.id);
                }
                Err(_) if writer.asked() >= self.limits.topics_per_connection => {
                    outcome.granted = Err(Refusal::TopicsPerConnection);
                    self.leave_later(grant.id);
                }
                Err(at) => {
                    writer.subscriptions.insert(at, grant.id);
                    self.counters.subscriptions += 1;
                    if self.name_match(slot, grant.id) {
                        outcome.granted = Ok(Grant { recovered: None, ..grant });
                        continue;
                    }
                    match piece {
                        None => {
                            let encoding = self.hot[slot as usize].encoding;
                            self.topics.join(&outcome.topic, &grant, slot, encoding);
                        }
                        Some(piece) => {
                            ready.extend(self.begin_replay(slot, &outcome.topic, &grant, &piece, must_wait));
                        }
                    }
                }
            }
        }
        for one in &mut answer.patterns {
            if is_open {
                ready.extend(self.watched(slot, one, must_wait));
            } else {
                self.refuse_pattern(one, Refusal::TopicsPerConnection);
            }
        }
        let patterns: Vec<_> = answer.patterns.iter().map(|one| &one.found).collect();
        if is_open && answer.tag == Tag::Silent {
            for text in reply::url_subscribed(&answer.outcomes, &patterns) {
                self.notify(slot, &text, now, sockets);
            }
        } else if is_open {
            let has_aliases = self.wire(slot).has_aliases();
            let text = reply::subscribed(&answer.tag, &answer.outcomes, &patterns, has_aliases);
            self.answer(slot, text, now, sockets);
            if has_aliases {
                // What the answer has not named with its alias is named now, before its first message.
                let is_bare = matches!(answer.tag, Tag::Binance(_));
                let named = answer.outcomes.iter().filter(|_| is_bare);
                let named = named.filter_map(|one| Some((&one.topic, one.granted.ok()?)));
                let matched = patterns.iter().filter_map(|one| one.matched.as_ref().ok()).flatten();
                let matched = matched.map(|(name, grant)| (name, *grant));
                self.tell_aliases(answer.connection, named.chain(matched), now, sockets);
            }
        }
        if self.is_here(answer.connection) {
            self.send_pieces(slot, &ready, now, sockets);
            self.ask(slot);
        }
    }

    /// Tells a connection the aliases of topics, all in one frame's place.
    fn tell_aliases<'a>(
        &mut self,
        id: ConnectionId,
        topics: impl Iterator<Item = (&'a TopicName, Grant)>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let event = |(name, grant): (&TopicName, Grant)| {
            Wire::Tcp.text(&reply::topic(name, grant.id, grant.epoch, grant.seq))
        };
        let bytes: Vec<u8> = topics.flat_map(event).collect();
        if self.is_here(id) && !bytes.is_empty() {
            self.control(id.slot, bytes, Control::Notice, now, sockets);
        }
    }

    /// An operation of Binance's is done or fails whole: with one topic too many, none of them is granted.
    fn refuse_whole(&mut self, slot: Slot, answer: &mut Subscribed) {
        let held = &self.writers[slot as usize].subscriptions;
        let outcomes: &mut [Outcome] = &mut answer.outcomes;
        let grants = outcomes.iter().filter_map(|outcome| outcome.granted.ok());
        let more: BTreeSet<_> =
            grants.map(|grant| grant.id).filter(|id| held.binary_search(id).is_err()).collect();
        let refusal = outcomes.iter().find_map(|outcome| outcome.granted.err());
        let refused = refusal.or_else(|| self.refuse_patterns(slot, &answer.patterns, more.len()));
        let Some(refusal) = refused else { return };
        for outcome in outcomes {
            if let Ok(grant) = outcome.granted {
                outcome.granted = Err(refusal);
                self.leave_later(grant.id);
            }
        }
        answer.patterns.iter_mut().for_each(|one| self.refuse_pattern(one, refusal));
    }

    pub(super) fn unsubscribed(&mut self, answer: &Unsubscribed, now: Moment, sockets: &mut impl Sockets) {
        if !self.is_here(answer.connection) {
            return;
        }
        let slot = answer.connection.slot;
        self.pay(slot, now, sockets);
        if !self.is_here(answer.connection) {
            return;
        }
        for topic in answer.topics.iter().filter_map(|(_, topic)| *topic) {
            let Some(writer) = self.writers.get_mut(slot as usize) else { return };
            if let Ok(at) = writer.subscriptions.binary_search(&topic) {
                writer.subscriptions.remove(at);
                self.counters.subscriptions -= 1;
                self.leave_later(topic);
                if !self.is_kept_by_pattern(slot, topic) {
                    self.depart_told(slot, &[topic], now, sockets);
                }
            }
        }
        for pattern in &answer.patterns {
            if self.is_here(answer.connection) {
                let left = self.unwatch(slot, pattern);
                self.depart_told(slot, &left, now, sockets);
            }
        }
        if !self.is_here(answer.connection) {
            return;
        }
        self.ask(slot);
        let topics = answer.topics.iter().map(|(name, _)| name.to_string());
        let patterns = answer.patterns.iter().map(ToString::to_string);
        let text = reply::unsubscribed(&answer.tag, topics.chain(patterns));
        self.answer(slot, text, now, sockets);
    }

    /// The same of one that goes on, which is told what it will not be sent of them.
    pub(super) fn depart_told(
        &mut self,
        slot: Slot,
        topics: &[TopicId],
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let gaps = self.untold_gaps(slot, topics);
        self.depart(slot, topics);
        for gap in gaps {
            if self.hot[slot as usize].state != State::Free {
                self.notify(slot, &gap, now, sockets);
            }
        }
    }

    /// The connection has these topics, in ascending order, no more.
    pub(super) fn depart(&mut self, slot: Slot, topics: &[TopicId]) {
        let guest_of = self.stop_replays(slot, topics);
        for topic in topics {
            if guest_of.binary_search(topic).is_ok() {
                self.topics.dismiss(*topic);
            } else {
                self.topics.leave(*topic, slot, self.hot[slot as usize].encoding);
            }
            self.fix_in_place(slot, *topic);
        }
    }

    /// The sequencer is to be told of one subscription by name fewer.
    pub(super) fn leave_later(&mut self, topic: TopicId) {
        *self.leaves.entry(topic).or_default() += 1;
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
        let to = if combined || self.wire(slot).has_aliases() { writer.combined } else { Encoding::Raw };
        let from = std::mem::replace(&mut self.hot[slot as usize].encoding, to);
        for topic in writer.topics().filter(|topic| !writer.is_guest_of(*topic)) {
            self.topics.recode(topic, from, to);
        }
    }

    pub(crate) fn is_combined(&self, slot: Slot) -> bool {
        self.hot[slot as usize].encoding != Encoding::Raw
    }

    /// Answers a list operation.
    pub(super) fn list(&mut self, id: ConnectionId, tag: &Tag, now: Moment, sockets: &mut impl Sockets) {
        if !self.is_here(id) {
            return;
        }
        let slot = id.slot;
        let writer = &self.writers[slot as usize];
        let has_aliases = self.wire(slot).has_aliases();
        let topics = writer.subscriptions.iter().filter_map(|id| Some((id, self.topics.get(*id)?)));
        let topics = topics.map(|(id, topic)| {
            Granted::Topic(Subscription {
                topic: &topic.name,
                alias: has_aliases.then_some(*id),
                class: topic.terms.class,
                epoch: topic.epoch.to_string(),
                seq: topic.seq,
                recovered: None,
                reason: None,
            })
        });
        let patterns = writer.patterns().into_iter().flatten().map(|topic| Granted::Pattern { topic });
        let subscriptions: Vec<_> = topics.chain(patterns).collect();
        let text = reply::listed(tag, &subscriptions);
        self.answer(slot, text, now, sockets);
    }

    /// The connection wants the heads of its topics every so many seconds.
    pub(crate) fn set_heartbeat(&mut self, slot: Slot, every_s: u32, now: Moment) {
        let next_s = now.secs().saturating_add(every_s);
        self.writers[slot as usize].heartbeat = Some(Heartbeat { every_s, next_s });
        self.heartbeats.insert(slot);
    }
}
