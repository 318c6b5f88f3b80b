//! A receiver thread: opens its share of the subscribers, reads them until told to finish, hands over what they received.
//!
//! Contract: one thread, one current-thread runtime, one [`Shard`]; nothing is shared with other receivers. It ends by itself
//! when its handle is dropped, at whatever point it is. Slow subscribers are read to their end only when told to finish.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::cost::ThreadProbe;
use crate::handshake::{self, Local, OpenError};
use crate::lease;
use crate::limits::{
    DRAIN_MAX, DRAIN_QUIET, DRAIN_STALL, GOODBYE, RENEW_EVERY, RENEW_PARTS, SLOW_RECEIVE_BYTES,
    TRICKLE_BYTES, TRICKLE_EVERY,
};
use crate::socket::Joined;
use crate::subscriber::{Harvest, Shard};
use crate::tally::{Marks, ReceiverTally};
use crate::target::Target;
use crate::target::address::source_for;
use crate::topics::Topics;

/// How the subscribers of a thread read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Whatever comes, at once.
    Prompt,
    /// Nothing.
    Stalled,
    /// A little now and then.
    Trickling,
}

/// What one thread has to open, and how it has to judge it.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// The number of its first connection in the fleet,
    pub(crate) first: usize,
    /// which has so many connections of the run before it.
    pub(crate) others: usize,
    /// How many connections.
    pub(crate) count: usize,
    /// Handshakes at once.
    pub(crate) in_flight: usize,
    /// The server's address.
    pub(crate) server: SocketAddr,
    pub(crate) target: Arc<Target>,
    /// Who subscribes to what.
    pub(crate) topics: Arc<Topics>,
    /// What belongs into the histogram.
    pub(crate) marks: Arc<Marks>,
    /// How they read.
    pub(crate) pace: Pace,
    /// True exactly when those opened before the first failure are enough.
    pub(crate) partial: bool,
    /// True exactly when they are reset at the end.
    pub(crate) abrupt: bool,
}

/// A thread whose connections stand.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) probe: ThreadProbe,
    /// What stopped the opening, where fewer connections are enough.
    pub(crate) stopped_by: Option<OpenError>,
}

/// The owner's end of a receiver thread.
#[derive(Debug)]
pub(crate) struct Receiver {
    tally: Arc<ReceiverTally>,
    ready: Option<oneshot::Receiver<Result<Ready, OpenError>>>,
    finish: oneshot::Sender<Arc<[u64]>>,
    harvest: oneshot::Receiver<Harvest>,
    thread: JoinHandle<()>,
}

impl Receiver {
    /// Starts the thread, which begins to open connections at once.
    pub(crate) fn start(share: Share, clock: Clock) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tally = Arc::new(ReceiverTally::default());
        let (ready_sender, ready) = oneshot::channel();
        let (finish, finish_receiver) = oneshot::channel();
        let (harvest_sender, harvest) = oneshot::channel();
        let shard = Shard::new(Arc::clone(&share.marks), clock, Arc::clone(&tally));
        let thread =
            std::thread::Builder::new().name(format!("receiver-{}", share.first)).spawn(move || {
                let work = run(share, shard, ready_sender, finish_receiver, harvest_sender);
                LocalSet::new().block_on(&runtime, work);
            })?;
        Ok(Self { tally, ready: Some(ready), finish, harvest, thread })
    }

    /// Its counters.
    pub(crate) fn tally(&self) -> Arc<ReceiverTally> {
        Arc::clone(&self.tally)
    }

    /// Waits until all of its connections stand. To be called once.
    pub(crate) async fn ready(&mut self) -> Result<Ready, OpenError> {
        let gone = || OpenError::Io(io::Error::other("a receiver thread ended unexpectedly"));
        let ready = self.ready.take().ok_or_else(gone)?;
        ready.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Ends the thread after so many messages of each topic; none if it has died.
    pub(crate) async fn finish(self, published: Arc<[u64]>) -> Option<Harvest> {
        self.finish.send(published).ok()?;
        let harvest = self.harvest.await.ok();
        tokio::task::spawn_blocking(move || self.thread.join()).await.ok()?.ok()?;
        harvest
    }
}

