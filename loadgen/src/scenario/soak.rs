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
use crate::clock::Clock;
use crate::cost;
use crate::crowd;
use crate::fleet::FleetError;
use crate::limits::{SETTLE, SOAK_CHURN_CYCLES_PER_S, SOAK_ROUND_S_MAX, SOAK_ROUND_S_MIN};
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::fanout::{Amount, Fanout, RunError, resolve};
use crate::soak_figures::{Sample, SoakFigures};
use crate::tally::Marks;
use crate::target::Target;

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
    /// Runs it against `target`, whose process is `pid` where it can be watched.
    pub(crate) async fn run(
        &self,
        target: &Target,
        pid: Option<u32>,
        clock: Clock,
        progress: Progress,
    ) -> Result<Report, RunError> {
        self.steady.raise_descriptors()?;
        let head = self.head(target).await?;
        let mut churned = ChurnFigures::default();
        let rounds =
            async |start_ns, _: &Marks| self.rounds(target, pid, clock, start_ns, head, &mut churned).await;
        let (mut report, figures) = self.steady.run_beside(target, pid, clock, progress, rounds).await?;
        report.scenario = "soak";
        report.churn = Some(churned);
        report.soak = Some(figures);
        Ok(report.judge())
    }

    /// The topic's head before the first message.
    async fn head(&self, target: &Target) -> Result<u64, RunError> {
        let server = resolve(&target.address).await?;
        let opened = crowd::open_all(server, &target.session(), 1, &mut |_| ()).await;
        let opened = opened.map_err(|source| FleetError::Crowd { wanted: 1, source })?;
        let mut head = 0;
        for opened in opened {
            head = Churner::new(opened, &self.steady.topics.base).await.head().await?;
        }
        Ok(head)
    }

    async fn rounds(
        &self,
        target: &Target,
        pid: Option<u32>,
        clock: Clock,
        start_ns: u64,
        head: u64,
        churned: &mut ChurnFigures,
    ) -> Result<SoakFigures, RunError> {
        let total_s = match self.steady.amount {
            Amount::Timed { warmup_s, measured_s } => warmup_s + measured_s,
            Amount::Messages(_) => unreachable!("a soak is timed"),
        };
        // A dozen rounds where that leaves each long enough.
        let round = Duration::from_secs_f64((total_s / 12.0).clamp(SOAK_ROUND_S_MIN, SOAK_ROUND_S_MAX));
        let end_ns = start_ns + (total_s * 1e9) as u64;
        let mut figures = SoakFigures::default();
        while clock.now_ns() + (round + SETTLE).as_nanos() as u64 <= end_ns {
            churned.add(self.round(target, head, clock, clock.now_ns() + round.as_nanos() as u64).await?);
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
    async fn round(
        &self,
        target: &Target,
        head: u64,
        clock: Clock,
        end_ns: u64,
    ) -> Result<ChurnFigures, RunError> {
        let topic = self.steady.topics.base.as_str();
        let server = resolve(&target.address).await?;
        let crowd_error = |wanted| move |source| FleetError::Crowd { wanted: wanted as u64, source };
        let subscribed = target.subscriber(&[topic.to_owned()], false);
        let stalled = crowd::open_all(server, &subscribed, self.stalled, &mut |_| ()).await;
        let stalled = stalled.map_err(crowd_error(self.stalled))?;
        let opened = crowd::open_all(server, &target.session(), self.churners, &mut |_| ()).await;
        let opened = opened.map_err(crowd_error(self.churners))?;
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
