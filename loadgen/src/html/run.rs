//! The figures of one run, beside those it is compared with.
//!
//! Contract: pure. Time begins with the measurement, so that what runs did at the same point of their plan stands together.

use super::axis::Axis;
use super::chart::{Chart, Ink, Line};
use super::{Figure, Legend, Table, percentiles};
use crate::report::Report;
use crate::table;
use crate::timeline::Timeline;

const MIB: f64 = 1024.0 * 1024.0;

/// A row for each figure, a column for each run.
pub(super) fn table(report: &Report) -> Table {
    let runs = runs(report);
    let columns: Vec<_> = runs.iter().map(|(_, run)| table::rows(run)).collect();
    let longest = columns.iter().max_by_key(|rows| rows.len()).into_iter().flatten();
    let cell = |rows: &[(String, String)], name: &str| {
        rows.iter().find(|(other, _)| other == name).map_or(String::new(), |(_, value)| value.clone())
    };
    Table {
        head: [""].into_iter().chain(runs.iter().map(|(name, _)| *name)).map(str::to_owned).collect(),
        rows: longest
            .map(|(name, _)| {
                [name.clone()].into_iter().chain(columns.iter().map(|rows| cell(rows, name))).collect()
            })
            .collect(),
    }
}

/// The charts.
pub(super) fn figures(report: &Report) -> Vec<Figure> {
    let runs: Vec<_> = (0..)
        .zip(runs(report))
        .map(|(series, (name, run))| (Ink { series, faint: false }, name, run))
        .collect();
    let over_time: Vec<_> = runs.iter().map(|(ink, name, run)| (*ink, *name, &run.timeline)).collect();
    vec![latency(&runs), deliveries(&over_time), memory(&over_time)]
}

/// Of a run that delivers nothing worth a chart.
pub(super) fn memory_only(timeline: &Timeline) -> Vec<Figure> {
    vec![memory(&[(Ink { series: 0, faint: false }, "server", timeline)])]
}

/// The result itself first.
fn runs(report: &Report) -> Vec<(&'static str, &Report)> {
    table::runs(report).into_iter().rev().collect()
}

/// By colour and name.
type Runs<'a> = [(Ink, &'static str, &'a Timeline)];

fn latency(runs: &[(Ink, &'static str, &Report)]) -> Figure {
    let curves =
        runs.iter().map(|(ink, name, run)| (*ink, (*name).to_owned(), run.latency_curve_ms.as_slice()));
    percentiles("Latency from the intended time of sending", curves.collect())
}

fn deliveries(runs: &Runs<'_>) -> Figure {
    let lines: Vec<_> = runs
        .iter()
        .map(|(ink, _, timeline)| Line {
            ink: *ink,
            points: steps(timeline, |index| Some(timeline.deliveries_per_s[index])),
            dots: Vec::new(),
        })
        .collect();
    let y = Axis::linear("deliveries a second", values(&lines));
    Figure { title: "Deliveries", legend: legend(runs), chart: over_time(runs, y, lines) }
}

fn memory(runs: &Runs<'_>) -> Figure {
    let (mut lines, mut names) = (Vec::new(), Vec::new());
    for &(ink, name, timeline) in runs {
        let own = if runs.len() == 1 { "generator".to_owned() } else { format!("generator ({name})") };
        let pale = Ink { faint: true, ..ink };
        for (ink, bytes, name) in [
            (ink, &timeline.server_resident_bytes, name.to_owned()),
            (pale, &timeline.own_resident_bytes, own),
        ] {
            let points = steps(timeline, |index| Some(bytes[index]? as f64 / MIB));
            if !points.is_empty() {
                lines.push(Line { ink, points, dots: Vec::new() });
                names.push((ink, name));
            }
        }
    }
    let y = Axis::linear("resident memory, MiB", values(&lines));
    Figure { title: "Memory", legend: names, chart: over_time(runs, y, lines) }
}

fn over_time(runs: &Runs<'_>, y: Axis, lines: Vec<Line>) -> Chart {
    let moments = lines.iter().flat_map(|line| line.points.iter().map(|(at_s, _)| *at_s));
    // The phases of the result itself: those of the others differ by little.
    let timeline = runs[0].2;
    let since = match timeline.phases.iter().any(|phase| phase.name == "measure") {
        true => "seconds since the measurement began",
        false => "seconds since the first connection",
    };
    let x = Axis::tight(since, moments);
    let marks = timeline.phases.iter().map(|phase| (phase.from_s - zero_s(timeline), phase.name)).collect();
    Chart { x, y, lines, marks, bound: None }
}

/// A figure holds for all the time that its point stands for.
fn steps(timeline: &Timeline, figure: impl Fn(usize) -> Option<f64>) -> Vec<(f64, f64)> {
    let zero_s = zero_s(timeline);
    let from_s = [0.0].iter().chain(&timeline.at_s);
    let spans = from_s.zip(&timeline.at_s).enumerate();
    let known = spans.filter_map(|(index, (from_s, to_s))| Some((figure(index)?, from_s, to_s)));
    known.flat_map(|(value, from_s, to_s)| [(from_s - zero_s, value), (to_s - zero_s, value)]).collect()
}

fn zero_s(timeline: &Timeline) -> f64 {
    timeline.phases.iter().find(|phase| phase.name == "measure").map_or(0.0, |phase| phase.from_s)
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value))
}

fn legend(runs: &Runs<'_>) -> Legend {
    runs.iter().map(|(ink, name, _)| (*ink, (*name).to_owned())).collect()
}
