//! The figures of a search for the knee.
//!
//! Contract: pure. A rate that was tried twice has two dots; the lines go through what held.

use super::axis::Axis;
use super::chart::{Chart, Ink, Line};
use super::{Figure, Table, percentiles};
use crate::knee_report::{KneeReport, Step};

/// A row for each step.
pub(super) fn table(report: &KneeReport) -> Table {
    Table {
        head: KneeReport::COLUMNS.map(str::to_owned).to_vec(),
        rows: report.rows().map(|row| row.to_vec()).collect(),
    }
}

/// The charts.
pub(super) fn figures(report: &KneeReport) -> Vec<Figure> {
    let (p99, p50) = (Ink { series: 0, faint: false }, Ink { series: 0, faint: true });
    let lines = vec![
        line(report, p50, |step| Some(step.latency_us.p50? as f64 / 1e3)),
        line(report, p99, |step| Some(step.latency_us.p99? as f64 / 1e3)),
    ];
    let y = Axis::log("milliseconds", values(&lines).chain([report.bound_ms]));
    let latency = Figure {
        title: "Latency by rate (filled: held; hollow: not; the line across: the bound)",
        legend: vec![(p99, "p99".to_owned()), (p50, "p50".to_owned())],
        chart: Chart { x: rates(report), y, lines, marks: Vec::new(), bound: Some(report.bound_ms) },
    };
    let lines = vec![line(report, p99, |step| step.cpu_us_per_delivery)];
    let y = Axis::linear("microseconds of CPU", values(&lines));
    let cost = Figure {
        title: "The server's processor time for each delivery",
        legend: Vec::new(),
        chart: Chart { x: rates(report), y, lines, marks: Vec::new(), bound: None },
    };
    vec![latency, curves(report), cost]
}

/// The latency on both sides of the knee.
fn curves(report: &KneeReport) -> Figure {
    let at = |rate: Option<f64>| report.steps.iter().rfind(|step| Some(step.intended_per_s) == rate);
    let sides = [("held", at(report.held_per_s)), ("not held", at(report.failed_per_s))];
    let sides = (0..).zip(sides).filter_map(|(series, (name, step))| {
        let (step, ink) = (step?, Ink { series, faint: false });
        let name = format!("{name}, {:.1} messages/s", step.intended_per_s);
        Some((ink, name, step.latency_curve_ms.as_slice()))
    });
    percentiles("Latency from the intended time of sending, on both sides of the knee", sides.collect())
}

fn rates(report: &KneeReport) -> Axis {
    Axis::log("messages a second", report.steps.iter().map(|step| step.intended_per_s))
}

fn line(report: &KneeReport, ink: Ink, figure: impl Fn(&Step) -> Option<f64>) -> Line {
    let known = report.steps.iter().filter_map(|step| Some((step.intended_per_s, figure(step)?, step.held)));
    let dots: Vec<_> = known.collect();
    let held = dots.iter().filter(|(.., held)| *held).map(|&(rate, value, _)| (rate, value));
    let mut points: Vec<_> = held.collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Line { ink, points, dots }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    let dots = lines.iter().flat_map(|line| line.dots.iter().map(|(_, value, _)| *value));
    lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value)).chain(dots)
}
