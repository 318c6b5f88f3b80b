//! The machine a run was made on.
//!
//! Contract: what the system does not tell is absent.

use std::fs;

use serde::Serialize;

/// What a figure depends on beside the server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: Option<String>,
    /// Those this process may use.
    pub(crate) cores: Option<usize>,
    pub(crate) kernel: Option<String>,
}

impl Machine {
    /// Asks the system.
    pub(crate) fn here() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| parse_cpu(&text)),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            kernel: release.map(|release| format!("Linux {}", release.trim())),
        }
    }
}

/// A tick of the kernel's accounts, on every Linux.
const TICK_NS: u64 = 10_000_000;

/// The time that cores were wanted here and a hypervisor gave to others, of all cores together.
pub(crate) fn stolen_ns() -> Option<u64> {
    parse_stolen(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_stolen(stat: &str) -> Option<u64> {
    let ticks: u64 =
        stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().nth(7)?.parse().ok()?;
    Some(ticks * TICK_NS)
}

/// Arm's kernels name no model.
fn parse_cpu(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processors_name_is_taken() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: Other\n";
        assert_eq!(parse_cpu(text).as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(parse_cpu("processor\t: 0\n"), None);
    }

    #[test]
    fn what_others_took_is_the_eighth_of_the_first_line() {
        let text = "cpu  10 20 30 40 50 60 70 12 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse_stolen(text), Some(120_000_000));
        assert_eq!(parse_stolen("cpu0 1 2 3 4 5 6 7 8 9 10\n"), None);
        assert_eq!(stolen_ns().is_some(), cfg!(target_os = "linux"));
    }
}
