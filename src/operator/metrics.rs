//! `GET /metrics`: the counters of all owners as Prometheus reads them (OpenMetrics text).

use super::topics::{TOPICS, TopicLine};
use super::{Operator, Problem};
use crate::ids::ShardId;
use crate::protocol::close::Reason;
use crate::sequencer::request::{Question, SequencerCounters};
use crate::shard::command::Command;
use crate::shard::core::counters::{Counters, Powers};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Deserialize)]
pub(super) struct Asked {
    /// Topics whose names begin so are told of one by one; none without it, since names are unbounded.
    topics: Option<String>,
}

pub(super) async fn metrics(
    State(operator): State<Operator>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|error| Problem::bad_request("bad_request", error.body_text()))?;
    let mut snapshot = Snapshot::take(&operator).await?;
    if let Some(prefix) = asked.topics {
        snapshot.topics = operator.topics(prefix, TOPICS).await?;
    }
    let mut registry = Registry::with_prefix("stentor");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Problem::silent())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// What was counted, at one moment for each owner.
#[derive(Debug)]
pub(super) struct Snapshot {
    sequencer: SequencerCounters,
    shards: Vec<(ShardId, Counters)>,
    topics: Vec<TopicLine>,
}

/// Name, help, whether it only grows, value.
type Of<T> = (&'static str, &'static str, bool, fn(&T) -> u64);

/// The catalogue: what the sequencer counts.
const SEQUENCER: &[Of<SequencerCounters>] = &[
    ("topics", "Topics that live now", false, |c| c.topics),
    ("published", "Messages that were given a sequence", true, |c| c.published),
    ("published_bytes", "Bytes of their payloads", true, |c| c.published_bytes),
    ("refused", "Publishes refused because the table of topics was full", true, |c| c.refused),
    ("publishes_stale", "Publishes refused because their sequence was given out already", true, |c| c.stale),
    ("publishes_misclassed", "Publishes refused because the topic has another class", true, |c| c.misclassed),
    ("history_messages", "Messages in histories now", false, |c| c.kept_messages),
    ("history_bytes", "Bytes of histories now, 128 a message beside payloads", false, |c| c.kept_bytes),
    ("recovered", "Subscriptions with `since` that miss nothing", true, |c| c.recovered),
    ("not_recovered", "Subscriptions with `since` that were told what they miss", true, |c| c.not_recovered),
    ("topics_retired", "Idle topics let go", true, |c| c.retired),
    ("sequencer_stalls", "Times the sequencer waited for room in an inbox", true, |c| c.stalls),
    ("sequencer_queue", "Requests waiting for the sequencer", false, |c| c.queued),
];

/// The catalogue: what each shard counts, labelled with it.
const SHARD: &[Of<Counters>] = &[
    ("connections", "Connections open now", false, |c| c.connections),
    ("connections_blocked", "Connections behind a full socket now", false, |c| c.blocked),
    ("connections_closing", "Ended connections whose socket waits for its close", false, |c| c.closing),
    ("connections_opened", "Connections taken in", true, |c| c.opened),
    ("subscriptions", "Subscriptions now", false, |c| c.subscriptions),
    ("routed", "Subscribers at each message's place, summed", true, |c| c.account.routed),
    ("delivered", "Deliveries whose last byte the kernel took", true, |c| c.account.delivered),
    ("conflated", "Deliveries whose place a newer message of their topic took", true, |c| {
        c.account.conflated
    }),
    ("skipped", "Deliveries taken back or left out behind a full socket", true, |c| c.account.skipped),
    ("abandoned", "Deliveries that died with their connection", true, |c| c.account.abandoned),
    ("pending", "Deliveries in the log and in queues now", false, |c| c.pending),
    ("unregistered", "Comings and goings told to nobody: the register was full", true, |c| c.unregistered),
    ("oversized", "Messages that did not fit a datagram, summed over who was to be sent them", true, |c| {
        c.oversized
    }),
    ("datagrams_ignored", "Datagrams that came and were not acted on", true, |c| c.datagrams_ignored),
    ("sent_bytes", "Bytes the kernel took", true, |c| c.bytes),
    ("received_bytes", "Bytes that came in", true, |c| c.bytes_received),
    ("replayed", "Messages of histories sent to who resumed or joined", true, |c| c.replayed),
    ("snapshots", "Snapshots sent", true, |c| c.snapshots),
    ("replays_encoded", "Pieces of histories encoded: once for all who get the same", true, |c| {
        c.replays_encoded
    }),
    ("inbox", "Messages waiting in the inbox", false, |c| c.inbox_frames),
    ("outbound_frames", "Frames in outbound queues now", false, |c| c.queued_frames),
    ("outbound_bytes", "Bytes in outbound queues now, each frame once", false, |c| c.queued_bytes),
];

