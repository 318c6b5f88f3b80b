//! The publisher: a thread of its own that sends on the grid, whatever the server does.
//!
//! Contract: open-loop on a grid. The stamp of a message is its intended time; a full socket makes the publisher late, never the stamp. Its
//! connection stays open until it is stopped, since closing a socket with unread bytes could take published ones along.
//!
//! A plain thread and a plain socket: tokio's timers have steps of a millisecond.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::cost::sharpen_timers;
use crate::handshake::Opened;
use crate::limits::{PUBLISH_BATCH_BYTES, PUBLISH_STALL, PUBLISHER_SERVICE};
use crate::pace::Lag;
use crate::schedule::Schedule;
use crate::supply::Supply;
use crate::tally::PublisherTally;
use crate::target::wire::Walk;
use crate::walker::Event;

/// What to publish.
pub(crate) struct Order {
    /// The intended times.
    pub(crate) schedule: Schedule,
    /// The messages.
    pub(crate) supply: Box<dyn Supply>,
    /// How many subscribe to each topic.
    pub(crate) listeners: Vec<u32>,
    /// How many messages; at most 2^32, the sequences there are.
    pub(crate) count: u64,
    /// What is due earlier is warm-up.
    pub(crate) measured_from_ns: u64,
}

/// What was published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// Messages handed to the socket.
    pub(crate) count: u64,
    /// Of each topic.
    pub(crate) of_topic: Vec<u64>,
    /// Deliveries they make.
    pub(crate) routed: u64,
    /// Messages that are not warm-up.
    pub(crate) measured: u64,
    /// When the first that is not warm-up was,
    pub(crate) measured_from_ns: u64,
    /// and the last one.
    pub(crate) end_ns: u64,
    /// How far the grid was missed.
    pub(crate) lag: Lag,
    /// How long the socket was full, in nanoseconds.
    pub(crate) blocked_ns: u64,
    /// Data messages the server sent to the publisher; a server that only takes sends none.
    pub(crate) replies: u64,
    /// How often a window gave up waiting for deliveries.
    pub(crate) stalls: u64,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PublishError {
    /// The server's decision: its rights, its limits, its end.
    #[error("the server closed the publisher after {after} messages with code {code} ({reason})")]
    Closed { after: u64, code: u16, reason: String },
    /// The server's decision about one message; it may take others.
    #[error("the server refused to publish, after {after} messages: {said}")]
    Refused { after: u64, said: String },
    /// The server reads nothing: it hangs, or is stopped.
    #[error("the server took nothing from the publisher for {} s (after {after} messages)", PUBLISH_STALL.as_secs())]
    Stalled { after: u64 },
    #[error("the publisher's connection failed after {after} messages: {source}")]
    Io { after: u64, source: io::Error },
    #[error("the publisher thread ended unexpectedly")]
    Gone,
}

/// The owner's end of the publisher thread.
#[derive(Debug)]
pub(crate) struct Publisher {
    tally: Arc<PublisherTally>,
    done: oneshot::Receiver<Result<Published, PublishError>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread; the first message goes out at the grid's first time.
    pub(crate) fn start(opened: Opened, order: Order, clock: Clock) -> io::Result<Self> {
        let tally = Arc::new(PublisherTally::default());
        let (done_sender, done) = oneshot::channel();
        let mut line = Line::new(opened, clock, Arc::clone(&tally))?;
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || {
            sharpen_timers();
            let published = line.publish(order).map(|()| line.published.clone());
            let stay = published.is_ok();
            if done_sender.send(published).is_ok() && stay {
                line.stay();
            }
        })?;
        Ok(Self { tally, done, thread: Some(thread) })
    }

    /// Messages handed to the socket so far.
    pub(crate) fn count(&self) -> u64 {
        self.tally.count()
    }

    /// Deliveries that these make.
    pub(crate) fn routed(&self) -> u64 {
        self.tally.routed()
    }

    /// Ends the sending early; [`Publisher::done`] then tells how far it came.
    pub(crate) fn stop(&self) {
        self.tally.stop();
    }

    /// Waits for the last message, or for what prevented it. To be called until it is ready, once.
    pub(crate) async fn done(&mut self) -> Result<Published, PublishError> {
        (&mut self.done).await.unwrap_or(Err(PublishError::Gone))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.tally.stop();
        if let Some(thread) = self.thread.take() {
            // It looks at the flag every 100 ms at most.
            let _ = thread.join();
        }
    }
}

/// The longest the thread looks away from its stop flag.
const GLANCE: Duration = Duration::from_millis(100);

/// The connection, as its thread sees it.
struct Line {
    stream: TcpStream,
    clock: Clock,
    tally: Arc<PublisherTally>,
    walk: Walk,
    inbox: [u8; 4096],
    serviced_ns: u64,
    published: Published,
}

impl Line {
    fn new(opened: Opened, clock: Clock, tally: Arc<PublisherTally>) -> io::Result<Self> {
        let stream = opened.stream.into_std()?;
        let mut line = Self {
            stream,
            clock,
            tally,
            walk: Walk::new(opened.wire),
            inbox: [0; 4096],
            serviced_ns: 0,
            published: Published::default(),
        };
        line.hear(&opened.early).map_err(io::Error::other)?;
        Ok(line)
    }

