//! A run over time: deliveries a second and memory, with the moments at which its phases began.
//!
//! Contract: pure. However long a run is, [`Samples`] keeps [`TIMELINE_POINTS_MAX`] points at most: when they are full, two
//! neighbours become one. A point stands for everything since the one before it, so that no delivery and no peak of memory is lost.

use serde::Serialize;

use crate::limits::TIMELINE_POINTS_MAX;

/// Everything that is sampled, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// On the run's clock.
    pub(crate) at_ns: u64,
    /// Since the beginning.
    pub(crate) deliveries: u64,
    pub(crate) server_resident_bytes: Option<u64>,
    pub(crate) own_resident_bytes: Option<u64>,
}

/// What is collected while a run goes on.
#[derive(Debug)]
pub(crate) struct Samples {
    from_ns: u64,
    phases: Vec<Phase>,
    points: Vec<Sample>,
    /// Samples that make up one point,
    per_point: u32,
    /// and that the last one has.
    in_last: u32,
}

/// The result, a list for each figure; the lists have one length.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Timeline {
    pub(crate) phases: Vec<Phase>,
    /// Seconds since the first phase began, at the end of what the point stands for.
    pub(crate) at_s: Vec<f64>,
    pub(crate) deliveries_per_s: Vec<f64>,
    /// Null without a process to watch.
    pub(crate) server_resident_bytes: Vec<Option<u64>>,
    pub(crate) own_resident_bytes: Vec<Option<u64>>,
}

/// When a phase began.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) from_s: f64,
}

impl Samples {
    /// From this moment on, at which nothing has been delivered.
    pub(crate) fn new(from_ns: u64) -> Self {
        Self { from_ns, phases: Vec::new(), points: Vec::new(), per_point: 1, in_last: 0 }
    }

    /// A phase begins.
    pub(crate) fn phase(&mut self, name: &'static str, at_ns: u64) {
        self.phases.push(Phase { name, from_s: self.seconds(at_ns) });
    }

    /// Takes the next sample, at a later moment than all before.
    pub(crate) fn push(&mut self, sample: Sample) {
        match self.points.last_mut() {
            Some(last) if self.in_last < self.per_point => {
                *last = merged(*last, sample);
                self.in_last += 1;
            }
            _ => {
                if self.points.len() == TIMELINE_POINTS_MAX {
                    self.points = self.points.chunks(2).map(|pair| merged(pair[0], pair[1])).collect();
                    self.per_point *= 2;
                }
                self.points.push(sample);
                self.in_last = 1;
            }
        }
    }

    /// What was collected.
    pub(crate) fn finish(self) -> Timeline {
        let mut timeline = Timeline { phases: self.phases.clone(), ..Timeline::default() };
        let mut before = Sample { at_ns: self.from_ns, ..Sample::default() };
        for point in &self.points {
            let seconds = point.at_ns.saturating_sub(before.at_ns).max(1) as f64 / 1e9;
            let deliveries = point.deliveries.saturating_sub(before.deliveries);
            timeline.at_s.push(self.seconds(point.at_ns));
            timeline.deliveries_per_s.push((deliveries as f64 / seconds * 10.0).round() / 10.0);
            timeline.server_resident_bytes.push(point.server_resident_bytes);
            timeline.own_resident_bytes.push(point.own_resident_bytes);
            before = *point;
        }
        timeline
    }

    /// Milliseconds are exact enough.
    fn seconds(&self, at_ns: u64) -> f64 {
        (at_ns.saturating_sub(self.from_ns) / 1_000_000) as f64 / 1e3
    }
}

fn merged(earlier: Sample, later: Sample) -> Sample {
    Sample {
        server_resident_bytes: earlier.server_resident_bytes.max(later.server_resident_bytes),
        own_resident_bytes: earlier.own_resident_bytes.max(later.own_resident_bytes),
        ..later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, resident_bytes: u64) -> Sample {
        Sample {
            at_ns: 5_000_000_000 + number * 250_000_000,
            deliveries: number * 100,
            server_resident_bytes: Some(resident_bytes),
            own_resident_bytes: None,
        }
    }

    #[test]
    fn rates_are_what_happened_since_the_point_before() {
        let mut samples = Samples::new(5_000_000_000);
        samples.phase("connect", 5_000_000_000);
        samples.push(sample(1, 10));
        samples.phase("measure", 5_251_900_000);
        samples.push(sample(3, 20));
        let timeline = samples.finish();
        assert_eq!(timeline.at_s, [0.25, 0.75]);
        assert_eq!(timeline.deliveries_per_s, [400.0, 400.0]);
        assert_eq!(timeline.server_resident_bytes, [Some(10), Some(20)]);
        assert_eq!(timeline.own_resident_bytes, [None, None]);
        let phases: Vec<_> = timeline.phases.iter().map(|phase| (phase.name, phase.from_s)).collect();
        assert_eq!(phases, [("connect", 0.0), ("measure", 0.251)]);
    }

    #[test]
    fn an_endless_run_keeps_a_bounded_number_of_points_and_loses_nothing() {
        let count = 100 * TIMELINE_POINTS_MAX as u64 + 77;
        let mut samples = Samples::new(5_000_000_000);
        (1..=count).for_each(|number| samples.push(sample(number, if number == 1_000 { 999 } else { 7 })));
        let timeline = samples.finish();
        let points = timeline.at_s.len();
        assert!((TIMELINE_POINTS_MAX / 2..=TIMELINE_POINTS_MAX).contains(&points), "{points} points");
        assert_eq!(*timeline.at_s.last().unwrap(), count as f64 / 4.0);
        assert!(timeline.deliveries_per_s.iter().all(|rate| *rate == 400.0));
        assert_eq!(timeline.server_resident_bytes.iter().filter(|bytes| **bytes == Some(999)).count(), 1);
    }
}
