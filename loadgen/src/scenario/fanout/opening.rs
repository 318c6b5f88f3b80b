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
        if let Some(pid) = pid {
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

    /// Opens the slow subscribers, where there are any.
    pub(super) async fn connect_slow(
        &self,
        healthy: Muster,
        subject: Subject<'_>,
    ) -> Result<Option<Fleet>, RunError> {
        let Subject { clock, progress, .. } = subject;
        let count = self.slow.count();
        if count == 0 {
            return Ok(None);
        }
        let from_ns = clock.now_ns();
        let phase = progress.phase("connect", count as u64);
        let muster = Muster {
            connections: count,
            threads: 1,
            // Their latencies are their own doing.
            marks: Arc::default(),
            pace: Pace::Slow { stalled: self.slow.stalled },
            others: self.others + self.connections,
            ..healthy
        };
        let fleet = Fleet::open(&muster, clock, &phase).await?;
        phase.done(seconds_between(from_ns, clock.now_ns()), count as u64, "slow connections");
        Ok(Some(fleet))
    }
}
