//! What a client wants, has and waits for, over however many connections. Pure: bytes and the time come in, operations and
//! events go out.
//!
//! Contract:
//! 1. Every message of a topic comes out once and in order. What cannot is told: a gap, another epoch, a refusal.
//! 2. After [`Session::lost`] and [`Session::opened`] everything wanted is subscribed again, each topic from its place.
//! 3. What is held is bounded: see [`Session::is_full`].

mod asking;
mod hearing;
mod mending;
#[cfg(test)]
mod situations;

use super::address::Transport;
use super::error::ClientError;
use super::event::{Event, Place, Wish};
use super::holes::Holes;
use super::places::Places;
use super::wire::Text;
use crate::protocol::outcome::Published;
use asking::Asked;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Events that wait for [`Client::next`](super::Client::next) while something else is waited for.
const EVENTS_MAX: usize = 65_536;
/// The same in bytes of payload.
const EVENTS_BYTES_MAX: usize = 64 << 20;

/// A topic or pattern that the user asked for.
#[derive(Debug, Default)]
struct Wanted {
    /// What the server said of it on this connection.
    answer: Option<Result<(), ClientError>>,
}

/// What a repair is wanted of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Everything after this place.
    Begin(Wish),
    /// Nothing any more.
    End(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    /// True exactly when what was lost can be fetched elsewhere.
    can_repair: bool,
    /// True exactly when a lost connection is followed by another.
    returns: bool,
    is_open: bool,
    wanted: BTreeMap<String, Wanted>,
    places: Places,
    holes: Holes,
    asked: BTreeMap<u64, Asked>,
    last_id: u64,
    /// As of the last [`Session::tick`].
    now: Instant,
    receipt: Option<(u64, Result<Published, ClientError>)>,
    /// Topics whose epoch is to be asked for.
    nameless: Vec<String>,
    events: VecDeque<(Event, Option<Text>)>,
    events_bytes: usize,
    /// Operations to be sent.
    pub(super) outbox: VecDeque<String>,
    /// What is to be fetched elsewhere, or not any more.
    pub(super) repairs: VecDeque<Repair>,
    /// What the server's last notice asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Session {
    pub(super) fn new(transport: Transport, can_repair: bool, returns: bool, now: Instant) -> Self {
        Self {
            transport,
            can_repair,
            returns,
            is_open: false,
            wanted: BTreeMap::new(),
            places: Places::default(),
            holes: Holes::default(),
            asked: BTreeMap::new(),
            last_id: 0,
            now,
            receipt: None,
            nameless: Vec::new(),
            events: VecDeque::new(),
            events_bytes: 0,
            outbox: VecDeque::new(),
            repairs: VecDeque::new(),
            retry_after: None,
        }
    }

    fn is_lossy(&self) -> bool {
        self.transport == Transport::Udp
    }

    /// What came next, with the server's words for it.
    pub(super) fn take_event(&mut self) -> Option<(Event, Option<Text>)> {
        let (event, words) = self.events.pop_front()?;
        self.events_bytes -= bytes_of(&event);
        Some((event, words))
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn tell(&mut self, event: Event, words: Option<Text>) {
        self.events_bytes += bytes_of(&event);
        self.events.push_back((event, words));
    }

    /// True exactly when what came last is what a connection is for: the server is well, and wants us.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.events.back(), Some((Event::Message(_) | Event::Subscribed { .. }, _)))
    }

    /// True when no more may be received before the user has taken some.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.events_bytes >= EVENTS_BYTES_MAX
    }

    /// The last message received of a topic.
    pub(super) fn place(&self, topic: &str) -> Option<Place> {
        self.places.of(topic)
    }

    /// True exactly when the server knows of us: there is a subscription, granted or asked for.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// The connection is gone: what was asked on it will not be answered.
    pub(super) fn lost(&mut self, why: &ClientError) {
        self.is_open = false;
        self.outbox.clear();
        for (id, asked) in std::mem::take(&mut self.asked) {
            if asked.is_publish() {
                let words = why.to_string();
                let what = words.split("; ").next().unwrap_or(&words).to_owned();
                self.receipt = Some((id, Err(ClientError::Unconfirmed(what))));
            }
        }
        self.wanted.values_mut().for_each(|one| one.answer = None);
        self.nameless.clear();
        for topic in self.holes.topics() {
            self.end_repair(&topic);
        }
        self.places.lost();
    }
}

fn bytes_of(event: &Event) -> usize {
    if let Event::Message(message) = event { message.payload.len() } else { 0 }
}