/// The catalogue: what is told of each topic that was asked for, labelled with it.
const TOPIC: &[Of<TopicLine>] = &[
    ("topic_routed", "Subscribers at each message's place, of one topic", true, |t| t.account.routed),
    ("topic_delivered", "Deliveries of one topic whose last byte the kernel took", true, |t| {
        t.account.delivered
    }),
    ("topic_conflated", "Deliveries of one topic that gave way to a newer one", true, |t| {
        t.account.conflated
    }),
    ("topic_skipped", "Deliveries of one topic taken back or left out", true, |t| t.account.skipped),
    ("topic_abandoned", "Deliveries of one topic that died with a connection", true, |t| t.account.abandoned),
    ("topic_pending", "Deliveries of one topic in logs and in queues now", false, |t| t.pending),
];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, grows, value) in SEQUENCER {
            let mut metric = encoder.encode_descriptor(name, help, None, kind(*grows))?;
            put(&mut metric, *grows, value(&self.sequencer))?;
        }
        for (name, help, grows, value) in SHARD {
            let mut metric = encoder.encode_descriptor(name, help, None, kind(*grows))?;
            for (shard, counters) in &self.shards {
                let labels = [("shard", shard.to_string())];
                put(&mut metric.encode_family(&labels)?, *grows, value(counters))?;
            }
        }
        for (name, help, grows, value) in TOPIC.iter().filter(|_| !self.topics.is_empty()) {
            let mut metric = encoder.encode_descriptor(name, help, None, kind(*grows))?;
            for line in &self.topics {
                let labels = [("topic", line.report.topic.as_str())];
                put(&mut metric.encode_family(&labels)?, *grows, value(line))?;
            }
        }
        let help = "Connections that ended, by reason";
        let mut metric = encoder.encode_descriptor("connections_dropped", help, None, MetricType::Counter)?;
        for (shard, counters) in &self.shards {
            for reason in Reason::ALL {
                let labels = [("reason", reason.as_str().to_owned()), ("shard", shard.to_string())];
                put(&mut metric.encode_family(&labels)?, true, counters.dropped[reason as usize])?;
            }
        }
        self.histogram(&mut encoder, "sweep_slots", "Connections in debt when a sweep begins", |c| {
            &c.sweep_slots
        })?;
        self.histogram(&mut encoder, "write_frames", "Data frames in one write of a sweep", |c| {
            &c.write_frames
        })
    }
}

impl Snapshot {
    /// Asks all owners, of no topic in particular.
    pub(super) async fn take(operator: &Operator) -> Result<Self, Problem> {
        let sequencer = operator.ask(Question::Counters).await?;
        let shards = operator.ask_shards(Command::Counters).await?;
        Ok(Self { sequencer, shards, topics: Vec::new() })
    }

    /// The same names and values as an object, what shards count summed over all of them, and then of each.
    pub(super) fn to_json(&self) -> Value {
        let sequencer = SEQUENCER.iter().map(|(name, .., value)| (*name, value(&self.sequencer)));
        let sum = |value: fn(&Counters) -> u64| self.shards.iter().map(|(_, counters)| value(counters)).sum();
        let sums = SHARD.iter().map(|(name, .., value)| (*name, sum(*value)));
        let dropped = |counters: &Counters| -> Value {
            Reason::ALL.into_iter().map(|r| (r.as_str(), counters.dropped[r as usize])).collect()
        };
        let of_shard = |(shard, counters): &(ShardId, Counters)| -> Value {
            let values = SHARD.iter().map(|(name, .., value)| (*name, json!(value(counters))));
            [("shard", json!(shard))]
                .into_iter()
                .chain(values)
                .chain([("dropped", dropped(counters))])
                .collect()
        };
        let shards: Value = self.shards.iter().map(of_shard).collect();
        let values = sequencer.chain(sums).map(|(name, value)| (name, json!(value)));
        values.chain([("shards", shards)]).collect()
    }

    fn histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        of: fn(&Counters) -> &Powers,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (shard, counters) in &self.shards {
            let powers = of(counters);
            let last = Powers::BUCKETS - 1;
            let bound = |at: usize| if at == last { f64::INFINITY } else { (1u64 << at) as f64 };
            let buckets: Vec<_> =
                powers.buckets.iter().enumerate().map(|(at, count)| (bound(at), *count)).collect();
            let labels = [("shard", shard.to_string())];
            let count = powers.buckets.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                powers.sum as f64,
                count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

fn kind(grows: bool) -> MetricType {
    if grows { MetricType::Counter } else { MetricType::Gauge }
}

fn put(metric: &mut prometheus_client::encoding::MetricEncoder<'_>, grows: bool, value: u64) -> fmt::Result {
    if grows {
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    } else {
        metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
    }
}
