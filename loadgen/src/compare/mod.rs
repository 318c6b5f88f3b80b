//! Two results, figure by figure: what became better, what became worse, and what is noise.
//!
//! Contract: it reads the JSON of two earlier runs and measures nothing. Results of different things are refused unless that is
//! asked for: their ratios would say nothing about the server.

mod figure;
mod sameness;

use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::report::thousands;
use crate::table::{or_dash, times};
use figure::{FIGURES, Verdict};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    /// What it was before, or the other one.
    pub(crate) a: PathBuf,
    /// What is judged.
    pub(crate) b: PathBuf,
    /// A figure that differs by no more than this is as good as the other.
    pub(crate) noise_percent: f64,
    /// Also what cannot be compared.
    pub(crate) anyway: bool,
}

/// The result. The names and the shape of the JSON are stable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    a: String,
    b: String,
    noise_percent: f64,
    /// Why it says little, where it was asked for all the same.
    warnings: Vec<String>,
    figures: Vec<Row>,
    worse: usize,
    better: usize,
}

/// One figure of both.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    a: Option<f64>,
    b: Option<f64>,
    /// B by A. Null where one of them is unknown, or not above 0.
    ratio: Option<f64>,
    /// Null without a ratio.
    verdict: Option<Verdict>,
}

impl Compare {
    /// Reads both, and compares them; one line on what to do where that cannot be done.
    pub(crate) fn run(&self) -> Result<Comparison, String> {
        let (a, b) = (read(&self.a)?, read(&self.b)?);
        let names = [&self.a, &self.b].map(|path| path.display().to_string());
        let warnings = sameness::objections(&names, [&a, &b]);
        if !self.anyway && !warnings.is_empty() {
            return Err(format!("{}; --anyway compares them all the same", warnings.join("; ")));
        }
        let [a_name, b_name] = names;
        let factor = 1.0 + self.noise_percent / 100.0;
        let rows = FIGURES.iter().filter_map(|figure| {
            let (a, b) = (figure.of(&a), figure.of(&b));
            let ratio = a.zip(b).filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| b / a);
            let verdict = ratio.map(|ratio| figure.judge(ratio, factor));
            (a.is_some() || b.is_some()).then_some(Row {
                name: figure.name,
                unit: figure.unit,
                a,
                b,
                ratio,
                verdict,
            })
        });
        let figures: Vec<Row> = rows.collect();
        let count = |verdict| figures.iter().filter(|row| row.verdict == Some(verdict)).count();
        if figures.iter().all(|row| row.verdict.is_none()) {
            return Err(format!(
                "{a_name} and {b_name} have no figure in common: were both made with --json?"
            ));
        }
        let (worse, better) = (count(Verdict::Worse), count(Verdict::Better));
        Ok(Comparison {
            a: a_name,
            b: b_name,
            noise_percent: self.noise_percent,
            warnings,
            figures,
            worse,
            better,
        })
    }
}

impl Comparison {
    /// True exactly when a figure is worse beyond the noise.
    pub(crate) fn is_worse(&self) -> bool {
        self.worse > 0
    }

    /// Why it says little, where it was asked for all the same.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// One object on one line.
    pub(crate) fn json(&self) -> String {
        // Only numbers, texts and lists of them: it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As people read it.
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", &self.a, &self.b, "ratio", "verdict"]);
        for row in &self.figures {
            let value = |value: Option<f64>| or_dash(value.map(|value| shown(value, row.unit)));
            let verdict = row.verdict.map_or("-", Verdict::words);
            table.add_row([row.name, &value(row.a), &value(row.b), &times(row.ratio), verdict]);
        }
        for column in table.column_iter_mut().skip(1).take(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let (better, worse) = (self.better, self.worse);
        format!("{table}\n{better} better, {worse} worse, by more than {} %", self.noise_percent)
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{name} is not the JSON of one result (made with --json): {error}"))?;
    match value["header"]["parameters"].is_object() {
        true => Ok(value),
        false => Err(format!("{name} does not say what it is of: make it with --json of this version")),
    }
}

fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        1e3.. if value > 0.0 => thousands(value.round() as u64),
        _ => format!("{value:.3}"),
    };
    if unit.is_empty() { digits } else { format!("{digits} {unit}") }
}
