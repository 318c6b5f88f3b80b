//! How a crowd came back, and what that did to those who were served meanwhile.
//!
//! Contract: pure. The latencies of the report itself are those before the cut.

use serde::Serialize;

use crate::crowd::Return;
use crate::limits::CROWD_PATIENCE;
use crate::report::{Latency, ratio, thousands};

/// Seconds count from the beginning of the cut.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StormFigures {
    pub(crate) clients: u64,
    /// Handshakes under way at a time.
    pub(crate) in_flight: u64,
    /// Until all were cut off,
    pub(crate) cut_s: f64,
    /// until half of them were back, nearly all, and all. Null where not so many came back.
    pub(crate) back_p50_s: Option<f64>,
    pub(crate) back_p99_s: Option<f64>,
    pub(crate) back_all_s: Option<f64>,
    /// Attempts that failed and were repeated.
    pub(crate) retries: u64,
    /// Clients that did not come back.
    pub(crate) lost: u64,
    pub(crate) last_error: Option<String>,
    /// Of the served ones, in the window of the storm.
    pub(crate) latency_us: Latency,
    /// Against that before the cut.
    pub(crate) p99_ratio: Option<f64>,
}

impl StormFigures {
    /// With the latencies before the cut and behind it.
    pub(crate) fn new(in_flight: usize, back: Return, before: Latency, during: Latency) -> Self {
        let clients = back.back_ns.len() as u64 + back.lost;
        let at = |part: f64| {
            let rank = (clients as f64 * part).ceil() as usize;
            back.back_ns.get(rank.checked_sub(1)?).map(|ns| *ns as f64 / 1e9)
        };
        let us = |percentile: Option<u64>| percentile.map(|us| us as f64);
        Self {
            clients,
            in_flight: in_flight as u64,
            cut_s: back.cut_ns as f64 / 1e9,
            back_p50_s: at(0.5),
            back_p99_s: at(0.99),
            back_all_s: at(1.0),
            retries: back.retries,
            lost: back.lost,
            p99_ratio: ratio(us(during.p99), us(before.p99)),
            latency_us: during,
            last_error: back.last_error,
        }
    }

    /// What the verification found.
    pub(crate) fn failure(&self) -> Option<String> {
        let why = self.last_error.as_deref().unwrap_or_default();
        let patience = CROWD_PATIENCE.as_secs();
        (self.lost > 0)
            .then(|| format!("{} clients were not back after {patience} s: {why}", thousands(self.lost)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_back_is_counted_and_fails() {
        let back_ns = (1..=99).map(|n| n * 10_000_000).collect();
        let back = Return { back_ns, lost: 1, last_error: Some("no".into()), ..Return::default() };
        let latency = |p99| Latency { p99: Some(p99), ..Latency::default() };
        let figures = StormFigures::new(64, back, latency(200), latency(300));
        assert_eq!(
            (figures.back_p50_s, figures.back_p99_s, figures.back_all_s),
            (Some(0.5), Some(0.99), None)
        );
        assert_eq!((figures.clients, figures.p99_ratio), (100, Some(1.5)));
        assert!(figures.failure().unwrap().ends_with("1 clients were not back after 60 s: no"));
        let all = Return { back_ns: vec![7], ..Return::default() };
        assert_eq!(StormFigures::new(64, all, latency(1), latency(1)).failure(), None);
    }
}
