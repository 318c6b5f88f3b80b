//! The report and the README's table, as text.

use crate::Result;
use crate::figure::Figure;
use crate::group::{Group, Row};
use crate::machine::Machine;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Between these two lines of the README stands what the last run found.
const BEGIN: &str = "<!-- made by `cargo run -p bench-report` -->";
const END: &str = "<!-- end of what it made -->";

/// Everything.
pub(crate) fn report(
    machine: &Machine,
    groups: &[Group<'_>],
    memory_question: &str,
    memory: &Map<String, Value>,
) -> String {
    let mut out = format!("# Benchmarks of {}\n\n```\n{machine}```\n\n", machine.date);
    out.push_str(
        "Medians of one run of `cargo bench`, with half of their 95 % interval in percent, by design; what a figure \
         is of stands in each question's text. Ours is `stentor`; the last column compares it with the best of the \
         others. Made by `cargo run -p bench-report`.\n\n![All of it, as bars](plot.svg)\n\n## Where Stentor loses\n\n",
    );
    for line in losses(groups) {
        let _ = writeln!(out, "- {line}");
    }
    for asked in groups.chunk_by(|a, b| a.question == b.question) {
        out.push_str(&section(&asked[0].question));
        for group in asked {
            let _ = write!(out, "\n### {}\n\n", group.name.replace('_', " "));
            out.push_str(&table(group));
        }
    }
    if !memory.is_empty() {
        let _ = write!(out, "{}\n| | bytes a connection |\n|---|---|\n", section(memory_question));
        for (situation, bytes) in memory {
            let _ = writeln!(out, "| {situation} | {bytes} |");
        }
    }
    out
}

/// The designs Stentor replaces, and every loss.
pub(crate) fn readme(machine: &Machine, groups: &[Group<'_>], folder: &str) -> String {
    let Machine { date, cpu, cores, kernel, commit, .. } = machine;
    let mut out = format!(
        "What a delivery costs beside the designs one would write first: medians of one run on {date} of commit\n\
         {commit}, on {cpu}, {cores} cores, {kernel}. Every question, with intervals, is in the\n\
         [report](benches/results/{folder}/report.md); as bars in the [plot](benches/results/{folder}/plot.svg).\n\n"
    );
    let baselines: Vec<_> = groups.iter().filter(|group| group.name.starts_with("baseline_")).collect();
    if let Some(first) = baselines.first() {
        out.push_str(&header(&first.designs));
    }
    for group in baselines {
        let place = group.name.trim_start_matches("baseline_").replace('_', " ");
        for row in &group.rows {
            let cells = row.figures.iter().map(|figure| figure.map_or(String::new(), |f| nanos(f.median_ns)));
            let _ =
                writeln!(out, "| {}, {place} | {} |", row.parameter, cells.collect::<Vec<_>>().join(" | "));
        }
    }
    out.push_str("\nWhere another design is faster:\n\n");
    for line in losses(groups) {
        let _ = writeln!(out, "- {line}");
    }
    out
}

/// The README with another table in it.
pub(crate) fn replace_table(readme: &str, table: &str) -> Result<String> {
    let place = || {
        let (before, rest) = readme.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
    };
    Ok(place().ok_or_else(|| format!("README.md has no lines `{BEGIN}` and `{END}` to write between"))?)
}

/// A question as a heading, and what it means below.
fn section(question: &str) -> String {
    let (heading, text) = question.split_once("\n\n").unwrap_or((question));
    format!("\n## {heading}\n\n{text}\n")
}

fn table(group: &Group<'_>) -> String {
    let duels: Vec<_> = group.rows.iter().filter_map(Row::duel).collect();
    let mut out = header(&group.designs);
    if !duels.is_empty() {
        out = header(&[&group.designs[..], &["against the best other"]].concat());
    }
    for row in &group.rows {
        let cell = |figure: &Option<&Figure>| {
            figure.map_or(String::new(), |f| format!("{} ± {:.0} %", nanos(f.median_ns), f.spread * 100.0))
        };
        let cells: Vec<_> = row.figures.iter().map(cell).collect();
        let _ = write!(out, "| {} | {} |", row.parameter, cells.join(" | "));
        if !duels.is_empty() {
            let _ =
                write!(out, " {} |", row.duel().map_or(String::new(), |(ours, best)| verdict(ours, best)));
        }
        out.push('\n');
    }
    out
}

fn header(designs: &[&str]) -> String {
    let names: Vec<_> = designs.iter().map(|design| design.replace('_', " ")).collect();
    format!("|  | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

/// A line for every row in which another design is faster, beyond what the intervals leave open.
fn losses(groups: &[Group<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    for group in groups {
        for row in &group.rows {
            let Some((ours, best)) = row.duel() else { continue };
            if ours.median_ns * (1.0 - ours.spread) > best.median_ns * (1.0 + best.spread) {
                let place = format!("{} {}", group.name.replace('_', " "), row.parameter);
                let design = best.design.replace('_', " ");
                let (ours_ns, best_ns) = (nanos(ours.median_ns), nanos(best.median_ns));
                lines.push(format!("{}: {ours_ns}, {design} {best_ns}", place.trim_end()));
            }
        }
    }
    lines
}

fn verdict(ours: &Figure, best: &Figure) -> String {
    let ratio = best.median_ns / ours.median_ns;
    if ratio >= 1.0 { format!("{ratio:.1} x faster") } else { format!("**{:.1} x slower**", 1.0 / ratio) }
}

/// A time in the unit that suits it.
pub(crate) fn nanos(ns: f64) -> String {
    match ns {
        ..10.0 => format!("{ns:.1} ns"),
        ..1_000.0 => format!("{ns:.0} ns"),
        ..10_000.0 => format!("{:.1} us", ns / 1e3),
        _ => format!("{:.0} us", ns / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let replaced = replace_table(&readme, "new\n").unwrap();
        assert_eq!(replaced, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert!(replace_table("no marks", "new").is_err());
    }
}
