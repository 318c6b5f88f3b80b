//! `soak`: hours of fan-out, with connections that churn and connections that never read, in rounds.
//!
//! Contract: the steady subscribers stand from the first message to the last, and each must get every message. Each round opens
//! new churning and new stalled connections and ends them; between rounds, when only the steady ones stand, memory and descriptors
//! of the server are noted.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::churn_figures::ChurnFigures;
use crate::churner::Churner;
use crate::cost;
use crate::limits::{SETTLE, SOAK_CHURN_CYCLES_PER_S, SOAK_ROUND_S_MAX, SOAK_ROUND_S_MIN};
use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::fanout::{Fanout, RunError};
use crate::soak_figures::{Sample, SoakFigures};
use crate::tally::Marks;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Soak {
    /// Those who stay.
    #[serde(flatten)]
    pub(crate) steady: Fanout,
    /// Those of each round who come and go,
    pub(crate) churners: usize,
    /// and those who never read.
    pub(crate) stalled: usize,
}

impl Soak {
    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<Report, RunError> {
        self.steady.raise_descriptors()?;
        let head = self.head(subject).await?;
        let mut churned = ChurnFigures::default();
        // A round says nothing of its own: the phases of the steady ones go on.
        let quiet = Subject { progress: subject.progress.quiet(), ..subject };
        let rounds = async |start_ns, _: &Marks| self.rounds(quiet, start_ns, head, &mut churned).await;
        let (mut report, figures) = self.steady.run_beside(subject, rounds).await?;
        report.scenario = "soak";
        report.churn = Some(churned);
        report.soak = Some(figures);
        Ok(report.judge())
    }

    /// The topic's head before the first message.
    async fn head(&self, subject: Subject<'_>) -> Result<u64, RunError> {
        let mut head = 0;
        for opened in subject.open_crowd(&subject.target.session(), 1).await? {
            head = Churner::new(opened, &self.steady.topics.base).await.head().await?;
        }
        Ok(head)
    }

    async fn rounds(
        &self,
        subject: Subject<'_>,
        start_ns: u64,
        head: u64,
        churned: &mut ChurnFigures,
    ) -> Result<SoakFigures, RunError> {
        let (clock, pid, total_s) = (subject.clock, subject.pid, self.steady.timed_s());
        // A dozen rounds where that leaves each long enough.
        let round = Duration::from_secs_f64((total_s / 12.0).clamp(SOAK_ROUND_S_MIN, SOAK_ROUND_S_MAX));
        let end_ns = start_ns + (total_s * 1e9) as u64;
        let mut figures = SoakFigures::default();
        while clock.now_ns() + (round + SETTLE).as_nanos() as u64 <= end_ns {
            churned.add(self.round(subject, head, clock.now_ns() + round.as_nanos() as u64).await?);
            figures.stalled += self.stalled as u64;
            tokio::time::sleep(SETTLE).await;
            figures.samples.push(Sample {
                at_s: clock.now_ns().saturating_sub(start_ns) as f64 / 1e9,
                resident_bytes: pid.and_then(cost::resident_bytes),
                descriptors: pid.and_then(cost::descriptors),
            });
        }
        (figures.received, figures.broken) = (churned.found.received + churned.found.stray, churned.broken);
        Ok(figures.judge())
    }

    /// Opens both kinds, and lets them go at `end_ns`.
    async fn round(&self, subject: Subject<'_>, head: u64, end_ns: u64) -> Result<ChurnFigures, RunError> {
        let (clock, topic) = (subject.clock, self.steady.topics.base.as_str());
        let subscribed = subject.target.subscriber(&[topic.to_owned()], false);
        let stalled = subject.open_crowd(&subscribed, self.stalled).await?;
        let opened = subject.open_crowd(&subject.target.session(), self.churners).await?;
        let hold = Duration::from_secs_f64(0.5 / SOAK_CHURN_CYCLES_PER_S);
        let churning = opened.into_iter().map(|opened| async move {
            let mut churner = Churner::new(opened, topic).await;
            let broken = churner.churn(head, hold, end_ns, clock).await.err();
            (churner.found(), broken)
        });
        let churned = join_all(churning).await.into_iter().collect();
        tokio::time::sleep(clock.until(end_ns)).await;
        drop(stalled);
        Ok(churned)
    }
}
