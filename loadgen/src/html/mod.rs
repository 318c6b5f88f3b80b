//! A result as one page that needs nothing beside itself: no network, no script.
//!
//! Contract: pure. Whatever came from outside (URLs, reasons of closes) is text on the page, never markup.

mod axis;
mod chart;
mod contest;
mod knee;
mod run;

use crate::drive::Outcome;
use crate::header::Header;
use crate::pin::Pin;
use crate::report::thousands;
use axis::Axis;
use chart::{Chart, DrawError, Ink, Line};

const PAGE: &str = include_str!("page.html");

/// The page.
pub(crate) fn page(header: &Header, outcome: &Outcome) -> Result<String, DrawError> {
    let (title, table, figures, good) = match outcome {
        Outcome::Run(report) => {
            let (connections, bytes) = (thousands(report.connections), thousands(report.payload_bytes));
            let rate = match (report.intended_per_s, report.window) {
                (Some(per_s), _) => format!("{per_s} messages/s"),
                (None, Some(window)) => format!("{window} messages under way"),
                (None, None) => format!("{} messages", thousands(report.published)),
            };
            (
                format!("{}: {connections} subscribers, {rate} of {bytes} bytes", report.scenario),
                run::table(report),
                run::figures(report),
                "Verified and valid: every subscriber got every message, and the generator was fast enough."
                    .to_owned(),
            )
        }
        Outcome::Contest(report) => {
            let (head, rows) = report.rows();
            let good = "The highest rate held, in messages a second.".to_owned();
            ("knee: several servers".to_owned(), Table { head, rows }, contest::figures(report), good)
        }
        Outcome::Connections(report) => {
            let rows = report.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
            let title = format!("connections: {} of {}", thousands(report.connections.opened), report.url);
            let good = "Verified: the message reached everybody once.".to_owned();
            let table = Table { head: vec![String::new(), report.url.clone()], rows };
            (title, table, run::memory_only(&report.timeline), good)
        }
        Outcome::Knee(report) => (
            format!("knee: {} with {}", report.knee(), report.what()),
            knee::table(report),
            knee::figures(report),
            report.failed_reason.as_ref().map_or("Every rate that was tried held.".to_owned(), |reason| {
                format!("Beyond it: {reason}.")
            }),
        ),
    };
    let verdict = match (outcome.failure(), outcome.invalid_reason()) {
        (Some(line), _) => paragraph("bad", &line),
        (None, Some(reason)) => paragraph("bad", &format!("not a valid measurement: {reason}")),
        (None, None) => paragraph("good", &good),
    };
    let figures = figures.iter().map(Figure::html).collect::<Result<Vec<_>, _>>()?;
    // Nothing that is filled in holds a brace, so that none of it is taken for a place to fill.
    Ok(PAGE
        .replace("{{title}}", &escape(&title))
        .replace("{{made}}", &escape(&made(header)))
        .replace("{{verdict}}", &verdict)
        .replace("{{table}}", &table.html())
        .replace("{{figures}}", &figures.concat())
        .replace(
            "{{parameters}}",
            &escape(&serde_json::to_string_pretty(header.parameters).unwrap_or_default()),
        ))
}

/// What a line of a chart is called, by its colour.
type Legend = Vec<(Ink, String)>;

struct Figure {
    title: &'static str,
    legend: Legend,
    chart: Chart,
}

/// One line's colour and name, and a curve of a report.
type Curve<'a> = (Ink, String, &'a [(f64, f64)]);

/// Latency by percentile.
fn percentiles(title: &'static str, curves: Vec<Curve<'_>>) -> Figure {
    let values = curves.iter().flat_map(|(_, _, points)| points.iter().map(|(_, ms)| *ms));
    let (x, y) = (Axis::percentiles(), Axis::log("milliseconds", values));
    let line = |(ink, _, points): &Curve<'_>| Line { ink: *ink, points: points.to_vec(), dots: Vec::new() };
    let lines = curves.iter().map(line).collect();
    let legend = curves.into_iter().map(|(ink, name, _)| (ink, name)).collect();
    Figure { title, legend, chart: Chart { x, y, lines, marks: Vec::new(), bound: None } }
}

struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Figure {
    fn html(&self) -> Result<String, DrawError> {
        let entry = |(ink, name): &(Ink, String)| {
            let class = if ink.faint { "faint" } else { "full" };
            format!(
                "<span class=\"{class}\" style=\"--color: var(--series-{})\">{}</span>",
                ink.series,
                escape(name)
            )
        };
        let legend: String = self.legend.iter().map(entry).collect();
        let (title, svg) = (escape(self.title), self.chart.svg()?);
        Ok(format!("<figure>\n<figcaption>{title}<div>{legend}</div></figcaption>\n{svg}</figure>\n"))
    }
}

impl Table {
    fn html(&self) -> String {
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(|cells| row(cells, "td")).collect();
        format!("<table>\n{}{rows}</table>", row(&self.head, "th"))
    }
}

fn made(header: &Header) -> String {
    let machine = &header.machine;
    let cores = machine.cores.map(|cores| format!("{cores} cores"));
    let known = [machine.cpu.clone(), cores, machine.kernel.clone()].into_iter().flatten();
    let pinned = header.pinned.map(Pin::to_string);
    let words = [header.started_at.clone(), header.server.clone()].into_iter().chain(known).chain(pinned);
    let version = format!("stentor-loadgen {}", header.loadgen);
    words.chain([version]).collect::<Vec<_>>().join(" · ")
}

fn paragraph(class: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{}</p>", escape(text))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '"' | '\'' | '{' | '}' => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_stays_text() {
        assert_eq!(escape("<b>&{{table}}'\""), "&#60;b&#62;&#38;&#123;&#123;table&#125;&#125;&#39;&#34;");
    }
}
