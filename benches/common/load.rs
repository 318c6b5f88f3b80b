//! What every benchmark sends, and how long it may take.

// Each benchmark uses its own part of this.
#![allow(dead_code)]

use criterion::BenchmarkGroup;
use criterion::measurement::Measurement;
use std::time::Duration;
use stentor::message::Message;
use stentor::{Payload, TopicName};

/// A payload of 128 bytes, JSON as a market's feed sends it.
pub(crate) fn payload() -> String {
    format!(r#"{{"p":"64135.3","pad":"{}"}}"#, "x".repeat(104))
}

/// The topic of those who need only one.
pub(crate) fn topic() -> TopicName {
    TopicName::try_from("trade.BTCUSDT").expect("a topic name")
}

/// A message in its place.
pub(crate) fn message() -> Message {
    Message {
        topic: 0,
        name: topic(),
        seq: 88_412,
        time_us: 1_700_000_000_000_000,
        is_image: false,
        payload: Payload::text(payload()),
    }
}

/// All benchmarks together are to take minutes: less time for each, the spread is shown all the same.
pub(crate) fn pace(group: &mut BenchmarkGroup<'_, impl Measurement>) {
    group
        .sample_size(20)
        .nresamples(20_000)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
}
