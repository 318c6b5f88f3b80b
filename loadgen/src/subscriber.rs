//! The subscribers of one receiver thread: their sockets, what they received, and one buffer for all.
//!
//! Contract: a [`Shard`] belongs to one thread. A connection's task owns nothing but an index; it asks [`Shard::poll_read`] for one
//! read at a time, which walks what arrived, notes it and answers pings and closes. Nothing is allocated per message.
//!
//! One read per message, not two: `poll_read` of a tokio socket takes a read that did not fill the buffer as proof that the
//! socket is empty, where `try_read` would have to fail once more first.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hdrhistogram::Histogram;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::handshake::Opened;
use crate::limits::{LATENCY_US_MAX, RECEIVE_BUFFER_BYTES};
use crate::tally::ReceiverTally;
use crate::verify::{Account, Arrival, Sequence};
use crate::walker::{Event, Walker};
use crate::{frame, walker};

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
    /// The sums of all sequences.
    pub(crate) account: Account,
    /// Messages that open connections did not get, out of what was published.
    pub(crate) missing: u64,
    /// Data messages without a stamp.
    pub(crate) unstamped: u64,
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
            latency,
            account: Account::default(),
            missing: 0,
            unstamped: 0,
            endings: BTreeMap::new(),
            first_reason: None,
        }
    }

    /// Adds what another thread received.
    pub(crate) fn add(&mut self, other: Self) {
        self.latency += other.latency;
        self.account.add(other.account);
        self.missing += other.missing;
        self.unstamped += other.unstamped;
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        self.first_reason = self.first_reason.take().or(other.first_reason);
    }
}

#[derive(Debug)]
struct Subscriber {
    /// Absent exactly when the connection has ended.
    stream: Option<TcpStream>,
    walker: Walker,
    sequence: Sequence,
}

/// All subscribers of one thread.
#[derive(Debug)]
pub(crate) struct Shard {
    subscribers: Vec<Subscriber>,
    buffer: Box<[u8]>,
    harvest: Harvest,
    /// Sequences below this are the warm-up: verified, but not in the histogram.
    measured_from: u32,
    clock: Clock,
    tally: Arc<ReceiverTally>,
    /// True exactly when the run is over: what ends now ends as it should.
    leaving: bool,
}

impl Shard {
    /// Without subscribers yet.
    pub(crate) fn new(measured_from: u32, clock: Clock, tally: Arc<ReceiverTally>) -> Self {
        Self {
            subscribers: Vec::new(),
            buffer: vec![0; RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            harvest: Harvest::new(),
            measured_from,
            clock,
            tally,
            leaving: false,
        }
    }

    /// Takes a connection over, and what came with its 101; its index from now on.
    pub(crate) fn add(&mut self, opened: Opened) -> usize {
        let index = self.subscribers.len();
        self.subscribers.push(Subscriber {
            stream: Some(opened.stream),
            walker: Walker::default(),
            sequence: Sequence::default(),
        });
        self.tally.opened();
        if !opened.early.is_empty() {
            let length = opened.early.len();
            self.buffer[..length].copy_from_slice(&opened.early);
            self.take(index, length);
        }
        index
    }

    /// One read; ready with false when the connection has ended.
    pub(crate) fn poll_read(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(stream) = &mut self.subscribers[index].stream else { return Poll::Ready(false) };
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => {
                self.end(index, Ending::Code(1006), "the connection ended")
            }
            Ok(()) => {
                let length = buffer.filled().len();
                self.take(index, length);
            }
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
        Poll::Ready(self.subscribers[index].stream.is_some())
    }

    /// Reads up to `limit` bytes that are there already, if any.
    pub(crate) fn try_read(&mut self, index: usize, limit: usize) {
        let Some(stream) = &self.subscribers[index].stream else { return };
        match stream.try_read(&mut self.buffer[..limit]) {
            Ok(0) => self.end(index, Ending::Code(1006), "the connection ended"),
            Ok(length) => self.take(index, length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
    }

    /// Different messages this subscriber has received.
    pub(crate) fn unique(&self, index: usize) -> u64 {
        self.subscribers[index].sequence.unique()
    }

    /// Walks the first `length` bytes of the buffer, which came for this subscriber.
    fn take(&mut self, index: usize, length: usize) {
        let now_ns = self.clock.now_ns();
        let Self { subscribers, buffer, harvest, measured_from, .. } = self;
        let Subscriber { walker, sequence, .. } = &mut subscribers[index];
        let (mut deliveries, mut new) = (0, 0);
        let mut reply = Vec::new();
        let mut close = None;
        let walked = walker.feed(&buffer[..length], &mut |event| match event {
            Event::Stamp(stamp) => {
                deliveries += 1;
                new += u64::from(sequence.take(stamp.seq) == Arrival::New);
                if stamp.seq >= *measured_from {
                    let us = now_ns.saturating_sub(stamp.intended_ns) / 1_000;
                    harvest.latency.saturating_record(us.max(1));
                }
            }
            Event::Unstamped => harvest.unstamped += 1,
            Event::Ping(payload) => frame::push_pong(&mut reply, payload),
            Event::Close { code, reason } => {
                frame::push_close(&mut reply, code);
                close = Some((code, reason.to_owned()));
            }
        });
        self.tally.read(length as u64, deliveries, new, now_ns);
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
        let Some(stream) = &self.subscribers[index].stream else { return };
        match stream.try_write(reply) {
            Ok(written) if written == reply.len() => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) => self.end(index, Ending::Code(1006), "the socket took half a pong"),
            Err(error) => self.end(index, Ending::Code(1006), &error.to_string()),
        }
    }

    fn end_by_violation(&mut self, index: usize, violation: walker::Violation) {
        let mut close = Vec::new();
        frame::push_close(&mut close, Some(1002));
        self.answer(index, &close);
        self.end(index, Ending::Violation, &violation.to_string());
    }

    fn end(&mut self, index: usize, ending: Ending, reason: &str) {
        let subscriber = &mut self.subscribers[index];
        if subscriber.stream.take().is_none() || self.leaving {
            return;
        }
        self.tally.closed(subscriber.sequence.unique());
        *self.harvest.endings.entry(ending).or_default() += 1;
        if !reason.is_empty() && self.harvest.first_reason.is_none() {
            self.harvest.first_reason = Some(reason.to_owned());
        }
    }

    /// Closes the accounts at the end of a run in which `published` messages were sent, and says goodbye to the server.
    pub(crate) fn harvest(&mut self, published: u64) -> Harvest {
        let mut harvest = std::mem::replace(&mut self.harvest, Harvest::new());
        for subscriber in &self.subscribers {
            subscriber.sequence.add_to(&mut harvest.account);
            if subscriber.stream.is_some() {
                harvest.missing += published.saturating_sub(subscriber.sequence.unique());
            }
        }
        self.leaving = true;
        let mut close = Vec::new();
        frame::push_close(&mut close, Some(1000));
        for index in 0..self.subscribers.len() {
            self.answer(index, &close);
        }
        harvest
    }
}
