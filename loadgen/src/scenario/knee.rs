//! `knee`: the highest rate at which p99 stays under a bound and the run holds.
//!
//! Contract: each step is a whole fan-out on a topic of its own, so that what an overloaded server still sends of the step before
//! disturbs nobody; it ends early when it has clearly failed. A publisher that the server closed or stalled has not held, while
//! subscribers that cannot be opened end the search.

use serde::Serialize;

use crate::cost;
use crate::knee::Search;
use crate::knee_report::{KneeReport, Step};
use crate::limits::{CALM_LOOK, CALM_MAX, KNEE_MESSAGES_MIN};
use crate::scenario::Subject;
use crate::scenario::fanout::{Amount, Fanout, RunError, Tempo};
use crate::topics::TopicPlan;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Knee {
    /// The first step, but for its rate.
    #[serde(flatten)]
    pub(crate) first: Fanout,
    /// Its rate.
    pub(crate) first_per_s: f64,
    /// The p99 up to which a rate counts as held.
    pub(crate) bound_ms: f64,
    /// A p99 within the bound counts, however busy the receivers were.
    pub(crate) busy_ok: bool,
}

/// A search that is under way at one server.
#[derive(Debug)]
pub(crate) struct Hunt<'a> {
    knee: &'a Knee,
    subject: Subject<'a>,
    search: Search,
    steps: Vec<Step>,
}

impl Knee {
    /// Searches it at `target`, whose process is `pid` where it can be watched.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<KneeReport, RunError> {
        let mut hunt = Hunt::new(self, subject);
        while hunt.advance("").await? {}
        Ok(hunt.report())
    }

    /// A step of the search. Its length is that of the first, or what it takes to measure [`KNEE_MESSAGES_MIN`] messages.
    fn step(&self, rate_per_s: f64, number: usize) -> Fanout {
        let first = &self.first;
        let topic = format!("{}-{}-{number}", first.topics.base, first.connections);
        let amount = match first.amount {
            Amount::Timed { warmup_s, measured_s } => {
                Amount::Timed { warmup_s, measured_s: measured_s.max(KNEE_MESSAGES_MIN / rate_per_s) }
            }
            exact @ Amount::Messages(_) => exact,
        };
        Fanout {
            topics: TopicPlan::one(&topic),
            tempo: Tempo::Rate(rate_per_s),
            amount,
            bound_ms: Some(self.bound_ms),
            ..first.clone()
        }
    }

    /// The rate at which a step would need more sequences than there are.
    fn ceiling(&self) -> f64 {
        match self.first.amount {
            Amount::Timed { warmup_s, measured_s } => f64::from(u32::MAX) / (warmup_s + measured_s),
            Amount::Messages(_) => f64::MAX,
        }
    }
}

impl<'a> Hunt<'a> {
    /// At its beginning.
    pub(crate) fn new(knee: &'a Knee, subject: Subject<'a>) -> Self {
        let search = Search::new(knee.first_per_s, knee.ceiling());
        Self { knee, subject, search, steps: Vec::new() }
    }

    /// Tries the next rate; false when there is none.
    pub(crate) async fn advance(&mut self, name: &str) -> Result<bool, RunError> {
        let progress = self.subject.progress;
        let Some(rate_per_s) = self.search.next() else { return Ok(false) };
        let number = self.steps.len() + 1;
        let steps = Subject { progress: progress.quiet(), ..self.subject };
        let step = match self.knee.step(rate_per_s, number).run(steps).await {
            Ok(report) => Step::of(&report, rate_per_s, self.knee.bound_ms, self.knee.busy_ok),
            Err(error @ (RunError::Publish(_) | RunError::Hopeless { .. })) => {
                Step::failed(rate_per_s, &error)
            }
            Err(other) => return Err(other),
        };
        progress.part(&format!("{name}step {number}: {rate_per_s:.1} messages/s {}", step.verdict()));
        if !step.held {
            self.calm().await;
        }
        if step.is_disturbed() {
            self.search.excuse(rate_per_s);
        } else {
            self.search.note(rate_per_s, step.held);
        }
        self.steps.push(step);
        Ok(true)
    }

    /// Waits until the server does nothing any more, since what it still does is not the next step's.
    async fn calm(&self) {
        let Subject { pid: Some(pid), clock, .. } = self.subject else { return };
        let until_ns = clock.now_ns() + CALM_MAX.as_nanos() as u64;
        let mut before = cost::process_cpu_ns(pid);
        while clock.now_ns() < until_ns {
            tokio::time::sleep(CALM_LOOK).await;
            let now = cost::process_cpu_ns(pid);
            let used = now.zip(before).map(|(now, before)| u128::from(now.saturating_sub(before)));
            if used.is_none_or(|used| used < CALM_LOOK.as_nanos() / 10) {
                return;
            }
            before = now;
        }
    }

    /// Ends it where it is: `reason` keeps the next rate from being tried.
    pub(crate) fn give_up(&mut self, reason: &RunError) {
        if let Some(rate_per_s) = self.search.next() {
            self.steps.push(Step::failed(rate_per_s, reason));
            self.search.note(rate_per_s, false);
        }
    }

    /// What came of it.
    pub(crate) fn report(self) -> KneeReport {
        KneeReport::new(self.subject.target, self.knee, &self.search, self.steps)
    }
}
