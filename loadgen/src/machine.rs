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
}
