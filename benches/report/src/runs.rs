//! The runs of one commit on one machine, kept as `run-1.json` and so on beside `machine.txt`.

use crate::Result;
use crate::machine::Machine;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Keeps a run unless it is kept already, and returns all there are. Those of another commit are let go.
pub(crate) fn kept_with(folder: &Path, machine: &Machine, run: Vec<Value>) -> Result<Vec<Vec<Value>>> {
    let path = |number: usize| folder.join(format!("run-{number}.json"));
    let about = folder.join("machine.txt");
    let is_same = fs::read_to_string(&about).is_ok_and(|text| text == machine.to_string());
    let mut runs = Vec::<Vec<Value>>::new();
    while let Ok(text) = fs::read(path(runs.len() + 1)) {
        runs.push(serde_json::from_slice(&text)?);
    }
    if !is_same {
        (1..=runs.len()).try_for_each(|number| fs::remove_file(path(number)))?;
        runs.clear();
        fs::write(about, machine.to_string())?;
    }
    if !runs.contains(&run) {
        fs::write(path(runs.len() + 1), serde_json::to_vec_pretty(&run)?)?;
        runs.push(run);
    }
    Ok(runs)
}
