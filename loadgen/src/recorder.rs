//! Samples a run while it goes on.
//!
//! Contract: a task beside the scenario that reads counters and `/proc` each [`SAMPLE_EVERY`]; receivers and publisher never wait
//! for it. It ends with its handle. A fleet that is not followed delivers nothing as far as it knows.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::cost::resident_bytes;
use crate::limits::SAMPLE_EVERY;
use crate::tally::{Received, ReceiverTally};
use crate::timeline::{Sample, Samples, Timeline};

/// The handle.
#[derive(Debug)]
pub(crate) struct Recorder {
    clock: Clock,
    words: mpsc::Sender<Word>,
    task: JoinHandle<Timeline>,
}

#[derive(Debug)]
enum Word {
    Phase(&'static str, u64),
    Follow(Vec<Arc<ReceiverTally>>),
}

impl Recorder {
    /// Begins now; the server's memory is that of `pid`. To be called in a runtime.
    pub(crate) fn start(clock: Clock, pid: Option<u32>) -> Self {
        let (words, inbox) = mpsc::channel(1);
        Self { clock, words, task: tokio::spawn(record(clock, pid, inbox)) }
    }

    /// A phase begins.
    pub(crate) async fn phase(&self, name: &'static str) {
        self.tell(Word::Phase(name, self.clock.now_ns())).await;
    }

    /// From now on these deliveries count, too.
    pub(crate) async fn follow(&self, tallies: Vec<Arc<ReceiverTally>>) {
        self.tell(Word::Follow(tallies)).await;
    }

    /// Takes a last sample.
    pub(crate) async fn finish(self) -> Timeline {
        drop(self.words);
        self.task.await.unwrap_or_default()
    }

    /// A recorder that has died costs the timeline and nothing else.
    async fn tell(&self, word: Word) {
        let _ = self.words.send(word).await;
    }
}

async fn record(clock: Clock, pid: Option<u32>, mut inbox: mpsc::Receiver<Word>) -> Timeline {
    let mut samples = Samples::new(clock.now_ns());
    let mut tallies = Vec::new();
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            biased;
            word = inbox.recv() => match word {
                Some(Word::Phase(name, at_ns)) => samples.phase(name, at_ns),
                Some(Word::Follow(more)) => tallies.extend(more),
                None => break,
            },
            _ = ticks.tick() => samples.push(sample(clock, pid, &tallies)),
        }
    }
    samples.push(sample(clock, pid, &tallies));
    samples.finish()
}

fn sample(clock: Clock, pid: Option<u32>, tallies: &[Arc<ReceiverTally>]) -> Sample {
    let received = Received::sum(tallies);
    Sample {
        at_ns: clock.now_ns(),
        deliveries: received.deliveries,
        server_resident_bytes: pid.and_then(resident_bytes),
        own_resident_bytes: resident_bytes(std::process::id()),
    }
}
