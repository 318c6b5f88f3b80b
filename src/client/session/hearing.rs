//! What the server says, and what follows from it.

use super::asking::Purpose;
use super::{Session, Wanted};
use crate::client::address::Transport;
use crate::client::envelope;
use crate::client::error::ClientError;
use crate::client::event::{Event, Granted, Message, Place, Refused};
use crate::client::holes::Item;
use crate::client::places::{Announced, Arrival};
use crate::client::said::{self, Entry, Rejected, Said};
use crate::client::wire::{Heard, Text};
use crate::ids::Epoch;
use crate::message::Payload;
use crate::protocol::outcome::Published;
use crate::protocol::topic::TopicName;
use bytes::Bytes;
use std::time::Duration;

impl Session {
    /// What came on the connection.
    pub(in crate::client) fn hear(&mut self, heard: Heard) -> Result<(), ClientError> {
        match heard {
            Heard::Text(text) => {
                self.hear_text(text);
                Ok(())
            }
            Heard::Data { alias, seq, payload, is_snapshot } => {
                self.hear_data(alias, seq, payload, is_snapshot)
            }
            Heard::Closed(closed) => Err(ClientError::Closed { closed }),
        }
    }

    /// A message of the topic with that alias. One that was never named is nothing that can be handed on: a stream that
    /// does so is at fault, and of datagrams the one that named it was lost.
    fn hear_data(
        &mut self,
        alias: u32,
        seq: u64,
        payload: Bytes,
        is_snapshot: bool,
    ) -> Result<(), ClientError> {
        match self.places.of_alias(alias) {
            Some(topic) => {
                self.hear_message(Message { topic, seq, payload: Payload::sniff(payload), is_snapshot })
            }
            None if self.is_lossy() => {}
            None => {
                return Err(ClientError::Lost(format!("a message of alias {alias}, which was never named")));
            }
        }
        Ok(())
    }

    /// An answer, an event, or a message in its envelope.
    fn hear_text(&mut self, text: Text) {
        if let Some(message) = envelope::open(text.as_bytes(), &text) {
            // The server has no topics of other names.
            if let Some(topic) = self.places.name(&message.topic) {
                let (seq, payload, is_snapshot) = (message.seq, message.payload, message.is_snapshot);
                self.hear_message(Message { topic, seq, payload, is_snapshot });
            }
            return;
        }
        match serde_json::from_str::<Said>(&text) {
            Ok(said) => self.hear_said(said, text),
            Err(_) => self.tell(Event::Other, Some(text)),
        }
    }

    fn hear_message(&mut self, message: Message) {
        let (topic, seq) = (message.topic.clone(), message.seq);
        let is_snapshot = message.is_snapshot;
        let event = Event::Message(message);
        if is_snapshot {
            self.end_repair(&topic);
            self.places.advance(&topic, seq);
            self.tell(event, None);
        } else {
            self.arrive(&topic, Item { from: seq, to: seq, event }, None);
        }
        // A topic that was asked for by its name has its epoch from the answer.
        if self.returns && self.is_by_pattern_only(topic.as_str()) && self.places.asks_for_epoch(&topic) {
            self.nameless.push(topic.to_string());
            self.look_up();
        }
    }

    /// Hands on what is next, keeps what has to wait, drops what came already.
    pub(super) fn arrive(&mut self, topic: &TopicName, item: Item, words: Option<Text>) {
        if self.holes.has(topic) {
            if item.to > self.places.seq(topic) && !self.holes.wait(topic, item) {
                self.give_up(topic, "datagram");
            }
            return;
        }
        match self.places.arrival(topic, item.from, item.to, self.is_lossy()) {
            // Over WebSocket a topic that a pattern brought may retire and begin anew without a word.
            Arrival::Old
                if self.transport == Transport::WebSocket && self.is_by_pattern_only(topic.as_str()) =>
            {
                self.places.forget_epoch(topic);
                let head = Place { epoch: String::new(), seq: item.from.saturating_sub(1) };
                self.tell(Event::Epoch { topic: topic.to_string(), head }, None);
            }
            Arrival::Old => return,
            Arrival::Behind(from, to)
                if self.is_lossy() && self.places.seq(topic).saturating_add(1) == from =>
            {
                if self.begin_repair(topic, to) {
                    self.holes.wait(topic, item);
                    return;
                }
                self.tell_gap(topic, from, to, "datagram");
            }
            Arrival::Behind(from, to) => self.tell_gap(topic, from, to, "unseen"),
            Arrival::Next => return self.tell(item.event, words),
        }
        self.places.advance(topic, item.to);
        self.tell(item.event, words);
    }

