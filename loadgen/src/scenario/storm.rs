//! `storm`: while some subscribers are served, many others lose their connections at once and come back at once.
//!
//! Contract: the latencies of the served ones are taken apart by the intended time of the message: before the cut, and in the
//! [`STORM_WINDOW_S`] seconds from the cut on.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::crowd::Crowd;
use crate::fleet::FleetError;
use crate::limits::STORM_WINDOW_S;
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::fanout::{Amount, Fanout, RunError, resolve};
use crate::storm_figures::StormFigures;
use crate::target::Target;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Storm {
    /// The served ones; measured for as long before the cut as is asked for, and [`STORM_WINDOW_S`] more.
    #[serde(flatten)]
    pub(crate) served: Fanout,
    /// Those who are cut off.
    pub(crate) clients: usize,
    /// Their handshakes under way at a time.
    pub(crate) in_flight: usize,
}

impl Storm {
    /// The served ones of a fan-out that is measured for `before`.
    pub(crate) fn new(before: Fanout, clients: usize, in_flight: usize) -> Self {
        let amount = match before.amount {
            Amount::Timed { warmup_s, measured_s } => {
                Amount::Timed { warmup_s, measured_s: measured_s + STORM_WINDOW_S }
            }
            exact @ Amount::Messages(_) => exact,
        };
        Self { served: Fanout { amount, others: clients, ..before }, clients, in_flight }
    }

    /// Runs it against `target`, whose process is `pid` where it can be watched.
    pub(crate) async fn run(
        &self,
        target: &Target,
        pid: Option<u32>,
        clock: Clock,
        progress: Progress,
    ) -> Result<Report, RunError> {
        let server = resolve(&target.address).await?;
        self.served.raise_descriptors()?;
        let quiet = format!("{}-quiet", self.served.topics.base);
        let phase = progress.phase("connect", self.clients as u64);
        let from_ns = clock.now_ns();
        let mut crowd = Crowd::open(server, target.subscriber(&[quiet], true), self.clients, &phase)
            .await
            .map_err(|source| FleetError::Crowd { wanted: self.clients as u64, source })?;
        let seconds = (clock.now_ns() - from_ns) as f64 / 1e9;
        phase.done(seconds, self.clients as u64, "connections of the crowd");
        let Amount::Timed { warmup_s, measured_s } = self.served.amount else {
            unreachable!("a storm is timed")
        };
        let cut_after = Duration::from_secs_f64(warmup_s + measured_s - STORM_WINDOW_S);
        let (mut report, back) = self
            .served
            .run_beside(target, pid, clock, progress, async |start_ns, marks| {
                let cut_ns = start_ns + cut_after.as_nanos() as u64;
                marks.split_at(cut_ns);
                tokio::time::sleep(clock.until(cut_ns)).await;
                Ok(crowd.storm(self.in_flight, clock).await)
            })
            .await?;
        report.scenario = "storm";
        report.storm = Some(StormFigures::new(self.in_flight, back, report.latency_us, report.later_us));
        Ok(report.judge())
    }
}
