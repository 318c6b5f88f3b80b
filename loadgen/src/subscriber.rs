//! The subscribers of one receiver thread: their sockets, what they received, and one buffer for all.
//!
//! Contract: a [`Shard`] belongs to one thread. A connection's task owns nothing but an index; it asks [`Shard::poll_read`] for one
//! read at a time, which walks what arrived, notes it and answers pings and closes. Nothing is allocated per message.
//!
//! One read per message, not two: `poll_read` of a tokio socket takes a read that did not fill the buffer as proof that the
//! socket is empty, where `try_read` would have to fail once more first.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hdrhistogram::Histogram;
use tokio::io::ReadBuf;

use crate::clock::Clock;
use crate::limits::{LATENCY_US_MAX, RECEIVE_BUFFER_BYTES};
use crate::socket::{Joined, Socket};
use crate::tally::{Marks, Part, ReceiverTally};
use crate::target::wire::Walk;
use crate::verify::{Account, Arrival, Sequence};
use crate::walker::{Event, Violation};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// A close frame with this code; 1005 where it had none, 1006 where the connection ended without one.
    Code(u16),
    /// We ended it: the server broke the protocol.
    Violation,
}

/// What the subscribers of one or more threads received, all told.
#[derive(Debug)]
pub(crate) struct Harvest {
    /// Microseconds from the intended time to the read, of the messages that count.
    pub(crate) latency: Histogram<u64>,
    /// Of those behind the split.
    pub(crate) later: Histogram<u64>,
    /// The sums of all sequences.
    pub(crate) account: Account,
    /// Messages that open connections did not get, out of what was published.
    pub(crate) missing: u64,
    /// Data messages without a stamp.
    pub(crate) unstamped: u64,
    /// Messages of a topic that was not subscribed.
    pub(crate) astray: u64,
    /// Connections that ended too early.
    pub(crate) endings: BTreeMap<Ending, u64>,
    /// What was said with the first of them.
    pub(crate) first_reason: Option<String>,
}

impl Harvest {
    /// How many connections ended in which way, by name.
    pub(crate) fn closed_by_code(&self) -> BTreeMap<String, u64> {
        let name = |ending: &Ending| match ending {
            Ending::Code(code) => code.to_string(),
            Ending::Violation => "violation".to_owned(),
        };
        self.endings.iter().map(|(ending, count)| (name(ending), *count)).collect()
    }

    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let latency =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constant and valid");
        Self {
            later: latency.clone(),
            latency,
            account: Account::default(),
            missing: 0,
            unstamped: 0,
            astray: 0,
            endings: BTreeMap::new(),
            first_reason: None,
        }
    }

    /// Adds what another thread received.
    pub(crate) fn add(&mut self, other: Self) {
        self.latency += other.latency;
        self.later += other.later;
        self.account.add(other.account);
        self.missing += other.missing;
        self.unstamped += other.unstamped;
        self.astray += other.astray;
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        self.first_reason = self.first_reason.take().or(other.first_reason);
    }
}

#[derive(Debug)]
struct Subscriber {
    /// Absent exactly when the connection has ended.
    socket: Option<Socket>,
    walk: Walk,
    /// Its topics, in ascending order,
    topics: Box<[u32]>,
    /// and what came of each.
    sequences: Box<[Sequence]>,
}

impl Subscriber {
    /// Different messages it has received.
    fn unique(&self) -> u64 {
        self.sequences.iter().map(Sequence::unique).sum()
    }

    /// Messages it has not, out of those of each topic.
    fn missing(&self, published: &[u64]) -> u64 {
        let each = self.topics.iter().zip(&self.sequences);
        each.map(|(topic, sequence)| published[*topic as usize].saturating_sub(sequence.unique())).sum()
    }
}