    fn publish(&mut self, mut order: Order) -> Result<(), PublishError> {
        let message_bytes_max = order.supply.bytes_max();
        let mut batch = Vec::with_capacity(PUBLISH_BATCH_BYTES.max(message_bytes_max));
        self.published.of_topic = vec![0; order.listeners.len()];
        while self.published.count < order.count && !self.tally.stopped() {
            let now_ns = self.clock.now_ns();
            if now_ns >= self.serviced_ns + PUBLISHER_SERVICE.as_nanos() as u64 {
                self.service()?;
            }
            batch.clear();
            let last_due_ns = self.fill(&mut batch, &mut order, message_bytes_max, now_ns);
            let Some(last_due_ns) = last_due_ns else {
                std::thread::sleep(order.schedule.wait(self.published.count, now_ns).min(GLANCE));
                continue;
            };
            let blocked_before_ns = self.published.blocked_ns;
            if let Err(error) = self.write(&batch) {
                // What the server said before it cut the line tells more than the cut.
                return Err(self.service().err().unwrap_or(error));
            }
            if self.published.blocked_ns > blocked_before_ns {
                // The wait belongs to this batch too, which may be the last one.
                self.published.lag.note(self.clock.now_ns().saturating_sub(last_due_ns));
            }
            self.tally.published(self.published.count, self.published.routed);
        }
        self.published.end_ns = self.clock.now_ns();
        self.published.stalls = order.schedule.stalls();
        Ok(())
    }

    /// Appends what is due and fits one write; gives the intended time of the last message, where there was one.
    fn fill(
        &mut self,
        batch: &mut Vec<u8>,
        order: &mut Order,
        message_bytes_max: usize,
        now_ns: u64,
    ) -> Option<u64> {
        let published = &mut self.published;
        let mut last_due_ns = None;
        while published.count < order.count
            && (batch.is_empty() || batch.len() + message_bytes_max <= PUBLISH_BATCH_BYTES)
        {
            let Some(intended_ns) = order.schedule.due(published.count, published.routed, now_ns) else {
                break;
            };
            last_due_ns = Some(intended_ns);
            published.lag.note(now_ns - intended_ns);
            if intended_ns >= order.measured_from_ns {
                if published.measured == 0 {
                    published.measured_from_ns = now_ns;
                }
                published.measured += 1;
            }
            let topic = order.supply.push(batch, intended_ns) as usize;
            published.of_topic[topic] += 1;
            published.routed += u64::from(order.listeners[topic]);
            published.count += 1;
        }
        last_due_ns
    }

    /// Writes all of it, waiting where the socket is full.
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), PublishError> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let written = self.write_blocking(bytes)?;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(())
    }

    /// Waits for a full socket to take something; the time is the server's.
    fn write_blocking(&mut self, bytes: &[u8]) -> Result<usize, PublishError> {
        let from_ns = self.clock.now_ns();
        self.published.lag.push_back();
        let written = loop {
            let attempt = self
                .stream
                .set_write_timeout(Some(GLANCE))
                .and_then(|()| self.stream.set_nonblocking(false))
                .and_then(|()| self.stream.write(bytes));
            self.stream.set_nonblocking(true).map_err(|source| self.failed(source))?;
            let waited_ns = self.clock.now_ns() - from_ns;
            match attempt {
                Ok(written) => break written,
                Err(error) if would_wait(&error) && waited_ns > PUBLISH_STALL.as_nanos() as u64 => {
                    return Err(PublishError::Stalled { after: self.published.count });
                }
                Err(error) if would_wait(&error) && self.tally.stopped() => {
                    return Err(self.failed(io::Error::other("stopped while the socket was full")));
                }
                // Pings wait too: they may only be answered at a frame boundary.
                Err(error) if would_wait(&error) => {}
                Err(source) => return Err(self.failed(source)),
            }
        };
        self.published.blocked_ns += self.clock.now_ns() - from_ns;
        Ok(written)
    }

    /// Reads what the server sent us, answers pings, hears a close. Called at frame boundaries only.
    fn service(&mut self) -> Result<(), PublishError> {
        self.serviced_ns = self.clock.now_ns();
        loop {
            match self.stream.read(&mut self.inbox) {
                Ok(0) => {
                    let reason = "the connection ended without a close frame".to_owned();
                    return Err(PublishError::Closed { after: self.published.count, code: 1006, reason });
                }
                Ok(length) => {
                    let bytes = self.inbox;
                    self.hear(&bytes[..length])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(self.failed(source)),
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let mut pings = Vec::new();
        let (mut close, mut refusal) = (None, None);
        let published = &mut self.published;
        let walked = self.walk.feed(bytes, &mut |event| match event {
            Event::Ping(payload) => pings.push(payload.to_vec()),
            Event::Close { code, reason } => close = Some((code, reason.to_owned())),
            Event::Refused { said } => refusal = Some(said.to_owned()),
            Event::Stamp(_) | Event::Unstamped => published.replies += 1,
        });
        walked.map_err(|violation| self.failed(io::Error::other(violation)))?;
        let mut reply = Vec::new();
        pings.iter().for_each(|payload| self.walk.push_pong(&mut reply, payload));
        let after = self.published.count;
        match (refusal, close) {
            (None, None) => self.write(&reply),
            (Some(said), _) => Err(PublishError::Refused { after, said }),
            (None, Some((code, reason))) => {
                self.walk.push_close(&mut reply, code);
                let _ = self.stream.write(&reply);
                Err(PublishError::Closed { after, code: code.unwrap_or(1005), reason })
            }
        }
    }

    /// Keeps the connection alive after the last message, until stopped; then takes leave.
    fn stay(&mut self) {
        while !self.tally.stopped() {
            if self.service().is_err() {
                return;
            }
            std::thread::sleep(PUBLISHER_SERVICE);
        }
        let mut close = Vec::new();
        self.walk.push_close(&mut close, Some(1000));
        let _ = self.stream.write(&close);
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Io { after: self.published.count, source }
    }
}

/// A blocking write that timed out is named differently from system to system.
fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
