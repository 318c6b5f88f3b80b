//! `churn`: connections that subscribe and unsubscribe all the time, while messages are published and others are served.
//!
//! Contract: a fan-out to the steady ones, and the churning ones beside it for as long as it publishes.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::churn_figures::ChurnFigures;
use crate::churner::{Broken, Churner};
use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::fanout::{Fanout, RunError};

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Churn {
    /// The steady ones.
    #[serde(flatten)]
    pub(crate) steady: Fanout,
    /// Those who come and go,
    pub(crate) churners: usize,
    /// each so often a second.
    pub(crate) cycles_per_s: f64,
}

impl Churn {
    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<Report, RunError> {
        self.steady.raise_descriptors()?;
        let clock = subject.clock;
        let opened = subject.open_crowd(&subject.target.session(), self.churners).await?;
        let topic = self.steady.topics.base.as_str();
        let mut churners = join_all(opened.into_iter().map(|opened| Churner::new(opened, topic))).await;
        let head = match churners.first_mut() {
            Some(churner) => churner.head().await?,
            None => 0,
        };
        // Half of a cycle subscribed, half of it not.
        let hold = Duration::from_secs_f64(0.5 / self.cycles_per_s);
        let (mut report, figures) = self
            .steady
            .run_beside(subject, async |start_ns, _| {
                let end_ns = start_ns + (self.steady.timed_s() * 1e9) as u64;
                let churning = churners.into_iter().enumerate().map(|(index, mut churner)| async move {
                    // Not all in step.
                    let begin = hold.mul_f64(2.0 * index as f64 / self.churners as f64);
                    tokio::time::sleep(clock.until(start_ns) + begin).await;
                    let broken = churner.churn(head, hold, end_ns, clock).await.err();
                    (churner.found(), broken)
                });
                Ok(join_all(churning).await.into_iter().collect::<ChurnFigures>())
            })
            .await?;
        report.scenario = "churn";
        report.churn = Some(figures);
        Ok(report.judge())
    }
}

impl From<Broken> for RunError {
    fn from(broken: Broken) -> Self {
        Self::Churn(broken)
    }
}