/// Who leaves without a goodbye leaves nothing in TIME_WAIT either.
impl Drop for Shard {
    fn drop(&mut self) {
        if !self.leaving {
            let open = self.subscribers.iter().filter_map(|subscriber| subscriber.socket.as_ref());
            open.for_each(Socket::be_abrupt);
        }
    }
}

/// All subscribers of one thread.
#[derive(Debug)]
pub(crate) struct Shard {
    subscribers: Vec<Subscriber>,
    buffer: Box<[u8]>,
    harvest: Harvest,
    /// What is warm-up is verified, but not in the histogram.
    marks: Arc<Marks>,
    clock: Clock,
    tally: Arc<ReceiverTally>,
    /// True exactly when the run is over: what ends now ends as it should.
    leaving: bool,
}

impl Shard {
    /// Without subscribers yet.
    pub(crate) fn new(marks: Arc<Marks>, clock: Clock, tally: Arc<ReceiverTally>) -> Self {
        Self {
            subscribers: Vec::new(),
            buffer: vec![0; RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            harvest: Harvest::new(),
            marks,
            clock,
            tally,
            leaving: false,
        }
    }

    /// Takes a connection over that is subscribed to `topics`, in ascending order; its index from now on.
    pub(crate) fn add(&mut self, joined: Joined, topics: Box<[u32]>) -> usize {
        let index = self.subscribers.len();
        self.subscribers.push(Subscriber {
            socket: Some(joined.socket),
            walk: Walk::new(joined.wire),
            sequences: topics.iter().map(|_| Sequence::default()).collect(),
            topics,
        });
        self.tally.opened();
        let unstamped = self.harvest.unstamped;
        for piece in joined.early {
            self.buffer[..piece.len()].copy_from_slice(&piece);
            self.take(index, piece.len());
        }
        // What answers the subscription is no message.
        self.harvest.unstamped = unstamped;
        index
    }

    /// One read; ready with false when the connection has ended.
    pub(crate) fn poll_read(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(socket) = &mut self.subscribers[index].socket else { return Poll::Ready(false) };
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match ready!(socket.poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() && socket.is_stream() => {
                self.end(index, Ending::Code(1006), "the connection ended")
            }
            Ok(()) => {
                let length = buffer.filled().len();
                self.take(index, length);
            }
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
        // Behind its farewell a lease ends with the next that comes, which is the answer.
        let goes_on = |socket: &Socket| socket.is_stream() || !self.leaving;
        Poll::Ready(self.subscribers[index].socket.as_ref().is_some_and(goes_on))
    }

    /// Reads up to `limit` bytes that are there already, if any.
    pub(crate) fn try_read(&mut self, index: usize, limit: usize) {
        let Some(socket) = &self.subscribers[index].socket else { return };
        match socket.try_read(&mut self.buffer[..limit]) {
            Ok(0) => self.end(index, Ending::Code(1006), "the connection ended"),
            Ok(length) => self.take(index, length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
    }

    /// Messages this subscriber has not received, out of those of each topic.
    pub(crate) fn missing(&self, index: usize, published: &[u64]) -> u64 {
        self.subscribers[index].missing(published)
    }

    /// Walks the first `length` bytes of the buffer, which came for this subscriber.
    fn take(&mut self, index: usize, length: usize) {
        let now_ns = self.clock.now_ns();
        let Self { subscribers, buffer, harvest, marks, .. } = self;
        let Subscriber { walk, topics, sequences, .. } = &mut subscribers[index];
        let (mut deliveries, mut new, mut late) = (0, 0, 0);
        let mut pings: Vec<Vec<u8>> = Vec::new();
        let mut close = None;
        let walked = walk.feed(&buffer[..length], &mut |event| match event {
            Event::Stamp(stamp) => {
                deliveries += 1;
                match topics.binary_search(&stamp.topic) {
                    Ok(at) => new += u64::from(sequences[at].take(stamp.seq) == Arrival::New),
                    Err(_) => harvest.astray += 1,
                }
                let us = (now_ns.saturating_sub(stamp.intended_ns) / 1_000).max(1);
                match marks.part(stamp.intended_ns) {
                    Part::WarmUp => {}
                    Part::Measured => {
                        late += u64::from(marks.is_late(us));
                        harvest.latency.saturating_record(us);
                    }
                    Part::Later => harvest.later.saturating_record(us),
                }
            }
            Event::Unstamped => harvest.unstamped += 1,
            Event::Ping(payload) => pings.push(payload.to_vec()),
            Event::Close { code, reason } => close = Some((code, reason.to_owned())),
            // Only answers to requests are refusals, and a subscriber makes none.
            Event::Refused { .. } => {}
        });
        let mut reply = Vec::new();
        pings.iter().for_each(|payload| walk.push_pong(&mut reply, payload));
        if let Some((code, _)) = close {
            walk.push_close(&mut reply, code);
        }
        self.tally.read(length as u64, deliveries, new, now_ns);
        if late > 0 {
            self.tally.late(late);
        }
        if !reply.is_empty() {
            self.answer(index, &reply);
        }
        match (walked, close) {
            (_, Some((code, reason))) => self.end(index, Ending::Code(code.unwrap_or(1005)), &reason),
            (Err(violation), _) => self.end_by_violation(index, violation),
            (Ok(()), None) => {}
        }
    }

    /// A subscriber writes only such small answers: a socket that takes none of one is full of unread pongs, which is the
    /// server's doing; one that takes half would leave the framing broken, so the connection ends.
    fn answer(&mut self, index: usize, reply: &[u8]) {
        let Some(socket) = &self.subscribers[index].socket else { return };
        match socket.try_write(reply) {
            Ok(written) if written == reply.len() => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) => self.end(index, Ending::Code(1006), "the socket took half a pong"),
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
    }

    fn end_by_violation(&mut self, index: usize, violation: Violation) {
        let mut close = Vec::new();
        self.subscribers[index].walk.push_close(&mut close, Some(1002));
        self.answer(index, &close);
        self.end(index, Ending::Violation, &violation.to_string());
    }

    /// A close frame; where there is none, an end of what we send.
    fn take_leave(&mut self, index: usize) {
        let mut close = Vec::new();
        let Subscriber { socket, walk, .. } = &mut self.subscribers[index];
        walk.push_close(&mut close, Some(1000));
        match socket {
            Some(socket) if close.is_empty() => socket.leave(),
            _ => self.answer(index, &close),
        }
    }

    fn end(&mut self, index: usize, ending: Ending, reason: &str) {
        let subscriber = &mut self.subscribers[index];
        if subscriber.socket.take().is_none() || self.leaving {
            return;
        }
        self.tally.closed(subscriber.unique());
        *self.harvest.endings.entry(ending).or_default() += 1;
        if !reason.is_empty() && self.harvest.first_reason.is_none() {
            self.harvest.first_reason = Some(reason.to_owned());
        }
    }

    /// Closes the accounts at the end of a run in which so many messages of each topic were sent.
    pub(crate) fn harvest(&mut self, published: &[u64]) -> Harvest {
        let mut harvest = std::mem::replace(&mut self.harvest, Harvest::new());
        for subscriber in &self.subscribers {
            subscriber.sequences.iter().for_each(|sequence| sequence.add_to(&mut harvest.account));
            if subscriber.socket.is_some() {
                harvest.missing += subscriber.missing(published);
            }
        }
        harvest
    }

    /// Renews the leases of one of so many parts.
    pub(crate) fn renew(&self, part: usize, parts: usize) {
        let subscribers = self.subscribers.iter().skip(part).step_by(parts);
        subscribers.filter_map(|subscriber| subscriber.socket.as_ref()).for_each(Socket::renew);
    }

    /// Says goodbye to the server.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        for index in 0..self.subscribers.len() {
            self.take_leave(index);
        }
    }
}
