//! The topics of a run: their names, who subscribes to which, and which one a message goes to.
//!
//! Contract: pure. Subscriptions are dealt out like cards, from shuffled decks of all topics, so that each topic has the same
//! number of subscribers (give or take one deck that is not used up) and no two connections need to share the same set. The
//! shuffle has a fixed seed: the same plan gives the same run.

use std::borrow::Cow;
use std::sync::Arc;

use fastrand::Rng;
use serde::Serialize;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TopicPlan {
    /// The name where there is one topic, the beginning of all names where there are several and `names` is empty.
    #[serde(rename = "topic")]
    pub(crate) base: String,
    /// The names, where they do not follow from `base`.
    #[serde(skip)]
    pub(crate) names: Arc<[String]>,
    #[serde(rename = "topics")]
    pub(crate) count: usize,
    /// At most `count`.
    #[serde(rename = "topics_per_connection")]
    pub(crate) per_connection: usize,
    pub(crate) choice: Choice,
}

/// Which topic a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Choice {
    /// Each as often as another.
    Uniform,
    /// The topic of rank `k` in proportion to `1 / k^s`.
    Zipf(f64),
}

/// A plan carried out for a number of connections.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    plan: TopicPlan,
    /// The topics of all connections, each connection's in ascending order; empty where there is only one topic.
    dealt: Vec<u32>,
    /// Where each connection's begin, and the end of the last.
    starts: Vec<u32>,
    connections: usize,
}

/// Draws topics.
#[derive(Clone, Debug)]
pub(crate) struct Chooser {
    rng: Rng,
    /// The sums of the weights up to each topic; empty where all have the same.
    sums: Vec<f64>,
    count: u32,
}

const SEED: u64 = 0x5eed;

impl TopicPlan {
    /// One topic of this name.
    pub(crate) fn one(name: &str) -> Self {
        Self {
            base: name.to_owned(),
            names: Arc::default(),
            count: 1,
            per_connection: 1,
            choice: Choice::Uniform,
        }
    }

    /// All of these, for everybody; there is at least one.
    pub(crate) fn all(names: &[String]) -> Self {
        let base = names.first().cloned().unwrap_or_default();
        Self { count: names.len(), per_connection: names.len(), names: names.into(), ..Self::one(&base) }
    }

    /// The name of a topic.
    pub(crate) fn name(&self, topic: u32) -> String {
        match self.names.get(topic as usize) {
            Some(name) => name.clone(),
            None if self.count == 1 => self.base.clone(),
            None => format!("{}-{topic}", self.base),
        }
    }

    /// The name of the only topic, where there is only one.
    pub(crate) fn only(&self) -> Option<&str> {
        (self.count == 1).then_some(self.base.as_str())
    }
}

impl Topics {
    /// Deals for `connections`.
    pub(crate) fn deal(plan: &TopicPlan, connections: usize) -> Self {
        let mut topics = Self { plan: plan.clone(), dealt: Vec::new(), starts: Vec::new(), connections };
        if plan.count == 1 {
            return topics;
        }
        let mut rng = Rng::with_seed(SEED);
        // The command line allows no more topics than a stamp can number.
        let mut deck: Vec<u32> = (0..plan.count as u32).collect();
        let mut next = deck.len();
        for _ in 0..connections {
            let from = topics.dealt.len();
            topics.starts.push(from as u32);
            for _ in 0..plan.per_connection {
                if next == deck.len() {
                    rng.shuffle(&mut deck);
                    next = 0;
                }
                topics.dealt.push(deck[next]);
                next += 1;
            }
            topics.dealt[from..].sort_unstable();
            // A hand from the end of one deck and the beginning of the next may hold a topic twice.
            let mut hand = topics.dealt.split_off(from);
            hand.dedup();
            topics.dealt.append(&mut hand);
        }
        topics.starts.push(topics.dealt.len() as u32);
        topics
    }

