//! Who is subscribed to what, and what is published: drawn once from a fixed seed, so that every run and every
//! design sees the same.

use fastrand::Rng;
use stentor::TopicName;

const TOPICS: usize = 10_000;
/// Draws a connection makes; with popularity after Zipf about 39 of them are different topics.
const DRAWS: usize = 50;

/// See the module.
pub(crate) struct Populace {
    pub(crate) topics: Vec<TopicName>,
    /// For each connection the topics it is subscribed to.
    pub(crate) chosen: Vec<Vec<usize>>,
}

impl Populace {
    /// One topic that everybody is subscribed to.
    pub(crate) fn hot(connections: usize) -> Self {
        Self { topics: names(1), chosen: vec![vec![0]; connections] }
    }

    /// Topics of very different popularity.
    pub(crate) fn drawn(connections: usize) -> Self {
        let mut zipf = Zipf::new(1);
        let draw = |_| {
            let mut chosen: Vec<_> = (0..DRAWS).map(|_| zipf.draw()).collect();
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        Self { topics: names(TOPICS), chosen: (0..connections).map(draw).collect() }
    }

    /// The topics of each connection by name.
    pub(crate) fn connections(&self) -> impl Iterator<Item = Vec<TopicName>> {
        self.chosen.iter().map(|chosen| chosen.iter().map(|topic| self.topics[*topic].clone()).collect())
    }
}

fn names(count: usize) -> Vec<TopicName> {
    (0..count).map(|at| TopicName::try_from(format!("trade.{at}")).expect("a topic name")).collect()
}

/// The first topic twice as popular as the second, three times as popular as the third.
pub(crate) struct Zipf {
    random: Rng,
    cumulated: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let weigh = |rank| {
            sum += 1.0 / rank as f64;
            sum
        };
        Self { random: Rng::with_seed(seed), cumulated: (1..=TOPICS).map(weigh).collect() }
    }

    /// A topic, as often as it is popular.
    pub(crate) fn draw(&mut self) -> usize {
        let point = self.random.f64() * self.cumulated[TOPICS - 1];
        self.cumulated.partition_point(|sum| *sum <= point).min(TOPICS - 1)
    }
}
