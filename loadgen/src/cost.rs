//! What processes and threads cost, as Linux accounts for it under `/proc`; nothing elsewhere.
//!
//! Contract: every reading is absent, not zero, where it cannot be had (another system, another user's process, one that has
//! ended). Times are nanoseconds of `schedstat`, which counts what ran, not what was sampled.

use std::fs;
use std::path::{Path, PathBuf};

/// Nanoseconds a thread ran, and waited for a core while it could have run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadTime {
    /// On a core.
    pub(crate) ran_ns: u64,
    /// In the run queue.
    pub(crate) waited_ns: u64,
}

/// A thread of this process to be watched from another.
#[derive(Clone, Debug)]
pub(crate) struct ThreadProbe {
    directory: Option<PathBuf>,
}

impl ThreadProbe {
    /// For the thread that calls.
    pub(crate) fn current() -> Self {
        let own = fs::read_link("/proc/thread-self").ok();
        Self { directory: own.map(|relative| Path::new("/proc").join(relative)) }
    }

    /// What it has used so far.
    pub(crate) fn read(&self) -> Option<ThreadTime> {
        parse_schedstat(&fs::read_to_string(self.directory.as_ref()?.join("schedstat")).ok()?)
    }
}

/// Lets the calling thread's timers fire on time: the kernel may otherwise delay each by 50 us, which would be measured
/// as latency of the server.
pub(crate) fn sharpen_timers() {
    let own = fs::read_link("/proc/thread-self").ok();
    if let Some(thread) = own.as_deref().and_then(Path::file_name) {
        // Absent rights or another system: the slack stays, and shows as publish lag.
        let _ = fs::write(Path::new("/proc").join(thread).join("timerslack_ns"), "1");
    }
}

/// The processor time of all threads of a process, in nanoseconds.
pub(crate) fn process_cpu_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = tasks
        .filter_map(|task| parse_schedstat(&fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?));
    Some(times.map(|time| time.ran_ns).sum())
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The most it ever was.
pub(crate) fn resident_bytes_peak(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// True exactly when `pid` can be watched here.
pub(crate) fn can_watch(pid: u32) -> bool {
    !cfg!(target_os = "linux") || resident_bytes(pid).is_some()
}

fn parse_schedstat(text: &str) -> Option<ThreadTime> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(ThreadTime { ran_ns: numbers.next()?.ok()?, waited_ns: numbers.next()?.ok()? })
}

fn parse_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(parse_schedstat("12 34 5\n"), Some(ThreadTime { ran_ns: 12, waited_ns: 34 }));
        assert_eq!(parse_schedstat(""), None);
        let status = "Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(parse_status(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(parse_status(status, "VmHWM:"), Some(4 << 20));
        assert_eq!(parse_status("Name:\tx\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_can_watch_itself() {
        let pid = std::process::id();
        assert!(process_cpu_ns(pid).is_some_and(|ns| ns > 0));
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 100_000));
        assert!(resident_bytes_peak(pid) >= resident_bytes(pid));
        assert!(descriptors(pid) >= Some(3));
        assert!(ThreadProbe::current().read().is_some());
        sharpen_timers();
    }
}
