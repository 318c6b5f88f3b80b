//! One chart as inline SVG.
//!
//! Contract: pure. Colours are CSS variables of the page, so that one drawing is right in the light and in the dark; legends are
//! the page's, and cannot cover a line. What an axis has no place for is left out.

use std::io;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Upright lines with a name, from left to right.
    pub(super) marks: Vec<(f64, &'static str)>,
    /// A value of `y` that is not to be passed.
    pub(super) bound: Option<f64>,
}

/// One line of it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) ink: Ink,
    pub(super) points: Vec<(f64, f64)>,
    /// Points to be seen as such: filled ones and hollow ones.
    pub(super) dots: Vec<(f64, f64, bool)>,
}

/// A line's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    pub(super) series: u8,
    /// Thin and pale, for what is secondary.
    pub(super) faint: bool,
}

/// What cannot happen while a text is written, since it never fails; plotters has one type for all that it draws on.
pub(super) type DrawError = DrawingAreaErrorKind<io::Error>;

/// Different inks there are.
pub(super) const SERIES: u8 = 4;

const SIZE: (u32, u32) = (960, 340);
const TEXT: (&str, u32) = ("sans-serif", 17);
const MARGIN_RIGHT: i32 = 24;
const NAMES_LEFT: i32 = 78;
const MARK_ROW: i32 = 17;
/// A colour that stands for a variable of the page; `hex` below must match.
const fn variable(number: u8) -> RGBColor {
    RGBColor(1, 2, number)
}
const INK: RGBColor = variable(SERIES);
const GRID: RGBColor = variable(SERIES + 1);

impl Chart {
    /// The SVG element.
    pub(super) fn svg(&self) -> Result<String, DrawError> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
        for number in 0..SERIES {
            svg = svg.replace(&hex(number), &format!("var(--series-{number})"));
        }
        svg = svg.replace(&hex(SERIES), "var(--ink)").replace(&hex(SERIES + 1), "var(--grid)");
        // An element of the page has the page's name space, and its width.
        let size = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
        Ok(svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", " role=\"img\"").replacen(&size, "", 1))
    }

    fn draw(&self, root: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), DrawError> {
        let (x, y) = (&self.x, &self.y);
        let names = self.names();
        let top = 10 + names.iter().map(|(_, row)| (row + 1) * MARK_ROW).max().unwrap_or_default();
        let mut chart = ChartBuilder::on(root)
            .margin_top(top)
            .margin_right(MARGIN_RIGHT)
            .x_label_area_size(52)
            .y_label_area_size(NAMES_LEFT)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let text = TEXT.into_font().color(&INK);
        chart
            .configure_mesh()
            .x_desc(x.name)
            .y_desc(y.name)
            .label_style(text.clone())
            .axis_desc_style(text.clone())
            .axis_style(INK)
            .bold_line_style(GRID)
            .draw()?;
        let (across, up) = (x.range(), y.range());
        if let Some(bound) = self.bound {
            let ends = [across.start, across.end].map(|at| (at, bound));
            chart.draw_series([PathElement::new(ends, INK.stroke_width(1))])?;
        }
        for (&(at, name), (left, row)) in self.marks.iter().zip(&names) {
            let ends = [up.start, up.end].map(|value| (at, value));
            chart.draw_series([PathElement::new(ends, INK.mix(0.4).stroke_width(1))])?;
            let anchored = text.clone().pos(Pos::new(HPos::Left, VPos::Top));
            root.draw(&Text::new(name, (*left, top - (row + 1) * MARK_ROW), anchored))?;
        }
        for line in &self.lines {
            let color = variable(line.ink.series).mix(if line.ink.faint { 0.5 } else { 1.0 });
            let style = ShapeStyle::from(color).stroke_width(if line.ink.faint { 1 } else { 2 });
            let points = line.points.iter().copied().filter(|(at, value)| x.has(*at) && y.has(*value));
            chart.draw_series(LineSeries::new(points, style))?;
            let dots = line.dots.iter().filter(|(at, value, _)| x.has(*at) && y.has(*value));
            chart.draw_series(dots.map(|&(at, value, filled)| {
                Circle::new((at, value), 5, ShapeStyle { color, filled, stroke_width: 2 })
            }))?;
        }
        root.present()
    }

    /// Where the marks' names begin, and in which row above the chart: the lowest in which none covers another.
    fn names(&self) -> Vec<(i32, i32)> {
        let mut rights: Vec<i32> = Vec::new();
        let place = |&(at, name): &(f64, &str)| {
            let width = name.len() as i32 * 9;
            let across = (NAMES_LEFT, SIZE.0 as i32 - MARGIN_RIGHT);
            let left = self.x.map(&at, across).min(SIZE.0 as i32 - width);
            let row = rights.iter().position(|right| *right < left).unwrap_or(rights.len());
            rights.resize(rights.len().max(row + 1), 0);
            rights[row] = left + width;
            (left, row as i32)
        };
        self.marks.iter().map(place).collect()
    }
}

fn hex(number: u8) -> String {
    format!("#0102{number:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_has_its_points_its_names_and_no_colour_of_its_own() {
        let chart = Chart {
            x: Axis::linear("seconds", [0.0, 10.0].into_iter()),
            y: Axis::log("ms", [1.0, 100.0].into_iter()),
            lines: vec![Line {
                ink: Ink { series: 1, faint: false },
                points: vec![(0.0, 1.0), (5.0, 0.0), (10.0, 100.0)],
                dots: vec![(5.0, 10.0, true)],
            }],
            marks: vec![(0.0, "connect"), (0.1, "measure"), (10.0, "drain")],
            bound: Some(10.0),
        };
        let svg = chart.svg().unwrap();
        assert!(svg.starts_with("<svg viewBox") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains('#') && !svg.contains("http"), "{svg}");
        for words in
            ["seconds", "ms", "connect", "measure", "drain", "var(--series-1)", "var(--grid)", "circle"]
        {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        let rows: Vec<_> = chart.names().into_iter().map(|(_, row)| row).collect();
        assert_eq!(rows, [0, 1, 0], "a name that would cover the one before it is above it");
        // The value that a logarithm has no place for is left out.
        let line = svg.lines().find(|line| line.contains("polyline") && line.contains("series-1")).unwrap();
        let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points.split_whitespace().count(), 2, "{line}");
    }
}
