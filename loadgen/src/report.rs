//! The result of a run: every figure with its unit in its name, as JSON, and the two judgements over it.
//!
//! Contract: the names and the shape are stable; what could not be measured is null. `verified` says whether the server kept its
//! word, `valid` whether the generator was fast enough for the figures to mean anything.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::against_floor::AgainstFloor;
use crate::churn_figures::ChurnFigures;
use crate::counters::ServerCounts;
use crate::kernel::KernelMemory;
use crate::limits::{OWN_LAG_MAX_NS, RECEIVER_BUSY_MAX, STOLEN_CORES_MAX};
use crate::slow_figures::SlowFigures;
use crate::soak_figures::SoakFigures;
use crate::storm_figures::StormFigures;
use crate::timeline::Timeline;

/// One run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// True exactly when the generator was not the bottleneck.
    pub(crate) valid: bool,
    pub(crate) invalid_reason: Option<String>,
    /// True exactly when every subscriber got every message once and in order, and stayed connected.
    pub(crate) verified: bool,
    pub(crate) url: String,
    pub(crate) topic: String,
    /// More than one begin with `topic`.
    pub(crate) topics: u64,
    pub(crate) topics_per_connection: u64,
    pub(crate) connections: u64,
    pub(crate) receiver_threads: u64,
    pub(crate) payload_bytes: u64,
    /// Null where a window sets the rate.
    pub(crate) intended_per_s: Option<f64>,
    /// Messages under way at a time. Null on a grid.
    pub(crate) window: Option<u64>,
    pub(crate) connect_s: f64,
    pub(crate) warmup_s: f64,
    /// The time that all rates refer to. With an exact count of messages it ends with the last delivery.
    pub(crate) measured_s: f64,
    /// In the whole run, warm-up included; so are `deliveries` and all counts of the verification.
    pub(crate) published: u64,
    /// On the grid but never sent.
    pub(crate) unsent: u64,
    /// How often the window gave up waiting for deliveries.
    pub(crate) window_stalls: u64,
    /// As the publisher sent them, warm-up excluded.
    pub(crate) published_per_s: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
    /// Megabytes (10^6) from the subscribers' sockets, frame headers included.
    pub(crate) mb_per_s: f64,
    pub(crate) latency_us: Latency,
    /// Behind the split of a scenario that has one, which tells of it in its own figures.
    #[serde(skip)]
    pub(crate) later_us: Latency,
    /// Pairs of percentile and milliseconds, up to the maximum at 100.
    pub(crate) latency_curve_ms: Vec<(f64, f64)>,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) missing: u64,
    /// Present exactly where messages come by datagram, and may be lost: what is missing fails nothing then.
    pub(crate) receive_buffer_bytes: Option<u64>,
    /// Data messages without a stamp.
    pub(crate) unstamped: u64,
    /// Messages of a topic that the subscriber had not asked for.
    pub(crate) astray: u64,
    pub(crate) closed: u64,
    /// `1005` for a close without code, `1006` for an end without a close frame, `violation` for broken framing.
    pub(crate) closed_by_code: BTreeMap<String, u64>,
    pub(crate) first_close_reason: Option<String>,
    /// The worst, whoever caused it.
    pub(crate) publish_lag_ms_max: f64,
    /// The worst that no full socket explains.
    pub(crate) publish_lag_own_ms_max: f64,
    /// How long the publisher's socket was full.
    pub(crate) publish_blocked_ms: f64,
    /// Messages the server sent to the publisher.
    pub(crate) publisher_replies: u64,
    pub(crate) loadgen_cores: Option<f64>,
    /// Cores that were wanted here and that a hypervisor gave to others: what they do to latencies is not the server's.
    pub(crate) stolen_cores: Option<f64>,
    /// The busiest receiver thread: the part of the measured time it ran,
    pub(crate) receiver_ran_max: Option<f64>,
    /// and the part it ran or waited for a core.
    pub(crate) receiver_wanted_max: Option<f64>,
    /// From the first connection on, warm-up and drain included; deliveries to slow ones are not in it.
    pub(crate) timeline: Timeline,
    /// Absent without a process to watch.
    pub(crate) server: Option<ServerCost>,
    /// Absent without an operator port.
    pub(crate) server_counts: Option<ServerCounts>,
    pub(crate) kernel: KernelMemory,
    /// Absent unless asked for.
    pub(crate) against_floor: Option<AgainstFloor>,
    /// Absent without slow subscribers. All other figures are of the healthy ones.
    pub(crate) slow: Option<SlowFigures>,
    /// Absent but in a storm. The other latencies are those before it.
    pub(crate) storm: Option<StormFigures>,
    /// Absent without churning connections. All other figures but the server's are of the steady ones.
    pub(crate) churn: Option<ChurnFigures>,
    /// Absent but in a soak.
    pub(crate) soak: Option<SoakFigures>,
}

