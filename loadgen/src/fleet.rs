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
use crate::tally::{Received, ReceiverTally};

/// Who is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Muster {
    pub(crate) connections: usize,
    /// At least 1, at most one a connection.
    pub(crate) threads: usize,
    pub(crate) server: SocketAddr,
    /// What to ask for in the handshake.
    pub(crate) url: String,
    /// The first sequence that belongs into the histogram.
    pub(crate) measured_from: u32,
    /// How they read; slow ones belong to one thread.
    pub(crate) pace: Pace,
    /// Connections that another fleet of the run has opened.
    pub(crate) others: usize,
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
}

impl Fleet {
    /// Starts the threads and waits until all connections stand.
    pub(crate) async fn open(muster: &Muster, clock: Clock, phase: &Phase) -> Result<Self, FleetError> {
        raise_descriptors(muster.connections + muster.others)?;
        let started = shares(muster).map(|share| Receiver::start(share, clock));
        let mut receivers = started.collect::<io::Result<Vec<_>>>().map_err(FleetError::Thread)?;
        let tallies: Vec<_> = receivers.iter().map(Receiver::tally).collect();
        let all_ready = try_join_all(receivers.iter_mut().map(Receiver::ready));
        let ready = phase.during(|| sum(&tallies).opened, all_ready).await;
        match ready {
            Ok(probes) => Ok(Self { receivers, tallies, probes }),
            Err(source) => {
                let (opened, wanted) = (sum(&tallies).opened, muster.connections as u64);
                Err(FleetError::Open { opened, wanted, source })
            }
        }
    }

    /// The counters of all threads.
    pub(crate) fn tallies(&self) -> Vec<Arc<ReceiverTally>> {
        self.tallies.clone()
    }

    /// The sums of all counters.
    pub(crate) fn received(&self) -> Received {
        sum(&self.tallies)
    }

    /// What each thread has used; absent where it cannot be known.
    pub(crate) fn thread_times(&self) -> Vec<Option<ThreadTime>> {
        self.probes.iter().map(ThreadProbe::read).collect()
    }

    /// Ends all threads after `published` messages and adds up what they received.
    pub(crate) async fn finish(self, published: u64) -> Result<Harvest, FleetError> {
        let mut all = Harvest::new();
        for receiver in self.receivers {
            all.add(receiver.finish(published).await.ok_or(FleetError::Gone)?);
        }
        Ok(all)
    }
}

fn raise_descriptors(wanted: usize) -> Result<(), FleetError> {
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
            first: muster.others + first,
            count: connections * (thread + 1) / threads - first,
            in_flight: (HANDSHAKES_IN_FLIGHT / threads).max(1),
            server: muster.server,
            url: muster.url.clone(),
            measured_from: muster.measured_from,
            pace: muster.pace,
        }
    })
}

fn sum(tallies: &[Arc<ReceiverTally>]) -> Received {
    let mut sums = Received::default();
    for tally in tallies {
        tally.add_to(&mut sums);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_cover_everybody_once() {
        for (connections, threads) in [(1, 1), (10, 3), (10_000, 7), (5, 5)] {
            let server = SocketAddr::from(([127, 0, 0, 1], 1));
            let (pace, others) = (Pace::Prompt, 7);
            let url = String::new();
            let muster = Muster { connections, threads, server, url, measured_from: 0, pace, others };
            let mut next = others;
            for share in shares(&muster) {
                assert_eq!(share.first, next);
                assert!(share.count.abs_diff(connections / threads) <= 1);
                next += share.count;
            }
            assert_eq!(next, others + connections);
        }
    }
}
