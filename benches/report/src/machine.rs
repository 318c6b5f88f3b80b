//! What the figures were taken on.

use crate::Result;
use std::fmt;
use std::fs;
use std::process::Command;

/// See the module.
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    rustc: String,
    pub(crate) commit: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Result<Self> {
        Ok(Self {
            date: said(&["date", "-u", "+%F"])?,
            cpu: cpu().unwrap_or_else(|| "unknown processor".into()),
            cores: std::thread::available_parallelism()?.get(),
            kernel: said(&["uname", "-sr"])?,
            rustc: said(&["rustc", "--version"])?,
            commit: commit()?,
        })
    }

    /// Where its results are kept.
    pub(crate) fn folder(&self) -> String {
        let words = self.cpu.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_lowercase);
        let telling = words.filter(|word| !["", "r", "tm", "cpu", "processor"].contains(&word.as_str()));
        format!("{}-{}-{}-cores", self.date, telling.collect::<Vec<_>>().join("-"), self.cores)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "date      {}", self.date)?;
        writeln!(f, "commit    {}", self.commit)?;
        writeln!(f, "processor {}, {} cores", self.cpu, self.cores)?;
        writeln!(f, "kernel    {}", self.kernel)?;
        writeln!(f, "compiler  {}", self.rustc)
    }
}

fn cpu() -> Option<String> {
    if let Ok(text) = fs::read_to_string("/proc/cpuinfo") {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        return Some(line.split_once(':')?.1.trim().to_owned());
    }
    said(&["sysctl", "-n", "machdep.cpu.brand_string"]).ok()
}

/// What is measured: the results are committed too, and do not change it.
const MEASURED: [&str; 7] =
    ["--", "src", "benches", "Cargo.toml", "Cargo.lock", ":!benches/results", ":!benches/report"];

/// The last commit that changed what is measured, and whether something has changed since.
fn commit() -> Result<String> {
    let commit = said(&[&["git", "log", "-1", "--format=%h", "--abbrev=12"][..], &MEASURED].concat())?;
    let changes = said(&[&["git", "status", "--porcelain"][..], &MEASURED].concat())?;
    Ok(if changes.is_empty() { commit } else { format!("{commit}, with changes") })
}

/// What a command prints, on one line.
fn said(command: &[&str]) -> Result<String> {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.map_err(|error| format!("cannot run `{}`: {error}", command.join(" ")))?;
    if !output.status.success() {
        return Err(
            format!("`{}` failed: {}", command.join(" "), String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
