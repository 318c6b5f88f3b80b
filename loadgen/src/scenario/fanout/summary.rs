//! What came of a fan-out, as its report says it.
//!
//! Contract: pure; rates are of the measured time, the verification is of the whole run.

use super::{Amount, Fanout, Tempo};
use crate::curve::curve_ms;
use crate::lease;
use crate::measure::{Window, seconds_between};
use crate::publisher::Published;
use crate::report::{Latency, Report};
use crate::subscriber::Harvest;
use crate::target::Target;

impl Fanout {
    pub(super) fn report(
        &self,
        target: &Target,
        window: &Window,
        published: &Published,
        harvest: Harvest,
    ) -> Report {
        let (receiver_ran_max, receiver_wanted_max) = window.busiest_receiver();
        let ms = |ns: u64| ns as f64 / 1e6;
        Report {
            scenario: "fanout",
            url: target.to_string(),
            topic: self.topics.base.clone(),
            topics: self.topics.count as u64,
            topics_per_connection: self.topics.per_connection as u64,
            connections: self.connections as u64,
            receiver_threads: self.threads as u64,
            payload_bytes: self.payload_bytes as u64,
            intended_per_s: match self.tempo {
                Tempo::Rate(per_s) => Some(per_s),
                Tempo::Window(_) | Tempo::Feed(_) => None,
            },
            window: match self.tempo {
                Tempo::Rate(_) | Tempo::Feed(_) => None,
                Tempo::Window(messages) => Some(messages),
            },
            warmup_s: match self.amount {
                Amount::Timed { warmup_s, .. } => warmup_s,
                Amount::Messages(_) => 0.0,
            },
            measured_s: window.seconds(),
            published: published.count,
            unsent: match (&self.tempo, self.amount) {
                (Tempo::Window(_), Amount::Timed { .. }) => 0,
                _ => self.messages() - published.count,
            },
            window_stalls: published.stalls,
            published_per_s: self.rate_achieved(published),
            deliveries: harvest.account.received,
            deliveries_per_s: window.deliveries() as f64 / window.seconds(),
            mb_per_s: window.bytes() as f64 / 1e6 / window.seconds(),
            latency_us: Latency::of(&harvest.latency),
            later_us: Latency::of(&harvest.later),
            latency_curve_ms: curve_ms(&harvest.latency),
            gaps: harvest.account.gaps,
            duplicates: harvest.account.duplicates,
            reordered: harvest.account.reordered,
            missing: harvest.missing,
            receive_buffer_bytes: target
                .may_lose()
                .then(|| lease::receive_buffer_bytes().unwrap_or_default()),
            unstamped: harvest.unstamped,
            astray: harvest.astray,
            closed: harvest.endings.values().sum(),
            closed_by_code: harvest.closed_by_code(),
            first_close_reason: harvest.first_reason,
            publish_lag_ms_max: ms(published.lag.max_ns()),
            publish_lag_own_ms_max: ms(published.lag.own_max_ns()),
            publish_blocked_ms: ms(published.blocked_ns),
            publisher_replies: published.replies,
            loadgen_cores: window.own_cores(),
            stolen_cores: window.stolen_cores(),
            receiver_ran_max,
            receiver_wanted_max,
            ..Report::default()
        }
    }

    /// Of the messages that are not warm-up. Each takes one step of the grid, so the last one's step counts too.
    fn rate_achieved(&self, published: &Published) -> f64 {
        let step_s = match &self.tempo {
            Tempo::Rate(per_s) => 1.0 / per_s,
            Tempo::Window(_) | Tempo::Feed(_) => 0.0,
        };
        let sending_s = seconds_between(published.measured_from_ns, published.end_ns);
        published.measured as f64 / (sending_s + step_s)
    }
}
