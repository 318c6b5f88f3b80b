//! What a long run shows that a short one does not: memory and descriptors that grow.
//!
//! Contract: pure. Each sample is taken when the same connections stand as at every other: the steady ones, and nobody else.
//!
//! The bound: the first third of the samples is where pools and caches fill. An allocator that keeps what it has moves between
//! its extremes; a leak moves the lowest value too. So the lowest of the last third is held against the highest of the first
//! one, with [`GROWTH_PART`] and [`GROWTH_BYTES`] for what histories and tables may still gain. Descriptors are exact.

use serde::Serialize;

use crate::report::thousands;
use crate::scenario::fanout::Beside;

/// One look at the server.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Since the first message.
    pub(crate) at_s: f64,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) descriptors: Option<u64>,
}

/// All looks, and what they say.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SoakFigures {
    pub(crate) samples: Vec<Sample>,
    /// Clients that never read, over all rounds.
    pub(crate) stalled: u64,
    /// What grew beyond its bound.
    pub(crate) grown: Option<String>,
    /// True exactly when there were samples enough to tell.
    pub(crate) judged: bool,
    /// Messages that the churning connections received, and those of them that broke.
    #[serde(skip)]
    pub(crate) received: u64,
    #[serde(skip)]
    pub(crate) broken: u64,
}

/// Fewer samples say nothing about growth.
const SAMPLES_MIN: usize = 6;
/// Memory may grow by this part,
const GROWTH_PART: f64 = 0.05;
/// and by so much.
const GROWTH_BYTES: u64 = 8 << 20;
/// The operator port's own connections may be counted or not.
const DESCRIPTORS_SPARE: u64 = 2;

impl SoakFigures {
    /// Looks at all samples.
    pub(crate) fn judge(mut self) -> Self {
        let third = self.samples.len() / 3;
        self.judged = self.samples.len() >= SAMPLES_MIN;
        if self.judged {
            let (first, last) = (&self.samples[..third], &self.samples[self.samples.len() - third..]);
            self.grown = memory(first, last).or_else(|| descriptors(first, last));
        }
        self
    }
}

fn memory(first: &[Sample], last: &[Sample]) -> Option<String> {
    let before = first.iter().filter_map(|sample| sample.resident_bytes).max()?;
    let after = last.iter().filter_map(|sample| sample.resident_bytes).min()?;
    let bound = (before as f64 * (1.0 + GROWTH_PART)) as u64 + GROWTH_BYTES;
    let kib = |bytes: u64| thousands(bytes / 1024);
    (after > bound).then(|| format!("the server's memory grew from {} to {} KiB", kib(before), kib(after)))
}

fn descriptors(first: &[Sample], last: &[Sample]) -> Option<String> {
    let before = first.iter().filter_map(|sample| sample.descriptors).max()?;
    let after = last.iter().filter_map(|sample| sample.descriptors).min()?;
    (after > before + DESCRIPTORS_SPARE)
        .then(|| format!("the server's descriptors grew from {} to {}", thousands(before), thousands(after)))
}

impl Beside for SoakFigures {
    fn received(&self) -> u64 {
        self.received
    }

    fn closed(&self) -> u64 {
        self.stalled + self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(memory_mib: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64, count: u64) -> SoakFigures {
        let sample = |n| Sample {
            at_s: n as f64,
            resident_bytes: Some(memory_mib(n) << 20),
            descriptors: Some(descriptors(n)),
        };
        SoakFigures { samples: (0..count).map(sample).collect(), ..SoakFigures::default() }.judge()
    }

    #[test]
    fn a_leak_is_told_and_a_wobble_is_not() {
        let flat = |_| 100;
        assert_eq!(judged(flat, flat, 30).grown, None);
        assert_eq!(judged(|n| 100 + 40 * (n % 2), flat, 30).grown, None, "extremes are not growth");
        assert!(
            judged(|n| 100 + 2 * n, flat, 30).grown.unwrap().contains("grew from 120,832 to 143,360 KiB")
        );
        assert!(judged(flat, |n| 100 + n, 30).grown.unwrap().contains("descriptors grew from 109 to 120"));
        let short = judged(|n| 100 * n, flat, 5);
        assert!(!short.judged && short.grown.is_none());
    }
}
