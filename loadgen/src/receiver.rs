//! A receiver thread: opens its share of the subscribers, reads them until told to finish, hands over what they received.
//!
//! Contract: one thread, one current-thread runtime, one [`Shard`]; nothing is shared with other receivers. It ends by itself
//! when its handle is dropped, at whatever point it is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

use crate::clock::Clock;
use crate::cost::ThreadProbe;
use crate::handshake::{OpenError, open};
use crate::limits::GOODBYE;
use crate::subscriber::{Harvest, Shard};
use crate::tally::ReceiverTally;
use crate::target::source_for;

/// What one thread has to open, and how it has to judge it.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// The number of its first connection among all.
    pub(crate) first: usize,
    /// How many connections.
    pub(crate) count: usize,
    /// Handshakes at once.
    pub(crate) in_flight: usize,
    /// The server's address.
    pub(crate) server: SocketAddr,
    /// What to ask for in the handshake.
    pub(crate) url: String,
    /// The first sequence that belongs into the histogram.
    pub(crate) measured_from: u32,
}

/// The owner's end of a receiver thread.
#[derive(Debug)]
pub(crate) struct Receiver {
    tally: Arc<ReceiverTally>,
    ready: Option<oneshot::Receiver<Result<ThreadProbe, OpenError>>>,
    finish: oneshot::Sender<u64>,
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
        let shard = Shard::new(share.measured_from, clock, Arc::clone(&tally));
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
    pub(crate) async fn ready(&mut self) -> Result<ThreadProbe, OpenError> {
        let gone = || OpenError::Io(io::Error::other("a receiver thread ended unexpectedly"));
        let ready = self.ready.take().ok_or_else(gone)?;
        ready.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Ends the thread after `published` messages; none if it has died.
    pub(crate) async fn finish(self, published: u64) -> Option<Harvest> {
        self.finish.send(published).ok()?;
        let harvest = self.harvest.await.ok();
        tokio::task::spawn_blocking(move || self.thread.join()).await.ok()?.ok()?;
        harvest
    }
}

async fn run(
    share: Share,
    shard: Shard,
    ready: oneshot::Sender<Result<ThreadProbe, OpenError>>,
    mut finish: oneshot::Receiver<u64>,
    harvest: oneshot::Sender<Harvest>,
) {
    let shard = Rc::new(RefCell::new(shard));
    let mut readers = JoinSet::new();
    let opened = tokio::select! {
        opened = open_all(&share, &shard, &mut readers) => opened,
        _ = &mut finish => return,
    };
    let failed = opened.is_err();
    if ready.send(opened.map(|()| ThreadProbe::current())).is_err() || failed {
        return;
    }
    let Ok(published) = finish.await else { return };
    let received = shard.borrow_mut().harvest(published);
    if harvest.send(received).is_err() {
        return;
    }
    // The side that closes first keeps the port in TIME_WAIT: let it be the server.
    let all_closed = async { while readers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GOODBYE, all_closed).await;
}

/// Opens the share with a bounded number of handshakes at once; the first failure ends it.
async fn open_all(
    share: &Share,
    shard: &Rc<RefCell<Shard>>,
    readers: &mut JoinSet<()>,
) -> Result<(), OpenError> {
    let share = Rc::new(share.clone());
    let next = Rc::new(Cell::new(0));
    let mut openers = JoinSet::new();
    let (opened_sender, mut opened) = tokio::sync::mpsc::channel(share.in_flight);
    for _ in 0..share.in_flight {
        let (share, next, opened_sender) = (Rc::clone(&share), Rc::clone(&next), opened_sender.clone());
        openers.spawn_local(async move {
            while next.get() < share.count {
                let index = share.first + next.replace(next.get() + 1);
                let result = open(share.server, &share.url, source_for(index, share.server.ip())).await;
                if opened_sender.send(result).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(opened_sender);
    while let Some(result) = opened.recv().await {
        let index = shard.borrow_mut().add(result?);
        let shard = Rc::clone(shard);
        readers
            .spawn_local(async move { while poll_fn(|cx| shard.borrow_mut().poll_read(index, cx)).await {} });
    }
    Ok(())
}
