//! What the kernel uses for sockets, of all processes together, as Linux tells it in `/proc/net/sockstat` and `/proc/meminfo`.
//!
//! Contract: absent, not zero, where it cannot be read.

use std::fs;

use serde::Serialize;

/// Readings of one run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct KernelMemory {
    /// Buffers of all TCP sockets: before anything was opened,
    pub(crate) tcp_bytes_before: Option<u64>,
    /// with all connections idle,
    pub(crate) tcp_bytes_idle: Option<u64>,
    /// and at the end of the measured time.
    pub(crate) tcp_bytes_end: Option<u64>,
}

/// A page, on every machine whose `/proc` we know.
const PAGE_BYTES: u64 = 4_096;

/// Bytes in the buffers of all TCP sockets.
pub(crate) fn tcp_bytes() -> Option<u64> {
    parse_sockstat(&fs::read_to_string("/proc/net/sockstat").ok()?)
}

/// Bytes of the kernel's own structures, whatever they are for.
pub(crate) fn slab_bytes() -> Option<u64> {
    parse_slab(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_slab(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1_024)
}

fn parse_sockstat(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem").skip(1);
    Some(words.next()?.parse::<u64>().ok()? * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: inuse 1 mem 9\n";
        assert_eq!(parse_sockstat(text), Some(3 * 4_096));
        assert_eq!(parse_sockstat("UDP: inuse 1 mem 9\n"), None);
        assert_eq!(parse_slab("MemFree: 1 kB\nSlab:    77 kB\n"), Some(77 * 1_024));
        assert_eq!(slab_bytes().is_some(), cfg!(target_os = "linux"));
        assert_eq!(tcp_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