async fn run(
    share: Share,
    shard: Shard,
    ready: oneshot::Sender<Result<Ready, OpenError>>,
    mut finish: oneshot::Receiver<Arc<[u64]>>,
    harvest: oneshot::Sender<Harvest>,
) {
    let shard = Rc::new(RefCell::new(shard));
    let mut readers = JoinSet::new();
    if share.target.may_lose() {
        // It ends with the thread.
        drop(tokio::task::spawn_local(renew(Rc::clone(&shard))));
    }
    let take_over = |index, joined| {
        let topics = share.topics.of(index).into();
        let index = shard.borrow_mut().add(joined, topics);
        if share.pace == Pace::Prompt {
            readers.spawn_local(read(Rc::clone(&shard), index));
        }
    };
    let opened = tokio::select! {
        opened = open_all(&share, take_over) => opened,
        _ = &mut finish => return,
    };
    let failed = opened.is_err();
    if ready.send(opened.map(|stopped_by| Ready { probe: ThreadProbe::current(), stopped_by })).is_err()
        || failed
    {
        return;
    }
    let published = match share.pace {
        Pace::Prompt | Pace::Stalled => finish.await,
        Pace::Trickling => tokio::select! {
            published = &mut finish => published,
            () = trickle(&shard, share.count) => return,
        },
    };
    let Ok(published) = published else { return };
    if share.pace != Pace::Prompt {
        read_out(&shard, share.count, &published).await;
        (0..share.count).for_each(|index| drop(readers.spawn_local(read(Rc::clone(&shard), index))));
    }
    let received = shard.borrow_mut().harvest(&published);
    if harvest.send(received).is_err() || share.abrupt {
        return;
    }
    shard.borrow_mut().leave();
    // The side that closes first keeps the port in TIME_WAIT: let it be the server.
    let all_closed = async { while readers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GOODBYE, all_closed).await;
}

/// Opens the share with a bounded number of handshakes at once; the first failure ends it, well where fewer are enough.
async fn open_all(
    share: &Share,
    mut take_over: impl FnMut(usize, Joined),
) -> Result<Option<OpenError>, OpenError> {
    let share = Rc::new(share.clone());
    let next = Rc::new(Cell::new(0));
    let mut openers = JoinSet::new();
    let (opened_sender, mut opened) = tokio::sync::mpsc::channel(share.in_flight);
    for _ in 0..share.in_flight {
        let (share, next, opened_sender) = (Rc::clone(&share), Rc::clone(&next), opened_sender.clone());
        openers.spawn_local(async move {
            while next.get() < share.count {
                let index = share.first + next.replace(next.get() + 1);
                let result = join(&share, index).await;
                if opened_sender.send((index, result)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(opened_sender);
    let mut stopped_by = None;
    while let Some((index, result)) = opened.recv().await {
        match result {
            Ok(joined) => take_over(index, joined),
            Err(error) if share.partial => {
                next.set(share.count);
                stopped_by.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stopped_by)
}

async fn join(share: &Share, index: usize) -> Result<Joined, OpenError> {
    let topics = share.topics.names_of(index);
    let source = source_for(share.others + index, share.server.ip());
    if share.target.may_lose() {
        return lease::open(share.server, &topics, source).await;
    }
    let receive_bytes = (share.pace != Pace::Prompt).then_some(SLOW_RECEIVE_BYTES);
    let call = share.target.subscriber(&topics, false);
    handshake::open(share.server, &call, Local { source, receive_bytes }).await.map(Joined::from)
}

/// Renews all leases, for ever.
async fn renew(shard: Rc<RefCell<Shard>>) {
    let mut ticks = tokio::time::interval(RENEW_EVERY / RENEW_PARTS as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for part in (0..RENEW_PARTS).cycle() {
        ticks.tick().await;
        shard.borrow().renew(part, RENEW_PARTS);
    }
}

/// Reads one subscriber until its connection ends.
async fn read(shard: Rc<RefCell<Shard>>, index: usize) {
    while poll_fn(|cx| shard.borrow_mut().poll_read(index, cx)).await {}
}

/// Reads a little from each, now and then, for ever.
async fn trickle(shard: &RefCell<Shard>, count: usize) {
    let mut ticks = tokio::time::interval(TRICKLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        (0..count).for_each(|index| shard.borrow_mut().try_read(index, TRICKLE_BYTES));
    }
}

/// Reads all slow subscribers until they have caught up, have ended, or get nothing any more.
async fn read_out(shard: &Rc<RefCell<Shard>>, count: usize, published: &Arc<[u64]>) {
    let mut readers = JoinSet::new();
    for index in 0..count {
        let (shard, published) = (Rc::clone(shard), Arc::clone(published));
        readers.spawn_local(async move {
            loop {
                let patience =
                    if shard.borrow().missing(index, &published) > 0 { DRAIN_STALL } else { DRAIN_QUIET };
                let read = poll_fn(|cx| shard.borrow_mut().poll_read(index, cx));
                if tokio::time::timeout(patience, read).await != Ok(true) {
                    return;
                }
            }
        });
    }
    let all_read = async { while readers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_MAX, all_read).await;
}

#[cfg(test)]
mod tests;
