//! `knee`: the highest rate at which p99 stays under a bound and the run holds.
//!
//! Contract: each step is a whole fan-out on a topic of its own, so that what an overloaded server still sends of the step before
//! disturbs nobody. A step that does not hold is repeated before it counts; a publisher that the server closed or stalled has
//! not held, while subscribers that cannot be opened end the search.

use serde::Serialize;

use crate::clock::Clock;
use crate::knee::Search;
use crate::knee_report::{KneeReport, Step};
use crate::limits::KNEE_TRIES;
use crate::progress::Progress;
use crate::scenario::fanout::{Amount, Fanout, RunError};
use crate::target::Target;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Knee {
    /// The first step.
    #[serde(flatten)]
    pub(crate) first: Fanout,
    /// The p99 up to which a rate counts as held.
    pub(crate) bound_ms: f64,
    /// A p99 within the bound counts, however busy the receivers were.
    pub(crate) busy_ok: bool,
}

impl Knee {
    /// Searches it at `target`, whose process is `pid` where it can be watched.
    pub(crate) async fn run(
        &self,
        target: &Target,
        pid: Option<u32>,
        clock: Clock,
        progress: Progress,
    ) -> Result<KneeReport, RunError> {
        let mut search = Search::new(self.first.rate_per_s, self.ceiling());
        let mut steps = Vec::new();
        while let Some(rate_per_s) = search.next() {
            let mut held = false;
            for _ in 0..KNEE_TRIES {
                let number = steps.len() + 1;
                progress.part(&format!("step {number}: {rate_per_s:.1} messages/s"));
                let topic = format!("{}-{number}", self.first.topic);
                let fanout = Fanout { topic, rate_per_s, ..self.first.clone() };
                let step = match fanout.run(target, pid, clock, progress).await {
                    Ok(report) => Step::of(&report, self.bound_ms, self.busy_ok),
                    Err(RunError::Publish(error)) => Step::failed(rate_per_s, &error),
                    Err(other) => return Err(other),
                };
                progress.part(&step.verdict());
                held = step.held;
                steps.push(step);
                if held {
                    break;
                }
            }
            search.note(rate_per_s, held);
        }
        Ok(KneeReport::new(target, self, &search, steps))
    }

    /// The rate at which a step would need more sequences than there are.
    fn ceiling(&self) -> f64 {
        match self.first.amount {
            Amount::Timed { warmup_s, measured_s } => f64::from(u32::MAX) / (warmup_s + measured_s),
            Amount::Messages(_) => f64::MAX,
        }
    }
}
