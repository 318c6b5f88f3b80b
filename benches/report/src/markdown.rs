//! The report and the README's table, as text.

use crate::Result;
use crate::figure::Figure;
use crate::group::{Group, Row};
use crate::machine::Machine;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Between these two lines of the README stands what the last runs found.
const BEGIN: &str = "<!-- made by `cargo run -p bench-report` -->";
const END: &str = "<!-- end of what it made -->";

/// Everything.
pub(crate) fn report(
    machine: &Machine,
    runs: usize,
    groups: &[Group<'_>],
    memory_question: &str,
    memory: &Map<String, Value>,
) -> String {
    let range = if runs == 1 { "their 95 % intervals" } else { "the lowest and the highest" };
    let mut out = format!(
        "# Benchmarks of {date}\n\n```\n{machine}```\n\nMedians of {times} of `cargo bench`, with {range}. What a \
         figure is of stands in each question's text. Ours is `stentor`; the last column compares it with the best \
         of the others, and says *even* where their ranges overlap. Made by `cargo run -p bench-report`.\n\n\
         ![All of it, as bars](plot.svg)\n\n## Where another design is faster\n\n",
        date = machine.date,
        times = counted(runs),
    );
    losses(groups, &mut out);
    for asked in groups.chunk_by(|a, b| a.question == b.question) {
        out.push_str(&section(&asked[0].question));
        for group in asked {
            let _ = write!(out, "\n### {}\n\n{}", group.name.replace('_', " "), table(group));
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
pub(crate) fn readme(machine: &Machine, runs: usize, groups: &[Group<'_>], folder: &str) -> String {
    let Machine { date, cpu, cores, kernel, commit, .. } = machine;
    let mut out = format!(
        "What a delivery costs beside the designs one would write first: medians of {times} on {date} of commit\n\
         {commit}, on {cpu}, {cores} cores, {kernel}. Every question, with ranges, is in the\n\
         [report](benches/results/{folder}/report.md); as bars in the [plot](benches/results/{folder}/plot.svg).\n\n",
        times = counted(runs),
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
    losses(groups, &mut out);
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

/// A time in the unit that suits it.
pub(crate) fn nanos(ns: f64) -> String {
    match ns {
        ..10.0 => format!("{ns:.1} ns"),
        ..1_000.0 => format!("{ns:.0} ns"),
        ..10_000.0 => format!("{:.1} us", ns / 1e3),
        _ => format!("{:.0} us", ns / 1e3),
    }
}

fn counted(runs: usize) -> String {
    if runs == 1 { "one run".into() } else { format!("{runs} runs") }
}

/// A question as a heading, and what it means below.
fn section(question: &str) -> String {
    let (heading, text) = question.split_once("\n\n").unwrap_or((question, ""));
    format!("\n## {heading}\n\n{text}\n")
}

fn table(group: &Group<'_>) -> String {
    let has_duel = group.rows.iter().any(|row| row.duel().is_some());
    let mut columns = group.designs.clone();
    columns.extend(has_duel.then_some("against the best other"));
    let mut out = header(&columns);
    for row in &group.rows {
        let _ = write!(out, "| {} |", row.parameter);
        for figure in &row.figures {
            let _ = write!(out, " {} |", figure.map_or(String::new(), ranged));
        }
        if has_duel {
            let _ =
                write!(out, " {} |", row.duel().map_or(String::new(), |(ours, best)| verdict(ours, best)));
        }
        out.push('\n');
    }
    out
}

fn header(columns: &[&str]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.replace('_', " ")).collect();
    format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

fn ranged(figure: &Figure) -> String {
    format!("{} ({} to {})", nanos(figure.median_ns), nanos(figure.low_ns), nanos(figure.high_ns))
}

/// A line for every row in which another design is faster, beyond what their ranges leave open.
fn losses(groups: &[Group<'_>], out: &mut String) {
    let rows = groups.iter().flat_map(|group| group.rows.iter().map(move |row| (group, row)));
    for (group, Row { parameter, .. }, (ours, best)) in
        rows.filter_map(|(g, row)| Some((g, row, row.duel()?)))
    {
        if best.is_surely_below(ours) {
            let place = format!("{} {parameter}", group.name.replace('_', " "));
            let (ours_ns, best_ns) = (nanos(ours.median_ns), nanos(best.median_ns));
            let design = best.design.replace('_', " ");
            let _ = writeln!(out, "- {}: {ours_ns}, {design} {best_ns}", place.trim_end());
        }
    }
}

fn verdict(ours: &Figure, best: &Figure) -> String {
    let ratio = best.median_ns / ours.median_ns;
    if ours.is_surely_below(best) {
        format!("{ratio:.1} x faster")
    } else if best.is_surely_below(ours) {
        format!("**{:.1} x slower**", 1.0 / ratio)
    } else {
        "even".into()
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
