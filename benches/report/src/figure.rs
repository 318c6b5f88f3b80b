//! One benchmark's result, as criterion left it.

use crate::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
// How old a file is, and nothing else.
#[allow(clippy::disallowed_types)]
use std::time::SystemTime;

/// Results so much older than the newest are those of an earlier run.
const RUN_MAX: Duration = Duration::from_secs(2 * 3_600);

/// See the module. Nanoseconds of one element: a delivery, a message, whatever the benchmark counts.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) group: String,
    pub(crate) design: String,
    /// What the designs were compared at; empty where there is nothing to choose.
    pub(crate) parameter: String,
    pub(crate) median_ns: f64,
    /// Half of the median's 95 % interval, as a share of it.
    pub(crate) spread: f64,
    raw: Value,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: String,
    value_str: Option<String>,
    throughput: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

impl Figure {
    fn read(folder: &Path) -> Result<Self> {
        let benchmark: Value = serde_json::from_slice(&fs::read(folder.join("benchmark.json"))?)?;
        let estimates: Value = serde_json::from_slice(&fs::read(folder.join("estimates.json"))?)?;
        let raw = json!({ "benchmark": &benchmark, "estimates": &estimates });
        let Benchmark { group_id, function_id, value_str, throughput } = serde_json::from_value(benchmark)?;
        let Estimates { median } = serde_json::from_value(estimates)?;
        let elements = throughput.and_then(|of| of.get("Elements")?.as_f64()).unwrap_or(1.0);
        let interval = median.confidence_interval;
        Ok(Self {
            group: group_id,
            design: function_id,
            parameter: value_str.unwrap_or_default(),
            median_ns: median.point_estimate / elements,
            spread: (interval.upper_bound - interval.lower_bound) / 2.0 / median.point_estimate,
            raw,
        })
    }

    /// True exactly when it is ours, in whatever situation.
    pub(crate) fn is_ours(&self) -> bool {
        self.design.starts_with("stentor")
    }

    /// All of them, as criterion wrote them.
    pub(crate) fn raw(figures: &[Self]) -> Result<Vec<u8>> {
        let all: Vec<_> = figures.iter().map(|figure| &figure.raw).collect();
        Ok(serde_json::to_vec_pretty(&all)?)
    }
}

/// Everything the last run measured, by group, design and parameter.
pub(crate) fn of_last_run(criterion: &Path) -> Result<Vec<Figure>> {
    let mut found = Vec::new();
    collect(criterion, &mut found)
        .map_err(|error| format!("{}: {error}; run `cargo bench` first", criterion.display()))?;
    let newest = found.iter().map(|(_, at)| *at).max().ok_or("no results yet; run `cargo bench` first")?;
    found.retain(|(_, at)| newest.duration_since(*at).is_ok_and(|age| age < RUN_MAX));
    let mut figures = found.iter().map(|(folder, _)| Figure::read(folder)).collect::<Result<Vec<_>>>()?;
    figures.sort_by(|a, b| (&a.group, &a.design, &a.parameter).cmp(&(&b.group, &b.design, &b.parameter)));
    Ok(figures)
}

/// What the memory benchmark noted: bytes a connection, by situation. Empty where the system does not tell.
pub(crate) fn memory(criterion: &Path) -> Result<Map<String, Value>> {
    let path = criterion.join("memory.json");
    if path.exists() { Ok(serde_json::from_slice(&fs::read(path)?)?) } else { Ok(Map::new()) }
}

/// Every folder `new` with a benchmark in it, and when it was measured.
#[allow(clippy::disallowed_types)]
fn collect(folder: &Path, found: &mut Vec<(PathBuf, SystemTime)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        if path.ends_with("new") && estimates.exists() {
            found.push((path, fs::metadata(estimates)?.modified()?));
        } else {
            collect(&path, found)?;
        }
    }
    Ok(())
}
