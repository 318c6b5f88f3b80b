//! The knees of several servers, as lines over the numbers of subscribers.
//!
//! Contract: pure. A dot that is hollow says that the generator was the limit; a server that held nothing has none there.

use super::Figure;
use super::axis::Axis;
use super::chart::{Chart, Ink, Line, SERIES};
use crate::contest_report::{Cell, ContestReport};
use crate::knee_report::Limit;

/// The chart.
pub(super) fn figures(report: &ContestReport) -> Vec<Figure> {
    let mut servers: Vec<&str> = Vec::new();
    for cell in report.cells.iter().filter(|cell| cell.knee.held_per_s.is_some()) {
        if !servers.contains(&cell.server) {
            servers.push(cell.server);
        }
    }
    let (mut lines, mut legend) = (Vec::new(), Vec::new());
    for (series, server) in (0..SERIES).zip(servers) {
        let ink = Ink { series, faint: false };
        let dots = report.cells.iter().filter(|cell| cell.server == server).filter_map(dot);
        let dots: Vec<_> = dots.collect();
        lines.push(Line { ink, points: dots.iter().map(|&(at, rate, _)| (at, rate)).collect(), dots });
        legend.push((ink, server.to_owned()));
    }
    let dots = || lines.iter().flat_map(|line: &Line| &line.dots);
    let x = Axis::log("subscribers", report.cells.iter().map(|cell| cell.knee.connections as f64));
    let y = Axis::log("messages a second", dots().map(|(_, rate, _)| *rate));
    vec![Figure {
        title: "The highest rate held (hollow: the generator was the limit)",
        legend,
        chart: Chart { x, y, lines, marks: Vec::new(), bound: None },
    }]
}

fn dot(cell: &Cell) -> Option<(f64, f64, bool)> {
    let by_server = cell.knee.limited_by != Some(Limit::Generator);
    Some((cell.knee.connections as f64, cell.knee.held_per_s?, by_server))
}
