//! Latency by percentile, close enough together to be drawn.
//!
//! Contract: pure. Pairs of percentile and milliseconds, ascending in both; the last is the maximum. Empty where nothing was measured.

use hdrhistogram::Histogram;

/// Denser where a tail shows.
const PERCENTILES: [f64; 19] = [
    0.0, 10.0, 25.0, 50.0, 60.0, 75.0, 80.0, 90.0, 92.5, 95.0, 97.5, 98.0, 99.0, 99.5, 99.75, 99.9, 99.95,
    99.99, 100.0,
];

/// Of a histogram of microseconds.
pub(crate) fn curve_ms(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1e3;
    PERCENTILES.iter().map(|&percentile| (percentile, at(percentile))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_to_the_maximum() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
        assert!(curve_ms(&histogram).is_empty());
        (1..=1_000).for_each(|us| histogram.record(us).unwrap());
        let curve = curve_ms(&histogram);
        assert!(curve.is_sorted_by(|low, high| low.0 < high.0 && low.1 <= high.1), "{curve:?}");
        assert!(curve.contains(&(50.0, 0.5)) && curve.contains(&(99.0, 0.99)), "{curve:?}");
        assert_eq!(curve.last(), Some(&(100.0, 1.0)));
    }
}
