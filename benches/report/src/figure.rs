//! One benchmark's result: of one run, as criterion left it, or of several.

use crate::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
    /// Where its 95 % interval begins and ends; of several runs, the lowest and the highest.
    pub(crate) low_ns: f64,
    pub(crate) high_ns: f64,
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
    fn new(raw: &Value) -> Result<Self> {
        let Benchmark { group_id, function_id, value_str, throughput } =
            Benchmark::deserialize(&raw["benchmark"])?;
        let Estimates { median } = Estimates::deserialize(&raw["estimates"])?;
        let elements = throughput.and_then(|of| of.get("Elements")?.as_f64()).unwrap_or(1.0);
        Ok(Self {
            group: group_id,
            design: function_id,
            parameter: value_str.unwrap_or_default(),
            median_ns: median.point_estimate / elements,
            low_ns: median.confidence_interval.lower_bound / elements,
            high_ns: median.confidence_interval.upper_bound / elements,
        })
    }

    /// What several runs say together.
    fn merged(runs: Vec<Self>) -> Option<Self> {
        let mut medians: Vec<_> = runs.iter().map(|figure| figure.median_ns).collect();
        medians.sort_by(f64::total_cmp);
        let first = runs.into_iter().next()?;
        if medians.len() == 1 {
            return Some(first);
        }
        let median_ns = medians[medians.len() / 2];
        Some(Self { median_ns, low_ns: medians[0], high_ns: medians[medians.len() - 1], ..first })
    }

    /// True exactly when it is ours, in whatever situation.
    pub(crate) fn is_ours(&self) -> bool {
        self.design.starts_with("stentor")
    }

    /// True exactly when all it says is below all the other says.
    pub(crate) fn is_surely_below(&self, other: &Self) -> bool {
        self.high_ns < other.low_ns
    }
}

/// Every figure of these runs, by group, design and parameter.
pub(crate) fn of_runs(runs: &[Vec<Value>]) -> Result<Vec<Figure>> {
    let mut by_name = BTreeMap::<_, Vec<Figure>>::new();
    for raw in runs.iter().flatten() {
        let figure = Figure::new(raw)?;
        let name = (figure.group.clone(), figure.design.clone(), figure.parameter.clone());
        by_name.entry(name).or_default().push(figure);
    }
    Ok(by_name.into_values().filter_map(Figure::merged).collect())
}

/// Everything the last run measured, as criterion wrote it.
pub(crate) fn last_run(criterion: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    collect(criterion, &mut found)
        .map_err(|error| format!("{}: {error}; run `cargo bench` first", criterion.display()))?;
    let newest = found.iter().map(|(_, at)| *at).max().ok_or("no results yet; run `cargo bench` first")?;
    found.retain(|(_, at)| newest.duration_since(*at).is_ok_and(|age| age < RUN_MAX));
    found.sort();
    let read = |folder: &Path| -> Result<Value> {
        let file = |name| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?) };
        Ok(json!({ "benchmark": file("benchmark.json")?, "estimates": file("estimates.json")? }))
    };
    found.iter().map(|(folder, _)| read(folder)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(median: f64) -> Value {
        let interval = json!({ "lower_bound": median - 20.0, "upper_bound": median + 20.0 });
        json!({
            "benchmark": { "group_id": "g", "function_id": "stentor", "value_str": null, "throughput": { "Elements": 10 } },
            "estimates": { "median": { "point_estimate": median, "confidence_interval": interval } },
        })
    }

    #[test]
    fn one_run_says_its_interval_and_several_their_range() {
        let one = of_runs(&[vec![raw(100.0)]]).unwrap();
        assert_eq!((one[0].low_ns, one[0].median_ns, one[0].high_ns), (8.0, 10.0, 12.0));
        let three = of_runs(&[vec![raw(100.0)], vec![raw(300.0)], vec![raw(110.0)]]).unwrap();
        assert_eq!(three.len(), 1);
        assert_eq!((three[0].low_ns, three[0].median_ns, three[0].high_ns), (10.0, 11.0, 30.0));
        assert!(!one[0].is_surely_below(&three[0]) && !three[0].is_surely_below(&one[0]));
    }
}
