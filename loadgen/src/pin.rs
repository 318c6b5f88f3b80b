//! Cores apart for the servers that we start and for ourselves.
//!
//! Contract: a thread and a process inherit the cores of the thread that starts them. So the generator confines its first thread before
//! there is another, and lends that thread the server's cores while it starts one. Linux only: elsewhere the flag is refused.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::Serialize;

/// Which cores are whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pin {
    pub(crate) server_cores: Vec<usize>,
    pub(crate) generator_cores: Vec<usize>,
}

impl Pin {
    /// Confines the calling thread, and all that it starts from now on, to the generator's cores.
    pub(crate) fn confine(&self) -> io::Result<()> {
        system::confine(&self.generator_cores)
    }

    /// What `start` starts runs on the server's cores.
    pub(crate) fn lend<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        system::confine(&self.server_cores)?;
        let started = start();
        self.confine()?;
        started
    }
}

/// Two lists with a comma between them; a list is cores and ranges of cores with a plus between them.
impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let both = text.split_once(',').filter(|(_, generator)| !generator.contains(','));
        let (server, generator) =
            both.ok_or("give the server's cores, a comma, the generator's: 0,1 or 0-3,4+6")?;
        let pin = Self { server_cores: cores(server)?, generator_cores: cores(generator)? };
        let there = system::permitted()?;
        match pin.server_cores.iter().chain(&pin.generator_cores).find(|core| !there.contains(core)) {
            Some(core) => {
                Err(format!("there is no core {core} for this process: it may use {}", listed(&there)))
            }
            None => Ok(pin),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [server, generator] = [&self.server_cores, &self.generator_cores].map(|cores| listed(cores));
        write!(f, "servers on core {server}, generator on core {generator}")
    }
}

fn cores(list: &str) -> Result<Vec<usize>, String> {
    let number =
        |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{text:?} is not a core's number"));
    let mut cores = Vec::new();
    for part in list.split('+') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= system::CORES_MAX {
            return Err(format!("{part:?} is not a range of cores"));
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

fn listed(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join("+")
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) const CORES_MAX: usize = CpuSet::MAX_CPU;

    pub(super) fn confine(cores: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        Ok(sched_setaffinity(None, &set)?)
    }

    pub(super) fn permitted() -> Result<Vec<usize>, String> {
        let set = sched_getaffinity(None)
            .map_err(|error| format!("the system does not tell its cores: {error}"))?;
        Ok((0..CORES_MAX).filter(|core| set.is_set(*core)).collect())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) const CORES_MAX: usize = 1_024;

    pub(super) fn confine(_: &[usize]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn permitted() -> Result<Vec<usize>, String> {
        Err("threads can be kept to cores on Linux only: leave it out here".to_owned())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn lists_ranges_and_nonsense_are_told_apart() {
        assert_eq!(cores("3+0-2+1"), Ok(vec![0, 1, 2, 3]));
        for (text, word) in [
            ("0", "comma"),
            ("0,1,2", "comma"),
            ("0,", "number"),
            ("x,0", "number"),
            ("2-1,0", "range"),
            ("0-99999999,0", "range"),
            ("0,1023", "no core 1023"),
        ] {
            let said = text.parse::<Pin>().unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    /// In a thread of its own, whose cores are nobody else's business.
    #[test]
    fn a_process_that_is_started_runs_on_the_cores_that_were_lent() {
        let all = system::permitted().unwrap();
        let (first, last) = (all[0], all[all.len() - 1]);
        let pin: Pin = format!("{first},{last}").parse().unwrap();
        let run = move || {
            pin.confine().unwrap();
            let mut grep = Command::new("grep");
            let lent = pin.lend(|| grep.args(["Cpus_allowed_list", "/proc/self/status"]).output()).unwrap();
            let lent = String::from_utf8(lent.stdout).unwrap();
            assert_eq!(lent.split_whitespace().nth(1), Some(first.to_string().as_str()));
            assert_eq!(system::permitted().unwrap(), [last]);
        };
        std::thread::spawn(run).join().unwrap();
    }
}