    pub(super) fn tell_gap(&mut self, topic: &TopicName, from: u64, to: u64, reason: &str) {
        let (topic, reason) = (topic.to_string(), reason.to_owned());
        self.tell(Event::Gap { topic, from, to, reason }, None);
    }

    fn hear_said(&mut self, said: Said, words: Text) {
        let event = match said {
            Said::Ack { id, ok, err } => return self.hear_ack(said::number(id.as_ref()), ok, err, words),
            Said::Error { id, code, message } => {
                return self.hear_error(said::number(id.as_ref()), code, message, words);
            }
            Said::Gap { topic, from, to, reason } => {
                let Some(name) = self.places.name(&topic) else { return };
                let event = Event::Gap { topic, from, to, reason };
                if to > self.places.seq(&name) {
                    return self.arrive(&name, Item { from, to, event }, Some(words));
                }
                event
            }
            Said::Topic { topic, alias, epoch, seq } => {
                return self.hear_topic(&topic, Some(alias), Place { epoch, seq });
            }
            Said::Epoch { topic, epoch, seq } => {
                let head = Place { epoch, seq };
                self.begin_anew(&topic, head.clone());
                Event::Epoch { topic, head }
            }
            Said::Heartbeat { seq } => return self.hear_heads(seq),
            Said::Slow { behind } => Event::Slow { behind },
            Said::CaughtUp { conflated } => Event::CaughtUp { conflated },
            Said::Notice { code, retry_after_ms } => {
                self.retry_after = retry_after_ms.map(Duration::from_millis);
                Event::Notice { code, retry_after: self.retry_after }
            }
            Said::Cookie { .. } => return,
            Said::Close { .. } => Event::Other,
        };
        self.tell(event, Some(words));
    }

    fn hear_ack(&mut self, id: Option<u64>, ok: Vec<Entry>, err: Vec<Rejected>, words: Text) {
        let Some((id, asked)) = id.and_then(|id| Some((id, self.asked.remove(&id)?))) else {
            // Asked twice, as datagrams are lost, and answered twice.
            return;
        };
        match asked.purpose {
            Purpose::Publish => {
                let place = ok.into_iter().next().and_then(|one| one.granted().head);
                let place = place.and_then(|head| Some((head.epoch.parse::<Epoch>().ok()?, head.seq)));
                self.receipt = Some((
                    id,
                    match place {
                        Some((epoch, seq)) => Ok(Published { epoch, seq }),
                        None => Err(ClientError::Unconfirmed("the receipt says no place".to_owned())),
                    },
                ));
            }
            Purpose::Unsubscribe => {
                for name in &asked.names {
                    if !self.wanted.contains_key(name) && !self.is_by_pattern_only(name) {
                        self.places.forget(name);
                    }
                }
                self.tell(Event::Unsubscribed { topics: asked.names }, Some(words));
            }
            Purpose::Release => {}
            Purpose::Lookup => {
                for one in ok {
                    let is_unknown = self.is_lossy() && !self.places.has(&one.topic);
                    let (alias, one) = (one.alias, one.granted());
                    self.hear_grant(&one, alias);
                    let head = one.head.map_or(0, |head| head.seq);
                    if let Some(name) = self.places.name(&one.topic).filter(|_| is_unknown && head > 0) {
                        self.tell_gap(&name, 1, head, "unseen");
                    }
                }
                self.release(asked.names);
                self.look_up();
            }
            Purpose::Subscribe => {
                let refused: Vec<_> = err.into_iter().map(Refused::from).collect();
                let mut whys = Vec::with_capacity(refused.len());
                for one in &refused {
                    let why = [&one.topic, &one.code, &one.message].map(String::as_str).join(": ");
                    self.answered(
                        &one.topic,
                        Err(ClientError::NotSubscribed { why: why.clone(), by_topic: true }),
                    );
                    whys.push(why);
                }
                let mut granted = Vec::with_capacity(ok.len());
                for one in ok {
                    let (alias, one) = (one.alias, one.granted());
                    self.hear_grant(&one, alias);
                    self.answered(&one.topic, Ok(()));
                    granted.push(one);
                }
                let why = if whys.is_empty() { "no reason given".to_owned() } else { whys.join(", ") };
                let unanswered = ClientError::NotSubscribed { why, by_topic: true };
                for name in &asked.names {
                    if let Some(one) = self.wanted.get_mut(name) {
                        one.answer.get_or_insert_with(|| Err(unanswered.clone()));
                    }
                }
                self.tell(Event::Subscribed { granted, refused }, Some(words));
                self.release(asked.names);
            }
        }
    }

