//! Every figure as a bar: one picture, a panel a question, in two columns.

use crate::figure::Figure;
use crate::group::{Group, Row};
use crate::markdown::nanos;
use std::fmt::Write as _;

const COLUMN_WIDTH: usize = 640;
const LABEL_WIDTH: usize = 190;
const BAR_WIDTH: usize = 330;
const LINE: usize = 15;
const MARGIN: usize = 24;
const OURS: &str = "#0b7a53";
const OTHER: &str = "#a9b2bd";
const FASTER: &str = "#d9822b";

/// The picture, as SVG. In each row the longest bar is the slowest design.
pub(crate) fn draw(groups: &[Group<'_>]) -> String {
    let total: usize = groups.iter().map(height).sum();
    let mut columns = [String::new(), String::new()];
    let mut heights = [0, 0];
    for group in groups {
        let column = usize::from(heights[0] * 2 >= total);
        panel(group, column * COLUMN_WIDTH + MARGIN, heights[column] + 3 * MARGIN, &mut columns[column]);
        heights[column] += height(group);
    }
    let (width, height) = (2 * COLUMN_WIDTH + MARGIN, heights[0].max(heights[1]) + 3 * MARGIN);
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="{MARGIN}" y="{MARGIN}" font-size="13"><tspan fill="{OURS}" font-weight="bold">Stentor</tspan> beside other designs, <tspan fill="{FASTER}" font-weight="bold">faster</tspan> or slower. Shorter is better; in each row the longest bar is the slowest.</text>
"#
    );
    out.extend(columns);
    out.push_str("</svg>\n");
    out
}

fn height(group: &Group<'_>) -> usize {
    let bars: usize = group.rows.iter().map(|row| row.figures.iter().flatten().count()).sum();
    (bars + 2) * LINE + group.rows.len() * (LINE / 2) + MARGIN
}

fn panel(group: &Group<'_>, x: usize, mut y: usize, out: &mut String) {
    let title = group.name.replace('_', " ");
    let _ = writeln!(out, r#"<text x="{x}" y="{y}" font-size="14" font-weight="bold">{title}</text>"#);
    y += LINE / 2;
    for row in &group.rows {
        y += LINE / 2;
        let _ = writeln!(out, r#"<text x="{x}" y="{}" fill="black">{}</text>"#, y + 11, row.parameter);
        let slowest = row.figures.iter().flatten().map(|figure| figure.median_ns).fold(0.0, f64::max);
        for figure in row.figures.iter().flatten() {
            let width = (figure.median_ns / slowest * BAR_WIDTH as f64).max(1.0);
            bar(figure, colour(figure, row), width, x + LABEL_WIDTH, y, out);
            y += LINE;
        }
    }
}

fn bar(figure: &Figure, colour: &str, width: f64, x: usize, y: usize, out: &mut String) {
    let _ =
        writeln!(out, r#"<rect x="{x}" y="{y}" width="{width:.1}" height="{}" fill="{colour}"/>"#, LINE - 2);
    let text = format!("{} {}", nanos(figure.median_ns), figure.design.replace('_', " "));
    // Inside where the bar is long enough for it.
    let (at, ink) = if width > 220.0 { (x as f64 + 6.0, "white") } else { (x as f64 + width + 6.0, "black") };
    let ink = if ink == "white" && colour == OTHER { "black" } else { ink };
    let _ = writeln!(out, r#"<text x="{at:.1}" y="{}" fill="{ink}">{text}</text>"#, y + 11);
}

fn colour(figure: &Figure, row: &Row<'_>) -> &'static str {
    match row.duel() {
        _ if figure.is_ours() => OURS,
        Some((ours, _)) if figure.is_surely_below(ours) => FASTER,
        _ => OTHER,
    }
}