/// From the intended time of sending to the read that brought the message, warm-up excluded. Null without any.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ServerCost {
    pub(crate) pid: u32,
    /// Of the measured time.
    pub(crate) cpu_us_per_delivery: Option<f64>,
    pub(crate) cores: Option<f64>,
    pub(crate) cpu_us_per_connect: Option<f64>,
    pub(crate) resident_bytes_before: Option<u64>,
    pub(crate) resident_bytes_idle: Option<u64>,
    pub(crate) resident_bytes_end: Option<u64>,
    pub(crate) resident_bytes_peak: Option<u64>,
    pub(crate) bytes_per_idle_connection: Option<f64>,
}

impl Latency {
    /// The percentiles of a histogram of microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

impl Report {
    /// Sets both judgements from the figures.
    pub(crate) fn judge(mut self) -> Self {
        self.verified = self.failure().is_none();
        self.invalid_reason = self.bottleneck();
        self.valid = self.invalid_reason.is_none();
        self
    }

    /// What the verification found, and what to look at next; none when all is well.
    pub(crate) fn failure(&self) -> Option<String> {
        let counts = || {
            let mismatch = self.server_counts.as_ref()?.mismatch.as_ref()?;
            Some(format!("the server's counters do not agree: {mismatch}; does anybody else use it?"))
        };
        let churn = || self.churn.as_ref()?.failure();
        let soak = || self.soak.as_ref()?.grown.clone();
        let storm = || self.storm.as_ref()?.failure();
        self.own_failure()
            .or_else(|| self.slow.as_ref()?.failure())
            .or_else(storm)
            .or_else(churn)
            .or_else(soak)
            .or_else(counts)
    }

    fn own_failure(&self) -> Option<String> {
        // A network may lose datagrams, but not all of them.
        let may_lose = self.receive_buffer_bytes.is_some() && self.deliveries > 0;
        let lost = |count: u64| if may_lose { 0 } else { count };
        let found: Vec<String> = [
            (lost(self.missing), "missing"),
            (lost(self.gaps), "skipped"),
            (self.duplicates, "duplicated"),
            (self.reordered, "reordered"),
            (self.astray, "of topics not subscribed"),
            (self.closed, "connections closed"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(count)))
        .collect();
        if found.is_empty() && self.published > 0 {
            return None;
        }
        let (found, next) = if self.published == 0 {
            ("nothing was published".to_owned(), "use a longer --secs or a higher --rate")
        } else if self.closed > 0 {
            (
                found.join(", "),
                "see closed_by_code and first_close_reason; a lower --rate shows whether it is load",
            )
        } else if self.deliveries == 0 {
            (
                found.join(", "),
                "does the server deliver /publish/<topic> to /ws/<topic>, and may this peer publish?",
            )
        } else {
            (
                found.join(", "),
                "compare with the server's own counters of drops; a lower --rate shows whether it is load",
            )
        };
        Some(format!("verification failed: {found} (of {} published); {next}", thousands(self.published)))
    }

    /// What was lost on the way, where that may be.
    pub(crate) fn loss(&self) -> Option<String> {
        let buffer_bytes = self.receive_buffer_bytes?;
        let whole = self.deliveries + self.missing;
        let percent = self.missing as f64 * 100.0 / whole.max(1) as f64;
        Some(format!(
            "{} ({percent:.3} %; datagrams may be lost: {} bytes lie unread at most)",
            thousands(self.missing),
            thousands(buffer_bytes)
        ))
    }

    /// Why the figures are not to be used, where they are not.
    fn bottleneck(&self) -> Option<String> {
        let compared = || {
            let floor = self.against_floor.as_ref().and_then(AgainstFloor::unusable);
            floor.or_else(|| self.slow.as_ref()?.unusable())
        };
        self.own_bottleneck().or_else(compared)
    }

    fn own_bottleneck(&self) -> Option<String> {
        self.late_publisher().or_else(|| busy_receiver(self.receiver_ran_max, self.receiver_wanted_max))
    }