    /// The topics of a connection, in ascending order.
    pub(crate) fn of(&self, connection: usize) -> Cow<'_, [u32]> {
        if self.plan.count == 1 {
            return Cow::Borrowed(&[0]);
        }
        let [from, to] = [self.starts[connection], self.starts[connection + 1]].map(|at| at as usize);
        Cow::Borrowed(&self.dealt[from..to])
    }

    /// Their names.
    pub(crate) fn names_of(&self, connection: usize) -> Vec<String> {
        self.of(connection).iter().map(|topic| self.plan.name(*topic)).collect()
    }

    /// How many subscribe to each topic.
    pub(crate) fn listeners(&self) -> Vec<u32> {
        if self.plan.count == 1 {
            return vec![self.connections as u32];
        }
        let mut listeners = vec![0; self.plan.count];
        self.dealt.iter().for_each(|topic| listeners[*topic as usize] += 1);
        listeners
    }
}

impl Chooser {
    /// For the messages of a plan.
    pub(crate) fn new(plan: &TopicPlan) -> Self {
        let sums = match plan.choice {
            Choice::Uniform => Vec::new(),
            Choice::Zipf(exponent) => {
                let weights = (1..=plan.count).map(|rank| (rank as f64).powf(-exponent));
                weights
                    .scan(0.0, |sum, weight| Some(std::mem::replace(sum, *sum + weight) + weight))
                    .collect()
            }
        };
        Self { rng: Rng::with_seed(SEED), sums, count: plan.count as u32 }
    }

    /// The topic of the next message.
    pub(crate) fn next(&mut self) -> u32 {
        match (self.count, self.sums.last()) {
            (1, _) => 0,
            (count, None) => self.rng.u32(..count),
            (count, Some(total)) => {
                let drawn = self.rng.f64() * total;
                (self.sums.partition_point(|sum| *sum <= drawn) as u32).min(count - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(count: usize, per_connection: usize, choice: Choice) -> TopicPlan {
        TopicPlan { base: "t".into(), names: Arc::default(), count, per_connection, choice }
    }

    #[test]
    fn every_topic_has_the_same_number_of_subscribers_and_the_sets_differ() {
        let topics = Topics::deal(&plan(1_000, 50, Choice::Uniform), 100);
        assert_eq!(topics.listeners(), vec![5; 1_000]);
        let sets: std::collections::BTreeSet<_> =
            (0..100).map(|index| topics.of(index).into_owned()).collect();
        assert_eq!(sets.len(), 100);
        assert!(sets.iter().all(|set| set.len() == 50 && set.is_sorted()));
        assert_eq!(topics.names_of(0)[0], format!("t-{}", topics.of(0)[0]));
    }

    #[test]
    fn a_hand_that_spans_two_decks_holds_no_topic_twice() {
        let topics = Topics::deal(&plan(7, 5, Choice::Uniform), 50);
        let mut total = 0;
        for index in 0..50 {
            let hand = topics.of(index).into_owned();
            assert!(hand.is_sorted_by(|a, b| a < b) && hand.len() >= 2, "{hand:?}");
            total += hand.len() as u32;
        }
        assert_eq!(topics.listeners().iter().sum::<u32>(), total);
    }

    #[test]
    fn one_topic_needs_no_lists() {
        let topics = Topics::deal(&TopicPlan::one("only"), 9);
        assert_eq!((topics.of(8).into_owned(), topics.names_of(3)), (vec![0], vec!["only".to_owned()]));
        assert_eq!(topics.listeners(), [9]);
        assert_eq!(Chooser::new(&TopicPlan::one("only")).next(), 0);
    }

    #[test]
    fn choices_follow_their_law() {
        let drawn = |choice| {
            let mut chooser = Chooser::new(&plan(100, 1, choice));
            let mut counts = vec![0u32; 100];
            (0..100_000).for_each(|_| counts[chooser.next() as usize] += 1);
            counts
        };
        assert!(drawn(Choice::Uniform).iter().all(|count| count.abs_diff(1_000) < 200));
        let zipf = drawn(Choice::Zipf(1.0));
        // 1 / (1 + 1/2 + ... + 1/100) = 0.1928 of all go to the first.
        assert!(zipf[0].abs_diff(19_278) < 600 && zipf[1].abs_diff(9_639) < 450, "{:?}", &zipf[..3]);
        assert!(zipf[99] > 100 && zipf[99] < 300);
    }
}
