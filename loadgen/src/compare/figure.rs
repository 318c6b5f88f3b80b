//! The figures that two results are compared by.
//!
//! Contract: pure. A figure that a result does not have is absent; which direction is better is fixed here.

use serde::Serialize;
use serde_json::Value;

/// One figure of a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// Where it stands, as a JSON pointer.
    place: &'static str,
    /// True exactly when more of it is better.
    more_is_better: bool,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Better,
    Worse,
    WithinNoise,
}

/// All of them, as they are shown.
pub(super) const FIGURES: [Figure; 14] = [
    low("CPU per delivery", "us", "/server/cpu_us_per_delivery"),
    low("CPU per connect", "us", "/server/cpu_us_per_connect"),
    high("deliveries/s", "", "/deliveries_per_s"),
    high("highest rate held", "messages/s", "/held_per_s"),
    low("latency p50", "us", "/latency_us/p50"),
    low("latency p99", "us", "/latency_us/p99"),
    low("latency p99.9", "us", "/latency_us/p999"),
    low("memory with idle connections", "bytes", "/server/resident_bytes_idle"),
    low("memory at the end", "bytes", "/server/resident_bytes_end"),
    low("memory per idle connection", "bytes", "/server/bytes_per_idle_connection"),
    low("CPU per delivery, by the floor's", "", "/against_floor/cpu_per_delivery_ratio"),
    low("p50, by the floor's", "", "/against_floor/p50_ratio"),
    low("p99, by the floor's", "", "/against_floor/p99_ratio"),
    low("p99, by that without slow ones", "", "/slow/p99_ratio"),
];

const fn low(name: &'static str, unit: &'static str, place: &'static str) -> Figure {
    Figure { name, unit, place, more_is_better: false }
}

const fn high(name: &'static str, unit: &'static str, place: &'static str) -> Figure {
    Figure { name, unit, place, more_is_better: true }
}

impl Figure {
    /// In a result.
    pub(super) fn of(&self, result: &Value) -> Option<f64> {
        result.pointer(self.place)?.as_f64()
    }

    /// Of a ratio above 0. Doubled is as far away as halved: `factor` bounds the noise in both directions.
    pub(super) fn judge(&self, ratio: f64, factor: f64) -> Verdict {
        let dearer = if self.more_is_better { 1.0 / ratio } else { ratio };
        match dearer {
            _ if dearer > factor => Verdict::Worse,
            _ if dearer * factor < 1.0 => Verdict::Better,
            _ => Verdict::WithinNoise,
        }
    }
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::WithinNoise => "within noise",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::clean;
    use crate::report::{Latency, Report, ServerCost};

    #[test]
    fn noise_has_the_same_width_on_both_sides_and_a_direction() {
        let (less, more) = (low("", "", ""), high("", "", ""));
        for (ratio, of_less, of_more) in [
            (1.0, Verdict::WithinNoise, Verdict::WithinNoise),
            (1.25, Verdict::WithinNoise, Verdict::WithinNoise),
            (1.26, Verdict::Worse, Verdict::Better),
            (0.8, Verdict::WithinNoise, Verdict::WithinNoise),
            (0.79, Verdict::Better, Verdict::Worse),
        ] {
            assert_eq!((less.judge(ratio, 1.25), more.judge(ratio, 1.25)), (of_less, of_more), "{ratio}");
        }
    }

    /// A figure that is renamed in the report must be renamed here.
    #[test]
    fn the_places_are_those_of_a_report() {
        let server = ServerCost {
            pid: 1,
            cpu_us_per_delivery: Some(1.0),
            cores: Some(1.0),
            cpu_us_per_connect: Some(1.0),
            resident_bytes_before: Some(1),
            resident_bytes_idle: Some(1),
            resident_bytes_end: Some(1),
            resident_bytes_peak: Some(1),
            bytes_per_idle_connection: Some(1.0),
        };
        let latency_us = Latency { p50: Some(1), p90: Some(1), p99: Some(1), p999: Some(1), max: Some(1) };
        let report = serde_json::to_value(Report { server: Some(server), latency_us, ..clean() }).unwrap();
        let elsewhere = ["/held_per_s", "/against_floor/", "/slow/"];
        for figure in
            FIGURES.iter().filter(|figure| !elsewhere.iter().any(|place| figure.place.starts_with(place)))
        {
            assert!(figure.of(&report).is_some(), "{figure:?}");
        }
    }
}