    /// How a topic goes on. That its history was lost may have been said before, in a datagram that was lost too.
    fn hear_grant(&mut self, one: &Granted, alias: Option<u32>) {
        let (Some(name), Some(head)) = (self.places.name(&one.topic), &one.head) else { return };
        let is_other = self.places.of(&one.topic).is_some_and(|known| known.epoch != head.epoch);
        if one.recovered == Some(false) || is_other {
            self.end_repair(&name);
        }
        if one.recovered.is_none() && is_other {
            self.tell(Event::Epoch { topic: one.topic.clone(), head: head.clone() }, None);
        }
        self.places.granted(one, alias);
    }

    /// Leaves what was named for a moment only: a pattern keeps it, and the limit of names is for what is wanted.
    fn release(&mut self, mut names: Vec<String>) {
        names.retain(|name| self.is_by_pattern_only(name));
        if !names.is_empty() {
            self.ask(Purpose::Release, names);
        }
    }

    fn answered(&mut self, name: &str, answer: Result<(), ClientError>) {
        if let Some(Wanted { answer: known }) = self.wanted.get_mut(name) {
            *known = Some(answer);
        }
    }

    fn hear_error(&mut self, id: Option<u64>, code: String, message: String, words: Text) {
        let asked = id.and_then(|id| Some((id, self.asked.remove(&id)?)));
        match asked {
            Some((id, asked)) if asked.is_publish() => {
                self.receipt = Some((id, Err(ClientError::NotPublished { code, message })));
            }
            Some((_, asked)) if asked.purpose == Purpose::Subscribe => {
                let why = format!("{code}: {message}");
                for name in &asked.names {
                    self.answered(
                        name,
                        Err(ClientError::NotSubscribed { why: why.clone(), by_topic: false }),
                    );
                }
                self.tell(Event::Error { code, message }, Some(words));
            }
            _ => self.tell(Event::Error { code, message }, Some(words)),
        }
    }

    fn hear_topic(&mut self, topic: &str, alias: Option<u32>, head: Place) {
        let announced = self.places.announced(topic, alias, head.clone());
        let Some(name) = self.places.name(topic) else { return };
        match announced {
            Announced::AsKnown => {}
            Announced::Anew => {
                self.end_repair(&name);
                self.tell(Event::Epoch { topic: topic.to_owned(), head }, None);
            }
            Announced::Unseen(from, to) => self.tell_gap(&name, from, to, "unseen"),
        }
    }

    fn begin_anew(&mut self, topic: &str, head: Place) {
        if let Some(name) = self.places.name(topic) {
            self.end_repair(&name);
            self.places.begin(topic, head);
        }
    }
}
