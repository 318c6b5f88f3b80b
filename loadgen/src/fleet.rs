//! All subscribers of a run: several receiver threads as one.
//!
//! Contract: [`Fleet::open`] returns when every subscriber stands, or says how many did and which limit stopped the next. A fleet
//! that is dropped takes its threads with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::clock::Clock;
use crate::cost::{ThreadProbe, ThreadTime};
use crate::handshake::OpenError;
use crate::limits::{DESCRIPTORS_SPARE, HANDSHAKES_IN_FLIGHT};
use crate::progress::Phase;
use crate::receiver::{Pace, Receiver, Share};
use crate::report::thousands;
use crate::subscriber::Harvest;
use crate::tally::{Marks, Received, ReceiverTally};
use crate::target::Target;
use crate::topics::Topics;

/// Who is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Muster {
    pub(crate) connections: usize,
    /// At least 1, at most one a connection.
    pub(crate) threads: usize,
    pub(crate) server: SocketAddr,
    pub(crate) target: Arc<Target>,
    /// Who subscribes to what.
    pub(crate) topics: Arc<Topics>,
    /// What belongs into the histogram.
    pub(crate) marks: Arc<Marks>,
    /// How they read; slow ones belong to one thread.
    pub(crate) pace: Pace,
    /// Connections that other fleets of the run have opened.
    pub(crate) others: usize,
    /// True exactly when those opened before the first failure are enough, whatever limit it was.
    pub(crate) partial: bool,
    /// True exactly when they are reset at the end, without a word: nothing rests in TIME_WAIT on either side, where a port that
    /// comes up again may cost the next run a second.
    pub(crate) abrupt: bool,
}

/// Why not all subscribers stand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FleetError {
    /// Ours to raise; nothing was opened.
    #[error(
        "{} connections need {} descriptors, and this process may have {}: raise its hard limit (ulimit -Hn)",
        thousands(*wanted as u64), thousands(*needed), thousands(*limit)
    )]
    Descriptors { wanted: usize, needed: u64, limit: u64 },
    /// Some were opened before the limit that `source` names.
    #[error("opened {} of {} connections, then: {source}", thousands(*opened), thousands(*wanted))]
    Open { opened: u64, wanted: u64, source: OpenError },
    /// Others than the subscribers.
    #[error("the crowd of {} clients could not be opened: {source}", thousands(*wanted))]
    Crowd { wanted: u64, source: OpenError },
    #[error("cannot start a receiver thread: {0}")]
    Thread(#[source] io::Error),
    #[error("a receiver thread ended unexpectedly")]
    Gone,
}

/// The open subscribers.
#[derive(Debug)]
pub(crate) struct Fleet {
    receivers: Vec<Receiver>,
    tallies: Vec<Arc<ReceiverTally>>,
    probes: Vec<ThreadProbe>,
    stopped_by: Option<OpenError>,
}

impl Fleet {
    /// Starts the threads and waits until all connections stand.
    pub(crate) async fn open(muster: &Muster, clock: Clock, phase: &Phase) -> Result<Self, FleetError> {
        raise_descriptors(muster.connections + muster.others)?;
        let started = shares(muster).map(|share| Receiver::start(share, clock));
        let mut receivers = started.collect::<io::Result<Vec<_>>>().map_err(FleetError::Thread)?;
        let tallies: Vec<_> = receivers.iter().map(Receiver::tally).collect();
        let all_ready = try_join_all(receivers.iter_mut().map(Receiver::ready));
        let ready = phase.during(|| Received::sum(&tallies).opened, all_ready).await;
        match ready {
            Ok(all) => {
                let (probes, stopped) = all.into_iter().map(|ready| (ready.probe, ready.stopped_by)).unzip();
                let stopped: Vec<Option<OpenError>> = stopped;
                let stopped_by = stopped.into_iter().flatten().next();
                Ok(Self { receivers, tallies, probes, stopped_by })
            }
            Err(source) => {
                let (opened, wanted) = (Received::sum(&tallies).opened, muster.connections as u64);
                Err(FleetError::Open { opened, wanted, source })
            }
        }
    }

    /// The limit that was met, where fewer connections were enough.
    pub(crate) fn stopped_by(&self) -> Option<&OpenError> {
        self.stopped_by.as_ref()
    }

    /// The sums of all counters.
    pub(crate) fn received(&self) -> Received {
        Received::sum(&self.tallies)
    }

    /// Each thread's counters, for who has to watch them from another.
    pub(crate) fn tallies(&self) -> Vec<Arc<ReceiverTally>> {
        self.tallies.clone()
    }

    /// What each thread has used; absent where it cannot be known.
    pub(crate) fn thread_times(&self) -> Vec<Option<ThreadTime>> {
        self.probes.iter().map(ThreadProbe::read).collect()
    }

    /// Ends all threads after so many messages of each topic, and adds up what they received.
    pub(crate) async fn finish(self, published: &Arc<[u64]>) -> Result<Harvest, FleetError> {
        let mut all = Harvest::new();
        for receiver in self.receivers {
            all.add(receiver.finish(Arc::clone(published)).await.ok_or(FleetError::Gone)?);
        }
        Ok(all)
    }
}

/// Allows this process that many connections.
pub(crate) fn raise_descriptors(wanted: usize) -> Result<(), FleetError> {
    let needed = wanted as u64 + DESCRIPTORS_SPARE;
    // Where there is no such limit there is nothing to be short of.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < needed => Err(FleetError::Descriptors { wanted, needed, limit }),
        _ => Ok(()),
    }
}

/// Even shares: they differ by one connection at most.
fn shares(muster: &Muster) -> impl Iterator<Item = Share> {
    let (connections, threads) = (muster.connections, muster.threads);
    (0..threads).map(move |thread| {
        let first = connections * thread / threads;
        Share {
            first,
            others: muster.others,
            count: connections * (thread + 1) / threads - first,
            in_flight: (HANDSHAKES_IN_FLIGHT / threads).max(1),
            server: muster.server,
            target: Arc::clone(&muster.target),
            topics: Arc::clone(&muster.topics),
            marks: Arc::clone(&muster.marks),
            pace: muster.pace,
            partial: muster.partial,
            abrupt: muster.abrupt,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::stentor;
    use crate::topics::TopicPlan;

    #[test]
    fn shares_are_even_and_cover_everybody_once() {
        for (connections, threads) in [(1, 1), (10, 3), (10_000, 7), (5, 5)] {
            let server = SocketAddr::from(([127, 0, 0, 1], 1));
            let target = Arc::new(stentor("ws://h"));
            let topics = Arc::new(Topics::deal(&TopicPlan::one("t"), connections));
            let (pace, marks, others, partial, abrupt) = (Pace::Prompt, Arc::default(), 7, false, false);
            let muster =
                Muster { connections, threads, server, target, topics, marks, pace, others, partial, abrupt };
            let mut next = 0;
            for share in shares(&muster) {
                assert_eq!((share.first, share.others), (next, 7));
                assert!(share.count.abs_diff(connections / threads) <= 1);
                next += share.count;
            }
            assert_eq!(next, connections);
        }
    }
}
