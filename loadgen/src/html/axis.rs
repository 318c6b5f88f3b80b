//! One axis of a chart: where a value stands on it, and which values it names.
//!
//! Contract: pure. Every value it was made for lies in its range, but for those that [`Axis::has`] no place for.

use std::ops::{Range, RangeInclusive};

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) name: &'static str,
    scale: Scale,
    range: Range<f64>,
    /// Values and how they are written.
    ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear,
    Log,
    /// Percentiles, by the logarithm of what lies beyond them: each further nine takes the same room.
    Tail,
}

/// Where the maximum stands, which is the percentile 100.
const MAXIMUM_AT: f64 = 4.5;

impl Axis {
    /// Even, from 0 to a round number not below any of `values`.
    pub(super) fn linear(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        let step = nice(high.max(1e-9) / 5.0);
        let last = (high / step).ceil().max(1.0) as i64;
        Self { name, scale: Scale::Linear, range: 0.0..last as f64 * step, ticks: multiples(0..=last, step) }
    }

    /// Even, and no longer than from the smallest of `values` to the largest.
    pub(super) fn tight(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.fold((0.0, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        let high = high.max(low + 1e-3);
        let step = nice((high - low) / 10.0);
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        Self { name, scale: Scale::Linear, range: low..high, ticks: multiples(first..=last, step) }
    }

    /// From the smallest to the largest of `values`, each power of ten as long as the other. What is not above 0 has no place.
    pub(super) fn log(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let (low, high) =
            positive.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
        let named: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let all: Vec<f64> =
            decades.flat_map(|decade| named.iter().map(move |digit| digit * 10f64.powi(decade))).collect();
        // The named values next to the two ends are the range, so that both ends are named.
        let from = all.iter().rposition(|value| *value <= low).unwrap_or_default();
        let to = all.iter().position(|value| *value >= high && *value > all[from]).unwrap_or(all.len() - 1);
        let ticks: Vec<_> = all[from..=to].iter().map(|value| (*value, short(*value))).collect();
        Self { name, scale: Scale::Log, range: all[from]..all[to], ticks }
    }

    /// All percentiles.
    pub(super) fn percentiles() -> Self {
        let named = [
            (0.0, "0"),
            (50.0, "50"),
            (90.0, "90"),
            (99.0, "99"),
            (99.9, "99.9"),
            (99.99, "99.99"),
            (100.0, "max"),
        ];
        let ticks = named.iter().map(|(percentile, text)| (*percentile, (*text).to_owned()));
        Self {
            name: "percentile of deliveries",
            scale: Scale::Tail,
            range: 0.0..100.0,
            ticks: ticks.collect(),
        }
    }

    /// True exactly when `value` has a place: a logarithm has none for 0.
    pub(super) fn has(&self, value: f64) -> bool {
        self.scale.position(value).is_finite()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let [from, to, at] =
            [self.range.start, self.range.end, *value].map(|value| self.scale.position(value));
        first + ((at - from) / (to - from) * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let named = if hint.weight().allow_light_points() { &[] } else { &self.ticks[..] };
        named.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let found = self.ticks.iter().find(|(named, _)| named == value);
        found.map_or(String::new(), |(_, text)| text.clone())
    }
}

impl Scale {
    fn position(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Tail if value >= 100.0 => MAXIMUM_AT,
            // Not `1 - value / 100`, whose rounding would move 99.99.
            Self::Tail => 2.0 - (100.0 - value).log10(),
        }
    }
}

fn multiples(counts: RangeInclusive<i64>, step: f64) -> Vec<(f64, String)> {
    counts.map(|count| (count as f64 * step, short(count as f64 * step))).collect()
}

/// 1, 2 or 5 times a power of ten: the smallest that is not below `step`.
fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digits| digits * decade >= step * 0.999_999);
    digits.unwrap_or(10.0) * decade
}

/// At most four characters or so.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e6.. => (value / 1e6, " M"),
        1e4.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    // Six decimals hide what adding steps up leaves.
    let digits = format!("{scaled:.6}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(value, _)| axis.format_ext(value)).collect()
    }

    #[test]
    fn an_even_axis_begins_with_0_and_ends_with_a_round_number() {
        let axis = Axis::linear("x", [3.0, 98_000.0].into_iter());
        assert_eq!(texts(&axis), ["0", "20 k", "40 k", "60 k", "80 k", "100 k"]);
        assert_eq!([0.0, 25_000.0, 100_000.0].map(|value| axis.map(&value, (400, 0))), [400, 300, 0]);
        assert_eq!(texts(&Axis::linear("x", [0.5].into_iter())), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(texts(&Axis::linear("x", std::iter::empty()))[0], "0");
    }

    #[test]
    fn a_tight_axis_ends_where_its_values_do() {
        let axis = Axis::tight("x", [-1.2, 3.1].into_iter());
        assert_eq!(axis.range(), -1.2..3.1);
        assert_eq!(texts(&axis), ["-1", "-0.5", "0", "0.5", "1", "1.5", "2", "2.5", "3"]);
        assert_eq!(texts(&Axis::tight("x", std::iter::empty()))[0], "0");
    }

    #[test]
    fn a_logarithmic_axis_names_both_of_its_ends() {
        let axis = Axis::log("x", [0.03, 0.0, 4.0].into_iter());
        assert_eq!(texts(&axis), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert!(axis.has(0.001) && !axis.has(0.0) && !axis.has(-1.0));
        assert_eq!(texts(&Axis::log("x", [7.0].into_iter())), ["5", "10"]);
        assert_eq!(texts(&Axis::log("x", [5.0].into_iter())), ["5", "10"]);
        assert_eq!(texts(&Axis::log("x", [0.5, 2e6].into_iter())).last().unwrap(), "10 M");
        assert_eq!(texts(&Axis::log("x", std::iter::empty())), ["1", "2", "5", "10"]);
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let axis = Axis::percentiles();
        let places = [0.0, 90.0, 99.0, 99.9, 99.99, 100.0].map(|percentile| axis.map(&percentile, (0, 450)));
        assert_eq!(places, [0, 100, 200, 300, 400, 450]);
        assert_eq!(texts(&axis).last().unwrap(), "max");
    }
}
