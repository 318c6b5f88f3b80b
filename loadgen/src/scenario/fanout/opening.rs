//! The opening of a fan-out's subscribers.
//!
//! Contract: what connecting costs the server is read between the first SYN and [`SETTLE`] after the last handshake.

use std::sync::Arc;

use super::{Fanout, RunError};
use crate::cost;
use crate::fleet::{Fleet, Muster};
use crate::limits::SETTLE;
use crate::measure::seconds_between;
use crate::receiver::Pace;
use crate::report::ServerCost;
use crate::scenario::Subject;

impl Fanout {
    /// Opens all subscribers, and reads what they cost the server; gives the seconds it took, too.
    pub(super) async fn connect(
        &self,
        muster: &Muster,
        subject: Subject<'_>,
        cost: &mut ServerCost,
    ) -> Result<(Fleet, f64), RunError> {
        let Subject { pid, clock, progress, .. } = subject;
        cost.resident_bytes_before = pid.and_then(cost::resident_bytes);
        let cpu_before_ns = pid.and_then(cost::process_cpu_ns);
        let from_ns = clock.now_ns();
        let connections = self.connections as u64;
        let phase = progress.phase("connect", connections);
        let fleet = Fleet::open(muster, clock, &phase).await?;
        let connect_s = seconds_between(from_ns, clock.now_ns());
        phase.done(connect_s, connections, "connections");
        if let (Some(pid), None) = (pid, self.bound_ms) {
            let cpu_ns = cost::process_cpu_ns(pid).zip(cpu_before_ns);
            let per_connection = |total: f64| total / self.connections as f64;
            cost.cpu_us_per_connect =
                cpu_ns.map(|(after, before)| per_connection((after as f64 - before as f64) / 1e3));
            tokio::time::sleep(SETTLE).await;
            cost.resident_bytes_idle = cost::resident_bytes(pid);
            let grown = cost.resident_bytes_idle.zip(cost.resident_bytes_before);
            cost.bytes_per_idle_connection =
                grown.map(|(idle, before)| per_connection(idle as f64 - before as f64));
        }
        Ok((fleet, connect_s))
    }

    /// Opens the slow subscribers: the stalled ones, then the trickling ones, where there are any.
    pub(super) async fn connect_slow(
        &self,
        healthy: &Muster,
        subject: Subject<'_>,
    ) -> Result<Vec<(Pace, Fleet)>, RunError> {
        let Subject { clock, progress, .. } = subject;
        let kinds = [(Pace::Stalled, self.slow.stalled), (Pace::Trickling, self.slow.trickling)];
        let mut fleets = Vec::new();
        let mut others = self.others + self.connections;
        for (pace, connections) in kinds.into_iter().filter(|(_, connections)| *connections > 0) {
            let from_ns = clock.now_ns();
            let phase = progress.phase("connect", connections as u64);
            // Their latencies are their own doing.
            let marks = Arc::default();
            let muster = Muster { connections, threads: 1, marks, pace, others, ..healthy.clone() };
            let fleet = Fleet::open(&muster, clock, &phase).await?;
            phase.done(seconds_between(from_ns, clock.now_ns()), connections as u64, "slow connections");
            fleets.push((pace, fleet));
            others += connections;
        }
        Ok(fleets)
    }
}
