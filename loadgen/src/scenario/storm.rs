//! `storm`: while some subscribers are served, many others lose their connections at once and come back at once.
//!
//! Contract: the latencies of the served ones are taken apart by the intended time of the message: before the cut, and in the
//! [`STORM_WINDOW_S`] seconds from the cut on.

use std::time::Duration;

use serde::Serialize;

use crate::crowd::Crowd;
use crate::limits::STORM_WINDOW_S;
use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::fanout::{Amount, Fanout, RunError, resolve};
use crate::storm_figures::StormFigures;

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

    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<Report, RunError> {
        self.served.raise_descriptors()?;
        let clock = subject.clock;
        let quiet = format!("{}-quiet", self.served.topics.base);
        let call = subject.target.subscriber(&[quiet], true);
        let clients = subject.open_crowd(&call, self.clients).await?;
        let server = resolve(&subject.target.address).await?;
        let mut crowd = Crowd { server, call, clients };
        let cut_after = Duration::from_secs_f64(self.served.timed_s() - STORM_WINDOW_S);
        let (mut report, back) = self
            .served
            .run_beside(subject, async |start_ns, marks| {
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