    /// Why what was published is not what was to be published, where it is not.
    fn late_publisher(&self) -> Option<String> {
        let own_ms_max = OWN_LAG_MAX_NS as f64 / 1e6;
        if self.publish_lag_own_ms_max > own_ms_max {
            return Some(format!(
                "the publisher left its grid by {:.1} ms without a full socket: lower --rate, or give it a core of its own",
                self.publish_lag_own_ms_max
            ));
        }
        if self.unsent > 0 {
            return Some(format!("{} messages were never sent: lower --rate", thousands(self.unsent)));
        }
        None
    }
}

/// Why the busiest receiver thread was too slow, where it was; the parts of the time it ran, and ran or waited for a core.
pub(crate) fn busy_receiver(ran: Option<f64>, wanted: Option<f64>) -> Option<String> {
    let percent = |part: f64| format!("{:.1}", part * 100.0);
    match (ran, wanted) {
        (Some(ran), _) if ran > RECEIVER_BUSY_MAX => Some(format!(
            "a receiver thread used {} % of a core: use more --threads or fewer --conns",
            percent(ran)
        )),
        (_, Some(wanted)) if wanted > RECEIVER_BUSY_MAX => Some(format!(
            "a receiver thread ran or waited for a core {} % of the time: give it a core of its own",
            percent(wanted)
        )),
        _ => None,
    }
}

/// What other guests of the machine took, where that is more than a tail of latencies bears.
pub(crate) fn stolen(cores: Option<f64>) -> Option<String> {
    let cores = cores.filter(|cores| *cores > STOLEN_CORES_MAX)?;
    Some(format!("other guests of the machine took {cores:.2} cores meanwhile: measure when it is quiet"))
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many times `base` it is, where both are known.
pub(crate) fn ratio(figure: Option<f64>, base: Option<f64>) -> Option<f64> {
    let base = base.filter(|base| *base > 0.0)?;
    figure.map(|figure| figure / base)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run in which all went well, before it is judged.
    pub(crate) fn clean() -> Report {
        Report {
            scenario: "fanout",
            url: "ws://127.0.0.1:1".into(),
            topic: "t".into(),
            topics: 1,
            topics_per_connection: 1,
            connections: 2,
            receiver_threads: 1,
            payload_bytes: 64,
            intended_per_s: Some(10.0),
            connect_s: 0.1,
            measured_s: 1.0,
            published: 10,
            published_per_s: 10.0,
            deliveries: 20,
            deliveries_per_s: 20.0,
            mb_per_s: 0.1,
            publish_lag_ms_max: 900.0,
            publish_lag_own_ms_max: 1.0,
            publish_blocked_ms: 800.0,
            receiver_ran_max: Some(0.5),
            receiver_wanted_max: Some(0.6),
            ..Report::default()
        }
    }

    #[test]
    fn a_clean_run_is_verified_and_valid_even_when_the_server_pushed_back() {
        let report = clean().judge();
        assert!(report.verified && report.valid, "{report:?}");
    }

    #[test]
    fn each_kind_of_loss_fails_the_verification() {
        for spoil in [
            |report: &mut Report| report.missing = 1,
            |report: &mut Report| report.gaps = 1,
            |report: &mut Report| report.duplicates = 1,
            |report: &mut Report| report.reordered = 1,
            |report: &mut Report| report.astray = 1,
            |report: &mut Report| report.closed = 1,
            |report: &mut Report| report.published = 0,
        ] {
            let mut report = clean();
            spoil(&mut report);
            let report = report.judge();
            assert!(!report.verified && report.valid, "{report:?}");
        }
    }

    #[test]
    fn datagrams_may_be_lost_but_not_all_of_them_and_nothing_else_may_happen_to_them() {
        let lossy = Report { missing: 5, gaps: 2, receive_buffer_bytes: Some(425_984), ..clean() };
        let report = lossy.clone().judge();
        assert!(report.verified, "{report:?}");
        assert_eq!(
            report.loss().unwrap(),
            "5 (20.000 %; datagrams may be lost: 425,984 bytes lie unread at most)"
        );
        assert!(!Report { duplicates: 1, ..lossy.clone() }.judge().verified);
        assert!(!Report { deliveries: 0, ..lossy }.judge().verified);
        assert_eq!(clean().loss(), None);
    }

    #[test]
    fn a_generator_that_was_the_bottleneck_says_so() {
        for (spoil, word) in [
            ((|report: &mut Report| report.publish_lag_own_ms_max = 10.5) as fn(&mut Report), "grid"),
            (|report: &mut Report| report.receiver_ran_max = Some(0.96), "used 96.0 %"),
            (|report: &mut Report| report.receiver_wanted_max = Some(0.97), "waited"),
            (|report: &mut Report| report.unsent = 3, "never sent"),
        ] {
            let mut report = clean();
            spoil(&mut report);
            let report = report.judge();
            assert!(report.verified && !report.valid);
            assert!(report.invalid_reason.unwrap().contains(word));
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(thousands), ["0", "999", "1,000", "12,345,678"]);
    }
}
